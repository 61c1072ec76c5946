"""The list of gaps beside a take: TAKE.gaps.csv, a header and one row a gap."""

from __future__ import annotations

import contextlib
import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rtaudio.sources.block import CAUSES, Gap, SourceError

if TYPE_CHECKING:
    from os import PathLike
    from typing import IO

HEADER = b"first_sample,length,cause,uncertainty\n"
LARGEST = 1 << 50  # as `Analyzer.feed` takes at once
_ROW = re.compile(rb"(\d{1,16}),(\d{1,16}),([a-z]+),(\d{1,16})\r?\n?")
_LONGEST = 100  # bytes of a line
_MEND = "mend it, or delete the file to take the gaps for silence"


def gaps_path(path: str | PathLike[str]) -> Path:
    """Where the gaps of the recording ``path`` are listed: TAKE.wav → TAKE.gaps.csv."""
    return Path(path).with_suffix(".gaps.csv")


def read_gaps(path: Path, total: int | None) -> list[Gap]:
    """The gaps that the file ``path`` lists, in rising order; none where there is no such file.

    ``total`` is the length of the take in samples, if known: a gap that reaches beyond it is cut,
    one that begins there is left out, since a run that was killed may have listed more than it
    could record. So may a last line have no end: it is left out where it makes no sense.
    Raises `SourceError` where the file can't be read or lists anything but gaps in rising order.
    """
    try:
        with path.open("rb") as file:
            return parse_gaps(file, path, total)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return []
        reason = error.strerror or "can't be read"
        raise SourceError(f"{path}: {reason}: {_MEND}") from None


def parse_gaps(file: IO[bytes], path: str | Path, total: int | None) -> list[Gap]:
    """As `read_gaps`, of an open file."""
    gaps: list[Gap] = []
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
                    f"{', '.join(CAUSES[:-1])} or {CAUSES[-1]}: {_MEND}"
                )
        elif gap.first_sample < end:
            raise SourceError(
                f"{path}: line {number} begins at sample {gap.first_sample}, "
                f"before the end of the last gap ({end}): {_MEND}"
            )
        else:
            end = gap.first_sample + gap.length
            inside = gap.length if total is None else min(gap.length, total - gap.first_sample)
            if inside > 0:
                gaps.append(gap._replace(length=inside))
    return gaps


def _gap(line: bytes) -> Gap | None:
    """The gap of a row, if it is one."""
    row = _ROW.fullmatch(line)
    if row is None:
        return None
    gap = Gap(int(row[1]), int(row[2]), row[3].decode(), int(row[4]))
    fits = gap.first_sample + gap.length <= LARGEST and gap.uncertainty <= LARGEST
    return gap if fits and gap.cause in CAUSES else None


class GapsWriter:
    """Lists gaps in a new file ``path``; it is true and whole after each `add`.

    Gaps that touch and have one cause are one row, which grows in its place: its numbers never
    become shorter. Raises `OSError` where the file is there already or can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._gap = Gap(-1, 0, "", 0)  # of the last row
        self._row = b""
        self._end = 0  # of the file, in bytes
        try:
            self._put(HEADER, over=b"")
        except OSError:
            self.close()
            path.unlink()
            raise

    def add(self, gap: Gap) -> None:
        """Add a gap behind all others. Where the disk is full, the file stays as it was."""
        last, over = self._gap, b""
        if gap.cause == last.cause and gap.first_sample == last.first_sample + last.length:
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
