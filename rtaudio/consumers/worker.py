"""A consumer with a queue and a thread of its own, so that it holds nobody up."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from rtaudio.consumers.delays import Delays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLUSH_S = 1.0


class Owned(Protocol):
    """What a queue holds: something with a length, nobody else's."""

    def __len__(self) -> int: ...


Item = TypeVar("Item", bound=Owned)


class BoundedQueue(Generic[Item]):
    """Items from one thread to another, of ``capacity`` rows (or samples) altogether.

    Where it is full, ``put`` waits for the reader; with ``skip`` it throws the oldest away, and
    counts them. ``hand_on`` is called with each that is thrown away and the one behind it.
    """

    def __init__(
        self,
        capacity: int,
        *,
        skip: bool,
        hand_on: Callable[[Item, Item], None] = lambda thrown, behind: None,
    ) -> None:
        self.skip = skip
        self._hand_on = hand_on
        self.skipped = 0
        """How many rows were thrown away."""
        self.delays = Delays("frame_to_consumer")
        """How long items took from when they were made until the reader got them."""
        self.made = math.nan
        """When the item was made that the reader got last. The reader's thread."""
        self.missed = False
        """Whether others were thrown away just before that one. The reader's thread."""
        self._thrown = False
        self._capacity = capacity
        self._items: deque[tuple[Item, float]] = deque()  # with when they were made
        self._length = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item, made: float = math.nan) -> None:
        """Add an item, ``made`` then (s of `time.perf_counter`); nothing once it is closed."""
        with self._changed:
            while self._items and self._length + len(item) > self._capacity and not self._closed:
                if self.skip:
                    oldest, _ = self._items.popleft()
                    self._length -= len(oldest)
                    self.skipped += len(oldest)
                    self._thrown = True
                    self._hand_on(oldest, self._items[0][0] if self._items else item)
                else:
                    self._changed.wait()
            if not self._closed:
                self._items.append((item, made))
                self._length += len(item)
                self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> Item | None:
        """The oldest item, waiting for one; None at the time-out or the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if not self._items:
                return None
            item, made = self._items.popleft()
            self._length -= len(item)
            missed, self._thrown = self._thrown, False
            self._changed.notify_all()
        self.made, self.missed, now = made, missed, time.perf_counter()
        self.delays.add(now, now - made)
        return item

    def dont_wait(self) -> None:
        """From now on, throw the oldest away instead of waiting for the reader."""
        with self._changed:
            self.skip = True
            self._changed.notify_all()

    def unbound(self) -> None:
        """From now on, neither wait nor throw anything away: the end is near."""
        with self._changed:
            self._capacity = sys.maxsize
            self._changed.notify_all()

    def close(self) -> None:
        """Take nothing more; what is there can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many rows wait for the reader."""
        return self._length

    @property
    def over(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._closed and not self._items


class Loop(Generic[Item]):
    """A queue that a loop may empty. As long as none was begun, nobody has to wait for one."""

    def __init__(self, queue: BoundedQueue[Item]) -> None:
        self.queue = queue
        self.begun = False

    def items(self) -> Iterator[Item]:
        """Yield the items as they come, until the queue is closed and empty."""
        while not self.queue.over:
            item = self.queue.get(0.1)
            if item is not None:
                yield item

    def not_begun(self) -> None:
        """Where no loop was begun, throw away what does not fit."""
        if not self.begun:
            self.queue.dont_wait()

    @property
    def skipped(self) -> int:
        """What a loop was too slow for; nothing where there is none."""
        return self.queue.skipped if self.begun else 0


class Worker(Generic[Item]):
    """Hands items to ``take``, in a thread of its own.

    ``flush`` is called every second, whether something came or not, and ``finish`` at the end. An
    exception in any of them ends the consumer: it is kept in ``error``, told, and what comes
    later is thrown away; ``finish`` is called then, too, to keep what can be kept.
    """

    def __init__(
        self,
        name: str,
        queue: BoundedQueue[Item],
        tell: Callable[[str], None],
        take: Callable[[Item], None],
        flush: Callable[[], None] | None = None,
        finish: Callable[[], None] | None = None,
        end_s: float | None = 30.0,
    ) -> None:
        """``end_s``: how long `end` waits for it; None is for ever."""
        self.name = name
        self.queue = queue
        self.error: BaseException | None = None
        self._tell = tell
        self._take, self._flush, self._finish = take, flush, finish
        self._end_s = end_s
        self.done = threading.Event()
        """Set when it has finished."""
        self._thread = threading.Thread(target=self._run, name=f"rtaudio {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Hand over what is queued, finish, and wait for that, but not for ever."""
        self.queue.close()
        if self._thread.ident is None or self._thread is threading.current_thread():
            return
        if not self.done.wait(self._end_s) and self.error is None:
            self.error = TimeoutError(f"left behind after {self._end_s:g} s")
            self._tell(f"{self.name} does not end: {self.error}")

    def _run(self) -> None:
        try:
            for step in (self._work, self._finish):
                if step is not None:
                    self._do(step)
        finally:
            self.done.set()

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the capture goes on
            self.queue.close()
            if self.error is None:
                self.error = error
                self._tell(f"{self.name} has ended: {_why(error)}")

    def _work(self) -> None:
        flushed = time.monotonic()
        while not self.queue.over:
            item = self.queue.get(FLUSH_S if self._flush is not None else None)
            if item is not None:
                self._take(item)
            if self._flush is not None and time.monotonic() - flushed >= FLUSH_S:
                self._flush()
                flushed = time.monotonic()


def _why(error: BaseException) -> str:
    """What went wrong, in the user's words where the system refused something."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
