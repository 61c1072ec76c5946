"""A live run as the window shows it, and what its keys do to it."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtaudio.capture.devices import MONITOR
from rtaudio.consumers.history import SPAN_ROWS, History
from rtaudio.consumers.recorder import Recorder
from rtaudio.pipeline import Live
from rtaudio.sources.block import Block, Gap, SourceError
from rtaudio.sources.microphone import Microphone, devices
from rtaudio.view.canvas import most_pixels
from rtaudio.words import losses, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings
    from rtaudio.capture.devices import Device
    from rtaudio.consumers.worker import Worker
    from rtaudio.view.look import Look

SPARE_ROWS = 128  # of the largest texture, more than are seen
MOST_DEVICES = 9  # as many as there are digits


class Session:
    """A live run as the window shows it, and what the keys do to it.

    All calls in the window's thread; what takes long is done in another one.
    """

    def __init__(
        self,
        run: Live,
        look: Look,
        notices: deque[str] | None = None,
        on_replaced: Callable[[Live], None] | None = None,
    ) -> None:
        """Open the run's source; raises as `Live.open`. ``notices`` is what `tell` fills."""
        self.run = run.open()
        self._span_s = look.span_s
        self._span_rows = min(SPAN_ROWS, most_pixels() - SPARE_ROWS)
        self._history = self._history_of(run.settings)
        run.watch(self._history)
        self._on_replaced = on_replaced
        self._notices = deque() if notices is None else notices
        self._recording: Worker[Block] | None = None
        self._recorder: Recorder | None = None
        self._devices: list[Device] | None = None
        self._errands = ThreadPoolExecutor(1, "rtaudio window's errand")
        self._closed = False

    def _history_of(self, settings: Settings) -> History:
        return History(settings, span_s=self._span_s, span_rows=self._span_rows)

    @property
    def history(self) -> History:
        """What to draw: what the run writes into by now."""
        self._history = self.run.history or self._history
        return self._history

    def close(self) -> None:
        """Do what was asked for, then end the run; raises as `Live.close`."""
        self._closed = True
        self._errands.shutdown()
        self.run.close()

    def tell(self, text: str) -> None:
        """Show a line for some seconds. May be called by any thread."""
        self._notices.append(text)

    def notices(self) -> list[str]:
        """What was told since the last call."""
        return [self._notices.popleft() for _ in range(len(self._notices))]

    @property
    def title(self) -> str:
        """What is heard."""
        return one_line(self.run.source.name.removesuffix(":"))

    @property
    def running(self) -> bool:
        """Whether the source goes on."""
        return not self.run.ended

    def words(self) -> tuple[str, bool]:
        """What is heard, by which settings, and what was lost; whether that is so."""
        run, stats, settings = self.run, self.run.stats, self.run.settings
        sr = settings.sr or 1
        rate = f"{run.source.sr} Hz" + (f" → {sr} Hz" if sr != run.source.sr else "")
        lengths = (("n_fft", settings.n_fft), ("hop", settings.hop_length))
        parts = [f"{self.title}, {rate}"]
        parts += [f"{name} {n} ({1000 * n / sr:.1f} ms)" for name, n in lengths]
        lost = f"lost {stats.lost} samples ({stats.lost / run.source.sr:.2f} s)"
        unsure_s = stats.refuted / run.source.sr, stats.unplaced / run.source.sr
        parts.append(losses(lost if stats.lost else "", *unsure_s))
        age = stats.stages.get("captured_to_screen")
        if age is not None and self.running:
            p99 = age.recent.p99_ms
            tail = "" if math.isnan(p99) else f" (p99 {p99:.0f})"
            parts.append(f"on screen after {age.recent.p50_ms:.0f} ms{tail}")
        if not self.running:
            parts.insert(0, f"ENDED: {run.error}" if run.error else "ENDED")
        recording = self._recording
        if recording is not None and self._recorder is not None and not recording.done.is_set():
            failed = recording.error is not None
            parts.insert(0, f"● REC {'FAILED' if failed else self._recorder.paths[0].name}")
        return "    ".join(parts), bool(stats.lost or stats.unplaced)

    def shown(self, history: History, row: int, now: float) -> None:
        """Measure the way to the screen: ``row`` is the newest that is seen ``now``."""
        captured = history.captured(row)
        if history is self.run.history and captured == captured:
            self.run.shown(captured, history.completed(row), now)

    # --- keys ---------------------------------------------------------------------------------

    def scale_n_fft(self, factor: float) -> None:
        """Analyze by a longer or shorter frame from now on."""
        settings = self.run.settings
        n_fft = round(settings.n_fft * factor)
        if not self.running:
            return self.tell(f"n_fft stays {settings.n_fft}: the source has ended")
        if not settings.hop_length <= n_fft <= 1 << 16:
            return self.tell(f"n_fft stays {settings.n_fft}: it may be from the hop to 65536")
        try:
            changed = replace(settings, n_fft=n_fft)
            self.run.change(changed, self._history_of(changed))
        except (ValueError, RuntimeError) as error:
            return self.tell(f"n_fft stays {settings.n_fft}: {error}")
        return self.tell(f"n_fft {n_fft}")

    def record(self) -> None:
        """Begin a recording in the current folder, or end it."""
        if self._recording is not None:
            run, worker, recorder = self.run, self._recording, self._recorder
            self._recording = None
            return self._do(lambda: self._end_recording(run, worker, recorder))
        if not self.running:
            return self.tell("nothing to record: the source has ended")
        source = self.run.source
        try:
            recorder = Recorder(
                str(free_path(".wav")),
                source.sr,
                source.channels,
                start=datetime.now().astimezone(),
            )
        except OSError as error:
            return self.tell(f"no recording: {error.filename}: {error.strerror}")
        self._recorder = recorder
        first: int | None = None

        def take(block: Block) -> None:
            nonlocal first
            if first is None:  # a take begins with a sample, not with a gap
                first = block.first_sample
                block.lost, block.gaps = 0, ()
            block.first_sample -= first
            block.remarks = _inside(block.remarks, first)
            recorder.take(block)

        steps = (take, recorder.flush, recorder.finish)
        self._recording = self.run.attach_blocks("the recording", *steps, end_s=None)
        return self.tell(f"recording {recorder.paths[0]}")

    def _end_recording(self, run: Live, worker: Worker[Block], recorder: Recorder | None) -> None:
        run.detach_blocks(worker)
        if worker.error is None and recorder is not None:
            self.tell(f"recorded {recorder.paths[0]}")

    def save(self, pixels: NDArray[np.uint8], about: dict[str, Any]) -> None:
        """Write what is seen into the current folder; takes a while."""
        self._do(lambda: self._save(pixels, about))

    def _save(self, pixels: NDArray[np.uint8], about: dict[str, Any]) -> None:
        path = free_path(".png")
        try:
            write_png(path, pixels, about)
        except OSError as error:
            return self.tell(f"no picture: {path}: {error.strerror}")
        return self.tell(f"saved {path}")

    def list_devices(self) -> None:
        """Find the devices; takes a while."""
        self._devices = None
        self._do(self._find_devices)

    def _find_devices(self) -> None:
        try:
            self._devices = _offered(devices())
        except SourceError as error:
            self._devices = []
            self.tell(str(error))

    @property
    def devices(self) -> list[str] | None:
        """The devices, as they are told; None while they are looked for."""
        return None if self._devices is None else [str(device) for device in self._devices]

    def choose(self, number: int) -> None:
        """Listen to another device from now on."""
        assert self._devices is not None
        ours = (self._recording, self.run.listening)
        others = (worker for worker in self.run.workers if worker not in ours)
        if not all(worker.done.is_set() for worker in others):
            return self.tell("what is being written belongs to this source: end the run first")
        if self._recording is not None:
            self.record()
        device = self._devices[number]
        self.tell(f"opening {device} …")
        self._do(lambda: self._turn_to(device))
        return None

    def _turn_to(self, device: Device) -> None:
        if self._closed:
            return None
        old = self.run
        wanted = MONITOR if _follows(device) else device
        microphone = Microphone(wanted)
        if isinstance(old.source, Microphone):
            microphone = old.source.elsewhere(wanted)
        settings = replace(old.settings, sr=old.asked_sr)
        try:
            run = Live(
                microphone,
                settings,
                model=old.model,
                duration_s=old.remaining_s,
                tell=old.tell,
            )
            run.watch(self._history_of(run.open().settings))
        except (SourceError, ValueError) as error:
            return self.tell(f"still at {old.source.name}: {error}")
        self.run = run.start()  # first, since a window may close where its run has ended
        with contextlib.suppress(SourceError):  # it is over, whatever it was
            old.close()
        if self._on_replaced is not None:
            self._on_replaced(old)
        return None

    def _do(self, work: Callable[[], None]) -> None:
        """In a thread of its own, one after the other."""

        def do() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told, and the window goes on
                self.tell(f"{type(error).__name__}: {error}")

        self._errands.submit(do)


def _offered(found: list[Device]) -> list[Device]:
    """As many as there are digits: the default, what is played, other inputs, other monitors."""

    def rank(device: Device) -> tuple[bool, ...]:
        monitor = bool(device.monitor_of)
        return not device.default, not _follows(device), monitor, not device.description

    return sorted(found, key=rank)[:MOST_DEVICES]


def _follows(device: Device) -> bool:
    """Whether it is the default output's monitor, in whose place the next one's shall be heard."""
    return bool(device.monitor_of) and device.server_default


def _inside(remarks: tuple[Gap, ...], first: int) -> tuple[Gap, ...]:
    """Those on what lies in a take that begins at the sample ``first``, counted from there."""
    return tuple(
        remark._replace(first_sample=remark.first_sample - first)
        for remark in remarks
        if remark.first_sample + (remark.uncertainty if remark.cause == "unplaced" else 0) >= first
    )


def free_path(suffix: str) -> Path:
    """What is saved now is called so; with a number where that is there already."""
    name = f"rtaudio-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(path for path in (Path(name + suffix) for name in names) if not path.exists())


def write_png(path: Path, pixels: NDArray[np.uint8], about: dict[str, Any]) -> None:
    """Write a picture, whole or not at all; what it shows and where stands in it as JSON."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from rtaudio.consumers.partial import Partial

    info = PngInfo()
    info.add_text("rtaudio", json.dumps(about))
    partial = Partial(path)
    try:
        Image.fromarray(pixels).save(partial.name, format="png", pnginfo=info)
        partial.commit()
    finally:
        with contextlib.suppress(OSError):
            partial.discard()
