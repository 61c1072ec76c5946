"""What a busy Python process loses: `python -m benchmarks.capture_loss [--json] [--seconds 60]`.

JACK's dummy driver in real time, which waits for nobody, at periods of 64 to 512 samples; a player
of an exact counter is what is heard, so that each lost sample is seen. Beside one spinning Python
thread, with the GIL held for 2 s twice, rtaudio, a Python callback in the busy process itself and
rtmixer (whose callback is C) listen in turn, each in a process of its own. Needs Linux, jackd2 and
the extras `bench` and `test`.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import rtaudio
from benchmarks.report import from_tests, show, spinning

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEVICE = "system, JACK Audio Connection Kit"
SR, PERIODS = 48000, (64, 128, 256, 512)
HOLD_S = 2.0
COUNTS = 1 << 24


def hold_gil() -> None:
    """One call of C that keeps the GIL."""
    ctypes.PyDLL(None).usleep(round(HOLD_S * 1e6))


def be_busy(seconds: float) -> None:
    """Hold the GIL at one third and at two thirds of the time."""
    for _ in range(2):
        time.sleep(seconds / 3 - HOLD_S / 2)
        hold_gil()
    time.sleep(seconds / 3 - HOLD_S)


def count_losses(samples: NDArray[np.float32]) -> dict[str, int]:
    """What is missing from the counter, and what came twice (where the player was late)."""
    heard = samples[np.argmax(samples != 0) :]  # silent until the player is connected
    if not heard.any():
        raise RuntimeError("the counter was never heard")
    counts = np.rint(heard.astype(np.float64) * (COUNTS // 2)).astype(np.int64)
    jumps = (np.diff(counts) - 1 + COUNTS // 2) % COUNTS - COUNTS // 2
    return {
        "heard": len(heard),
        "lost": int(jumps[jumps > 0].sum()),
        "again": -int(jumps[jumps < 0].sum()),
    }


def by_rtaudio(seconds: float, period: int) -> dict[str, Any]:
    """What the counter tells, and what rtaudio tells."""
    blocks: list[NDArray[np.float32]] = []
    holds = [seconds / 3, 2 * seconds / 3]

    def hog(frames: rtaudio.Frames) -> None:
        if holds and frames.time[-1] > holds[0]:
            holds.pop(0)
            hold_gil()

    mic = rtaudio.Microphone(DEVICE, channels=1, blocksize=period)
    said: list[str] = []
    run = rtaudio.live(mic, consumers=[hog], duration_s=seconds, tell=said.append)
    run.attach_blocks("counting", lambda block: blocks.append(block.samples[:, 0]))
    with run, spinning():
        run.wait()
    stats = run.stats
    if stats.skipped or holds or stats.delivered != stats.processed + stats.dropped:
        raise RuntimeError(f"this is no run to count in: {stats}, {len(holds)} holds left")
    told = {"dropped": stats.dropped, "told": stats.host, "outage": stats.outage, "said": said}
    return count_losses(np.concatenate(blocks)) | told


def by_rtmixer(seconds: float, period: int) -> dict[str, Any]:
    """What the counter tells of a C callback that writes into a ring which holds it all."""
    rtmixer = importlib.import_module("rtmixer")
    ring = rtmixer.RingBuffer(4, 1 << int(np.ceil(np.log2((seconds + 20) * SR))))
    recorder = rtmixer.Recorder(device=DEVICE, channels=1, blocksize=period, samplerate=SR)
    with recorder, spinning():
        recorder.record_ringbuffer(ring)
        be_busy(seconds)
        heard = np.frombuffer(ring.read(), np.float32).copy()
    return count_losses(heard)


def by_sounddevice(seconds: float, period: int) -> dict[str, Any]:
    """What the counter tells of a Python callback in the busy process itself."""
    sounddevice = importlib.import_module("sounddevice")
    blocks: list[NDArray[np.float32]] = []
    stream = sounddevice.InputStream(
        device=DEVICE,
        channels=1,
        blocksize=period,
        samplerate=SR,
        callback=lambda samples, *about: blocks.append(samples[:, 0].copy()),
    )
    with stream, spinning():
        be_busy(seconds)
    return count_losses(np.concatenate(blocks))


CONTENDERS = {
    "rtaudio": by_rtaudio,
    "rtmixer": by_rtmixer,
    "sounddevice, callback in the busy process": by_sounddevice,
}


def in_a_process(name: str, period: int, jack: Any, player: str, seconds: float) -> dict[str, Any]:
    """One run, connected to the counter."""
    command = [sys.executable, "-m", "benchmarks.capture_loss", "--one", name]
    command += ["--seconds", str(seconds), "--periods", str(period)]
    with subprocess.Popen(command, env=jack.env, stdout=subprocess.PIPE) as process:
        try:
            jack.play_into(player, jack.input_port(30))
            out, _ = process.communicate(timeout=seconds + 60)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"{name} failed: see above")
    from_tests("servers").wait_for(lambda: not jack.listeners(), "silence")
    return dict(json.loads(out.splitlines()[-1]))


def row(period: int, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    percents = [100 * run["lost"] / (run["lost"] + run["heard"]) for run in found]
    figures = {
        "period": period,
        "contender": name,
        "runs": len(found),
        "lost %, median": statistics.median(percents),
        "least": min(percents),
        "most": max(percents),
        "samples heard": sum(run["heard"] for run in found),
        "lost": sum(run["lost"] for run in found),
        "heard twice": sum(run["again"] for run in found),
    }
    if name == "rtaudio":
        figures |= {
            "told as the host's": sum(run["told"] for run in found),
            "dropped by us": sum(run["dropped"] for run in found),
            "outage": sum(run["outage"] for run in found),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=1, help="of each, in turn")
    parser.add_argument("--periods", type=int, nargs="+", default=list(PERIODS))
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(CONTENDERS[args.one](args.seconds, args.periods[0])), flush=True)
        os._exit(0)
    servers = from_tests("servers")
    rows = []
    for period in args.periods:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
        with (
            tempfile.TemporaryDirectory() as folder,
            servers.Jack(folder, period, SR, sync=False) as jack,
            servers.jack_counter(jack) as player,
        ):
            for _ in range(args.runs):
                for name, found in runs.items():
                    found.append(in_a_process(name, period, jack, player, args.seconds))
        rows += [row(period, name, found) for name, found in runs.items()]
    title = f"{args.seconds:g} s of JACK, a spinning thread, the GIL held twice"
    show(title, rows, args.json)


if __name__ == "__main__":
    main()
