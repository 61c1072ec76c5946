"""Frames of a recording, or of an hour of it, as rows of the dataset: one each, or in bins."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

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
GATHERED = 1024  # rows, at most


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


class Held(NamedTuple):
    """Rows that are gathered, so that few steps are taken for many. (n,), one for each."""

    number: Integers
    time: Doubles
    lost: Integers
    values: Floats
    """(n, width)"""
    label: Integers
    probability: Floats

    def part(self, start: int, stop: int) -> Held:
        """Some of them, as views."""
        return Held(*(array[start:stop] for array in self))  # type: ignore[arg-type]


class RowMaker:
    """Takes the frames of a span in order; gives rows of the dataset."""

    def __init__(self, plan: Plan, settings: Settings, span: Span, source_sr: int) -> None:
        """``settings.sr`` is known."""
        self._features, self.span = plan.features, span
        self._answers = None if plan.model is None else _Answers(plan.model, settings)
        self._bins = None
        width = len(plan.titles())
        if plan.bin_s is not None:
            self._bins = _Bins(plan, settings, span, source_sr)
            width //= len(STATISTICS)
        self._held = Held(
            number=np.empty(GATHERED, np.int64),
            time=np.empty(GATHERED),
            lost=np.empty(GATHERED, np.int64),
            values=np.empty((GATHERED, width), np.float32),
            label=np.full(GATHERED, NO_LABEL),
            probability=np.full(GATHERED, np.nan, np.float32),
        )
        self._filled = 0

    def take(self, frames: Frames, gaps: deque[Gap]) -> Iterator[Rows]:
        """The rows that some frames complete; ``gaps``: all so far, at the source's rate."""
        span = self.span
        if frames.first < span.first_heard or frames.first + len(frames) > span.stop_heard:
            frames = frames.since(span.first_heard).before(span.stop_heard)
        if not len(frames):
            return
        if self._answers is None:
            yield from self._gather(frames, None, gaps)
            return
        for told in self._answers.take(frames):
            yield from self._gather(told.frames, told, gaps)

    def end(self, gaps: deque[Gap], samples: int) -> Iterator[Rows]:
        """The last rows, of a recording of so many samples, lost ones counted too."""
        for told in [] if self._answers is None else self._answers.end():
            yield from self._gather(told.frames, told, gaps)
        yield from self._release(self._filled, gaps, samples)
        if self._bins is not None:
            yield from self._bins.end(gaps, samples)

    def _gather(self, frames: Frames, told: _Told | None, gaps: deque[Gap]) -> Iterator[Rows]:
        """Copy the rows of the span, and release them whenever no other fits."""
        first = frames.first
        start, end = max(0, self.span.first - first), min(len(frames), self.span.stop - first)
        while start < end:
            if self._filled == GATHERED:
                yield from self._release(GATHERED - 1, gaps)
            stop = min(end, start + GATHERED - self._filled)
            held = self._held.part(self._filled, self._filled + stop - start)
            held.number[:] = np.arange(first + start, first + stop)
            held.time[:], held.lost[:] = frames.time[start:stop], frames.lost[start:stop]
            column = 0
            for name in self._features:
                rows = getattr(frames, name)[start:stop].reshape(stop - start, -1)
                held.values[:, column : column + rows.shape[1]] = rows
                column += rows.shape[1]
            if told is not None:
                held.label[:] = told.label[start:stop]
                held.probability[:] = told.probability[start:stop]
            self._filled += stop - start
            start = stop

    def _release(self, count: int, gaps: deque[Gap], samples: int | None = None) -> Iterator[Rows]:
        """Give so many rows away, all but the newest; with ``samples``, of the end, that too.

        The newest is kept until it is known whether it is the last.
        """
        held = self._held.part(0, count)
        if self._bins is not None:
            yield from self._bins.take(held, gaps, samples)
        elif count:
            none = np.empty((count, 0), np.float32)
            yield Rows(
                *(held.time, held.time, held.lost, held.lost, held.values),
                *(held.label, held.probability, none),
            )
        for array in self._held:
            array[: self._filled - count] = array[count : self._filled]
        self._filled -= count


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
    belongs to the last.
    """

    def __init__(self, plan: Plan, settings: Settings, span: Span, source_sr: int) -> None:
        self._sr = sr = settings.sr or 1
        self._seconds = plan.bin_s or 1 << 32  # a whole recording: more than a century
        self._middle, self._hop = middle_of_first(settings), settings.hop_length
        self._samples = self._seconds * sr  # of a bin
        self._source_samples, self._source_sr = self._seconds * source_sr, source_sr
        self._bin = round(span.begin_s) // self._seconds  # the open one
        self._stop = ENDLESS if span.end_s == math.inf else round(span.end_s) // self._seconds
        self._statistics = Statistics(len(plan.titles()) // len(STATISTICS))
        self._labels = len(plan.labels)
        self._tally = Tally(self._labels)

    def take(self, held: Held, gaps: deque[Gap], samples: int | None) -> Iterator[Rows]:
        """The rows that some frames end; ``samples``, with the last ones: of all there is."""
        if not len(held.number):
            return
        middles = held.number * self._hop + self._middle
        bins = middles // self._samples
        if samples is not None and middles[-1] * self._source_sr >= samples * self._sr:
            bins[-1] = min(bins[-1], max(0, -(-samples // self._source_samples) - 1))
        edges = [0, *(np.flatnonzero(np.diff(bins)) + 1).tolist(), len(bins)]
        whole = held.lost == 0
        ended = []
        for start, stop in pairwise(edges):
            while self._bin < bins[start]:
                ended.append(self._close(gaps, (self._bin + 1) * self._source_samples))
            some, clean = held.values[start:stop], whole[start:stop]
            self._statistics.add(some if clean.all() else some[clean])
            if self._labels:
                self._tally.add(held.label[start:stop], held.probability[start:stop])
        if ended:
            yield Rows(*map(np.concatenate, zip(*ended, strict=True)))

    def end(self, gaps: deque[Gap], samples: int) -> Iterator[Rows]:
        """What is open, and what was lost behind it."""
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
