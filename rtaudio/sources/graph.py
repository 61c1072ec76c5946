"""What a host says that counts its own frames, as JACK does: which of them did not come.

The server of a graph counts the frames of its cycles. If a client is too late for a cycle, the
graph runs without it: the next block begins so many frames later than the last one ended. If the
server itself is late, the graph stands still: time passes, no frame does, and nothing is lost.

Blocks need not be cycles: where they are longer or shorter, the frame of a block's cycle and its
own first sample differ by less than a cycle, now more, now less. And a callback that is late itself
may read the count of the cycle after its own. So what is missing is counted in whole cycles, and
only what all of some blocks say.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtaudio.capture.ring import Record

CONFIRMING = 3  # so many blocks have to agree


class Graph:
    """Compares the frames that a graph has run with the samples that came."""

    def __init__(self) -> None:
        self.cycle = 0
        """Frames of a cycle, as far as it is known."""
        self._last: int | None = None
        self._base: int | None = None  # frames less samples, where nothing is missing

    def add(self, record: Record, lost: int) -> None:
        """Learn from a block that was placed, before which ``lost`` samples were lost in all."""
        if self._last is not None:
            self.cycle = gcd(self.cycle, record.frames - self._last)
        self._last = record.frames
        ahead = record.frames - record.first - lost
        self._base = ahead if self._base is None else min(self._base, ahead)

    def missing(self, record: Record, lost: int) -> int:
        """How many frames came neither before ``record`` nor are among the ``lost`` ones."""
        if self._base is None or not self.cycle:
            return 0
        ahead = record.frames - record.first - lost - self._base
        return max(0, ahead // self.cycle * self.cycle)

    def confirmed(self, records: Sequence[Record], lost: int) -> int | None:
        """How many are missing before these blocks, if the newest of them agree; else None.

        Callbacks that come in a row, too late, read counts that agree less and less.
        """
        newest = [self.missing(record, lost) for record in records[-CONFIRMING:]]
        if len(newest) < CONFIRMING or max(newest) > min(newest):
            return None
        return min(self.missing(record, lost) for record in records)
