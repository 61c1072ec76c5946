"""A microphone: the parent's side of the capture process.

It hands over what was captured, tells what was lost, and replaces a capture that has stopped.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rtaudio.capture.devices import MONITOR, Device, DeviceError, monitored
from rtaudio.capture.process import WAIT_S, ProcessHost, list_devices
from rtaudio.capture.wire import ENDS, OTHER_DEFAULT, OTHER_RATE, REMOVED, Opened, Request
from rtaudio.sources.block import CAUSES, REMARKS, Block, Gap, SourceError, check_sizes
from rtaudio.sources.timeline import Placed, Remark, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Self

    from numpy.typing import NDArray

    from rtaudio.capture.ring import Record, RingReader

SILENT_S = 2.0  # no samples for so long: the capture is replaced; zeros for so long: said
OPENING_S = 10.0  # a device that has not answered by then never will
REOPENING_S = 3.0  # and one that had answered before, or twice as long as it took then
AWAY_S = 1.0  # who has not looked for so long can't say that nothing came
RETRY_S = 1.0
TELL_S = 0.25  # how often a lasting outage is told, as a block without samples
KEPT_BACK_S = 0.5  # of an outage, until it is over and its length is known
WRONG_RATE_PPM = 1000.0


class Capture(Protocol):
    """One capture: `rtaudio.capture.process.CaptureProcess`, or the fake host's."""

    opened: Opened | None
    failed: str | None
    ring: RingReader | None

    def wait(self) -> None:
        """Wait a moment for something to come."""
        ...

    def end(self) -> None:
        """End it."""
        ...


class Host(Protocol):
    """What captures, and its clock."""

    def now_ns(self) -> int:
        """The clock that the records are told in, in ns."""
        ...

    def asleep_ns(self) -> int:
        """By how much it is ahead of `time.perf_counter_ns`."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def capture(self, request: Request) -> Capture:
        """Start a capture; raises `DeviceError` where none can be started."""
        ...


@dataclass(frozen=True)
class MicrophoneStats:
    """The books of a microphone, in samples. Once it is closed, delivered = processed + dropped."""

    delivered: int = 0
    """Handed over by the sound system, to us."""
    processed: int = 0
    """Handed on, as blocks."""
    dropped: int = 0
    """Thrown away by us, since nobody took them in time. Exact."""
    host: int = 0
    """Lost by the sound system before they came to us. An estimate."""
    outage: int = 0
    """Missed while the device was gone. An estimate."""
    overflows: int = 0
    """How often the sound system said that it had lost something."""
    restarts: int = 0
    """How often the capture was replaced."""
    held: int = 0
    """Blocks of this capture that were held back, until it was known whether samples were lost."""
    drift_ppm: float | None = None
    """How much faster the device's clock is than its rate promises; None until it is known."""
    drift_uncertainty_ppm: float | None = None
    """Twice the standard error of that."""
    drift_over_s: float | None = None
    """How long the clock was watched for it."""
    jitter_ms: float = 0.0
    """How much later than the earliest nine blocks in ten come, at most."""
    adc_time: bool = False
    """Whether `Block.captured` is by the device's own clock; else by that of the callback."""
    captured_within_ms: float = math.nan
    """How far `Block.captured` may be off, as far as that is known: so much its clock wanders."""
    unplaced: int = 0
    """Lost by the sound system at a place that is not known: not on the sample axis, and not
    among the lost ones above. An estimate."""
    refuted: int = 0
    """Of the lost ones, those that turned out not to be lost."""
    latency_changes: int = 0
    """How often the sound system's latency changed for good, without a loss."""
    latency_change_ms: float = 0.0
    """The last such change; positive: later."""
    largest_latency_change_ms: float = 0.0
    latency_ms: float = math.nan
    """What the driver claims as the age of a sample when it is delivered."""
    realtime_priority: int = 0
    """Of the thread that captures; 0 where the system grants none."""

    @property
    def lost(self) -> int:
        """All three causes together."""
        return self.dropped + self.host + self.outage


class _Outage:
    """The time without a device: from when, in ns, and how much of it was told."""

    def __init__(self, began_ns: float, line: Timeline) -> None:
        self.began_ns, self.line = began_ns, line
        self._step_ns = line.model.step_ns
        self.uncertainty = line.model.margin() + line.unresolved
        self.adc_lag_ns: float | None = None
        """From the arrival to the ADC time where it began, if that is good enough."""
        self._told = 0

    def so_far(self, now_ns: float) -> int:
        """How many samples were missed and not told yet."""
        return max(0, round((now_ns - self.began_ns) / self._step_ns) - self._told)

    def tell(self, missed: int) -> int:
        """Count them as told."""
        self._told += missed
        return missed


class _Stream:
    """One capture that has opened its device, and where its samples stand."""

    def __init__(self, capture: Capture, now_ns: int, after: _Outage | None) -> None:
        assert capture.ring is not None
        assert capture.opened is not None
        self.capture, self.ring, self.opened = capture, capture.ring, capture.opened
        before = None if after is None else after.line
        self.timeline = Timeline(self.opened.sr, before, self.opened.server)
        self.after = after
        """The outage that its first block ends."""
        self.overflows = 0
        self.dropped = 0
        """How many dropped samples were told."""
        self.end = 0
        """Where the samples handed on end, since the stream began; all lost ones count."""
        self.begun = False
        """Whether something came."""
        self._last_ns = now_ns  # when something came
        self._looked_ns = now_ns
        self._broken = ""
        self._all = np.zeros((0, 0), np.float32)  # of a block with more channels than are taken

    def look(self, now_ns: int) -> None:
        """Take the records that have come."""
        away_ns, self._looked_ns = now_ns - self._looked_ns, now_ns
        if away_ns > AWAY_S * 1e9:  # this process was stopped: the other one may have been, too
            self._last_ns += away_ns
        try:
            records = self.ring.new()
        except ValueError as error:
            self._broken = str(error)
            return
        for record in records:
            self.timeline.take(record)
        if records:
            self._last_ns, self.begun = now_ns, True
            self.overflows = records[-1].overflow

    def copy(self, record: Record, samples: NDArray[np.float32]) -> None:
        """Copy the record's samples of the first channels, as many as ``samples`` has."""
        channels = self.opened.channels
        if samples.shape[1] == channels:
            self.ring.copy(record, samples.data.cast("B"))
            return
        if len(self._all) < record.length:
            self._all = np.zeros((record.length, channels), np.float32)
        self.ring.copy(record, self._all.data.cast("B"))
        np.copyto(samples, self._all[: record.length, : samples.shape[1]])

    def why_over(self, now_ns: int) -> str:
        """Why nothing more will come; empty while all is well."""
        if self._broken or self.capture.failed:
            return self._broken or self.capture.failed or ""
        if self.ring.finished:
            return ENDS[self.ring.finished]
        silent_s = max(SILENT_S, 3 * self.opened.blocksize / self.opened.sr)
        if now_ns - self._last_ns > silent_s * 1e9:
            return f"no samples for {silent_s:g} s"
        return ""

    def outage(self) -> _Outage:
        """The one that begins where this stream ends."""
        line = self.timeline
        began = line.model.arrives_at(self.end) if self.end else float(self._last_ns)
        outage = _Outage(began, line)
        if self.end and line.model.adc_trusted:
            outage.adc_lag_ns = line.model.adc_at(self.end) - began
        return outage


def _name(opened: Opened) -> str:
    """What was opened, as users know it."""
    if not opened.description:
        return f"{opened.device} ({opened.hostapi})"
    if opened.alone:
        return f"{opened.description} ({opened.hostapi})"
    return f"{opened.description} ({opened.device}, {opened.hostapi})"


def _changes(opened: Opened, channels: int) -> list[str]:
    """What becomes of the samples of a sound server's source on their way here, in words."""
    words = [opened.volume] if opened.volume else []
    if opened.own_sr not in (0, opened.sr):
        words.append(f"{opened.hostapi} resamples its {opened.own_sr} Hz to {opened.sr}")
    if 0 < opened.own_channels < opened.channels:
        words.append(f"{opened.hostapi} mixes its {_channels(opened.own_channels)} to {channels}")
    elif channels < opened.channels:
        words.append(f"the first {channels} of its {_channels(opened.channels)}")
    return words


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"


def devices(kind: str = "inputs") -> list[Device]:
    """The inputs of this machine as they are now, by a process of its own: it takes a moment.

    ``kind="outputs"``: the outputs, of which a loopback needs one. Raises `SourceError` where that
    can't be known.
    """
    try:
        return list_devices(kind)
    except DeviceError as error:
        raise SourceError(str(error)) from None


class Microphone:
    """An input of this machine, captured by a process of its own.

    Parameters
    ----------
    device
        Index, case-insensitive parts of name and host API, as in ``"usb, alsa"``, or one of
        `devices`; None is the default input. ``"monitor:"`` is what the default output plays,
        whichever that is, and ``"monitor:hdmi"`` what the output of that name does (PulseAudio and
        PipeWire).
    channels
        How many to capture; None is the first two, or as many as ``channel`` of the settings
        needs, and of a sound server's source all.
    sr
        Rate in Hz; None is the device's own.
    blocksize
        Samples of a block; 0 leaves it to the sound system.
    latency
        ``"low"``, ``"high"`` or seconds, as in sounddevice: a wish.
    python
        The Python that runs the capture process, where `sys.executable` is none.
    host
        What captures; a `rtaudio.capture.fake.FakeHost` stands in for the machine's sound system.
    tell
        Called with a line when something happens that a user should know: the device is lost, it
        is back. By default a warning is logged.

    ``sr``, ``channels`` and ``name`` are known once it is entered, which raises `SourceError`
    where the device can't be opened.

    """

    realtime = True
    duration_s: float | None = None

    def __init__(
        self,
        device: int | str | Device | None = None,
        *,
        channels: int | None = None,
        sr: int | None = None,
        blocksize: int = 0,
        latency: float | str = "high",
        python: str | None = None,
        host: Host | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        check_sizes(1 if sr is None else sr, blocksize or None)
        if channels is not None and not 1 <= channels <= 1024:
            raise ValueError(f"channels={channels} is not in 1 … 1024")
        if not (latency in ("low", "high") or (isinstance(latency, float | int) and latency > 0)):
            raise ValueError(f"latency={latency!r} is not low, high or a number of seconds")
        source = None
        if isinstance(device, Device):
            source = device.name if device.description else None
            device = device.index
        self._asked = self._request = Request(
            *(device, None, channels, 1, sr, blocksize, latency), source=source
        )
        self._host: Host = ProcessHost(python) if host is None else host
        self.tell = tell or logging.getLogger("rtaudio").warning
        self.name = "the default input" if device is None else f"input {device}"
        self.sr = sr or 0
        self.channels = channels or 0
        self.notes: list[str] = []
        self.opened: Opened | None = None
        """What was opened at first; None before it is entered."""
        self._stream: _Stream | None = None
        self._before = 0, 0  # delivered, overflows of the captures that have ended
        self._last_stats = MicrophoneStats()
        self._axis = 0  # absolute number of the next sample
        self._processed = 0
        self._lost = dict.fromkeys(CAUSES, 0)
        self._remarked = dict.fromkeys(REMARKS, 0)
        self._changes = 0  # of latency
        self._last_change_ms = self._largest_change_ms = 0.0
        self._restarts = 0
        self._told_last = ""
        self._stopping = False
        self._zeros = 0  # how many came in a row
        self._said_rate = self._said_idle = False
        self._follows = monitored(device) == ""
        self._buffer = np.zeros((0, 0), np.float32)

    def elsewhere(self, device: int | str | Device) -> Microphone:
        """Another device, to be captured as this one was asked to be."""
        asked = self._asked
        return Microphone(
            device, channels=asked.channels, sr=asked.sr, blocksize=asked.blocksize,
            latency=asked.latency, host=self._host, tell=self.tell,
        )  # fmt: skip

    def need_channels(self, least: int) -> None:
        """Capture that many channels at least, where it was not told how many."""
        self._request = replace(self._request, least_channels=max(1, least))

    def __enter__(self) -> Self:
        """Open the device."""
        began = self._host.now_ns()
        try:
            capture = self._host.capture(self._request)
        except DeviceError as error:
            raise SourceError(str(error)) from None
        try:
            while capture.opened is None:
                if capture.failed is not None:
                    raise SourceError(capture.failed)
                if self._host.now_ns() - began > OPENING_S * 1e9:
                    raise SourceError("the sound system does not answer: is its server hung?")
                capture.wait()
        except BaseException:
            capture.end()
            raise
        now = self._host.now_ns()
        self._patience_ns = max(REOPENING_S * 1e9, 2 * (now - began))
        self._stream = _Stream(capture, now, None)
        self.opened = opened = capture.opened
        self.name = _name(opened)
        self.sr, self.channels = opened.sr, self._request.channels or opened.channels
        self.notes = _changes(opened, self.channels)
        self._buffer = np.zeros((0, self.channels), np.float32)
        again = (opened.device, opened.hostapi, opened.alone)
        source = (MONITOR if self._follows else opened.device) if opened.description else None
        self._request = replace(
            self._request, again=again, source=source, sr=self.sr, channels=self.channels
        )
        return self

    def __exit__(self, *error: object) -> None:
        """End the capture. What was captured and not taken counts as dropped."""
        if self._stream is not None:
            self._stream.capture.end()
            self._close_books()

    def stop(self) -> None:
        """End the capture soon, and the iteration once all that was captured is taken.

        May be called by any thread.
        """
        self._stopping = True

    @property
    def adc_time(self) -> bool:
        """Whether `Block.captured` is by the device's own clock; else by that of the callback."""
        return self._stream is not None and self._stream.timeline.model.adc_true

    @property
    def stats(self) -> MicrophoneStats:
        """The books so far. May be called by any thread."""
        (delivered, overflows), stream = self._before, self._stream
        lost: dict[str, Any] = {
            **self._lost,
            **self._remarked,
            "latency_changes": self._changes,
            "latency_change_ms": self._last_change_ms,
            "largest_latency_change_ms": self._largest_change_ms,
        }
        if stream is None:
            return replace(self._last_stats, processed=self._processed, **lost)
        drift = stream.timeline.drift or (None, None, None)
        return MicrophoneStats(
            delivered=delivered + stream.ring.delivered,
            processed=self._processed,
            **lost,
            overflows=overflows + stream.overflows,
            restarts=self._restarts,
            held=stream.timeline.held,
            drift_ppm=drift[0],
            drift_uncertainty_ppm=drift[1],
            drift_over_s=drift[2],
            jitter_ms=stream.timeline.model.arrival.spread / 1e6,
            adc_time=stream.timeline.model.adc_true,
            captured_within_ms=stream.timeline.model.captured_within_ns / 1e6,
            latency_ms=stream.opened.latency_ms,
            realtime_priority=stream.ring.priority,
        )

    def _close_books(self) -> None:
        """Of a capture that has ended: what it delivered and nobody took is dropped."""
        self._last_stats = self.stats
        self._stream = None
        self._before = self._last_stats.delivered, self._last_stats.overflows
        untaken = self._last_stats.delivered - self._processed - self._lost["dropped"]
        self._lost["dropped"] += untaken

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks as they come, whose samples are overwritten by the next one.

        While the device is gone, blocks without samples tell how the loss grows. Ends after
        `stop`, and never by itself.
        """
        while (stream := self._stream) is not None:
            stream.capture.wait()
            now = self._host.now_ns()
            stream.look(now)
            reason = stream.why_over(now)  # before the blocks are taken: that may last
            yield from self._blocks(stream)
            if not (reason or self._stopping):
                continue
            stream.capture.end()
            stream.look(self._host.now_ns())
            stream.timeline.end()
            yield from self._blocks(stream)
            if stream.ring.dropped > stream.dropped:
                dropped = stream.ring.dropped - stream.dropped
                stream.dropped, stream.end = stream.ring.dropped, stream.end + dropped
                yield self._without_samples("dropped", dropped, 0)
            if remarks := self._remarks(stream.timeline.remarks(), stream.end):
                yield Block(self._buffer[:0], self._axis, remarks=remarks)
            self._close_books()
            if not self._stopping:
                moved = self._follows and stream.ring.finished in (OTHER_DEFAULT, REMOVED)
                if not moved:  # else there is another output, as it seems
                    self._tell_lost(reason)
                self._stream = yield from self._recover(stream, reason if moved else "")

    def _tell_lost(self, reason: str) -> None:
        self._told_last = f"{self.name} is lost ({reason}): trying to get it back"
        self.tell(self._told_last)

    def _tell_back(self, opened: Opened, before: Opened, missing_s: float) -> None:
        self.name = _name(opened)
        words = f"{self.name} is back after {missing_s:.1f} s"
        if self._follows and opened.device != before.device:
            self._said_idle, self._zeros = False, 0
            words = f"the default output changed: now {self.name}, after {missing_s:.1f} s"
        self.tell("; ".join([words, *_changes(opened, self.channels)]))

    def _recover(self, lost: _Stream, untold: str) -> Generator[Block, None, _Stream | None]:
        """Try to get the device back, at once and then every second; None when told to stop.

        ``untold``: why it is lost, which is told if the first attempt fails.
        """
        outage = lost.outage()
        while not self._stopping:
            began = self._host.now_ns()
            stream = yield from self._attempt(outage)
            if stream is not None:
                missing_s = (self._host.now_ns() - outage.began_ns) / 1e9
                self._tell_back(stream.opened, lost.opened, missing_s)
                self._restarts += 1
                return stream
            if untold:
                self._tell_lost(untold)
                untold = ""
            while not self._stopping and self._host.now_ns() - began < RETRY_S * 1e9:
                self._host.sleep(WAIT_S)
                yield from self._lasting(outage, self._host.now_ns())
        yield from self._lasting(outage, self._host.now_ns(), 0.0)
        return None

    def _attempt(self, outage: _Outage) -> Generator[Block, None, _Stream | None]:
        """One attempt to get samples again."""
        began = self._host.now_ns()
        try:
            capture = self._host.capture(self._request)
        except DeviceError:
            return None
        stream = None
        try:
            while not self._stopping:
                before = self._host.now_ns()  # what is missing until then is missing for certain
                capture.wait()
                now = self._host.now_ns()
                if capture.opened is not None:
                    stream = stream or _Stream(capture, now, outage)
                    stream.look(now)
                    if stream.timeline.ready:
                        return stream
                    if stream.why_over(now):
                        break
                elif capture.failed is not None or now - began > self._patience_ns:
                    self._tell_other_rate(capture.failed or "")
                    break
                if stream is None or not stream.begun:
                    yield from self._lasting(outage, before)
        except BaseException:
            capture.end()
            raise
        capture.end()
        if stream is None:
            return None
        stream.look(self._host.now_ns())
        stream.timeline.end()
        return stream if stream.timeline.ready else None  # what little it delivered is not lost

    def _tell_other_rate(self, why: str) -> None:
        """Say, once an outage, that the device is there again, but not as it was."""
        if OTHER_RATE.format(sr=self.sr) in why and why not in self._told_last:
            self._told_last = f"{why}: waiting until it does"
            self.tell(self._told_last)

    def _lasting(
        self, outage: _Outage, now_ns: int, kept_back_s: float = KEPT_BACK_S
    ) -> Iterator[Block]:
        """Tell how much is missing by now, but for what the next samples may show to be less."""
        missed = outage.so_far(now_ns - kept_back_s * 1e9)
        if missed > (TELL_S * self.sr if kept_back_s else 0):
            yield self._without_samples("outage", outage.tell(missed), outage.uncertainty)

    def _without_samples(self, cause: str, length: int, uncertainty: int) -> Block:
        gaps = self._gaps((cause, length, uncertainty))
        return Block(self._buffer[:0], self._axis, length, gaps=gaps)

    def _blocks(self, stream: _Stream) -> Iterator[Block]:
        """Yield the blocks whose place is known."""
        self._count_changes(stream.timeline.latency_changes)
        while (placed := stream.timeline.placed()) is not None:
            record, losses = placed.record, []
            if stream.after is not None:
                losses.append(self._end_outage(stream.after, stream, placed))
                stream.after = None
            losses.append(("dropped", record.dropped - stream.dropped, 0))
            stream.dropped = record.dropped
            slept = placed.lost > SILENT_S * self.sr  # the machine, and not only the sound system
            losses.append(("outage" if slept else "host", placed.lost, placed.uncertainty))
            gaps = self._gaps(*losses)
            samples = self._copied(stream, record)
            lost = sum(gap.length for gap in gaps)
            asleep_ns = self._host.asleep_ns()
            captured = (placed.captured_ns - asleep_ns) / 1e9
            called = (record.clock_ns - asleep_ns) / 1e9
            remarks = self._remarks(placed.remarks, placed.end - record.length)
            block = Block(samples, self._axis, lost, captured, gaps, called, remarks)
            stream.end = placed.end
            self._axis += record.length
            self._processed += record.length
            self._watch(samples, stream)
            yield block
            stream.timeline.learn()

    def _end_outage(self, outage: _Outage, stream: _Stream, first: Placed) -> tuple[str, int, int]:
        """What of the outage was not told yet, now that its end is known."""
        line, begin = stream.timeline, first.end - first.record.length
        ends = line.model.arrives_at(begin)
        if outage.adc_lag_ns is not None and line.model.adc_trusted:
            ends = line.model.adc_at(begin) - outage.adc_lag_ns
        unsure = outage.uncertainty + line.model.margin()
        return "outage", outage.tell(outage.so_far(ends)), unsure

    def _gaps(self, *losses: tuple[str, int, int]) -> tuple[Gap, ...]:
        """Put losses (cause, length, uncertainty) onto the axis and into the books."""
        gaps = []
        for cause, length, uncertainty in losses:
            if length:
                gaps.append(Gap(self._axis, length, cause, uncertainty))
                self._axis += length
                self._lost[cause] += length
        return tuple(gaps)

    def _remarks(self, remarks: tuple[Remark, ...], position: int) -> tuple[Gap, ...]:
        """Put remarks onto the axis, whose next sample is the stream's ``position``."""
        if not remarks:
            return ()
        for cause, _, length, _ in remarks:
            self._remarked[cause] += length
        ahead = self._axis - position
        return tuple(
            Gap(max(0, first + ahead), length, cause, within)
            for cause, first, length, within in remarks
        )

    def _tell_silent(self, opened: Opened) -> None:
        if not opened.monitor_of:
            self.tell(
                f"{self.name} has delivered nothing but zeros for {SILENT_S:g} s: is it muted, "
                "or may this program not listen?"
            )
        elif not self._said_idle:
            self._said_idle = True
            self.tell(f"{self.name} is idle: its output has been silent for {SILENT_S:g} s")

    def _count_changes(self, changes: list[float]) -> None:
        """Count the changes of latency, in ns."""
        for change in changes:
            self._changes += 1
            self._last_change_ms = change / 1e6
            if abs(self._last_change_ms) > abs(self._largest_change_ms):
                self._largest_change_ms = self._last_change_ms
        changes.clear()

    def _copied(self, stream: _Stream, record: Record) -> NDArray[np.float32]:
        if len(self._buffer) < record.length:
            self._buffer = np.zeros((record.length, self.channels), np.float32)
        samples = self._buffer[: record.length]
        stream.copy(record, samples)
        return samples

    def _watch(self, samples: NDArray[np.float32], stream: _Stream) -> None:
        """Tell of a microphone that hears nothing at all, and of one whose rate is wrong."""
        if samples[-1, 0] or samples.any():
            self._zeros = 0
        else:
            before, self._zeros = self._zeros, self._zeros + len(samples)
            if before < SILENT_S * self.sr <= self._zeros:
                self._tell_silent(stream.opened)
        drift = stream.timeline.drift
        if drift is None or self._said_rate:
            return
        if abs(drift.ppm) - drift.uncertainty_ppm > WRONG_RATE_PPM:
            self._said_rate = True
            true = self.sr * (1 + drift.ppm * 1e-6)
            self.tell(f"{self.name} promises {self.sr} Hz and delivers {true:.0f}: pitches are off")
