"""Features into files as they come: what is flushed can be read, whatever happens next.

That is so when the process is killed, not when the power fails. Memory is constant at any length.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rtaudio.consumers.partial import Partial
from rtaudio.consumers.writers import (
    SUFFIXES,
    CsvWriter,
    HeldRows,
    NpzWriter,
    Writer,
    columns,
    dtype_of,
    metadata,
    open_parquet,
    refuse_foreign,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rtaudio.analysis.frames import Frames
    from rtaudio.analysis.settings import Settings
    from rtaudio.consumers.writers import Rows

HELD_ROWS = 256  # held until the next flush, however long that is in coming
GROUP_ROWS = 4096  # of a part: few groups, since each adds every column to the footer


class StreamingWriter(Writer, Protocol):
    """Takes rows and lets go of them at each flush; `finish` at the end of any run.

    One thread calls all of it. `take`, `flush` and `finish` raise `OSError` with ``filename``
    where the disk is full: what was flushed before stays as it is, what was not is held and tried
    again at the next call. `discard` is for a run that never began: it removes nothing that holds
    a row.
    """

    def flush(self) -> None:
        """Hand all that was taken to the operating system, readable."""
        ...


def open_streaming(path: Path, names: Sequence[str], settings: Settings) -> StreamingWriter:
    """A writer for the features ``names`` by the suffix of ``path``, which is replaced at once.

    ``settings.sr`` must be known. Raises `ValueError` for another suffix, `OSError` where it
    can't be written or something else is there, and `ModuleNotFoundError` where pyarrow is
    missing.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: not one of {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        return StreamingParquet(path, names, settings)
    if path.exists() and not path.is_file():
        raise OSError(None, "is there and is not a file", str(path))
    return (StreamingCsv if path.suffix == ".csv" else StreamingNpz)(path, names, settings)


class StreamingCsv(CsvWriter):
    """A CSV file under its own name from the start, and in .json what is known about it.

    A run that is killed while it writes may leave a last line without its end: leave it out.
    """

    def __init__(self, path: Path, names: Sequence[str], settings: Settings) -> None:
        self._path = path
        self._beside = path.with_suffix(".json")
        refuse_foreign(self._beside)
        self._text = io.StringIO()
        super().__init__(self._text, names, settings)
        header, self._header = self._header, ""  # with no rows yet, too
        self._rows = 0
        self._kept = False
        with named(path):
            self._csv = Growing(path, header.encode("ascii"))
            try:
                _write_whole(self._beside, _json(_begun(settings)))
            except BaseException:
                self.discard()
                raise

    def take(self, frames: Frames | Rows) -> None:
        """Hold some rows; write what is held where there are many."""
        if self._rows >= HELD_ROWS:
            self.flush()
        super().take(frames)
        self._rows += len(frames.time)

    def flush(self) -> None:
        """Write what is held."""
        if not self._rows:
            return
        with named(self._path):
            self._csv.append(self._text.getvalue().encode("ascii"))
        self._file = self._text = io.StringIO()
        self._rows = 0
        self._kept = True

    def finish(self, about: dict[str, Any]) -> None:
        """Write what is held, and what is known about it into .json."""
        self.flush()
        with named(self._path):
            _write_whole(self._beside, _json(about))
        self._kept = True

    def discard(self) -> None:
        """Leave nothing behind but rows."""
        if not self._kept:
            with named(self._path):
                self._path.unlink(missing_ok=True)
                self._beside.unlink(missing_ok=True)


class StreamingParquet:
    """A folder of Parquet files of one minute each, read as one table by all that read Parquet.

    Minute n, the rows with 60 n <= ``time`` < 60 (n + 1), is in ``part-00000n.parquet``; a minute
    without rows has none. The metadata of each part is that of `ParquetWriter`, as far as it was
    known then; ``_about.json`` has it too, in full at the end.

    The minute that goes on is ``_current.arrows``, which readers of the folder pass over. When a
    run was killed, its rows are there, until another run replaces the folder::

        with pyarrow.OSFile("OUT.parquet/_current.arrows") as file:
            for batch in pyarrow.ipc.open_stream(file):
                ...

    The last batch may be torn, which raises `pyarrow.ArrowInvalid` or `OSError` after all that
    were flushed. (Killed in the moment when a part is whole, its rows are in both.)
    """

    def __init__(self, path: Path, names: Sequence[str], settings: Settings) -> None:
        self._path = path
        self._held = HeldRows(names, settings, HELD_ROWS)
        self._about = _begun(settings)
        self._current: Growing | None = None
        self._minute = 0
        self._kept = False
        _clear(path)
        try:
            with named(path):
                _write_whole(path / "_about.json", _json(self._about))
        except BaseException:
            self.discard()
            raise

    def take(self, frames: Frames | Rows) -> None:
        """Hold some rows; write what is held where there are many, and minutes that are over."""
        minutes = frames.time // 60
        start = 0
        while start < len(minutes):
            if minutes[start] != self._minute:
                self._end_minute(self._about)
                self._minute = int(minutes[start])
            if self._held.full:
                self.flush()
            stop = int(np.searchsorted(minutes, self._minute, side="right"))
            start += self._held.take(frames, start, stop)

    def flush(self) -> None:
        """Write what is held."""
        if self._held.filled:
            self._write_batch()

    def _write_batch(self) -> None:
        data = self._held.batch().serialize().to_pybytes()
        with named(self._path):
            if self._current:
                self._current.append(data)
            else:
                schema = self._held.schema.with_metadata(metadata(self._about))
                begin = schema.serialize().to_pybytes()
                self._current = Growing(self._path / "_current.arrows", begin + data)
        self._held.filled = 0
        self._kept = True

    def _end_minute(self, about: dict[str, Any]) -> None:
        """Make a part of the minute; done again from the start where it failed."""
        self.flush()
        if not self._current:
            return
        with named(self._path):
            part = Partial(self._path / f"part-{self._minute:06d}.parquet")
            try:
                _convert(self._current.path, part.name, self._held.schema, about)
                part.commit()
            finally:
                part.discard()
            self._current.path.unlink()
        self._current = None

    def finish(self, about: dict[str, Any]) -> None:
        """Make the last part, and write what is known about it."""
        if not self._kept:
            self._write_batch()  # no rows at all are a table too
        self._end_minute(about)
        with named(self._path):
            _write_whole(self._path / "_about.json", _json(about))

    def discard(self) -> None:
        """Leave nothing behind but rows."""
        if not self._kept:
            with named(self._path):
                (self._path / "_about.json").unlink(missing_ok=True)
                self._path.rmdir()


def _convert(stream: Path, part: Path, schema: Any, about: dict[str, Any]) -> None:
    """Write the batches of an Arrow stream into a Parquet file, a group at a time."""
    import pyarrow as pa

    with pa.OSFile(str(stream)) as file, open_parquet(part, schema) as parquet:
        for batches in _groups(pa.ipc.open_stream(file)):
            table = pa.Table.from_batches(batches)
            parquet.write_table(table, row_group_size=len(table))
        parquet.add_key_value_metadata(metadata(about))


def _groups(batches: Iterable[Any]) -> Iterator[list[Any]]:
    """The batches, as many at once as make a group of rows."""
    group: list[Any] = []
    rows = 0
    for batch in batches:
        group.append(batch)
        rows += len(batch)
        if rows >= GROUP_ROWS:
            yield group
            group, rows = [], 0
    if rows:
        yield group


_OURS = re.compile(r"part-\d{6,}\.parquet|_current\.arrows|_about\.json|\.[0-9a-f]{16}\.part")


def _clear(path: Path) -> None:
    """Make an empty folder, where a file or a folder of ours may be; `OSError` for all else."""
    if path.is_file():
        path.unlink()
    if not path.exists():
        path.mkdir()
    if not path.is_dir():
        raise OSError(None, "is there and is neither a file nor a folder", str(path))
    refuse_foreign(path / "_about.json")
    there = list(path.iterdir())
    for file in there:
        if not (_OURS.fullmatch(file.name) and file.is_file()):
            raise OSError(None, f"holds {file.name}, which is not rtaudio's", str(path))
    for file in there:
        file.unlink()


class StreamingNpz(NpzWriter):
    """An NPZ file, put together when the run ends; what is flushed can't be read before."""

    def __init__(self, path: Path, names: Sequence[str], settings: Settings) -> None:
        self._path = path
        self._torn = False
        with named(path):
            super().__init__(path, names)
        for name, titles in columns(names, settings).items():  # where no row comes, too
            width = () if titles == [name] else (len(titles),)
            self._shapes[name] = (dtype_of(name), width)

    def take(self, frames: Frames | Rows) -> None:
        """Write some rows to where they wait; the last ones to come where that fails."""
        if self._torn:  # what followed would stand beside other features' rows
            raise OSError(None, "is not taking rows since its disk was full", str(self._path))
        try:
            with named(self._path):
                super().take(frames)
        except BaseException:
            self._torn = True
            raise

    def flush(self) -> None:
        """Do nothing."""

    def finish(self, about: dict[str, Any]) -> None:
        """Put the arrays together, and give the file its name."""
        with named(self._path):
            super().finish(about)


# --- files ------------------------------------------------------------------------------------


class Growing:
    """A file that grows by whole pieces: all of a piece is in it, or nothing."""

    def __init__(self, path: Path, begin: bytes) -> None:
        _write_whole(path, begin)
        self.path = path
        self._size = len(begin)

    def append(self, data: bytes) -> None:
        """Add a piece; raises `OSError` where it can't, or where others write the file too."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            if os.fstat(file).st_size != self._size:
                raise OSError(None, "was changed by something else: is another run writing it?")
            self._write(file, memoryview(data))
        finally:
            os.close(file)

    def _write(self, file: int, rest: memoryview) -> None:
        size = self._size + len(rest)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._size)
            raise
        self._size = size


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there."""
    partial = Partial(path)
    try:
        partial.name.write_bytes(data)
        partial.commit()
    finally:
        partial.discard()


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Give an `OSError` the name of the output, which is what the user knows."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error.strerror or str(error)
        raise OSError(error.errno, reason, str(path)) from None


def _begun(settings: Settings) -> dict[str, Any]:
    """What is known about an output when it is begun."""
    from rtaudio import __version__

    return {"rtaudio": __version__, "settings": asdict(settings)}


def _json(about: dict[str, Any]) -> bytes:
    return (json.dumps(about, indent=2) + "\n").encode()
