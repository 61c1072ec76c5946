"""Work in processes of its own: shared out, ended without leaving anything half-done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, TypeVar

from rtaudio.analysis.analyzer import load_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from multiprocessing.sharedctypes import SynchronizedArray

    Progress = Callable[[float, float | None], None]

Task = TypeVar("Task")
Result = TypeVar("Result")

TRIES = 3  # of a task whose process is killed while nothing else runs


class Killed(Exception):
    """A task's process was killed each time it was tried."""


def in_processes(
    todo: deque[Task],
    work: Callable[[Task, Progress], Result],
    processes: int,
    report: Callable[[Task, float, float | None], None] = lambda task, done_s, total_s: None,
) -> Generator[tuple[Task, Result | Killed] | None]:
    """Do what is in ``todo``, also what is put there meanwhile; yield what comes of each task.

    None is yielded about ten times a second, after ``report`` was called for each task at work
    with what ``work`` tells of its progress. ``work`` is a function of a module, or a
    `functools.partial` of one. When the iteration is ended, what is at work is stopped; it
    leaves nothing half-written, but in a process that is killed.

    Where a process is killed, what was at work is tried again, each task alone, so that what
    kills its process can be told from what was beside it.
    """
    suspects: deque[Task] = deque()
    tries: dict[int, int] = {}
    while todo or suspects:
        with _Pool(work, processes) as pool:
            for task, result in pool.drain(todo, suspects, report):
                if not isinstance(result, BrokenProcessPool):
                    tries.pop(id(task), None)
                    yield None if task is None else (task, result)
                    continue
                tries[id(task)] = tries.get(id(task), 0) + pool.alone
                if tries[id(task)] < TRIES:
                    suspects.append(task)
                else:
                    yield task, Killed("three times")


class _Pool:
    """Processes that have room for two tasks each: the next is there when one is done."""

    def __init__(self, work: Callable[[Any, Progress], Any], processes: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._room = 2 * processes
        self._shared: Any = spawn.Array("d", 2 * self._room, lock=False)
        self._others = set(multiprocessing.active_children())
        self._executor = ProcessPoolExecutor(
            processes, spawn, initializer=_begin, initargs=(self._shared, work)
        )
        self._pending: dict[Future[Any], tuple[int, Any]] = {}
        self._slots = list(range(self._room))
        self._broken = False
        self.alone = False
        """Whether one task alone is at work, which another pool did not survive."""

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in set(multiprocessing.active_children()) - self._others:
            worker.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def drain(
        self, todo: deque[Any], suspects: deque[Any], report: Callable[..., None]
    ) -> Iterator[tuple[Any, Any]]:
        """Yield tasks and results until nothing is left or the pool is broken.

        The results are then the error, for all that were at work.
        """
        while self._submit(todo, suspects):
            done, _ = wait(self._pending, timeout=0.1, return_when=FIRST_COMPLETED)
            for slot, task in self._pending.values():
                report(task, self._shared[2 * slot], self._shared[2 * slot + 1] or None)
            yield None, None
            for future in done:
                slot, task = self._pending.pop(future)
                self._slots.append(slot)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    result, self._broken = error, True
                yield task, result

    def _submit(self, todo: deque[Any], suspects: deque[Any]) -> bool:
        """Submit what there is room for; returns whether anything is at work."""
        if not self._pending:
            self.alone = bool(suspects)
        room, waiting = (1, suspects) if self.alone else (self._room, todo)
        while waiting and len(self._pending) < room and not self._broken:
            slot = self._slots[-1]
            self._shared[2 * slot] = self._shared[2 * slot + 1] = 0
            try:
                future = self._executor.submit(_work, slot, waiting[0])
            except BrokenProcessPool:
                self._broken = True
                break
            self._pending[future] = self._slots.pop(), waiting.popleft()
        return bool(self._pending)


# --- in a process -----------------------------------------------------------------------------


class _Stopped(BaseException):
    """The parent ended the run."""


_shared: SynchronizedArray[float]
_function: Callable[[Any, Progress], Any]
_busy = _stopped = False
_idle = threading.Event()


def _begin(shared: SynchronizedArray[float], work: Callable[[Any, Progress], Any]) -> None:
    global _shared, _function
    _shared, _function = shared, work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    load_kernels(release_gil=True)  # not in a task: what `_stop` raises is lost where LLVM calls


def _end_with_parent() -> None:
    """End when the parent is gone without a word, as after SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # what is half-written goes
    _idle.wait(5)
    os._exit(1)


def _stop(signum: int, frame: object) -> None:  # noqa: ARG001
    global _stopped  # noqa: PLW0603
    _stopped = True
    if _busy:
        raise _Stopped


def _work(slot: int, task: Any) -> Any:
    global _busy  # noqa: PLW0603

    def progress(done_s: float, total_s: float | None) -> None:
        _shared[2 * slot], _shared[2 * slot + 1] = done_s, total_s or 0

    try:
        _idle.clear()
        _busy = not _stopped
        if _busy:
            return _function(task, progress)
    except _Stopped:
        pass
    finally:
        _busy = False
        _idle.set()
    return None  # nobody waits for it any more
