"""The capture process: opens one stream, copies its samples into a ring, and does nothing else.

The parent writes a request to standard input and keeps it open. When it closes, at the latest by
the parent's death, the process leaves by `os._exit`: with a dead sound server all else hangs.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import select
import signal
import sys
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from rtaudio.capture import pulse, ring, wire
from rtaudio.capture.devices import Device, DeviceError, choose, inputs, outputs, with_default
from rtaudio.capture.server import connect, means_server, source_devices
from rtaudio.capture.server import sources as server_sources
from rtaudio.capture.stream import Callback, no_graph, open_stream, realtime_priority

if TYPE_CHECKING:
    from collections.abc import Callable

OPENING_S = 20  # a sound system that has not answered then never will


def main() -> NoReturn:
    """Answer the request, and capture until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's
    signal.alarm(OPENING_S)  # kills a process that hangs in C, with the parent or without
    answer_fd = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        request = wire.Request.from_json(sys.stdin.readline())
        if sys.argv[1] in LISTS:
            devices = LISTS[sys.argv[1]](request)
            _write(answer_fd, json.dumps([asdict(device) for device in devices]) + "\n")
        else:
            _capture(request, int(sys.argv[1]), answer_fd, int(sys.argv[2]))
    except DeviceError as error:
        _write(answer_fd, wire.answer_to_json(str(error)))
    os._exit(0)


def list_inputs(request: wire.Request) -> list[Device]:
    """PortAudio's inputs with their rates, and behind them those that the sound server has."""
    try:
        host = _host(request)
    except DeviceError:
        if sources := source_devices(first=0):
            return with_default(sources)
        raise
    sources = source_devices(first=len(host.query_devices()))
    found = inputs(host, ask_rates=True)
    if sources:
        pulse.restore_rates(sources)
    return with_default(found + sources)


def list_outputs(request: wire.Request) -> list[Device]:
    """PortAudio's outputs with their rates."""
    return outputs(_host(request), ask_rates=True)


def list_sources(_: wire.Request) -> list[Device]:
    """The sound server's inputs alone, which need no PortAudio."""
    with connect() as connection:
        return [source.device for source in server_sources(connection)]


LISTS = {"inputs": list_inputs, "outputs": list_outputs, "sources": list_sources}


def _host(request: wire.Request) -> Any:
    """PortAudio by way of sounddevice, or the fake that stands in for it."""
    if request.fake is not None:
        from rtaudio.capture.fake import FakeHost, Script

        return FakeHost(Script.from_dict(request.fake))
    try:
        import sounddevice
    except OSError:
        mend = "install it (Debian, Ubuntu: apt install libportaudio2)"
        raise DeviceError(f"the PortAudio library is missing: {mend}") from None
    except ImportError:
        raise DeviceError(f"{sys.executable} has no sounddevice: pip install sounddevice") from None
    except Exception as error:
        if type(error).__name__ != "PortAudioError":  # of a module that is not there then
            raise
        why = f"the sound system refuses ({error.args[0]})"
        raise DeviceError(f"{why}: try again, or see rtaudio doctor") from None
    return sounddevice


def _open(
    request: wire.Request,
    make_callback: Callable[..., Callable[..., None]],
    finished: Callable[..., None],
) -> tuple[Callable[[], None], wire.Opened]:
    """Open the device by the sound server or by PortAudio; returns the function that starts it."""
    if means_server(request):
        return pulse.open_source(request, make_callback, finished)
    searched = not (request.fake or request.again or request.play)
    try:
        host = _host(request)
    except DeviceError:
        if not (searched and source_devices(first=0)):
            raise
        host = None
    source = _find_source(host, request) if searched else None
    if source is not None:
        return pulse.open_source(replace(request, source=source), make_callback, finished)
    stream, opened = open_stream(host, request, make_callback, finished)
    return partial(_start, host, stream, opened), opened


def _find_source(host: Any, request: wire.Request) -> str | None:
    """The name of the sound server's source, if PortAudio has no such device.

    ``host`` may be None, where PortAudio is missing.
    """
    found = [] if host is None else inputs(host)
    try:
        choose(found, request)
    except DeviceError:
        first = 0 if host is None else len(host.query_devices())
        device = choose(with_default(found + source_devices(first)), request)
        return device.name if device.description else None
    return None


def _start(host: Any, stream: Any, opened: wire.Opened) -> None:
    try:
        stream.start()
    except host.PortAudioError as error:
        raise DeviceError(f"{opened.device} can't be started ({error.args[0]})") from None


def _capture(request: wire.Request, memory_fd: int, bell_fd: int, parent: int) -> None:
    """Capture; returns when the parent, by its process id, is gone."""
    writers: list[ring.RingWriter] = []
    answered = False

    def ring_bell(written: int) -> None:
        if answered:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(bell_fd, written.to_bytes(8, "little"))

    def make_callback(
        channels: int, samples: int, records: int, graph: Callable[[], int] = no_graph
    ) -> Callable[..., None]:
        length = ring.size(channels, samples, records)
        os.ftruncate(memory_fd, length)
        populate = getattr(mmap, "MAP_POPULATE", 0)  # no page is missing when the callback runs
        memory = mmap.mmap(memory_fd, length, flags=mmap.MAP_SHARED | populate)
        writers.append(ring.RingWriter(memory, channels, samples, records))
        return Callback(writers[0], ring_bell, begin=realtime_priority, graph=graph)

    def finished(reason: int = wire.ENDED) -> None:  # PortAudio gives no reason
        writers[0].finish(reason)
        ring_bell(0)

    start, opened = _open(request, make_callback, finished)
    gc.collect()
    gc.freeze()
    gc.disable()
    start()
    _write(bell_fd, wire.answer_to_json(opened))
    os.set_blocking(bell_fd, False)
    answered = True
    signal.alarm(0)
    while not select.select([0], [], [], 1)[0] and os.getppid() == parent:
        pass  # the parent's end of the pipe may live on in a process that it forked


def _write(fd: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    main()
