"""The list of gaps beside a take: TAKE.gaps.csv, a header and one row a gap.

Between them stand the remarks on losses (`block.REMARKS`), a row each, at the place where they
became known: a gap's row is true when it is written and stays, and a later row may refute it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.sources.block import CAUSES, REMARKS, Gap, SourceError

if TYPE_CHECKING:
    from os import PathLike
    from typing import IO

HEADER = b"first_sample,length,cause,uncertainty\n"
LARGEST = 1 << 50  # as `Analyzer.feed` takes at once
_ROW = re.compile(rb"(\d{1,16}),(\d{1,16}),([a-z]+),(\d{1,16})\r?\n?")
_LONGEST = 100  # bytes of a line
_KINDS = (*CAUSES, *REMARKS)
_MEND = "mend it, or delete the file to take the gaps for silence"


class Listed(NamedTuple):
    """What a list holds."""

    gaps: list[Gap]
    """In rising order; also those that are refuted, since their zeros are in the take."""
    remarks: list[Gap]
    """In the order in which they became known."""


def gaps_path(path: str | PathLike[str]) -> Path:
    """Where the gaps of the recording ``path`` are listed: TAKE.wav → TAKE.gaps.csv."""
    return Path(path).with_suffix(".gaps.csv")


def read_gaps(path: Path, total: int | None) -> list[Gap]:
    """The gaps alone of what `read_listed` reads."""
    return read_listed(path, total).gaps


def read_listed(path: Path, total: int | None) -> Listed:
    """The gaps and remarks that the file ``path`` lists; none where there is no such file.

    ``total`` is the length of the take in samples, if known: a gap that reaches beyond it is cut,
    one that begins there is left out, since a run that was killed may have listed more than it
    could record. So may a last line have no end: it is left out where it makes no sense.
    Raises `SourceError` where the file can't be read, or lists anything but remarks, and gaps in
    rising order.
    """
    try:
        with path.open("rb") as file:
            return parse_listed(file, path, total)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return Listed([], [])
        reason = error.strerror or "can't be read"
        raise SourceError(f"{path}: {reason}: {_MEND}") from None


def parse_listed(file: IO[bytes], path: str | Path, total: int | None) -> Listed:
    """As `read_listed`, of an open file."""
    gaps: list[Gap] = []
    remarks: list[Gap] = []
    end = number = 0
    while line := file.readline(_LONGEST):
        number += 1
        unended = not line.endswith(b"\n") and len(line) < _LONGEST
        gap = _gap(line)
        if number == 1:
            if line.replace(b"\r\n", b"\n") != HEADER and not (unended and HEADER.startswith(line)):
                raise SourceError(f"{path}: line 1 is not {HEADER.decode().strip()}: {_MEND}")
        elif gap is None:
            if not unended:
                shown = ascii(line.strip())[1:]
                raise SourceError(
                    f"{path}: line {number}, {shown}, is no gap: whole numbers up to 2^50, and "
                    f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}: {_MEND}"
                )
        elif gap.cause in REMARKS:
            remarks += _inside(gap, total)
        elif gap.first_sample < end:
            raise SourceError(
                f"{path}: line {number} begins at sample {gap.first_sample}, "
                f"before the end of the last gap ({end}): {_MEND}"
            )
        else:
            end = gap.first_sample + gap.length
            gaps += _inside(gap, total)
    return Listed(gaps, remarks)


def _inside(gap: Gap, total: int | None) -> list[Gap]:
    """What there is of a gap, or of a remark, in a take of ``total`` samples."""
    room = LARGEST if total is None else total - gap.first_sample
    if gap.cause == "unplaced":  # nothing of it takes room
        return [gap] if room >= 0 and gap.length else []
    return [gap._replace(length=min(gap.length, room))] if room > 0 and gap.length else []


def _gap(line: bytes) -> Gap | None:
    """The gap or the remark of a row, if it is one."""
    row = _ROW.fullmatch(line)
    if row is None:
        return None
    gap = Gap(int(row[1]), int(row[2]), row[3].decode(), int(row[4]))
    fits = gap.first_sample + gap.length <= LARGEST and gap.uncertainty <= LARGEST
    return gap if fits and gap.cause in _KINDS else None


class GapsWriter:
    """Lists gaps and remarks in a new file ``path``; it is true and whole after each `add`.

    Gaps that touch and have one cause are one row, which grows in its place: its numbers never
    become shorter. A remark is a row of its own, and ends the one that grows. Raises `OSError`
    if the file is there already or can't be written; ``again``: if it is not there.
    """

    def __init__(self, path: Path, *, again: bool = False) -> None:
        """``again``: go on with a list that was closed."""
        self._file = path.open("r+b" if again else "xb", buffering=0)
        self._gap = Gap(-1, 0, "", 0)  # of the last row
        self._row = b""
        self._end = self._file.seek(0, io.SEEK_END)  # of the file, in bytes
        if again:
            return
        try:
            self._put(HEADER, over=b"")
        except OSError:
            self.close()
            path.unlink()
            raise

    def add(self, gap: Gap) -> None:
        """Add a gap behind all others, or a remark. If the disk is full, the file stays as is."""
        last, over = self._gap, b""
        touching = gap.first_sample == last.first_sample + last.length
        if touching and gap.cause == last.cause and gap.cause in CAUSES:
            unsure = max(gap.uncertainty, last.uncertainty)
            gap = Gap(last.first_sample, last.length + gap.length, gap.cause, unsure)
            over = self._row
        row = ",".join(map(str, gap)).encode() + b"\n"
        self._put(row, over)
        self._gap, self._row = gap, row

    def _put(self, row: bytes, over: bytes) -> None:
        """Write ``row`` in the place of the last one, ``over``."""
        begin = self._end - len(over)
        try:
            self._file.seek(begin)
            write_all(self._file, memoryview(row))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.seek(begin)
                self._file.write(over)
                self._file.truncate()
            raise
        self._end = begin + len(row)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_all(file: IO[bytes], data: memoryview) -> None:
    """Write all bytes to an unbuffered file, which may take fewer at a time."""
    while len(data):
        data = data[file.write(data) :]
