"""Queries to the sound servers of desktops, PulseAudio and PipeWire.

Their sources are inputs, including the monitors of outputs, which PortAudio does not list. And a
stream that PortAudio opened through ALSA may go through one of them: which one matters, since the
clocks of each are wrong in a different way (`host_kinds`).
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.capture.devices import MONITOR, Device, DeviceError, monitored
from rtaudio.capture.libpulse import (
    INVALID,
    VOLUME_NORM,
    ChannelMap,
    Connection,
    NoServer,
    ServerCallback,
    text,
)

if TYPE_CHECKING:
    from typing import Any

    from rtaudio.capture.wire import Request

PLUGINS = (b"libasound_module_pcm_pulse", b"libasound_module_pcm_pipewire")
#: A server's name as a host API → `wire.Opened.server`.
SERVERS = {"PulseAudio": "pulseaudio", "PipeWire": "pipewire"}


class Server(NamedTuple):
    """The server's name and its defaults."""

    hostapi: str
    """A key of `SERVERS`."""
    default_output: str
    default_source: str


class Source(NamedTuple):
    """An input of the server."""

    device: Device
    channel_map: ChannelMap
    target: str
    """The name by which the server opens it."""
    volume: str
    """Volumes other than 100 % and mutes, for the user; empty if there are none."""


def connect() -> Connection:
    """A connection to the user's server; `DeviceError` says why there is none."""
    if sys.platform != "linux":
        raise DeviceError("monitors exist on Linux only; on macOS, install BlackHole as an input")
    try:
        return Connection()
    except NoServer as error:
        needed = f"{MONITOR} needs PulseAudio or PipeWire, and neither answers ({error})"
        raise DeviceError(f"{needed}: rtaudio doctor says what is missing") from None


def about(connection: Connection) -> Server:
    """Query the server's name and defaults; raises `NoServer`."""
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
    server = about(connection)
    volumes: dict[int, str] = {}
    found: list[Source] = []

    def take_sink(info: Any) -> None:
        volumes[info.index] = _volume("its output", info)

    def take_source(info: Any) -> None:
        name, output = text(info.name), ""
        if info.monitor_of_sink != INVALID:
            output = text(info.monitor_of_sink_name)
        default = output == server.default_output if output else name == server.default_source
        device = Device(
            first,
            name,
            server.hostapi,
            info.channel_map.channels,
            info.sample_spec.rate,
            description=text(info.description) or name,
            monitor_of=output,
            server_default=default,
        )
        volume = [_volume("it", info), volumes.get(info.monitor_of_sink, "")]
        found.append(
            Source(
                device,
                ChannelMap.from_buffer_copy(info.channel_map),
                _target(info, name) if server.hostapi == "PipeWire" else name,
                ", ".join(filter(None, volume)),
            )
        )

    connection.entries("context_get_sink_info_list", take_sink)
    connection.entries("context_get_source_info_list", take_source)
    found.sort(key=lambda source: source.device.name)
    return [
        source._replace(device=replace(source.device, index=index))
        for index, source in enumerate(found, first)
    ]


def _target(info: Any, name: str) -> str:
    """The name by which PipeWire opens a source: it would parse leading digits as an index."""
    if not name[:1].isdecimal():
        return name
    if info.monitor_of_sink != INVALID:
        return f"{info.monitor_of_sink}.monitor"
    return str(info.index)


def _volume(what: str, info: Any) -> str:
    """The volume of a source or a sink, unless it is 100 %, or that it is muted."""
    volumes = info.volume.values[: info.volume.channels]
    if info.mute:
        return f"{what} is muted"
    if all(volume == VOLUME_NORM for volume in volumes):
        return ""
    percent = " and ".join(f"{100 * v / VOLUME_NORM:.0f}" for v in sorted(set(volumes)))
    return f"{what} is at a volume of {percent} %"


def source_devices(first: int) -> list[Device]:
    """The server's inputs; none if no server answers."""
    if sys.platform != "linux":
        return []
    try:
        with Connection() as connection:
            return [source.device for source in sources(connection, first)]
    except NoServer:
        return []


def means_server(request: Request) -> bool:
    """Whether the request is for a source of the server, without a look at PortAudio's list."""
    if request.fake is not None:
        return False
    return request.source is not None or monitored(request.device) is not None


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

    connection.entries("context_get_source_output_info_list", take)
    return str(os.getpid()) in clients
