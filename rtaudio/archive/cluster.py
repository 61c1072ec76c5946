"""The tasks of an archive on a Dask cluster that is running already."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import queue
import time
import warnings
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from rtaudio.archive.tasks import Done, Task, do
from rtaudio.processes import Killed

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Generator, Iterator

    from rtaudio.archive.plan import Plan
    from rtaudio.archive.run import Engine

CONNECT_S = 10.0
BACK_S = 600.0  # a scheduler that is gone is waited for
AHEAD = 4  # tasks for each thread there is: the next ones are there when one is done


class ClusterError(Exception):
    """The cluster can't be used: one line that says what to do."""


def on_cluster(plan: Plan, address: str, say: Callable[[str], None]) -> Engine:
    """An engine that a Dask scheduler shares out; ``say`` is told what a user should know.

    A worker that dies is Dask's matter: it tries a task on four of them. Where the scheduler is
    gone, it is waited for, and what it had is given to it again. Raises `ClusterError`.
    """

    def engine(todo: deque[Task]) -> Generator[tuple[Task, Done | Killed] | None]:
        within_s = CONNECT_S
        while todo:
            with (yield from _connect(address, within_s)) as client:
                share = _Share(client, plan, todo, say)
                try:
                    yield from share.out()
                finally:
                    share.take_back()
            if todo:
                say(f"{address}: the scheduler is gone; waiting for it to come back …")
            within_s = BACK_S

    return engine


def _connect(address: str, within_s: float) -> Generator[None, None, Any]:
    """A client, once a scheduler answers; until then None is yielded. Raises `ClusterError`."""
    from distributed import Client
    from distributed.comm.addressing import get_address_host_port

    for name in logging.root.manager.loggerDict:  # it is told here, in one line
        if name.startswith(("distributed", "tornado")):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    make: Any = Client  # which has no types
    try:
        get_address_host_port(address)
    except (ValueError, TypeError):
        raise ClusterError(f"{address!r} is no address: tcp://192.168.1.2:8786") from None
    begun = time.monotonic()
    while True:
        client: Any = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other versions: `_check` says which
                client = make(address, timeout=CONNECT_S, set_as_default=False)
            _check(client)
        except (TypeError, ValueError) as error:  # as tls:// without certificates
            raise ClusterError(f"{address}: {error}: tcp://192.168.1.2:8786") from None
        except OSError:  # and so it is that nobody answers in time
            if client is not None:
                client.close()
            if time.monotonic() - begun >= within_s - 1:
                raise ClusterError(
                    f"{address}: no Dask scheduler answers: start one (dask scheduler) and workers "
                    f"(dask worker {address})"
                ) from None
            yield None
        except ClusterError:
            client.close()
            raise
        else:
            return client


def _check(client: Any) -> None:
    """Raise `ClusterError` where Python or rtaudio are not the same everywhere."""
    python, own = platform.python_version(), importlib.metadata.version("rtaudio")
    scheduler = client.run_on_scheduler(platform.python_version)
    _compare("the scheduler", "Python", scheduler, python)
    for worker, version in client.run(platform.python_version).items():
        _compare(f"the worker {worker}", "Python", version, python)
    for worker, version in client.run(
        importlib.metadata.version, "rtaudio", on_error="return"
    ).items():
        found = "none" if isinstance(version, Exception) else version
        _compare(f"the worker {worker}", "rtaudio", found, own)


def _compare(where: str, what: str, version: str, own: str) -> None:
    alike = version.split(".")[:2] == own.split(".")[:2] if what == "Python" else version == own
    if not alike:
        raise ClusterError(f"{where} has {what} {version}, here it is {own}: install the same")


class _Share:
    """What one connection to a scheduler has of the tasks."""

    def __init__(
        self, client: Any, plan: Plan, todo: deque[Task], say: Callable[[str], None]
    ) -> None:
        self._client, self._plan, self._todo, self._say = client, plan, todo, say
        self._pending: dict[str, tuple[Any, Task]] = {}
        self._ended: queue.Queue[Any] = queue.Queue()
        self._room = 0
        self._looked = -1.0  # when the workers were counted

    def out(self) -> Iterator[tuple[Task, Done | Killed] | None]:
        """Yield what comes of the tasks, until all are done or the scheduler is gone."""
        while (self._todo or self._pending) and self._client.status == "running":
            try:
                ended = self._next()
            except (OSError, CancelledError):  # so all calls fail without a scheduler
                return
            yield ended

    def _next(self) -> tuple[Task, Done | Killed] | None:
        """What came of a task, or None where nothing came in time."""
        if time.monotonic() - self._looked >= 1:
            self._look()
        self._submit()
        try:
            future = self._ended.get(timeout=0.1)
        except queue.Empty:
            return None
        result = self._result(future)
        _, task = self._pending.pop(future.key)
        return task, result

    def take_back(self) -> None:
        """Put what is not done back, in its order."""
        for future, task in reversed(self._pending.values()):
            future.release()
            self._todo.appendleft(task)
        self._pending.clear()

    def _look(self) -> None:
        """Count the workers."""
        first, self._looked = self._looked < 0, time.monotonic()
        threads = sum(self._client.nthreads().values())
        if not threads and (first or self._room):
            self._say("the scheduler has no workers; waiting for some (dask worker ADDRESS) …")
        self._room = AHEAD * threads

    def _submit(self) -> None:
        while self._todo and len(self._pending) < self._room:
            task = self._todo.popleft()
            future = self._client.submit(do, self._plan, task, pure=False)
            self._pending[future.key] = future, task
            future.add_done_callback(self._ended.put)

    def _result(self, future: Any) -> Done | Killed:
        """What a task came to, fetched from its worker; raises what `out` knows, `ClusterError`."""
        from distributed.scheduler import KilledWorker

        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                return Killed("on four workers")
            raise ClusterError(f"a worker fails: {type(error).__name__}: {error}") from error
        done: Done = future.result()
        own = Done().rtaudio
        if done.rtaudio != own:
            raise ClusterError(f"a worker has rtaudio {done.rtaudio}, here it is {own}")
        return done
