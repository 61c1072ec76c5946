"""Learning: a folder of labelled recordings becomes a model that `live` and `analyze` run.

`fit` is the few lines under it, for any arrays (`rtaudio.fitting`). Rows are computed by the
analyzer, and held-out recordings are judged by the listener: what is trained is what is run.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rtaudio.analysis.analyzer import Analyzer
from rtaudio.analysis.settings import Settings
from rtaudio.consumers.listener import Intervals, Listener, longest, silence
from rtaudio.consumers.model import KEY, MOST_BYTES, FrontEnd, Model
from rtaudio.consumers.partial import Partial
from rtaudio.fitting import Fit, fit, split
from rtaudio.recordings import for_rate
from rtaudio.sources import open_source
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rtaudio.analysis.frames import Frames

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int64]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
NOTHING = "_"  # the label of what is beside the recordings
ALPHA = 0.1  # the L2 penalty of contexts, which are many and alike
FRAME_S = 0.032
LEAST_GAIN_DB, MOST_GAIN_DB = -18.0, 6.0  # of the copies
LEAST_NOISE_DB, MOST_NOISE_DB = -95.0, -45.0


__all__ = ["LearnError", "Training", "fit", "train"]


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


@dataclass(frozen=True)
class Training:
    """What became of a folder."""

    model: Model
    fit: Fit
    rows: tuple[str, ...]
    """The labels of the recordings that were held out …"""
    columns: tuple[str | None, ...]
    """… what was heard in them, None where nothing …"""
    confusion: NDArray[np.int64]
    """… and how often; (rows, columns)."""
    learned: int
    """From how many recordings."""
    groups: tuple[str, ...] = ()
    """What was held out whole, with ``group_by``."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Recordings that could not be used, and why."""

    @property
    def accuracy(self) -> float:
        """The share of the held-out recordings that were heard rightly; NaN of none."""
        right = sum(
            int(self.confusion[row, self.columns.index(_as_told(label))])
            for row, label in enumerate(self.rows)
        )
        total = int(self.confusion.sum())
        return right / total if total else math.nan

    def save(self, path: str | Path) -> None:
        """Write the model, whole or not at all."""
        partial = Partial(Path(path))
        try:
            partial.name.write_bytes(self.model.data)
            partial.commit()
        finally:
            partial.discard()


def train(
    folder: str | Path,
    *,
    features: Sequence[str] = ("mfcc",),
    context_ms: float = 500.0,
    augment: int = 1,
    group_by: str | None = None,
    test_size: float = 0.3,
    hidden: int | Sequence[int] = 64,
    activation: str = "logistic",
    learning_rate: float = 0.1,
    epochs: int = 200,
    seed: int = 0,
    tell: Callable[[str], object] = lambda text: None,
    on_read: Callable[[int, int], object] = lambda done, total: None,
    on_epoch: Callable[[int, float], object] = lambda epoch, loss: None,
    **settings: Any,
) -> Training:
    """Learn the labels of a folder of recordings, ``FOLDER/LABEL/*.wav`` (.flac, .ogg, .mp3).

    A label that begins with ``_`` is learned and never told: background. Each recording is learned
    as if silence were before and after it, which is never told either.

    Parameters
    ----------
    features
        Which ones make a row, of `FEATURES`.
    context_ms
        How much sound is looked at for each answer, around it.
    augment
        How many copies of each recording are learned, too: at another level, -18 … 6 dB, in white
        noise of -95 … -45 dBFS.
    group_by
        A regular expression: recordings are held out by what it (its group 1, if it has one) finds
        in their names, as whole speakers. Without it, by recording.
    test_size
        Share of the recordings, of each label, that is held out to be judged by; of the groups
        with ``group_by``.
    hidden, activation, learning_rate, epochs, seed
        As `fit` has them.
    tell, on_read, on_epoch
        Called with a line for what a user should know; with how many recordings are read, of how
        many; with an epoch's number and loss.
    settings
        Of the front end, as `Settings` has them. Where not given: the least rate of the
        recordings, frames of about 32 ms, a hop of half of that, 40 mel bands.

    Raises
    ------
    LearnError
        Where the recordings are not enough to learn from.
    ValueError
        Where an argument can't be used.

    """
    if not 10 <= context_ms <= 60e3:
        raise ValueError(f"context_ms={context_ms:g} is not in 10 … 60000 (ms)")
    if not 0 <= augment <= 100:
        raise ValueError(f"augment={augment} is not in 0 … 100")
    skipped: dict[str, str] = {}
    files = _find(Path(folder))
    rates = _rates(files, skipped)
    chosen = _settings(rates, settings, tell)
    hop_ms = 1e3 * chosen.hop_length / (chosen.sr or 1)
    context = max(1, round(context_ms / hop_ms)) | 1
    labels = tuple(sorted({*files.values(), NOTHING}))
    front_end = FrontEnd(chosen, context, labels, tuple(features))
    reader = _Reader(front_end, augment, seed)
    _check_size(hidden, front_end)
    recordings = []
    for number, path in enumerate(rates, 1):
        try:
            recordings.append(reader.read(path))
        except SourceError as error:
            skipped[str(path)] = str(error)
        on_read(number, len(rates))
    _check(recordings, test_size, group_by, Path(folder), skipped)
    for label in sorted(_labels(Path(folder)) - {recording.label for recording in recordings}):
        tell(f"{label!r} has no recording that can be used, and is not learned")
    learned, held_out = _held_out(recordings, group_by, test_size, seed)
    windows = Windows([recordings[number] for number in learned], front_end, reader.silence)
    _say_imbalance([recordings[number] for number in learned], tell)
    fitted = fit(
        windows,
        windows.labels,
        groups=windows.recordings,
        hidden=hidden,
        activation=activation,
        learning_rate=learning_rate,
        epochs=epochs,
        alpha=ALPHA,
        test_size=0,
        seed=seed,
        on_epoch=on_epoch,
    )
    labels = tuple(str(label) for label in fitted.pipeline[-1].classes_)
    front_end = replace(front_end, labels=labels)
    model = Model(str(folder), to_onnx(fitted, front_end), front_end)
    judged = _judge(model, [recordings[number] for number in held_out])
    groups: set[str] = set()
    if group_by is not None:
        groups = {_group(group_by, recordings[number].path) for number in held_out}
    training = Training(model, fitted, *judged, len(learned), tuple(sorted(groups)), skipped)
    summary = {
        "learned": dict(Counter(recordings[number].label for number in learned)),
        "held_out": len(held_out),
        "accuracy": training.accuracy if len(held_out) else None,
        "group_by": group_by,
        "epochs": fitted.epochs,
        "loss": fitted.losses[fitted.epochs - 1],
    }
    front_end = replace(front_end, training=summary)
    return replace(training, model=Model(str(folder), to_onnx(fitted, front_end), front_end))


def _find(folder: Path) -> dict[Path, str]:
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


def _labels(folder: Path) -> set[str]:
    """What could be labels."""
    places = (place for place in folder.iterdir() if place.is_dir())
    return {place.name for place in places if not place.name.startswith(".")}


def _check_size(hidden: int | Sequence[int], front_end: FrontEnd) -> None:
    """Raise `ValueError` where the model's file would be too large to be loaded."""
    layers = [hidden] if isinstance(hidden, int) else list(hidden)
    widths = [front_end.context * front_end.width, *layers, len(front_end.labels)]
    size = 4 * sum(a * b for a, b in pairwise(widths))
    if size > MOST_BYTES // 2:
        raise ValueError(
            f"hidden={hidden} makes a model of {size >> 20} MB, above {MOST_BYTES >> 21}: use less"
        )


def _rates(files: dict[Path, str], skipped: dict[str, str]) -> dict[Path, int]:
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


def _settings(
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


class _Reader:
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


def _check(
    recordings: Sequence[Recording],
    test_size: float,
    group_by: str | None,
    folder: Path,
    skipped: dict[str, str],
) -> None:
    counts = Counter(recording.label for recording in recordings)
    if len(counts) < 2:
        names = " and ".join(map(repr, counts)) or "none"
        why = f"; skipped {len(skipped)}, as {next(iter(skipped.values()))}" if skipped else ""
        raise LearnError(
            f"{folder}: one label alone ({names}): a model tells two at least apart; a folder "
            f"named _background may be one of them{why}"
        )
    for label, count in counts.items():
        if count < 2 and test_size and group_by is None:
            raise LearnError(
                f"{folder / label}: has one recording: record another, or hold none out with "
                "--test-size 0"
            )


def _held_out(
    recordings: Sequence[Recording], group_by: str | None, test_size: float, seed: int
) -> tuple[Indices, Indices]:
    labels = np.array([recording.label for recording in recordings])
    if group_by is None:
        return split(np.arange(len(recordings)), labels, test_size, seed)
    groups = np.array([_group(group_by, recording.path) for recording in recordings])
    if len(np.unique(groups)) < 2 and test_size:
        raise LearnError(f"--group-by {group_by}: all recordings are in one group, {groups[0]!r}")
    learned, held_out = split(groups, None, test_size, seed)
    missing = set(labels[held_out]) - set(labels[learned])
    if missing:
        names = ", ".join(sorted(map(str, missing)))
        raise LearnError(
            f"--group-by {group_by}: held out is all there is of {names}: other --seed"
        )
    return learned, held_out


def _group(pattern: str, path: Path) -> str:
    try:
        found = re.search(pattern, path.name)
    except re.error as error:
        raise ValueError(f"group_by={pattern!r} is no regular expression: {error}") from None
    if found is None:
        raise LearnError(f"--group-by {pattern}: finds nothing in {path.name}")
    return found[1] if found.re.groups else found[0]


def _say_imbalance(recordings: Sequence[Recording], tell: Callable[[str], object]) -> None:
    counts: Counter[str] = Counter()
    for recording in recordings:
        counts[recording.label] += int(recording.heard.sum())
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many > 2 * few:
        tell(
            f"there is {many / few:.1f} times as much of {most!r} as of {least!r}: each label is "
            "made to weigh the same"
        )


def _as_told(label: str) -> str | None:
    return None if label.startswith("_") else label


def _judge(
    model: Model, recordings: Sequence[Recording]
) -> tuple[tuple[str, ...], tuple[str | None, ...], NDArray[np.int64]]:
    """What is heard in recordings that were held out, as `analyze --labels` would tell it."""
    listener = Listener(model)
    rows = tuple(sorted({recording.label for recording in recordings}))
    columns = (*(label for label in model.front_end.labels if not label.startswith("_")), None)
    confusion = np.zeros((len(rows), len(columns)), np.int64)
    for recording in recordings:
        listener.restart()
        intervals = Intervals(model)
        plain = recording.rows[0]
        times = np.arange(len(plain), dtype=np.float64) * model.front_end.hop_s
        ended = intervals.take(listener.take_rows(0, times, plain))
        ended += intervals.take(listener.end()) + intervals.end()
        row, column = rows.index(recording.label), columns.index(longest(ended))
        confusion[row, column] += 1
    return rows, columns, confusion


def to_onnx(fitted: Fit, front_end: FrontEnd) -> bytes:
    """The ONNX file of what has learned from contexts: (batch, context, width) → probabilities."""
    import onnx
    from onnx.utils import Extractor
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.data_types import FloatTensorType

    context, width = front_end.context, front_end.width
    given = [("flat", FloatTensorType([None, context * width]))]
    whole = convert(
        fitted.pipeline,
        initial_types=given,
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    model = Extractor(whole).extract_model(["flat"], ["probabilities"])  # without the labels
    graph = model.graph
    graph.node.insert(0, onnx.helper.make_node("Flatten", ["rows"], ["flat"]))
    shape: list[str | int | None] = ["batch", context, width]
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, shape)
    )
    onnx.helper.set_model_props(model, {KEY: front_end.to_json()})
    return bytes(model.SerializeToString())
