"""The right edge moves with the clock, whatever bursts the rows come in."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtaudio.view.scroll import WINDOW_S, Scroll

RATE = 93.75


class Rows:
    """A history as `Scroll` sees it."""

    rows_per_s = RATE
    first = 0
    stop = 0
    newest_captured = math.nan

    def captured(self, row):
        assert row == self.stop - 1
        return self.newest_captured


def edges(arrivals, seconds, frame_s=1 / 60):
    """(now, edge, stop) at each draw; row r came at ``arrivals[r]``."""
    rows, scroll, found = Rows(), Scroll(), []
    for now in np.arange(0.0, seconds, frame_s):
        rows.stop = int(np.searchsorted(arrivals, now, side="right"))
        rows.newest_captured = now
        found.append((now, scroll.edge(rows, rows.stop, now, True), rows.stop))
    return np.array(found)


@given(
    lag=st.floats(0, 0.3),
    burst=st.integers(1, 12),
    seed=st.integers(0, 1000),
    frame_s=st.sampled_from([1 / 60, 1 / 32, 0.1]),
)
def test_no_stutter_in_bursts(lag, burst, seed, frame_s):
    rng = np.random.default_rng(seed)
    rows = np.arange(int(10 * RATE))
    due = (rows // burst + 1) * burst / RATE + lag  # a burst at a time
    arrivals = np.maximum.accumulate(due + rng.uniform(0, 0.004, len(rows)))
    now, edge, stop = edges(arrivals, 9.0, frame_s).T
    assert (edge >= stop).all()  # nothing that is there is hidden
    settled = now > 2.5
    line = edge[settled] - now[settled] * RATE
    # within what the earliest rows differ by, and never far from the newest
    assert np.ptp(line) <= (0.004 + frame_s) * RATE + 1e-6
    assert (edge[settled] - stop[settled] <= burst + 1 + (0.004 + 2 * frame_s) * RATE).all()


def test_a_pause_scrolls_on_and_is_caught_up():
    rows = np.arange(int(10 * RATE))
    arrivals = rows / RATE + 0.02
    arrivals[400:] += 3.0  # no rows for 3 s, and no time lost on their axis
    now, edge, stop = edges(arrivals, 10.0).T
    pause = (now > 5) & (now < 7)
    assert (edge[pause] - stop[pause]).max() > 1.5 * RATE
    after = now > 400 / RATE + 3 + WINDOW_S + 0.1
    assert (edge[after] - stop[after]).max() <= 3


def test_time_that_is_missing_on_the_clock_is_jumped_over():
    """As after a machine has slept: the rows' axis has the outage, the clock has not."""
    rows, scroll = Rows(), Scroll()
    rows.newest_captured = 0.0
    for number in range(300):
        rows.stop = number
        scroll.edge(rows, rows.stop, number / RATE, True)
    rows.stop = 50_000
    assert scroll.edge(rows, rows.stop, 300 / RATE, True) == pytest.approx(50_000)


def test_off_the_clock_the_edge_is_the_newest_row():
    rows, scroll = Rows(), Scroll()
    rows.stop = 77
    assert scroll.edge(rows, rows.stop, 123.0, True) == 77  # read as fast as it can be
    rows.newest_captured = 1.0
    assert scroll.edge(rows, rows.stop, 124.0, False) == 77  # ended
    scroll.frozen = 50.0
    assert scroll.edge(rows, rows.stop, 125.0, True) == 50


def test_frozen_it_moves_within_the_history():
    rows, scroll = Rows(), Scroll()
    rows.stop = 1000
    scroll.edge(rows, rows.stop, 0.0, True)
    scroll.freeze()
    assert scroll.frozen == 999  # the newest row grows
    scroll.move(-10_000, 300)
    assert scroll.frozen == 300
    scroll.move(10_000, 300)
    assert scroll.frozen == 999
    scroll.move(-50, 1150)  # a history shorter than the picture: there is nothing to scroll to
    assert scroll.frozen == 999
    scroll.edge(rows, 1200, 1.0, False)  # ended: the newest row as well
    scroll.move(10_000, 300)
    assert scroll.frozen == 1200


def test_before_the_first_row_it_freezes_at_nothing():
    rows, scroll = Rows(), Scroll()
    scroll.edge(rows, rows.stop, 0.0, True)
    scroll.freeze()
    assert scroll.frozen == 0
