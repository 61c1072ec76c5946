"""How many frames JACK's graph has run: counted by its server, read within the callback.

PortAudio does not hand that on. Its ``currentTime`` on JACK is a filtered time, which runs ahead by
what the server was late and takes ten seconds to come back. So a client without ports is opened
beside PortAudio's, for nothing but `jack_last_frame_time`.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NO_START_SERVER = 1
WRAP = 1 << 32  # the server counts in 32 bits


def frame_counter() -> Callable[[], int] | None:
    """A function that returns the number of the frame at which the graph's cycle began.

    It counts on for ever, is for one thread, keeps the GIL and takes a microsecond. None where
    JACK's library or its server is not to be had.
    """
    names = {"darwin": "libjack.dylib"}
    try:
        library = ctypes.PyDLL(names.get(sys.platform, "libjack.so.0"))
    except OSError:
        return None
    library.jack_client_open.restype = ctypes.c_void_p
    library.jack_client_open.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p)
    last_frame_time = library.jack_last_frame_time
    last_frame_time.restype, last_frame_time.argtypes = ctypes.c_uint32, (ctypes.c_void_p,)
    status = ctypes.c_int()
    client = library.jack_client_open(b"rtaudio", NO_START_SERVER, ctypes.byref(status))
    if not client:
        return None
    total = last = int(last_frame_time(client))

    def frames() -> int:
        nonlocal total, last
        now = int(last_frame_time(client))
        total += (now - last + WRAP // 2) % WRAP - WRAP // 2
        last = now
        return total

    return frames
