"""Tables and the machine they were measured on."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rtaudio

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    *("numpy", "scipy", "numba", "rocket-fft", "soxr", "soundfile", "librosa"),
    *("sounddevice", "kaldi-native-fbank", "essentia", "torch", "rtmixer"),
    *("vispy", "glfw", "scikit-learn", "skl2onnx", "onnxruntime", "pyarrow", "distributed"),
)


def machine() -> dict[str, Any]:
    """What it ran on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    versions = {"python": platform.python_version(), "rtaudio": rtaudio.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "versions": versions,
    }


def from_tests(name: str) -> Any:
    """A module of the folder tests/, which is no package: the sound servers, the fault scripts."""
    folder = str(Path(__file__).parents[1] / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


@contextmanager
def spinning(on: bool = True) -> Iterator[None]:
    """Beside one thread of pure Python that never waits."""
    over = not on

    def spin() -> None:
        count = 0
        while not over:
            count += 1

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        over = True
        thread.join()


def rss_mb() -> float:
    """What this process has in memory, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def show(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows as a Markdown table, or as one JSON object."""
    if as_json:
        print(json.dumps({"title": title, "machine": machine(), "rows": rows}))
        return
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    print(f"\n### {title}\n\n{about['cores']} cores of {about['cpu']}; {versions}\n")
    names = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(names) + " |")
    print("|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(names))) + "|")
    for row in rows:
        print("| " + " | ".join(_cell(row.get(name, "")) for name in names) + " |")


def _cell(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )
