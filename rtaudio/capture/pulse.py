"""A stream from a source of PulseAudio or PipeWire, such as the monitor of an output.

PortAudio could open it through ALSA's plug-in for PulseAudio, with ``PULSE_SOURCE`` set. But the
plug-in always requests ALSA's channel positions, so the server mixes a source that has other ones;
and the server may move the plug-in's stream to another source, for example to the microphone when
a sink is removed, without any error. So libpulse is used directly: the stream has the channel map
of its source and the flag DONT_MOVE. All other flags are the plug-in's, so that arrival and ADC
time behave as `host_kinds` describes them.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from ctypes import byref, c_size_t, c_void_p
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rtaudio.capture import libpulse, wire
from rtaudio.capture.devices import MONITOR, Device, DeviceError, find_source, is_alone, monitored
from rtaudio.capture.libpulse import (
    BufferAttributes,
    ChannelMap,
    Connection,
    EventCallback,
    NoServer,
    NotifyCallback,
    ReadCallback,
    SampleSpec,
    ServerCallback,
    text,
)
from rtaudio.capture.server import SERVERS, Source, connect, sources

if TYPE_CHECKING:
    from collections.abc import Callable

LATENCIES_S = {"low": 0.005, "high": 0.01}
LEAST_AT_ONCE = 32  # samples in a packet of the server
MOST_AT_ONCE_S = 1.0  # likewise; after 2 s without samples the capture would be replaced
_FLAGS = (
    libpulse.START_CORKED
    | libpulse.INTERPOLATE_TIMING
    | libpulse.AUTO_TIMING_UPDATE
    | libpulse.EARLY_REQUESTS
    | libpulse.DONT_MOVE
)


class _Time(NamedTuple):
    """The ``time`` argument of sounddevice's callbacks."""

    inputBufferAdcTime: float  # noqa: N815 - as there
    currentTime: float  # noqa: N815


class _Status(NamedTuple):
    input_overflow: bool

    def __bool__(self) -> bool:
        return self.input_overflow


class _Blocks:
    """Makes blocks of what the server sends: of one size, or as they come where that is 0."""

    def __init__(self, channels: int, sr: int, size: int, call: Callable[..., None]) -> None:
        self._frame_bytes, self._sr = channels * 4, sr
        self._fixed = size > 0
        self._buffer = bytearray((size or sr) * self._frame_bytes)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._call = call
        self.overflow = False
        """Whether the server threw away samples since the last block."""

    def take(self, address: int, count: int, captured: float | None) -> None:
        """Take ``count`` bytes, the first of which was ``captured`` then, in s of `monotonic`."""
        while count:
            piece = min(count, len(self._buffer) - self._filled)
            ctypes.memmove(self._address + self._filled, address, piece)
            before, self._filled = self._filled, self._filled + piece
            if not self._fixed or self._filled == len(self._buffer):
                adc = 0.0 if captured is None else captured - self._seconds(before)
                self._deliver(adc)
            address, count = address + piece, count - piece
            captured = None if captured is None else captured + self._seconds(piece)

    def _deliver(self, adc: float) -> None:
        data, frames = self._view[: self._filled], self._filled // self._frame_bytes
        self._filled = 0
        status, self.overflow = _Status(self.overflow), False
        self._call(data, frames, _Time(adc, time.monotonic()), status)

    def _seconds(self, count: int) -> float:
        return count / self._frame_bytes / self._sr


class PulseStream:
    """A stream from a source, opened; its callback is sounddevice's. Raises `NoServer`.

    Its channels are those of ``channel_map``. ``finished`` is called when it ends by itself, with
    the reason (`wire.ENDS`). With ``follow``, the name of the default output, it ends when another
    one is.
    """

    def __init__(
        self,
        connection: Connection,
        source: Source,
        sr: int,
        channel_map: ChannelMap,
        fragment: int,
        follow: str | None = None,
        finished: Callable[[int], None] = lambda reason: None,
    ) -> None:
        self._connection, self._pa = connection, connection.pa
        self._follow, self._finished = follow, finished
        self._spec = spec = SampleSpec(libpulse.FLOAT32LE, sr, channel_map.channels)
        self._blocks: _Blocks | None = None
        self._callbacks = (
            NotifyCallback(self._take_state),
            NotifyCallback(self._take_move),
            NotifyCallback(self._take_overflow),
            ReadCallback(self._take_samples),
            EventCallback(self._take_event),
            ServerCallback(self._take_server),
        )
        self._ended = 0
        self._stream = self._pa.stream_new(
            connection.context, b"capture", byref(spec), byref(channel_map)
        )
        if not self._stream:
            raise NoServer(connection.error())
        wish = BufferAttributes(*[libpulse.INVALID] * 4, fragment * spec.channels * 4)
        connected = self._pa.stream_connect_record(
            self._stream, source.target.encode(), byref(wish), _FLAGS
        )
        if connected < 0:
            raise NoServer(connection.error())
        connection.wait_until(lambda: self._state() >= libpulse.STREAM_READY)
        if self._state() != libpulse.STREAM_READY:
            raise NoServer(connection.error())
        given = text(self._pa.stream_get_device_name(self._stream))
        if given != source.device.name:
            raise NoServer(f"the server gives {given}")
        granted = self._pa.stream_get_buffer_attr(self._stream)[0]
        self.latency = granted.fragsize / (4 * spec.channels) / spec.rate
        """The duration of the packets that the server granted, in s."""

    def _state(self) -> int:
        return int(self._pa.stream_get_state(self._stream))

    def start(self, blocksize: int, callback: Callable[..., None]) -> None:
        """Call ``callback`` from now on, in a thread of its own. Raises `NoServer`."""
        self._blocks = _Blocks(self._spec.channels, self._spec.rate, blocksize, callback)
        pa, stream = self._pa, self._stream
        state, moved, overflow, read, event, _ = self._callbacks
        pa.stream_set_overflow_callback(stream, overflow, None)
        pa.stream_set_read_callback(stream, read, None)
        pa.stream_set_state_callback(stream, state, None)
        pa.stream_set_moved_callback(stream, moved, None)
        if self._follow is not None:
            pa.context_set_subscribe_callback(self._connection.context, event, None)
            self._connection.subscribe(libpulse.SERVER_EVENTS)
            self._ask_server()
        begun = pa.stream_cork(stream, 0, None, None)
        if not begun:  # the source was removed
            raise NoServer(self._connection.error())
        pa.operation_unref(begun)
        threading.Thread(target=self._run, name="rtaudio pulse", daemon=True).start()

    def _run(self) -> None:
        try:
            while not self._ended:
                self._connection.step(None)
                if self._connection.state() != libpulse.CONTEXT_READY:
                    self._ended = wire.SERVER_ENDED
        except NoServer:
            self._ended = wire.SERVER_ENDED
        self._finished(self._ended)

    def _take_state(self, *_: Any) -> None:
        if self._state() >= libpulse.STREAM_FAILED:
            self._ended = self._ended or wire.REMOVED

    def _take_move(self, *_: Any) -> None:
        """The server moved the stream to another source in spite of DONT_MOVE."""
        self._ended = self._ended or wire.REMOVED

    def _take_overflow(self, *_: Any) -> None:
        assert self._blocks is not None
        self._blocks.overflow = True

    def _take_samples(self, stream: Any, *_: Any) -> None:
        assert self._blocks is not None
        pa, data, count = self._pa, c_void_p(), c_size_t()
        age = libpulse.latency_s(pa, stream)
        captured = None if age is None else time.monotonic() - age
        while (
            not self._ended
            and pa.stream_peek(stream, byref(data), byref(count)) == 0
            and count.value
        ):
            if data.value is None:  # a hole
                self._blocks.overflow = True
            else:
                self._blocks.take(data.value, count.value, captured)
            pa.stream_drop(stream)
            if captured is not None:
                captured += count.value / (4 * self._spec.channels) / self._spec.rate

    def _take_event(self, *_: Any) -> None:
        self._ask_server()

    def _ask_server(self) -> None:
        """Query the default output; `_take_server` gets the answer."""
        asked = self._pa.context_get_server_info(
            self._connection.context, self._callbacks[-1], None
        )
        if asked:
            self._pa.operation_unref(asked)

    def _take_server(self, _: Any, info: Any, *__: Any) -> None:
        if info and text(info[0].default_sink_name) != self._follow:
            self._ended = self._ended or wire.OTHER_DEFAULT


def restore_rates(before: list[Device]) -> None:
    """Give those sources their rates back that PulseAudio has changed, since somebody opened them.

    An idle source takes the rate of a stream, and keeps it: so one at the old rate is opened.
    """
    rates = {device.name: device.sr for device in before}
    with contextlib.suppress(NoServer), Connection() as connection:
        for source in sources(connection):
            sr = rates.get(source.device.name, source.device.sr)
            if sr != source.device.sr:
                with contextlib.suppress(NoServer):
                    PulseStream(connection, source, sr, source.channel_map, sr)


def open_source(
    request: wire.Request,
    make_callback: Callable[[int, int, int], Callable[..., None]],
    finished: Callable[[int], None],
) -> tuple[Callable[[], None], wire.Opened]:
    """Open the source that is asked for; returns what starts it. `DeviceError` says why not.

    ``make_callback`` is handed channels, and the samples and records that the ring has to hold.
    """
    connection = connect()
    try:
        found = sources(connection)
    except NoServer as error:
        raise DeviceError(f"the sound server does not answer ({error}): rtaudio doctor") from None
    devices = [source.device for source in found]
    device = find_source(devices, request)
    source = found[devices.index(device)]
    sr = request.sr or device.sr
    channel_map = _channel_map(source, request)
    samples = wire.RING_S * sr
    if 2 * request.blocksize > samples:
        size = f"a blocksize of {request.blocksize} is over {samples // 2}"
        raise DeviceError(f"{device.label}: {size}")
    records = samples // min(request.blocksize or 32, 32)
    callback = make_callback(channel_map.channels, samples, records)
    try:
        stream = PulseStream(
            *(connection, source, sr, channel_map, _fragment(request, sr)),
            device.monitor_of if _follows(request) else None,
            finished,
        )
    except NoServer as error:
        raise DeviceError(
            f"{device.label} can't be opened ({error}): see rtaudio devices"
        ) from None
    opened = wire.Opened(
        device.index,
        device.name,
        device.hostapi,
        sr,
        channel_map.channels,
        request.blocksize,
        1e3 * stream.latency,
        is_alone(devices, device),
        samples,
        records,
        server=SERVERS[device.hostapi],
        description=device.description,
        monitor_of=device.monitor_of,
        volume=source.volume,
        own_sr=device.sr,
        own_channels=device.channels,
    )
    return partial(_start, stream, request.blocksize, callback, device), opened


def _follows(request: wire.Request) -> bool:
    return request.source == MONITOR or (request.source is None and monitored(request.device) == "")


def _channel_map(source: Source, request: wire.Request) -> ChannelMap:
    """The source's own channels; those that the server mixes, where there are fewer than before."""
    device = source.device
    least = request.channels or request.least_channels
    if least <= device.channels:
        return source.channel_map
    if request.again is None:
        raise DeviceError(f"{device.label} has {device.channels} channel(s), not {least}")
    mixed = ChannelMap()
    libpulse.library().channel_map_init_extend(byref(mixed), least, 0)
    return mixed


def _fragment(request: wire.Request, sr: int) -> int:
    """How many samples the server shall send at once."""
    latency = request.latency
    wish_s = LATENCIES_S[latency] if isinstance(latency, str) else latency
    return round(min(max(wish_s * sr, request.blocksize, LEAST_AT_ONCE), MOST_AT_ONCE_S * sr))


def _start(
    stream: PulseStream, blocksize: int, callback: Callable[..., None], device: Device
) -> None:
    try:
        stream.start(blocksize, callback)
    except NoServer as error:
        raise DeviceError(f"{device.label} can't be started ({error})") from None
