"""Monitors, bit for bit, lost and found: `python -m benchmarks.monitors [--seconds 600] [--json]`.

Null sinks of 44.1 and 48 kHz with 1, 2 and 6 channels play an exact counter, another one in each
channel; the monitor of each is captured twice at once, with blocks of 0 (as they come) and 1,024
samples, and by PulseAudio's own `parec`, the control, while other clients join and leave them. Each
sample is compared. Where the counter breaks in all three at the same count, what the server played
was broken; where it breaks in one alone, the server skipped that client, or the client lost it: the
control shows how often a server does so.

Then the default output is changed, the output unloaded and loaded, the server killed and started,
`--times` each: how long from when there is something to hear again to its first sample, and how
many gaps. Needs Linux and the packages of `.ci/setup tests`.
"""

from __future__ import annotations

import argparse
import itertools
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

import rtaudio
from benchmarks.report import from_tests, show

if TYPE_CHECKING:
    from collections.abc import Callable

RATES, CHANNELS, BLOCKSIZES = (44100, 48000), (1, 2, 6), (0, 1024)
CONTROL = "parec"
JOINING_MS = (5, 200, 2000)
SETTLE_S, GONE_S, GIVE_UP_S = 2.0, 2.0, 60.0


class Capture:
    """One capture, and what it heard."""

    def __init__(self, heard: Any, device: str, blocksize: int = 0) -> None:
        self.heard = heard
        self.gaps: list[rtaudio.Gap] = []
        self.said: list[str] = []
        self.microphone = rtaudio.Microphone(device, blocksize=blocksize, tell=self.said.append)
        self.error: rtaudio.SourceError | None = None
        opened = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(opened,))
        self._thread.start()
        opened.wait()
        if self.error is not None:
            raise self.error

    def _run(self, opened: threading.Event) -> None:
        try:
            with self.microphone as microphone:
                opened.set()
                for block in microphone:
                    self.gaps += block.gaps
                    self.heard.take(block.samples)
        except rtaudio.SourceError as error:
            self.error = error
            opened.set()

    def end(self) -> None:
        """End it, and take what has come."""
        self.microphone.stop()
        self._thread.join()


class Control:
    """The same by `parec`, with as much latency."""

    def __init__(self, heard: Any, server: Any, sink: str, sr: int, channels: int, at: str) -> None:
        self.heard = heard
        command = [CONTROL, "-d", f"{sink}.monitor", "--raw", "--format=float32le"]
        command += [f"--rate={sr}", f"--channels={channels}", f"--channel-map={at}"]
        command += ["--latency-msec=10"]
        self._process = subprocess.Popen(command, env=server.env, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._run, args=(4 * channels,))
        self._thread.start()

    def _run(self, width: int) -> None:
        assert self._process.stdout is not None
        while data := self._process.stdout.read(256 * width):
            samples = np.frombuffer(data[: len(data) // width * width], np.float32)
            self.heard.take(samples.reshape(-1, width // 4))

    def end(self) -> None:
        """End it, and take what has come."""
        self._process.terminate()
        self._thread.join()
        self._process.wait()


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
        captures: dict[tuple[str, int | str], Capture | Control] = {
            (sink, size): Capture(tests.Heard(), f"monitor:{sink}", size)
            for sink in sinks
            for size in BLOCKSIZES
        }
        for sink, about in sinks.items():
            captures[sink, CONTROL] = Control(tests.Heard(), server, sink, *about)
        for capture in captures.values():
            stack.callback(capture.end)
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
        for capture in captures.values():  # before the first one leaves, as a client does
            capture.heard.over = True
        for capture in captures.values():
            capture.end()
    for (sink, size), capture in captures.items():
        heard = capture.heard
        stats = capture.microphone.stats if isinstance(capture, Capture) else None
        every = (*BLOCKSIZES, CONTROL)
        alike = set.intersection(*(set(captures[sink, each].heard.breaks) for each in every))
        rows.append(
            {
                "server": type(server).__name__,
                "Hz": sr,
                "channels": sinks[sink][1],
                "captured by": CONTROL if stats is None else "rtaudio",
                "block sizes": size,
                "captures": 1,
                "samples": heard.samples,
                "inexact": heard.inexact,
                "breaks not in all": len(set(heard.breaks) - alike),
                "breaks in all": len(alike),
                "missing in all": sum(missing for _, missing in alike),
                "silent": heard.silent,
                "reported lost": stats.lost + stats.unplaced if stats else 0,
                "latency changes": stats.latency_changes if stats else 0,
                "other clients": joined[0],
            }
        )
    return rows


def summed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each server, rate and program."""
    found = []
    key = operator.itemgetter("server", "Hz", "captured by")
    for _, group in itertools.groupby(rows, key):
        some = list(group)
        total = dict(some[0])
        for name in ("channels", "block sizes"):
            total[name] = ", ".join(map(str, dict.fromkeys(row[name] for row in some)))
        for name in list(total)[list(total).index("captures") : -1]:
            total[name] = sum(row[name] for row in some)
        found.append(total)
    return found


def recover(tests: Any, server: Any, times: int) -> list[dict[str, Any]]:
    """What is heard goes away and comes back, so many times in each way."""
    tests.set_rate(server, 48000)
    tests.load_sink(server, "other")

    def another_default(number: int) -> float:
        began = time.monotonic()
        server.pactl("set-default-sink", ("other", "rt")[number % 2])
        return began

    def unloaded(number: int) -> float:
        tests.unload_sink(server, "rt")
        time.sleep(GONE_S + number / times)  # the tries come each second: not always as soon
        server.load_sink()
        return time.monotonic()

    def killed(number: int) -> float:
        server.kill()
        time.sleep(GONE_S + number / times)
        server.start()
        return time.monotonic()

    rows = []
    ways: dict[str, tuple[str, Callable[[int], float]]] = {
        "another default output": ("monitor:", another_default),
        "output unloaded, loaded": ("monitor:rt", unloaded),
        "server killed, started": ("monitor:", killed),
    }
    for what, (device, lose) in ways.items():
        server.pactl("set-default-sink", "rt")
        capture = Capture(tests.Heard(), device)
        back = []
        for number in range(times):
            time.sleep(SETTLE_S)
            there = lose(number)
            while capture.microphone.stats.restarts == number:
                if time.monotonic() > there + GIVE_UP_S:
                    raise RuntimeError(f"{what}: not back; {capture.said}")
                time.sleep(0.005)
            back.append(time.monotonic() - there)
        time.sleep(SETTLE_S)
        capture.end()
        begins = {gap.first_sample for gap in capture.gaps}
        ends = {gap.first_sample + gap.length for gap in capture.gaps}
        rows.append(
            {
                "server": type(server).__name__,
                "what happens": what,
                "times": times,
                "gaps": len(begins - ends),
                "back after s, median": statistics.median(back),
                "most": max(back),
            }
        )
    return rows


def main() -> None:
    """Run and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--servers", nargs="+", default=["pulse", "pipewire"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    tests, servers = from_tests("monitored"), from_tests("servers")
    kinds = {"pulse": servers.Pulse, "pipewire": servers.PipeWire}
    rows, recovered = [], []
    for name in args.servers:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder, kinds[name](folder) as server:
            os.environ.clear()
            os.environ.update(server.env)
            for sr in RATES if args.seconds else ():
                rows += run(tests, server, sr, args.seconds)
                print(f"{name}, {sr} Hz: done", file=sys.stderr)
            recovered += recover(tests, server, args.times) if args.times else []
    tables = {
        "Monitors, bit for bit": rows if args.json else summed(rows),
        "Monitors, lost and found": recovered,
    }
    for title, table in tables.items():
        if table:
            show(title, table, args.json)


if __name__ == "__main__":
    main()
