"""A process that plays what it reads: raw float32 on standard input.

It answers with an empty line on standard output, or with what is wrong. `consumers.player` is the
other end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

AHEAD_S = 0.2  # how much is in hand before it begins, against a source that stutters
AFTER_S = 0.2  # of silence, so that the end is heard
MOST_S = 1.0  # more is thrown away: the source's clock is faster than the device's


class _Buffer:
    """Bytes from the reader to the callback."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = bytearray()
        self._lock = threading.Lock()
        self.ended = False

    def put(self, data: bytes) -> int:
        """Append; returns how many bytes there are."""
        with self._lock:
            self._data += data
            del self._data[: max(0, len(self._data) - self._most)]
            return len(self._data)

    def fill(self, outdata: Any) -> bool:
        """Move bytes into ``outdata``, and silence where there are too few; whether any came."""
        view = memoryview(outdata).cast("B")
        with self._lock:
            count = min(len(view), len(self._data))
            view[:count] = self._data[:count]
            del self._data[:count]
        view[count:] = bytes(len(view) - count)
        return count > 0


def main() -> None:
    """Play until standard input ends, and what is in hand then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sr, channels = int(sys.argv[1]), int(sys.argv[2])
    answer = os.dup(1)
    os.dup2(2, 1)
    width = 4 * channels
    buffer = _Buffer(round(MOST_S * sr) * width)
    played = threading.Event()
    silence = 0

    def callback(outdata: Any, frames: int, time: Any, status: Any) -> None:  # noqa: ARG001
        nonlocal silence
        if not buffer.fill(outdata) and buffer.ended:
            silence += frames
            if silence > (stream.latency + AFTER_S) * sr:
                played.set()

    try:
        import sounddevice

        stream = sounddevice.RawOutputStream(
            samplerate=sr, channels=channels, dtype="float32", callback=callback
        )
    except Exception as error:  # noqa: BLE001 - the missing library, or whatever the host raises
        os.write(answer, f"nothing can be played ({error.args[0]})\n".encode())
        os._exit(1)
    os.write(answer, b"\n")
    rest, begun = b"", False
    while data := os.read(0, 1 << 16):
        data = rest + data
        whole = len(data) - len(data) % width
        rest = data[whole:]
        if buffer.put(data[:whole]) >= AHEAD_S * sr * width and not begun:
            begun = True
            stream.start()
    buffer.ended = True
    if not begun:
        stream.start()
    played.wait(MOST_S + stream.latency + 5)  # for ever, with a dead server
    os._exit(0)


if __name__ == "__main__":
    main()
