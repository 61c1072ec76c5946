"""Channel, NaN and Inf, resampling, quantization."""

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from sounds import SR, all_frames, assert_same, music

from rtaudio import Analyzer, Settings

Y = music(1.5)


def conditioned(y, settings, source_sr=SR, cuts=()):
    """What the analyzer frames, end to end, and how many samples were invalid."""
    out = []
    heard = Analyzer(settings, source_sr, tap=lambda first, y: out.append((first, y.copy())))
    for piece in np.split(np.asarray(y), cuts):
        list(heard.feed(piece))
    list(heard.flush())
    assert [first for first, _ in out] == [0, *np.cumsum([len(y) for _, y in out])][:-1]
    return np.concatenate([y for _, y in out]), heard.invalid


def test_mix_is_the_mean_and_a_channel_is_itself():
    y = np.random.default_rng(0).uniform(-1, 1, (50_000, 3)).astype(np.float32)
    mixed, _ = conditioned(y, Settings(sr=SR))
    np.testing.assert_allclose(mixed, y.mean(axis=1), atol=1e-7)
    for channel in (1, 2, 3):
        alone, _ = conditioned(y, Settings(sr=SR, channel=channel))
        np.testing.assert_array_equal(alone, y[:, channel - 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_nan_and_inf_become_0_and_are_counted(dtype):
    y = np.stack([Y[:30_000], Y[:30_000]], axis=1).astype(dtype)
    clean = y.astype(np.float32).mean(axis=1)
    for i, value in ((7, np.nan), (20_000, np.inf), (20_001, -np.inf), (29_999, np.nan)):
        y[i, i % 2] = value
        clean[i] = 0
    out, invalid = conditioned(y, Settings(sr=SR))
    assert invalid == 4
    np.testing.assert_allclose(out, clean, atol=1e-7)


def test_what_float32_cannot_square_is_invalid_too():
    y = np.array([1e300, -1e13, 1e11, 0.5])
    out, invalid = conditioned(y, Settings(sr=SR))
    assert invalid == 2
    np.testing.assert_array_equal(out, np.array([0, 0, 1e11, 0.5], np.float32))
    rows = all_frames(Analyzer(Settings(sr=SR)), np.full(4096, 1e12, np.float32))
    assert np.isfinite(rows["power"]).all()
    assert np.isfinite(rows["mfcc"]).all()


def test_one_nan_does_not_spread_through_the_resampler():
    y = Y.copy()
    y[9000] = np.nan
    clean = np.where(np.isnan(y), 0, y)
    s = Settings(sr=8000)
    np.testing.assert_array_equal(conditioned(y, s)[0], conditioned(clean, s)[0])


@pytest.mark.parametrize("sr", [8000, 16000, 44100, 48000, 22051])
@given(cuts=st.lists(st.integers(0, len(Y)), max_size=8))
def test_resampled_as_a_stream_equals_the_whole(sr, cuts):
    out, _ = conditioned(Y, Settings(sr=sr), cuts=sorted(cuts))
    np.testing.assert_array_equal(out, soxr.resample(Y, SR, sr, quality="HQ"))


@pytest.mark.parametrize("bits", range(1, 25))
def test_quantized_to_the_integers_of_so_many_bits(bits):
    y = np.concatenate([np.linspace(-1.5, 1.5, 9001), [1, -1, 0, 0.999999]]).astype(np.float32)
    out, _ = conditioned(y, Settings(sr=SR, quantize_bits=bits))
    top = 2 ** (bits - 1)
    levels = out.astype(float) * top
    np.testing.assert_array_equal(levels, np.round(levels))
    assert levels.min() == -top
    assert levels.max() == top - 1
    inside = (y > -1) & (y < (top - 1) / top)
    assert np.abs(out - y)[inside].max() <= 0.5 / top * (1 + 1e-6)
    again, _ = conditioned(out, Settings(sr=SR, quantize_bits=bits))
    np.testing.assert_array_equal(again, out)


def test_the_order_is_channel_clean_resample_quantize():
    y = np.stack([Y, -Y], axis=1)
    y[100] = np.nan
    s = Settings(sr=8000, quantize_bits=8, channel=2)
    cleaned = np.where(np.isnan(y[:, 1]), 0, y[:, 1])
    resampled = soxr.resample(cleaned, SR, 8000, quality="HQ")
    by_hand = np.clip(np.rint(resampled * 128), -128, 127) / np.float32(128)
    rows = all_frames(Analyzer(s, SR), y)
    assert_same(rows, all_frames(Analyzer(Settings(sr=8000)), by_hand.astype(np.float32)))
