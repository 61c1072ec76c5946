"""How late it is: what the settings cost on any machine, and the live chain measured on this one.

Four kinds of delay that never stand for one another: the algorithmic one, the age of samples at
each stage (`books.STAGES`), the driver's claim, and the round trip that was measured.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rtaudio.analysis.resample import longest_wait_s
from rtaudio.analysis.tables import window
from rtaudio.capture.sweep import in_samples, random_starts, sweep
from rtaudio.roundtrip import LEAST_SWEEPS, LONGEST_S, RoundTrip
from rtaudio.roundtrip import measure as find_sweeps
from rtaudio.sources.microphone import Microphone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings
    from rtaudio.pipeline import Live
    from rtaudio.sources.block import Block

ONSET_DB = (-20, -10, -3)
LOUDEST_DBFS, SOFTEST_DBFS = -6.0, -80.0
SWEEPS_S = 60.0  # sweeps are played for so long at most
LOADS = {
    "none": "nothing",
    "gil": "a busy Python thread",
    "cpu": "busy processors",
    "render": "the window",
}


# --- the algorithmic delay --------------------------------------------------------------------


@dataclass(frozen=True)
class Algorithmic:
    """What the settings cost, however fast the machine is."""

    center_ms: float
    """How far the middle of a frame lies behind its newest sample."""
    hop_ms: float
    """From one row to the next: a sample waits for its row up to so long."""
    resampler_ms: float
    """How long the resampler keeps a sample back, at most; 0 where nothing is resampled."""
    onset_ms: dict[int, float]
    """How long after a tone sets in its level in a row is so many dB below the final one."""

    @property
    def total_ms(self) -> float:
        """Middle of the frame and resampler: by how much what a row shows is older than it."""
        return self.center_ms + self.resampler_ms


def algorithmic(settings: Settings, source_sr: int) -> Algorithmic:
    """The delay of an analysis; ``settings.sr`` is known."""
    assert settings.sr is not None
    n_fft, ms = settings.n_fft, 1e3 / settings.sr
    weights = window(settings.window, settings.win_length or n_fft, n_fft)
    # A tone that fills the newest n samples of a frame has their weights' part of its amplitude.
    level = np.maximum(np.cumsum(weights[::-1]) / weights.sum(), 0)
    onset = {db: (1 + int(np.argmax(level >= 10 ** (db / 20)))) * ms for db in ONSET_DB}
    return Algorithmic(
        center_ms=n_fft // 2 * ms,
        hop_ms=settings.hop_length * ms,
        resampler_ms=1e3 * longest_wait_s(source_sr, settings.sr),
        onset_ms=onset,
    )


# --- the round trip ---------------------------------------------------------------------------


class Loopback(Microphone):
    """An input and an output in one stream; sweeps are played, and found in what is heard.

    ``words`` is OUT:IN. The others are as `Microphone` has them. Raises `ValueError` for a level
    that could hurt, and a time in which too few sweeps fit.
    """

    def __init__(self, words: str, seconds: float, level_db: float = -20.0, **others: Any) -> None:
        if not SOFTEST_DBFS <= level_db <= LOUDEST_DBFS:
            raise ValueError(
                f"level {level_db:g} dBFS is not in {SOFTEST_DBFS:g} … {LOUDEST_DBFS:g}: it is "
                "heard on loudspeakers"
            )
        super().__init__(None, **others)
        self._starts = random_starts(min(seconds, SWEEPS_S), random.Random())  # noqa: S311
        if len(self._starts) < LEAST_SWEEPS:
            raise ValueError(f"{seconds:g} s is too short for a round trip: 3 s at least")
        self._level_db = level_db
        self._heard: list[NDArray[np.float32]] = []
        self._count = 0  # samples heard
        play = {"loopback": words, "starts": self._starts, "level_db": level_db}
        self._request = replace(self._request, play=play)

    def hear(self, block: Block) -> None:
        """Keep a block of the live run: hand it to `Live.attach_blocks`."""
        for gap in block.gaps:
            # What the sound system lost was not played either; what we dropped was.
            if gap.cause == "dropped":
                self._keep(np.zeros((gap.length, self.channels), np.float32))
        self._keep(block.samples)

    def _keep(self, samples: NDArray[np.float32]) -> None:
        if self._count < (SWEEPS_S + LONGEST_S + 1) * self.sr:
            self._heard.append(samples)
            self._count += len(samples)

    def measure(self) -> RoundTrip:
        """Find the sweeps in what was heard; once the run has ended."""
        if self.stats.restarts or self.stats.outage:
            why = "no round trip: the device was lost meanwhile, and its delay may be another now"
            return RoundTrip(None, None, 0, 0.0, None, (why,))
        nothing = np.zeros((0, max(1, self.channels)), np.float32)
        played = 10 ** (self._level_db / 20) * sweep(self.sr).astype(np.float64)
        return find_sweeps(
            np.concatenate([nothing, *self._heard]),
            in_samples(self._starts, self.sr),
            played,
            self.sr,
        )

    @property
    def claimed_ms(self) -> float:
        """What the driver claims for both ways together."""
        assert self.opened is not None
        return self.opened.latency_ms + self.opened.output_latency_ms


# --- loads ------------------------------------------------------------------------------------


@contextlib.contextmanager
def busy(loads: Iterable[str]) -> Iterator[None]:
    """Beside a Python thread that never waits (gil), and a process on each core (cpu)."""
    with contextlib.ExitStack() as stack:
        if "gil" in loads:
            stack.enter_context(_busy_thread())
        if "cpu" in loads:
            for _ in range(os.cpu_count() or 1):
                stack.enter_context(_busy_process())
        yield


@contextlib.contextmanager
def _busy_thread() -> Iterator[None]:
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            for _ in range(1000):
                pass

    thread = threading.Thread(target=spin, name="rtaudio load", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    """It ends with this process, however that ends."""
    code = (
        "import os; parent = os.getppid()\nwhile os.getppid() == parent:\n for _ in range(99999): 0"
    )
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) as process:  # noqa: S603
        try:
            yield
        finally:
            process.kill()


class Drawing:
    """The window on a run, or where there is no screen the same picture drawn in memory."""

    def __init__(self) -> None:
        """Raises `ViewError` where nothing can be drawn."""
        from rtaudio import screen
        from rtaudio.view.canvas import ViewError
        from rtaudio.view.look import Look

        self._look = Look()
        self._window = self._offscreen = None
        try:
            self._window = screen.open_window(self._look)
        except ViewError as error:
            if error.missing != "screen":
                raise
            self._offscreen = screen.Offscreen(self._look, (1280, 720))
        self.where = "in memory" if self._window is None else "in a window"
        self.frames_per_s = math.nan
        """How often it was drawn."""

    def begin(self, run: Live) -> None:
        """Keep the rows; before the run is started."""
        from rtaudio.session import Session

        self._session = Session(run, self._look)

    def draw(self, run: Live) -> None:
        """Draw until the run has ended, 60 times a second if that can be. The main thread."""
        from rtaudio.screen import watch

        run.start()
        begun, drawn = time.perf_counter(), 0
        try:
            if self._window is not None:
                watch(self._window, self._session, close=True)
                drawn = self._window.drawn
            else:
                assert self._offscreen is not None
                while not run.wait(max(0.0, begun + drawn / 60 - time.perf_counter())):
                    self._offscreen.draw(self._session)
                    drawn += 1
        finally:
            self.frames_per_s = drawn / (time.perf_counter() - begun)
            self._session.close()
