"""A device that goes and comes back: `python -m benchmarks.recovery [--json] [--times 25]`.

A JACK server is killed and started again, and the fake host's device is unplugged for 3 s, each so
many times in a row, under one live run. How long until the loss is told, and how long from when
the device is there again to the first samples; memory, file descriptors, threads and processes
before and after. Needs Linux and jackd2.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import from_tests, rss_mb, show
from rtaudio import Microphone, live
from rtaudio.capture.fake import Fault, Script
from rtaudio.capture.process import ProcessHost
from rtaudio.capture.wire import uptime_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtaudio.sources.block import Block

SETTLE_S = 1.5  # of sound between two losses
GONE_S = 3.0
GIVE_UP_S = 60.0


class Watch:
    """When the device was told to be lost, and when samples came after that."""

    def __init__(self, mic: Microphone) -> None:
        self.run = live(mic, tell=self.tell, consumers=[lambda frames: None])
        self.run.attach_blocks("watching", self.take)
        self.lost = threading.Event()
        self.back = threading.Event()
        self.lost_ns = self.back_ns = 0
        self._lost_s = 0.0  # on the clock of `Block.captured`
        self.told = 0

    def tell(self, text: str) -> None:
        if " is lost (" in text:
            self.told += 1
            self.lost_ns, self._lost_s = uptime_ns(), time.perf_counter()
            self.back.clear()
            self.lost.set()

    def take(self, block: Block) -> None:
        if block.captured > self._lost_s and not self.back.is_set():
            self.back_ns = uptime_ns()
            self.back.set()

    def wait_for(self, event: threading.Event, what: str) -> None:
        if not event.wait(GIVE_UP_S):
            raise RuntimeError(f"after {GIVE_UP_S:g} s still {what}: {self.run.stats}")


def held() -> dict[str, float]:
    """What this process holds."""
    tasks = Path("/proc/self/task")
    children = [(task / "children").read_text().split() for task in tasks.iterdir()]
    return {
        "MB": rss_mb(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "processes": sum(map(len, children)),
    }


def lose(watch: Watch, times: int, gone: Callable[[int], tuple[int, int]]) -> dict[str, Any]:
    """Lose the device so often. ``gone`` takes it away and brings it back, and tells when."""
    noticed, back, holding = [], [], []
    with watch.run:
        watch.wait_for(watch.back, "no samples")
        for number in range(times):
            time.sleep(SETTLE_S)
            holding.append(held())
            watch.lost.clear()
            gone_ns, there_ns = gone(number)
            watch.wait_for(watch.lost, "not told to be lost")
            watch.wait_for(watch.back, "not back")
            noticed.append((watch.lost_ns - gone_ns) / 1e9)
            back.append((watch.back_ns - there_ns) / 1e9)
        time.sleep(SETTLE_S)
        holding.append(held())
    stats = watch.run.stats
    if stats.delivered != stats.processed + stats.dropped or watch.told != times:
        raise RuntimeError(f"the books do not balance: told {watch.told} times, {stats}")
    row: dict[str, Any] = {
        "times": times,
        "noticed s, median": statistics.median(noticed),
        "noticed s, most": max(noticed),
        "back s, median": statistics.median(back),
        "back s, most": max(back),
    }
    for name in holding[0]:
        values = [each[name] for each in holding]
        row[name] = " → ".join(f"{values[i]:.0f}" for i in (0, min(5, times), times))
    steady = [each["MB"] for each in holding[5:]]
    if len(steady) > 1:
        row["MB a time"] = float(np.polyfit(range(len(steady)), steady, 1)[0])
    return row


def jack_killed(times: int) -> dict[str, Any]:
    """SIGKILL to the server, and a new one when it was noticed."""
    servers = from_tests("servers")
    with tempfile.TemporaryDirectory() as folder, servers.Jack(folder) as jack:
        before = dict(os.environ)
        os.environ.update(jack.env)
        watch = Watch(Microphone("system, JACK Audio Connection Kit", channels=1))

        def gone(number: int) -> tuple[int, int]:
            gone_ns = uptime_ns()
            jack.kill()
            watch.wait_for(watch.lost, "not told to be lost")
            time.sleep(0.2 * (number % 5))  # the tries come each second: not always as soon
            jack.start()
            return gone_ns, uptime_ns()

        try:
            return {"device": "JACK, server killed"} | lose(watch, times, gone)
        finally:
            os.environ.clear()
            os.environ.update(before)


def unplugged(times: int) -> dict[str, Any]:
    """The fake host in its capture process, by a script that all processes share."""
    period_s = GONE_S + 5.3 + SETTLE_S
    faults = tuple(Fault(5 + i * period_s, "unplug", seconds=GONE_S) for i in range(times))
    began_ns = uptime_ns()
    script = Script(blocksize=128, switched_on_ns=began_ns, faults=faults)
    watch = Watch(Microphone(host=ProcessHost(fake=script)))

    def gone(number: int) -> tuple[int, int]:
        gone_ns = began_ns + round(faults[number].at * 1e9)
        return gone_ns, gone_ns + round(GONE_S * 1e9)

    return {"device": f"fake, unplugged for {GONE_S:g} s"} | lose(watch, times, gone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=25)
    args = parser.parse_args()
    rows = [jack_killed(args.times), unplugged(args.times)]
    show("Lost and back, in a row; held at first → after 5 → after all", rows, args.json)


if __name__ == "__main__":
    main()
