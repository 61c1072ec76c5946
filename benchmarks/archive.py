"""What an archive takes: one core and two, a file's overhead, memory, the manifest, a cluster.

    python -m benchmarks.archive ARCHIVE [--short RECORDING] [--json]

ARCHIVE is a folder that `benchmarks.archive_sound` made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import soundfile

import rtaudio
from benchmarks.report import from_tests, show
from rtaudio.archive.dataset import MANIFEST, Dataset
from rtaudio.archive.plan import Plan

COMMAND = [sys.executable, "-m", "rtaudio"]


def run(*words: object) -> tuple[dict[str, Any], float, dict[int, float]]:
    """What `rtaudio archive` says at its end, processor seconds, and each process' most MB."""
    before = os.times()
    call = [*COMMAND, "archive", *map(str, words), "--json", "-q"]
    peaks: dict[int, float] = {}
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        end = {}
        for line in process.stdout:
            end = json.loads(line)
            for pid in (process.pid, *_children(process.pid)):
                peaks[pid] = max(peaks.get(pid, 0.0), _peak_mb(pid))
    after = os.times()
    spent = after.children_user + after.children_system
    return end, spent - before.children_user - before.children_system, peaks


def _children(pid: int) -> list[int]:
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _peak_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith("VmHWM")), 0.0)


def cores(archive: Path, folder: Path) -> list[dict[str, Any]]:
    """The same hours by one process and by two, and each file by `analyze`, in turn."""
    some = sorted(archive.glob("site_*.wav"))[:6] + sorted(archive.glob("quarter_*.flac"))[:24]
    names = folder / "some.txt"
    names.write_text("\n".join(map(str, some)))
    hours = sum(soundfile.info(path).duration for path in some) / 3600
    taken: dict[str, list[float]] = {"analyze": [], "one": [], "two": []}
    for turn in range(2):
        begun = time.perf_counter()
        subprocess.run(
            [*COMMAND, "analyze", "-q", *some, "-o", folder / f"analyze{turn}", "--as", "parquet"],
            check=True,
        )
        taken["analyze"].append(time.perf_counter() - begun)
        for name, jobs in (("one", 1), ("two", 2)):
            end, _, _ = run(names, "-o", folder / f"{name}{turn}", "-j", jobs)
            taken[name].append(end["took_s"])
    best = {name: min(times) for name, times in taken.items()}
    return [
        {
            "command": {
                "analyze": "analyze -o FOLDER --as parquet",
                "one": "archive -j 1",
                "two": "archive -j 2",
            }[name],
            "hours": hours,
            "s": seconds,
            "× real time": hours * 3600 / seconds,
            "ratio": best["one"] / seconds,
        }
        for name, seconds in best.items()
    ]


def whole(archive: Path, folder: Path) -> list[dict[str, Any]]:
    """All of the archive, and its longest recording alone, by two processes."""
    rows: list[dict[str, Any]] = []
    for what, place in (("all of it", archive), ("a day in one WAV", archive / "day.wav")):
        out = folder / f"whole{len(rows)}"
        end, spent, peaks = run(place, "-o", out, "-j", 2)
        size = sum(path.stat().st_size for path in out.glob("*.parquet"))
        rows.append(
            {
                "archive": what,
                "recordings": end["done"],
                "hours": end["hours"],
                "s": end["took_s"],
                "× real time": end["x_real_time"],
                "hours per core-hour": end["hours"] / (spent / 3600),
                "MB a process": max(peaks.values()),
                "MB out an hour": size / 1e6 / end["hours"],
            }
        )
    return rows


def overhead(short: Path, folder: Path, count: int) -> list[dict[str, Any]]:
    """Many recordings of one second: each by `rtaudio.analyze`, and as an archive."""
    y, sr = soundfile.read(short, dtype="float32", always_2d=True)
    many = folder / "many"
    many.mkdir()
    for number in range(count):
        first = (number * 977) % max(1, len(y) - sr)
        soundfile.write(many / f"{number:05}.wav", y[first : first + sr], sr)
    files = sorted(many.iterdir())
    rtaudio.analyze(files[0])
    begun = time.perf_counter()
    for path in files:
        rtaudio.analyze(path)
    analyzed = time.perf_counter() - begun
    rows = []
    for jobs in (1, 2):
        end, _, _ = run(many, "-o", folder / f"many{jobs}", "-j", jobs)
        rows.append(
            {
                "processes": jobs,
                "recordings": count,
                "s": end["took_s"],
                "ms a recording": 1e3 * end["took_s"] * jobs / count,
                "rtaudio.analyze, ms": 1e3 * analyzed / count,
                "beyond it, ms": 1e3 * (end["took_s"] * jobs - analyzed) / count,
            }
        )
    return rows


def manifest(folder: Path) -> list[dict[str, Any]]:
    """How long a dataset of so many parts takes to be opened; the parts are empty files."""
    rows = []
    for count in (1_000, 10_000, 100_000):
        plan = Plan(folder / f"parts{count}", rtaudio.Settings(), ("rms",))
        plan.folder.mkdir()
        dataset = Dataset(plan)
        with (plan.folder / MANIFEST).open("w") as file:
            for number in range(count):
                part = f"{number:06}.wav-{number:016x}-00000.parquet"
                (plan.folder / part).touch()
                line = {"path": f"/archive/2026/05/11/{number:06}.wav", "piece": 0}
                line |= {"identity": f"size={number} time={number}", "pieces": 1}
                line |= {"parts": {part: 0}, "s": 3600.0, "notes": []}
                file.write(json.dumps(line) + "\n")
        dataset.close()
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            dataset = Dataset(plan)
            times.append(time.perf_counter() - begun)
            assert len(dataset.entries) == count
            dataset.close()
        rows.append({"parts": count, "s": min(times), "µs a part": 1e6 * min(times) / count})
    return rows


def cluster(folder: Path) -> list[dict[str, Any]]:
    """Tasks a second that a scheduler shares out: doing nothing, and recordings of one second."""
    from distributed import Client

    cluster = from_tests("archives").Cluster(folder, 8798)
    rows = []
    with cluster:
        cluster.wait_for_workers()
        make: Any = Client
        with make(cluster.address, set_as_default=False) as client:
            begun = time.perf_counter()
            futures = [client.submit(abs, number, pure=False) for number in range(3000)]
            client.gather(futures)
            took = time.perf_counter() - begun
            rows.append({"tasks": "nothing at all", "n": 3000, "tasks/s": 3000 / took})
        end, _, _ = run(folder / "many", "-o", folder / "clustered", "--cluster", cluster.address)
        name = "recordings of one second, two workers"
        rows.append({"tasks": name, "n": end["done"], "tasks/s": end["done"] / end["took_s"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--short", type=Path, help="what recordings of one second are cut from")
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    short = args.short or next(args.archive.glob("quarter_*.flac"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        show("One process and two", cores(args.archive, folder), args.json)
        show("A whole archive, two processes", whole(args.archive, folder), args.json)
        show("Recordings of one second", overhead(short, folder, args.many), args.json)
        show("Opening a dataset", manifest(folder), args.json)
        show("A Dask scheduler", cluster(folder), args.json)


if __name__ == "__main__":
    main()
