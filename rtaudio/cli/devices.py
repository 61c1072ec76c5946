"""`rtaudio devices`: what can be listened to, and played on."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from rtaudio.capture.devices import MONITOR
from rtaudio.cli import DONE, UNREADABLE
from rtaudio.cli.options import new_parser
from rtaudio.words import Words, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtaudio.capture.devices import Device


def main(argv: Sequence[str]) -> int:
    """List the inputs, or the outputs."""
    parser = new_parser("devices", "The inputs of this machine; * is the default.")
    parser.add_argument("--json", action="store_true", help="one object a device on stdout")
    parser.add_argument("--outputs", action="store_true", help="the outputs: OUT of --loopback")
    args = parser.parse_args(argv)
    kind = "outputs" if args.outputs else "inputs"
    from rtaudio.sources.block import SourceError
    from rtaudio.sources.microphone import devices

    words = Words(args.quiet)
    try:
        found = devices(kind)
    except SourceError as error:
        words.error(str(error))
        return UNREADABLE
    if not found:
        words.error(f"this machine has no audio {kind[:-1]}: rtaudio doctor says what is missing")
        return UNREADABLE
    for device in found:
        print(json.dumps(asdict(device)) if args.json else _line(device))
    return DONE


def _line(device: Device) -> str:
    rates = ", ".join(str(rate) for rate in device.rates if rate != device.sr)
    channels = f"{device.channels} channel{'s' if device.channels > 1 else ''}"
    other = f" (also {rates})" if rates else ""
    return one_line(
        f"{'*' if device.default else ' '} {device.index:2}  {device.label}, "
        f"{channels}, {device.sr} Hz{other}{_of_server(device)}"
    )


def _of_server(device: Device) -> str:
    """What else a sound server says of a source."""
    if device.monitor_of:
        names = [MONITOR] if device.server_default else []
        names.append(shlex.quote(f"{MONITOR}{device.monitor_of}"))
        return f"; what {device.monitor_of} plays: -d {' or '.join(names)}"
    return f"; {device.hostapi}'s default" if device.server_default else ""
