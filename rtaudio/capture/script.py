"""What a fake sound system does: the script that `rtaudio.capture.fake` plays.

All of it is a function of the script and of the time since the device was switched on, but for what
a stream draws for each of its blocks: several processes see the same device.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

WANDER_S = 1.5  # how long lateness wanders towards one value; how long an ADC time keeps its anchor
CREEP_S = 10.0  # how long a latency that creeps takes
#: What can go wrong, and what ``samples`` and ``seconds`` of a `Fault` mean then.
KINDS = {
    "loss": "so many samples are lost, without a word",
    "flagged_loss": "so many samples are lost, and the host says so",
    "flag": "the host says that samples were lost, and none were",
    "stall": "no callback for so long, then all at once; nothing is lost",
    "freeze": "no callback for so long, and what came meanwhile is lost; 0: until opened again",
    "latency": "from then on all comes so much later, or earlier if negative; nothing is lost",
    "latency_creep": "as latency, but it takes 10 s",
    "graph_stall": "a graph stands still for so long; nothing is lost, all is later (graph alone)",
    "end": "the stream ends, and says so",
    "vanish": "the device is gone for so long, without a word",
    "unplug": "the device is gone for so long, and the stream ends",
    "renumber": "as unplug, and it comes back with another index",
    "replace": "as unplug, and meanwhile another device has its index",
    "busy": "for so long, the device can't be opened",
    "hang": "for so long, opening or stopping a stream does not return",
    "exception": "for so long, opening raises what it never should",
    "adc_zero": "for so long, the device's clock reads 0",
    "adc_nan": "for so long, the device's clock reads NaN",
    "adc_negative": "for so long, the device's clock reads the negative of its time",
    "adc_still": "for so long, the device's clock stands still",
    "adc_back": "for so long, the device's clock runs backwards",
    "adc_late": "for so long, the device's clock reads 90 ms more",
    "clock_jump": "the system's clock, which the device's clock is told in, jumps by so much",
    "asleep": "the machine sleeps for so long (on a virtual clock alone)",
    "crash": "the process dies",
}


class Fault(NamedTuple):
    """Something that happens ``at`` s after the device was switched on."""

    at: float
    kind: str
    samples: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Script:
    """What a fake host does."""

    sr: int = 48000
    channels: int = 1
    """How many the device has; each holds the same numbers."""
    blocksize: int = 256
    """Samples of a block, where the stream does not ask for a size."""
    odd_sizes: bool = False
    """Blocks of 1 … 2 blocksize samples, at random, as some hosts deliver."""
    jitter_ms: float = 0.0
    """How late a callback comes at most, at random."""
    burst: int = 1
    """How many blocks come at once."""
    wander_ms: float = 0.0
    """How late all comes at most, beside that: up and down within seconds, as PulseAudio does."""
    ppm: float = 0.0
    """How much faster than ``sr`` the device's own clock is, in millionths."""
    adc: bool = True
    """Whether the device tells a time at all."""
    adc_noise_ms: float = 0.0
    """How far in the past the ADC time of every tenth block lies at most, at random."""
    adc_wander_ms: float = 0.0
    """How far apart the ADC times' errors are at most: they have another one each 1.5 s, as
    PipeWire's."""
    server: str = ""
    """What it says that it goes through, as in `wire.Opened`. "jack": its own time counts the
    frames of a graph, the ADC time is that less a block, and a client that is late misses whole
    blocks."""
    latency_ms: float = 5.0
    """How long after a block's last sample it is called back with, at least."""
    silent: bool = False
    """Zeros instead of numbers."""
    seed: int = 0
    switched_on_ns: int = 0
    """When the device was switched on and sample 0 captured, on `wire.uptime_ns`'s clock: what
    several processes have in common. 0: when the host is made."""
    faults: tuple[Fault, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @property
    def graph(self) -> bool:
        """Whether it counts the frames of its graph."""
        return self.server == "jack"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Script:
        """Back from `to_dict`."""
        return cls(**{**values, "faults": tuple(Fault(*fault) for fault in values["faults"])})

    def latency_s(self, since_s: float) -> float:
        """How long after its capture, so long after the device was switched on, a sample comes."""
        latency = self.latency_ms / 1e3 + self.wander_ms / 1e3 * _wander(self.seed, since_s)
        for fault in self.faults:
            if fault.kind == "latency" and since_s >= fault.at:
                latency += fault.seconds
            elif fault.kind == "latency_creep" and since_s >= fault.at:
                latency += fault.seconds * min(1.0, (since_s - fault.at) / CREEP_S)
        return max(0.0, latency)

    def adc_error_s(self, since_s: float) -> float:
        """How far off an ADC time is, by how it is anchored."""
        if not self.adc_wander_ms:
            return 0.0
        return self.adc_wander_ms / 1e3 * (_draws(self.seed, int(since_s // WANDER_S))[2] - 0.5)


@lru_cache(maxsize=4096)
def _draws(seed: int, k: int) -> tuple[float, float, float, float]:
    """Four numbers in [0, 1), which are always the same."""
    chance = random.Random(seed * 1_000_003 + k)  # noqa: S311 - faults, no secrets
    return chance.random(), chance.random(), chance.random(), chance.random()


def _wander(seed: int, since_s: float) -> float:
    """A walk in [0, 1): straight on for a while, and then either on from there or elsewhere."""
    k, part = divmod(since_s, WANDER_S)
    begin, end, _, jumps = _draws(seed, int(k))
    if jumps < 0.5:
        end = _draws(seed, int(k) + 1)[0]
    return begin + (end - begin) * part / WANDER_S
