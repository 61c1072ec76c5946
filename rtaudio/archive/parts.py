"""Parts of the dataset: an hour of a recording each, a Parquet file that is whole or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

import rtaudio
from rtaudio.archive.plan import HOUR_S, DatasetError
from rtaudio.archive.rows import Rows
from rtaudio.consumers.partial import Partial
from rtaudio.consumers.writers import metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rtaudio.archive.plan import Plan
    from rtaudio.sources.file import FileSource

GROUP_NUMBERS = 1 << 22  # of a row group, which is held in memory
GROUP_ROWS = 1 << 16
PART = re.compile(r".*-[0-9a-f]{16}-\d{5,}\.parquet")
HALF = re.compile(r"\.[0-9a-f]{16}\.part")  # in the making, or of a run that was killed


def shown(path: str) -> str:
    """A path as text: what is no UTF-8 stands as a backslash, x and two digits."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def name_of(path: str, hour: int) -> str:
    """What the part of an hour of a recording is called: the same each time."""
    digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    stem = re.sub(r"[^A-Za-z0-9.]+", "_", os.path.basename(path))[:60].strip("._")  # noqa: PTH119
    return f"{stem or 'recording'}-{digest}-{hour:05d}.parquet"


def schema_of(plan: Plan) -> Any:
    """The columns of a dataset, as an Arrow schema; the README says what they are."""
    import pyarrow as pa

    bins = plan.bin_s is not None
    fields = [("path", pa.string()), ("start", pa.float64())]
    fields += [("end", pa.float64())] if bins else []
    fields += [("clock", pa.timestamp("us")), ("sr", pa.int32())]
    fields += [("frames", pa.int64()), ("lost_s", pa.float64())] if bins else [("lost", pa.int64())]
    fields += [(title, pa.float32()) for title in plan.titles()]
    if plan.model is not None:
        fields += [("label", pa.string()), ("probability", pa.float32())]
        fields += [(f"heard_{label}", pa.float32()) for label in plan.labels if bins]
    return pa.schema(fields)


class Parts:
    """Writes the rows of one recording, or of a piece of it; all parts get their names at once.

    Raises `DatasetError` where they can't be written.
    """

    def __init__(self, plan: Plan, path: str, source: FileSource) -> None:
        self._plan, self._path, self._recorded = plan, path, source.recorded()
        sr, self._end_s = source.sr, source.duration_s
        about = {"rtaudio": rtaudio.__version__, **plan.about()}
        settings = plan.settings.with_sr(sr)
        about["settings"], self._sr = asdict(settings), settings.sr
        about |= {"source": shown(path), "source_sr": sr}
        self._metadata, self._schema = metadata(about), schema_of(plan)
        self._room = max(64, min(GROUP_ROWS, GROUP_NUMBERS // len(self._schema)))
        self._held: Rows | None = None  # arrays of ``room`` rows, filled and emptied over and over
        self._filled = 0
        self._hour = -1  # of the rows that are held
        self._partials: list[Partial] = []
        self._file: Any = None  # of the last of these, as long as it is open

    def __enter__(self) -> Parts:
        """Discard at the exit what was not committed."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leave nothing half-written behind."""
        with contextlib.suppress(OSError):  # a full disk, again, at the last flush
            self._close()
        for partial in self._partials:
            partial.discard()

    def take(self, rows: Rows) -> None:
        """Write rows, each to the part of its hour; they come in order."""
        if self._held is None:
            shapes = ((self._room, *array.shape[1:]) for array in rows)
            arrays = zip(shapes, rows, strict=True)
            self._held = Rows(*(np.empty(shape, array.dtype) for shape, array in arrays))
        hours = (rows.start // HOUR_S).astype(np.int64)
        if self._end_s and self._end_s % HOUR_S == 0:
            hours -= rows.start == self._end_s  # a frame in the middle of the very end
        start = 0
        while start < len(hours):
            if hours[start] != self._hour:
                self._begin(int(hours[start]))
            alike = int(np.searchsorted(hours, self._hour, side="right"))
            stop = min(alike, start + self._room - self._filled)
            for held, array in zip(self._held, rows, strict=True):
                held[self._filled : self._filled + stop - start] = array[start:stop]
            self._filled += stop - start
            start = stop
            if self._filled == self._room:
                self._write()

    def take_all(self, some: Iterable[Rows]) -> None:
        """As `take`, several times."""
        for rows in some:
            self.take(rows)

    def commit(self) -> dict[str, int]:
        """Give all parts their names; returns these, and their sizes in bytes."""
        self._end()
        with self._writing():
            sizes = {part.path.name: part.name.stat().st_size for part in self._partials}
            for partial in self._partials:
                partial.commit()
        return sizes

    def _begin(self, hour: int) -> None:
        self._end()
        self._hour = hour
        import pyarrow.parquet as pq

        with self._writing():
            partial = Partial(self._plan.folder / name_of(self._path, hour))
            self._partials.append(partial)
            texts = [name for name in ("path", "label") if name in self._schema.names]
            self._file = pq.ParquetWriter(
                partial.name,
                self._schema,
                store_schema=False,  # half of a short part
                use_dictionary=texts,
                write_statistics=["start", "clock", *texts],
            )

    def _end(self) -> None:
        if self._filled:
            self._write()
        with self._writing():
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.add_key_value_metadata(self._metadata)
            file.close()

    def _write(self) -> None:
        with self._writing():
            self._file.write_batch(self._batch())
        self._filled = 0

    def _batch(self) -> Any:
        """What is held, as a record batch."""
        import pyarrow as pa

        assert self._held is not None
        rows, bins = self._held.first(self._filled), self._plan.bin_s
        columns: list[Any] = [[shown(self._path)] * self._filled, rows.start]
        columns += [rows.end] if bins is not None else []
        if self._recorded is None:
            columns += [[None] * self._filled]
        else:
            after = np.round(rows.start * 1e6).astype("timedelta64[us]")
            columns += [np.datetime64(self._recorded, "us") + after]
        columns += [[self._sr] * self._filled]
        columns += [rows.lost] if bins is None else [rows.frames, rows.lost]
        columns += list(rows.values.T)
        if self._plan.model is not None:
            names = (*self._plan.labels, None)  # the last one is `NO_LABEL`
            columns += [[names[number] for number in rows.label.tolist()], rows.probability]
            columns += list(rows.shares.T)
        pairs = zip(columns, self._schema, strict=True)
        # What there is nothing of, NaN, is null: else it would be the mean of every sum with it.
        arrays = [pa.array(column, field.type, from_pandas=True) for column, field in pairs]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DatasetError(cannot_write(self._plan.folder, error)) from None


def cannot_write(folder: Path, error: OSError) -> str:
    """What to say of it."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.ENOENT and not folder.is_dir():
        reason = "is not there any more"
    return f"{folder}: {reason}: make room there, and run it again; what is done is kept"
