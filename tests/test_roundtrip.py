"""A round trip is right to a sample or refused, whatever comes in beside the sweeps."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtaudio.capture.sweep import FADE_S, SweepPlayer, in_samples, random_starts, sweep
from rtaudio.roundtrip import LEAST_CONFIDENCE, LEAST_SWEEPS, RoundTrip, measure

SR = 16000  # a third of the work of 48000
LEVEL = 0.1  # of the peak: -20 dBFS


def played(seed, seconds=4.0, sr=SR):
    """What goes out, and where its sweeps begin."""
    starts = in_samples(random_starts(seconds, random.Random(seed)), sr)
    out = np.zeros(round(seconds * sr))
    for start in starts:
        out[start : start + len(sweep(sr))] = LEVEL * sweep(sr)
    return out, starts


def delayed(out, delay):
    """Later by ``delay`` samples, which may be no whole number, and as long as before."""
    spectrum = np.fft.rfft(out, 2 * len(out))
    shift = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * len(out)) * delay)
    return np.fft.irfft(spectrum * shift)[: len(out)]


def found(heard, starts, sr=SR):
    heard = np.asarray(heard, np.float32)
    if heard.ndim == 1:
        heard = heard[:, np.newaxis]
    return measure(heard, starts, LEVEL * sweep(sr).astype(np.float64), sr)


def noise(seed, size, level_db):
    """Its RMS, relative to that of a sweep."""
    rms = LEVEL * np.sqrt(0.5)
    return np.random.default_rng(seed).normal(0, rms * 10 ** (level_db / 20), size)


@settings(deadline=None, max_examples=40)
@given(
    st.floats(0, 1.5 * SR) | st.integers(0, SR),
    st.floats(-60, -6),
    st.floats(-50, 60),
    st.integers(0),
)
def test_any_delay_is_found_at_any_level(delay, gain_db, noise_db, seed):
    out, starts = played(seed)
    heard = delayed(out, delay) * 10 ** (gain_db / 20)
    heard += noise(seed % 2**32, len(heard), gain_db - 40 - noise_db)
    trip = found(heard, starts)
    if noise_db < -20:  # more than 20 dB above the sweep: right or refused
        assert trip.samples is None or trip.samples == pytest.approx(delay, abs=1)
        return
    assert trip.samples == pytest.approx(delay, abs=0.3 if noise_db < 20 else 0.03)
    assert trip.confidence == 1
    assert trip.gain_db == pytest.approx(gain_db, abs=0.5 if noise_db < 20 else 0.05)
    assert trip.n >= LEAST_SWEEPS
    assert trip.notes == ()


@pytest.mark.parametrize("level_db", [-40, 0, 20])
def test_noise_may_be_louder_than_the_sweep(level_db):
    for seed in range(20):
        out, starts = played(seed, 4, 48000)
        delay = 1 + 97 * seed
        trip = found(delayed(out, delay) + noise(seed, len(out), level_db), starts, 48000)
        assert trip.samples is not None, seed
        assert trip.samples == pytest.approx(delay, abs=0.5), seed


@pytest.mark.parametrize("level_db", [24, 27, 30, 40, 60])
def test_where_the_noise_is_too_loud_it_is_right_or_refused(level_db):
    for seed in range(25):
        out, starts = played(seed)
        trip = found(delayed(out, 4321) + noise(seed, len(out), level_db), starts)
        assert trip.samples is None or abs(trip.samples - 4321) <= 1, seed


def music(size):
    t = np.arange(size) / SR
    return 0.2 * np.sin(2 * np.pi * 440 * t) * (np.sin(2 * np.pi * 2 * t) > 0)


WRONG = {
    "digital silence": np.zeros,
    "almost silence": lambda n: np.random.default_rng(1).normal(0, 1e-6, n),
    "hum": lambda n: 0.1 * np.sin(2 * np.pi * 50 * np.arange(n) / SR),
    "a tone of the sweep's": lambda n: 0.1 * np.sin(2 * np.pi * 2000 * np.arange(n) / SR),
    "beats": music,
    "clicks": lambda n: (np.arange(n) % 4000 == 7) * 0.9,
    "noise": lambda n: np.random.default_rng(2).normal(0, 0.1, n),
    "noise for a moment": lambda n: (
        np.random.default_rng(3).normal(0, 0.1, n) * (np.arange(n) < 999)
    ),
    "an offset": lambda n: np.full(n, 0.3),
    "other sweeps": lambda n: played(999, n / SR)[0],
    "a sweep without end": lambda n: np.resize(sweep(SR), n) * 0.1,
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_the_sweep_is_refused(what):
    for seed in range(10):
        out, starts = played(seed)
        trip = found(WRONG[what](len(out)), starts)
        assert trip.samples is None
        assert trip.spread_samples is None
        assert trip.n < LEAST_SWEEPS or trip.confidence < LEAST_CONFIDENCE
        assert trip.notes[0].startswith("no round trip: ")
        assert "check that OUT reaches IN" in trip.notes[0]


def test_what_comes_back_too_late_is_refused():
    out, starts = played(1)
    assert found(delayed(out, 3.5 * SR), starts).samples is None


def test_a_loop_that_is_connected_later_is_measured():
    out, starts = played(2, 6)
    heard = delayed(out, 333)
    heard[: 2 * SR] = 0
    trip = found(heard, starts)
    assert (trip.samples, trip.confidence) == (pytest.approx(333, abs=0.01), 1)
    assert trip.n < len(starts)


def test_the_channel_that_hears_it_counts():
    out, starts = played(3)
    heard = np.stack([noise(3, len(out), 0), delayed(out, 50)], axis=1)
    assert found(heard, starts).samples == pytest.approx(50, abs=0.01)
    assert found(heard[:, ::-1], starts).samples == pytest.approx(50, abs=0.01)


def test_clipping_is_said_and_so_is_a_loop_that_feeds_back_or_turns_over():
    out, starts = played(4)
    clipped = found(np.clip(40 * delayed(out, 100), -1, 1), starts)
    assert any("clips" in note for note in clipped.notes)
    feeding = sum(0.6**k * delayed(out, 200 + 1000 * k) for k in range(8))
    echo = found(feeding, starts)
    assert echo.samples == pytest.approx(200, abs=0.5)
    assert "1000 samples) later, at -4 dB: feedback, or a second path" in echo.notes[0]
    inverted = found(-delayed(out, 77), starts)
    assert inverted.samples == pytest.approx(77, abs=0.01)
    assert inverted.notes == ("it comes back inverted",)


def test_the_first_arrival_counts_also_where_a_later_one_is_louder():
    out, starts = played(5)
    trip = found(0.7 * delayed(out, 500) + delayed(out, 1500), starts)
    assert trip.samples == pytest.approx(500, abs=0.5)


def test_a_delay_that_changes_by_little_is_told_with_its_spread():
    out, starts = played(6)
    heard = delayed(out, 100)
    late = starts[len(starts) * 3 // 4] - 10
    heard[late:] = delayed(out, 107)[late:]
    trip = found(heard, starts)
    assert trip.samples == pytest.approx(100, abs=0.01)
    assert trip.spread_samples == pytest.approx(7, abs=0.01)
    assert trip.confidence < 0.9
    assert "not always the same" in trip.notes[0]


@pytest.mark.parametrize("sr", [8000, 44100, 48000, 192000])
def test_it_works_at_any_rate(sr):
    out, starts = played(7, 4, sr)
    trip = found(delayed(out, 1234.25), starts, sr)
    assert trip.samples == pytest.approx(1234.25, abs=0.01)


def test_nothing_at_all_is_refused():
    out, starts = played(8)
    for heard in (np.zeros((0, 1)), np.zeros((10, 2)), out[:SR]):
        assert isinstance(found(heard, starts), RoundTrip)
        assert found(heard, starts).samples is None
    assert found(out, []).samples is None


# --- what is played ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 9000), min_size=1, max_size=60), st.integers(1, 3), st.integers(0, 9)
)
def test_what_is_played_does_not_depend_on_the_blocks(sizes, channels, seed):
    out, _ = played(seed, 2.0)
    player = SweepPlayer(SR, channels, random_starts(2.0, random.Random(seed)), -20)
    parts = []
    for size in sizes:
        block = np.full((size, channels), 9, np.float32)
        player.fill(memoryview(block).cast("B"))
        parts.append(block)
    filled = np.concatenate(parts)
    wanted = np.zeros(len(filled))
    wanted[: len(out)] = out[: len(filled)]
    np.testing.assert_allclose(filled, np.repeat(wanted[:, np.newaxis], channels, 1), atol=1e-7)


@pytest.mark.parametrize("sr", [8000, 48000])
def test_a_sweep_is_faded_and_stays_within_its_band(sr):
    samples = sweep(sr).astype(np.float64)
    assert np.abs(samples).max() <= 1
    fade = round(FADE_S * sr)
    assert np.abs(samples[[0, 1, -2, -1]]).max() < 0.01
    assert np.abs(samples[: fade // 4]).max() < 0.2
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / sr)
    inside = (hertz > 150) & (hertz < min(17000, 0.36 * sr))
    assert power[inside].sum() / power.sum() > 0.99


def test_sweeps_begin_at_random_phases_and_do_not_overlap():
    starts = in_samples(random_starts(30, random.Random(1)), 48000)
    assert min(np.diff(starts)) > len(sweep(48000))
    assert starts[-1] + len(sweep(48000)) <= 30 * 48000
    assert len(starts) > 80
    assert len({start % 128 for start in starts}) > 40
    assert in_samples(random_starts(30, random.Random(2)), 48000) != starts
