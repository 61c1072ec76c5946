"""Labelled sounds, and a model that knows them."""

import functools

import numpy as np
import soundfile

from rtaudio.learn import train

SR = 16000
LABELS = ("beep", "hiss", "rise")


def sound(label, random, sr=SR):
    """A quarter to half a second of it, each time another one."""
    n = int(sr * random.uniform(0.25, 0.5))
    t = np.arange(n) / sr
    if label in ("beep", "_a"):
        y = np.sin(2 * np.pi * random.uniform(800, 1100) * t)
    elif label in ("hiss", "_b"):
        y = random.normal(0, 0.4, n)
    else:
        low, high = random.uniform(200, 400), random.uniform(2500, 3500)
        y = np.sin(2 * np.pi * (low * t + (high - low) * t**2 / (2 * t[-1])))
    return (y * np.minimum(1, 40 * np.minimum(t, t[::-1])) * random.uniform(0.1, 0.8)).astype("f4")


def make(folder, count=10, labels=LABELS, sr=SR, seed=0, speakers="ab"):
    """FOLDER/LABEL/SPEAKER_N.wav."""
    random = np.random.default_rng(seed)
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = folder / label / f"{speakers[number % len(speakers)]}_{number}.wav"
            soundfile.write(path, sound(label, random, sr), sr)
    return folder


@functools.cache
def trained(folder):
    """What `train` makes of them; once a run of the tests."""
    return train(make(folder), epochs=40)


def sequence(labels, sr=SR, seed=7, pause_s=0.6):
    """Sounds one after the other; the samples, and where each begins and ends in s."""
    random = np.random.default_rng(seed)
    parts, places = [np.zeros(int(pause_s * sr), "f4")], []
    for label in labels:
        begin = sum(map(len, parts)) / sr
        parts.append(sound(label, random, sr))
        places.append((begin, begin + len(parts[-1]) / sr, label))
        parts.append(np.zeros(int(pause_s * sr), "f4"))
    return np.concatenate(parts), places
