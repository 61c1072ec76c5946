"""Opening one stream, and what happens in its callback."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rtaudio.capture import jack, ring, wire
from rtaudio.capture.devices import (
    Device,
    DeviceError,
    choose,
    choose_loopback,
    inputs,
    is_alone,
    outputs,
    takes,
)
from rtaudio.capture.server import sound_server
from rtaudio.capture.sweep import SweepPlayer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtaudio.capture.ring import RingWriter

PRIORITY = 60  # below the kernel's own interrupt threads
OLDEST_S = 20.0  # an ADC time that is further from now is none
FUTURE_S = 0.4  # some are late by a block or two


def no_graph() -> int:
    """Of a host that counts no frames."""
    return ring.NO_COUNT


class Callback:
    """What the sound system calls with each block; its signature is sounddevice's.

    Called by the sound system's thread. Allocates nothing that stays, and never waits.
    """

    def __init__(
        self,
        writer: RingWriter,
        ring_bell: Callable[[int], None],
        clock: Callable[[], int] = wire.uptime_ns,
        begin: Callable[[], int] = lambda: 0,
        graph: Callable[[], int] = no_graph,
    ) -> None:
        """``begin`` is called once, by the callback's thread; returns its real-time priority.

        ``graph`` returns how many frames the host's graph has run, if it counts them.
        """
        self._writer = writer
        self._ring_bell = ring_bell
        self._clock = clock
        self._begin = begin
        self._graph = graph
        self._first = True

    def __call__(self, indata: Any, frames: int, time: Any, status: Any) -> None:
        """Copy ``frames`` samples of all channels into the ring."""
        clock_ns = self._clock()
        if not frames:  # a block of nothing says nothing
            return
        if self._first:
            self._first = False
            self._writer.granted(self._begin())
        adc, now = time.inputBufferAdcTime, time.currentTime
        makes_sense = adc > 0 and -FUTURE_S < now - adc < OLDEST_S
        age_ns = int((now - adc) * 1e9) if makes_sense else ring.NO_AGE
        overflow = bool(status) and bool(status.input_overflow)
        data = memoryview(indata).cast("B")
        written = self._writer.write(data, frames, clock_ns, age_ns, overflow, self._graph())
        self._ring_bell(written)


def realtime_priority() -> int:
    """Ask for real-time priority for this thread; returns what it has, 0 for none."""
    if not hasattr(os, "sched_setscheduler"):
        return 0
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:  # not granted
        return 0
    return os.sched_getparam(0).sched_priority


def frame_counter(host: Any, hostapi: str) -> Callable[[], int] | None:
    """What counts the frames of the host's graph, if it has one."""
    own: Callable[[], int] | None = getattr(host, "graph_frames", None)
    if own is not None or "JACK" not in hostapi:
        return own
    return jack.frame_counter()


def _server(host: Any, hostapi: str) -> str:
    """The sound server that the open stream goes through, "" if none is known."""
    own: str = getattr(host, "server", "")
    return own or sound_server(hostapi)


def open_stream(
    host: Any,
    request: wire.Request,
    make_callback: Callable[[int, int, int, Callable[[], int]], Callable[..., None]],
    finished: Callable[[], None],
) -> tuple[Any, wire.Opened]:
    """Open the stream that is asked for, not yet started; `DeviceError` says why it can't be.

    ``host`` is the module `sounddevice`, or has its functions. ``make_callback`` is handed
    channels, the samples and records that the ring has to hold, and what counts the frames of the
    host's graph; ``finished`` is called when the host ends the stream.
    """
    devices, output = inputs(host), None
    if request.play is None:
        device = choose(devices, request)
    else:
        device, output = choose_loopback(devices, outputs(host), request.play["loopback"])
    sr = request.sr or device.sr
    channels = request.channels or min(device.channels, max(request.least_channels, 2))
    least = request.channels or request.least_channels
    if least > device.channels:
        raise DeviceError(f"{device} has {device.channels} channel(s), not {least}")
    samples = wire.RING_S * sr
    if 2 * request.blocksize > samples:
        raise DeviceError(f"{device}: a blocksize of {request.blocksize} is over {samples // 2}")
    records = samples // min(request.blocksize or 32, 32)
    graph = frame_counter(host, device.hostapi)
    callback = make_callback(channels, samples, records, graph or no_graph)
    settings = {
        "samplerate": sr,
        "dtype": "float32",
        "blocksize": request.blocksize,
        "finished_callback": finished,
    }
    try:
        if output is None:
            stream = host.RawInputStream(
                device=device.index,
                channels=channels,
                latency=request.latency,
                callback=callback,
                **settings,
            )
        else:
            stream = _open_duplex(host, request, (device, output), channels, callback, settings)
    except host.PortAudioError as error:
        if output is not None:
            raise DeviceError(_why_not_both(host, device, output, channels, sr, error)) from None
        raise DeviceError(f"{device} {_why(host, device, channels, sr, error)}") from None
    latencies = (stream.latency, 0.0) if output is None else stream.latency
    opened = wire.Opened(
        device.index,
        device.name,
        device.hostapi,
        sr,
        channels,
        request.blocksize,
        1e3 * float(latencies[0]),
        is_alone(devices, device),
        samples,
        records,
        "" if output is None else f"{output.name} ({output.hostapi})",
        1e3 * float(latencies[1]),
        "jack" if graph else _server(host, device.hostapi),
    )
    return stream, opened


def _open_duplex(
    host: Any,
    request: wire.Request,
    devices: tuple[Device, Device],
    channels: int,
    capture: Callable[..., None],
    settings: dict[str, Any],
) -> Any:
    """One stream of an input and an output: sample n is played when sample n is captured."""
    assert request.play is not None
    out_channels = min(devices[1].channels, 2)
    play = request.play
    player = SweepPlayer(settings["samplerate"], out_channels, play["starts"], play["level_db"])

    def callback(indata: Any, outdata: Any, frames: int, time: Any, status: Any) -> None:
        capture(indata, frames, time, status)
        player.fill(outdata)

    return host.RawStream(
        device=(devices[0].index, devices[1].index),
        channels=(channels, out_channels),
        latency=(request.latency, request.latency),
        callback=callback,
        **settings,
    )


def _why_not_both(
    host: Any, device: Device, output: Device, channels: int, sr: int, error: Exception
) -> str:
    """Why the two can't be one stream."""
    if not takes(host, device.index, channels, sr):
        return f"{device} {_why(host, device, channels, sr, error)}"
    both = f"output {output} and input {device}"
    if device.hostapi != output.hostapi:
        return f"{both} belong to different host APIs: choose two of one"
    if output.sr != sr and not takes(host, output.index, 1, sr, "output"):
        return f"output {output} does not take {sr} Hz: try --device-rate {output.sr}"
    return f"{both} can't be opened together at {sr} Hz ({error.args[0]}): see rtaudio doctor"


def _why(host: Any, device: Device, channels: int, sr: int, error: Exception) -> str:
    """What is wrong with the device or the request, and what would be right."""
    if sr != device.sr and takes(host, device.index, channels, device.sr):
        rates = next(d.rates for d in inputs(host, ask_rates=True) if d.index == device.index)
        if sr not in rates:
            listed = ", ".join(str(rate) for rate in rates)
            return f"{wire.OTHER_RATE.format(sr=sr)}; it takes {listed or device.sr}"
    text = " ".join(str(part) for part in error.args)
    if "ermission" in text:
        return "may not be opened (permission denied): add yourself to the group audio"
    if "busy" in text.lower() or "unavailable" in text.lower():
        return "is in use: end the program that uses it, or choose another input"
    return f"can't be opened ({error.args[0] if error.args else error}): see rtaudio doctor"
