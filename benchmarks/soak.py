"""A day of sound: `python -m benchmarks.soak [--json] [--hours 24]`.

The fake host on a virtual clock, as fast as it goes, through the microphone, the processing thread
and the analyzer. Faults are spread evenly over the day. Every sample is a number, so that what is
delivered and told is held against what was captured; where they differ by more than the told bound
the run fails.
"""

from __future__ import annotations

import argparse
import gc
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import rss_mb, show
from rtaudio import Microphone, Settings
from rtaudio.capture.fake import CYCLE, FakeHost, Fault, Script, VirtualClock, numbers
from rtaudio.pipeline import Live

if TYPE_CHECKING:
    from rtaudio import Frames
    from rtaudio.sources.block import Block, Gap

SR, HOP, BLOCK, PPM, JITTER_MS = 48000, 512, 1024, 50.0, 0.3
AWAY = "reader away"  # for longer than the ring holds: samples are dropped
#: What happens, how many samples and how many seconds it takes: see `rtaudio.capture.fake.KINDS`.
FAULTS = (
    *(("loss", 4801, 0.0), ("stall", 0, 0.7), ("flagged_loss", 1234, 0.0), ("unplug", 0, 60.0)),
    *(("adc_zero", 0, 90.0), ("freeze", 0, 1.0), ("vanish", 0, 10.0), ("flag", 0, 0.0)),
    *((AWAY, 0, 30.0), ("crash", 0, 0.0), ("clock_jump", 0, 3600.0), ("renumber", 0, 5.0)),
    *(("loss", 48000, 0.0), ("end", 0, 0.0), ("adc_back", 0, 50.0), ("asleep", 0, 120.0)),
    *(("replace", 0, 8.0), ("loss", 150, 0.0)),
)
HIDDEN = round((0.002 + JITTER_MS / 1e3) * SR)  # so few are within what is taken for jitter


@dataclass
class Slot:
    """What was lost around one fault: (samples kept before it, how many), and what was told."""

    true: list[tuple[int, int]] = field(default_factory=list)
    told: list[tuple[int, Gap]] = field(default_factory=list)


class Day(Live):
    """A live run that holds every block against what the host captured."""

    def __init__(self, hours: float) -> None:
        self.seconds = hours * 3600
        self.apart = self.seconds / (len(FAULTS) + 1)
        faults = [Fault((i + 1) * self.apart, *fault) for i, fault in enumerate(FAULTS)]
        self.away = [fault for fault in faults if fault.kind == AWAY]
        others = tuple(fault for fault in faults if fault.kind != AWAY)
        self.clock = VirtualClock()
        script = Script(sr=SR, blocksize=BLOCK, ppm=PPM, jitter_ms=JITTER_MS, faults=others)
        super().__init__(
            Microphone(host=FakeHost(script, self.clock)),
            Settings(hop_length=HOP),
            duration_s=self.seconds,
            tell=lambda text: None,
        )
        self.slots = [Slot() for _ in range(len(FAULTS) + 2)]
        self.kept = self.axis = self.row = 0
        self.first = self.number = 0  # true numbers: of sample 0, and behind the newest
        self.memory: list[tuple[float, float]] = []  # hours, MB

    def _process(self, block: Block) -> None:
        """Look at the block, and then analyze it."""
        if block.first_sample != self.axis + block.lost:
            raise RuntimeError(f"sample {self.axis}: the axis has a hole")
        slot = self.slots[round(block.first_sample / SR / self.apart)]
        slot.told += [(self.kept, gap) for gap in block.gaps]
        self.axis = block.first_sample + len(block)
        if len(block):
            self._compare(numbers(block.samples[:, 0]), slot)
        super()._process(block)
        hours = self.axis / SR / 3600
        if hours * 4 >= len(self.memory):
            gc.collect()  # the fake host's captures are cycles, of 3 MB each
            self.memory.append((hours, rss_mb()))
        if self.away and hours * 3600 > self.away[0].at:
            self.clock.advance(self.away.pop().seconds)

    def _compare(self, found: Any, slot: Slot) -> None:
        """Unwrap the counter, which repeats after 350 s: no loss lasts as long."""
        if (np.diff(found) % CYCLE != 1).any():
            raise RuntimeError(f"sample {self.axis}: a block is not whole")
        if not self.kept:
            self.first = self.number = int(found[0])
        missing = int(found[0] - self.number) % CYCLE
        if missing:
            slot.true.append((self.kept, missing))
        self.number += missing + len(found)
        self.kept += len(found)

    def _hand_out(self, frames: Frames) -> None:
        last = frames.first + len(frames) - 1
        if frames.first < self.row or frames.time[-1] != last * HOP / SR:
            raise RuntimeError(f"row {last} is not where or when it should be")
        self.row = last + 1
        super()._hand_out(frames)


def losses(day: Day) -> list[dict[str, Any]]:
    """A row for each fault; raises where what was told is not within its bound of the truth."""
    rows = []
    for kind, slot in zip(("", *(fault[0] for fault in FAULTS), ""), day.slots, strict=True):
        true = sum(length for _, length in slot.true)
        told = sum(gap.length for _, gap in slot.told)
        bound = sum(gap.uncertainty for _, gap in slot.told)
        places = [at for at, _ in slot.true]
        off = max(
            (min(abs(at - place) for place in places or [at]) for at, _ in slot.told), default=0
        )
        row = {
            "fault": kind,
            "causes": ", ".join(sorted({gap.cause for _, gap in slot.told})),
            "lost": true,
            "told": told,
            "off by": told - true,
            "place off by": off,
            "told bound": bound,
        }
        if abs(told - true) > bound + HIDDEN or off > bound:
            raise RuntimeError(f"what was told is wrong: {row}, {slot}")
        if kind:
            rows.append(row)
    return rows


def books(day: Day) -> list[dict[str, Any]]:
    """What has to be 0, exactly; raises where it is not."""
    stats = day.stats
    told = sum(gap.length for slot in day.slots for _, gap in slot.told)
    true = sum(length for slot in day.slots for _, length in slot.true)
    differences = {
        "delivered − processed − dropped": stats.delivered - stats.processed - stats.dropped,
        "processed − seen here": stats.processed - day.kept,
        "lost − told as gaps": stats.lost - told,
        "end of the axis − seen − told": day.axis - day.kept - told,
        "end of the true numbers − seen − lost": day.number - day.first - day.kept - true,
        "end of the axis − asked for": day.axis - round(day.seconds * SR),
        "rows − those of so many samples": day.row - (1 + day.axis // HOP),
    }
    if any(differences.values()):
        raise RuntimeError(f"not 0: {differences}")
    return [
        *({"the books": name, "samples": value} for name, value in differences.items()),
        {"the books": "delivered", "samples": stats.delivered},
        {"the books": "lost", "samples": stats.lost},
        {"the books": "lost, in truth", "samples": true},
        {"the books": "rows", "samples": stats.frames},
    ]


def memory_of(day: Day, took_s: float) -> list[dict[str, Any]]:
    """The memory's slope, but for the first hour (or tenth)."""
    begin = min(1.0, day.seconds / 36000)
    hours, mb = np.array([(h, m) for h, m in day.memory if h >= begin]).T
    half = len(mb) // 2
    shown = (day.memory[i * (len(day.memory) - 1) // 4] for i in range(5))
    return [
        {
            "hours of sound": day.seconds / 3600,
            "took s": took_s,
            "× real time": day.seconds / took_s,
            **{f"MB at {h:.0f} h": m for h, m in shown},
            "slope MB/h": float(np.polyfit(hours, mb, 1)[0]),
            "second half": float(np.polyfit(hours[half:], mb[half:], 1)[0]),
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hours", type=float, default=24.0)
    args = parser.parse_args()
    if args.hours < 2:
        parser.error("below 2 hours the faults run into one another")
    day = Day(args.hours)
    begun = time.perf_counter()
    with day:
        day.wait()
    took_s = time.perf_counter() - begun
    show("Sound on a virtual clock, 48 kHz", memory_of(day, took_s), args.json)
    show("What was lost, and what was told", losses(day), args.json)
    show("The books", books(day), args.json)


if __name__ == "__main__":
    main()
