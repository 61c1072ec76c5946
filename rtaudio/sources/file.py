"""Recordings: everything that libsndfile reads, from a path or from standard input."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import soundfile

from rtaudio.sources.block import Block, Gap, SourceError, check_sizes
from rtaudio.sources.clock import HEAD, wall_clock
from rtaudio.sources.gaps_file import Listed, gaps_path, read_listed
from rtaudio.sources.pace import paced, realtime_blocksize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from os import PathLike
    from typing import Self

    from numpy.typing import NDArray

BLOCKSIZE = 16384

_PCM = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
_CUT = {(kind, code) for kind in ("WAV", "WAVEX", "RF64", "W64", "AIFF") for code in _PCM}
_CUT |= {("FLAC", code) for code in ("PCM_S8", "PCM_16", "PCM_24")}


class FileSource:
    """A recording, read in blocks of ``blocksize`` samples.

    ``realtime=True`` delivers them at the pace of a microphone, ``blocksize`` is then 10 ms.
    Nothing is taken from the header but what is needed to decode: however long it claims to be,
    the memory is one block's, and a recording that ends early is said so in ``notes``.
    What TAKE.gaps.csv beside TAKE.wav lists as gaps is delivered as lost, and not as samples; its
    remarks come with the block that reaches their first sample.
    `SourceError` says what cannot be read, and why.
    """

    _listed = Listed([], [])
    _start = 0
    _stop: int | None = None
    _mend = "what ffmpeg can still read of it: ffmpeg -i FILE mended.wav"

    def __init__(
        self, path: str | PathLike[str], *, realtime: bool = False, blocksize: int | None = None
    ) -> None:
        self.name = str(path)
        self._open(Path(path), realtime, blocksize)
        try:
            self._take_listed(read_listed(gaps_path(path), self._total), str(gaps_path(path)))
        except SourceError:
            self._file.close()
            raise

    def _take_listed(self, listed: Listed, name: str) -> None:
        """Take what the list ``name`` says, and note what was lost and is not on the axis."""
        self._listed = listed
        unplaced = [remark for remark in listed.remarks if remark.cause == "unplaced"]
        if unplaced:
            lost = sum(remark.length for remark in unplaced)
            first = min(remark.first_sample for remark in unplaced)
            end = max(remark.first_sample + remark.uncertainty for remark in unplaced)
            self.notes.append(
                f"{name}: {lost} samples ({lost / self.sr:.3f} s) more were lost somewhere in "
                f"{first / self.sr:.3f} … {end / self.sr:.3f} s; they are not in the recording"
            )

    def _open(self, file: Path | int | IO[bytes], realtime: bool, blocksize: int | None) -> None:
        check_sizes(1, blocksize)
        if isinstance(file, Path):
            _check_readable(file)
        try:
            # as bytes, since a name need not be text
            name = os.fsencode(file) if isinstance(file, Path) and os.name == "posix" else file
            self._file = _Forward(name, closefd=False)
        except (soundfile.LibsndfileError, TypeError) as error:
            raise SourceError(f"{self.name}: {self._why(error)}") from None
        self.sr: int = self._file.samplerate
        self.channels: int = self._file.channels
        try:
            check_sizes(self.sr, None)
        except ValueError as error:
            self._file.close()
            raise SourceError(f"{self.name}: its header says {error}: mend it") from None
        self.realtime = realtime
        self.notes: list[str] = []
        self._blocksize = blocksize or (realtime_blocksize(self.sr) if realtime else BLOCKSIZE)
        claimed = self._file.frames
        self._seekable = soundfile.SoundFile.seekable(self._file)
        known = self._seekable and 0 <= claimed < 1 << 62
        self._total: int | None = claimed if known else None
        self.duration_s: float | None = claimed / self.sr if known else None

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._file.close()

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks whose samples are overwritten by the next one."""
        return paced(self._blocks(), self.sr) if self.realtime else self._blocks()

    def _blocks(self) -> Iterator[Block]:
        buffer = np.empty((self._blocksize, self.channels), np.float32)
        position = before = self._start
        if position:
            self._seek(position)
        gaps, lost = self._gaps_inside(), []  # still to come; before the next block
        remarks = deque(r for r in self._listed.remarks if r.first_sample >= position)
        while True:
            if gaps and gaps[0].first_sample == position:
                gap = gaps.popleft()
                length = self._skip(gap.length, buffer, position)
                lost += [gap._replace(length=length)] if length else []
                position += length
                continue
            until = gaps[0].first_sample if gaps else self._stop
            room = len(buffer) if until is None else until - position
            samples = self._read(buffer[:room], position)
            at_end = not len(samples) and self._stop is None  # also what is said of the end itself
            due = _due(remarks, position + len(samples) + at_end)
            if len(samples) or lost or due:
                missing = before + sum(gap.length for gap in lost)
                yield Block(samples, position, missing, gaps=tuple(lost), remarks=due)
            if not len(samples):
                break
            position += len(samples)
            before, lost = 0, []
        if self._stop is None:
            self._note_early_end(position)

    def _gaps_inside(self) -> deque[Gap]:
        """The gaps, or what lies of them in the piece that is asked for."""
        inside: deque[Gap] = deque()
        for gap in self._listed.gaps:
            first, end = max(gap.first_sample, self._start), gap.first_sample + gap.length
            end = end if self._stop is None else min(end, self._stop)
            if first < end:
                inside.append(gap._replace(first_sample=first, length=end - first))
        return inside

    def _seek(self, position: int) -> int:
        try:
            return int(self._file.seek(position))
        except soundfile.LibsndfileError as error:
            raise SourceError(
                f"{self.name}: ends before {position / self.sr:.2f} s "
                f"({error.error_string.rstrip('.')}); {self._mend}"
            ) from None

    @property
    def samples(self) -> int | None:
        """How many samples its header promises; None where it does not know."""
        return self._total

    @property
    def exact_pieces(self) -> bool:
        """Whether any piece of it is to the bit what it is in the whole."""
        return (self._file.format, self._file.subtype) in _CUT

    def cut(self, start: int, stop: int | None) -> None:
        """Deliver samples ``start`` to ``stop`` alone, where `exact_pieces` are to be had.

        What lies before counts as lost in `Block.lost`, so that each sample keeps its number;
        in `Block.gaps` stands what was truly lost.
        """
        self._start, self._stop = start, stop

    def recorded(self) -> datetime | None:
        """When the first sample was recorded, as `wall_clock` finds it; None: not told."""
        return wall_clock(Path(self.name).name, self._file.copy_metadata(), self._head())

    def _head(self) -> bytes:
        with Path(self.name).open("rb") as file:
            return file.read(HEAD)

    def _read(self, out: NDArray[np.float32], position: int) -> NDArray[np.float32]:
        """The next samples, at most as many as fit into ``out``; none at the end."""
        try:
            samples: NDArray[np.float32] = self._file.read(out=out)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            after = f"{position / self.sr:.2f} s"
            raise SourceError(
                f"{self.name}: damaged after {after} ({reason}); {self._mend}"
            ) from None
        return samples

    def _skip(self, count: int, scratch: NDArray[np.float32], position: int) -> int:
        """Leave out ``count`` samples; returns how many there were."""
        if self._total is not None and self._file.subtype == "FLOAT":  # a take: the place is known
            return self._seek(position + count) - position
        done = 0
        while done < count and (got := len(self._read(scratch[: count - done], position + done))):
            done += got
        return done

    def _why(self, error: Any) -> str:
        if isinstance(error, TypeError):  # soundfile wants to be told what a .raw or .pcm holds
            return "raw samples have no header: rtaudio analyze - --raw f32le:48000:1 < FILE"
        reason = error.error_string.rstrip(".")
        piped = isinstance(self, StdinFileSource)
        mend = self._mend if piped else "convert it: ffmpeg -i FILE converted.wav"
        return f"not a recording that libsndfile can read ({reason}); {mend}"

    def _note_early_end(self, position: int) -> None:
        promised = _promised(self._file) or round((self.duration_s or 0) * self.sr)
        if not self._seekable and self._file.frames < (1 << 32) // (8 * self.channels) - 1:
            promised = self._file.frames  # more is how a header says that it does not know
        if position < promised:
            self.notes.append(
                f"{self.name}: ends early: its header promises {promised / self.sr:.2f} s, "
                f"{position / self.sr:.2f} s are there"
            )


def _due(remarks: deque[Gap], reached: int) -> tuple[Gap, ...]:
    """Take the remarks on what lies before the sample ``reached``; their order stays."""
    due = []
    while remarks and remarks[0].first_sample < reached:
        due.append(remarks.popleft())
    return tuple(due)


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """Reads straight on: soundfile seeks after each read if it may, which is not exact in MP3."""

    def seekable(self) -> bool:
        return False


class StdinFileSource(FileSource):
    """A recording on standard input: WAV, AIFF, AU, W64, Ogg, whatever needs no seeking."""

    _mend = "a pipe must hold WAV: ffmpeg -i FILE -f wav - | rtaudio …"

    def __init__(self, soon: bool = False) -> None:
        """``soon``: in blocks as short as a microphone's, since it may come as slowly."""
        self.name = "standard input"
        check_stdin()
        self._open(sys.stdin.fileno(), realtime=False, blocksize=None)
        if soon:
            self._blocksize = realtime_blocksize(self.sr)


def check_stdin() -> None:
    """Raise `SourceError` where nothing can be read from standard input."""
    if sys.stdin is None or sys.stdin.closed:
        raise SourceError("standard input is closed: name a recording, or pipe one in")
    if sys.stdin.isatty():
        raise SourceError(
            "standard input is the terminal: pipe a recording in (ffmpeg … | rtaudio …)"
        )


def _check_readable(path: Path) -> None:
    try:
        mode = path.stat()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file: check the name") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode.st_mode):
        raise SourceError(f"{path}: is a folder: name the recordings in it ({path}/*.wav)")
    if stat.S_ISREG(mode.st_mode) and mode.st_size == 0:
        raise SourceError(f"{path}: is empty (0 bytes): record or copy it again")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path}: permission denied: make it readable (chmod +r)")


def _promised(file: soundfile.SoundFile) -> int:
    """How many samples the header of a WAV or AIFF promises where the file holds fewer, else 0.

    libsndfile corrects its own count by the file's size and tells in its log alone.
    """
    found = re.search(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.M)
    if not found or file.samplerate == 0:
        return 0
    claimed, actual = int(found[1]), int(found[2])
    if claimed >= 0xFFFF_0000 or actual <= 0:  # "not known", as programs that write to a pipe say
        return 0
    return int(file.frames) * claimed // actual
