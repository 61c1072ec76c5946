"""What every source of samples delivers, and how one fails."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray


class SourceError(Exception):
    """A device or a recording that cannot be read: one line that says what to do."""


def check_sizes(sr: int, blocksize: int | None) -> None:
    """Raise `ValueError` for a rate (Hz) or a block size (samples) that makes no sense."""
    if isinstance(sr, bool) or not isinstance(sr, Integral) or not 1 <= int(sr) <= 10_000_000:
        raise ValueError(f"sr={sr!r} is not a whole number in 1 … 10000000 (Hz)")
    if blocksize is not None and blocksize < 1:
        raise ValueError(f"blocksize={blocksize} is below 1")


#: Why samples are missing: thrown away by us (counted), lost by the sound system before they came
#: to us (estimated from its clock), or not there since the device was gone (estimated likewise).
CAUSES = ("dropped", "host", "outage")

#: What is known of losses beside the gaps, and puts nothing onto the sample axis. ``unplaced``:
#: samples were lost at a place that is not known well enough. They are no gap: no zeros, no marked
#: rows, and sample numbers behind them may be off by so many. ``refuted``: a gap that was declared
#: is none after all. It stays on the axis, with its zeros.
REMARKS = ("unplaced", "refuted")


class Gap(NamedTuple):
    """Lost samples: an interval of the absolute sample axis, with its cause.

    A remark on a loss (`Block.remarks`) has the same form; its cause is one of `REMARKS`.
    """

    first_sample: int
    """Absolute number of the first lost one. ``unplaced``: where it may be at the earliest."""
    length: int
    """How many were lost. ``refuted``: how many of them were not."""
    cause: str
    """One of `CAUSES`; in a remark, of `REMARKS`."""
    uncertainty: int
    """0: place and length are exact. Else each is true within so many samples. ``unplaced``: they
    were lost somewhere in ``first_sample`` … ``first_sample + uncertainty``."""


@dataclass(slots=True, eq=False)
class Block:
    """What a source delivers at once. Counted at the source's rate."""

    samples: NDArray[np.float32]
    """(n, channels) in [-1, 1]. Borrowed: the source may fill it anew for the next block."""
    first_sample: int
    """Absolute number of the first sample, lost ones counted too."""
    lost: int = 0
    """How many samples were lost just before the first one."""
    captured: float = math.nan
    """When the first sample was captured, in s on the clock of `time.perf_counter`; NaN where
    that is not known."""
    gaps: tuple[Gap, ...] = ()
    """What ``lost`` is made of, where the causes are known: they end at the first sample, one
    after the other."""
    called: float = math.nan
    """When the sound system called back with it (a recording at its pace: when one would have),
    in s on the same clock; NaN where nobody did."""
    remarks: tuple[Gap, ...] = ()
    """What became known of losses elsewhere (`REMARKS`): they may lie long before this block, and
    are no part of ``lost``. A block without samples may carry some."""

    def __len__(self) -> int:
        """Return the number of samples of each channel; 0 for a block that reports a loss alone."""
        return len(self.samples)

    def copy(self) -> Block:
        """A block of one's own, that stays."""
        return replace(self, samples=self.samples.copy())

    def before(self, end: int) -> Block:
        """The part that lies before the sample ``end``, of what it borrows; it may be empty."""
        first = min(self.first_sample, end)
        return Block(
            self.samples[: max(0, end - self.first_sample)],
            first,
            max(0, self.lost - (self.first_sample - first)),
            self.captured,
            _before(self.gaps, end),
            self.called,
            _before(self.remarks, end),
        )


def _before(gaps: tuple[Gap, ...], end: int) -> tuple[Gap, ...]:
    """What begins before the sample ``end``, cut there if its place is known."""
    return tuple(
        gap
        if gap.cause == "unplaced"
        else gap._replace(length=min(gap.length, end - gap.first_sample))
        for gap in gaps
        if gap.first_sample < end
    )


class Source(Protocol):
    """A context manager that yields blocks once, in order."""

    name: str
    """What to call it in a message."""
    sr: int
    """Samples a second, of each channel."""
    channels: int
    realtime: bool
    """Whether blocks come when the clock says so, and not when they are asked for."""
    duration_s: float | None
    """How long it claims to be, for a progress bar alone; None where nobody knows."""
    notes: list[str]
    """What a user should be told once all is read, a line each."""

    def __enter__(self) -> Self:
        """Use it once."""
        ...

    def __exit__(self, *error: object) -> None:
        """Let go of what is held."""
        ...

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks; raises `SourceError` where they can't be had."""
        ...
