"""A whole archive: what is still to be done is shared out, and noted when it is done."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from rtaudio.archive.plan import DatasetError
from rtaudio.archive.tasks import Done, Task, do
from rtaudio.processes import Killed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rtaudio.archive.dataset import Dataset
    from rtaudio.archive.find import Found
    from rtaudio.archive.plan import Plan

    Engine = Callable[[deque[Task]], Generator[tuple[Task, Done | Killed] | None]]


class Run:
    """Which tasks there are, and how far they are."""

    def __init__(self, dataset: Dataset, found: Found) -> None:
        self._dataset = dataset
        self._begun = time.monotonic()
        self.one_rate = dataset.plan.settings.sr is not None
        self.recordings = len(found.recordings) + len(found.failed)
        self.done_before = 0
        """Recordings that a former run has done."""
        self.done = 0
        self.failed = set(found.failed)
        """Recordings, by their paths."""
        self.others = len(dataset.entries.keys() - found.recordings.keys())
        """Recordings of former runs, which are not among those that were found."""
        self.watch: Callable[[], None] = lambda: None
        """Called whenever `report` is."""
        self.seconds = self.lost_s = 0.0
        """Of recordings, done in this run."""
        self.rates: set[int] = set()
        self.todo: deque[Task] = deque()
        self._at_work: dict[int, tuple[float, float]] = {}  # seconds, bytes of each task at work
        # The largest first: at the end no process waits long for another one's.
        for recording in sorted(found.recordings.values(), key=lambda r: (-r.size, r.path)):
            missing = dataset.missing(recording)
            self.done_before += not missing
            self.todo += missing
        self._bytes = float(sum(self._size(task) for task in self.todo))
        self._bytes_done = 0.0

    @property
    def left(self) -> int:
        """How many recordings were not come to."""
        return self.recordings - self.done_before - self.done - len(self.failed)

    @property
    def took_s(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._begun

    @property
    def seconds_now(self) -> float:
        """Seconds of recordings, of what is at work too."""
        return self.seconds + sum(seconds for seconds, _ in self._at_work.values())

    @property
    def speed(self) -> float:
        """In multiples of real time."""
        return self.seconds_now / max(self.took_s, 1e-9)

    @property
    def part(self) -> float:
        """How much is done, 0 … 1, by the bytes of the recordings."""
        done = self._bytes_done + sum(size for _, size in self._at_work.values())
        return min(1.0, done / self._bytes) if self._bytes else 0.0

    @property
    def left_s(self) -> float | None:
        """How long it will go on; None where that is not known."""
        return self.took_s * (1 / self.part - 1) if self.part else None

    def report(self, task: Task, done_s: float, total_s: float | None) -> None:
        """Note how far a task is: for engines that know."""
        part = min(1.0, done_s / total_s) if total_s else 0.0
        self._at_work[id(task)] = done_s, part * self._size(task)
        self.watch()

    def share(self, engine: Engine) -> Generator[tuple[Task, Done] | None]:
        """Do the tasks, and what they lead to; yield what became of each, and None meanwhile.

        ``engine`` does the tasks of a queue that grows, and yields what comes of each, or None,
        some ten times a second. Raises `DatasetError` where the dataset can't be written.
        """
        with closing(engine(self.todo)) as doing:  # processes end before the dataset is closed
            for ended in doing:
                if ended is None:
                    yield None
                    continue
                task, done = ended
                self._at_work.pop(id(task), None)
                if isinstance(done, Killed):
                    done = Done(failed=f"{task.recording.path}: its process was killed, {done}")
                if done.fatal is not None:
                    raise DatasetError(done.fatal)
                self._note(task, done)
                yield task, done

    def _note(self, task: Task, done: Done) -> None:
        whole = self._size(task)
        more = self._dataset.record(task, done)
        self.todo.extendleft(reversed(more))
        self._bytes_done += whole if task.piece or not more else whole / (len(more) + 1)
        entry = self._dataset.entries[task.recording.path]
        if done.failed is not None:
            self.failed.add(task.recording.path)
            return
        self.done += entry.complete
        self.seconds += done.seconds
        self.lost_s += done.lost_s
        self.rates.add(done.sr)

    def _size(self, task: Task) -> float:
        entry = self._dataset.entries.get(task.recording.path)
        known = entry is not None and entry.identity == task.recording.identity
        return task.recording.size / (entry.pieces if known and entry is not None else 1)


def in_this_process(plan: Plan, report: Callable[[Task, float, float | None], None]) -> Engine:
    """An engine without any other process."""

    def engine(todo: deque[Task]) -> Generator[tuple[Task, Done | Killed] | None]:
        while todo:
            task = todo.popleft()
            yield task, do(plan, task, partial(report, task))

    return engine
