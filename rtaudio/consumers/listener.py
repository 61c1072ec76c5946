"""What a model hears: rows in, an answer for each, no threads and no clocks.

An answer is for the row in the middle of its context. Before the first row, after the last and in
gaps stands silence, as the analyzer makes it of zeros: so the start of a stream, its losses and a
recording shorter than the context are no special cases.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtaudio.analysis.analyzer import Analyzer
from rtaudio.consumers.model import told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from rtaudio.analysis.frames import Frames
    from rtaudio.consumers.model import FrontEnd, Model

    Floats = NDArray[np.float32]


class Answer(NamedTuple):
    """What a model says of one row."""

    time: float
    """Of the row, s."""
    label: str | None
    """None where no label is as likely as the threshold."""
    probability: float
    """Of the likeliest label that is told."""


class Interval(NamedTuple):
    """How long one label held. Times in s."""

    start: float
    end: float
    label: str
    probability: float
    """The mean over its answers."""


class Listener:
    """Turns the rows of one stream into answers. Any chunks of rows give the same ones.

    Memory is a context of rows and what is averaged, however long the stream is.
    """

    def __init__(self, model: Model) -> None:
        """Start a session of onnxruntime, which may take some milliseconds."""
        self.model = model
        self.skipped = 0
        """Answers that were not given: too late, or rows of their context were thrown away.

        Those near to one are averaged over fewer scores.
        """
        front_end = model.front_end
        self._front_end, self._context = front_end, front_end.context
        self._after = self._context - 1 - self._context // 2  # rows of a context after its middle
        self._step, self._reach = model.step, model.reach
        self._infer = model.start()
        self._labels = front_end.labels
        self._told = told(self._labels)
        self._silence = silence(front_end)
        self.restart()

    def restart(self) -> None:
        """Listen to another stream."""
        # Each row is written twice, so that any context lies in one piece.
        self._rows = np.tile(self._silence, (2 * self._context, 1))
        self._times = np.full(self._context, np.nan)  # NaN: a row that was not heard
        self._number: int | None = None  # of the next row
        self._unknown_until = -1  # contexts that end before hold rows that were thrown away
        # Scores, None where they were skipped, of the answers around the next one.
        self._scores: deque[tuple[float, Floats | None]] = deque(maxlen=2 * self._reach + 1)
        self._given = 0  # how many of them have their answer

    def take(self, frames: Frames, *, missed: bool = False, late: bool = False) -> list[Answer]:
        """The answers that some rows complete.

        ``missed``: the rows that are missing before them were thrown away on the way here; else
        they were lost, and silence stands for them. ``late``: skip the answers, keep the rows.
        """
        rows = self._front_end.rows(frames)
        return self.take_rows(frames.first, frames.time, rows, missed=missed, late=late)

    def take_rows(
        self,
        first: int,
        times: NDArray[np.float64],
        rows: Floats,
        *,
        missed: bool = False,
        late: bool = False,
    ) -> list[Answer]:
        """As `take`, of rows (k, width) from the number ``first`` on."""
        answers: list[Answer] = []
        if self._number is None:
            self._number = first
        if first > self._number:
            self._miss(first, missed, late, answers)
        for time, row in zip(times.tolist(), rows, strict=True):
            self._push(time, row, late, answers)
        return answers

    def end(self) -> list[Answer]:
        """What is still owed, with silence after the last row."""
        answers: list[Answer] = []
        if self._number is not None:
            self._silent(self._after, False, answers)
        self._flush(answers)
        return answers

    def _miss(self, first: int, missed: bool, late: bool, answers: list[Answer]) -> None:
        assert self._number is not None
        count = first - self._number
        self._silent(min(count, self._context), late or missed, answers)
        if missed:
            self._unknown_until = first + self._context - 1
        self._number = first

    def _silent(self, count: int, late: bool, answers: list[Answer]) -> None:
        for _ in range(count):
            self._push(np.nan, self._silence, late, answers)

    def _push(self, time: float, row: Floats, late: bool, answers: list[Answer]) -> None:
        """Take one row; answer for the one whose context it completes."""
        assert self._number is not None
        context, number = self._context, self._number
        at = number % context
        self._rows[at] = self._rows[at + context] = row
        self._times[at] = time
        self._number = number + 1
        middle = number - self._after
        time = self._times.item(middle % context)
        if time != time:
            self._flush(answers)  # nothing was heard there
        elif middle % self._step == 0:
            scores = None
            if not late and number >= self._unknown_until:
                scores = self._infer(self._rows[at + 1 : at + 1 + context])
            self._score(time, scores, answers)

    def _score(self, time: float, scores: Floats | None, answers: list[Answer]) -> None:
        if len(self._scores) == self._scores.maxlen:
            self._given -= 1
        self._scores.append((time, scores))
        if len(self._scores) - self._given > self._reach:
            self._answer(answers)

    def _flush(self, answers: list[Answer]) -> None:
        """Give what is owed by now: nothing was heard after it."""
        while self._given < len(self._scores):
            self._answer(answers)
        self._scores.clear()
        self._given = 0

    def _answer(self, answers: list[Answer]) -> None:
        """Give the next answer, the mean of the scores that are near, or count it as skipped."""
        at, reach = self._given, self._reach
        time, own = self._scores[at]
        self._given += 1
        if own is None:
            self.skipped += 1
            return
        around = list(self._scores)[max(0, at - reach) : at + reach + 1]
        near = [scores for _, scores in around if scores is not None]
        scores = np.add.reduce(near) / len(near)
        likeliest = int(scores.argmax())
        best = max(self._told, key=scores.item)
        probability = scores.item(best)
        holds = best == likeliest and probability >= self.model.threshold
        answers.append(Answer(time, self._labels[best] if holds else None, probability))


def silence(front_end: FrontEnd) -> Floats:
    """The row of a frame that holds nothing, (width,)."""
    settings = replace(front_end.settings, channel="mix")  # of the one that there is
    analyzer = Analyzer(settings, settings.sr or 1)
    for frames in analyzer.feed(np.zeros(settings.n_fft, np.float32)):
        row: Floats = front_end.rows(frames)[0].copy()
        return row
    raise AssertionError("no row of so many samples")


class Intervals:
    """Puts answers together: an interval for each label, as long as it holds."""

    def __init__(self, model: Model) -> None:
        self._step_s = model.step * model.front_end.hop_s
        self._sum = 0.0
        self._count = 0
        self._first = self._last = Answer(0.0, None, 0.0)

    @property
    def current(self) -> Interval | None:
        """The one that holds as far as is known; None where none does."""
        if not self._count:
            return None
        half = self._step_s / 2
        start, end = max(0.0, self._first.time - half), self._last.time + half
        return Interval(start, end, self._first.label or "", self._sum / self._count)

    def take(self, answers: Iterable[Answer]) -> list[Interval]:
        """The intervals that these end."""
        ended = []
        for answer in answers:
            follows = answer.time - self._last.time < 1.5 * self._step_s
            if self._count and not (follows and answer.label == self._first.label):
                ended += self.end()
            if answer.label is not None:
                if not self._count:
                    self._first = answer
                self._sum += answer.probability
                self._count += 1
            self._last = answer
        return ended

    def end(self) -> list[Interval]:
        """The one that still holds, ended with its last answer."""
        interval = self.current
        self._sum, self._count = 0.0, 0
        return [interval] if interval is not None else []


def longest(intervals: Iterable[Interval]) -> str | None:
    """The label that holds longest of all; None where there is none."""
    held: dict[str, float] = {}
    for interval in intervals:
        held[interval.label] = held.get(interval.label, 0.0) + interval.end - interval.start
    return max(held, key=held.__getitem__, default=None)
