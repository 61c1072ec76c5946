"""Callback → frame, live: `python -m benchmarks.live_latency [--json] [--seconds 20]`.

`rtaudio latency` on the fake host and on JACK's dummy driver, a hop of one block: alone, beside a
spinning Python thread, beside the window (Xvfb, drawn by the processor), beside both. Then the
chain that everybody writes first, under the same loads: a sounddevice callback in the same process,
a `queue.Queue`, and numpy or librosa for each hop in a thread, at Python's own switch interval. Its
window is ours, on rows that a live run of its own computes. Each in a process of its own.
Needs Linux, jackd2 and xvfb.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import from_tests, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SR, N_FFT = 48000, 2048
BLOCKS = (64, 128, 256, 512)
RIVAL_BLOCK = 128
LOADS = {"nothing": "none", "a GIL hog": "gil", "the window": "render", "both": "gil,render"}
DEVICE = "system, JACK Audio Connection Kit"
WARM_S = 1.0


def by_rtaudio(host: str, block: int, load: str, seconds: float, env: dict[str, str]) -> Any:
    """What `rtaudio latency` tells."""
    source = ["fake:"] if host == "fake" else ["--device", DEVICE]
    sizes = ["--blocksize", str(block), "--hop-length", str(block), "--channel", "1"]
    command = [sys.executable, "-m", "rtaudio", "latency", *source, *sizes, "--load", load]
    done = subprocess.run(
        [*command, "--duration", str(seconds), "--json"],
        env=env, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    stage = told["stages"]["callback_to_frame"]
    return {
        "n": stage["n"],
        **{f"{name} ms": stage[f"{key}_ms"] for name, key in NAMES.items()},
        "held back": told["held"],
        "lost": told["lost"],
        "frames/s": told.get("drawn_per_s", ""),
    }


NAMES = {"p50": "p50", "p95": "p95", "p99": "p99", "p99.9": "p999", "max": "max"}


# --- the chain that everybody writes first ----------------------------------------------------


def numpy_hop() -> Callable[[NDArray[np.float32]], Any]:
    """MFCCs and dB of a frame, with what numpy has."""
    import librosa

    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    mel = librosa.filters.mel(sr=SR, n_fft=N_FFT)
    basis = np.cos(np.pi / 128 * (np.arange(128) + 0.5) * np.arange(13)[:, np.newaxis])

    def hop(frame: NDArray[np.float32]) -> Any:
        power = np.abs(np.fft.rfft(window * frame)) ** 2
        db = 10 * np.log10(np.maximum(power, 1e-10))
        return db, basis @ (10 * np.log10(np.maximum(mel @ power, 1e-10)))

    return hop


def librosa_hop() -> Callable[[NDArray[np.float32]], Any]:
    """The same by librosa's public calls."""
    import librosa

    def hop(frame: NDArray[np.float32]) -> Any:
        power = np.abs(librosa.stft(frame, n_fft=N_FFT, center=False)) ** 2
        mel = librosa.feature.melspectrogram(S=power, sr=SR)
        return librosa.power_to_db(power), librosa.feature.mfcc(S=librosa.power_to_db(mel))

    return hop


RIVALS = {"numpy": numpy_hop, "librosa": librosa_hop}


def by_rival(name: str, load: str, seconds: float) -> dict[str, Any]:
    """The plain chain in this process, on JACK."""
    import sounddevice

    import rtaudio
    from rtaudio.latency import Drawing, busy

    blocks: queue.Queue[tuple[float, NDArray[np.float32]] | None] = queue.Queue()
    delays: list[float] = []
    hop = RIVALS[name]()
    hop(np.zeros(N_FFT, np.float32))

    def callback(indata: Any, frames: int, times: Any, status: Any) -> None:  # noqa: ARG001
        blocks.put((time.perf_counter(), indata[:, 0].copy()))

    def work() -> None:
        frame = np.zeros(N_FFT, np.float32)
        while (item := blocks.get()) is not None:
            called, samples = item
            frame = np.concatenate([frame[len(samples) :], samples])
            hop(frame)
            delays.append(time.perf_counter() - called)

    worker = threading.Thread(target=work)
    worker.start()
    loads = load.split(",")
    drawing = Drawing() if "render" in loads else None
    stream = sounddevice.InputStream(
        device=DEVICE, channels=1, blocksize=RIVAL_BLOCK, samplerate=SR, callback=callback
    )
    with busy(loads), stream:
        if drawing is not None:  # the window on noise, which is analyzed beside it
            signal = rtaudio.SignalSource("noise", SR, realtime=True, blocksize=RIVAL_BLOCK)
            run = rtaudio.live(signal, duration_s=seconds, hop_length=RIVAL_BLOCK).open()
            drawing.begin(run)
            run.start()
            sys.setswitchinterval(0.005)  # Python's own: ours is no part of the window
            drawing.draw(run)
        else:
            time.sleep(seconds)
    blocks.put(None)
    worker.join()
    kept = 1e3 * np.array(delays[int(WARM_S * SR / RIVAL_BLOCK) :])
    return {
        "n": len(kept),
        **dict(zip(("p50 ms", "p95 ms", "p99 ms", "p99.9 ms"),
                   np.percentile(kept, (50, 95, 99, 99.9)).tolist(), strict=True)),
        "max ms": float(kept.max()),
        "frames/s": drawing.frames_per_s if drawing is not None else "",
    }  # fmt: skip


def rival_process(name: str, load: str, seconds: float, env: dict[str, str]) -> Any:
    command = [sys.executable, "-m", "benchmarks.live_latency", "--rival", name, "--load", load]
    done = subprocess.run(
        [*command, "--seconds", str(seconds)],
        env=env, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


# --- the table --------------------------------------------------------------------------------


def measured(seconds: float, blocks: list[int], sync: bool) -> list[dict[str, Any]]:
    servers = from_tests("servers")
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        screen = stack.enter_context(servers.Screen(folder))
        display = {"DISPLAY": screen.env["DISPLAY"], "LIBGL_ALWAYS_SOFTWARE": "1"}
        for block in blocks:
            with servers.Jack(folder, block, SR, sync=sync) as jack:
                for host in ("fake", "JACK"):
                    env = {**(os.environ if host == "fake" else jack.env), **display}
                    for beside, load in LOADS.items():
                        about = {"chain": f"rtaudio, {host}", "block": block, "beside": beside}
                        rows.append(about | by_rtaudio(host, block, load, seconds, env))
                if block != RIVAL_BLOCK:
                    continue
                for name in RIVALS:
                    for beside, load in LOADS.items():
                        row = rival_process(name, load, seconds, {**jack.env, **display})
                        about = {"chain": f"queue, {name}; JACK", "block": block, "beside": beside}
                        rows.append(about | row)
    ours = {row["beside"]: row["p99 ms"] for row in rows
            if row["chain"] == "rtaudio, JACK" and row["block"] == RIVAL_BLOCK}  # fmt: skip
    for row in rows:
        if row["block"] == RIVAL_BLOCK and row["chain"].endswith("JACK"):
            row["p99 / rtaudio's"] = row["p99 ms"] / ours[row["beside"]]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row of the table")
    parser.add_argument("--blocks", type=int, nargs="+", default=list(BLOCKS))
    parser.add_argument("--no-sync", action="store_true", help="a jackd that waits for nobody")
    parser.add_argument("--rival", choices=RIVALS, help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rival:
        print(json.dumps(by_rival(args.rival, args.load, args.seconds)), flush=True)
        os._exit(0)
    rows = measured(args.seconds, args.blocks, not args.no_sync)
    show("Callback → frame, 48 kHz, n_fft 2048, a hop of one block", rows, args.json)


if __name__ == "__main__":
    main()
