"""Equal to librosa, within the stated tolerances, over a grid of settings and sounds."""

import librosa
import numpy as np
import pytest
import scipy.fft
from sounds import SOUNDS, SR, all_frames

from rtaudio import Analyzer, Settings, analyze

GRID = [
    {},
    {"center": False},
    {"n_fft": 1024, "hop_length": 256, "n_mels": 40, "n_mfcc": 40},
    {"n_fft": 4096, "win_length": 1200, "window": "hamming"},
    {"n_fft": 1000, "hop_length": 333, "window": "blackman", "n_mels": 64},
    {"n_fft": 777, "win_length": 700, "hop_length": 100, "n_mfcc": 1, "n_mels": 32},
    {"n_fft": 512, "hop_length": 900, "htk": True, "n_mels": 30, "n_mfcc": 20},
    {"n_fft": 16, "hop_length": 16, "n_mels": 2, "n_mfcc": 2, "window": "boxcar"},
    {"n_fft": 8192, "fmin": 50.0, "fmax": 4000.0, "window": ("kaiser", 8.0)},
    {"window": ("tukey", 0.3), "center": False, "htk": True, "fmin": 300.0},
]


def librosa_rows(y, s):
    """Power and mel power as librosa has them, rows first."""
    power = np.abs(
        librosa.stft(
            y,
            n_fft=s.n_fft,
            hop_length=s.hop_length,
            win_length=s.win_length,
            window=s.window,
            center=s.center,
        )
    )
    power **= 2
    mel = librosa.feature.melspectrogram(
        S=power, sr=s.sr, n_fft=s.n_fft, n_mels=s.n_mels, fmin=s.fmin, fmax=s.fmax, htk=s.htk
    )
    return power.T, mel.T


def mfcc_clipped(mel_db, loudest_db, n_mfcc):
    """MFCC of mel spectra clipped 80 dB below each frame's maximum, by scipy."""
    clipped = np.maximum(mel_db, loudest_db - 80)
    return scipy.fft.dct(clipped, axis=1, norm="ortho")[:, :n_mfcc]


@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")
@pytest.mark.filterwarnings("ignore:Empty filters:UserWarning")
@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("options", GRID, ids=lambda o: ",".join(map(str, o.values())) or "default")
def test_rows_equal_librosas(sound, options):
    y, s = SOUNDS[sound], Settings(sr=SR, **options)
    rows = all_frames(Analyzer(s), y)
    power, mel = librosa_rows(y, s)

    assert rows["power"].shape == power.shape
    peak = np.maximum(power.max(axis=1, keepdims=True), 1e-30)
    assert (np.abs(rows["power"] - power) / peak).max() <= 1e-5
    np.testing.assert_allclose(
        rows["db"], 10 * np.log10(np.maximum(rows["power"].astype(float), 1e-10)), atol=1e-5
    )

    # The frame's peak is that of all bands, also where fmin and fmax leave but leakage to see.
    bands = librosa.feature.melspectrogram(S=power.T, sr=SR, n_fft=s.n_fft, n_mels=s.n_mels).T
    mel_peak = np.maximum(np.maximum(mel, bands).max(axis=1, keepdims=True), 1e-9)
    ours = np.where(rows["mel_db"] > -99.999, 10 ** (rows["mel_db"].astype(float) / 10), 0)
    theirs = np.where(mel > 1.001e-10, mel, 0)
    assert (np.abs(ours - theirs)[(mel > 1.001e-10) | (mel < 0.999e-10)].max(initial=0)) <= (
        1e-5 * mel_peak.max()
    )
    assert (np.abs(ours - theirs) / mel_peak)[mel > 1e-9].max(initial=0) <= 1e-5

    mel_db = librosa.power_to_db(mel, top_db=None)
    loudest = 10 * np.log10(mel_peak)
    ours = mfcc_clipped(rows["mel_db"], loudest, s.n_mfcc)
    difference = np.abs(ours - mfcc_clipped(mel_db, loudest, s.n_mfcc)).max()
    # A pure sweep leaves bands that are rounding errors alone, librosa's and ours.
    assert difference <= (5e-3 if sound == "sweep" else 1e-3)
    dct = scipy.fft.dct(rows["mel_db"].astype(float), axis=1, norm="ortho")[:, : s.n_mfcc]
    np.testing.assert_allclose(rows["mfcc"], dct, atol=1e-3)


@pytest.mark.parametrize("options", GRID[:7], ids=str)
def test_times_and_levels_equal_librosas(options):
    y, s = SOUNDS["music"], Settings(sr=SR, **options)
    rows = all_frames(Analyzer(s), y)
    n = len(rows["time"])
    np.testing.assert_array_equal(rows["row"], np.arange(n))
    np.testing.assert_array_equal(
        rows["time"],
        librosa.frames_to_time(
            np.arange(n), sr=SR, hop_length=s.hop_length, n_fft=None if s.center else s.n_fft
        ),
    )
    rms = librosa.feature.rms(y=y, frame_length=s.n_fft, hop_length=s.hop_length, center=s.center)[
        0
    ]
    np.testing.assert_allclose(rows["rms"], rms, rtol=1e-5, atol=1e-9)
    padded = np.pad(y, s.n_fft // 2 if s.center else 0)
    framed = np.lib.stride_tricks.sliding_window_view(padded, s.n_fft)[:: s.hop_length]
    np.testing.assert_array_equal(rows["peak"], np.abs(framed).max(axis=1))


@pytest.mark.parametrize("sound", [name for name in SOUNDS if name != "silence"])
def test_top_db_equals_librosas_default(sound):
    y = SOUNDS[sound]
    features = analyze(y, sr=SR, top_db=80.0, features=("mfcc", "db", "mel_db"))
    np.testing.assert_allclose(
        features.mfcc, librosa.feature.mfcc(y=y, sr=SR, n_mfcc=13).T, atol=5e-3
    )
    power = np.abs(librosa.stft(y)).T ** 2
    np.testing.assert_allclose(features.db, librosa.power_to_db(power), atol=1e-2)
    assert features.mel_db.min() >= features.mel_db.max() - 80


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 2047, 2048, 2049, 22050])
@pytest.mark.parametrize("n_fft", [2048, 2047, 300])
@pytest.mark.parametrize("hop", [512, 700, 5000])
@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")
def test_number_of_frames_equals_librosas(n, n_fft, hop):
    y = np.ones(n, np.float32)
    rows = all_frames(Analyzer(Settings(sr=SR, n_fft=n_fft, hop_length=hop)), y)
    assert len(rows["time"]) == librosa.stft(y, n_fft=n_fft, hop_length=hop).shape[1]


def test_a_full_scale_sine_on_a_bin_reads_0_dbfs():
    for window in ("hann", "blackman", "boxcar", ("kaiser", 6.0)):
        s = Settings(sr=48000, n_fft=1024, window=window, win_length=800, center=False)
        for k in (60, 200):
            t = np.arange(4096) / 48000
            y = np.sin(2 * np.pi * s.frequencies[k] * t).astype(np.float32)
            frames = all_frames(Analyzer(s), y)
            assert np.abs(frames["db"][:, k] - s.full_scale_db).max() < 0.02
            assert (frames["db"].argmax(axis=1) == k).all()


def test_an_impulse_lands_where_it_must():
    """A single 1 at sample n gives window[n - start]^2 in every bin of a frame, and 0 elsewhere."""
    s = Settings(sr=SR, center=False)
    y = np.zeros(8192, np.float32)
    y[3000] = 1
    rows = all_frames(Analyzer(s), y)
    window = librosa.filters.get_window("hann", 2048)
    for row, power in enumerate(rows["power"]):
        at = 3000 - row * 512
        expected = window[at] ** 2 if 0 <= at < 2048 else 0
        np.testing.assert_allclose(power, expected, atol=5e-7)


@pytest.mark.parametrize(
    "n_fft", [16, 32, 64, 128, 2048, 4096, 1 << 16, 2, 3, 1, 1000, 1009, 1 << 13]
)
def test_parseval(n_fft):
    """The energy of the windowed samples is the power of all bins, both sides, over n_fft."""
    y = np.random.default_rng(n_fft).standard_normal(n_fft).astype(np.float32)
    s = Settings(sr=SR, n_fft=n_fft, center=False, window="boxcar", n_mels=1, n_mfcc=1)
    power = all_frames(Analyzer(s), y)["power"][0].astype(float)
    both = np.full(len(power), 2.0)
    both[0] = 1
    if n_fft % 2 == 0:
        both[-1] = 1
    np.testing.assert_allclose(both @ power / n_fft, np.sum(y.astype(float) ** 2), rtol=1e-5)
    reference = np.abs(scipy.fft.rfft(y.astype(float))) ** 2
    np.testing.assert_allclose(power, reference, atol=2e-6 * reference.max())


def test_frequencies_and_mel_frequencies():
    s = Settings(sr=SR, n_fft=1000, n_mels=40, fmin=20.0, fmax=9000.0)
    np.testing.assert_array_equal(s.frequencies, librosa.fft_frequencies(sr=SR, n_fft=1000))
    for htk in (False, True):
        s = Settings(sr=SR, n_mels=40, fmin=20.0, fmax=9000.0, htk=htk)
        expected = librosa.mel_frequencies(42, fmin=20, fmax=9000, htk=htk)[1:-1]
        np.testing.assert_allclose(s.mel_frequencies, expected, rtol=1e-12)
