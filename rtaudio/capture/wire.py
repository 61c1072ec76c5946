"""What parent and child tell each other: a request, and then either what was opened or why not.

Both are one line of JSON: the request on the child's standard input, the answer on its standard
output, which carries the bell from then on.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

#: What is wrong with a device that is there at another rate only.
OTHER_RATE = "does not take {sr} Hz"
#: The least that a ring holds.
RING_S = 16
#: Why a stream ended by itself.
ENDED, SERVER_ENDED, REMOVED, OTHER_DEFAULT = 1, 2, 3, 4
ENDS = {
    ENDED: "the sound system ended the stream",
    SERVER_ENDED: "the sound server ended",
    REMOVED: "it was removed",
    OTHER_DEFAULT: "another output is the default",
}


@dataclass(frozen=True)
class Request:
    """Which input to open, and how; None is the device's own choice."""

    device: int | str | None = None
    """Index, parts of name and host API, or `devices.MONITOR` and parts of an output's name; None:
    the default input."""
    again: tuple[str, str, bool] | None = None
    """Name and host API of a device that was lost, and `Opened.alone`: this one and no other,
    whatever its index is now."""
    channels: int | None = None
    least_channels: int = 1
    sr: int | None = None
    blocksize: int = 0
    latency: float | str = "high"
    play: dict[str, Any] | None = None
    """What to play meanwhile: ``loopback`` ("OUT:IN", in the place of ``device``), ``starts`` and
    ``level_db`` as `sweep.SweepPlayer` takes them."""
    fake: dict[str, Any] | None = None
    """A `fake.Script`, where the fake host stands in for PortAudio."""
    source: str | None = None
    """Instead of ``device``: the exact name of a sound server's source, or `devices.MONITOR` for
    the monitor of the present default output."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Back from `to_json`."""
        values = json.loads(text)
        values["again"] = tuple(values["again"]) if values["again"] else None
        return cls(**values)


@dataclass(frozen=True)
class Opened:
    """What was opened."""

    index: int
    device: str
    hostapi: str
    sr: int
    channels: int
    blocksize: int
    """As asked for: 0 where the host chooses, and may choose anew for each block."""
    latency_ms: float
    """What the driver claims."""
    alone: bool
    """Whether no other input has its name, but for ALSA's number of the card."""
    samples: int
    """How many samples the ring holds."""
    records: int
    """How many blocks the ring holds."""
    output: str = ""
    """What plays meanwhile; empty where nothing does."""
    output_latency_ms: float = 0.0
    """What the driver claims for it."""
    server: str = ""
    """The sound server that it goes through, if that is known: "pulseaudio", "pipewire", or "jack",
    which counts the frames of its graph (`ring.Record.frames`)."""
    description: str = ""
    """As `devices.Device.description` has it: empty unless it is a sound server's."""
    monitor_of: str = ""
    """As `devices.Device.monitor_of` has it."""
    volume: str = ""
    """Volumes other than 100 % and mutes of the server; empty if there are none."""
    own_sr: int = 0
    """The rate of a sound server's source before the server resamples it; 0 for others."""
    own_channels: int = 0
    """The channels of a sound server's source before the server mixes them; 0 for others."""


def answer_to_json(answer: Opened | str) -> str:
    """One line: what was opened, or why it could not be."""
    return json.dumps({"error": answer} if isinstance(answer, str) else asdict(answer)) + "\n"


def answer_from_json(text: str) -> Opened | str:
    """Back from `answer_to_json`."""
    values = json.loads(text)
    return str(values["error"]) if "error" in values else Opened(**values)


if sys.platform == "linux":

    def uptime_ns() -> int:
        """Return ns on a clock that all processes share, never steps, and counts while asleep."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

elif sys.platform == "darwin":

    def uptime_ns() -> int:
        """Return ns on a clock that all processes share, never steps, and counts while asleep."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

else:
    uptime_ns = time.perf_counter_ns
