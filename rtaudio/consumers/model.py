"""A model: one ONNX file, whose metadata hold the front end that its rows are computed by.

A file may come from anywhere, so a process of its own looks at it first (`examine`): what crashes,
hangs or takes all memory there is refused here.
"""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtaudio.analysis.frames import check_features
from rtaudio.analysis.settings import Settings
from rtaudio.capture.devices import DeviceError
from rtaudio.capture.process import cannot_start, python_command
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MOST_BYTES = 64 << 20
MOST_JSON = 1 << 20
MOST_INPUTS = 1 << 20  # numbers in a context
MOST_LABELS = 10_000
MOST_ROWS_S = 10_000  # rows a second
MOST_SCORES = 1 << 20  # that are averaged at once
EXAMINE_S = 30.0
KEY = "rtaudio"  # of the metadata
FINITE = float(np.finfo(np.float32).max)
SCORES = ("probabilities", "logits")


class ModelError(SourceError):
    """A model can't be used. One line, with what to do."""


@dataclass(frozen=True)
class FrontEnd:
    """What a model's input and output are: it travels with the model. Bad values: `ValueError`."""

    settings: Settings
    """By which its rows are computed; ``sr`` is known."""
    context: int
    """How many rows it is given at once: the answer is for the one in the middle."""
    labels: tuple[str, ...]
    """What its scores are of, in their order. Those that begin with ``_`` are never told."""
    features: tuple[str, ...] = ("mfcc",)
    """Which features make a row, side by side, in the order of `FEATURES`."""
    scores: str = "probabilities"
    """Or ``logits``: then softmax makes probabilities of them."""
    training: dict[str, Any] = field(default_factory=dict, compare=False)
    """How it was made, where that is told."""

    def __post_init__(self) -> None:
        """Check every value."""
        if self.settings.sr is None:
            raise ValueError("settings have no sr: a model is for one rate")
        for name, kind in (("context", int), ("scores", str), ("training", dict)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name}={getattr(self, name)!r:.80} is not {kind.__name__}")
        for name in self.features:
            if name in ("time", "lost", "captured"):
                raise ValueError(f"{name} is nothing to learn from: leave it out of the features")
        object.__setattr__(self, "features", check_features(self.features))
        if self.hop_s * MOST_ROWS_S < 1:
            raise ValueError(
                f"hop_length={self.settings.hop_length} at {self.settings.sr} Hz makes more than "
                f"{MOST_ROWS_S} rows a second"
            )
        wide = self.context * self.width
        if self.context < 1 or wide > MOST_INPUTS:
            raise ValueError(f"context={self.context} is not in 1 … {MOST_INPUTS // self.width}")
        if not isinstance(self.labels, tuple) or not all(isinstance(x, str) for x in self.labels):
            raise ValueError("labels are not names")
        for label in self.labels:
            try:
                label.encode()
            except UnicodeEncodeError:
                raise ValueError(f"the label {label!r:.80} is not UTF-8") from None
        if not 1 <= len(self.labels) <= MOST_LABELS or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels are not 1 … {MOST_LABELS} different names")
        if not told(self.labels):
            raise ValueError("every label begins with _, so that none would be told")
        if self.scores not in SCORES:
            raise ValueError(f"scores={self.scores!r} is not one of {', '.join(SCORES)}")

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        settings = self.settings
        widths = {"mfcc": settings.n_mfcc, "mel_db": settings.n_mels}
        widths |= dict.fromkeys(("db", "power"), settings.n_bins)
        return sum(widths.get(name, 1) for name in self.features)

    @property
    def hop_s(self) -> float:
        """From one row to the next."""
        return self.settings.hop_length / (self.settings.sr or 1)

    def rows(self, frames: Any) -> Floats:
        """The rows of `Frames` as a model takes them, (k, width)."""
        columns = (getattr(frames, name).reshape(len(frames), -1) for name in self.features)
        return np.concatenate(list(columns), axis=1, dtype=np.float32)

    def to_json(self) -> str:
        """As it stands in a model's metadata; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> FrontEnd:
        """Read what `to_json` wrote, or somebody else; `ValueError` says what is wrong."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON ({error})") from None
        if not isinstance(values, dict) or not isinstance(values.get("settings"), dict):
            raise ValueError("has no settings")
        known = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        if unknown := set(values) - {item.name for item in fields(cls)}:
            raise ValueError(f"has {sorted(unknown)[0]!r:.80}, which is none of its keys")
        if missing := {"context", "labels"} - set(known):
            raise ValueError(f"has no {' and no '.join(sorted(missing))}")
        for name in ("labels", "features"):
            if name in known:
                known[name] = tuple(known[name]) if isinstance(known[name], list) else ()
        try:
            known["settings"] = Settings(**known["settings"])
        except TypeError as error:
            raise ValueError(f"settings: {error}") from None
        return cls(**known)


@dataclass(frozen=True)
class Model:
    """A model that was examined, and how its answers are told. Made by `load_model`."""

    name: str
    data: bytes = field(repr=False)
    """The ONNX file."""
    front_end: FrontEnd
    every_ms: float | None = None
    """From one answer to the next, rounded to hops; None is one a hop."""
    smooth_ms: float = 100.0
    """Over how long scores are averaged, around each answer."""
    threshold: float = 0.5
    """A label is told whose probability is at least this."""

    def __post_init__(self) -> None:
        """Check every value."""
        if self.every_ms is not None and not 0 < self.every_ms <= 3.6e6:
            raise ValueError(f"every_ms={self.every_ms:g} is not above 0, an hour at most (ms)")
        if not 0 <= self.smooth_ms <= 60e3:
            raise ValueError(f"smooth_ms={self.smooth_ms:g} is not in 0 … 60000 (ms)")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold:g} is not in 0 … 1")
        if (2 * self.reach + 1) * len(self.front_end.labels) > MOST_SCORES:
            raise ValueError(f"smooth_ms={self.smooth_ms:g} are too many answers to average")

    @property
    def step(self) -> int:
        """How many rows from one answer to the next."""
        return max(1, round((self.every_ms or 0) / 1e3 / self.front_end.hop_s))

    @property
    def reach(self) -> int:
        """How many answers before and after one are averaged with it."""
        return round(self.smooth_ms / 2e3 / (self.step * self.front_end.hop_s))

    @property
    def delay_s(self) -> float:
        """How long after the middle of a row its answer is due, by the settings alone.

        The rows of the context that come after it, and the answers that are averaged with it.
        """
        front_end = self.front_end
        rows = front_end.context - 1 - front_end.context // 2 + self.reach * self.step
        return rows * front_end.hop_s

    def settings_for(self, asked: Settings | Mapping[str, Any] | None) -> Settings:
        """The model's settings; `ValueError` where others were asked for.

        Of `Settings`, what differs from the defaults was asked for; of a mapping, all.
        """
        own, default = self.front_end.settings, Settings()
        if not isinstance(asked, Settings):
            replace(own, **(asked or {}))  # or there is no such setting
        if isinstance(asked, Settings):
            given = {name: getattr(asked, name) for name in asdict(asked)}
            asked = {
                name: value for name, value in given.items() if value != getattr(default, name)
            }
        for name, value in (asked or {}).items():
            if value != getattr(own, name):
                raise ValueError(
                    f"{name}={value} does not match the model, which was trained with "
                    f"{getattr(own, name)}: leave out {name}"
                )
        return own

    def start(self) -> Callable[[Floats], Floats]:
        """A session of onnxruntime with one thread: (context, width) → probabilities (labels,).

        Always one context at a time: products of several round differently. Raises `ModelError`
        where the model fails.
        """
        import onnxruntime

        session = onnxruntime.InferenceSession(
            self.data, session_options(), providers=["CPUExecutionProvider"]
        )
        (given,) = session.get_inputs()
        name = given.name
        shape = (len(self.front_end.labels),)
        logits = self.front_end.scores == "logits"
        least, most = (-FINITE, FINITE) if logits else (0.0, 1.0001)

        def infer(rows: Floats) -> Floats:
            try:
                scores: Floats = session.run(None, {name: rows[np.newaxis]})[0][0]
            except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own
                why = str(error).partition("\n")[0]
                raise ModelError(f"{self.name}: fails on this sound ({why:.200})") from None
            if scores.shape != shape:
                raise ModelError(f"{self.name}: gives {scores.shape} for this sound, not {shape}")
            if not (scores.min() >= least and scores.max() <= most):  # neither, of NaN
                raise ModelError(f"{self.name}: gives scores that are no {self.front_end.scores}")
            return softmax(scores) if logits else scores

        return infer


def session_options() -> Any:
    """One thread, no spinning, and nothing said on stderr."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def softmax(scores: Floats) -> Floats:
    """Probabilities of logits, (labels,)."""
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum(), np.float32)


def load_model(
    path: str | os.PathLike[str],
    *,
    every_ms: float | None = None,
    smooth_ms: float = 100.0,
    threshold: float = 0.5,
) -> Model:
    """Load a model: an ONNX file by `rtaudio train`, or any other with a front end.

    The front end is JSON, under the key ``rtaudio`` in its metadata, or beside it in
    ``MODEL.json``: ``settings`` (of `Settings`, with ``sr``), ``context`` (rows), ``labels``, and
    where they differ from their defaults ``features`` and ``scores``, as in `FrontEnd`. The model
    has one float32 input (batch, context, features) and one output of scores (batch, labels).

    Parameters
    ----------
    path
        The file; at most 64 MB.
    every_ms
        From one answer to the next; by default one a hop.
    smooth_ms
        Over how long scores are averaged, around each answer.
    threshold
        A label is told whose probability is at least this.

    Raises
    ------
    ModelError
        Where it can't be used; a process of its own has tried it first.
    ValueError
        Where an argument can't be used.

    """
    path = Path(path)
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise ModelError(f"a model needs {package}: pip install 'rtaudio[onnx]'")
    try:
        data = _read(path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}: name an ONNX file") from None
    front_end = FrontEnd.from_json(_examine(path, data, _read_beside(path)))
    return Model(str(path), data, front_end, every_ms, smooth_ms, threshold)


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path}: is a folder: name an ONNX file")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)  # a size may lie, as of a pipe
    if len(data) > MOST_BYTES:
        raise ModelError(f"{path}: is larger than {MOST_BYTES >> 20} MB: use a smaller model")
    return data


def _read_beside(path: Path) -> bytes:
    """The JSON beside it; nothing where that can't be one, since it may not be needed."""
    try:
        with path.with_suffix(".json").open("rb") as file:
            text = file.read(MOST_JSON + 1)
    except OSError:
        return b""
    return text if len(text) <= MOST_JSON else b""


def _examine(path: Path, data: bytes, beside: bytes) -> str:
    """The front end as JSON, as the process says that looked at the model; raises `ModelError`."""
    given = struct.pack("<Q", len(beside)) + beside + data
    try:
        command, environment = python_command(None, ["rtaudio.consumers.examine"])
        try:
            done = subprocess.run(  # noqa: S603 - the user's own Python
                command,
                input=given,
                env=environment,
                capture_output=True,
                timeout=EXAMINE_S,
                check=False,
            )
        except OSError as error:
            raise cannot_start(command, error) from None
    except DeviceError as error:
        raise ModelError(f"{path}: can't be tried: {error}") from None
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: takes more than {EXAMINE_S:g} s to load: not used") from None
    try:
        said = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        why = f"status {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
        raise ModelError(
            f"{path}: the process that tried it died ({why}, {last or 'without a word':.200}): "
            "make another with rtaudio train"
        ) from None
    if "error" in said:
        raise ModelError(f"{path}: {said['error']}")
    return str(said["front_end"])


def told(labels: Iterable[str]) -> list[int]:
    """Numbers of the labels that are told."""
    return [number for number, label in enumerate(labels) if not label.startswith("_")]
