"""Frames of a recording, or of an hour of it, as rows of the dataset: one each, or in bins."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rtaudio.archive.bins import STATISTICS, Statistics, Tally
from rtaudio.archive.plan import HOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from rtaudio.analysis.frames import Frames
    from rtaudio.analysis.settings import Settings
    from rtaudio.archive.plan import Plan
    from rtaudio.consumers.listener import Answer
    from rtaudio.consumers.model import Model
    from rtaudio.sources.block import Gap

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]

NO_LABEL = -1


class Rows(NamedTuple):
    """k rows of the dataset."""

    start: Doubles
    """(k,) s: the middle of a frame, or where a bin begins."""
    end: Doubles
    """(k,) s: where a bin ends; not told of frames."""
    frames: Integers
    """(k,): how many frames without a loss a bin is of; not told of frames."""
    lost: Doubles | Integers
    """(k,): of a frame, samples at ``settings.sr``; of a bin, s."""
    values: Floats
    """(k, width): features, or statistics of each."""
    label: Integers
    """(k,): number of what was heard, or `NO_LABEL`."""
    probability: Floats
    """(k,): of that label; of a frame, of the likeliest; NaN where there is none."""
    shares: Floats
    """(k, labels): in how many of a bin's answers each label was told; not told of frames."""

    def first(self, count: int) -> Rows:
        """So many, of these arrays."""
        return Rows(*(array[:count] for array in self))  # type: ignore[arg-type]


class Span(NamedTuple):
    """Which rows of a recording a task is about, and the samples that they need."""

    first: int
    """Number of the first row."""
    stop: int
    """Number of the row behind the last."""
    first_heard: int
    """A model needs the rows from here on …"""
    stop_heard: int
    """… to before this one."""
    start_sample: int
    stop_sample: int | None
    begin_s: float
    """Where it begins and ends in the recording."""
    end_s: float


ENDLESS = 1 << 62
WHOLE = Span(0, ENDLESS, 0, ENDLESS, 0, None, 0.0, math.inf)


def span_of_hour(settings: Settings, model: Model | None, hour: int, last: bool) -> Span:
    """The rows whose middles lie in an hour of a recording; in the last one, all that follow, too.

    A model's answers need the rows of their context, and the answers that they are averaged with.
    """
    n_fft, hop, middle = settings.n_fft, settings.hop_length, middle_of_first(settings)
    before = after = 0
    if model is not None:
        around = (model.reach + 1) * model.step
        before = model.front_end.context // 2 + around
        after = model.front_end.context - 1 - model.front_end.context // 2 + around
    hour_samples = HOUR_S * (settings.sr or 1)
    first, stop = (max(0, -(-(at * hour_samples - middle) // hop)) for at in (hour, hour + 1))
    first_heard, stop_heard = max(0, first - before), stop + after
    begin = middle - n_fft // 2  # of frame 0
    start = max(0, min(first_heard * hop + begin, hour * hour_samples))
    begin_s = float(hour * HOUR_S)
    if last:
        return Span(first, ENDLESS, first_heard, ENDLESS, start, None, begin_s, math.inf)
    end = max((hour + 1) * hour_samples, (stop_heard - 1) * hop + begin + n_fft)
    return Span(first, stop, first_heard, stop_heard, start, end, begin_s, begin_s + HOUR_S)


def middle_of_first(settings: Settings) -> int:
    """The sample in the middle of frame 0."""
    return 0 if settings.center else settings.n_fft // 2


def inside(gap: Gap, begin: float, end: float) -> int:
    """How many samples of a gap lie in [begin, end)."""
    stop = min(gap.first_sample + gap.length, end)
    return int(max(0, stop - max(gap.first_sample, begin)))


class RowMaker:
    """Takes the frames of a span in order; gives rows of the dataset."""

    def __init__(self, plan: Plan, settings: Settings, span: Span, source_sr: int) -> None:
        """``settings.sr`` is known."""
        self._features, self.span = plan.features, span
        self._answers = None if plan.model is None else _Answers(plan.model, settings)
        self._bins = None
        if plan.bin_s is not None:
            self._bins = _Bins(plan, settings, span, source_sr)

    def take(self, frames: Frames, gaps: deque[Gap]) -> Iterator[Rows]:
        """The rows that some frames complete; ``gaps``: all so far, at the source's rate."""
        span = self.span
        heard = frames.since(span.first_heard).before(span.stop_heard)
        if not len(heard):
            return
        for some in [_Told(heard)] if self._answers is None else self._answers.take(heard):
            yield from self._rows(some, gaps)

    def end(self, gaps: deque[Gap], samples: int) -> Iterator[Rows]:
        """The last rows, of a recording of so many samples, lost ones counted too."""
        for some in [] if self._answers is None else self._answers.end():
            yield from self._rows(some, gaps)
        if self._bins is not None:
            yield from self._bins.end(gaps, samples)

    def _rows(self, told: _Told, gaps: deque[Gap]) -> Iterator[Rows]:
        frames = told.frames.since(self.span.first).before(self.span.stop)
        if not len(frames):
            return
        at = frames.first - told.frames.first
        label = told.label[at : at + len(frames)]
        probability = told.probability[at : at + len(frames)]
        parts = [getattr(frames, name).reshape(len(frames), -1) for name in self._features]
        values = np.concatenate(parts, axis=1)
        if self._bins is not None:
            yield from self._bins.take(frames, values, label, probability, gaps)
        else:
            none = np.empty((len(frames), 0), np.float32)
            time, lost = frames.time, frames.lost
            yield Rows(time, time, lost, lost, values, label, probability, none)


class _Told:
    """Rows, and what a model said of each."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.label = np.full(len(frames), NO_LABEL)
        self.probability = np.full(len(frames), np.nan, np.float32)


class _Answers:
    """Holds rows back until the model has answered."""

    def __init__(self, model: Model, settings: Settings) -> None:
        from rtaudio.consumers.listener import Listener

        self._listener = Listener(model)
        self._numbers = {label: i for i, label in enumerate(model.front_end.labels)}
        self._settings = settings
        self._held: deque[_Told] = deque()
        self._answers: deque[tuple[int, Answer]] = deque()

    def take(self, frames: Frames) -> Iterator[_Told]:
        self._held.append(_Told(frames.copy()))
        self._note(self._listener.take(frames))
        while self._answers and self._last(self._held[0]) <= self._answers[-1][0]:
            yield self._release()

    def end(self) -> Iterator[_Told]:
        self._note(self._listener.end())
        while self._held:
            yield self._release()

    def _note(self, answers: list[Answer]) -> None:
        sr, hop = self._settings.sr or 1, self._settings.hop_length
        for answer in answers:
            middle = round(answer.time * sr) - middle_of_first(self._settings)
            self._answers.append((middle // hop, answer))

    def _last(self, told: _Told) -> int:
        return told.frames.first + len(told.frames) - 1

    def _release(self) -> _Told:
        told = self._held.popleft()
        while self._answers and self._answers[0][0] <= self._last(told):
            row, answer = self._answers.popleft()
            at = row - told.frames.first
            told.label[at] = self._numbers.get(answer.label or "", NO_LABEL)
            told.probability[at] = answer.probability
        return told


class _Bins:
    """Rows over equal lengths of time, one after the other, also where nothing was recorded.

    A frame belongs to the bin that its middle lies in; one whose middle is a recording's very end
    belongs to the last. So the newest frame is held back until it is known whether it is the last.
    """

    def __init__(self, plan: Plan, settings: Settings, span: Span, source_sr: int) -> None:
        self._sr = sr = settings.sr or 1
        self._seconds = plan.bin_s or 1 << 32  # a whole recording: more than a century
        self._middle, self._hop = middle_of_first(settings), settings.hop_length
        self._samples = self._seconds * sr  # of a bin
        self._source_samples, self._source_sr = self._seconds * source_sr, source_sr
        self._bin = round(span.begin_s) // self._seconds  # the open one
        self._stop = ENDLESS if span.end_s == math.inf else round(span.end_s) // self._seconds
        self._held: list[Any] | None = None  # of the newest frame: middle, values, whole, answer
        self._statistics = Statistics(len(plan.titles()) // len(STATISTICS))
        self._tally = Tally(len(plan.labels))

    def take(
        self,
        frames: Frames,
        values: Floats,
        label: Integers,
        probability: Floats,
        gaps: deque[Gap],
    ) -> Iterator[Rows]:
        middles = (frames.first + np.arange(len(frames))) * self._hop + self._middle
        arrays = [middles, values, frames.lost == 0, label, probability]
        if self._held is not None:
            pairs = zip(self._held, arrays, strict=True)
            arrays = [np.concatenate([held, array]) for held, array in pairs]
        self._held = [array[-1:].copy() for array in arrays]
        yield from self._add(gaps, *(array[:-1] for array in arrays))

    def _add(
        self,
        gaps: deque[Gap],
        middles: Integers,
        values: Floats,
        whole: NDArray[np.bool_],
        label: Integers,
        probability: Floats,
    ) -> Iterator[Rows]:
        if not len(middles):
            return
        bins = middles // self._samples
        edges = [0, *(np.flatnonzero(np.diff(bins)) + 1).tolist(), len(bins)]
        for start, stop in pairwise(edges):
            while self._bin < bins[start]:
                yield self._close(gaps, (self._bin + 1) * self._source_samples)
            some = slice(start, stop)
            self._statistics.add(values[some] if whole[some].all() else values[some][whole[some]])
            self._tally.add(label[some], probability[some])

    def end(self, gaps: deque[Gap], samples: int) -> Iterator[Rows]:
        """What is open, and what was lost behind it."""
        if self._held is not None:
            middle = self._held[0]
            last_bin = -(-samples // self._source_samples) - 1
            if middle[0] * self._source_sr >= samples * self._sr:
                middle[0] = min(middle[0], max(0, last_bin) * self._samples)
            yield from self._add(gaps, *self._held)
        count = min(self._stop, max(self._bin + 1, -(-samples // self._source_samples)))
        while self._bin < count:
            yield self._close(gaps, min(samples, (self._bin + 1) * self._source_samples))

    def _close(self, gaps: deque[Gap], end: int) -> Rows:
        """End the open bin at a sample of the source, and open the next."""
        begin = self._bin * self._source_samples
        while gaps and gaps[0].first_sample + gaps[0].length <= begin:
            gaps.popleft()
        lost = sum(inside(gap, begin, begin + self._source_samples) for gap in gaps)
        start = float(self._bin * self._seconds)
        self._bin += 1
        frames, statistics = self._statistics.take()
        label, probability, shares = self._tally.take()
        return Rows(
            np.array([start]),
            np.array([max(start, end / self._source_sr)]),
            np.array([frames]),
            np.array([lost / self._source_sr]),
            statistics.T.reshape(1, -1),
            np.array([label]),
            np.array([probability], np.float32),
            shares[np.newaxis],
        )
