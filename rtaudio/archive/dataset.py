"""The dataset's folder: parts, and what was made of which recording under which settings.

``_dataset.json`` holds the settings, ``_manifest.jsonl`` a line for each task that is done, in the
order they were; ``_report.csv`` what could not be read. Readers of Parquet leave names that begin
with ``_`` or ``.`` alone. One process writes here; tasks only put whole parts beside.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import gc
import io
import json
import os
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rtaudio
from rtaudio.archive.parts import HALF, PART, cannot_write, shown
from rtaudio.archive.plan import DATASET, DatasetError
from rtaudio.archive.tasks import Task
from rtaudio.consumers.partial import Partial
from rtaudio.sources.block import SourceError
from rtaudio.sources.gaps_file import write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtaudio.archive.find import Found, Recording
    from rtaudio.archive.plan import Plan
    from rtaudio.archive.tasks import Done

MANIFEST = "_manifest.jsonl"
REPORT = "_report.csv"


@dataclass(slots=True)
class Entry:
    """What is known of one recording."""

    identity: str = ""
    pieces: int = 1
    done: dict[int, dict[str, int]] = field(default_factory=dict)
    """The parts that each piece made, and their sizes in bytes."""
    stale: set[str] = field(default_factory=set)
    """Parts of what the recording was before."""
    notes: list[str] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    """Why a piece could not be read, the last time."""

    @property
    def complete(self) -> bool:
        """Whether all of it is done."""
        return len(self.done) == self.pieces

    def add(self, line: dict[str, Any]) -> None:
        """Take in a line of the manifest."""
        if "failed" in line:
            self.failed[line["piece"]] = line["failed"]
            return
        if (line["identity"], line["pieces"]) != (self.identity, self.pieces):
            self.stale.update(*self.done.values())
            self.identity, self.pieces = line["identity"], line["pieces"]
            self.done, self.failed, self.notes = {}, {}, []
        self.failed.pop(line["piece"], None)
        self.done[line["piece"]] = line["parts"]
        self.stale.difference_update(line["parts"])
        self.notes += line["notes"]


class Dataset:
    """A dataset that is being made; opened by one process at a time.

    Raises `DatasetError` where the folder is taken, in use, or made with other settings.
    """

    def __init__(self, plan: Plan, force: bool = False) -> None:
        """``force``: begin anew, whatever is there already."""
        self.plan = plan
        """With the dataset's token."""
        self.folder = plan.folder
        self.entries: dict[str, Entry] = {}
        self.notes: list[str] = []
        """What a user should be told."""
        self._manifest: Any = None
        try:
            self._open(plan, force)
        except OSError as error:
            self._close()
            raise DatasetError(f"{self.folder}: {error.strerror or error}") from None
        except BaseException:
            self._close()
            raise

    def _open(self, plan: Plan, force: bool) -> None:
        about = {"rtaudio": rtaudio.__version__, "token": secrets.token_hex(8), **plan.about()}
        self._new = not (self.folder / DATASET).exists()
        if self._new:
            self._make(about)
        self._manifest = (self.folder / MANIFEST).open("a+b", buffering=0)
        self._lock()
        self._agree(about, force)
        self.plan = replace(plan, token=about["token"])
        collects = gc.isenabled()
        gc.disable()  # it would look through all entries again and again
        try:
            self._load()
            self._tidy()
        finally:
            if collects:
                gc.enable()

    def _make(self, about: dict[str, Any]) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise DatasetError(f"{self.folder}: is a file: name a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        if foreign := next(_names(self.folder), None):
            raise DatasetError(
                f"{self.folder}: holds {foreign}, and is no dataset of rtaudio's: name a new folder"
            )
        _write(self.folder / DATASET, json.dumps(about, indent=2) + "\n")

    def _agree(self, about: dict[str, Any], force: bool) -> None:
        """Refuse other settings, or begin anew; ``about`` gets the token that stays."""
        made = self.folder / DATASET
        try:
            was = json.loads(made.read_bytes())
            differ = list(_differences(_plain(was), _plain(about)))
            was["token"], was["rtaudio"]
        except (ValueError, KeyError, TypeError, AttributeError):
            was, differ = {}, [f"a damaged {DATASET}"]
        if differ and not force:
            raise DatasetError(
                f"{self.folder}: was made with {'; '.join(differ)}: name a new folder, or make it "
                "anew with --force"
            )
        if force:
            self._forget()
        else:
            about["token"] = was["token"]
            if was["rtaudio"] != about["rtaudio"]:
                self.notes.append(
                    f"{self.folder}: was begun by rtaudio {was['rtaudio']}, goes on by "
                    f"{about['rtaudio']}"
                )
        if was != about:
            _write(made, json.dumps(about, indent=2) + "\n")

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: nothing keeps two runs apart
            return
        try:
            fcntl.flock(self._manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return  # a file system without locks
            raise DatasetError(
                f"{self.folder}: another run is writing there: wait for it"
            ) from None

    def _forget(self) -> None:
        """Delete what we wrote, and nothing else."""
        for name in _names(self.folder):
            if PART.fullmatch(name) or HALF.fullmatch(name):
                (self.folder / name).unlink()
        os.ftruncate(self._manifest.fileno(), 0)

    def _load(self) -> None:
        self._manifest.seek(0)
        lines = self._manifest.read().split(b"\n")
        torn = lines.pop()  # empty, unless the last run was killed in the middle of it
        if torn:
            os.ftruncate(self._manifest.fileno(), self._manifest.tell() - len(torn))
        for number, known in enumerate(_parsed(lines), 1):
            try:
                path = known["path"]
                entry = self.entries.get(path)
                if entry is None:
                    entry = self.entries[path] = Entry()
                entry.add(known)
            except (KeyError, TypeError, AttributeError):
                raise DatasetError(
                    f"{self.folder / MANIFEST}: line {number} is none of rtaudio's: delete it"
                ) from None

    def _tidy(self) -> None:
        """Forget what was deleted or damaged, and delete what no entry knows: of a killed run."""
        sizes: dict[str, int] = {}
        with os.scandir(self.folder) as there:
            for file in there:
                if PART.fullmatch(file.name):
                    sizes[file.name] = file.stat().st_size
        known: set[str] = set()
        for entry in self.entries.values():
            for at, parts in list(entry.done.items()):
                if any(sizes.get(name) != size for name, size in parts.items()):
                    del entry.done[at]
            known.update(*entry.done.values())
            if not entry.complete:
                known |= entry.stale
        for name in sizes.keys() - known:
            (self.folder / name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Delete what killed processes left half-written."""
        for name in _names(self.folder):
            if HALF.fullmatch(name):
                (self.folder / name).unlink(missing_ok=True)

    def missing(self, recording: Recording) -> list[Task]:
        """What is to be done of a recording; of one that is new or changed the first piece."""
        entry = self.entries.get(recording.path)
        if entry is None or entry.identity != recording.identity or 0 not in entry.done:
            return [Task(recording)]
        count = entry.pieces
        return [Task(recording, piece, count) for piece in range(count) if piece not in entry.done]

    def record(self, task: Task, done: Done) -> list[Task]:
        """Note what became of a task; returns the tasks that it made known.

        Raises `DatasetError` where that can't be written.
        """
        recording = task.recording
        line: dict[str, Any] = {"path": recording.path, "piece": task.piece}
        if done.failed is not None:
            line["failed"] = done.failed
        else:
            line |= {"identity": recording.identity, "pieces": done.pieces}
            line |= {"parts": done.parts, "s": round(done.seconds, 6), "notes": done.notes}
        entry = self.entries.setdefault(recording.path, Entry())
        entry.add(line)
        end = os.fstat(self._manifest.fileno()).st_size
        try:
            write_all(self._manifest, memoryview(json.dumps(line).encode() + b"\n"))
            if entry.complete:
                for name in entry.stale:
                    (self.folder / name).unlink(missing_ok=True)
                entry.stale = set()
        except OSError as error:
            os.ftruncate(self._manifest.fileno(), end)
            raise DatasetError(cannot_write(self.folder, error)) from None
        return self.missing(recording) if not task.piece and done.failed is None else []

    def report(self, found: Found) -> int:
        """Write what could not be read, and what was noted; returns how many of ``found`` failed.

        What failed in a former run and is not asked for any more stays, as long as it is there.
        """
        failed = dict(found.failed)
        for path, entry in self.entries.items():
            recording = found.recordings.get(path)
            # What failed and has become again what was done before, fails no more.
            stays = os.path.lexists(path) if recording is None else bool(self.missing(recording))
            if entry.failed and stays:
                failed[path] = next(iter(entry.failed.values()))
        text = io.StringIO()
        write = csv.writer(text, lineterminator="\n").writerow
        write(("path", "what", "reason"))
        for path, reason in sorted(failed.items()):
            write((shown(path), "failed", shown(reason)))
        for path, entry in sorted(self.entries.items()):
            for note in dict.fromkeys(entry.notes):
                write((shown(path), "note", shown(note)))
        try:
            _write(self.folder / REPORT, text.getvalue())
        except OSError as error:
            raise DatasetError(cannot_write(self.folder, error)) from None
        return sum(path in found.recordings or path in found.failed for path in failed)

    def close(self) -> None:
        """Let the next run in; of a dataset that was not even begun, nothing stays."""
        self._sweep()
        self._close()
        if self._new and not self.entries and not any(map(PART.fullmatch, _names(self.folder))):
            for name in (DATASET, MANIFEST, REPORT):
                (self.folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody put something there
                self.folder.rmdir()

    def _close(self) -> None:
        if self._manifest is not None:
            self._manifest.close()


def open_dataset(path: str | os.PathLike[str]) -> Any:
    """A dataset of `rtaudio archive` as a `pyarrow.dataset.Dataset`.

    One table of all recordings; ``schema.metadata[b"rtaudio"]`` is JSON of how it was made.
    Raises `SourceError` where there is none.
    """
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise SourceError("a dataset needs pyarrow: pip install 'rtaudio[parquet]'")
    import pyarrow.dataset

    folder = Path(path)
    about = about_dataset(folder)
    parts = sorted(str(folder / name) for name in _names(folder) if name.endswith(".parquet"))
    if not parts:
        raise SourceError(f"{folder}: holds no recordings yet: rtaudio archive INPUT -o {folder}")
    dataset = pyarrow.dataset.dataset(parts, format="parquet")
    settings = {b"settings": json.dumps(about["settings"]), b"rtaudio": json.dumps(about)}
    return dataset.replace_schema(dataset.schema.with_metadata(settings))


def about_dataset(folder: Path) -> dict[str, Any]:
    """How a dataset was made; raises `SourceError` where there is none."""
    try:
        about: dict[str, Any] = json.loads((folder / DATASET).read_bytes())
    except FileNotFoundError:
        made = "make one with rtaudio archive"
        raise SourceError(f"{folder}: is a folder, and no dataset: {made}") from None
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror or error}") from None
    except ValueError:
        raise SourceError(f"{folder / DATASET}: is damaged: make the dataset anew") from None
    return about


def _parsed(lines: list[bytes]) -> Iterator[Any]:
    """What is in the lines; None for one that is no JSON."""
    try:
        yield from json.loads(b"[" + b",".join(lines) + b"]")  # much faster than one by one
        return
    except ValueError:
        pass
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            yield None


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as there:
        yield from (entry.name for entry in there)


def _write(path: Path, text: str) -> None:
    """A file that is whole or not there."""
    partial = Partial(path)
    try:
        partial.name.write_text(text, encoding="utf-8")
        partial.commit()
    finally:
        partial.discard()


def _plain(about: dict[str, Any]) -> dict[str, Any]:
    """What is compared, by name."""
    own = {
        name: value for name, value in about.items() if name not in ("rtaudio", "token", "settings")
    }
    return {**own, **json.loads(json.dumps(about["settings"]))}


def _differences(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name in {**was, **now}:
        if was.get(name) != now.get(name):
            words = [_word(name, about.get(name)) for about in (was, now)]
            yield f"{name} {words[0]}, not {words[1]}"


def _word(name: str, value: Any) -> str:
    if name == "model" and value:
        return f"{value[:8]}… (SHA-256)"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
