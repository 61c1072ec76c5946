"""Delivering recorded samples when a microphone would."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtaudio.sources.block import Block


def paced(blocks: Iterator[Block], sr: int) -> Iterator[Block]:
    """Yield each block when its last sample would have been captured.

    Every deadline is counted from the start, so that nothing drifts; a reader that was late gets
    what it missed at once, as from a microphone's buffer.
    """
    start = time.perf_counter()
    for block in blocks:
        block.captured = start + block.first_sample / sr
        block.called = block.captured + len(block.samples) / sr
        wait = block.called - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        yield block


def realtime_blocksize(sr: int) -> int:
    """10 ms, about what a sound card delivers at once."""
    return max(1, sr // 100)
