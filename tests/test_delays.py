"""Delays are counted in constant memory, and read as numpy's percentiles of the values."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtaudio.consumers.delays import (
    BUCKETS,
    LEAST_S,
    PENDING_ROWS,
    PERCENTILES,
    Delay,
    Delays,
    middles,
)

values = st.floats(2e-6, 100.0) | st.floats(1e-4, 2e-4)


def counted(rows, step_s=0.01, names=("a",)):
    delays = Delays(*names)
    for number, row in enumerate(rows):
        delays.add(100 + number * step_s, *row)
    return delays


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=4 * PENDING_ROWS), st.sampled_from([1e-4, 0.1, 3.0]))
def test_any_percentile_is_within_one_percent_of_that_of_the_values(found, step_s):
    delay = counted([(value,) for value in found], step_s).read()["a"]
    assert delay.n == len(found)
    assert delay.max_ms == 1e3 * max(found)
    for percent in (50, 95, 99, 99.9):
        told = delay.percentile(percent)
        if len(found) * (100 - percent) < 100 - 1e-9:
            assert math.isnan(told)
        else:
            assert told == pytest.approx(1e3 * np.percentile(found, percent), rel=0.01)


def test_a_long_tail_is_told_within_one_percent():
    found = np.random.default_rng(1).lognormal(-7, 1.5, 50_000)
    delay = counted(found[:, np.newaxis], 1e-4).read()["a"]
    for name, percent in PERCENTILES.items():
        assert getattr(delay, name) == pytest.approx(1e3 * np.percentile(found, percent), rel=0.01)


def test_the_last_ten_seconds_forget_what_was_before():
    delays = Delays("a")
    for number in range(4000):  # 40 s: ten slow ones at first, then one a second
        delays.add(100 + number / 100, 5.0 if number < 10 else 1e-3 * (1 + number // 1000))
    delay = delays.read()["a"]
    assert delay.max_ms == 5000
    assert delay.n == 4000
    assert delay.recent.max_ms == 4.0
    assert 1000 <= delay.recent.n <= 1200  # up to a second more
    assert delay.recent.p99_ms == pytest.approx(4.0, rel=0.01)
    assert delay.recent.p95_ms == pytest.approx(4.0, rel=0.01)


def test_before_ten_seconds_have_passed_all_is_recent():
    delay = counted([(0.001,)] * 300).read()["a"]
    assert (delay.recent.n, delay.recent.max_ms) == (300, 1.0)


def test_each_column_is_its_own_and_what_is_not_known_does_not_count():
    rows = [(math.nan if i % 2 else 0.01, 0.02, math.nan) for i in range(100)]
    delays = counted(rows, names=("half", "all", "none")).read()
    assert [delays[name].n for name in ("half", "all", "none")] == [50, 100, 0]
    assert delays["half"].max_ms == 10
    assert math.isnan(delays["none"].max_ms)
    assert math.isnan(delays["none"].p50_ms)
    assert delays["none"].as_dict()["max_ms"] is None


def test_what_no_bucket_holds_goes_into_the_outermost():
    delay = counted([(-1.0,), (0.0,), (1e-9,), (1e9,), (math.inf,)]).read()["a"]
    assert delay.n == 5
    assert delay.max_ms == math.inf
    assert delay.percentile(25) == pytest.approx(1e3 * LEAST_S, rel=0.01)


def test_a_percentile_needs_a_value_beyond_it():
    assert math.isnan(counted([(1.0,)] * 99).read()["a"].p99_ms)
    assert counted([(1.0,)] * 100).read()["a"].p99_ms == pytest.approx(1000, rel=0.01)
    assert math.isnan(counted([(1.0,)] * 999).read()["a"].p999_ms)
    assert counted([(1.0,)] * 1000).read()["a"].p999_ms == pytest.approx(1000, rel=0.01)


def test_several_are_read_as_one():
    first, second = np.random.default_rng(2).lognormal(-7, 1, (2, 700, 1))
    both = Delay.together([counted(first).read()["a"], counted(second).read()["a"]])
    together = np.concatenate([first, second])
    assert both.n == 1400
    assert both.max_ms == 1e3 * together.max()
    assert both.p99_ms == pytest.approx(1e3 * np.percentile(together, 99), rel=0.01)
    assert both.recent.n == 1400
    assert Delay.together([]).n == 0


def test_a_reader_meets_whole_rows_alone_while_another_thread_writes():
    delays, over = Delays("a", "b"), threading.Event()

    def write():
        number = 0
        while not over.is_set():
            number += 1
            delays.add(number * 1e-3, 0.01, 0.01)

    thread = threading.Thread(target=write)
    thread.start()
    before = 0
    try:
        for _ in range(2000):
            read = delays.read()
            assert before <= read["a"].n == read["b"].n
            assert read["a"].n == 0 or read["a"].max_ms == 10
            before = read["a"].n
    finally:
        over.set()
        thread.join()
    assert before > 0


def test_memory_is_constant():
    delays = counted([(0.001,)] * (40 * 100), 0.01)
    assert len(delays._seconds) == delays._seconds.maxlen
    assert len(middles()) == BUCKETS - 1
