"""What there is to analyze: a folder, a glob, a list or a URL becomes names and identities."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, NamedTuple

from rtaudio.sources.block import SourceError
from rtaudio.sources.gaps_file import gaps_path
from rtaudio.sources.remote import filesystem, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"),
    *(".au", ".snd", ".w64", ".rf64", ".caf"),
)


class Recording(NamedTuple):
    """A recording as it was found."""

    path: str
    """Absolute, or a URL."""
    identity: str
    """Changes with the file, or with the list of gaps beside it."""
    size: int
    """In bytes; 0: not known."""


@dataclass
class Found:
    """All that was found, each recording once, in the order of their names."""

    recordings: dict[str, Recording] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """What was named and is not there, and why."""
    twice: int = 0
    """How many were named more than once."""
    others: Counter[str] = field(default_factory=Counter)
    """Files in folders that are no recordings, by their suffix."""

    @property
    def named(self) -> int:
        """How many files were come across."""
        return len(self.recordings) + len(self.failed) + self.twice + self.others.total()

    def add(self, path: str) -> None:
        """Add a file on this machine."""
        if path in self.recordings or path in self.failed:
            self.twice += 1
            return
        try:
            self.recordings[path] = look(path)
        except SourceError as error:
            self.failed[path] = str(error)

    def add_remote(self, url: str, info: dict[str, Any], gaps: dict[str, Any] | None) -> None:
        """Add what a storage told of a file, and of its list of gaps."""
        self.put(Recording(url, _identity(info, gaps), int(info.get("size") or 0)))

    def put(self, recording: Recording) -> None:
        """Add a recording, once."""
        self.twice += recording.path in self.recordings
        self.recordings[recording.path] = recording


def find(inputs: Iterable[str]) -> Found:
    """Look for the recordings that ``inputs`` name: folders, globs, lists, files, URLs.

    Raises `SourceError` where one of them names nothing.
    """
    found = Found()
    for name in inputs:
        if name.endswith(".gaps.csv"):  # beside its take, by a shell's *
            continue
        before = found.named
        _find(name, found)
        if found.named == before:
            kinds = ", ".join(SUFFIXES)
            raise SourceError(f"{name}: no recordings there: looked for {kinds}")
    found.recordings = dict(sorted(found.recordings.items()))
    return found


def look(path: str) -> Recording:
    """A recording as it is now; raises `SourceError` where it is not there."""
    if is_remote(path):
        with told(path):
            fs, inside = filesystem(path)
            info, gaps = fs.info(inside), None
            with contextlib.suppress(FileNotFoundError):
                gaps = fs.info(_gaps_of(inside))
            return Recording(path, _identity(info, gaps), int(info.get("size") or 0))
    try:
        stat = Path(path).stat()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise SourceError(f"{path}: {reason}: check the name") from None
    if not S_ISREG(stat.st_mode):
        raise SourceError(f"{path}: is no file")
    identity = f"size={stat.st_size} time={stat.st_mtime_ns}"
    with contextlib.suppress(OSError, ValueError):  # there is none
        gaps = gaps_path(path).stat()
        identity += f" gaps={gaps.st_size}.{gaps.st_mtime_ns}"
    return Recording(path, identity, stat.st_size)


def changed(before: str, now: str) -> bool:
    """Whether two identities are of different files: lists may tell less than a single look."""
    one, other = (dict(part.split("=", 1) for part in x.split()) for x in (before, now))
    return any(other.get(name, value) != value for name, value in one.items())


def is_remote(path: str) -> bool:
    """Whether it is read by fsspec, and not by its name here."""
    return "://" in path


def _gaps_of(path: str) -> str:
    return path.rpartition(".")[0] + ".gaps.csv"


def _identity(info: dict[str, Any], gaps: dict[str, Any] | None) -> str:
    names = (
        *("size", "mtime", "LastModified", "last_modified", "Last-Modified", "updated"),
        *("ETag", "etag", "created"),
    )
    known = {name: info[name] for name in names if info.get(name)}
    for name, value in known.items():
        if isinstance(value, datetime):  # some storages tell it in two ways
            known[name] = value.timestamp()
    words = [f"{name}={''.join(str(value).split())}" for name, value in known.items()]
    if gaps is not None:
        words.append(f"gaps={_identity(gaps, None).replace(' ', ',')}")
    return " ".join(words)


def _find(name: str, found: Found) -> None:
    name = name.removeprefix("file://")
    if name == "-":
        _find_listed(sys.stdin.buffer.read(), "standard input", found)
    elif is_remote(name):
        _find_remote(name, found)
    elif Path(name).is_dir():
        _find_below(name, found, set())
    elif Path(name).suffix.lower() in SUFFIXES and Path(name).exists():
        found.add(os.path.abspath(name))  # noqa: PTH100 - a link keeps its own name
    elif Path(name).is_file():
        if _is_list(name):
            _find_listed(Path(name).read_bytes(), name, found)
        else:
            _is_recording(name, found)
    elif glob.has_magic(name):
        visited: set[tuple[int, int]] = set()
        for path in sorted(glob.iglob(name, recursive=True)):  # noqa: PTH207 - `**` follows links
            if Path(path).is_dir():
                if not name.endswith("**"):
                    _find_below(path, found, visited)
            elif _is_recording(path, found):
                found.add(os.path.abspath(path))  # noqa: PTH100
    else:
        raise SourceError(f"{name}: no such folder, file or list: check the name")


def _find_below(folder: str, found: Found, visited: set[tuple[int, int]]) -> None:
    """Add what is in a folder and its folders, each of which is entered once: links may loop."""

    def fail(error: OSError) -> None:
        found.failed[str(error.filename)] = f"{error.filename}: {error.strerror}"

    for here, folders, files in os.walk(os.path.abspath(folder), onerror=fail, followlinks=True):  # noqa: PTH100
        stat = Path(here).stat()
        if (stat.st_dev, stat.st_ino) in visited:
            folders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if not file.startswith(".") and _is_recording(file, found):
                found.add(os.path.join(here, file))  # noqa: PTH118 - a hundred thousand times


def _is_recording(name: str, found: Found) -> bool:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix not in SUFFIXES and not name.endswith(".gaps.csv"):
        found.others[suffix or "without a suffix"] += 1
    return suffix in SUFFIXES


def _is_list(name: str) -> bool:
    """Whether a file looks like names, and not like a recording or its gaps."""
    with Path(name).open("rb") as file:
        head = file.read(4096)
    return not name.endswith(".gaps.csv") and not re.search(rb"[\x01-\x08\x0e-\x1f]", head)


def _find_listed(data: bytes, name: str, found: Found) -> None:
    """Add what a list names: one a line, or with NUL between them, as `find -print0` writes."""
    nul = b"\0" in data
    lines = data.split(b"\0") if nul else data.removeprefix(b"\xef\xbb\xbf").splitlines()
    if not any(lines):
        raise SourceError(f"{name}: the list is empty: name recordings, one a line")
    for line in lines:
        entry = os.fsdecode(line)
        if not entry or (entry.startswith("#") and not nul):
            continue
        if is_remote(entry := entry.removeprefix("file://")):
            try:
                _find_remote(entry, found)
            except SourceError as error:
                found.failed[entry] = str(error)
        else:
            found.add(os.path.abspath(entry))  # noqa: PTH100


def _find_remote(url: str, found: Found) -> None:
    fs, path = filesystem(url)
    with told(url):
        infos = dict(_infos(fs, path))
        if not infos:
            fs.info(path)  # says why, where it is not even there
        for name, info in infos.items():
            if name == path:
                found.put(look(fs.unstrip_protocol(name)))
            elif _is_recording(name, found):
                gaps = infos.get(_gaps_of(name))
                if info.get("size") is None:  # a list that tells names alone
                    found.put(look(fs.unstrip_protocol(name)))
                else:
                    found.add_remote(fs.unstrip_protocol(name), info, gaps)


def _infos(fs: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if glob.has_magic(path):
        yield from sorted(fs.glob(path, detail=True).items())
    elif Path(path).suffix.lower() in SUFFIXES:
        yield path, fs.info(path)
    else:
        yield from sorted(fs.find(path, detail=True).items())
