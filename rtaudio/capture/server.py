"""What the sound servers of desktops, PulseAudio and PipeWire, are asked.

Their sources are inputs, the monitors of their outputs among them, which PortAudio does not list.
And PortAudio calls a stream that goes through them "ALSA": which server it is matters, for each
errs in a way of its own about when a sample was captured (`host_kinds`).
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.capture.devices import MONITOR, Device, DeviceError, asked_for
from rtaudio.capture.libpulse import (
    INVALID,
    ChannelMap,
    Connection,
    NoServer,
    ServerCallback,
    SourceInfo,
    SourceOutputInfo,
    listed,
    text,
)

if TYPE_CHECKING:
    from typing import Any

    from rtaudio.capture.wire import Request

PLUGINS = (b"libasound_module_pcm_pulse", b"libasound_module_pcm_pipewire")
#: What servers are called as host APIs, and by `wire.Opened`.
SERVERS = {"PulseAudio": "pulseaudio", "PipeWire": "pipewire"}
_NOT_HERE = {
    "darwin": "macOS has no monitors: BlackHole (existential.audio/blackhole) makes what is "
    "played an input",
}


class Server(NamedTuple):
    """What a server says of itself."""

    hostapi: str
    """A key of `SERVERS`."""
    default_output: str
    default_source: str


class Source(NamedTuple):
    """An input of the server."""

    device: Device
    channel_map: ChannelMap


def connect() -> Connection:
    """A connection to the user's server; `DeviceError` says why there is none."""
    if sys.platform != "linux":
        raise DeviceError(_NOT_HERE.get(sys.platform, "monitors are those of Linux"))
    try:
        return Connection()
    except NoServer as error:
        needed = f"{MONITOR} needs PulseAudio or PipeWire, and neither answers ({error})"
        raise DeviceError(f"{needed}: rtaudio doctor says what is missing") from None


def about(connection: Connection) -> Server:
    """What the server says of itself; raises `NoServer`."""
    said: list[Server] = []

    def take(_: Any, info: Any, *__: Any) -> None:
        if not info:
            return
        server = info[0]
        hostapi = "PipeWire" if "PipeWire" in text(server.server_name) else "PulseAudio"
        names = text(server.default_sink_name), text(server.default_source_name)
        said.append(Server(hostapi, *names))

    connection.ask("context_get_server_info", ServerCallback(take))
    if not said:
        raise NoServer(connection.error())
    return said[0]


def sources(connection: Connection, first: int = 0) -> list[Source]:
    """All sources, by name, whose indices begin with ``first``; raises `NoServer`."""
    server, found = about(connection), []

    def take(info: Any) -> None:
        name, output = text(info.name), ""
        if info.monitor_of_sink != INVALID:
            output = text(info.monitor_of_sink_name)
        device = Device(
            first,
            name,
            server.hostapi,
            info.channel_map.channels,
            info.sample_spec.rate,
            default=output == server.default_output if output else name == server.default_source,
            description=text(info.description) or name,
            monitor_of=output,
        )
        found.append(Source(device, ChannelMap.from_buffer_copy(info.channel_map)))

    connection.ask("context_get_source_info_list", listed(SourceInfo, take))
    found.sort(key=lambda source: source.device.name)
    return [
        source._replace(device=replace(source.device, index=index))
        for index, source in enumerate(found, first)
    ]


def source_devices(first: int) -> list[Device]:
    """The inputs that the server has, none where it does not answer."""
    if sys.platform != "linux":
        return []
    try:
        with Connection() as connection:
            return [source.device for source in sources(connection, first)]
    except NoServer:
        return []


def means_server(request: Request) -> bool:
    """Whether an input of the server is asked for, whatever PortAudio has."""
    if request.fake is not None:
        return False
    if request.again is not None:
        return request.again[1] in SERVERS
    return asked_for(request).startswith(MONITOR)


def sound_server(hostapi: str) -> str:
    """Return what records for this process by ``hostapi``: "pulseaudio", "pipewire" or ""."""
    if sys.platform != "linux" or "ALSA" not in hostapi:
        return ""
    loaded = Path("/proc/self/maps").read_bytes()
    if not any(plugin in loaded for plugin in PLUGINS):
        return ""
    try:
        with Connection() as connection:
            return SERVERS[about(connection).hostapi] if _records_for_us(connection) else ""
    except NoServer:  # or it dies: no reason not to capture
        return ""


def _records_for_us(connection: Connection) -> bool:
    clients = []

    def take(info: Any) -> None:
        key = b"application.process.id"
        clients.append(text(connection.pa.proplist_gets(info.proplist, key)))

    connection.ask("context_get_source_output_info_list", listed(SourceOutputInfo, take))
    return str(os.getpid()) in clients
