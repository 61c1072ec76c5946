"""The processing thread: source → analyzer → consumers.

Samples come from a source, block by block; the analyzer makes rows of them; each consumer takes
the rows in a thread of its own, from a bounded queue. This file is the way between them, with the
life cycle and the books.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from rtaudio.analysis.analyzer import Analyzer, load_kernels
from rtaudio.analysis.settings import Settings
from rtaudio.books import STAGES, Books, LiveStats
from rtaudio.consumers.delays import Delay, Delays
from rtaudio.consumers.hearing import Heard, Hearing
from rtaudio.consumers.latest import Latest
from rtaudio.consumers.model import Model, load_model
from rtaudio.consumers.worker import BoundedQueue, Item, Loop, Worker
from rtaudio.recordings import for_rate
from rtaudio.scheduling import be_urgent, fast_switching
from rtaudio.sources import open_source
from rtaudio.sources.block import Block, SourceError
from rtaudio.sources.microphone import Microphone, MicrophoneStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike
    from typing import Self

    from rtaudio.analysis.frames import Frames
    from rtaudio.consumers.history import History
    from rtaudio.consumers.listener import Answer
    from rtaudio.sources.block import Source

QUEUE_S = 10.0  # what a consumer's queue holds
QUEUE_BYTES = 256 << 20  # or at most, unless 64 rows are more
QUEUE_ANSWERS = 4096
NO_LIMIT = 1 << 62
OVERLOADED_MS = 1000.0
STOP_S = 1.0  # how long a source may take to hand over its next block when it is told to stop


class Live:
    """A source, its analysis and its consumers; `live` makes one.

    A context manager, and iterable: ``with live(…) as run: for frames in run: …``. Or ``start``
    it, poll ``latest``, and ``close`` it.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        consumers: Iterable[Callable[[Frames], None]] = (),
        model: Model | None = None,
        duration_s: float | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """``model``: what it says is in ``hearing``; its settings are taken."""
        self.source = source
        self.model = model
        self.hearing: Hearing | None = None
        """What the model says, once the source is open."""
        self.listening: Worker[Frames] | None = None
        """Its thread."""
        self.settings = settings if model is None else model.front_end.settings
        """With the rate of the source, once it is open."""
        own = source.tell if isinstance(source, Microphone) else _logger.warning
        self._tell = tell or own
        self.workers: list[Worker[Any]] = []
        self.started_utc: datetime | None = None
        """When sample 0 was captured, or read."""
        self._consumers = list(consumers)
        self.asked_sr = self.settings.sr
        """The rate that was asked for; None for the source's own."""
        self._duration_s = duration_s
        self._rows: Loop[Frames] | None = None
        self._answers: Loop[Heard] | None = None
        self._on_frames: list[BoundedQueue[Frames]] = []
        self._on_blocks: list[BoundedQueue[Block]] = []
        self.history: History | None = None
        """What the rows are written into, where somebody watches."""
        self._next: deque[tuple[Settings, History | None]] = deque(maxlen=1)  # from the next block
        self._unknown = 0  # samples before those that the analyzer gets
        self._first_row = 0  # the first that holds none of them
        self._thread = threading.Thread(target=self._run, name="rtaudio processing", daemon=True)
        self._done = threading.Event()
        self._turn = threading.Lock()  # held while a block is processed
        self._stopping = self._ended = False
        self._error: Exception | None = None
        self._books = Books()
        self._beyond = 0  # samples that came after the end that was asked for
        self._invalid = self._skipped = 0  # of analyzers and queues that are no more
        self._on_screen = Delays("frame_to_screen", "captured_to_screen")
        self._opened = self._urgent = False

    # --- life cycle ---------------------------------------------------------------------------

    def open(self) -> Self:
        """Open the source, so that its rate is known; `SourceError` where that can't be done."""
        if self._opened:
            return self
        if isinstance(self.source, Microphone):
            channel = self.settings.channel
            self.source.need_channels(1 if channel == "mix" else int(channel))
            self.source.tell = self.tell
        load_kernels()  # before samples come in
        self.source.__enter__()
        self.started_utc = datetime.now(UTC)
        try:
            self.settings = for_rate(self.settings, self.source)
            self._analyzer = Analyzer(self.settings, self.source.sr)
        except BaseException:
            self.source.__exit__(None, None, None)
            raise
        self._opened = True
        self._books.sr = self.source.sr
        self._limit = NO_LIMIT
        if self._duration_s is not None:
            self._limit = round(self._duration_s * self.source.sr)
        self._latest = Latest()
        if self.model is not None:
            try:
                self._listen(self.model)
            except BaseException:
                self.close()
                raise
        return self

    def _listen(self, model: Model) -> None:
        queue = self._rows_queue()
        self.hearing = hearing = Hearing(model, queue)
        hearing.history = lambda: self.history
        self.listening = self._attach("the model", queue, hearing.take, None, hearing.finish)

    def attach_frames(
        self,
        name: str,
        take: Callable[[Frames], None],
        flush: Callable[[], None] | None = None,
        finish: Callable[[], None] | None = None,
        end_s: float | None = 30.0,
    ) -> Worker[Frames]:
        """Hand every row to ``take``, as frames of its own; see `Worker`. Before `start`."""
        return self._attach(name, self._rows_queue(), take, flush, finish, end_s)

    def attach_heard(
        self,
        name: str,
        take: Callable[[Heard], None],
        flush: Callable[[], None] | None = None,
        finish: Callable[[], None] | None = None,
        end_s: float | None = 30.0,
    ) -> Worker[Heard]:
        """Hand all that the model says to ``take``; see `Worker`. Before `start`."""
        return self._attach(name, self._heard_queue(), take, flush, finish, end_s)

    def _attach(
        self,
        name: str,
        queue: BoundedQueue[Item],
        take: Callable[[Item], None],
        flush: Callable[[], None] | None = None,
        finish: Callable[[], None] | None = None,
        end_s: float | None = 30.0,
    ) -> Worker[Item]:
        worker = Worker(name, queue, self.tell, take, flush, finish, end_s)
        self.workers.append(worker)
        return worker

    def attach_blocks(
        self,
        name: str,
        take: Callable[[Block], None],
        flush: Callable[[], None] | None = None,
        finish: Callable[[], None] | None = None,
        end_s: float | None = 30.0,
    ) -> Worker[Block]:
        """Hand every block from now on to ``take``, as the source delivered it."""
        self.open()
        capacity = int(QUEUE_S * self.source.sr)
        queue: BoundedQueue[Block] = BoundedQueue(
            capacity, skip=self.source.realtime, hand_on=_hand_on_remarks
        )
        worker = self._attach(name, queue, take, flush, finish, end_s)
        if self._begun:
            worker.start()
        self._on_blocks.append(queue)
        if self._ended:
            queue.close()
        return worker

    def detach_blocks(self, worker: Worker[Block]) -> None:
        """Hand no more blocks to a worker, and wait until it has finished."""
        self._on_blocks.remove(worker.queue)
        worker.end()
        self._skipped += worker.queue.skipped

    def watch(self, history: History) -> None:
        """Write the rows and the waveform into ``history``, from the first one on."""
        self.open()
        self.history = history
        history.hears = self.model is not None
        self._analyzer.tap = history.tap

    def change(self, settings: Settings, history: History | None = None) -> None:
        """Analyze by other settings from the next block on; ``history`` takes the place of the one.

        The rows keep their place on the time axis. The rate stays. Raises `RuntimeError` where
        somebody takes rows, who would get others in the middle.
        """
        if self._on_frames:
            raise RuntimeError("the rows are being written: their settings stay until the end")
        self.settings = settings
        self._next.append((settings, history))

    def shown(self, captured: float, completed: float, now: float) -> None:
        """Measure the way to the screen of a row that is seen ``now``. Called by the window."""
        self._on_screen.add(now, now - completed, now - captured)

    def _queues(self) -> list[BoundedQueue[Any]]:
        return [*self._on_frames, *self._on_blocks, *(self.hearing.queues if self.hearing else [])]

    def _rows_queue(self) -> BoundedQueue[Frames]:
        self.open()
        settings = self.settings
        rows = QUEUE_S * (settings.sr or 1) / settings.hop_length
        row_bytes = 8 * settings.n_bins + 4 * (settings.n_mels + settings.n_mfcc) + 32
        capacity = max(64, int(min(rows, QUEUE_BYTES / row_bytes)))
        queue: BoundedQueue[Frames] = BoundedQueue(capacity, skip=self.source.realtime)
        self._on_frames.append(queue)
        if self._ended:
            queue.close()
        return queue

    def _heard_queue(self) -> BoundedQueue[Heard]:
        self.open()
        if self.hearing is None:
            raise RuntimeError("nothing is heard without a model: live(…, model=…)")
        queue: BoundedQueue[Heard] = BoundedQueue(QUEUE_ANSWERS, skip=self.source.realtime)
        self.hearing.queues.append(queue)
        return queue

    def start(self) -> Self:
        """Open the source and begin; raises as `open`. Does nothing where it has begun."""
        if self._ended:
            raise RuntimeError("this run is over: make another with live(…)")
        if self._begun:
            return self
        self.open()
        for number, consumer in enumerate(self._consumers, 1):
            self.attach_frames(getattr(consumer, "__name__", f"consumer {number}"), consumer)
        others = any(worker is not self.listening for worker in self.workers)
        if not (others or self.history):  # somebody will iterate: nothing is to be missed by then
            self._rows = Loop(self._rows_queue())
            if self.hearing is not None:
                self._answers = Loop(self._heard_queue())
        fast_switching(True)
        for worker in self.workers:
            worker.start()
        self._thread.start()
        return self

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: object, *error: object) -> None:
        """Close; an exception of the body goes before one of the source."""
        try:
            self.close()
        except Exception:
            if kind is None:
                raise

    def tell(self, text: str) -> None:
        """Tell what a user should know; what fails in that stops nothing."""
        try:
            self._tell(text)
        except Exception:  # the user's own function
            _logger.exception("%s", text)

    def stop(self) -> None:
        """End soon: what was captured is still processed. May be called by any thread."""
        self._stopping = True
        if isinstance(self.source, Microphone):
            self.source.stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the source has ended and every consumer is done; whether that is so.

        Raises `SourceError` where the source failed, `RuntimeError` before `start`.
        """
        self._need_start()
        self._nobody_iterates()
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        # Not Thread.join: Ctrl-C in it makes Python take a running thread for a dead one.
        for done in (self._done, *(worker.done for worker in self.workers)):
            if not done.wait(None if timeout_s is None else max(0.0, end - time.monotonic())):
                return False
        self._raise_error()
        return True

    def close(self) -> None:
        """End now: process what was captured, finish the consumers, let go of the source.

        Raises `SourceError` where the source had failed and nobody was told yet.
        """
        if not self._opened:
            return
        self.stop()
        for queue in self._queues():
            queue.unbound()  # the processing thread, or the model's, may be waiting for a consumer
        if not self._begun:
            self._end()
        else:
            before = -1
            while not self._done.wait(STOP_S) and before != self._books.position:
                before = self._books.position  # it still works off what was captured
            with self._turn:  # a source that does not return is left behind
                self._end()
        for worker in self.workers:
            worker.end()
        self._raise_error()

    @property
    def ended(self) -> bool:
        """Whether the source has ended, or was closed."""
        return self._ended

    @property
    def error(self) -> Exception | None:
        """What the source failed with, where nobody was told yet."""
        return self._error

    @property
    def remaining_s(self) -> float | None:
        """How much sound there is until the end that was asked for; None where none was."""
        if self._duration_s is None:
            return None
        return max(0.0, self._duration_s - self._books.position / self._books.sr)

    @property
    def _begun(self) -> bool:
        return self._thread.ident is not None

    def _need_start(self) -> None:
        if not self._begun:
            raise RuntimeError("not started: with live(…) as run: …, or live(…).start()")

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    # --- what is asked while it runs ----------------------------------------------------------

    def __iter__(self) -> Iterator[Frames]:
        """Yield the rows as they come, copies of one's own, until the source ends.

        Behind a real-time source, a loop that is too slow misses the oldest rows, which
        ``stats.skipped`` counts; any other source waits for the loop. Beside consumers, it begins
        with the next row. Raises `SourceError` where the source failed, once the rows before are
        taken, and `RuntimeError` before `start`.
        """
        self._need_start()
        if self._rows is None:
            self._rows = Loop(self._rows_queue())
        self._rows.begun = True
        self._nobody_iterates()
        yield from self._rows.items()
        self._raise_error()

    def answers(self) -> Iterator[Answer]:
        """Yield what the model says, an answer for each row, until the source ends.

        Behind a real-time source, a loop that is too slow misses the oldest; any other source
        waits for it. Raises as ``__iter__``, `ModelError` where the model failed, and
        `RuntimeError` where there is no model, or consumers or a window beside it.
        """
        self._need_start()
        if self._answers is None:
            raise RuntimeError("no answers to take: live(…, model=…), without consumers")
        self._answers.begun = True
        self._nobody_iterates()
        for heard in self._answers.items():
            yield from heard.answers
        self._raise_error()
        if self.listening is not None and self.listening.error is not None:
            raise self.listening.error

    def _nobody_iterates(self) -> None:
        """Let no loop be waited for that was not begun: whoever waits or polls does not iterate."""
        for loop in self._loops():
            loop.not_begun()

    def _loops(self) -> list[Loop[Any]]:
        return [loop for loop in (self._rows, self._answers) if loop is not None]

    def latest(self) -> Frames | None:
        """A copy of the newest row; None before the first. Never waits."""
        self._nobody_iterates()
        return self._latest.get() if self._opened else None

    def answer(self) -> Answer | None:
        """The newest answer of the model; None before the first. Never waits."""
        self._nobody_iterates()
        return self.hearing.answer if self.hearing is not None else None

    @property
    def stats(self) -> LiveStats:
        """The books so far. May be called by any thread."""
        books = self._books
        microphone = self.source.stats if isinstance(self.source, Microphone) else None
        lost = dict(books.lost)
        delivered = books.processed + lost["dropped"]
        if microphone is not None:
            delivered = microphone.delivered - self._beyond
            if self._ended:  # what was captured and never taken
                lost["dropped"] = delivered - books.processed
        latency = microphone or MicrophoneStats()  # without a microphone, none changes
        loops = self._loops()
        taken = {loop.queue for loop in loops}
        skipped = self._skipped + sum(loop.skipped for loop in loops)
        skipped += sum(queue.skipped for queue in self._queues() if queue not in taken)
        skipped += self.hearing.skipped if self.hearing is not None else 0
        return LiveStats(
            delivered=delivered,
            processed=books.processed,
            **lost,
            **books.remarks,
            frames=books.frames,
            skipped=skipped,
            invalid=self._invalid + (self._analyzer.invalid if self._opened else 0),
            age_ms=books.age_ms,
            latency_changes=latency.latency_changes,
            latency_change_ms=latency.latency_change_ms,
            largest_latency_change_ms=latency.largest_latency_change_ms,
            microphone=microphone,
            stages=self._stages(books),
        )

    def _stages(self, books: Books) -> dict[str, Delay]:
        consumers = [queue.delays.read()["frame_to_consumer"] for queue in self._on_frames]
        found = {
            **books.stages(),
            "frame_to_consumer": Delay.together(consumers),
            **self._on_screen.read(),
            **(self.hearing.delays.read() if self.hearing is not None else {}),
        }
        if not isinstance(self.source, Microphone):
            del found["callback_jitter"]  # nobody called back
        return {name: found[name] for name in STAGES if name in found and found[name].n}

    def about(self) -> dict[str, Any]:
        """What stands beside the features in an output."""
        from rtaudio import __version__

        stats = self.stats
        started = self.started_utc
        return {
            "rtaudio": __version__,
            "settings": asdict(self.settings),
            "source": self.source.name,
            "source_sr": self.source.sr,
            "start_utc": None if started is None else started.isoformat(),
            "samples": self._books.position,
            "delivered": stats.delivered,
            "processed": stats.processed,
            "lost": stats.lost,
            **stats.lost_by_cause,
            "unplaced": stats.unplaced,
            "refuted": stats.refuted,
            "frames": stats.frames,
            **({"model": self.model.name} if self.model is not None else {}),
            "invalid": stats.invalid,
            "notes": list(self.source.notes),
        }

    # --- the processing thread ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._urgent = isinstance(self.source, Microphone) and be_urgent(True)
            for block in self.source:
                with self._turn:
                    if self._ended:  # left behind, but not what it holds
                        self.source.__exit__(None, None, None)
                        return
                    self._process(self._within_limit(block))
                if self._stopping and not isinstance(self.source, Microphone):
                    break  # a microphone ends by itself, once all it captured is taken
        except Exception as error:  # noqa: BLE001 - told to whoever waits or iterates
            self._error = error
        finally:
            with self._turn:
                try:
                    self._end()
                except Exception as error:  # noqa: BLE001 - likewise
                    self._error = self._error or error
            self._done.set()

    def _within_limit(self, block: Block) -> Block:
        """The part of a block that lies before the end that was asked for."""
        if block.first_sample + len(block) < self._limit:
            return block
        self.stop()
        inside = block.before(self._limit)
        self._beyond += len(block) - len(inside)
        self._beyond += _dropped(block) - _dropped(inside)
        return inside

    def _process(self, block: Block) -> None:
        if not (len(block) or block.lost or block.remarks):
            return
        self._books.block(block, isinstance(self.source, Microphone) and self.source.adc_time)
        for queue in self._on_blocks.copy():  # which may be attached and detached meanwhile
            queue.put(block.copy())
        if self._next:
            self._turn_to(block.first_sample - block.lost, *self._next.pop())
        lost = block.lost + self._unknown
        self._unknown = 0
        for frames in self._analyzer.feed(block.samples, lost, block.captured):
            self._hand_out(frames)
        if self._urgent and self._books.age_ms > OVERLOADED_MS:
            self._urgent = be_urgent(False)  # it can't keep up, and others want to run, too

    def _turn_to(self, position: int, settings: Settings, history: History | None) -> None:
        """Analyze by other settings from the sample ``position`` on."""
        tap = None if history is None else history.tap
        self._invalid += self._analyzer.invalid
        self._analyzer = Analyzer(settings, self.source.sr, tap=tap)
        self.history, self._latest = history, Latest()
        # The new analyzer has not seen what came before; frames that hold some of it are left out.
        self._unknown = position
        reach = self._analyzer.reach + (settings.n_fft // 2 if settings.center else 0)
        known = math.ceil(position * (settings.sr or 1) / self.source.sr) + reach
        self._first_row = -(-known // settings.hop_length)

    def _hand_out(self, frames: Frames) -> None:
        if frames.first < self._first_row:
            frames = frames.since(self._first_row)
            if not len(frames):
                return
        completed = self._books.rows(frames)
        self._latest.put(frames)
        if self.history is not None:
            self.history.put(frames, completed)
        for queue in self._on_frames:
            queue.put(frames.copy(), completed)

    def _end(self) -> None:
        """Hand out the last rows and close the queues; once."""
        if self._ended:
            return
        self._ended = True
        self._books.end()
        try:
            if threading.current_thread() is self._thread or not self._begun:
                self.source.__exit__(None, None, None)  # ends a microphone's books
            if self._error is None or isinstance(self._error, SourceError):
                for frames in self._analyzer.flush():
                    self._hand_out(frames)
        finally:
            for rows in self._on_frames:
                rows.close()
            for blocks in self._on_blocks:
                blocks.close()
            if self._begun:
                fast_switching(False)


def _hand_on_remarks(thrown: Block, behind: Block) -> None:
    """What a block says of losses elsewhere is not thrown away with it."""
    behind.remarks = thrown.remarks + behind.remarks


def _dropped(block: Block) -> int:
    return sum(gap.length for gap in block.gaps if gap.cause == "dropped")


_logger = logging.getLogger("rtaudio")


def live(
    source: str | PathLike[str] | Source | None = None,
    settings: Settings | None = None,
    *,
    consumers: Iterable[Callable[[Frames], None]] = (),
    model: str | PathLike[str] | Model | None = None,
    realtime: bool = True,
    duration_s: float | None = None,
    tell: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Live:
    """Analyze sound as it comes.

    Parameters
    ----------
    source
        None is the default microphone; a path, ``demo:``, or any source, as a `Microphone`.
    settings
        What to compute; ``settings.sr`` is the rate of the analysis.
    consumers
        Each is called with rows of its own (`Frames`), in a thread of its own. An exception ends
        that consumer alone.
    model
        What is heard is told by it: `Live.answers`, `Live.answer`. A path, or what `load_model`
        made. It brings its own settings: others raise `ValueError`.
    realtime
        Whether a path is played at the pace of a microphone; else as fast as the slowest consumer
        takes it, and nothing is skipped.
    duration_s
        End after so many seconds of sound; lost samples count.
    tell
        Called with a line for what a user should know; by default a warning is logged.
    overrides
        Any of the settings by name, over ``settings``.

    The switch interval of Python's threads is 0.5 ms while it runs.

    Raises
    ------
    SourceError
        Where the source can't be read; a microphone tells when it is started.
    ModelError
        Where the model can't be used.
    ValueError
        Where an argument can't be used.

    """
    if duration_s is not None and not duration_s > 0:
        raise ValueError(f"duration_s={duration_s} is not above 0")
    if isinstance(source, np.ndarray):
        raise ValueError("samples have no rate: live(rtaudio.ArraySource(y, sr)), or analyze(y)")
    opened = Microphone() if source is None else open_source(source, realtime=realtime)
    if model is not None:
        model = model if isinstance(model, Model) else load_model(model)
        model.settings_for(settings)
        model.settings_for(overrides)
    settings = replace(settings or Settings(), **overrides)
    return Live(
        opened, settings, consumers=consumers, model=model, duration_s=duration_s, tell=tell
    )
