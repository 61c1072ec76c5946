"""What a host says that counts its own frames, as JACK does: which of them we did not get.

The server of a graph counts the frames of its cycles. If a client is too late for a cycle, the graph
runs without it: the next block begins so many frames later than the last one ended. If the server
itself is late, the graph stands still: time passes, no frame does, and nothing is lost.

The count is read within the callback. A callback that is late itself may read that of the cycle
after its own: so a frame is missing once no later block's count says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rtaudio.capture.ring import Record

NO_COUNT = -1
CONFIRMING = 3  # so many blocks have to agree


class Graph:
    """Compares the frames that a graph has run with the samples that came."""

    def __init__(self) -> None:
        self._first: int | None = None  # the frame at which sample 0 was captured

    def missing(self, record: Record, lost: int) -> int:
        """How many frames came neither before ``record`` nor are among the ``lost`` ones."""
        begin = record.frames - record.first - lost
        if self._first is None or begin < self._first:  # the first counts were a cycle ahead
            self._first = begin
        return begin - self._first

    def confirmed(self, records: Iterable[Record], lost: int) -> int:
        """How many are missing before all of these blocks."""
        return min(self.missing(record, lost) for record in records)
