"""A whole recording: `python -m benchmarks.file_throughput [--json] [--quick]`.

Speed in multiples of real time, MFCC and dB of samples in memory, each contender in turn, on one
core; two cores beside one; then the command on files: speed, and peak memory for 10 and 60
minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
import scipy.fft
import soundfile

from benchmarks.contenders import DCT, HANN, HOP, MEL, N_FFT, N_MFCC, SETTINGS, SR
from benchmarks.report import show
from rtaudio import Analyzer
from rtaudio.sources.signal import signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Whole = Callable[[Floats], Any]

BLOCK = 64


def by_rtaudio(y: Floats) -> int:
    """Through the public calls, a block of 16,384 samples at a time; rows are read, not kept."""
    analyzer = Analyzer(SETTINGS, release_gil=True)
    rows = 0
    for start in range(0, len(y), 16384):
        for frames in analyzer.feed(y[start : start + 16384]):
            rows += len(frames.mfcc) and len(frames.db)
    for frames in analyzer.flush():
        rows += len(frames.mfcc) and len(frames.db)
    return rows


def by_scipy_blocks(y: Floats) -> int:
    """Blocks of 64 frames with scipy's FFT in float32 and arrays made once where it can."""
    padded = np.pad(y, N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    windowed = np.empty((BLOCK, N_FFT), np.float32)
    power, square, db = (np.empty((BLOCK, N_FFT // 2 + 1), np.float32) for _ in range(3))
    rows = 0
    for start in range(0, len(frames), BLOCK):
        block = frames[start : start + BLOCK]
        n = len(block)
        np.multiply(block, HANN, out=windowed[:n])
        spectrum = scipy.fft.rfft(windowed[:n], axis=1, overwrite_x=True)
        np.square(spectrum.real, out=power[:n])
        np.square(spectrum.imag, out=square[:n])
        np.add(power[:n], square[:n], out=power[:n])
        mel = power[:n] @ MEL.T
        for values, out in ((power[:n], db[:n]), (mel, mel)):
            np.maximum(values, 1e-10, out=out)
            np.log10(out, out=out)
            np.multiply(out, 10, out=out)
        rows += len(mel @ DCT.T)
    return rows


def by_librosa(y: Floats) -> int:
    """As users write it: MFCC of the samples, and the dB spectrogram beside it."""
    mfcc = librosa.feature.mfcc(y=y, sr=SR, n_mfcc=N_MFCC, n_fft=N_FFT, hop_length=HOP)
    db = librosa.amplitude_to_db(np.abs(librosa.stft(y, n_fft=N_FFT, hop_length=HOP)))
    return int(min(mfcc.shape[1], db.shape[1]))


def by_essentia(y: Floats) -> int:
    """Essentia's standard algorithms, frame by frame, as its tutorial has it."""
    from essentia import standard

    window = standard.Windowing(type="hann", normalized=False, zeroPhase=False)
    spectrum = standard.Spectrum(size=N_FFT)
    mfcc = standard.MFCC(
        inputSize=N_FFT // 2 + 1, sampleRate=SR, numberBands=128, numberCoefficients=N_MFCC,
        highFrequencyBound=SR / 2, logType="dbpow",
    )  # fmt: skip
    rows = 0
    for frame in standard.FrameGenerator(y, frameSize=N_FFT, hopSize=HOP):
        magnitude = spectrum(window(frame))
        mfcc(magnitude)
        20 * np.log10(np.maximum(magnitude, 1e-5))
        rows += 1
    return rows


def by_torch(y: Floats) -> int:
    """torch.stft over the whole, one thread."""
    import torch

    torch.set_num_threads(1)
    mel, dct, window = (torch.from_numpy(table) for table in (MEL, DCT, HANN))
    with torch.inference_mode():
        spectrum = torch.stft(
            torch.from_numpy(y), N_FFT, HOP, window=window, return_complex=True,
            pad_mode="constant",
        )  # fmt: skip
        power = spectrum.abs().square()
        mel_db = 10 * torch.log10(torch.clamp(mel @ power, min=1e-10))
        db = 10 * torch.log10(torch.clamp(power, min=1e-10))
        return int(min((dct @ mel_db).shape[1], db.shape[1]))


CONTROL = "blocks of 64 frames, scipy (control)"


def contenders() -> dict[str, Whole]:
    """Every contender that can run here; the control first."""
    found: dict[str, Whole] = {
        CONTROL: by_scipy_blocks,
        "rtaudio": by_rtaudio,
        "librosa, as users write it": by_librosa,
    }
    for module, name, whole in (
        ("essentia", "essentia", by_essentia),
        ("torch", "torch", by_torch),
    ):
        if importlib.util.find_spec(module) is not None:
            found[name] = whole
    return found


def one_core(y: Floats, rounds: int) -> list[dict[str, Any]]:
    """Multiples of real time, medians over rounds in turn."""
    found = contenders()
    speeds: dict[str, list[float]] = {name: [] for name in found}
    for round_ in range(rounds + 1):
        for name, whole in found.items():
            begun = time.perf_counter()
            rows = whole(y)
            took = time.perf_counter() - begun
            if abs(rows - len(y) / HOP) > 5:
                raise RuntimeError(f"{name} made {rows} rows")
            if round_ > 0:
                speeds[name].append(len(y) / SR / took)
    ratios = {
        name: statistics.median(a / b for a, b in zip(values, speeds[CONTROL], strict=True))
        for name, values in speeds.items()
    }
    return [
        {
            "contender": name,
            "ratio of speeds": ratios[name],
            "× real time": statistics.median(values),
        }
        for name, values in speeds.items()
    ]


def two_cores(y: Floats, rounds: int) -> list[dict[str, Any]]:
    """Two recordings in two threads beside the same two one after the other."""
    ratios = []
    for _ in range(rounds):
        begun = time.perf_counter()
        by_rtaudio(y)
        by_rtaudio(y)
        alone = time.perf_counter() - begun
        threads = [threading.Thread(target=by_rtaudio, args=(y,)) for _ in range(2)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ratios.append(alone / (time.perf_counter() - begun))
    return [{"two threads beside one": "rtaudio", "ratio of speeds": statistics.median(ratios)}]


def write(path: Path, minutes: int) -> None:
    """Write a recording of the built-in signal, 16 bit."""
    loop = signal("demo", SR)
    with soundfile.SoundFile(path, "w", SR, 1) as file:
        for _ in range(minutes * 6):
            file.write(loop)


def command(*argv: str) -> tuple[float, float]:
    """Run the command: seconds, and peak memory in MB of the largest process."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-m", "rtaudio", *argv],
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - begun, float(done.stdout.split()[-1])


def on_files(
    folder: Path, rounds: int, recordings: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Memory for 10 and 60 minutes, and several recordings by one process and by two."""
    short, long = folder / "10min.wav", folder / "60min.wav"
    write(short, 10)
    write(long, 60)
    memory = []
    for out, *more in (
        ("out.csv",),
        ("out.parquet",),
        ("out.npz",),
        ("out.parquet", "--features", "mfcc,db"),
    ):
        (took_10, mb_10), (took_60, mb_60) = (
            command("analyze", str(path), "-q", "-o", str(folder / out), *more)
            for path in (short, long)
        )
        memory.append(
            {
                "analyze FILE": " ".join(("-o", out, *more)),
                "MB, 10 min": mb_10,
                "MB, 60 min": mb_60,
                "growth MB": mb_60 - mb_10,
                "× real time": 3000 / (took_60 - took_10),
            }
        )
    copies = []
    for number in range(recordings):
        copies.append(folder / f"copy{number}.wav")
        copies[-1].hardlink_to(long)
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    for _ in range(rounds):
        for jobs, values in seconds.items():
            out = str(folder / f"out{jobs}")
            values.append(command("analyze", *map(str, copies), "-q", "-j", jobs, "-o", out)[0])
    ratio = statistics.median(a / b for a, b in zip(seconds["1"], seconds["2"], strict=True))
    return memory, [
        {f"analyze {recordings} × 60 min, CSV": "--jobs 2 beside 1", "ratio of speeds": ratio}
    ]


def start() -> list[dict[str, Any]]:
    """Seconds of `rtaudio --help` beside a Python that does nothing."""
    calls = {"rtaudio --help": ("-m", "rtaudio", "--help"), "python -c pass": ("-c", "pass")}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(20):
        for name, call in calls.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, *call], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - begun)
    return [{"start": name, "s": statistics.median(values)} for name, values in seconds.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    args = parser.parse_args()
    rounds = 3 if args.quick else 9
    y = np.tile(signal("demo", SR), 12)
    y += 0.01 * np.random.default_rng(0).standard_normal(len(y)).astype(np.float32)
    show("Two minutes in memory, MFCC and dB, one core", one_core(y, rounds), args.json)
    show("Two cores", two_cores(np.tile(y, 5), rounds), args.json)
    with tempfile.TemporaryDirectory() as folder:
        memory, jobs = on_files(Path(folder), *((1, 4) if args.quick else (3, 24)))
    show("The command: peak memory and speed", memory, args.json)
    show("The command: two processes", jobs, args.json)
    show("The command: start", start(), args.json)


if __name__ == "__main__":
    main()
