"""The inputs and outputs of this machine, and which of them a user means.

The list is PortAudio's, which is frozen once it is initialized and may hang with a dead server:
so each look at it is a short-lived process. What a sound server has beyond that (`server`) stands
behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rtaudio.capture.wire import Request

#: Rates that a device is asked about, in Hz.
RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
# Which host API to take where several show one device.
_PREFERRED = ("windows wasapi", "core audio", "alsa")
#: What an output plays: of the default output, or followed by the name of one.
MONITOR = "monitor:"
MOST_LISTED = 20  # of the devices there are, in a message


class DeviceError(Exception):
    """No such device, or it can't be opened: one line that says what to do."""


@dataclass(frozen=True)
class Device:
    """An input, or an output."""

    index: int
    name: str
    hostapi: str
    channels: int
    """How many it has at most."""
    sr: int
    """Its own rate, in Hz."""
    rates: tuple[int, ...] = ()
    """Those of `RATES` that it takes; empty where it was not asked."""
    default: bool = False
    """Whether it is what is opened where none is named."""
    description: str = ""
    """What a sound server calls it; empty for PortAudio's devices."""
    monitor_of: str = ""
    """The name of the output whose sound it is; empty for all that are no monitors."""
    server_default: bool = False
    """Whether it is the sound server's default source, or the monitor of its default output."""

    def __str__(self) -> str:
        """Index, name and host API, as messages show it."""
        return f"{self.index} {self.label}"

    @property
    def label(self) -> str:
        """Name and host API, and what a sound server calls it."""
        if self.description:
            return f"{self.description} ({self.name}, {self.hostapi})"
        return f"{self.name} ({self.hostapi})"


def inputs(host: Any, ask_rates: bool = False) -> list[Device]:
    """The inputs that ``host`` has, which is the module `sounddevice` or has its functions."""
    return _devices(host, "input", ask_rates)


def outputs(host: Any, ask_rates: bool = False) -> list[Device]:
    """The outputs that ``host`` has."""
    return _devices(host, "output", ask_rates)


def _devices(host: Any, kind: str, ask_rates: bool) -> list[Device]:
    hostapis = host.query_hostapis()
    default = default_index(host, hostapis, kind)
    found = []
    for index, info in enumerate(host.query_devices()):
        if info.get(f"max_{kind}_channels", 0) > 0:
            rates = _rates(host, index, kind) if ask_rates else ()
            found.append(
                Device(
                    index,
                    str(info["name"]),
                    str(hostapis[info["hostapi"]]["name"]),
                    int(info[f"max_{kind}_channels"]),
                    round(info["default_samplerate"]),
                    rates,
                    index == default,
                )
            )
    return found


def default_index(host: Any, hostapis: Sequence[dict[str, Any]], kind: str = "input") -> int:
    """The default: the host's own, else the first host API's that has one; -1 is none."""
    chosen = int(host.default.device[("input", "output").index(kind)])
    if chosen >= 0:
        return chosen
    of_apis = (int(hostapi.get(f"default_{kind}_device", -1)) for hostapi in hostapis)
    return next((index for index in of_apis if index >= 0), -1)


def _rates(host: Any, index: int, kind: str) -> tuple[int, ...]:
    return tuple(rate for rate in RATES if takes(host, index, 1, rate, kind))


def takes(host: Any, index: int, channels: int, sr: int, kind: str = "input") -> bool:
    """Whether the device takes that many channels at that rate."""
    check = host.check_input_settings if kind == "input" else host.check_output_settings
    try:
        check(device=index, channels=channels, samplerate=sr, dtype="float32")
    except host.PortAudioError:
        return False
    return True


def choose(devices: list[Device], request: Request) -> Device:
    """The input that is meant; `DeviceError` lists what there is where none or several are."""
    if devices and request.again is not None:
        return _the_same(devices, *request.again)
    return choose_by(devices, request.device)


def choose_loopback(
    inputs: list[Device], outputs: list[Device], words: str
) -> tuple[Device, Device]:
    """The input and the output that ``words`` means, OUT:IN; nothing is the default.

    Names may hold colons: where one part of the words is both, it is that one. `DeviceError`.
    """
    places = [place for place, letter in enumerate(words) if letter == ":"]
    errors, found = [], []
    for place in places:
        try:
            output = choose_by(outputs, words[:place].strip() or None, "output")
            found.append((choose_by(inputs, words[place + 1 :].strip() or None), output))
        except DeviceError as error:
            errors.append(error)
    if not found:
        raise errors[0] if errors else DeviceError(f"{words!r} is not OUT:IN: two devices")
    if len(set(found)) > 1:
        pairs = "; ".join(f"{output.index}:{source.index}" for source, output in found)
        raise DeviceError(f"{words!r} is more than one loopback: {pairs}")
    return found[0]


def choose_by(devices: list[Device], wanted: int | str | None, kind: str = "input") -> Device:
    """The device of that index, or whose name and host API have those parts; None: the default.

    Raises as `choose`.
    """
    if not devices:
        raise DeviceError(f"this machine has no audio {kind}: rtaudio doctor says what is missing")
    if wanted is None:
        for device in devices:
            if device.default:
                return device
        _refuse(devices, f"there is no default {kind}: choose one", kind)
    if isinstance(wanted, int) or wanted.strip().isdecimal():
        for device in devices:
            if device.index == int(wanted):
                return device
        _refuse(devices, f"there is no {kind} {wanted}", kind)
    return _by_name(devices, str(wanted), kind)


def monitored(device: object) -> str | None:
    """Of words such as ``monitor:NAME`` the name, "" for the default output; None for others."""
    words = device.strip() if isinstance(device, str) else ""
    if words[: len(MONITOR)].lower() != MONITOR:
        return None
    return words[len(MONITOR) :].strip()


def with_default(devices: list[Device]) -> list[Device]:
    """Where PortAudio has no default input, the sound server's is the default, if it has one."""
    if any(device.default for device in devices):
        return devices
    return [
        replace(device, default=device.server_default and not device.monitor_of)
        for device in devices
    ]


def find_source(sources: list[Device], request: Request) -> Device:
    """The sound server's input that is meant; raises as `choose`."""
    if request.source not in (None, MONITOR):
        for source in sources:
            if source.name == request.source:
                return source
        raise DeviceError(f"{request.source} is not there")
    wanted = "" if request.source == MONITOR else monitored(request.device)
    assert wanted is not None
    return _choose_monitor([source for source in sources if source.monitor_of], wanted)


def _choose_monitor(monitors: list[Device], wanted: str) -> Device:
    """The monitor of the output whose name or description has these words; "": the default."""
    if not wanted:
        for monitor in monitors:
            if monitor.server_default:
                return monitor
        _refuse_monitor(monitors, "there is no default output")
    whole, parts = wanted.lower(), wanted.lower().replace(",", " ").split()
    names = {d: (d.monitor_of, d.name, d.description) for d in monitors}
    ways: tuple[Callable[[Device], bool], ...] = (
        lambda d: d.monitor_of == wanted,
        lambda d: whole in map(str.lower, names[d]),
        lambda d: _has(" ".join(names[d]).lower(), parts),
    )
    matches = next(filter(None, ([d for d in monitors if way(d)] for way in ways)), [])
    if len(matches) != 1:
        what = (
            f"{wanted!r} is more than one output" if matches else f"there is no output {wanted!r}"
        )
        _refuse_monitor(matches or monitors, what)
    return matches[0]


def _refuse_monitor(monitors: list[Device], what: str) -> NoReturn:
    if not monitors:
        raise DeviceError(f"{what}: the sound server has none")
    _refuse([f"{MONITOR}{d.monitor_of} ({d.description})" for d in monitors], what, "monitor")


def _by_name(devices: list[Device], wanted: str, kind: str) -> Device:
    parts = wanted.lower().replace(",", " ").split()
    whole = wanted.strip().lower()
    # PortAudio's come first, then a server's microphones: a monitor is meant where nothing else is.
    for some in (
        [device for device in devices if not device.description],
        [device for device in devices if device.description and not device.monitor_of],
        devices,
    ):
        matches = [d for d in some if whole in (d.name.lower(), f"{d.name}, {d.hostapi}".lower())]
        matches = matches or [d for d in some if _has(_words(d), parts)]
        if matches:
            break
    if not parts or not matches:
        _refuse(devices, f"there is no {kind} {wanted!r}", kind)
    # Windows' oldest host API cuts names off after 31 characters.
    if len({device.name[:31] for device in matches}) == 1:
        default = next((d.hostapi for d in devices if d.default), "")
        order = (default.lower(), *_PREFERRED)
        for hostapi in order:
            same = [device for device in matches if device.hostapi.lower() == hostapi]
            if len(same) == 1:
                return same[0]
    if len(matches) > 1:
        _refuse(matches, f"{wanted!r} is more than one {kind}", kind)
    return matches[0]


def _words(device: Device) -> str:
    return f"{device.name} {device.description}, {device.hostapi}".lower()


def _has(text: str, parts: list[str]) -> bool:
    """Whether ``parts`` stand in ``text``, one after the other."""
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def is_alone(devices: list[Device], device: Device) -> bool:
    """Whether no other input has the device's name, but for ALSA's number of the card.

    Of a server's, whose names are their own: its description.
    """
    if device.description:
        return [other.description for other in devices].count(device.description) == 1
    names = [(_without_card(other.name), other.hostapi) for other in devices]
    return names.count((_without_card(device.name), device.hostapi)) == 1


def _the_same(devices: list[Device], name: str, hostapi: str, alone: bool) -> Device:
    """The device that was lost, whatever its index is now."""
    for device in devices:
        if (device.name, device.hostapi) == (name, hostapi):
            return device
    for device in devices:  # ALSA puts the card's number into the name, and it changes
        if alone and (_without_card(device.name), device.hostapi) == (_without_card(name), hostapi):
            return device
    raise DeviceError(f"{name} ({hostapi}) is not there")


def _without_card(name: str) -> str:
    return re.sub(r"\(hw:\d+,(\d+)\)", r"(hw:*,\1)", name)


def _refuse(there: Sequence[object], what: str, kind: str) -> NoReturn:
    """Say what is wrong with a name, and the names ``there`` are."""
    names, more = "; ".join(map(str, there[:MOST_LISTED])), len(there) - MOST_LISTED
    names += f"; and {more} more" if more > 0 else ""
    raise DeviceError(f"{what}; {kind}s are: {names}")
