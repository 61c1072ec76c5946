"""An archive to measure with: hours of sound cut, mixed and changed in speed from recordings.

    python -m benchmarks.archive_sound RECORDINGS FOLDER [--hours 100]

Of 100 hours, 48 are WAV of an hour each at 48 kHz, named by the clock; 24 are one WAV at 22.05 kHz;
24 are FLAC of 15 minutes each at 22.05 kHz; 4 are Ogg of half an hour.
"""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

PALETTE_S = 600
FIRST = datetime(2026, 5, 11)


def palette(recordings: list[Path], sr: int, random: np.random.Generator) -> Floats:
    """Ten minutes: pieces of the recordings, each at a speed and a level of its own."""
    out = 1e-3 * random.standard_normal(PALETTE_S * sr, np.float32)
    at = 0
    while at < len(out):
        path = recordings[int(random.integers(len(recordings)))]
        y, rate = soundfile.read(path, dtype="float32", always_2d=True)
        y = y.mean(axis=1)
        start = int(random.integers(max(1, len(y) // 2)))
        y = y[start : start + 8 * rate]
        speed = 2 ** random.uniform(-0.7, 0.7) * rate / sr
        places = np.arange(0, len(y) - 1, speed)
        some = np.interp(places, np.arange(len(y)), y)[: len(out) - at]
        out[at : at + len(some)] += random.uniform(0.1, 0.5) * some.astype(np.float32)
        at += max(1, len(some)) + int(random.exponential(0.5) * sr)
    return out


def write(
    path: Path,
    seconds: float,
    sr: int,
    sounds: Floats,
    random: np.random.Generator,
    loudness: Callable[[float], float] = lambda s: 1.0,
) -> None:
    """A recording of so long: two places of the palette at once, each minute others."""
    with soundfile.SoundFile(path, "w", sr, 1) as file:
        done = 0.0
        while done < seconds:
            count = round(min(60.0, seconds - done) * sr)
            first, second = random.integers(len(sounds) - count, size=2)
            gain = loudness(done)
            mixed = sounds[first : first + count] + 0.5 * sounds[second : second + count]
            file.write(np.clip(gain * mixed, -1, 1))
            done += 60


def by_day(hour: int, s: float) -> float:
    """Loud in the morning and the evening, quiet at night."""
    near = (abs((hour + s / 3600 - peak + 12) % 24 - 12) for peak in (5.5, 20))
    return 0.03 + sum(0.8 * float(np.exp(-(distance**2) / 3)) for distance in near)


def make(recordings: Path, folder: Path, hours: float = 100) -> None:
    """Make the archive."""
    found = sorted(recordings.rglob("*.wav"))
    random = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    fine, coarse = (palette(found, sr, random) for sr in (48000, 22050))
    for hour in range(round(0.48 * hours)):
        begin = FIRST + timedelta(hours=hour)
        path = folder / f"site_{begin:%Y%m%d_%H%M%S}.wav"
        write(path, 3600, 48000, fine, random, partial(by_day, hour))
    write(folder / "day.wav", 864 * hours, 22050, coarse, random)
    for quarter in range(round(0.96 * hours)):
        write(folder / f"quarter_{quarter:03}.flac", 900, 22050, coarse, random)
    for half in range(round(0.08 * hours)):
        write(folder / f"half_{half:03}.ogg", 1800, 22050, coarse, random)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=float, default=100)
    args = parser.parse_args()
    make(args.recordings, args.folder, args.hours)


if __name__ == "__main__":
    main()
