"""A sound system made of a script of faults, to test programs that capture sound.

`FakeHost` has those functions of the module `sounddevice` that open an input, and calls back as it
does. In real time (``FakeHost(script)``) a thread calls; on a `VirtualClock` nothing happens until
the clock is moved, and then all at once: an hour of capture, with its faults, takes a second.

Each sample is its own number, ``((k mod 2**24) - 2**23) / 2**23``, exact in float32, so that every
lost one is seen; `numbers` gives them back. Everything is repeated exactly by the same script.
"""

from __future__ import annotations

import heapq
import math
import os
import random
import signal
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rtaudio.capture import ring, wire
from rtaudio.capture.process import WAIT_S
from rtaudio.capture.ring import RingReader
from rtaudio.capture.script import KINDS
from rtaudio.capture.script import Fault as Fault
from rtaudio.capture.script import Script as Script
from rtaudio.capture.stream import Callback, open_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CYCLE = 1 << 24
LATE_S = 0.09  # of "adc_late"


def numbers(samples: NDArray[np.float32]) -> NDArray[np.int64]:
    """The number of each sample, modulo 2**24."""
    return np.rint(samples.astype(np.float64) * (1 << 23)).astype(np.int64) + (1 << 23)


class VirtualClock:
    """A clock that stands until it is moved, and calls what is due on the way."""

    def __init__(self, now_ns: int = 1_000_000_000) -> None:
        self._now = now_ns
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def now_ns(self) -> int:
        """The time, in ns."""
        return self._now

    def call_at(self, when_ns: int, function: Callable[[], None]) -> None:
        """Call ``function`` then; what is due at the same time is called in order."""
        self._count += 1
        heapq.heappush(self._due, (when_ns, self._count, function))

    def advance(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Move on, and call what is due; stop where ``until()`` holds."""
        end = self._now + round(seconds * 1e9)
        while not until():
            if not self._due or self._due[0][0] > end:
                self._now = max(self._now, end)
                return
            when, _, function = heapq.heappop(self._due)
            self._now = max(self._now, when)
            function()

    def leap(self, seconds: float) -> None:
        """Move on at once, as a machine that slept: nothing is called on the way."""
        self._now += round(seconds * 1e9)


class RealClock:
    """The machine's clock, and a thread that calls what is due."""

    now_ns = staticmethod(wire.uptime_ns)

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def call_at(self, when_ns: int, function: Callable[[], None]) -> None:
        """Call ``function`` then, in the clock's thread."""
        with self._changed:
            self._count += 1
            heapq.heappush(self._due, (when_ns, self._count, function))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > self.now_ns():
                    wait_ns = self._due[0][0] - self.now_ns() if self._due else None
                    self._changed.wait(None if wait_ns is None else wait_ns / 1e9)
                _, _, function = heapq.heappop(self._due)
            function()


class PortAudioError(Exception):
    """What sounddevice raises where a stream can't be opened."""


class _Flags:
    """Stands in for `sounddevice.CallbackFlags`."""

    def __init__(self, input_overflow: bool) -> None:
        self.input_overflow = input_overflow

    def __bool__(self) -> bool:
        return self.input_overflow


class _Times(NamedTuple):
    """Stands in for PortAudio's time of a callback."""

    inputBufferAdcTime: float  # noqa: N815
    currentTime: float  # noqa: N815
    outputBufferDacTime: float = 0.0  # noqa: N815


class _Hangs(Exception):
    """On a virtual clock, what would not return raises."""


class FakeHost:
    """Stands in for the module `sounddevice`, with one device, whose faults are scripted.

    With a `VirtualClock` it is a host for `Microphone` too: ``Microphone(host=FakeHost(…))``.
    """

    NAME, HOSTAPI = "Fake microphone", "Fake"
    PortAudioError = PortAudioError

    def __init__(self, script: Script, clock: VirtualClock | RealClock | None = None) -> None:
        self.script = script
        self.clock = clock or RealClock()
        self._began = script.switched_on_ns or self.clock.now_ns()
        self.cycle = 0, 1
        """The first frame of the block that is called back with, and its length."""
        self.server = script.server
        if script.graph:
            self.HOSTAPI = "Fake JACK"
            self.graph_frames = self._graph_frames
        # When a graph stood still, in ns of the time it ran, and for how long.
        self._stalls: list[tuple[int, int]] = []
        for fault in script.faults:
            if fault.kind == "graph_stall":
                ran = round(fault.at * 1e9) - sum(ns for _, ns in self._stalls)
                self._stalls.append((ran, round(fault.seconds * 1e9)))
        self.default = SimpleNamespace(device=(0, -1))
        self.crash: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL)
        for fault in script.faults:
            if fault.kind not in KINDS:
                raise ValueError(f"{fault.kind!r} is not a fault: {', '.join(KINDS)}")
            if fault.kind in ("crash", "asleep") and self.began_to(fault) > self.clock.now_ns():
                self.clock.call_at(self.began_to(fault), partial(self._strike, fault))

    def began_to(self, fault: Fault) -> int:
        """When it strikes, in ns."""
        return self._began + round(fault.at * 1e9)

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "crash":
            self.crash()
        elif isinstance(self.clock, VirtualClock):
            self.clock.leap(fault.seconds)

    def now_ns(self) -> int:
        """The time, in ns, on the clock that all share."""
        return self.clock.now_ns()

    def asleep_ns(self) -> int:
        """By how much that clock is ahead of the one that `Block.captured` is told in."""
        return 0

    def sleep(self, seconds: float) -> None:
        """Let time pass, on a virtual clock."""
        assert isinstance(self.clock, VirtualClock)
        self.clock.advance(seconds)

    def capture(self, request: wire.Request) -> FakeCapture:
        """Capture in this process, on a virtual clock, as `CaptureProcess` does in another."""
        return FakeCapture(self, request)

    def during(self, *kinds: str) -> Fault | None:
        """The fault of these kinds that lasts now."""
        since = (self.clock.now_ns() - self._began) / 1e9
        faults = (fault for fault in self.script.faults if fault.kind in kinds)
        return next((f for f in faults if f.at <= since < f.at + f.seconds), None)

    def number_at(self, when_ns: int) -> int:
        """How many samples the device has captured by then, since it was switched on."""
        ran = when_ns - self._began
        for stood_at, ns in self._stalls:
            ran -= min(ns, max(0, ran - stood_at))
        return int(ran / self.period_ns())

    def captured_at(self, number: int) -> int:
        """When the device has captured so many samples, in ns."""
        ran = math.ceil(number * self.period_ns())
        return self._began + ran + sum(ns for stood_at, ns in self._stalls if ran > stood_at)

    def arrives_at(self, number: int) -> int:
        """When so many samples can be called back with, in ns."""
        captured = self.captured_at(number)
        return captured + round(self.script.latency_s((captured - self._began) / 1e9) * 1e9)

    def adc_at(self, number: int) -> float:
        """When they were captured, by the device's clock as it reads now, in s; 0: it has none."""
        captured, now = self.captured_at(number), self.clock.now_ns()
        if not self.script.adc or self.during("adc_zero"):
            return 0.0
        if self.during("adc_nan"):
            return math.nan
        if still := self.during("adc_still"):
            captured = min(captured, self.began_to(still))
        adc = captured / 1e9 + self.script.adc_error_s((captured - self._began) / 1e9)
        if self.during("adc_negative"):
            return -adc
        if self.during("adc_back"):
            return 2 * self._began / 1e9 - adc
        if self.during("adc_late"):
            adc += LATE_S
        return adc + self.jumped_s(now)

    def jumped_s(self, now_ns: int) -> float:
        """By how much the system's clock was stepped until now."""
        jumps = (fault for fault in self.script.faults if fault.kind == "clock_jump")
        return sum(fault.seconds for fault in jumps if self.began_to(fault) <= now_ns)

    def period_ns(self) -> float:
        """From one sample to the next, while it runs."""
        return 1e9 / (self.script.sr * (1 + self.script.ppm * 1e-6))

    def _graph_frames(self) -> int:
        """The frame at which the cycle began that runs now: a late callback reads a later one."""
        first, count = self.cycle
        latency_ns = round(self.script.latency_s((self.clock.now_ns() - self._began) / 1e9) * 1e9)
        run = self.number_at(self.clock.now_ns() - latency_ns) - first - count
        return first + max(0, run // count) * count

    # --- the functions of sounddevice ---

    def query_hostapis(self) -> tuple[dict[str, Any], ...]:
        """One host API."""
        return ({"name": self.HOSTAPI, "default_input_device": 0},)

    def query_devices(self) -> list[dict[str, Any]]:
        """The device, if it is there, and others as the script has it."""
        since = (self.clock.now_ns() - self._began) / 1e9
        gone = self.during("vanish", "unplug", "renumber", "replace")
        moved = any(f.kind == "renumber" and since >= f.at + f.seconds for f in self.script.faults)
        names = ["Other microphone"] if moved or self.during("replace") else []
        return [
            {
                "name": name,
                "hostapi": 0,
                "max_input_channels": self.script.channels,
                "default_samplerate": float(self.script.sr),
            }
            for name in names + ([] if gone else [self.NAME])
        ]

    def check_input_settings(self, **settings: Any) -> None:
        """Raise `PortAudioError` where the device does not take them."""
        if settings["samplerate"] != self.script.sr:
            raise PortAudioError("Invalid sample rate", -9997)
        if settings["channels"] > self.script.channels:
            raise PortAudioError("Invalid number of channels", -9998)

    def RawInputStream(self, **settings: Any) -> FakeStream:  # noqa: N802 - sounddevice's name
        """A stream whose callback gets bytes."""
        return FakeStream(self, raw=True, **settings)

    def InputStream(self, **settings: Any) -> FakeStream:  # noqa: N802
        """A stream whose callback gets an array (frames, channels) of float32."""
        return FakeStream(self, raw=False, **settings)

    def may_hang(self) -> None:
        """Do not return while the script says so."""
        while self.during("hang"):
            if isinstance(self.clock, VirtualClock):
                raise _Hangs
            time.sleep(0.01)


class FakeStream:
    """Stands in for a stream of sounddevice."""

    def __init__(
        self,
        host: FakeHost,
        *,
        raw: bool,
        device: int,
        samplerate: float,
        channels: int,
        callback: Callable[[Any, int, Any, Any], None],
        finished_callback: Callable[[], None] = lambda: None,
        blocksize: int = 0,
        dtype: str = "float32",
        latency: float | str = "high",  # noqa: ARG002
    ) -> None:
        script = host.script
        host.may_hang()
        if host.during("exception"):
            raise RuntimeError("the fake host raises what it never should")
        devices = host.query_devices()
        if not 0 <= device < len(devices) or dtype != "float32":
            raise PortAudioError("Invalid device", -9996)
        host.check_input_settings(samplerate=samplerate, channels=channels)
        if host.during("busy"):
            raise PortAudioError("Device unavailable", -9985)
        self.latency = script.latency_ms / 1e3
        self.samplerate, self.channels, self.active = float(samplerate), channels, False
        self._host, self._raw = host, raw
        self._callback, self._finished = callback, finished_callback
        self._blocksize = blocksize
        self._random = random.Random(script.seed)  # noqa: S311 - faults, no secrets
        self._adc_random = random.Random(script.seed)  # noqa: S311
        self._ours = devices[device]["name"] == host.NAME
        self._passed: set[int] = set()  # faults that have struck
        self._next = 0  # number of the next sample
        self._called = 0  # when the last callback came
        self._in_burst = 0

    def start(self) -> None:
        """Begin to call back."""
        host = self._host
        now = host.now_ns()
        self.active = True
        self._passed = {
            i for i, fault in enumerate(host.script.faults) if host.began_to(fault) <= now
        }
        self._next = host.number_at(now)
        self._called = now
        self._plan()

    def stop(self) -> None:
        """End the stream."""
        self._host.may_hang()
        self.active = False

    close = abort = stop

    def _plan(self) -> None:
        """Say when the next callback comes, and what it brings."""
        script, host = self._host.script, self._host
        usual = self._blocksize or script.blocksize
        odd = script.odd_sizes and not script.graph
        count = self._random.randint(1, 2 * usual) if odd else usual
        self._in_burst = 0 if script.graph else (self._in_burst or script.burst) - 1
        due = host.arrives_at(self._next + count + self._in_burst * usual)
        late_ms = self._random.uniform(0, script.jitter_ms)
        if script.graph:  # a client that is later than a cycle is not called for it
            late_ms = min(late_ms, count * host.period_ns() / 2e6)
        due += round(late_ms * 1e6)
        kinds = set()
        for i, fault in enumerate(script.faults):
            if i not in self._passed and due >= host.began_to(fault):
                self._passed.add(i)
                kinds.add(fault.kind if fault.seconds or fault.kind != "freeze" else "vanish")
                due = self._lose(fault, count, due)
        if kinds & {"end", "unplug", "renumber", "replace"}:
            host.clock.call_at(due, self._finish)
        elif "vanish" not in kinds:
            flag = bool(kinds & {"flag", "flagged_loss"})
            host.clock.call_at(max(due, self._called), partial(self._call, count, flag))

    def _lose(self, fault: Fault, count: int, due: int) -> int:
        """Skip the samples that a fault takes; returns when the next ``count`` are due then."""
        host, first = self._host, self._next
        over = host.began_to(fault) + round(fault.seconds * 1e9)
        if fault.kind == "stall":
            return max(due, over)
        if fault.kind in ("loss", "flagged_loss"):
            self._next += fault.samples
        elif fault.kind in ("freeze", "asleep"):
            self._next = max(self._next, host.number_at(over))
        else:
            return due
        if host.script.graph:  # whose cycles pass as a whole
            self._next += -(self._next - first) % count
        return max(due, host.arrives_at(self._next + count))

    def _finish(self) -> None:
        if self.active:
            self.active = False
            self._finished()

    def _call(self, count: int, flag: bool) -> None:
        if not self.active:
            return
        self._called = self._host.now_ns()
        first = self._next
        self._next += count
        if self._host.script.silent or not self._ours:
            samples = np.zeros(count, np.float32)
        else:
            ks = np.arange(first, first + count) % CYCLE
            samples = ((ks - (CYCLE >> 1)) / (CYCLE >> 1)).astype(np.float32)
        data = np.repeat(samples[:, np.newaxis], self.channels, axis=1)
        self._callback(
            data.data if self._raw else data, count, self._times(first, count), _Flags(flag)
        )
        self._plan()

    def _times(self, first: int, count: int) -> _Times:
        host, now = self._host, self._host.now_ns()
        host.cycle = first, count
        if host.script.graph:
            return _Times((now - count * host.period_ns()) / 1e9, now / 1e9)
        adc = host.adc_at(first)
        if self._adc_random.random() < 0.1:
            adc -= self._adc_random.uniform(0, host.script.adc_noise_ms) / 1e3
        return _Times(adc, now / 1e9 + host.jumped_s(now))


class FakeCapture:
    """Stands in for `process.CaptureProcess`, in this process and on a virtual clock."""

    def __init__(self, host: FakeHost, request: wire.Request) -> None:
        assert isinstance(host.clock, VirtualClock)
        self.opened: wire.Opened | None = None
        self.failed: str | None = None
        self.ring: RingReader | None = None
        self._host, self._clock, self._request = host, host.clock, request
        self._stream: FakeStream | None = None
        self._rung = False
        # A process takes a while to start.
        self._clock.call_at(self._clock.now_ns() + 100_000_000, self._open)
        host.crash = self._crash

    def _open(self) -> None:
        if self.failed is not None:
            return
        try:
            self._stream, opened = open_stream(
                self._host, self._request, self._make_callback, self._finished
            )
            self._stream.start()
            self.opened = opened
        except _Hangs:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, a process would die of it
            self.failed = str(error)
        self._rung = True

    def _make_callback(
        self, channels: int, samples: int, records: int, graph: Callable[[], int]
    ) -> Callback:
        memory = bytearray(ring.size(channels, samples, records))
        self._writer = ring.RingWriter(memory, channels, samples, records)
        self.ring = RingReader(memory, channels, samples, records)
        return Callback(self._writer, self._ring_bell, self._clock.now_ns, graph=graph)

    def _ring_bell(self, written: int) -> None:
        assert self.ring is not None
        self.ring.heard(written)
        self._rung = True

    def _finished(self) -> None:
        self._writer.finish(wire.ENDED)
        self._rung = True

    def _crash(self) -> None:
        self.failed = "the capture process ended"
        self._rung = True
        if self._stream is not None:
            self._stream.active = False

    def wait(self) -> None:
        """Let time pass until something comes, as `CaptureProcess.wait`."""
        if self.failed is None:
            self._rung = False
            self._clock.advance(WAIT_S, lambda: self._rung)

    def end(self) -> None:
        """End the capture. What it delivered can still be read."""
        self.failed = self.failed or "the capture was ended"
        if self._stream is not None:
            self._stream.active = False
            self._stream = None  # which knows this capture
