"""Where things are on the screen: fixed grids, and ticks that can be read."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rtaudio import Analyzer, Look, Settings
from rtaudio.view import axes
from rtaudio.view.axes import Bins, Columns, FrequencyAxis, frequency_axis, whole_axis
from rtaudio.view.look import AXES


@pytest.mark.parametrize("scale", AXES)
@pytest.mark.parametrize("htk", [False, True])
def test_a_frequency_and_its_place_are_inverse(scale, htk):
    axis = FrequencyAxis(scale, 20.0, 24000.0, htk)
    places = np.linspace(0, 1, 101)
    hz = axis.hz(places)
    np.testing.assert_allclose(axis.place(hz), places, atol=1e-12)
    assert hz[0] == pytest.approx(20)
    assert hz[-1] == pytest.approx(24000)
    assert (np.diff(hz) > 0).all()


def test_logarithmic_and_linear_are_what_they_say():
    assert FrequencyAxis("log", 20, 20000).hz(0.5) == pytest.approx(math.sqrt(20 * 20000))
    assert FrequencyAxis("linear", 0, 20000).hz(0.5) == pytest.approx(10000)


@given(
    scale=st.sampled_from(AXES),
    low=st.floats(0, 20000),
    octaves=st.floats(0.01, 12),
    pixels=st.integers(30, 3000),
)
@example(scale="log", low=2763.0, octaves=8.5, pixels=104)  # few ticks, and not zoomed in
def test_ticks_are_round_apart_and_inside(scale, low, octaves, pixels):
    low = max(low, 20.0 if scale == "log" else 0.0)
    axis = FrequencyAxis(scale, low, max(low, 20) * 2**octaves)
    ticks = axis.ticks(pixels, 26)
    at = np.array([tick.at for tick in ticks])
    assert ((at > -1e-6) & (at < 1 + 1e-6)).all()
    assert (np.diff(at) * pixels > 25.9).all()
    labels = [tick.label for tick in ticks]
    assert len(set(labels)) == len(labels)
    for tick in ticks:
        hz = float(tick.label.removesuffix("k")) * (1000 if tick.label.endswith("k") else 1)
        assert float(axis.place(hz)) == pytest.approx(tick.at, abs=1e-6)


def test_the_usual_ticks():
    labels = [tick.label for tick in FrequencyAxis("log", 20, 24000).ticks(440, 26)]
    assert labels == "20 50 100 200 500 1k 2k 5k 10k 20k".split()
    labels = [tick.label for tick in FrequencyAxis("linear", 0, 24000).ticks(440, 26)]
    assert labels == "0 2k 4k 6k 8k 10k 12k 14k 16k 18k 20k 22k 24k".split()
    labels = [tick.label for tick in axes.db_ticks(-100, 0, 440, 80)]
    assert labels == "−100 −80 −60 −40 −20 0".split()


@pytest.mark.parametrize(
    ("seconds", "step", "text"),
    [(7, 1, "0:07"), (61.5, 0.5, "1:01.5"), (3723, 1, "1:02:03"), (-0.25, 0.05, "−0:00.25"),
     (59.999, 0.01, "1:00.00"), (0, 1, "0:00")],
)  # fmt: skip
def test_times(seconds, step, text):
    assert axes.clock(seconds, step) == text


@hypothesis_settings(deadline=None)
@given(
    scale=st.sampled_from(AXES),
    n_fft=st.sampled_from([2, 16, 1000, 2048, 8192]),
    pixels=st.integers(1, 700),
    zoom=st.tuples(st.floats(0, 0.9), st.floats(0.02, 1)),
)
def test_a_pixel_is_the_maximum_of_its_bins_or_between_two(scale, n_fft, pixels, zoom):
    settings = Settings(sr=48000, n_fft=n_fft, n_mels=1, n_mfcc=1)
    most = axes.whole_axis(settings, scale)
    low, high = most.hz(np.array([zoom[0], min(1, zoom[0] + zoom[1])])).tolist()
    axis = FrequencyAxis(scale, low, high)
    dbfs = np.random.default_rng(1).normal(-60, 20, (3, settings.n_bins)).astype(np.float32)
    found = Bins(settings, axis, pixels).pixels(dbfs)
    assert found.shape == (3, pixels)
    edges = axis.hz(np.arange(pixels + 1) / pixels) / (48000 / n_fft)
    for pixel, (first, stop) in enumerate(itertools.pairwise(edges)):
        inside = np.arange(math.ceil(first - 1e-9), math.ceil(stop - 1e-9))
        inside = inside[inside < settings.n_bins]
        if len(inside):
            expected = dbfs[:, inside].max(axis=1)
        else:
            middle = float(axis.hz((pixel + 0.5) / pixels)) / (48000 / n_fft)
            expected = axes.between(dbfs, np.array([middle]))[:, 0]
        np.testing.assert_allclose(found[:, pixel], expected, atol=0.02)


@pytest.mark.parametrize("window", ["hann", "hamming", "blackman"])
def test_between_the_bins_a_sine_has_its_ridge_where_it_lies(window):
    settings = Settings(sr=48000, window=window, center=False)
    per_bin = 48000 / 2048
    for place in np.arange(50, 51, 0.05):
        t = np.arange(2048) / 48000
        (frames,) = Analyzer(settings).feed(np.sin(2 * np.pi * place * per_bin * t + 0.3))
        places = np.arange(47, 54, 0.01)
        curve = axes.between(frames.db - np.float32(settings.full_scale_db), places)[0]
        assert places[np.argmax(curve)] == pytest.approx(place, abs=0.1)
        assert curve.max() == pytest.approx(0, abs=0.4)
        bins = axes.between(frames.db, np.arange(1025.0))
        np.testing.assert_allclose(bins, frames.db, atol=1e-4)


@given(
    rows_per_column=st.floats(1e-5, 60),
    width=st.integers(16, 8000),
    at=st.integers(-(10**6), 10**12),
)
def test_columns_leave_out_no_row_and_never_change(rows_per_column, width, at):
    columns = Columns.of(rows_per_column, width)
    assert columns.rows == pytest.approx(rows_per_column, rel=0.01, abs=1e-6)
    firsts = [columns.row(at + k) for k in range(40)]
    assert (np.diff(firsts) >= 0).all()
    if rows_per_column >= 1:
        assert (np.diff(firsts) >= 1).all()  # each row under one column
    # what the shader computes, in its float32, from any column on
    unit = np.float32(0.5**columns.shift)
    phase, step = np.float32(columns.phase(at)), np.float32(columns.step)
    for k in (1, 7, width // 2, width):
        shader = np.floor((phase + np.float32(k) * step) * unit)
        assert columns.row(at) + int(shader) == columns.row(at + k)


def test_zoom_stays_within_and_keeps_what_is_pointed_at():
    settings = Settings(sr=48000)
    most = axes.whole_axis(settings, "log")
    low, high = most.zoomed(0.5, 2.0, most)
    zoomed = FrequencyAxis("log", low, high)
    assert zoomed.hz(0.5) == pytest.approx(most.hz(0.5))
    assert math.log2(high / low) == pytest.approx(math.log2(24000 / 20) / 2)
    assert zoomed.zoomed(0.0, 1e-9, most) == pytest.approx((most.low, most.high))
    deep = zoomed
    for _ in range(200):
        deep = FrequencyAxis("log", *deep.zoomed(0.9, 1.25, most))
        assert most.low <= deep.low < deep.high <= most.high * (1 + 1e-9)


def test_a_look_refuses_what_can_not_be_drawn():
    for bad, said in (
        ({"axis": "bark"}, "axis='bark' is not one of log, linear, mel"),
        ({"colormap": "jet"}, "magma, viridis, inferno, cividis, grey"),
        ({"span_s": 0}, "0.1 … 600"),
        ({"floor_db": 0.0}, "not a range of 10 dB"),
        ({"floor_db": math.nan}, "not a range"),
        ({"low_hz": 500.0, "high_hz": 100.0}, "two frequencies"),
        ({"low_hz": 500.0}, "two frequencies"),
        ({"panels": ()}, "one or more of spectrogram"),
        ({"panels": ("piano",)}, "one or more of spectrogram"),
        ({"averaging_s": -1.0}, "0 … 60"),
    ):
        with pytest.raises(ValueError, match=said):
            Look(**bad)


def test_the_key_takes_any_averaging_to_none_first():
    look = Look(averaging_s=0.3)
    look.next_averaging()
    assert look.averaging_s == 0


def test_a_zoom_that_is_beyond_another_device_shows_all_of_it():
    look = Look(low_hz=5000.0, high_hz=20000.0)
    low, high = 5000.0, 8000.0
    assert frequency_axis(Settings(sr=16000), look) == FrequencyAxis("log", low, high)
    assert frequency_axis(Settings(sr=8000), look) == whole_axis(Settings(sr=8000), "log")


def test_keys_keep_the_range_and_a_panel():
    look = Look()
    for _ in range(100):
        look.widen_range(-10)
    assert look.ceiling_db - look.floor_db == 10
    for _ in range(100):
        look.move_range(5)
    assert look.ceiling_db == 100
    for _ in range(100):
        look.widen_range(10)
    Look(floor_db=look.floor_db, ceiling_db=look.ceiling_db)
    for panel in ("spectrogram", "spectrum", "waveform", "mfcc", "level"):
        look.toggle(panel)
    assert look.panels == ("level",)
    look.toggle("spectrum")
    assert look.panels == ("spectrum", "level")
