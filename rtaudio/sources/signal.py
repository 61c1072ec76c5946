"""Generated signals: what ``demo:`` plays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtaudio.sources.array import ArraySource
from rtaudio.sources.block import Block, check_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LOOP_S = 10
KINDS = ("demo", "sine", "sweep", "noise", "clicks", "silence")


class SignalSource(ArraySource):
    """A signal of 10 s, repeated until ``duration_s`` is over, or without end.

    ``sine``: 440 Hz at -12 dBFS. ``sweep``: 20 Hz to 0.45 of the rate, logarithmic, -12 dBFS.
    ``noise``: white, -20 dBFS RMS. ``clicks``: single samples of full scale, 4 a second.
    ``silence``: zeros. ``demo``: one after the other. The same samples at every run.
    """

    def __init__(
        self,
        kind: str = "demo",
        sr: int = 22050,
        *,
        duration_s: float | None = None,
        realtime: bool = False,
        blocksize: int | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not a signal: {', '.join(KINDS)}")
        if duration_s is not None and not duration_s > 0:
            raise ValueError(f"duration_s={duration_s} is not above 0")
        check_sizes(sr, blocksize)
        super().__init__(signal(kind, sr), sr, realtime=realtime, blocksize=blocksize)
        self.name = f"demo:{'' if kind == 'demo' else kind}"
        self.duration_s = duration_s

    def _blocks(self) -> Iterator[Block]:
        loop, position = len(self._samples), 0
        total = None if self.duration_s is None else round(self.duration_s * self.sr)
        while total is None or position < total:
            start = position % loop
            stop = min(start + self._blocksize, loop)
            if total is not None:
                stop = min(stop, start + total - position)
            yield Block(self._samples[start:stop], position)
            position += stop - start


def signal(kind: str, sr: int) -> NDArray[np.float32]:
    """10 s of a signal, which can be played in a loop without a click; shape (10 sr,)."""
    if kind == "demo":
        parts = (("sine", 0.2), ("sweep", 0.4), ("noise", 0.15), ("clicks", 0.15), ("silence", 0.1))
        pieces = [_generate(name, round(share * LOOP_S * sr), sr) for name, share in parts]
        for piece in pieces[:3]:
            _fade(piece, sr)
        return np.concatenate(pieces)
    return _generate(kind, LOOP_S * sr, sr)


def _generate(kind: str, n: int, sr: int) -> NDArray[np.float32]:
    t = np.arange(n) / sr
    if kind == "sine":
        y = 0.25 * np.sin(2 * np.pi * 440 * t)
    elif kind == "sweep":
        # phase = 2 pi f0 T / k (exp(k t / T) - 1), whose derivative is f0 exp(k t / T)
        low, k = 20.0, np.log(0.45 * sr / 20)
        y = 0.25 * np.sin(2 * np.pi * low * (n / sr) / k * np.expm1(k * t / (n / sr)))
    elif kind == "noise":
        y = 0.1 * np.random.default_rng(1).standard_normal(n)
    else:
        y = np.zeros(n)
        if kind == "clicks":
            y[sr // 8 :: max(1, sr // 4)] = 1
    return y.astype(np.float32)


def _fade(y: NDArray[np.float32], sr: int) -> None:
    """5 ms in and out, so that no part ends in a click that is not its own."""
    ramp = np.linspace(0, 1, max(2, sr // 200), dtype=np.float32)
    y[: len(ramp)] *= ramp
    y[len(y) - len(ramp) :] *= ramp[::-1]
