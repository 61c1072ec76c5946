"""A folder of labelled recordings: what is found in it, and the contexts that are cut from it."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rtaudio.analysis.analyzer import Analyzer
from rtaudio.analysis.settings import Settings
from rtaudio.consumers.listener import silence
from rtaudio.recordings import for_rate
from rtaudio.sources import open_source
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rtaudio.analysis.frames import Frames
    from rtaudio.consumers.model import FrontEnd

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int64]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
NOTHING = "_"  # the label of what is beside the recordings
FRAME_S = 0.032
LEAST_GAIN_DB, MOST_GAIN_DB = -18.0, 6.0  # of the copies
LEAST_NOISE_DB, MOST_NOISE_DB = -95.0, -45.0


class LearnError(SourceError):
    """What was given can't be learned. One line, with what to do."""


class Recording(NamedTuple):
    """One recording as it is learned from."""

    path: Path
    label: str
    rows: list[Floats]
    """(n, width): as it is, then its copies. Silence where it has lost samples."""
    heard: NDArray[np.bool_]
    """(n,): the rows without a loss."""


def find_recordings(folder: Path) -> dict[Path, str]:
    """Recordings and their labels, by name."""
    if not folder.is_dir():
        raise LearnError(f"{folder}: is no folder: recordings are taken from FOLDER/LABEL/*.wav")
    files = {
        path: place.name
        for place in sorted(folder.iterdir())
        if place.is_dir() and not place.name.startswith(".")
        for path in sorted(place.iterdir())
        if path.suffix.lower() in SUFFIXES and path.is_file()
    }
    if not files:
        if any(path.suffix.lower() in SUFFIXES for path in folder.iterdir()):
            raise LearnError(f"{folder}: put its recordings into a folder for each label")
        raise LearnError(
            f"{folder}: holds no recordings: they are taken from FOLDER/LABEL/*.wav, .flac, .ogg "
            "and .mp3"
        )
    for label in set(files.values()):
        if not label.isprintable():
            raise LearnError(f"{folder}: {label!r} can't be printed: rename that folder")
    if all(label.startswith("_") for label in files.values()):
        raise LearnError(f"{folder}: every label begins with _ and would not be told: name one")
    return files


def labels_in(folder: Path) -> set[str]:
    """What could be labels."""
    places = (place for place in folder.iterdir() if place.is_dir())
    return {place.name for place in places if not place.name.startswith(".")}


def rates_of(files: dict[Path, str], skipped: dict[str, str]) -> dict[Path, int]:
    """The rate of each recording that can be opened."""
    rates = {}
    for path in files:
        try:
            with open_source(path) as source:
                rates[path] = source.sr
        except SourceError as error:
            skipped[str(path)] = str(error)
    if not rates:
        raise LearnError(next(iter(skipped.values())))
    return rates


def suitable_settings(
    rates: dict[Path, int], given: dict[str, Any], tell: Callable[[str], object]
) -> Settings:
    """The front end: what is given, and what suits the recordings."""
    counts = Counter(rates.values())
    sr = given.get("sr") or min(counts)
    if len(counts) > 1:
        found = ", ".join(f"{count} of {rate} Hz" for rate, count in sorted(counts.items()))
        tell(f"recordings have several rates ({found}): all are learned at {sr} Hz (--sr)")
    Settings(sr=sr)  # or it is no rate
    n_fft = given.get("n_fft") or max(256, 1 << round(math.log2(max(1.0, FRAME_S * sr))))
    suits = {"sr": sr, "n_fft": n_fft, "hop_length": max(1, n_fft // 2), "n_mels": 40}
    return Settings(**{**suits, **given})


class Reader:
    """Reads recordings, each as it is and in copies. One for each run of `train`."""

    def __init__(self, front_end: FrontEnd, augment: int, seed: int) -> None:
        self.silence = silence(front_end)
        self._front_end, self._augment = front_end, augment
        self._random = np.random.default_rng(seed)
        self._analyzers: dict[int, Analyzer] = {}

    def read(self, path: Path) -> Recording:
        """Raises `SourceError`, and `LearnError` for a recording that holds nothing."""
        label = path.parent.name
        plain, heard, peak = self._rows(path, 0.0, 0.0)
        if not peak and not label.startswith("_"):
            raise LearnError(f"{path}: is silent all through")
        if not heard.any():
            raise LearnError(f"{path}: holds no frame without a loss")
        rows = [plain]
        for _ in range(self._augment):
            gain_db = self._random.uniform(LEAST_GAIN_DB, MOST_GAIN_DB)
            noise_db = self._random.uniform(LEAST_NOISE_DB, MOST_NOISE_DB)
            rows.append(self._rows(path, 10 ** (gain_db / 20), 10 ** (noise_db / 20))[0])
        return Recording(path, label, rows, heard)

    def _rows(
        self, path: Path, gain: float, noise: float
    ) -> tuple[Floats, NDArray[np.bool_], float]:
        """Rows, which were heard, and the largest sample; a copy where there is a gain."""
        numbers, parts, lost, peak = [], [], [], 0.0

        def keep(frames: Frames) -> None:
            nonlocal peak
            numbers.append(frames.first + np.arange(len(frames)))
            parts.append(self._front_end.rows(frames))
            lost.append(frames.lost.copy())
            peak = max(peak, float(frames.peak.max()))

        with open_source(path) as source:
            for_rate(self._front_end.settings, source)  # or it has not the channel
            analyzer = self._analyzer(source.sr)
            for block in source:
                samples = block.samples
                if gain:
                    random = self._random.standard_normal(samples.shape, np.float32)
                    samples = samples * np.float32(gain) + random * np.float32(noise)
                for frames in analyzer.feed(samples, lost=block.lost):
                    keep(frames)
            for frames in analyzer.flush():
                keep(frames)
        if not numbers:
            raise LearnError(f"{path}: is shorter than a frame")
        number = np.concatenate(numbers)
        rows = np.tile(self.silence, (int(number[-1]) + 1, 1))
        heard = np.zeros(len(rows), bool)
        rows[number] = np.concatenate(parts)
        heard[number] = np.concatenate(lost) == 0
        return rows, heard, peak

    def _analyzer(self, sr: int) -> Analyzer:
        if sr not in self._analyzers:
            self._analyzers[sr] = Analyzer(self._front_end.settings, sr, release_gil=True)
        self._analyzers[sr].reset()
        return self._analyzers[sr]


class Windows:
    """Contexts of recordings, cut when they are asked for: `fit`'s examples."""

    def __init__(
        self, recordings: Sequence[Recording], front_end: FrontEnd, silent: Floats
    ) -> None:
        self._before = before = front_end.context // 2
        self._offsets = np.arange(front_end.context) - before
        around = np.tile(silent, (front_end.context, 1))
        parts: list[Floats] = []
        middles: list[Indices] = []
        labels: list[str] = []
        numbers: list[int] = []
        at = 0
        for number, recording in enumerate(recordings):
            for rows in recording.rows:
                start = at + len(around)
                inside = np.flatnonzero(recording.heard)
                beside = np.arange(-before - 1, -1, 2), len(rows) + 1 + np.arange(0, before, 2)
                outside = np.concatenate(beside if not recording.label.startswith("_") else [[]])
                middles.append(start + np.concatenate([inside, outside]).astype(np.int64))
                labels += [recording.label] * len(inside) + [NOTHING] * len(outside)
                numbers += [number] * (len(inside) + len(outside))
                parts += [around, rows, around]
                at = start + len(rows) + len(around)
        self._rows = np.concatenate(parts)
        self._middles = np.concatenate(middles)
        self.labels = np.array(labels)
        """(n,): of each context; `NOTHING` beside a recording."""
        self.recordings = np.array(numbers)
        """(n,): which recording it is of."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._middles)

    def __getitem__(self, indices: Any) -> Floats:
        """Contexts, (k, context, width)."""
        windows: Floats = self._rows[self._middles[indices][:, np.newaxis] + self._offsets]
        return windows
