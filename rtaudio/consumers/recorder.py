"""A take: the samples of a source in a WAV file, zeros in its gaps, the gaps listed beside it."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import math
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rtaudio.sources.block import Gap
from rtaudio.sources.gaps_file import GapsWriter, gaps_path, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtaudio.sources.block import Block

MOST_32 = 0xFFFF_FFFF  # says "look into ds64" where RF64 has a size of 32 bits
IEEE_FLOAT, EXTENSIBLE = 3, 0xFFFE
FLOAT_GUID = bytes.fromhex("0300000000001000800000aa00389b71")


class Recorder:
    """Writes what a source delivers into 32-bit float WAV; RF64 beyond 4 GiB.

    ``pattern`` is a path in which strftime's codes (``%Y%m%d_%H%M%S``) stand for the time (UTC)
    of the file's first sample; ``start`` is the time of sample 0. With ``rotate_s`` every file
    holds so many seconds but the last, and none is lost between them. Beside each file, from its
    start, TAKE.gaps.csv lists its gaps, and the remarks on them. Nothing is overwritten: a first
    file that is there raises `FileExistsError`, a later one gets ``-2``, ``-3`` … before its
    suffix.

    Called by one thread. Holds no samples, and the file can be opened as it is after each
    `flush`, however the run ends. `OSError`, with its ``filename``, ends the recording: what was
    written until then is whole, and further calls do nothing. Raises `ValueError` where the
    arguments make no sense.
    """

    def __init__(
        self,
        pattern: str,
        sr: int,
        channels: int,
        *,
        rotate_s: float | None = None,
        start: datetime,
    ) -> None:
        if Path(pattern).suffix.lower() != ".wav":
            raise ValueError(f"{pattern}: a take is a WAV file: end its name in .wav")
        if rotate_s is not None and not 1 <= rotate_s < math.inf:
            raise ValueError(f"rotate_s={rotate_s} is not at least 1 (s)")
        if rotate_s is not None and "%" not in pattern.replace("%%", ""):
            raise ValueError(
                f"{pattern}: many files need the time in their name: take_%Y%m%d_%H%M%S.wav"
            )
        self.paths: list[Path] = []
        self._pattern, self._sr, self._channels = pattern, sr, channels
        self._start = start.astimezone(UTC) if start.tzinfo is not None else start
        self._length = None if rotate_s is None else round(rotate_s * sr)  # of each file
        self._first = 0  # absolute number of the file's first sample
        self._file: _Take | None = self._open()

    def take(self, block: Block) -> None:
        """Write a block, and zeros for what was lost before it; list its remarks.

        ``block.samples`` is used at the call alone. Blocks that were not handed over, since the
        disk was too slow for them, are listed as dropped, and a loss without a cause as the
        host's. Raises `ValueError` for a block that begins before the end of the last one.
        """
        if self._file is None:
            return
        position = self._first + self._file.length
        untold = block.lost - sum(gap.length for gap in block.gaps)
        skipped = block.first_sample - block.lost - position
        if skipped < 0:
            raise ValueError(
                f"{block.first_sample=} and its gaps begin before the end of the last ({position})"
            )
        with self._or_end():
            for gap in (
                Gap(position, skipped, "dropped", 0),
                Gap(position + skipped, untold, "host", 0),
                *block.gaps,
            ):
                for file, some in self._files(gap.length):
                    file.lose(some.stop - some.start, gap.cause, gap.uncertainty)
            for file, some in self._files(len(block.samples)):
                file.write(block.samples[some])
            for remark in block.remarks:  # at last, since they may be of this block
                self._remark(remark)

    def flush(self) -> None:
        """Make the header true: what was taken can be read from now on."""
        if self._file is not None:
            with self._or_end():
                self._file.flush()

    def finish(self) -> None:
        """Flush and close."""
        if self._file is not None:
            with self._or_end():
                self._file.finish()
            self._file = None

    def _remark(self, remark: Gap) -> None:
        """List it beside the file that holds its first sample: this one, or the one before.

        What lies before both is listed at the beginning of the one before.
        """
        assert self._file is not None
        if max(0, remark.first_sample) < self._first:
            assert self._length is not None
            with contextlib.suppress(FileNotFoundError, PermissionError):  # moved away meanwhile
                gaps = GapsWriter(gaps_path(self.paths[-2]), again=True)
                with contextlib.closing(gaps):
                    gaps.add(_counted_from(self._first - self._length, remark))
                return
        self._file.remark(_counted_from(self._first, remark))

    def _files(self, count: int) -> Iterator[tuple[_Take, slice]]:
        """Which file each of the next ``count`` samples goes to."""
        done = 0
        while done < count and self._file is not None:
            if self._file.length == self._length:
                self._file.finish()
                self._first += self._length
                self._file = None
                self._file = self._open()
            room = count if self._length is None else self._length - self._file.length
            some = slice(done, min(count, done + room))
            yield self._file, some
            done = some.stop

    def _open(self) -> _Take:
        time = self._start + timedelta(seconds=self._first / self._sr)
        wanted = path = Path(time.strftime(self._pattern))
        if "%" in str(Path(self._pattern).parent):  # a folder a day: nobody can make it before
            path.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            try:
                take = _Take(path, self._sr, self._channels)
                break
            except FileExistsError as error:
                if not self.paths:
                    advice = "choose another name, or put the time into it: %Y%m%d_%H%M%S"
                    raise OSError(
                        errno.EEXIST, f"is there already: {advice}", error.filename
                    ) from None
            path = wanted.with_stem(f"{wanted.stem}-{number}")
        self.paths.append(path)
        return take

    @contextlib.contextmanager
    def _or_end(self) -> Iterator[None]:
        """End the recording where it can't be written."""
        try:
            yield
        except OSError as error:
            if self._file is not None:
                self._file.cut()
                self._file = None
            place = error.filename or str(self.paths[-1])
            raise OSError(error.errno, error.strerror, str(place)) from None


def _counted_from(first: int, remark: Gap) -> Gap:
    """A remark in a file whose first sample is ``first``: what lies before is at its beginning."""
    begin = max(remark.first_sample, first)
    unsure = remark.uncertainty
    if remark.cause == "unplaced":  # the interval ends where it did
        unsure = max(0, remark.first_sample + unsure - begin)
    return remark._replace(first_sample=begin - first, uncertainty=unsure)


class _Take:
    """One WAV file and its gaps. Raises `OSError` where one of them is there or can't be written.

    Written without a buffer, so that a run that is killed has lost nothing it had handed over.
    """

    def __init__(self, path: Path, sr: int, channels: int) -> None:
        self._format = (sr, channels)
        self._width = 4 * channels  # bytes of a sample of all channels
        self._data = len(wav_header(sr, channels, 0))  # where the samples begin
        self.length = 0
        self._wav = path.open("xb", buffering=0)
        try:
            write_all(self._wav, memoryview(wav_header(sr, channels, 0)))
            self._gaps = GapsWriter(gaps_path(path))
        except OSError:
            self._wav.close()
            path.unlink()
            raise

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append samples (n, channels)."""
        data = np.ascontiguousarray(samples, "<f4").reshape(-1)
        try:
            write_all(self._wav, data.view(np.uint8).data)
        finally:  # whole samples that are there, also where the disk is full
            self.length = (self._wav.tell() - self._data) // self._width

    def lose(self, count: int, cause: str, uncertainty: int) -> None:
        """Append ``count`` zeros, which take no place on most disks, and list them."""
        end = self._data + (self.length + count) * self._width
        self._wav.truncate(end)
        self._gaps.add(Gap(self.length, count, cause, uncertainty))
        self._wav.seek(end)
        self.length += count

    def remark(self, remark: Gap) -> None:
        """List a remark; nothing is appended."""
        self._gaps.add(remark)

    def flush(self) -> None:
        """Make the header true. The gaps are already."""
        self._wav.seek(0)
        write_all(self._wav, memoryview(wav_header(*self._format, self.length)))
        self._wav.seek(0, io.SEEK_END)

    def finish(self) -> None:
        """Make the header true, and close."""
        self.flush()
        self._gaps.close()
        self._wav.close()

    def cut(self) -> None:
        """Keep the whole samples that are there, as far as the disk allows, and close."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed already
            self._wav.truncate(self._data + self.length * self._width)
        with contextlib.suppress(OSError, ValueError):
            self.flush()
        for file in (self._gaps, self._wav):
            with contextlib.suppress(OSError):
                file.close()


def wav_header(sr: int, channels: int, length: int) -> bytes:
    """All that stands before ``length`` samples of 32-bit float; of one size for any length.

    Where 32 bits don't hold the sizes, RIFF becomes RF64 and JUNK becomes ds64 (EBU Tech 3306).
    """
    width = 4 * channels
    head = (channels, sr, min(sr * width, MOST_32), width, 32)
    fmt = struct.pack("<HHIIHHH", IEEE_FLOAT, *head, 0)
    if channels > 2:  # no speaker's place for any of them
        fmt = struct.pack("<HHIIHHHHI16s", EXTENSIBLE, *head, 22, 32, 0, FLOAT_GUID)
    data = length * width
    size = 4 + 36 + 8 + len(fmt) + 12 + 8 + data  # of all that follows it
    riff, junk = b"RIFF", bytes(28)
    shown = (size, length, data)
    if size >= MOST_32:
        riff, junk = b"RF64", struct.pack("<QQQI", size, data, length, 0)
        shown = (MOST_32, MOST_32, MOST_32)
    return b"".join(
        (
            riff + struct.pack("<I", shown[0]) + b"WAVE",
            (b"JUNK" if riff == b"RIFF" else b"ds64") + struct.pack("<I", 28) + junk,
            b"fmt " + struct.pack("<I", len(fmt)) + fmt,
            b"fact" + struct.pack("<II", 4, shown[1]),
            b"data" + struct.pack("<I", shown[2]),
        )
    )
