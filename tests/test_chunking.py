"""The same samples give the same rows, bit for bit, however they are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SR, all_frames, assert_same, joined, music

from rtaudio import Analyzer, Settings, analyze

STEREO = np.stack([music(1.0), np.roll(music(1.0), 99)], axis=1)
CASES = {
    "default": (Settings(sr=SR), None),
    "odd": (Settings(sr=SR, n_fft=1000, hop_length=77, center=False, n_mels=20), None),
    "hop beyond n_fft": (Settings(sr=SR, n_fft=64, hop_length=1000, n_mels=4, n_mfcc=4), None),
    "down": (Settings(sr=8000, n_fft=512, hop_length=160), SR),
    "up, quantized": (Settings(sr=48000, quantize_bits=8, channel=2), SR),
    "quantized": (Settings(sr=SR, quantize_bits=4, hop_length=2048), None),
}
ANALYZERS = {name: Analyzer(*case) for name, case in CASES.items()}
WHOLE = {name: all_frames(analyzer, STEREO) for name, analyzer in ANALYZERS.items()}


@pytest.mark.parametrize("case", CASES)
@given(cuts=st.lists(st.integers(0, len(STEREO)), max_size=30))
@settings(max_examples=25, deadline=None)
def test_any_cuts(case, cuts):
    analyzer = ANALYZERS[case]
    analyzer.reset()
    assert_same(all_frames(analyzer, STEREO, sorted(cuts)), WHOLE[case])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1, 7, 512, 1009])
def test_blocks_of_one_size(case, size):
    analyzer, n = ANALYZERS[case], 6000 if size == 1 else len(STEREO)
    analyzer.reset()
    whole = all_frames(analyzer, STEREO[:n])
    analyzer.reset()
    assert_same(all_frames(analyzer, STEREO[:n], range(size, n, size)), whole)


@pytest.mark.parametrize("case", CASES)
def test_with_and_without_the_gil(case):
    rows = all_frames(Analyzer(*CASES[case], release_gil=True), STEREO)
    assert_same(rows, WHOLE[case])


def test_dtype_layout_and_byte_order_do_not_matter():
    y = STEREO
    shapes = [
        np.asfortranarray(y),
        y.astype(np.float64),
        y.astype(">f4"),
        np.repeat(y, 2, axis=0)[::2],
        np.repeat(y, 2, axis=1)[:, ::2],
        np.frombuffer(b"x" + y.tobytes(), np.float32, offset=1).reshape(y.shape),
    ]
    read_only = y.copy()
    read_only.flags.writeable = False
    for samples in [*shapes, read_only]:
        assert_same(all_frames(Analyzer(Settings(sr=SR)), samples), WHOLE["default"])


def test_reset_begins_again():
    analyzer = Analyzer(Settings(sr=SR))
    list(analyzer.feed(STEREO[:5000], lost=700))
    analyzer.reset()
    assert_same(all_frames(analyzer, STEREO), WHOLE["default"])


def test_what_analyze_returns_is_what_the_analyzer_yields():
    features = analyze(STEREO, sr=SR, features=("mfcc", "db", "power", "rms", "peak", "mel_db"))
    for name, array in features.arrays.items():
        np.testing.assert_array_equal(array, WHOLE["default"][name])


def test_frames_are_borrowed_and_read_only_until_copied():
    analyzer = Analyzer(Settings(sr=SR))
    steps = analyzer.feed(STEREO)
    frames = next(steps)
    with pytest.raises(ValueError, match="read-only"):
        frames.mfcc[0, 0] = 1
    assert all(array.flags.c_contiguous for array in (frames.power, frames.mfcc, frames.db))
    mine, before = frames.copy(), frames.mfcc.copy()
    next(analyzer._completed())
    assert not np.array_equal(frames.mfcc, before)
    np.testing.assert_array_equal(mine.mfcc, before)
    mine.mfcc[0, 0] = 1


def test_frames_left_untaken_make_the_next_feed_raise():
    analyzer = Analyzer(Settings(sr=SR, n_fft=64, hop_length=64))
    analyzer.feed(STEREO)
    with pytest.raises(RuntimeError, match="left untaken"):
        analyzer.feed(STEREO)
    with pytest.raises(RuntimeError, match="left untaken"):
        analyzer.flush()


def test_samples_that_complete_no_frame_may_be_left():
    analyzer = Analyzer(Settings(sr=SR))
    for piece in np.split(STEREO[:1000], 10):
        analyzer.feed(piece)  # accepted at the call, also where nobody iterates
    kept = [frames.copy() for frames in analyzer.feed(STEREO[1000:])]
    kept += [frames.copy() for frames in analyzer.flush()]
    assert_same(joined(kept), WHOLE["default"])


def test_the_last_frame_taken_is_enough():
    analyzer = Analyzer(Settings(sr=SR, center=False))
    next(analyzer.feed(STEREO[:2048]))
    next(analyzer.feed(STEREO[2048:2560]))


def test_after_flush_comes_reset():
    analyzer = Analyzer(Settings(sr=SR))
    list(analyzer.feed(STEREO))
    list(analyzer.flush())
    for call in (lambda: analyzer.feed(STEREO), analyzer.flush):
        with pytest.raises(RuntimeError, match="reset"):
            call()


def test_nothing_fed_nothing_owed():
    analyzer = Analyzer(Settings(sr=SR))
    assert list(analyzer.feed(np.zeros(0, np.float32))) == []
    assert list(analyzer.flush()) == []
