"""What the cursor reads: true between the bins, and named as librosa names it."""

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rtaudio import Analyzer, Settings
from rtaudio.view import cursor

SR = 48000


@given(hz=st.floats(16, 24000))
def test_notes_are_librosas(hz):
    name, cents = cursor.note(hz).removesuffix(" ct").split()
    expected = librosa.hz_to_note(hz, cents=True)  # A4+12
    at = max(expected.rfind("+"), expected.rfind("-"))
    assert name == expected[:at]
    assert int(cents.replace("−", "-")) == pytest.approx(int(expected[at:]), abs=1)


def test_a_few_notes():
    assert cursor.note(440) == "A4 +0 ct"
    assert cursor.note(261.6256) == "C4 +0 ct"
    assert cursor.note(27.3) == "A0 −13 ct"
    assert cursor.note(0) == ""


def spectrum(settings, hz, amplitude=1.0, offset=0.0):
    """dBFS of one frame of a sine."""
    t = np.arange(settings.n_fft) / SR
    y = (amplitude * np.sin(2 * np.pi * hz * t + 1) + offset).astype(np.float32)
    (frames,) = Analyzer(settings).feed(y)
    return frames.db[0] - np.float32(settings.full_scale_db)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    place=st.floats(20, 1000),
    window=st.sampled_from(["hann", "hamming", "blackman", "blackmanharris", ("kaiser", 8.0)]),
    n_fft=st.sampled_from([2048, 8192, 3000]),
    db=st.sampled_from([0.0, -40.0, -80.0]),
)
def test_a_sine_between_the_bins_is_read_as_what_it_is(place, window, n_fft, db):
    settings = Settings(sr=SR, n_fft=n_fft, center=False, window=window)
    per_bin = SR / n_fft
    hz = place * per_bin
    found = cursor.read(
        spectrum(settings, hz, 10 ** (db / 20)), settings, hz - 3 * per_bin, hz, hz + 3 * per_bin
    )
    assert found.peak
    assert found.hz == pytest.approx(hz, abs=0.1 * per_bin)
    assert found.dbfs == pytest.approx(db, abs=0.2)


def test_a_sine_on_a_bin_is_exact():
    settings = Settings(sr=SR, center=False)
    hz = 100 * SR / 2048
    found = cursor.read(spectrum(settings, hz), settings, hz - 50, hz, hz + 50)
    assert found.dbfs == pytest.approx(0, abs=0.02)
    assert found.hz == pytest.approx(hz, abs=0.2)
    strongest = cursor.strongest(spectrum(settings, hz), settings)
    assert strongest.hz == pytest.approx(hz, abs=0.2)


def test_the_strongest_is_a_peak_beside_a_louder_offset():
    settings = Settings(sr=SR, center=False)
    hz = 30.2 * SR / 2048
    found = cursor.strongest(spectrum(settings, hz, 0.1, offset=0.5), settings)
    assert found.peak
    assert found.hz == pytest.approx(hz, abs=0.1 * SR / 2048)


def test_a_shorter_window_has_a_wider_lobe():
    settings = Settings(sr=SR, win_length=1000, center=False)
    hz = 100.4 * SR / 2048
    found = cursor.read(spectrum(settings, hz), settings, hz - 50, hz, hz + 50)
    assert found.dbfs == pytest.approx(0, abs=0.2)
    assert found.hz == pytest.approx(hz, abs=0.1 * SR / 2048)


def test_where_no_peak_is_the_level_there_is_read():
    settings = Settings(sr=SR)
    slope = np.linspace(0, -102.4, 1025).astype(np.float32)
    found = cursor.read(slope, settings, 1000, 1001, 1002)
    assert not found.peak
    assert found.hz == 1001
    assert found.dbfs == pytest.approx(-0.1 * 1001 / (SR / 2048), abs=1e-3)
    flat = np.full(1025, -90, np.float32)
    assert cursor.read(flat, settings, 0, 0, 24000) == (0.0, -90.0, False)


@pytest.mark.parametrize("n_fft", [1, 2, 3])
def test_the_shortest_frames(n_fft):
    settings = Settings(sr=SR, n_fft=n_fft, n_mels=1, n_mfcc=1, window="boxcar")
    levels = np.full(settings.n_bins, -10, np.float32)
    assert cursor.read(levels, settings, 0, 100, 200).dbfs == -10
