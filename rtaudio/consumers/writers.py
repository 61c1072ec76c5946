"""Features into files: CSV, NPZ, Parquet; rows as they come, in constant memory.

A file is written under another name and renamed when it is whole: it is whole or not there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TextIO

import numpy as np

from rtaudio.consumers.partial import Partial

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from rtaudio.analysis.frames import Features, Frames
    from rtaudio.analysis.settings import Settings

SUFFIXES = (".csv", ".npz", ".parquet")


class Writer(Protocol):
    """Takes rows, then is finished or discarded."""

    def take(self, frames: Frames | Rows) -> None:
        """Write some rows; raises `OSError` where the disk is full."""
        ...

    def finish(self, about: dict[str, Any]) -> None:
        """Complete the file with what is known about it, and give it its name."""
        ...

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `finish`."""
        ...


def open_writer(path: Path, names: Sequence[str], settings: Settings) -> Writer:
    """A writer for the features ``names`` by the suffix of ``path``.

    Raises `ValueError` for another suffix, `OSError` where it can't be written, and
    `ModuleNotFoundError` where pyarrow is missing.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: not one of {', '.join(SUFFIXES)}")
    if path.exists() and not path.is_file():
        raise OSError(None, "is there and is not a file", str(path))
    if path.suffix == ".npz":
        return NpzWriter(path, names)
    return (CsvFileWriter if path.suffix == ".csv" else ParquetWriter)(path, names, settings)


def save(features: Features, path: str | os.PathLike[str]) -> None:
    """Write `Features` to ``path``, by its suffix."""
    names = [name for name in features.arrays if name not in ("time", "lost")]
    writer = open_writer(Path(path), names, features.settings)
    try:
        for start in range(0, len(features), 4096):
            writer.take(Rows(features, slice(start, start + 4096)))
        writer.finish(features.about)
    finally:
        writer.discard()


class Rows:
    """Some rows of `Features`, as `Frames` have them."""

    def __init__(self, features: Features, rows: slice) -> None:
        self._features = features
        self._rows = rows

    def __getattr__(self, name: str) -> NDArray[Any]:
        return self._features.arrays[name][self._rows]


def columns(names: Iterable[str], settings: Settings) -> dict[str, list[str]]:
    """The columns of a table, by feature: ``time``, ``lost``, then each, numbered where wide."""
    widths = {"mfcc": settings.n_mfcc, "mel_db": settings.n_mels}
    widths |= {"db": settings.n_bins, "power": settings.n_bins}
    return {
        name: [f"{name}_{i}" for i in range(widths[name])] if name in widths else [name]
        for name in ("time", "lost", *names)
    }


def dtype_of(name: str) -> np.dtype[Any]:
    """The dtype of a feature, the same in `Frames` and in every output."""
    kinds = {"time": np.float64, "captured": np.float64, "lost": np.int64}
    return np.dtype(kinds.get(name, np.float32))


class CsvWriter:
    """One row a frame, 9 digits of each float32, so that it reads back to the same bits."""

    def __init__(self, file: TextIO, names: Sequence[str], settings: Settings) -> None:
        self._file = file
        titles = columns(names, settings)
        self._names = list(titles)
        digits = {"time": "%.9f", "captured": "%.9f", "lost": "%d"}
        formats = [digits.get(name, "%.9g") for name, wide in titles.items() for _ in wide]
        self._format = ",".join(formats) + "\n"
        self._header = ",".join(title for wide in titles.values() for title in wide) + "\n"

    def take(self, frames: Frames | Rows) -> None:
        """Write some rows."""
        parts = [getattr(frames, name) for name in self._names]
        table = np.column_stack([np.asarray(part, np.float64) for part in parts])
        self._file.write(self._header)  # with the first rows: no header of what can't be read
        self._header = ""
        self._file.write(self._format * len(table) % tuple(table.ravel().tolist()))

    def finish(self, about: dict[str, Any]) -> None:  # noqa: ARG002 - rows are all there is
        """Write what is still held back."""
        self._file.flush()

    def discard(self) -> None:
        """Leave the stream as it is: it is somebody else's."""


class CsvFileWriter(CsvWriter):
    """A CSV file, and beside it in .json what is known about it."""

    def __init__(self, path: Path, names: Sequence[str], settings: Settings) -> None:
        self._beside = path.with_suffix(".json")
        refuse_foreign(self._beside)
        self._partial = Partial(path)
        super().__init__(self._partial.name.open("w", encoding="ascii"), names, settings)

    def finish(self, about: dict[str, Any]) -> None:
        """Give the file its name, and write what is known about it into .json."""
        self._file.close()
        beside = Partial(self._beside)
        try:
            beside.name.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            self._partial.commit()
            beside.commit()
        finally:
            beside.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # a full disk, again, at the last flush
            self._file.close()
        self._partial.discard()


def refuse_foreign(beside: Path) -> None:
    """Raise `OSError` where the place of the settings is taken by something else."""
    if not beside.exists():
        return
    try:
        ours = "rtaudio" in json.loads(beside.read_text(encoding="utf-8"))
    except (ValueError, OSError, TypeError):
        ours = False
    if not ours:
        raise OSError(
            None, "is there and is not rtaudio's; the settings would go there", str(beside)
        )


class NpzWriter:
    """An array a feature, as `numpy.savez` writes it, put together from unnamed files at the end.

    Beside ``time`` and ``lost``: ``frequencies`` (Hz), ``settings`` (JSON of `Settings`) and
    ``about`` (JSON).
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._partial = Partial(path)
        self._spools: dict[str, IO[bytes]] = {}
        self._shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        try:
            for name in ("time", "lost", *names):
                self._spools[name] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        except BaseException:
            self.discard()
            raise
        self._rows = 0

    def take(self, frames: Frames | Rows) -> None:
        """Write some rows."""
        for name, spool in self._spools.items():
            array = np.ascontiguousarray(getattr(frames, name))
            self._shapes[name] = (array.dtype, array.shape[1:])
            spool.write(array.data)
        self._rows += len(array)

    def finish(self, about: dict[str, Any]) -> None:
        """Put the arrays together, and give the file its name."""
        from rtaudio.analysis.settings import Settings

        settings = Settings(**about["settings"])
        with zipfile.ZipFile(self._partial.name, "w") as archive:
            for name, spool in self._spools.items():
                dtype, width = self._shapes[name]
                spool.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(dtype),
                        "fortran_order": False,
                        "shape": (self._rows, *width),
                    }
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(spool, member, 1 << 20)
            for name, value in (
                ("frequencies", settings.frequencies),
                ("settings", np.array(settings.to_json())),
                ("about", np.array(json.dumps(about))),
            ):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, value, allow_pickle=False)
        self._partial.commit()
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        for spool in self._spools.values():
            with contextlib.suppress(OSError):
                spool.close()
        self._partial.discard()


class HeldRows:
    """Up to ``rows`` rows as Arrow has them: a buffer that is filled and emptied, over and over.

    ``schema`` has the titles of `columns` and the dtypes of `dtype_of`. Raises
    `ModuleNotFoundError` where pyarrow is missing.
    """

    def __init__(self, names: Sequence[str], settings: Settings, rows: int) -> None:
        import pyarrow as pa

        self._pa = pa
        titles = columns(names, settings)
        self.schema = pa.schema(
            [
                (title, pa.from_numpy_dtype(dtype_of(name)))
                for name, wide in titles.items()
                for title in wide
            ]
        )
        self._held = {
            name: np.empty((rows, len(wide)), dtype_of(name)) for name, wide in titles.items()
        }
        self._rows = rows
        self.filled = 0

    @property
    def full(self) -> bool:
        """Whether no other row fits."""
        return self.filled == self._rows

    def take(self, frames: Frames | Rows, start: int, stop: int) -> int:
        """Copy rows from ``start`` on, before ``stop``, while they fit; return how many."""
        count = min(stop - start, self._rows - self.filled)
        for name, held in self._held.items():
            rows = getattr(frames, name)[start : start + count]
            held[self.filled : self.filled + count] = rows.reshape(count, -1)
        self.filled += count
        return count

    def batch(self) -> Any:
        """What is held, as a record batch that is good until the next `take`."""
        arrays = [column for held in self._held.values() for column in held[: self.filled].T]
        return self._pa.RecordBatch.from_arrays(
            [self._pa.array(array) for array in arrays], schema=self.schema
        )


def open_parquet(path: Path, schema: Any) -> Any:
    """A Parquet file as ours are encoded, by pyarrow."""
    import pyarrow.parquet as pq

    # Without an Arrow schema of its own, readers find the metadata added at the end.
    return pq.ParquetWriter(
        path, schema, store_schema=False, use_dictionary=False, write_statistics=["time"]
    )


def metadata(about: dict[str, Any]) -> dict[str, str]:
    """What is known about a table as Parquet's and Arrow's metadata have it."""
    return {"settings": json.dumps(about["settings"]), "rtaudio": json.dumps(about)}


class ParquetWriter:
    """One row a frame, columns as in CSV; what is known about it in the file's metadata.

    Metadata keys: ``settings`` (JSON of `Settings`) and ``rtaudio`` (JSON).
    """

    GROUP_ROWS = 16384  # each group of each column adds a little to the footer, held in memory

    def __init__(self, path: Path, names: Sequence[str], settings: Settings) -> None:
        # A row group is encoded before `write_batch` returns, so one buffer serves for all.
        self._held = HeldRows(names, settings, self.GROUP_ROWS)
        self._partial = Partial(path)
        try:
            self._file = open_parquet(self._partial.name, self._held.schema)
        except BaseException:
            self._partial.discard()
            raise

    def take(self, frames: Frames | Rows) -> None:
        """Write some rows."""
        total, start = len(frames.time), 0
        while start < total:
            start += self._held.take(frames, start, total)
            if self._held.full:
                self._write_group()

    def _write_group(self) -> None:
        self._file.write_batch(self._held.batch())
        self._held.filled = 0

    def finish(self, about: dict[str, Any]) -> None:
        """Write the footer, and give the file its name."""
        if self._held.filled:
            self._write_group()
        self._file.add_key_value_metadata(metadata(about))
        self._file.close()
        self._partial.commit()

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._partial.discard()
