"""Lost samples: zeros in the frames, counted; frames that are nothing else are left out."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SR, all_frames, assert_same, joined, music

from rtaudio import Analyzer, Settings
from rtaudio.analysis.gaps import Gaps
from rtaudio.analysis.resample import REACH, SETTLED

Y = music(1.0)
SETTINGS = {
    "default": Settings(sr=SR),
    "small": Settings(sr=SR, n_fft=128, hop_length=50, n_mels=8, n_mfcc=4, center=False),
    "sparse": Settings(sr=SR, n_fft=64, hop_length=300, n_mels=8, n_mfcc=4),
}
ANALYZERS = {name: Analyzer(s) for name, s in SETTINGS.items()}


def feed_parts(analyzer, parts):
    """Feed (lost, samples) one after the other, flush, and put the rows end to end."""
    kept = []
    for lost, samples in parts:
        kept += [frames.copy() for frames in analyzer.feed(samples, lost=lost)]
    kept += [frames.copy() for frames in analyzer.flush()]
    return joined(kept)


def expected(parts, s):
    """What zeros in the place of the losses give, without the frames that are wholly lost."""
    whole = np.concatenate([np.r_[np.zeros(lost, np.float32), y] for lost, y in parts])
    missing = np.concatenate([np.r_[np.ones(lost), 0 * y] for lost, y in parts])
    rows = all_frames(Analyzer(s), whole)
    padding = s.n_fft // 2 if s.center else 0
    missing = np.pad(missing, (padding, padding + s.n_fft))
    starts = rows["row"] * s.hop_length
    rows["lost"] = np.array([missing[a : a + s.n_fft].sum() for a in starts]).astype(np.int64)
    kept = rows["lost"] < s.n_fft
    return {name: array[kept] for name, array in rows.items()} if len(kept) else rows


@pytest.mark.parametrize("case", SETTINGS)
@given(
    lengths=st.lists(
        st.tuples(st.sampled_from([0, 1, 49, 50, 128, 2048, 5000, 40000]), st.integers(0, 3000)),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
def test_gaps_are_zeros_counted_and_skipped(case, lengths):
    starts = np.cumsum([0] + [n for _, n in lengths])
    parts = [(lost, Y[a : a + n]) for (lost, n), a in zip(lengths, starts, strict=False)]
    analyzer = ANALYZERS[case]
    analyzer.reset()
    assert_same(feed_parts(analyzer, parts), expected(parts, SETTINGS[case]))


def test_numbers_jump_over_a_gap_and_time_does_not_slip():
    analyzer = Analyzer(Settings(sr=SR))
    rows = feed_parts(analyzer, [(0, Y[:4096]), (SR * 3600, Y[4096:8192])])
    jump = np.diff(rows["row"]).argmax()
    assert np.diff(rows["row"])[jump] > 3600 * SR / 512 - 8
    np.testing.assert_array_equal(rows["time"], rows["row"] * 512 / SR)
    assert rows["lost"][jump] < 2048
    assert (rows["lost"] > 0).sum() >= 4
    assert rows["lost"][0] == rows["lost"][-1] == 0


def test_a_gap_before_the_first_sample_and_after_the_last():
    analyzer = Analyzer(Settings(sr=SR, center=False))
    rows = feed_parts(analyzer, [(10_000, Y[:4096]), (10_000, Y[:0])])
    assert rows["row"][0] == (10_000 - 2048) // 512 + 1
    assert rows["row"][-1] == (10_000 + 4096 - 1) // 512
    assert rows["lost"][0] == 10_000 - rows["row"][0] * 512
    np.testing.assert_array_equal(rows["peak"] > 0, True)


@pytest.mark.parametrize("rates", [(48000, 22050), (8000, 22050), (44100, 48000)])
@pytest.mark.parametrize("lost", [1, 700, 9000, 1_000_000, 48000 * 86400])
def test_gaps_through_the_resampler(rates, lost):
    """Marked as wide as the filter reaches; beyond that nothing of the gap is left to be seen."""
    source_sr, sr = rates
    s = Settings(sr=sr, n_fft=512, hop_length=128, n_mels=8, n_mfcc=4)
    a, b = music(0.5, source_sr), music(0.7, source_sr)
    rows = feed_parts(Analyzer(s, source_sr), [(0, a), (lost, b)])
    start, stop = len(a) * sr / source_sr, (len(a) + lost) * sr / source_sr
    reach = REACH * max(1, sr / source_sr)

    begins = rows["row"] * 128 - 256
    inside = np.minimum(begins + 512, stop + reach) - np.maximum(begins, start - reach)
    np.testing.assert_allclose(rows["lost"], np.clip(inside, 0, 512), atol=3)
    assert (rows["lost"] < 512).all()

    whole = np.concatenate([a, np.zeros(min(lost, 100_000), np.float32), b])
    plain = all_frames(Analyzer(s, source_sr), whole)
    before = rows["row"] < start / 128 - 8
    np.testing.assert_allclose(rows["power"][before], plain["power"][: before.sum()], rtol=1e-6)
    clean = (rows["lost"] == 0) & (begins > stop)
    alone = all_frames(Analyzer(s, source_sr), b)
    assert clean.sum() > len(alone["row"]) * 0.8
    if lost < 100_000:
        twin = np.isin(plain["row"], rows["row"][clean])
        peak = plain["power"][twin].max(axis=1, keepdims=True)
        assert (np.abs(rows["power"][clean] - plain["power"][twin]) / (peak + 1e-9)).max() < 1e-5


def test_a_long_gap_leaves_out_whole_periods_of_the_resampler_exactly():
    """As if all its zeros had been resampled: the samples behind it stay on their grid."""
    source_sr, sr = 48000, 22050
    s = Settings(sr=sr, n_fft=256, hop_length=64, n_mels=8, n_mfcc=4)
    a, b = music(0.3, source_sr), music(0.5, source_sr)
    lost = SETTLED * 3 + 320 * 400 + 17
    rows = feed_parts(Analyzer(s, source_sr), [(0, a), (lost, b)])
    zeros = np.zeros(lost, np.float32)
    plain = all_frames(Analyzer(s, source_sr), np.concatenate([a, zeros, b]))
    twin = np.isin(plain["row"], rows["row"])
    assert twin.sum() == len(rows["row"])
    np.testing.assert_allclose(rows["rms"], plain["rms"][twin], atol=1e-7)


@pytest.mark.parametrize("size", [1, 100, 1000])
def test_losses_are_the_same_for_any_blocks(size):
    s = Settings(sr=16000, n_fft=256, hop_length=100, n_mels=8, n_mfcc=4)
    a, b = Y[:4000], Y[4000:8000]

    def parts(n):
        yield from ((0, a[i : i + n]) for i in range(0, len(a), n))
        yield from ((5000 if i == 0 else 0, b[i : i + n]) for i in range(0, len(b), n))

    assert_same(feed_parts(Analyzer(s, SR), parts(size)), feed_parts(Analyzer(s, SR), parts(4000)))


def test_an_outage_of_a_week_takes_no_memory():
    analyzer = Analyzer(Settings(sr=SR), 48000)
    week = 7 * 86400 * 48000
    tracemalloc.start()
    rows = feed_parts(analyzer, [(0, Y), (week, Y)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6
    assert rows["time"][-1] == pytest.approx((2 * len(Y) + week) / 48000, abs=0.05)


def test_captured_is_when_the_last_sample_was_captured():
    analyzer = Analyzer(Settings(sr=1000, n_fft=100, hop_length=50, n_mels=4, n_mfcc=4))
    kept = []
    for start in range(0, 1000, 100):
        block = np.zeros(100, np.float32)
        kept += [f.copy() for f in analyzer.feed(block, captured=500 + start / 1000)]
    rows = joined(kept)
    np.testing.assert_allclose(rows["captured"], 500 + (rows["row"] * 50 + 49) / 1000, atol=1e-9)
    assert np.isnan(next(analyzer.feed(np.zeros(100, np.float32))).captured).all()


@pytest.mark.parametrize("lost", [-1, 1.5, "5", None, 1 << 60])
def test_a_loss_that_is_no_count_is_refused_and_changes_nothing(lost):
    analyzer = Analyzer(Settings(sr=SR))
    with pytest.raises(ValueError, match=r"lost="):
        analyzer.feed(Y, lost=lost)
    assert_same(feed_parts(analyzer, [(0, Y)]), feed_parts(Analyzer(Settings(sr=SR)), [(0, Y)]))


@pytest.mark.parametrize("kind", [np.int32, np.uint64, np.int16])
def test_a_loss_in_numpys_integers_does_not_wrap(kind):
    parts = [(20_000, Y[:5000]), (30_000, Y[5000:])]
    expected = feed_parts(Analyzer(Settings(sr=SR), 48000), parts)
    analyzer = Analyzer(Settings(sr=SR), 48000)
    analyzer.feed(np.zeros(0), lost=kind(0))
    assert_same(feed_parts(analyzer, [(kind(lost), y) for lost, y in parts]), expected)
    rows = feed_parts(Analyzer(Settings(sr=SR)), [(np.int32(2**31 - 10), Y), (np.int32(9), Y)])
    assert (np.diff(rows["time"]) > 0).all()


@pytest.mark.parametrize("source_sr", [SR, 8000, 48000])
def test_a_loss_told_in_pieces_is_one_gap(source_sr):
    parts = [(0, Y[:4000]), (60_000, Y[4000:8000]), (9, Y[8000:12000]), (700, Y[:0])]
    pieces = [
        *[(0, Y[:4000]), (20_000, Y[:0]), (30_000, Y[:0]), (10_000, Y[4000:8000])],
        *[(4, Y[:0]), (5, Y[8000:12000]), (300, Y[:0]), (400, Y[:0])],
    ]
    whole = feed_parts(Analyzer(Settings(sr=SR), source_sr), parts)
    assert_same(feed_parts(Analyzer(Settings(sr=SR), source_sr), pieces), whole)


def test_no_more_is_lost_at_the_ends_than_there_was():
    s = Settings(sr=SR, n_fft=256, hop_length=64, n_mels=8, n_mfcc=4)
    rows = feed_parts(Analyzer(s, 48000), [(0, Y), (10, Y[:0])])
    assert 0 < rows["lost"][-1] <= REACH + 6
    rows = feed_parts(Analyzer(s, 48000), [(10, Y)])
    assert 0 < rows["lost"][0] <= REACH + 6
    assert rows["row"][0] == 0


def test_captured_is_not_known_where_a_frame_ends_in_padding():
    analyzer = Analyzer(Settings(sr=SR))
    list(analyzer.feed(Y[:5000], captured=7.0))
    rows = joined([frames.copy() for frames in analyzer.flush()])
    ends = rows["row"] * 512 + 1024
    np.testing.assert_array_equal(np.isnan(rows["captured"]), ends > 5000)


@pytest.mark.parametrize(("source_sr", "start"), [(SR, 100.0), (48000, 100.0)])
def test_captured_follows_the_source_through_gaps_and_resampling(source_sr, start):
    analyzer, kept, position = Analyzer(Settings(sr=SR), source_sr), [], 0
    for lost in (0, 0, 5000, 0, 777, 0):
        position += lost
        feeding = analyzer.feed(Y[:3000], lost=lost, captured=start + position / source_sr)
        kept += [frames.copy() for frames in feeding]
        position += 3000
    rows = joined(kept)
    np.testing.assert_allclose(rows["captured"], start + (rows["row"] * 512 + 1023) / SR, atol=1e-6)


def test_bad_source_rates():
    for rate in (0, -1, 44100.5, "x", 10**9):
        with pytest.raises(ValueError, match="sr="):
            Analyzer(Settings(sr=SR), rate)


def test_gaps_that_touch_or_overlap_are_one():
    gaps = Gaps()
    for span in ((10, 20), (20, 30), (28, 40), (50, 60)):
        gaps.add(*span)
    assert gaps.spans == [(10, 40), (50, 60)]
    assert gaps.end_if_inside(12, 38) == 40
    assert gaps.end_if_inside(38, 52) is None
    out = np.zeros(3, np.int64)
    gaps.count(0, 25, 35, out)
    np.testing.assert_array_equal(out, [25, 25, 10])


@pytest.mark.parametrize("rates", [(48000, 22050), (8000, 22050)])
def test_frames_that_count_no_loss_do_not_feel_it(rates):
    """Whatever was lost: beyond the stated reach of the resampler it can't be told."""
    source_sr, sr = rates
    s = Settings(sr=sr, n_fft=64, hop_length=16, n_mels=4, n_mfcc=4)
    y = np.random.default_rng(5).standard_normal(9000).astype(np.float32)
    rows = feed_parts(Analyzer(s, source_sr), [(0, y[:4000]), (700, y[4700:])])
    whole = all_frames(Analyzer(s, source_sr), y)
    clean = rows["row"][rows["lost"] == 0]
    ours, real = rows["power"][rows["lost"] == 0], whole["power"][np.isin(whole["row"], clean)]
    assert len(ours) == len(real) > 100
    assert np.abs(ours - real).max() < 1e-5 * real.max()
