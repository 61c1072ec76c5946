"""Hearing what is analyzed, by way of a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import numpy as np

from rtaudio.capture.process import start_python

if TYPE_CHECKING:
    from rtaudio.sources.block import Block


class Player:
    """Plays blocks on the default output, as they come.

    Raises `OSError` where nothing can be played. The output's clock is not the source's: where
    they drift apart by a second, what is too much is left out.
    """

    def __init__(self, sr: int, channels: int) -> None:
        arguments = ["rtaudio.capture.play", str(sr), str(channels)]
        pipe = subprocess.PIPE
        self._process = start_python(None, arguments, stdout=pipe, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().decode()
        if answer != "\n":
            self.finish()
            raise OSError(None, answer.strip() or "the player ended", "--play")

    def take(self, block: Block) -> None:
        """Play a block; a gap is silence, but for a long one."""
        assert self._process.stdin is not None
        silence = np.zeros((min(block.lost, 48000), block.samples.shape[1]), np.float32)
        with contextlib.suppress(BrokenPipeError):  # the output is gone: the rest goes on
            for samples in (silence, block.samples):
                self._process.stdin.write(np.ascontiguousarray(samples, np.float32).data)
            self._process.stdin.flush()

    def finish(self) -> None:
        """Play what is left, and end."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=10)
