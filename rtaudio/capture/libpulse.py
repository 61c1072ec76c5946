"""The part of libpulse that is needed here: to ask a sound server, and to record from it.

PulseAudio and PipeWire both answer it. The types and constants are those of its headers
(pulse/def.h, sample.h, channelmap.h, introspect.h); of long structures only the beginning is
declared.
"""

from __future__ import annotations

import ctypes
import time
from ctypes import (  # fmt: skip
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_S = 5.0  # a server that has not answered by then is hung
MISSING = "libpulse is missing"
HUNG = f"no answer in {ANSWER_S:g} s"

FLOAT32LE = 5
MOST_CHANNELS = 32
INVALID = 0xFFFF_FFFF
NO_AUTOSPAWN = 1
CONTEXT_READY = 4
STREAM_READY, STREAM_FAILED = 2, 3
OPERATION_RUNNING = 0
VOLUME_NORM = 0x10000  # 100 %
START_CORKED, INTERPOLATE_TIMING, AUTO_TIMING_UPDATE = 0x1, 0x2, 0x8
DONT_MOVE, EARLY_REQUESTS = 0x200, 0x4000
SERVER_EVENTS = 0x80


class SampleSpec(Structure):
    """pa_sample_spec."""

    _fields_ = (("format", c_int), ("rate", c_uint32), ("channels", c_uint8))


class ChannelMap(Structure):
    """pa_channel_map: where the loudspeaker of each channel stands."""

    _fields_ = (("channels", c_uint8), ("map", c_int * MOST_CHANNELS))


class Volume(Structure):
    """pa_cvolume: of each channel."""

    _fields_ = (("channels", c_uint8), ("values", c_uint32 * MOST_CHANNELS))


class BufferAttributes(Structure):
    """pa_buffer_attr, in bytes."""

    _fields_ = tuple(
        (name, c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize")
    )


class ServerInfo(Structure):
    """pa_server_info."""

    _fields_ = (
        ("user_name", c_char_p),
        ("host_name", c_char_p),
        ("server_version", c_char_p),
        ("server_name", c_char_p),
        ("sample_spec", SampleSpec),
        ("default_sink_name", c_char_p),
        ("default_source_name", c_char_p),
    )


# Of sinks and sources alike. (Not a base class: its padding would move the fields behind it.)
_DEVICE_FIELDS = (
    ("name", c_char_p),
    ("index", c_uint32),
    ("description", c_char_p),
    ("sample_spec", SampleSpec),
    ("channel_map", ChannelMap),
    ("owner_module", c_uint32),
    ("volume", Volume),
    ("mute", c_int),
)


class SinkInfo(Structure):
    """pa_sink_info, up to whether it is muted."""

    _fields_ = _DEVICE_FIELDS


class SourceInfo(Structure):
    """pa_source_info, up to what it is a monitor of."""

    _fields_ = (
        *_DEVICE_FIELDS,
        ("monitor_of_sink", c_uint32),
        ("monitor_of_sink_name", c_char_p),
    )


class SourceOutputInfo(Structure):
    """pa_source_output_info, to its properties: what records from a source."""

    _fields_ = (
        ("index", c_uint32),
        ("name", c_char_p),
        ("owner_module", c_uint32),
        ("client", c_uint32),
        ("source", c_uint32),
        ("sample_spec", SampleSpec),
        ("channel_map", ChannelMap),
        ("buffer_usec", c_uint64),
        ("source_usec", c_uint64),
        ("resample_method", c_char_p),
        ("driver", c_char_p),
        ("proplist", c_void_p),
    )


ServerCallback = CFUNCTYPE(None, c_void_p, POINTER(ServerInfo), c_void_p)
SourceCallback = CFUNCTYPE(None, c_void_p, POINTER(SourceInfo), c_int, c_void_p)
SinkCallback = CFUNCTYPE(None, c_void_p, POINTER(SinkInfo), c_int, c_void_p)
SourceOutputCallback = CFUNCTYPE(None, c_void_p, POINTER(SourceOutputInfo), c_int, c_void_p)
NotifyCallback = CFUNCTYPE(None, c_void_p, c_void_p)
_LISTS = {
    "context_get_source_info_list": SourceCallback,
    "context_get_sink_info_list": SinkCallback,
    "context_get_source_output_info_list": SourceOutputCallback,
}
ReadCallback = CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)
EventCallback = CFUNCTYPE(None, c_void_p, c_int, c_uint32, c_void_p)

_ASKS = (c_void_p, c_void_p, c_void_p)
# Name → what it returns, and its arguments.
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "strerror": (c_char_p, (c_int,)),
    "mainloop_new": (c_void_p, ()),
    "mainloop_get_api": (c_void_p, (c_void_p,)),
    "mainloop_prepare": (c_int, (c_void_p, c_int)),
    "mainloop_poll": (c_int, (c_void_p,)),
    "mainloop_dispatch": (c_int, (c_void_p,)),
    "mainloop_free": (None, (c_void_p,)),
    "context_new": (c_void_p, (c_void_p, c_char_p)),
    "context_connect": (c_int, (c_void_p, c_char_p, c_int, c_void_p)),
    "context_disconnect": (None, (c_void_p,)),
    "context_unref": (None, (c_void_p,)),
    "context_get_state": (c_int, (c_void_p,)),
    "context_errno": (c_int, (c_void_p,)),
    "context_get_server_info": (c_void_p, _ASKS),
    "context_get_source_info_list": (c_void_p, _ASKS),
    "context_get_sink_info_list": (c_void_p, _ASKS),
    "context_get_source_output_info_list": (c_void_p, _ASKS),
    "context_set_subscribe_callback": (None, (c_void_p, EventCallback, c_void_p)),
    "context_subscribe": (c_void_p, (c_void_p, c_int, c_void_p, c_void_p)),
    "operation_get_state": (c_int, (c_void_p,)),
    "operation_cancel": (None, (c_void_p,)),
    "operation_unref": (None, (c_void_p,)),
    "proplist_gets": (c_char_p, (c_void_p, c_char_p)),
    "channel_map_init_extend": (c_void_p, (POINTER(ChannelMap), c_uint32, c_int)),
    "stream_new": (
        c_void_p,
        (c_void_p, c_char_p, POINTER(SampleSpec), POINTER(ChannelMap)),
    ),
    "stream_connect_record": (
        c_int,
        (c_void_p, c_char_p, POINTER(BufferAttributes), c_int),
    ),
    "stream_get_state": (c_int, (c_void_p,)),
    "stream_get_device_name": (c_char_p, (c_void_p,)),
    "stream_get_buffer_attr": (POINTER(BufferAttributes), (c_void_p,)),
    "stream_set_state_callback": (None, (c_void_p, NotifyCallback, c_void_p)),
    "stream_set_moved_callback": (None, (c_void_p, NotifyCallback, c_void_p)),
    "stream_set_overflow_callback": (None, (c_void_p, NotifyCallback, c_void_p)),
    "stream_set_read_callback": (None, (c_void_p, ReadCallback, c_void_p)),
    "stream_cork": (c_void_p, (c_void_p, c_int, c_void_p, c_void_p)),
    "stream_get_latency": (c_int, (c_void_p, POINTER(c_uint64), POINTER(c_int))),
    "stream_peek": (c_int, (c_void_p, POINTER(c_void_p), POINTER(c_size_t))),
    "stream_drop": (c_int, (c_void_p,)),
}


class NoServer(Exception):
    """No sound server answers: why, as libpulse says it."""


@cache
def library() -> Any:
    """The library, its functions without their ``pa_``; raises `NoServer` where it is missing."""
    try:
        found = ctypes.CDLL("libpulse.so.0")
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(found, f"pa_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(found, name, function)
    except (OSError, AttributeError):  # or it is another library, by its name
        raise NoServer(MISSING) from None
    return found


class Connection:
    """A connection to the user's sound server. Raises `NoServer`, and starts none.

    Nothing happens in it unless one of its methods runs. For one thread at a time.
    """

    def __init__(self) -> None:
        self.pa = library()
        self._loop = self.pa.mainloop_new()
        self.context = self.pa.context_new(self.pa.mainloop_get_api(self._loop), b"rtaudio")
        try:
            if self.pa.context_connect(self.context, None, NO_AUTOSPAWN, None) < 0:
                raise NoServer(self.error())
            self.wait_until(lambda: self.state() >= CONTEXT_READY)
            if self.state() != CONTEXT_READY:
                raise NoServer(self.error())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self.pa.context_disconnect(self.context)
        self.pa.context_unref(self.context)
        self.pa.mainloop_free(self._loop)

    def state(self) -> int:
        """`CONTEXT_READY`; below while it connects, above once it has ended."""
        return int(self.pa.context_get_state(self.context))

    def error(self) -> str:
        """The last error."""
        return text(self.pa.strerror(self.pa.context_errno(self.context))) or "unknown error"

    def step(self, wait_s: float | None) -> None:
        """Run the main loop once; waits for an event for ``wait_s``, or for ever (None)."""
        wait_us = -1 if wait_s is None else max(0, int(wait_s * 1e6))
        if (
            self.pa.mainloop_prepare(self._loop, wait_us) < 0
            or self.pa.mainloop_poll(self._loop) < 0
            or self.pa.mainloop_dispatch(self._loop) < 0
        ):
            raise NoServer("its connection broke")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; raises `NoServer` where the server does not answer in time."""
        deadline = time.monotonic() + ANSWER_S
        while not condition():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise NoServer(HUNG)
            self.step(left_s)

    def ask(self, function: str, callback: Any) -> None:
        """Call a function that answers by ``callback``, and wait until it has."""
        self._end(getattr(self.pa, function)(self.context, callback, None))

    def entries(self, function: str, take: Callable[[Any], None]) -> None:
        """Call a function that answers with a list; ``take`` is called with each entry."""
        failed = []

        def each(_: Any, entry: Any, end: int, *__: Any) -> None:
            if end < 0:
                failed.append(self.error())
            elif not end:
                take(entry[0])

        self.ask(function, _LISTS[function](each))
        if failed:
            raise NoServer(failed[0])

    def subscribe(self, events: int) -> None:
        """Let the server report events from now on."""
        self._end(self.pa.context_subscribe(self.context, events, None, None))

    def _end(self, operation: Any) -> None:
        if not operation:
            raise NoServer(self.error())
        running = self.pa.operation_get_state
        try:
            self.wait_until(lambda: running(operation) != OPERATION_RUNNING)
        finally:
            self.pa.operation_cancel(operation)  # its callback may not outlive this call
            self.pa.operation_unref(operation)
        if self.state() != CONTEXT_READY:
            raise NoServer(self.error())


def text(value: bytes | None) -> str:
    """Decode a string of libpulse, which may be NULL."""
    return (value or b"").decode(errors="replace")


def latency_s(pa: Any, stream: Any) -> float | None:
    """How old the next sample to be read is, in s; None while that is not known."""
    latency, negative = c_uint64(), c_int()
    if pa.stream_get_latency(stream, byref(latency), byref(negative)) < 0:
        return None
    return (-1e-6 if negative.value else 1e-6) * latency.value
