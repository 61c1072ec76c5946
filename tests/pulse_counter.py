"""A client of PulseAudio, or of PipeWire, that plays a counter into the sink "rt", one a sample.

Sample i is ``(i % 2**22 + 1) / 2**23``: exact in float32, never 0. About four times a second it
prints a JSON line: {"count": i, "due_ns": when sample i is rendered, in ns of CLOCK_MONOTONIC}.
The one argument is its buffer in ms. It ends when its standard input does, or the server.
"""

import ctypes
import gc
import json
import os
import sys
import threading
import time
from contextlib import suppress

import numpy as np

SR, CHANNELS = 48000, 2
COUNTS = 1 << 22
PIECE = SR // 100  # written at once
PLAYBACK, FLOAT32LE, BY_SERVER = 1, 5, 0xFFFF_FFFF  # of pulse/def.h, pulse/sample.h
PRIORITY = 10  # above all that is not real-time: a busy process beside it must not silence it
DUE = SR // 4  # how often it is told


class SampleSpec(ctypes.Structure):
    """pa_sample_spec."""

    _fields_ = (
        ("format", ctypes.c_int),
        ("rate", ctypes.c_uint32),
        ("channels", ctypes.c_uint8),
    )


class BufferAttr(ctypes.Structure):
    """pa_buffer_attr, in bytes."""

    _fields_ = tuple(
        (name, ctypes.c_uint32) for name in ("maxlength", "tlength", "prebuf", "minreq", "fragsize")
    )


simple = ctypes.CDLL("libpulse-simple.so.0")
simple.pa_simple_new.restype = ctypes.c_void_p
simple.pa_simple_write.argtypes = (
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_int),
)
simple.pa_simple_get_latency.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
simple.pa_simple_get_latency.restype = ctypes.c_uint64


def open_player(buffer_ms):
    """A connection (pa_simple) that plays into "rt"; it blocks while the buffer is full."""
    error = ctypes.c_int()
    size = SR * buffer_ms // 1000 * CHANNELS * 4
    player = simple.pa_simple_new(
        *(None, b"counter", PLAYBACK, b"rt", b"counter"),
        ctypes.byref(SampleSpec(FLOAT32LE, SR, CHANNELS)),
        None,
        ctypes.byref(BufferAttr(BY_SERVER, size, size, BY_SERVER, BY_SERVER)),
        ctypes.byref(error),
    )
    if not player:
        raise SystemExit(f"pulse_counter.py can't play: error {error.value} of libpulse")
    return player


def samples_from(count):
    """The next piece, the same on both channels."""
    k = (count + np.arange(PIECE)) % COUNTS + 1
    return np.repeat(k.astype(np.float32) / (2 * COUNTS), CHANNELS)


def tell_due(player, count):
    """Print when the sample that is written next will be rendered."""
    error = ctypes.c_int()
    before_ns = time.monotonic_ns()
    latency_us = simple.pa_simple_get_latency(player, ctypes.byref(error))
    now_ns = (before_ns + time.monotonic_ns()) // 2
    if not error.value:
        print(json.dumps({"count": count, "due_ns": now_ns + 1000 * latency_us}), flush=True)


def play(player):
    """Play until the server is gone."""
    error, count = ctypes.c_int(), 0
    while True:
        piece = samples_from(count)
        if simple.pa_simple_write(player, piece.ctypes.data, piece.nbytes, ctypes.byref(error)) < 0:
            return
        count += PIECE
        if count % DUE == 0:
            tell_due(player, count)


def end_with_stdin():
    """End this process, whatever it waits for, when nobody wants it any more."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    with suppress(PermissionError):  # libpulse's thread, too, since it is started after this
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    gc.freeze()
    gc.disable()
    play(open_player(int(sys.argv[1])))
    os._exit(1)
