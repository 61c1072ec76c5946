"""What is learned of a host from its clocks, where no fake host brings it about."""

import pytest

from rtaudio.capture.ring import Record
from rtaudio.sources.clocks import ADC_QUANTILE, MS, Clock, Line, quantile
from rtaudio.sources.drift import Slope
from rtaudio.sources.host_model import HostModel
from rtaudio.sources.timeline import Timeline

SR, BLOCK = 48000, 1024
STEP_NS = 1e9 / SR


def test_a_loss_that_was_missed_is_no_noise_of_the_adc_time():
    clock, line = Clock(ADC_QUANTILE), Line(0, 0, STEP_NS)
    for window in range(20):
        for block in range(10):
            n = (10 * window + block) * BLOCK
            clock.add(n, 20 * MS if window >= 10 else 0.0)
        clock.end_window(line)
        clock.follow(n, line)
    assert clock.noise < MS


def test_of_few_blocks_one_outlier_does_not_speak_for_all():
    assert quantile([14.6, 19.4, 19.4, 19.4, 19.4, 24.7], ADC_QUANTILE) == 19.4
    assert quantile([14.6, 19.4, 19.4, 24.7], ADC_QUANTILE) == 19.4
    assert quantile([3.0, 1.0, 2.0], 0) == 1.0


@pytest.mark.parametrize(("arrival_ppm", "taken"), [(0, False), (3500, True)])
def test_another_rate_is_one_that_both_clocks_show(arrival_ppm, taken):
    """An ADC time that drifts alone is no rate, even if the arrival jumps by 3 ms."""
    model = HostModel(SR, "pulseaudio", None)
    model.line = Line(0, 0, STEP_NS)
    model.adc_usable = True
    model.arrival.typical = 3 * MS
    for n in range(0, 3 * SR // 2, SR // 2):
        model.adc.points.append((n, n * STEP_NS * 1.0035))
        model.arrival.points.append((n, n * STEP_NS * (1 + arrival_ppm * 1e-6)))
    assert (model.other_rate() is not None) == taken


def test_one_adc_time_that_is_late_does_not_make_all_samples_older():
    """Quiet hardware; of one block alone the ADC time lies a ms behind its arrival."""
    timeline, block_ns, errors = Timeline(SR), BLOCK * STEP_NS, []
    for number in range(300):
        captured = 1e12 + number * block_ns
        age = block_ns + 5 * MS
        wrong = -MS if number == 10 else age
        came = round(captured + age)
        first = number * BLOCK
        timeline.take(Record(number, first, BLOCK, 0, came, round(wrong), 0, first))
        while (placed := timeline.placed()) is not None:
            errors.append(placed.captured_ns - (1e12 + placed.record.number * block_ns))
    assert abs(errors[-1]) < MS


def test_a_step_of_120_ms_is_looked_at_with_any_host():
    model = HostModel(SR, "pulseaudio", None)
    model.line = Line(0, 0, STEP_NS)
    for window in range(30):
        for block in range(10):
            n = (10 * window + block) * BLOCK
            came = model.line.at(n + BLOCK) + window % 2 * 100 * MS
            seen = model.see(Record(n // BLOCK, n, BLOCK, 0, round(came), 0, 0, n), 0)
            model.learn(seen, 0)
        model.end_window()
        model.follow(n)
    assert model.clock.noise > 30 * MS
    assert model.limit == 120 * MS


@pytest.mark.parametrize("server", ["pulseaudio", "pipewire", ""])
@pytest.mark.parametrize("by_ms", [0.5, 6, 30])
def test_an_adc_time_later_than_possible_is_corrected_within_what_is_stated(server, by_ms):
    """Blocks that come before their last sample was captured: the ADC time is wrong by as much."""
    block, step = 4096, STEP_NS
    timeline = Timeline(SR, None, server)
    for number in range(150):
        adc = 1e12 + number * block * step
        came = adc + block * step - by_ms * MS
        first = number * block
        timeline.take(Record(number, first, block, 0, round(came), round(came - adc), 0, first))
        while (placed := timeline.placed()) is not None:
            captured_ns = placed.captured_ns - (1e12 + placed.record.first * step)
    assert captured_ns <= -by_ms * MS + 1  # never captured after it came
    assert abs(captured_ns + by_ms * MS) <= timeline.model.captured_within_ns


def test_a_step_that_counts_is_as_large_as_the_table_says():
    """The ADC time is later by 3 ms from 3 s on, and of some blocks by 6: 4 ms count."""
    timeline, lost = Timeline(SR, None, "pulseaudio"), 0
    for number in range(300):
        first, late = number * BLOCK, 0.0
        if number >= 141:
            late = 6 * MS if number % 10 == 1 else 3 * MS
        adc = 1e12 + first * STEP_NS + late
        came = round(adc + BLOCK * STEP_NS + 5 * MS)
        timeline.take(Record(number, first, BLOCK, 0, came, round(came - adc), 0, first))
        while (placed := timeline.placed()) is not None:
            lost += placed.lost
    assert lost == 0


def test_a_drift_is_told_of_what_was_watched():
    """Five points of two seconds, a stop of 13 s, and again: five seconds are not there yet."""
    slope = Slope()
    for begin in (0, 15, 30):
        assert slope.drift() is None
        for x in range(5):
            slope.add(begin + x / 2, -1e5 * x / 2)
        slope.step()
    assert slope.drift().over_s == 6
    assert slope.drift().ppm == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize(("server", "later"), [("pulseaudio", 0.0), ("", 50 * MS)])
def test_only_a_server_whose_adc_time_a_stop_disturbs_is_not_believed_after_it(server, later):
    """After a second stop neither; hardware's ADC time is right at once."""
    model = HostModel(SR, server, None)
    model.line = Line(0, 0, STEP_NS)
    model.adc_usable = True
    model.adc.points.append((0, 0.0))
    for level in (0.0, 50 * MS):
        model.adc.level = level
        model.pass_over(2000 * MS, before=True)
    assert model.captured_at(0) == 4000 * MS + later
