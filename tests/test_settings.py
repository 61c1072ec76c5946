"""Settings: defaults, bad values, and what can be asked of them."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.signal

from rtaudio import Analyzer, Settings
from rtaudio.analysis import tables
from rtaudio.analysis.settings import _WINDOWS

BAD = [
    ({"n_fft": 0}, "n_fft=0 is not in 1 … 1048576"),
    ({"n_fft": 2048.0}, "n_fft=2048.0 is not a whole number"),
    ({"n_fft": True}, "n_fft=True"),
    ({"hop_length": 0}, "hop_length=0"),
    ({"hop_length": -5}, "hop_length=-5"),
    ({"win_length": 4096}, "win_length=4096 is not in 1 … 2048 (n_fft)"),
    ({"sr": 0}, "sr=0"),
    ({"sr": 22050.5}, "sr=22050.5"),
    ({"n_mels": 0, "n_mfcc": 0}, "n_mels=0"),
    ({"n_mfcc": 129}, "n_mfcc=129 is not in 1 … 128 (n_mels)"),
    ({"fmin": 5000.0, "fmax": 300.0}, "fmin=5000 Hz is not below fmax (300 Hz)"),
    ({"fmin": -1.0}, "fmin=-1.0"),
    ({"fmin": float("nan")}, "fmin=nan"),
    ({"fmax": float("inf")}, "fmax=inf"),
    ({"sr": 8000, "fmax": 5000.0}, "fmax=5000 Hz is above half the rate"),
    ({"sr": 8000, "fmin": 4000.0}, "fmin=4000 Hz is not below half the rate (4000 Hz)"),
    ({"window": "hamn"}, "did you mean 'hann'"),
    ({"window": "nonsense"}, "'nonsense' is not a window"),
    ({"window": "kaiser"}, "'kaiser'"),
    ({"window": ("kaiser", "x")}, "kaiser"),
    ({"window": ()}, "window=()"),
    ({"window": None}, "window=None"),
    ({"window": np.ones(2048)}, "window is an array"),
    ({"window": "hann_symmetric"}, "is symmetric"),
    ({"window": ("general_cosine", (1e300,))}, "not finite"),
    ({"quantize_bits": 0}, "quantize_bits=0 is not in 1 … 24"),
    ({"quantize_bits": 25}, "quantize_bits=25"),
    ({"channel": 0}, "channel=0"),
    ({"channel": "left"}, "channel='left'"),
    ({"center": "yes"}, "center='yes'"),
    ({"htk": 1}, "htk=1"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=str)
def test_a_bad_value_raises_at_once_and_is_named(options, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is looked at below
        Settings(**options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_defaults_are_librosas():
    s = Settings()
    assert dataclasses.asdict(s) == {
        "sr": None,
        "n_fft": 2048,
        "win_length": None,
        "hop_length": 512,
        "window": "hann",
        "center": True,
        "n_mels": 128,
        "fmin": 0.0,
        "fmax": None,
        "htk": False,
        "n_mfcc": 13,
        "quantize_bits": None,
        "channel": "mix",
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        s.n_fft = 1024


def test_numpy_numbers_and_lists_become_python_ones():
    s = Settings(sr=np.int64(8000), fmin=np.float32(20), window=["kaiser", 8.0], channel=np.int8(2))
    assert type(s.sr) is type(s.channel) is int
    assert type(s.fmin) is float
    assert s == Settings(sr=8000, fmin=20, window=("kaiser", 8.0), channel=2)
    assert hash(s) == hash(Settings(sr=8000, fmin=20.0, window=("kaiser", 8.0), channel=2))


@pytest.mark.parametrize(
    "s",
    [
        Settings(),
        Settings(sr=8000, window=("tukey", np.float32(0.5)), channel=2, quantize_bits=8, fmax=3e3),
    ],
)
def test_json_there_and_back(s):
    assert Settings.from_json(s.to_json()) == s
    json.loads(s.to_json())


def test_what_needs_a_rate_says_so():
    for name in ("frequencies", "mel_frequencies"):
        with pytest.raises(ValueError, match=r"Settings\(sr="):
            getattr(Settings(), name)
    with pytest.raises(ValueError, match=r"Settings\(sr="):
        Analyzer(Settings())


@pytest.mark.parametrize("length", [1, 2, 7, 2048])
def test_the_hann_window_is_scipys(length):
    ours = tables.window("hann", length, length)
    np.testing.assert_allclose(ours, scipy.signal.get_window("hann", length), atol=1e-15)


def test_every_window_that_is_suggested_exists():
    parameters = {"chebwin": (50,), "dpss": (3,), "gaussian": (9,), "general_cosine": ([1, 1],)}
    parameters |= {"general_gaussian": (1, 9), "general_hamming": (0.5,), "kaiser": (8,)}
    for name in _WINDOWS:
        Settings(window=(name, *parameters[name]) if name in parameters else name)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(5, np.int16), "int16, not floats"),
        (np.zeros((2, 5, 2)), r"shape \(2, 5, 2\)"),
        (np.zeros((2, 90000)), r"y\.T"),
        (np.zeros((5, 0)), "0 channels"),
        (np.zeros(5, complex), "complex128, not floats"),
    ],
)
def test_samples_that_cannot_be_taken(samples, message):
    with pytest.raises(ValueError, match=message):
        Analyzer(Settings(sr=8000)).feed(samples)


def test_a_channel_that_is_not_there():
    with pytest.raises(ValueError, match=r"channel=3 is not there: the samples have 2"):
        Analyzer(Settings(sr=8000, channel=3)).feed(np.zeros((5, 2)))
