"""The history that the window reads: the same rows however they came, whatever was lost."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sounds import SR, all_frames, music

from rtaudio import Analyzer, Settings
from rtaudio.consumers.history import (
    HEARD,
    LOST,
    MOST_BYTES,
    NOT_THERE,
    NOTHING,
    NOTHING_BUT_LOST,
    History,
)

Y = music(3.0)


def heard(settings, y=Y, cuts=(), lost=0, history=None, **options):
    """A history of ``y``; ``lost`` samples are missing before its last piece."""
    history = history or History(settings, **options)
    analyzer = Analyzer(settings, tap=history.tap)
    pieces = np.split(y, cuts)
    for number, piece in enumerate(pieces, 1):
        for frames in analyzer.feed(piece, lost=lost if number == len(pieces) else 0):
            history.put(frames)
    for frames in analyzer.flush():
        history.put(frames)
    return history


def contents(history):
    ends = history.first, history.stop
    there = history.state(*ends) == HEARD
    rows = [history.dbfs(*ends)[there], history.mfcc(*ends)[there]]
    return [np.array(ends), there, *rows, history.levels(*ends), history.wave(*ends)]


@pytest.mark.parametrize("center", [True, False])
def test_rows_are_the_frames_in_dbfs(center):
    settings = Settings(sr=SR, center=center)
    rows = all_frames(Analyzer(settings), Y)
    history = heard(settings)
    assert (history.first, history.stop) == (0, len(rows["row"]))
    ends = 0, history.stop
    assert (history.state(*ends) == HEARD).all()
    expected = (rows["db"] - np.float32(settings.full_scale_db)).astype(np.float16)
    np.testing.assert_array_equal(history.dbfs(*ends), expected)
    np.testing.assert_array_equal(history.mfcc(*ends), rows["mfcc"])
    np.testing.assert_array_equal(history.levels(*ends)[:, :2].T, [rows["rms"], rows["peak"]])
    for row, time in enumerate(rows["time"]):
        assert history.time(row + 0.5) == pytest.approx(time, abs=1e-9)
        assert math.floor(history.place(time)) == row
    assert history.time(history.stop - 0.5) == pytest.approx(rows["time"][-1], abs=1e-9)


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    cuts=st.lists(st.integers(0, len(Y)), max_size=8).map(sorted),
    hop=st.sampled_from([1, 7, 64, 100, 512, 3000]),
    n_fft=st.sampled_from([16, 512, 2048]),
    center=st.booleans(),
    lost=st.integers(0, 3 * SR),
)
def test_the_same_whatever_the_blocks(cuts, hop, n_fft, center, lost):
    settings = Settings(sr=SR, n_fft=n_fft, hop_length=hop, center=center, n_mels=8, n_mfcc=5)
    y = Y[:3000] if hop < 10 else Y
    cuts = [cut for cut in cuts if cut < len(y)] or [len(y) // 2]
    whole = heard(settings, y, [cuts[-1]], lost, span_s=1.0)
    pieces = heard(settings, y, cuts, lost, span_s=1.0)
    for a, b in zip(contents(whole), contents(pieces), strict=True):
        np.testing.assert_array_equal(a, b)


def test_short_hops_are_put_together_by_their_maximum():
    settings = Settings(sr=SR, n_fft=256, hop_length=2, n_mels=8, n_mfcc=5)
    y = Y[:20000]
    history = heard(settings, y, cuts=[5000, 5001])
    assert history.hops == 32
    assert history.rows_per_s * 10 <= 4096
    rows = all_frames(Analyzer(settings), y)
    dbfs = (rows["db"] - np.float32(settings.full_scale_db)).astype(np.float16)
    starts = np.arange(0, len(dbfs), 32)
    found = history.dbfs(0, history.stop)
    np.testing.assert_array_equal(found, np.maximum.reduceat(dbfs, starts))
    peaks = history.levels(0, history.stop)[:, 1]
    np.testing.assert_array_equal(peaks, np.maximum.reduceat(rows["peak"], starts))


@pytest.mark.parametrize(("hop", "n_fft"), [(512, 2048), (100, 256), (333, 1024), (4096, 512)])
@pytest.mark.parametrize("center", [True, False])
def test_the_waveform_has_every_sample_in_its_place(hop, n_fft, center):
    settings = Settings(sr=SR, n_fft=n_fft, hop_length=hop, center=center, n_mels=8, n_mfcc=5)
    history = heard(settings, cuts=[1, 1000, 1700])
    wave = history.wave(0, history.stop).reshape(-1, 2)
    bucket = history.row_samples // history.buckets
    # row 0 lies around the middle of its frame
    begin = (0 if center else n_fft // 2) - hop // 2
    for number, (least, greatest) in enumerate(wave.tolist()):
        first = begin + number * bucket
        inside = Y[max(0, first) : max(0, first + bucket)]
        if len(inside):
            assert (least, greatest) == (inside.min(), inside.max())
        else:
            assert least > greatest


def test_lost_rows_say_so_and_have_no_wave():
    settings = Settings(sr=SR)
    history = heard(settings, cuts=[SR], lost=SR)
    state = history.state(0, history.stop)
    lost = np.flatnonzero(state == LOST)
    first, last = math.ceil((SR + 1024) / 512), (2 * SR - 1024) // 512
    np.testing.assert_array_equal(lost, np.arange(first, last + 1))
    np.testing.assert_array_equal(history.levels(*lost[[0, -1]])[:, 2], 1)
    assert (history.wave(int(lost[1]), int(lost[-1])) == NOTHING_BUT_LOST).all()
    assert (history.wave(history.stop + 1, history.stop + 2) == NOTHING).all()
    touched = history.levels(0, history.stop)[:, 2]
    assert ((touched > 0) & (touched < 1)).sum() >= 4  # frames that hold some zeros


def test_what_the_memory_held_before_is_never_read():
    settings = Settings(sr=SR)
    history = History(settings, keep_s=10)
    for held in (history._dbfs, history._mfcc, history._levels):
        held.fill(np.nan)
    heard(settings, cuts=[SR], lost=SR, history=history)
    ends = history.first, history.stop
    for read in (history.dbfs, history.mfcc, history.levels):
        assert np.isfinite(read(*ends)).all()


def test_samples_that_were_overwritten_are_not_told():
    settings = Settings(sr=SR)
    history = heard(settings, keep_s=1.0)
    wave = history.wave(0, history.stop)
    heard_at = np.flatnonzero(wave[:, 4, 0] <= wave[:, 4, 1])
    assert heard_at[0] == history.first


def test_a_texture_with_fewer_rows_gets_fewer():
    settings = Settings(sr=SR)
    assert History(settings, span_s=10.0, span_rows=430).hops == 2
    assert History(settings, span_s=10.0, span_rows=432).hops == 1
    assert History(settings, span_s=600).stop == 0
    long = heard(settings, np.zeros(SR * 602, np.float32), span_s=600.0)
    assert long.time(long.stop) - long.time(long.first) >= 600


def test_a_loss_longer_than_the_ring_leaves_lost_rows_alone():
    settings = Settings(sr=SR)
    history = heard(settings, cuts=[SR], lost=SR * 60, keep_s=5)
    state = history.state(history.first, history.stop)
    assert len(state) <= history.capacity
    assert set(state.tolist()) == {LOST, HEARD}
    assert (history.state(0, 10) == NOT_THERE).all()


def test_the_ring_keeps_the_newest_rows():
    settings = Settings(sr=SR)
    whole, short = heard(settings), heard(settings, keep_s=1.0)
    assert short.capacity == int(SR / 512) + 1 + math.ceil(SR / 512)
    assert short.stop == whole.stop
    assert whole.first == 0 < short.first
    assert (short.stop - short.first) * 512 >= SR
    ends = short.first, short.stop
    for name in ("dbfs", "mfcc", "levels", "wave", "state"):
        np.testing.assert_array_equal(getattr(short, name)(*ends), getattr(whole, name)(*ends))
    assert (short.state(0, short.first) == NOT_THERE).all()
    assert (short.state(short.stop, short.stop + 3) == NOT_THERE).all()


def test_ten_minutes_at_the_defaults_and_256_mb_at_most():
    for sr in (22050, 44100, 48000):
        history = History(Settings(sr=sr))
        assert history.capacity / history.rows_per_s >= 600
        assert history.nbytes < 130e6
    for change in (
        {"n_fft": 1 << 16},
        {"hop_length": 1},
        {"n_fft": 1 << 20},
        {"n_mels": 4096, "n_mfcc": 4096},
        {"n_fft": 16, "hop_length": 1 << 20},
    ):
        history = History(Settings(sr=192_000, **change))
        arrays = (value for value in vars(history).values() if isinstance(value, np.ndarray))
        assert sum(array.nbytes for array in arrays) <= MOST_BYTES
        assert history.capacity >= 2


def test_nothing_is_there_before_the_first_row():
    history = History(Settings(sr=SR))
    assert history.first == history.stop == 0
    assert math.isnan(history.captured(-1))
    assert math.isnan(history.captured(0))
    assert (history.state(-3, 3) == NOT_THERE).all()
