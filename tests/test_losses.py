"""A loss is declared on evidence: none is invented, the real ones are found, and times are right.

The fake host does what sound servers do: lateness wanders (PulseAudio), ADC times are anchored anew
(PipeWire), latency changes for good, a graph stands still and loses nothing (JACK).
"""

import math
from typing import NamedTuple

import hypothesis
import pytest
from faults import check_books, check_places, listen
from hypothesis import given
from hypothesis import strategies as st

from rtaudio.capture.fake import Fault, Script, numbers

BEGAN_NS = 1_000_000_000  # when a virtual clock begins
few = hypothesis.settings(  # a script that fails is short enough, and shrinking takes minutes
    max_examples=5, deadline=None, phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate)
)
seeds = st.integers(0, 10_000)


class Heard(NamedTuple):
    """One block, as it was handed on; ms but for ``at``."""

    at: float  # s after the device was switched on
    off: float  # how much later than in truth it claims to be captured
    within: float  # what it may be off, as the microphone says
    kept: float  # how long it was kept after it came


def hear(script, seconds):
    """Listen; returns the run, and what was heard of each block in which no graph stood still."""
    heard = []

    def watch(mic, device, block):
        if not len(block):
            return
        first, now = int(numbers(block.samples[:1, 0])[0]), device.now_ns()
        captured, end = device.captured_at(first), device.captured_at(first + len(block))
        if end - captured < len(block) * device.period_ns() + 1e5:
            off = block.captured * 1e3 - captured / 1e6
            kept = now / 1e6 - block.called * 1e3
            at = (now - BEGAN_NS) / 1e9
            heard.append(Heard(at, off, mic.stats.captured_within_ms, kept))

    return listen(script, seconds, watch=watch), heard


def check_nothing_is_invented(run):
    """What was not lost is not told; `check_books` says that delivered = processed."""
    check_books(run)
    assert run.true_jumps == []
    assert (run.told, run.unplaced, run.mic.stats.refuted) == ([], [], 0)


def check_times(heard, unknown_ms=0.0, after=3.0):
    """`captured` is as right as it says, but for a constant latency that nobody can know."""
    for block in heard:
        if block.at > after:
            assert -block.within <= block.off <= block.within + unknown_ms, block


def check_losses(run):
    """Each true loss is told once, where it was and as long as it was, within its uncertainty."""
    check_books(run)
    told = [(at, at, gap) for at, gap in run.told] + run.unplaced
    assert len(told) == len(run.true_jumps), (told, run.true_jumps)
    reach = run.script.blocksize * (2 if run.script.odd_sizes else 1)
    for (at, length), (begin, end, gap) in zip(run.true_jumps, sorted(told), strict=True):
        assert abs(gap.length - length) <= gap.uncertainty, (gap, length)
        within = reach if gap.cause == "unplaced" else gap.uncertainty
        assert begin - within <= at <= end + within, (at, begin, end, gap)


@st.composite
def latency_changes(draw, most_s, begin=4.0, end=17.0, kinds=("latency", "latency_creep")):
    """Changes up and down, of a latency that never falls below what it is at first."""
    faults, at, later = [], begin, 0.0
    while (at := at + draw(st.floats(1, 6))) < end:
        step = draw(st.floats(0.003, most_s))
        step = -step if step <= later and draw(st.booleans()) else step
        later += step
        faults.append(Fault(at, draw(st.sampled_from(kinds)), seconds=step))
    return tuple(faults)


shapes = {
    "blocksize": st.sampled_from([64, 256, 441, 1024, 4096]),
    "odd_sizes": st.booleans(),
    "jitter_ms": st.sampled_from([0, 0.3, 2, 5]),
    "burst": st.sampled_from([1, 2, 4]),
    "ppm": st.floats(-300, 300),
    "seed": seeds,
}

# --- nothing is invented ----------------------------------------------------------------------


@given(
    st.builds(
        Script,
        **shapes,
        wander_ms=st.floats(0, 35),
        adc_noise_ms=st.sampled_from([0, 5, 21]),
        faults=st.one_of(st.just(()), latency_changes(0.1)),
    )
)
@few
def test_nothing_is_invented_however_late_it_comes(script):
    run, heard = hear(script, 20)
    check_nothing_is_invented(run)
    check_times(heard)


@given(st.builds(Script, **shapes, server=st.just("pipewire"), adc_wander_ms=st.floats(0, 25)))
@few
def test_nothing_is_invented_if_the_adc_time_is_anchored_anew(script):
    run, _ = hear(script, 20)
    check_nothing_is_invented(run)


@given(
    st.builds(
        Script,
        blocksize=st.sampled_from([64, 256, 441, 1024]),
        jitter_ms=st.floats(0, 0.3),
        server=st.just("pipewire"),
        adc_wander_ms=st.floats(5, 25),
        seed=seeds,
        faults=latency_changes(0.03, 10, 20, ("latency",)),
    )
)
@few
def test_a_quiet_arrival_outweighs_an_adc_time_that_is_anchored_anew(script):
    run, _ = hear(script, 24)
    check_nothing_is_invented(run)


# --- changes of latency -----------------------------------------------------------------------


@given(
    st.floats(0.003, 0.3),
    st.booleans(),
    st.sampled_from([64, 256, 441, 1024]),
    st.floats(0, 0.3),
    st.floats(6, 9),
    seeds,
)
@few
def test_a_change_of_latency_is_counted_as_what_it_is(step, later, blocksize, jitter, at, seed):
    step = step if later else -step
    script = Script(
        blocksize=blocksize,
        jitter_ms=jitter,
        latency_ms=320,
        seed=seed,
        faults=(Fault(at, "latency", seconds=step),),
    )
    run, heard = hear(script, 14)
    check_nothing_is_invented(run)
    check_times(heard)
    assert run.mic.stats.latency_changes == 1
    assert run.mic.stats.latency_change_ms == pytest.approx(1e3 * step, abs=jitter + 0.5)


# --- real losses are found --------------------------------------------------------------------


@st.composite
def losses(draw, least_s, most_s, begin, end, sr=48000):
    """Some, at random, at least 2.5 s apart."""
    faults, at = [], begin
    while (at := at + draw(st.floats(2.5, 5))) < end:
        seconds = math.exp(draw(st.floats(math.log(least_s), math.log(most_s))))
        faults.append(Fault(at, "loss", math.ceil(seconds * sr)))
    return tuple(faults)


@given(
    st.sampled_from([64, 256, 441, 1024]),
    st.integers(240, 9600),
    st.floats(0.005, 0.1),
    st.floats(0, 0.3),
    seeds,
)
@few
def test_a_loss_beside_a_change_of_latency_is_as_long_as_the_adc_time_says(
    blocksize, samples, later, jitter, seed
):
    faults = (Fault(7, "loss", samples), Fault(7, "latency", seconds=later))
    script = Script(blocksize=blocksize, jitter_ms=jitter, seed=seed, faults=faults)
    run, heard = hear(script, 12)
    check_losses(run)
    check_times([block for block in heard if not near(block, script)])
    assert run.mic.stats.latency_change_ms == pytest.approx(1e3 * later, abs=jitter + 0.5)


@given(
    st.builds(
        Script,
        blocksize=st.sampled_from([64, 256, 441, 1024]),
        jitter_ms=st.sampled_from([0, 0.3, 2]),
        burst=st.sampled_from([1, 2]),
        wander_ms=st.floats(0, 30),
        ppm=st.floats(-300, 300),
        seed=seeds,
        faults=losses(0.005, 1, 4, 20),
    )
)
@few
def test_an_exact_adc_time_shows_losses_of_5_ms_however_arrival_wanders(script):
    run, heard = hear(script, 25)
    check_losses(run)
    check_times([block for block in heard if not near(block, script)])


def near(block, script, seconds=1.0):
    """Whether something had happened shortly before it came."""
    return any(0 <= block.at - fault.at < seconds for fault in script.faults)


@given(
    st.builds(
        Script,
        blocksize=st.sampled_from([64, 256, 441, 1024]),
        jitter_ms=st.floats(0, 0.3),
        server=st.just("pipewire"),
        adc_wander_ms=st.floats(5, 25),
        seed=seeds,
        faults=losses(0.12, 1, 10, 20),
    )
)
@few
def test_an_adc_time_that_is_anchored_anew_hides_no_loss_of_120_ms(script):
    run, _ = hear(script, 24)
    check_losses(run)


# --- a graph, as JACK's -----------------------------------------------------------------------


@given(
    st.sampled_from([64, 256, 1024]),
    st.floats(0.001, 0.1),
    st.floats(6, 9),
    st.sampled_from([0, 0.1, 0.3]),
    seeds,
)
@few
def test_a_graph_that_stands_still_loses_nothing(blocksize, seconds, at, jitter_ms, seed):
    script = Script(
        server="jack",
        blocksize=blocksize,
        jitter_ms=jitter_ms,
        seed=seed,
        faults=(Fault(at, "graph_stall", seconds=seconds),),
    )
    run, heard = hear(script, 20)
    check_nothing_is_invented(run)
    check_times(heard, script.latency_ms)
    assert run.mic.stats.latency_changes == 1
    assert run.mic.stats.latency_change_ms == pytest.approx(1e3 * seconds, abs=jitter_ms + 0.5)


def graph_losing(blocksize, count, jitter_ms, seed, *before):
    """A graph that runs ``count`` times without us, for 1 ms or more each."""
    lost = count * max(1, 100 // blocksize) * blocksize
    faults = (*before, Fault(9, "loss", lost))
    script = Script(
        server="jack", blocksize=blocksize, jitter_ms=jitter_ms, seed=seed, faults=faults
    )
    run, heard = hear(script, 25)
    check_books(run)
    check_times([block for block in heard if not near(block, script)], script.latency_ms)
    assert [length for _, length in run.true_jumps] == [lost]
    return run, lost


@given(st.sampled_from([64, 256, 1024]), st.integers(1, 40), st.sampled_from([0, 0.1]), seeds)
@few
def test_what_a_graph_ran_without_us_is_known_exactly(blocksize, count, jitter_ms, seed):
    run, lost = graph_losing(blocksize, count, jitter_ms, seed)
    check_losses(run)
    assert ([gap.length for _, gap in run.told], run.unplaced) == ([lost], [])


@given(
    st.sampled_from([64, 256, 1024]),
    st.integers(1, 40),
    st.sampled_from([0, 0.1]),
    seeds,
    st.sampled_from([0.1, 0.3, 1.0, 3.0]),
    st.floats(0.002, 0.1),
)
@few
def test_it_is_known_soon_after_a_stall_too(blocksize, count, jitter_ms, seed, after, stall):
    stalled = Fault(9 - after - stall, "graph_stall", seconds=stall)
    run, lost = graph_losing(blocksize, count, jitter_ms, seed, stalled)
    told = sum(gap.length for _, gap in run.told) + sum(gap.length for *_, gap in run.unplaced)
    assert abs(told - lost) <= 2  # some of it at an unknown place, by the graph's settled time


# --- what is uncertain, and what was wrong ----------------------------------------------------


def test_a_loss_at_an_unknown_place_is_not_on_the_axis():
    axis = []

    def watch(mic, device, block):
        first = int(numbers(block.samples[:1, 0])[0])
        axis.append((first, block.first_sample, 1e3 * block.captured, device.captured_at(first)))

    script = Script(adc=False, faults=(Fault(6, "loss", 36),))
    run = listen(script, 12, watch=watch)
    ((begin, end, gap),) = run.unplaced
    ((at, _),) = run.true_jumps
    assert begin <= at <= end + script.blocksize
    assert abs(gap.length - 36) <= 2
    assert run.told == []
    assert (run.mic.stats.lost, run.mic.stats.unplaced) == (0, gap.length)
    first, place, _, _ = axis[0]
    number, last_place, captured_ms, true_ns = axis[-1]
    assert last_place - place == number - first - 36  # numbers go on without it
    assert captured_ms - true_ns / 1e6 == pytest.approx(script.latency_ms, abs=0.1)


def refutation(blocksize, rises=1):
    """A host without ADC time, whose latency rises by 10 ms and falls again, so many times."""
    faults, remarks = [], []
    for i in range(rises):
        faults.append(Fault(6 + 6 * i, "latency", seconds=0.01))
        faults.append(Fault(9 + 6 * i, "latency", seconds=-0.01))
    script = Script(adc=False, blocksize=blocksize, faults=tuple(faults))
    run = listen(
        script, 8 + 6 * rises, watch=lambda mic, device, block: remarks.extend(block.remarks)
    )
    return run, remarks


@pytest.mark.parametrize("blocksize", [64, 256, 1024])
def test_a_loss_that_was_none_is_refuted(blocksize):
    run, remarks = refutation(blocksize)
    check_books(run)
    ((_, gap),) = run.told
    (remark,) = remarks
    assert remark.cause == "refuted"
    assert (remark.first_sample, remark.length) == (gap.first_sample, gap.length)
    assert gap.length == pytest.approx(480, abs=2)
    assert run.mic.stats.lost == run.mic.stats.refuted == gap.length  # what was told stays


def test_what_was_refuted_is_not_repeated_on_the_same_ground():
    run, _ = refutation(1024, rises=3)
    assert len(run.told) == 1


# --- bad input --------------------------------------------------------------------------------

WANDERS = {"wander_ms": 30}
PULSEAUDIO = {"wander_ms": 20, "server": "pulseaudio"}
PIPEWIRE = {"adc_wander_ms": 20, "server": "pipewire"}
HOSTS = [{}, {"adc": False}, {"server": "jack"}, WANDERS, PULSEAUDIO, PIPEWIRE]


CLOCKS_GO_WRONG = ["adc_zero", "adc_nan", "adc_negative", "adc_still", "adc_back"]


@pytest.mark.parametrize("host", [{}, WANDERS, PULSEAUDIO, PIPEWIRE])
@pytest.mark.parametrize("seconds", [0.3, 1, 1.5, 5])
@pytest.mark.parametrize("kind", CLOCKS_GO_WRONG)
def test_a_device_whose_clock_goes_wrong_has_lost_nothing(kind, seconds, host):
    script = Script(**host, faults=(Fault(6.2, kind, seconds=seconds),))
    run, heard = hear(script, 25)
    check_nothing_is_invented(run)
    if not host:  # then nobody knows the time without it
        check_times(heard, script.latency_ms)
    assert abs(heard[-1].off) <= heard[-1].within  # and it is right again


@pytest.mark.parametrize("server", ["", "pulseaudio", "pipewire"])
@pytest.mark.parametrize("kind", CLOCKS_GO_WRONG)
def test_without_its_clock_a_host_is_one_that_has_none(kind, server):
    script = Script(server=server, faults=(Fault(6.2, kind, seconds=60),))
    run, heard = hear(script, 20)
    check_nothing_is_invented(run)
    known = [block for block in heard if block.at > 14]  # that it goes wrong takes some windows
    assert all(abs(block.off) <= script.latency_ms + block.within for block in known)


@pytest.mark.parametrize("seconds", [-5, -0.05, 0.003, 0.05, 5])
@pytest.mark.parametrize("host", [{}, WANDERS, PULSEAUDIO, PIPEWIRE])
def test_a_clock_that_is_stepped_has_lost_nothing(seconds, host):
    script = Script(**host, faults=(Fault(6.2, "clock_jump", seconds=seconds),))
    run, heard = hear(script, 15)
    check_nothing_is_invented(run)
    check_times(heard)


@pytest.mark.parametrize("blocksize", [256, 1024])
@pytest.mark.parametrize("ppm", [-20_000, -300, 300, 20_000])
@pytest.mark.parametrize("host", HOSTS)
def test_a_device_at_another_rate_has_lost_nothing(ppm, blocksize, host):
    run, heard = hear(Script(ppm=ppm, blocksize=blocksize, **host), 25)
    check_nothing_is_invented(run)
    if "wander_ms" not in host:
        check_times(heard, 5, after=3 if abs(ppm) == 300 else 15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("server", ["", "pulseaudio"])
def test_a_device_that_is_slow_has_no_changes_of_latency(server, seed):
    run, _ = hear(Script(ppm=-20_000, jitter_ms=20, blocksize=512, server=server, seed=seed), 20)
    check_nothing_is_invented(run)
    assert run.mic.stats.latency_changes <= 3
    assert run.mic.stats.drift_ppm == pytest.approx(-20_000, abs=500)


@pytest.mark.parametrize("ppm", [-20_000, 20_000])
@pytest.mark.parametrize("host", HOSTS)
def test_another_rate_is_known_after_an_outage(ppm, host):
    run, _ = hear(Script(ppm=ppm, **host, faults=(Fault(15, "end"),)), 30)
    check_books(run)
    assert {gap.cause for _, gap in run.told} == {"outage"}
    assert (run.mic.stats.host, run.unplaced) == (0, [])


@pytest.mark.parametrize("host", HOSTS)
def test_a_machine_that_sleeps_has_an_outage(host):
    run, _ = hear(Script(faults=(Fault(6, "asleep", seconds=100),), **host), 120)
    check_books(run)
    check_places(run)
    assert {gap.cause for _, gap in run.told} == {"outage"}
    assert run.mic.stats.outage / 48000 == pytest.approx(100, abs=0.2)
    assert (run.mic.stats.host, run.unplaced) == (0, [])


@pytest.mark.parametrize("host", [{}, {"wander_ms": 5, "server": "pulseaudio"}])
@pytest.mark.parametrize("step", [0.04, 0.06, 0.12])
def test_a_latency_that_falls_refutes_no_loss(host, step):
    faults = (
        Fault(5, "latency", seconds=step),
        Fault(12, "loss", round(48000 * step)),
        Fault(20, "latency", seconds=-0.9 * step),
    )
    run, _ = hear(Script(**host, faults=faults), 30)
    check_losses(run)
    assert run.mic.stats.refuted == 0


@pytest.mark.parametrize("samples", [2400, 4800])
def test_an_adc_time_that_is_off_for_a_while_hides_no_later_loss(samples):
    off = Fault(10, "adc_late", seconds=1.6)
    lost = (Fault(at, "loss", samples) for at in (20, 30, 40))
    run, _ = hear(Script(wander_ms=20, server="pulseaudio", faults=(off, *lost)), 50)
    check_losses(run)


# --- how long blocks are kept -----------------------------------------------------------------


@given(
    st.builds(
        Script,
        **shapes,
        wander_ms=st.floats(0, 35),
        adc=st.booleans(),
        adc_wander_ms=st.sampled_from([0, 0, 25]),
        faults=st.one_of(losses(0.002, 0.05, 2, 12), latency_changes(0.05, 2, 12)),
    )
)
@few
def test_no_block_is_kept_for_longer_than_150_ms(script):
    block_ms = 1e3 * script.blocksize * (2 if script.odd_sizes else 1) / script.sr
    _, heard = hear(script, 15)
    # It is decided when the next block comes; by the third at the earliest.
    next_ms = script.burst * block_ms + script.jitter_ms + script.wander_ms
    jumps = [1e3 * f.samples / script.sr + max(0, 1e3 * f.seconds) for f in script.faults]
    most = max(150, 2 * script.burst * block_ms) + next_ms + max(jumps, default=0)
    assert max(block.kept for block in heard) <= most
