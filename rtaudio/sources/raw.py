"""Raw samples on standard input, described by ``f32le:48000:1``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtaudio.sources.block import Block, SourceError
from rtaudio.sources.file import check_stdin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

BLOCK_BYTES = 65536

# ffmpeg's and sox's names: numpy's dtype, what is subtracted, full scale. Three bytes are read
# by hand below.
_FORMATS = {
    "u8": ("u1", 128, 128),
    "s8": ("i1", 0, 128),
    **{f"s16{e}": (f"{o}i2", 0, 1 << 15) for e, o in (("le", "<"), ("be", ">"))},
    **{f"s24{e}": ("", 0, 1 << 31) for e in ("le", "be")},
    **{f"s32{e}": (f"{o}i4", 0, 1 << 31) for e, o in (("le", "<"), ("be", ">"))},
    **{f"f32{e}": (f"{o}f4", 0, 1) for e, o in (("le", "<"), ("be", ">"))},
    **{f"f64{e}": (f"{o}f8", 0, 1) for e, o in (("le", "<"), ("be", ">"))},
}


class RawFormat(NamedTuple):
    """What raw samples are: ``encoding`` as ffmpeg and sox name it, rate and channels."""

    encoding: str
    sr: int
    channels: int

    @classmethod
    def parse(cls, text: str) -> RawFormat:
        """Read ``f32le:48000:1``; `ValueError` says what is wrong with it."""
        encoding, _, rest = text.partition(":")
        sr, _, channels = rest.partition(":")
        if encoding not in _FORMATS:
            raise ValueError(f"--raw {text}: {encoding!r} is not one of {', '.join(_FORMATS)}")
        if not (sr.isdecimal() and 0 < int(sr) <= 10_000_000):
            raise ValueError(f"--raw {text}: {sr!r} is not a rate in Hz, as in f32le:48000:1")
        if not (channels.isdecimal() and 0 < int(channels) <= 1024):
            raise ValueError(f"--raw {text}: {channels!r} is not a channel count (f32le:48000:1)")
        return cls(encoding, int(sr), int(channels))

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of one channel."""
        return int("".join(c for c in self.encoding if c.isdigit())) // 8

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Whole samples as floats in [-1, 1]; shape (n, channels)."""
        dtype, offset, full_scale = _FORMATS[self.encoding]
        if not dtype:
            wide = np.zeros((len(data) // 3, 4), np.uint8)  # three bytes on top, a zero below
            little = self.encoding.endswith("le")
            wide[:, 1 if little else 0 : 4 if little else 3] = np.frombuffer(
                data, np.uint8
            ).reshape(-1, 3)
            values = wide.view("<i4" if little else ">i4")[:, 0]
        else:
            values = np.frombuffer(data, dtype)
        if full_scale == 1:
            with np.errstate(over="ignore"):  # a double beyond float32 is counted as invalid later
                return values.astype(np.float32).reshape(-1, self.channels)
        scaled = (values.astype(np.float64) - offset) / full_scale
        return scaled.astype(np.float32).reshape(-1, self.channels)


class RawStdinSource:
    """Samples without a header on standard input; nothing is allocated beyond a block."""

    name = "standard input"
    realtime = False
    duration_s: float | None = None

    def __init__(self, raw: RawFormat) -> None:
        check_stdin()
        self._raw = raw
        self.sr = raw.sr
        self.channels = raw.channels
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Standard input stays open."""

    def __iter__(self) -> Iterator[Block]:
        """Yield what has come, whole samples of all channels."""
        width = self._raw.bytes_per_sample * self.channels
        position, rest = 0, b""
        while True:
            try:
                data = os.read(sys.stdin.fileno(), BLOCK_BYTES)  # what is there, as soon as it is
            except OSError as error:
                raise SourceError(f"standard input: {error.strerror}") from None
            if not data:
                break
            data = rest + data
            whole = len(data) - len(data) % width
            rest = data[whole:]
            if whole:
                samples = self._raw.decode(data[:whole])
                yield Block(samples, position)
                position += len(samples)
        if rest:
            self.notes.append(
                f"standard input: ended in mid-sample, {len(rest)} of {width} bytes; "
                f"left out: is it {self._raw.encoding} with {self.channels} channel(s)?"
            )
