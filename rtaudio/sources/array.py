"""Samples in memory, and generated ones, as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtaudio.sources.block import Block, check_sizes
from rtaudio.sources.pace import paced, realtime_blocksize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

BLOCKSIZE = 16384


class ArraySource:
    """``samples`` (n,) or (n, channels) of any float dtype, at ``sr``.

    ``realtime=True`` delivers them at the pace of a microphone.
    """

    name = "the array"
    _repeat = False

    def __init__(
        self,
        samples: NDArray[np.floating],
        sr: int,
        *,
        realtime: bool = False,
        blocksize: int | None = None,
    ) -> None:
        samples = np.asarray(samples)
        self._samples = samples[:, np.newaxis] if samples.ndim == 1 else samples
        if self._samples.ndim != 2:
            raise ValueError(f"samples of shape {samples.shape} are not (n,) or (n, channels)")
        check_sizes(sr, blocksize)
        self.sr = int(sr)
        self.channels = self._samples.shape[1]
        self.realtime = realtime
        self.duration_s: float | None = len(self._samples) / sr
        self.notes: list[str] = []
        self._blocksize = blocksize or (realtime_blocksize(sr) if realtime else BLOCKSIZE)

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is held."""

    def __iter__(self) -> Iterator[Block]:
        """Yield views of the samples."""
        return paced(self._blocks(), self.sr) if self.realtime else self._blocks()

    def _blocks(self) -> Iterator[Block]:
        for start in range(0, len(self._samples), self._blocksize):
            yield Block(self._samples[start : start + self._blocksize], start)
