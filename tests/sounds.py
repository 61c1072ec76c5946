"""Sounds to analyze, made here; real recordings too where the folder with them exists."""

from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

from rtaudio import Frames

SHARED = Path(__file__).parents[2] / "shared"
RECORDINGS = [
    path
    for path in (
        SHARED / "audio/test1_22050.wav",
        SHARED / "audio/test2_8000.wav",
        SHARED / "digits/7/jackson_0.wav",
    )
    if path.exists()
]
SR = 22050


def music(seconds=2.0, sr=SR):
    """Plucked chords: decaying harmonics with an attack."""
    t = np.arange(int(seconds * sr)) / sr
    y = np.zeros(len(t))
    for beat, notes in enumerate(((220, 277.2, 329.6), (196, 247, 293.7), (174.6, 220, 261.6))):
        start = beat * 0.6
        local = np.maximum(t - start, 0)
        for note in notes:
            for k in range(1, 9):
                y += (
                    (t >= start)
                    * np.exp(-local * (2 + k))
                    * np.sin(2 * np.pi * note * k * local)
                    / k
                )
    return (0.1 * y).astype(np.float32)


def speech(seconds=2.0, sr=SR):
    """Vowels: a pulse train of gliding pitch through three formants, and hiss between them."""
    t = np.arange(int(seconds * sr)) / sr
    rng = np.random.default_rng(7)
    pulses = np.diff(np.floor(np.cumsum(110 + 30 * np.sin(5 * t)) / sr), prepend=0)
    y = np.where(np.sin(2 * np.pi * 2 * t) > -0.3, pulses, 0.02 * rng.standard_normal(len(t)))
    for formant in (700, 1220, 2600):
        y = y + 3 * scipy.signal.lfilter(*scipy.signal.iirpeak(formant, 10, fs=sr), y)
    return (0.9 * y / np.abs(y).max()).astype(np.float32)


def _impulse():
    y = np.zeros(SR // 2, np.float32)
    y[3001] = 1
    return y


SOUNDS = {
    "music": music(),
    "speech": speech(),
    "silence": np.zeros(SR // 2, np.float32),
    "square": np.where(np.arange(SR) // 50 % 2, 1, -1).astype(np.float32),
    "impulse": _impulse(),
    "whisper": (1e-6 * np.random.default_rng(3).standard_normal(SR)).astype(np.float32),
    "sweep": scipy.signal.chirp(np.arange(SR) / SR, 20, 1, 11000).astype(np.float32),
}
for _path in RECORDINGS:
    _y, _ = soundfile.read(_path, dtype="float32", always_2d=True)
    SOUNDS[_path.stem] = np.ascontiguousarray(_y.mean(axis=1))


def all_frames(analyzer, y, cuts=(), **kwargs):
    """Feed ``y`` in pieces that end at ``cuts``, flush, and put the rows end to end."""
    kept = []
    for piece in np.split(y, cuts):
        kept += [frames.copy() for frames in analyzer.feed(piece, **kwargs)]
    kept += [frames.copy() for frames in analyzer.flush()]
    return joined(kept)


def joined(kept):
    """One dict of arrays from owned frames, with the number of each row."""
    kept = kept or [NO_FRAMES]
    names = ("time", "power", "db", "mel_db", "mfcc", "rms", "peak", "lost", "captured")
    rows = {name: np.concatenate([getattr(frames, name) for frames in kept]) for name in names}
    rows["row"] = np.concatenate([frames.first + np.arange(len(frames)) for frames in kept])
    return rows


NO_FRAMES = Frames(
    0,
    *(np.zeros(0), *np.zeros((4, 0, 0), np.float32), *np.zeros((2, 0), np.float32)),
    *(np.zeros(0, np.int64), np.zeros(0)),
)


def assert_same(a, b):
    """Every array the same, bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert len(a[name]) == len(b[name])
        if len(a["row"]) or len(b["row"]):
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
