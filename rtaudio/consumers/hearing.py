"""A model beside a live run: its thread's work, what it said last, and how late that was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtaudio.consumers.delays import Delays
from rtaudio.consumers.listener import Intervals, Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtaudio.analysis.frames import Frames
    from rtaudio.consumers.history import History
    from rtaudio.consumers.listener import Answer, Interval
    from rtaudio.consumers.model import Model
    from rtaudio.consumers.worker import BoundedQueue

LATE_S = 0.5  # rows that wait for so much sound behind them get no answer


@dataclass(frozen=True)
class Heard:
    """What was heard at once. Its length is that of the answers."""

    answers: list[Answer]
    ended: list[Interval]
    """Intervals that these ended."""

    def __len__(self) -> int:
        """How many answers there are."""
        return len(self.answers)


class Hearing:
    """Listens to the rows of a live run. `take` and `finish` are called by its worker's thread."""

    def __init__(self, model: Model, queue: BoundedQueue[Frames]) -> None:
        """Raises what onnxruntime raises where it can't start."""
        self.model = model
        self.answer: Answer | None = None
        """The newest."""
        self.delays = Delays("frame_to_label")
        """From when the last row of a context was complete to its answer."""
        self.history: Callable[[], History | None] = lambda: None
        """Where the labels are shown, by now."""
        self.queues: list[BoundedQueue[Heard]] = []
        """Where what is heard is put. Before the start."""
        self._queue = queue
        self._late_rows = max(1, int(LATE_S / model.front_end.hop_s))
        self._listener, self._intervals = Listener(model), Intervals(model)

    @property
    def skipped(self) -> int:
        """Answers that were not given, since they would have come too late."""
        return self._listener.skipped

    def take(self, frames: Frames) -> None:
        """Answer for some rows; where too many others wait behind a real-time source, skip."""
        late = self._queue.skip and self._queue.waiting > self._late_rows
        answers = self._listener.take(frames, missed=self._queue.missed, late=late)
        now = time.perf_counter()
        for _ in answers:
            self.delays.add(now, now - self._queue.made)
        self._tell(answers, self._intervals.take(answers))

    def finish(self) -> None:
        """Give the answers that are still owed, and close the queues."""
        try:
            answers = self._listener.end()
            ended = self._intervals.take(answers)
            self._tell(answers, ended + self._intervals.end())
        finally:
            for queue in self.queues:
                queue.close()

    def _tell(self, answers: list[Answer], ended: list[Interval]) -> None:
        if answers:
            self.answer = answers[-1]
        history, current = self.history(), self._intervals.current
        if history is not None:
            for interval in (*ended, *([current] if current is not None else [])):
                history.label(interval)
        if answers or ended:
            for queue in self.queues:
                queue.put(Heard(answers, ended))
