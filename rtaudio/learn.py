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
from typing import TYPE_CHECKING, Any

import numpy as np

from rtaudio.consumers.listener import Intervals, Listener, longest
from rtaudio.consumers.model import KEY, MOST_BYTES, FrontEnd, Model
from rtaudio.consumers.partial import Partial
from rtaudio.fitting import Fit, fit, split
from rtaudio.labelled import (
    NOTHING,
    LearnError,
    Reader,
    Recording,
    Windows,
    find_recordings,
    labels_in,
    rates_of,
    suitable_settings,
)
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int64]

ALPHA = 0.1  # the L2 penalty of contexts, which are many and alike


__all__ = ["LearnError", "Training", "fit", "train"]


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
        right = int(self.confusion[np.arange(len(self.rows)), self.right].sum())
        total = int(self.confusion.sum())
        return right / total if total else math.nan

    @property
    def right(self) -> list[int]:
        """The column that each row belongs into."""
        return [self.columns.index(None if label.startswith("_") else label) for label in self.rows]

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
    files = find_recordings(Path(folder))
    rates = rates_of(files, skipped)
    chosen = suitable_settings(rates, settings, tell)
    hop_ms = 1e3 * chosen.hop_length / (chosen.sr or 1)
    context = max(1, round(context_ms / hop_ms)) | 1
    labels = tuple(sorted({*files.values(), NOTHING}))
    front_end = FrontEnd(chosen, context, labels, tuple(features))
    reader = Reader(front_end, augment, seed)
    _check_size(hidden, front_end)
    recordings = []
    for number, path in enumerate(rates, 1):
        try:
            recordings.append(reader.read(path))
        except SourceError as error:
            skipped[str(path)] = str(error)
        on_read(number, len(rates))
    _check(recordings, test_size, group_by, Path(folder), skipped)
    for label in sorted(labels_in(Path(folder)) - {recording.label for recording in recordings}):
        tell(f"{label!r} has no recording that can be used, and is not learned")
    learned, held_out, groups = _held_out(recordings, group_by, test_size, seed)
    _say_imbalance(learned, tell)
    windows = Windows(learned, front_end, reader.silence)
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
    model = _model(str(folder), fitted, replace(front_end, labels=labels))
    judged = _judge(model, held_out)
    training = Training(model, fitted, *judged, len(learned), groups, skipped)
    summary = {
        "learned": dict(Counter(recording.label for recording in learned)),
        "held_out": len(held_out),
        "accuracy": training.accuracy if held_out else None,
        "group_by": group_by,
        "epochs": fitted.epochs,
        "loss": fitted.losses[fitted.epochs - 1],
    }
    front_end = replace(model.front_end, training=summary)
    return replace(training, model=_model(str(folder), fitted, front_end))


def _model(name: str, fitted: Fit, front_end: FrontEnd) -> Model:
    return Model(name, to_onnx(fitted, front_end), front_end)


def _check_size(hidden: int | Sequence[int], front_end: FrontEnd) -> None:
    """Raise `ValueError` where the model's file would be too large to be loaded."""
    layers = [hidden] if isinstance(hidden, int) else list(hidden)
    widths = [front_end.context * front_end.width, *layers, len(front_end.labels)]
    size = 4 * sum(a * b for a, b in pairwise(widths))
    if size > MOST_BYTES // 2:
        raise ValueError(
            f"hidden={hidden} makes a model of {size >> 20} MB, above {MOST_BYTES >> 21}: use less"
        )


def _check(
    recordings: Sequence[Recording],
    test_size: float,
    group_by: str | None,
    folder: Path,
    skipped: dict[str, str],
) -> None:
    counts = Counter(recording.label for recording in recordings)
    why = f"; skipped {len(skipped)}, as {next(iter(skipped.values()))}" if skipped else ""
    if counts and all(label.startswith("_") for label in counts):
        raise LearnError(f"{folder}: of what is left, every label begins with _{why}")
    if len(counts) < 2:
        names = " and ".join(map(repr, counts)) or "none"
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
) -> tuple[list[Recording], list[Recording], tuple[str, ...]]:
    """What is learned, what is held out, and which groups that are."""
    labels = np.array([recording.label for recording in recordings])
    groups: NDArray[Any] = np.arange(len(recordings))
    if group_by is not None:
        groups = np.array([_group(group_by, recording.path) for recording in recordings])
        if len(np.unique(groups)) < 2 and test_size:
            raise LearnError(f"--group-by {group_by}: all are in one group, {groups[0]!r}")
    seen, out = split(groups, labels if group_by is None else None, test_size, seed)
    missing = set(labels[out]) - set(labels[seen])
    if missing:
        names = ", ".join(sorted(map(str, missing)))
        raise LearnError(f"--group-by {group_by}: all of {names} is held out: another --seed")
    whole = () if group_by is None else tuple(np.unique(groups[out]).tolist())
    return [recordings[n] for n in seen], [recordings[n] for n in out], whole


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
