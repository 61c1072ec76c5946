"""Tables and the machine they were measured on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = (
    *("rtaudio", "numpy", "scipy", "numba", "rocket-fft", "soxr", "soundfile", "librosa"),
    *("kaldi-native-fbank", "essentia", "torch"),
)


def machine() -> dict[str, Any]:
    """What it ran on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    versions = {"python": platform.python_version()}
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
