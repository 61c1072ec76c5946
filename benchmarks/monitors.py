"""Whether monitors are heard bit for bit: `python -m benchmarks.monitors [--seconds 600] [--json]`.

Null sinks of 44.1 and 48 kHz with 1, 2 and 6 channels play an exact counter, another one in each
channel; the monitor of each is captured twice at once, with blocks of 0 (as they come) and 1,024
samples, while other clients join and leave them. Each sample is compared. Where the counter breaks
in both captures at the same count, what the server played was broken. Needs Linux and the packages
of `.ci/setup tests`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Any

import rtaudio
from benchmarks.report import from_tests, show

RATES, CHANNELS, BLOCKSIZES = (44100, 48000), (1, 2, 6), (0, 1024)
JOINING_MS = (5, 200, 2000)


class Capture:
    """One capture, and what it heard."""

    def __init__(self, heard: Any, sink: str, blocksize: int) -> None:
        self.heard = heard
        self.said: list[str] = []
        self.microphone = rtaudio.Microphone(
            f"monitor:{sink}", blocksize=blocksize, tell=self.said.append
        )
        self.opened = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self.microphone as microphone:
            self.opened.set()
            for block in microphone:
                self.heard.take(block.samples)

    def end(self) -> None:
        self.microphone.stop()
        self._thread.join()


def join_and_leave(server: Any, sinks: list[str], ended: threading.Event) -> int:
    """Other clients hear the sinks, with more latency or less; returns how many did."""
    joined = 0
    for sink, latency_ms in itertools.cycle(itertools.product(sinks, JOINING_MS)):
        if ended.wait(0.5):
            break
        with server.listen(latency_ms, f"{sink}.monitor"):
            ended.wait(1.5)
        joined += 1
    return joined


def run(tests: Any, server: Any, sr: int, seconds: float) -> list[dict[str, Any]]:
    """All captures of one rate, at once."""
    rows, ended, joined = [], threading.Event(), []
    with ExitStack() as stack:
        sinks = {}
        tests.set_rate(server, sr)
        for channels in CHANNELS:
            name = f"sink{sr}x{channels}"
            tests.load_sink(server, name, sr, channels)
            sinks[name] = (sr, channels, tests.channel_map(server, name))
        captures = {
            (sink, size): Capture(tests.Heard(), sink, size)
            for sink in sinks
            for size in BLOCKSIZES
        }
        for capture in captures.values():
            stack.callback(capture.end)
            if not capture.opened.wait(30):
                raise RuntimeError("a monitor can't be opened")
        for sink, about in sinks.items():
            stack.enter_context(tests.playing(server, sink, *about))
        for capture in captures.values():
            if not capture.heard.begun.wait(30):
                raise RuntimeError("the counter is not heard")
        join = threading.Thread(
            target=lambda: joined.append(join_and_leave(server, list(sinks), ended))
        )
        join.start()
        time.sleep(seconds)
        ended.set()
        join.join()
        for capture in captures.values():
            capture.end()
    for (sink, size), capture in captures.items():
        stats, heard = capture.microphone.stats, capture.heard
        both = set.intersection(*(set(captures[sink, each].heard.breaks) for each in BLOCKSIZES))
        rows.append(
            {
                "server": type(server).__name__,
                "Hz": sr,
                "channels": sinks[sink][1],
                "block sizes": size,
                "captures": 1,
                "samples": heard.samples,
                "inexact": heard.inexact,
                "breaks in one": len(set(heard.breaks) - both),
                "breaks in both": len(both),
                "missing in both": sum(missing for _, missing in both),
                "silent": heard.silent,
                "reported lost": stats.lost + stats.unplaced,
                "latency changes": stats.latency_changes,
                "other clients": joined[0],
            }
        )
    return rows


def summed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each server and rate."""
    found = []
    for _, group in itertools.groupby(rows, lambda row: (row["server"], row["Hz"])):
        some = list(group)
        total = dict(some[0])
        for name in ("channels", "block sizes"):
            total[name] = ", ".join(map(str, dict.fromkeys(row[name] for row in some)))
        for name in list(total)[list(total).index("captures") : -1]:
            total[name] = sum(row[name] for row in some)
        found.append(total)
    return found


def main() -> None:
    """Run and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--servers", nargs="+", default=["pulse", "pipewire"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tests, servers = from_tests("monitored"), from_tests("servers")
    kinds = {"pulse": servers.Pulse, "pipewire": servers.PipeWire}
    rows = []
    for name in args.servers:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder, kinds[name](folder) as server:
            os.environ.clear()
            os.environ.update(server.env)
            for sr in RATES:
                rows += run(tests, server, sr, args.seconds)
                print(f"{name}, {sr} Hz: done", file=sys.stderr)
    show("Monitors, bit for bit", rows if args.json else summed(rows), args.json)


if __name__ == "__main__":
    main()
