"""What is learned of a host: its two clocks, what they show, and the device's rate.

Which step of a clock is a loss depends on how the host behaves: `host_kinds` has the table.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.capture.ring import NO_AGE
from rtaudio.sources.clocks import ADC_QUANTILE, MS, SETTLED, WRONG_NS, Clock, Line, quantile
from rtaudio.sources.drift import Drift, Slope, slope
from rtaudio.sources.graph import Graph
from rtaudio.sources.host_kinds import LOOSE, OF_SERVER, PROMPT, UNSTEADY, WANDERING, Kind

if TYPE_CHECKING:
    from rtaudio.capture.ring import Record

QUIET_NS = 0.2 * MS  # noise of a clock below which it is quiet
LOCKSTEP_NS = 2 * MS  # a host whose blocks come by so much apart is not prompt
AGREE_NS = 0.3 * MS  # by so much two quiet clocks may differ
LOOSEST_NS = 120 * MS  # a step that is looked at with any host, whatever its noise
BEYOND_NS = 500 * MS  # no change of latency is larger
MOST_AHEAD_NS = 21 * MS  # what an ADC time that is late is taken to be late by, at first
ASLEEP_NS = 2000 * MS
CHANGE_NS = 2 * MS  # a change of latency is counted from here on
LEAST_NS = 1 * MS  # what jitter is taken for at least
RATE_UNKNOWN, RATE_KNOWN = 300e-6, 50e-6  # how far a rate may be off, before and after it is known
RATE_RANGE = 2500e-6  # more is no drift, but another rate
MOST_RATE = 0.2  # and no device is off by more than that
DISTURBED_WINDOWS = 20
STOPPED_WINDOWS = 8  # so long an ADC time is wrong at most after a stop: else it is none
LEAST_POINTS = 3
RAMPS, RAMP_POINTS = 8, 6  # a ramp is of so many points
LEVEL_NS = 2000 * MS  # how old the points are that a level is made of


class Seen(NamedTuple):
    """A block as the clocks show it, in ns above the line; NaN where the host gives no ADC time."""

    record: Record
    end: int
    arrival: float
    adc: float

    @property
    def begin(self) -> int:
        """The number of its first sample."""
        return self.end - self.record.length


class HostModel:
    """The clocks of one stream against its samples. ``before``: of the stream before an outage."""

    def __init__(self, sr: int, server: str, before: HostModel | None) -> None:
        self.arrival, self.adc = Clock(0), Clock(ADC_QUANTILE)
        self.adc_usable = False
        """Whether the ADC time is a clock at all."""
        self._known_kind = OF_SERVER.get(server)
        self.kind = self._known_kind or PROMPT
        self.graph = Graph() if self.kind.counted else None
        self.limit = self.kind.least_ns
        """From which lateness on a step counts, in ns."""
        self.drift: Drift | None = None
        """How far the device's rate is from the promised one; None while that is not known."""
        self.line: Line | None = None
        self._nominal = self._base_ns = 1e9 / sr  # the promised step, and the one it is near
        self._step_ns = self._nominal  # before it is measured
        # By how much the ADC time is too late, for no block comes before its end: a guess, and at
        # least so much.
        self._ahead = self._least_ahead = 0.0
        self._aheads: list[float] = []  # of the blocks of this window
        self._captured_level = 0.0  # of an ADC time that is loose, or wrong after a long stop
        self._disturbed = 0  # for so many windows more the ADC time may be wrong, after a long stop
        self._wrong = 0  # for so many windows the ADC time was wrong
        self._largest = 0  # samples of a block
        self._rate_clock: Clock | None = None  # that the newest points of the slope are of
        self._first_point: tuple[int, float] | None = None
        self._slope = Slope()  # of all points: s, and ns behind the promised rate
        if before is not None:
            self.kind, self.limit = self._known_kind or before.kind, before.limit
            self._base_ns, self._step_ns = before._base_ns, before.step_ns
            self.arrival.learn_from(before.arrival)
            self.adc.learn_from(before.adc)

    # --- times --------------------------------------------------------------------------------

    @property
    def step_ns(self) -> float:
        """Time from one sample to the next, as measured."""
        return self._step_ns if self.line is None else self.line.step_ns

    @property
    def adc_true(self) -> bool:
        """Whether the ADC time is no later than it can be."""
        return self.adc_usable and self.adc.known and self._ahead < LEAST_NS / 10

    @property
    def adc_trusted(self) -> bool:
        """Whether the ADC time is good enough to measure an outage with."""
        return self.adc_usable and self.kind is not LOOSE

    @property
    def captured_within_ns(self) -> float:
        """How far the time of a capture may be off: by so much the clock that says it wanders."""
        if not self.adc_usable:
            return max(LEAST_NS, self.arrival.spread + 5 * self.arrival.noise)
        known = self.arrival.windows >= SETTLED or (self.kind.prompt and not self._ahead)
        guessed = self._ahead - self._least_ahead if known else 2 * MOST_AHEAD_NS
        # What a long stop lost was measured by the arrival.
        after_stop = self.arrival.spread if self._disturbed else 0.0
        return max(LEAST_NS, 5 * self.adc.noise, guessed, after_stop)

    def arrives_at(self, n: int) -> float:
        """When the block that ends before sample ``n`` comes at the earliest, in ns."""
        assert self.line is not None
        return self.line.at(n) + self.arrival.level

    def adc_at(self, n: int) -> float:
        """The ADC time of sample ``n`` as the host gives it, too late as it may be."""
        assert self.line is not None
        return self.line.at(n) + self.adc.level

    def captured_at(self, n: int) -> float:
        """When sample ``n`` was captured, in ns: by the ADC time, if that makes sense."""
        if not self.adc_usable:
            return self.arrives_at(n)
        assert self.line is not None
        wrong = self.kind is LOOSE or (self.kind.by_adc and self._disturbed)
        level = self._captured_level if wrong and self.adc.known else self.adc.level
        return self.line.at(n) + level - self._ahead

    def margin(self) -> int:
        """What the place of a loss may be off, in samples: by a block and the jitter.

        The blocks of a host's buffer share an ADC time, so it shows a loss up to a buffer late.
        Measured: up to 16 ms where nine tenths of the arrivals spread over 10 ms.
        """
        jitter = self.arrival.spread * (1.5 if self.kind.by_adc else 1.0)
        return self._largest + math.ceil((LEAST_NS + jitter) / self.step_ns)

    # --- blocks -------------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """The one that decides."""
        return self.adc if self.kind.by_adc else self.arrival

    def see(self, record: Record, lost: int) -> Seen:
        """A block as the clocks show it, before which ``lost`` samples on the axis were lost."""
        end = record.first + record.length + lost
        self._largest = max(self._largest, record.length)
        if self.line is None:
            self.line = Line(end, float(record.clock_ns), self._step_ns)
            self.adc_usable = record.age_ns != NO_AGE
            if self.adc_usable:
                self.adc.level = record.length * self._nominal - record.age_ns
        adc = math.nan
        if record.age_ns != NO_AGE:
            adc = record.clock_ns - record.age_ns - self.line.at(end - record.length)
        return Seen(record, end, record.clock_ns - self.line.at(end), adc)

    def late(self, seen: Seen) -> float:
        """How late a block is, by the clock that decides."""
        if self.kind.by_adc and seen.adc == seen.adc:
            return seen.adc - self.adc.level
        return seen.arrival - self.arrival.level

    def tolerance(self, seen: Seen, flagged: bool) -> float:
        """How late a block may be that nothing was lost before."""
        if self.kind.by_adc and seen.adc == seen.adc:
            return self.limit
        flagged = flagged and self.kind.prompt
        limit = self.limit / 2 if flagged else self.limit + self.arrival.spread
        if self.kind.by_adc:  # but not for this block
            limit += 5 * self.arrival.noise
        return limit + self.rate_slack()

    def update_levels(self, seen: Seen) -> None:
        """Take a block that is placed: none comes before the arrival's level."""
        self.arrival.level = min(self.arrival.level, seen.arrival)
        if seen.adc == seen.adc and not self.adc.known:
            self.adc.level = max(self.adc.level, seen.adc)  # outliers lie in the past
            self._look_ahead(seen.adc - seen.arrival)

    def learn(self, seen: Seen, lost: int) -> None:
        """Learn from a block that was placed, before which ``lost`` samples were lost in all."""
        self.arrival.add(seen.end, seen.arrival)
        if seen.adc == seen.adc:
            self.adc.add(seen.begin, seen.adc)
            self._aheads.append(seen.adc - seen.arrival)
        if self.graph:
            self.graph.add(seen.record, lost)

    def _look_ahead(self, by: float) -> None:
        """Take the ADC time for later than it can be, if it is: by a block, mostly."""
        if self.adc_usable and by > LEAST_NS / 10:
            block_ns = self._largest * self.step_ns
            self._least_ahead = max(self._least_ahead, min(by, 2 * block_ns))
            self._ahead = max(self._ahead, min(block_ns, MOST_AHEAD_NS), self._least_ahead)

    def settle(self, held: list[Seen]) -> None:
        """Take the first blocks' clocks as they are."""
        self.arrival.level = min(seen.arrival for seen in held)
        adc = [seen.adc for seen in held if seen.adc == seen.adc]
        self.adc_usable = 2 * len(adc) > len(held)
        if self.adc_usable:
            half = len(adc) // 2  # a loss may lie among them
            self.adc.level = min(self.adc.value(adc[:half]), self.adc.value(adc[half:]))

    def shown_by_both(self, clock: Clock, step: float, arrival: float, adc: float) -> float:
        """How much of a step that ``clock`` shows is in both: the other may not contradict."""
        if clock is self.adc:
            waiting = max(AGREE_NS, 5 * self.arrival.noise, self.arrival.spread)
            large = step > LOOSE.least_ns
            fell = large and arrival > step / 2  # the latency, in the same moment
            return step if arrival > step - waiting or fell else 0.0
        if self.graph:  # which counts what is lost, and stands still only while the machine sleeps
            return step if step > ASLEEP_NS else 0.0
        if not self.adc_usable or math.isnan(adc) or step > BEYOND_NS:
            return step
        if self.kind is LOOSE:
            return step if adc > step / 2 else 0.0
        if adc > step - max(AGREE_NS, 5 * self.adc.noise):
            return step
        return adc if adc > self.limit else 0.0  # the rest is a change of latency

    def change_latency(self, by: float) -> None:
        """Expect the arrival later by so much, with nothing lost."""
        self.arrival.shift(by)
        if self.graph:  # whose ADC time is that of the arrival
            self.adc.shift(by)
        if not self._adc_tells_rate():
            self._slope.step()

    def use_known_rate(self, n: int) -> None:
        """Go on from sample ``n`` at the known rate, not at that of a clock that wandered."""
        assert self.line is not None
        if not self.kind.prompt:
            known = self._nominal / (1 + 1e-6 * self.drift.ppm) if self.drift else self._base_ns
            self.line.turn(n, known)

    def pass_over(self, ns: float, before: bool) -> None:
        """Take so long for passed without samples; ``before``: before the newest points."""
        assert self.line is not None
        self.line.ns += ns
        if ns > BEYOND_NS:
            if self.kind is not LOOSE and not self._disturbed:
                self._captured_level = self.adc.level
            self._disturbed = DISTURBED_WINDOWS
        if not before:
            self.arrival.shift_points(ns)
            self.adc.shift_points(ns)
        self._slope.step()

    def take_back(self, ns: float) -> None:
        """A loss of so long did not happen; the clock that showed it is noisier than thought."""
        assert self.line is not None
        self.line.ns -= ns
        self.clock.distrust(ns)
        for clock in (self.arrival, self.adc):
            clock.shift_points(-ns)
            clock.restore()
        self._slope.step()

    def distrust(self, clock: Clock, by: float) -> None:
        """Take a move of a clock by itself for noise; of a server it is known how it behaves."""
        if not (self._known_kind or self._disturbed):
            clock.distrust(by)

    def part(self) -> None:
        """Samples were lost: what comes may lie higher or lower."""
        self._slope.step()

    # --- each half second ---------------------------------------------------------------------

    def begin_window(self) -> None:
        """Begin the window again: what it has seen is of different levels."""
        self.arrival.forget_window()
        self.adc.forget_window()

    def end_window(self) -> None:
        """Look at the window that ends: each clock's point, and the kind."""
        assert self.line is not None
        known = self.adc.seen > 0.9 * self.arrival.seen
        self.arrival.end_window(self.line)
        if known:
            self.adc.end_window(self.line)
            if self.kind is LOOSE:
                self._captured_level = self.adc.median_level(self.line)
            if len(self.adc.points) == 1:  # what single blocks showed may have been chance
                self._ahead = self._least_ahead = 0.0
            if not self._disturbed:
                self._look_ahead(quantile(self._aheads, ADC_QUANTILE))
            self._aheads.clear()
        else:
            self.adc.forget_window()
        by_adc = self.kind.by_adc
        right = known and abs(self.adc.move) < WRONG_NS
        if right and self._wrong:  # what it said meanwhile is no rate
            self.adc.start_again(self.adc.points[-1][0], self.line)
        self._wrong = 0 if right else self._wrong + 1
        self.adc_usable = right or (known and by_adc and self._wrong <= STOPPED_WINDOWS)
        self._disturbed = max(0, self._disturbed - 1)
        self.kind = self._learned_kind()
        kind, noise = self.kind, self.clock.noise
        if self.adc_usable and kind in (LOOSE, UNSTEADY):
            noise = max(noise, self.adc.noise)
        self.limit = max(kind.least_ns, kind.noises * noise)
        if kind.by_adc:
            self.limit = max(self.limit, RAMPS * self._ramp())
        self.limit = min(self.limit, LOOSEST_NS)
        if kind.by_adc != by_adc:
            self._slope.step()

    def _learned_kind(self) -> Kind:
        arrival, adc = self.arrival, self.adc
        if self._known_kind and (self.adc_usable or not self._known_kind.by_adc):
            return self._known_kind
        lockstep = max(adc.noise, adc.spread / 2) < QUIET_NS and arrival.spread < LOCKSTEP_NS
        if arrival.noise < QUIET_NS and (lockstep or not self.adc_usable):
            return PROMPT
        if self.adc_usable and adc.noise <= max(QUIET_NS, arrival.noise):
            return WANDERING
        return UNSTEADY

    def _ramp(self) -> float:
        """How far the ADC time drifts in a window, of the last ones, against the promised rate."""
        steps = [
            t1 - t0 - (n1 - n0) * self._base_ns
            for (n0, t0), (n1, t1) in pairwise(list(self.adc.points)[-RAMP_POINTS:])
        ]
        return abs(median(steps)) if steps else 0.0

    def falls(self, by: float) -> bool:
        """Whether both clocks are earlier by so much, and not the latency alone is less."""
        return self.graph is not None or not self.adc_usable or -self.adc.move > by / 2

    def latency_rise(self) -> float:
        """By how much the arrival alone is later than before, if that is beyond its noise."""
        later = self.arrival.move
        if self.adc_usable:  # what both show is another rate
            later -= max(0.0, self.adc.move)
        beyond = max(CHANGE_NS, 5 * self.arrival.noise, self.arrival.swing)
        return later if later > beyond else 0.0

    def follow(self, n: int) -> None:
        """Take the clocks' points for their levels, and the better one's for the rate."""
        line = self.line
        assert line is not None
        clock = self.adc if self._adc_tells_rate() else self.arrival
        if clock is not self._rate_clock:
            self._rate_clock = clock
            self._slope.step()
        at, ns = clock.points[-1]
        self._first_point = n0, t0 = self._first_point or (at, ns)
        x = (at - n0) * self._nominal
        self._slope.add(x / 1e9, ns - t0 - x)
        self.drift = self._slope.drift()
        if len(clock.points) >= LEAST_POINTS:
            over = slope([(p, t - p * self._base_ns) for p, t in clock.points])
            most = RATE_RANGE * self._base_ns
            line.turn(n, self._base_ns + min(most, max(-most, over)))
        for each in (self.arrival, self.adc):
            if each.known and self._disturbed and each is self.adc:
                each.start_again(n, line)
            elif each.known:
                each.follow(n, line)

    def start_again(self, n: int, keep: int = 1) -> None:
        """The levels are where the clocks are now: the arrival's last ``keep`` points."""
        assert self.line is not None
        for clock, points in ((self.arrival, keep), (self.adc, 1)):
            if clock.known:
                clock.start_again(n, self.line, points)
        self._slope.step()

    def _adc_tells_rate(self) -> bool:
        """Whether the device's rate shows better in the ADC time: a jump would look like one."""
        if self.graph or self.kind is LOOSE or not (self.adc_usable and self.adc.known):
            return False
        adc, arrival = (max(c.noise, abs(c.move)) for c in (self.adc, self.arrival))
        return adc < 2 * arrival + QUIET_NS / 4

    def other_rate(self) -> float | None:
        """The step of quite another rate, if the last points of both clocks lie on it."""
        clock = self.adc if self._adc_tells_rate() else self.arrival
        other = self.arrival if clock is self.adc else self.adc
        if len(clock.points) < LEAST_POINTS:
            return None
        (n0, t0), (n1, t1), (n2, t2) = list(clock.points)[-3:]
        step = (t2 - t0) / (n2 - n0)
        off = step - self._base_ns
        if not RATE_RANGE < abs(off) / self._nominal < MOST_RATE:
            return None
        shorter = min(n1 - n0, n2 - n1)  # both parts have to show it, however long the other is
        if abs(t1 - t0 - (n1 - n0) * step) > abs(off) * shorter / 5:
            return None
        if other is self.arrival or self.adc_trusted:
            if len(other.points) < LEAST_POINTS:
                return None
            (m0, s0), _, (m2, s2) = list(other.points)[-3:]
            apart, whole = abs(s2 - s0 - (m2 - m0) * step), abs(off) * (m2 - m0)
            if apart > min(whole / 2, max(whole / 4, 4 * other.typical)):
                return None
        return step

    def take_rate(self, n: int, step: float) -> None:
        """Go on from sample ``n`` at another rate; how the clocks moved until now says nothing."""
        assert self.line is not None
        self._base_ns = step
        self.line.turn(n, step)
        self._first_point, self._slope = None, Slope()
        self.arrival.forget_noise()
        self.adc.forget_noise()
        self.start_again(n)

    def rate_slack(self) -> float:
        """How far a level may be off, since the rate is not known exactly."""
        known = len(self.clock.points) > LEAST_POINTS
        return LEVEL_NS * (RATE_KNOWN if known else RATE_UNKNOWN)
