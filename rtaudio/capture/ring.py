"""A ring of samples in shared memory: one process writes, one reads, and neither ever waits.

Beside the samples lies a ring of records, one for each block. The writer copies the samples, then
the record, then publishes how many records there are, by the bell (a socket, so that nothing is
assumed about the order in which memory becomes visible) and in the header. The reader copies, and
then publishes how far it has read. What is full is never overwritten: the newest block is dropped
and counted, and the next record that fits tells how many samples were dropped before it.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mmap import mmap

FLOAT_BYTES = 4
NO_AGE = -1  # ns
NO_COUNT = -1  # frames
RECORD = Struct("<9q")
HEADER_BYTES = 192  # three cache lines: what never changes, the writer's, the reader's
WRITTEN, DROPPED, FINISHED, PRIORITY = 8, 9, 10, 11
READ_RECORDS, READ_SAMPLES = 16, 17


class Record(NamedTuple):
    """One block, as the host delivered it. Counted in samples, from the start of the stream."""

    number: int
    first: int
    """Number of the first sample, dropped ones counted too."""
    length: int
    dropped: int
    """How many samples of the stream were dropped before it."""
    clock_ns: int
    """`wire.uptime_ns` when the callback was called."""
    age_ns: int
    """How old the first sample was then, by the host's ADC time; negative if that lies in the
    future, as it does by some; `NO_AGE` where it makes no sense."""
    overflow: int
    """How often the host said so far that it had lost samples."""
    at: int
    """Where its samples begin, counted in samples kept."""
    frames: int = NO_COUNT
    """How many frames the host's graph had run when its cycle began, if it counts them."""


def size(channels: int, samples: int, records: int) -> int:
    """Bytes of a ring that holds so many samples of so many channels, in so many blocks."""
    return HEADER_BYTES + records * RECORD.size + samples * channels * FLOAT_BYTES


class _Ring:
    def __init__(self, memory: mmap | bytearray, channels: int, samples: int, records: int) -> None:
        self.samples, self.records = samples, records
        self._width = channels * FLOAT_BYTES
        view = memoryview(memory)
        self._header = view[:HEADER_BYTES].cast("q")
        start = HEADER_BYTES + records * RECORD.size
        self._table = view[HEADER_BYTES:start]
        self._data = view[start : start + samples * self._width]


class RingWriter(_Ring):
    """The callback's end."""

    _written = _first = _kept = _dropped = _overflows = 0

    def write(
        self,
        data: memoryview,
        count: int,
        clock_ns: int,
        age_ns: int,
        overflow: bool,
        frames: int = NO_COUNT,
    ) -> int:
        """Copy a block of ``count`` samples in, or drop it; returns how many records there are.

        ``data`` is the block's bytes. Called by the callback's thread. Allocates nothing that
        stays, never waits, never raises.
        """
        header = self._header
        self._overflows += overflow
        first, self._first = self._first, self._first + count
        kept = self._kept
        if (
            kept + count - header[READ_SAMPLES] > self.samples
            or self._written - header[READ_RECORDS] >= self.records
        ):
            self._dropped += count
            header[DROPPED] = self._dropped
            return self._written
        width, at = self._width, kept % self.samples
        before_end = min(count, self.samples - at)
        self._data[at * width : (at + before_end) * width] = data[: before_end * width]
        if before_end < count:
            self._data[: (count - before_end) * width] = data[before_end * width :]
        number = self._written
        RECORD.pack_into(
            self._table,
            number % self.records * RECORD.size,
            *(
                number,
                first,
                count,
                self._dropped,
                clock_ns,
                age_ns,
                self._overflows,
                kept,
                frames,
            ),
        )
        self._kept = kept + count
        self._written = header[WRITTEN] = number + 1
        return self._written

    def finish(self, reason: int) -> None:
        """Say that the stream has ended, and why (`wire.ENDS`)."""
        self._header[FINISHED] = reason

    def granted(self, priority: int) -> None:
        """Say which real-time priority the callback runs at; 0 is none."""
        self._header[PRIORITY] = priority


class RingReader(_Ring):
    """The parent's end. It looks ahead at records, and copies and releases them in order."""

    _next = _available = 0

    @property
    def dropped(self) -> int:
        """Samples dropped so far."""
        return self._header[DROPPED]

    @property
    def delivered(self) -> int:
        """Samples that the host delivered so far: kept ones and dropped ones."""
        written = self._header[WRITTEN]
        if not written:
            return self.dropped
        last = self._record(written - 1)
        return last.at + last.length + self.dropped

    @property
    def finished(self) -> int:
        """Why the host ended the stream (`wire.ENDS`); 0 while it has not."""
        return self._header[FINISHED]

    @property
    def priority(self) -> int:
        """The real-time priority that the callback was granted; 0 is none."""
        return self._header[PRIORITY]

    def heard(self, written: int) -> None:
        """Take the number of records that the bell told."""
        self._available = max(self._available, written)

    def look(self) -> None:
        """Take the number of records from the header, where no bell was heard."""
        self.heard(self._header[WRITTEN])

    def new(self) -> list[Record]:
        """The records that were not looked at yet. Raises `ValueError` for one that is broken."""
        records = [self._record(number) for number in range(self._next, self._available)]
        self._next = self._available
        return records

    def _record(self, number: int) -> Record:
        record = Record(*RECORD.unpack_from(self._table, number % self.records * RECORD.size))
        if record.number != number or not 0 < record.length <= self.samples:
            raise ValueError(f"record {number} is broken: {record}")
        return record

    def copy(self, record: Record, out: memoryview) -> None:
        """Copy the record's samples into the bytes of ``out``, and give their place back.

        Keeps the GIL: a thread that lets it go beside a busy one waits a switch interval for it.
        """
        width, at = self._width, record.at % self.samples
        before_end = min(record.length, self.samples - at)
        out[: before_end * width] = self._data[at * width : (at + before_end) * width]
        if before_end < record.length:
            out[before_end * width : record.length * width] = self._data[
                : (record.length - before_end) * width
            ]
        self._header[READ_SAMPLES] = record.at + record.length
        self._header[READ_RECORDS] = record.number + 1
