"""Where each captured block stands on the time axis, and what the host lost: on evidence.

A host hands over a block some time after its last sample was captured. Samples that were lost make
all later blocks late, by as much as was lost. But lateness alone proves nothing: a sound server
changes its buffers, and then all later blocks are late as well, with nothing missing. Each lost
sample delays *every* clock, the arrival of the blocks and the ADC time that the host reports
(`clocks.Clock`); a change of latency shows in the arrival alone, an ADC time that is computed anew
shows in the ADC time alone. So a loss is what the quieter clock shows and the other does not
contradict. Which clock that is, and how small a step it can show, is learned within the run, for
the host API's name does not tell: PulseAudio and PipeWire are both PortAudio's ALSA.

    the host is    known by                           a step is looked    it counts from, and for
                                                      for in
    -------------  ---------------------------------  ------------------  --------------------------
    prompt         arrival and ADC time both quiet    the arrival; the    1 ms (0.5 ms if the host
    (ALSA, fake)   (or no ADC time at all)            ADC time agrees     flags a loss); 16 ms and
                                                                          6 blocks
    a graph        the host API: JACK, whose own      the arrival, less   the same; 40 ms and
    (JACK)         time counts the graph's frames     what the graph      8 blocks
                                                      stood still
    wandering      ADC time quiet, arrival not        the ADC time; the   2 ms and 5 times its
    (PulseAudio)                                      arrival must not    noise; 150 ms
                                                      contradict
    loose          the ADC time moved while a quiet   the arrival; the    40 ms and 3 times the
    (PipeWire)     arrival did not: its word is       ADC time shows      noise of both; 150 ms
                   worth little from then on          half of it

What the blocks do:

    state      what comes                                     then
    ---------  ---------------------------------------------  ----------------------------------
    settling   150 ms have passed (after an outage)           following
    following  a block as late as counts                      it is held: watching
    watching   blocks on time again                           they are placed: following
    watching   a step that stayed, with evidence              a loss before the first: following
    watching   a step that stayed, without evidence           a change of latency: following
    watching   no step: later and later, up and down          placed; unsettled
    unsettled  two windows of half a second, equally late     a loss at an unknown place if there
                                                              is evidence, else none: following
    unsettled  three windows, each later by the same          the rate is another: following

A loss whose place is uncertain by more than its block and the host's jitter, and by more than half
of its own length, is *unplaced*: nothing is put onto the axis, it is reported beside it. A step
back by as much as a loss that was declared refutes it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.capture.ring import NO_AGE
from rtaudio.sources.clocks import ADC_QUANTILE, FORGET, MS, WRONG_NS, Clock, Line, quantile
from rtaudio.sources.drift import Drift, Slope
from rtaudio.sources.graph import Graph

if TYPE_CHECKING:
    from rtaudio.capture.ring import Record

HOLD_NS = 150 * MS  # how long a step is watched, and blocks are held back, at most
LEAST_BLOCKS = 3  # but so many of them at least
PROMPT_NS, PROMPT_BLOCKS = 16 * MS, 6  # on a host whose latency is constant
GRAPH_NS, GRAPH_BLOCKS = 40 * MS, 8  # where the graph's own time has to be watched
WINDOW_NS = 500 * MS  # one point of each clock
WINDOW_BLOCKS = 8  # of so many blocks at least
PROMPT_STEP_NS, STEP_NS, LOOSE_STEP_NS = 1 * MS, 2 * MS, 40 * MS
QUIET_NS = 0.2 * MS  # noise of a clock below which it is quiet
MOVED_ALONE_NS = 0.3 * MS  # of an ADC time, in one window
LOOSE_NS = 2 * MS  # and in all of them: it is loose
LOOSEST_NS = 120 * MS  # a step that counts with any host
BEYOND_NS = 500 * MS  # no change of latency is larger
FIVE, THREE = 5, 3  # times the noise
RATE_UNKNOWN, RATE_KNOWN = 300e-6, 50e-6  # how far a rate may be off, before and after it is known
LEVEL_NS = 4 * WINDOW_NS  # how old the points are that a level is made of
LEAST_POINTS = 3
SETTLING_S = 20  # a graph's time is exact again after so long
MOST_RATE = 0.2  # no device is off by more
RATE_RANGE = 2500e-6  # more is no drift, but another rate
UNSETTLED_WINDOWS = 20  # after so many windows nothing is waited for any more
REFUTABLE = 16  # how many declared losses are remembered
STILL_NS = 1 * MS  # for so long a graph seems to stand still by the noise of its time
STILL_WHOLLY = 0.75  # of a step, by which it stood still: no block was lost


class Remark(NamedTuple):
    """What is said of a loss beside the axis; counted from the start of the stream."""

    cause: str
    """``unplaced`` or ``refuted``, as in `rtaudio.sources.block.REMARKS`."""
    first: int
    length: int
    within: int


class Placed(NamedTuple):
    """A block whose place is known."""

    record: Record
    lost: int
    """How many samples the host lost just before it."""
    uncertainty: int
    end: int
    """Number of the sample behind its last one, since the stream began; all lost ones count."""
    captured_ns: float
    """When its first sample was captured, on the records' clock."""
    remarks: tuple[Remark, ...] = ()


class Seen(NamedTuple):
    """A block as the clocks show it, in ns above the line; NaN where the host gives no ADC time."""

    record: Record
    end: int
    arrival: float
    adc: float


class Timeline:
    """Takes the records of one stream, in order; gives them back when their place is known.

    ``before`` is that of the stream before an outage: what was learned there holds on, and the
    first records are held back, so that the time of the first sample is known well.
    ``graph``: the host's own time counts the frames of its graph, as JACK's does.
    """

    def __init__(self, sr: int, before: Timeline | None = None, graph: bool = False) -> None:
        self.host = 0
        """How many samples the host lost so far, of those that are on the axis."""
        self.held = 0
        """How many blocks were held back, until it was known whether samples were lost."""
        self.changes: list[float] = []
        """Changes of latency, in ns, that nobody took yet; positive: later."""
        self.drift: Drift | None = None
        """How far the device's rate is from the promised one; None while that is not known."""
        self._placed: deque[Placed] = deque()
        self._held: list[Seen] = []
        self._held_before = 0  # the records up to this one are counted
        self._unplaced = 0  # samples
        self._remarks: list[Remark] = []  # that go with the next block
        self._losses: deque[tuple[int, int]] = deque(maxlen=REFUTABLE)  # first sample and length
        self._settling = before is not None
        self._graph = Graph(sr) if graph else None
        self._nominal = self._base_ns = 1e9 / sr  # the promised step, and the one it is near
        self._line: Line | None = None
        self._arrival, self._adc = Clock(0), Clock(ADC_QUANTILE)
        self._ahead = 0.0  # by how much the ADC time is too late: no block comes before its end
        self._overflows = 0
        self._largest = 0  # samples of a block
        self._newest = 0  # where the newest block ends
        self._before: deque[float] = deque([0.0], maxlen=4)  # how late the last blocks placed were
        self._first_point: tuple[int, float] | None = None
        self._slope = Slope()  # of all points: s, and ns behind the promised rate
        self._window_ends = math.inf
        self._unsettled: list[float] = []  # how far each window since lay above the level
        self._since = 0  # and since which sample
        self._levels_known = False
        self._suspended = False  # nothing is held until the window ends
        # Which clock decides, and from when a step counts: see `_weigh`.
        self._adc_usable = self._by_adc = self._loose = False
        self._alone = 0.0  # how far the ADC time moved alone, lately
        self._prompt = True
        self._limit = PROMPT_STEP_NS
        if before is not None:
            self._arrival.noise, self._adc.noise = before._arrival.noise, before._adc.noise
            self._arrival.spread = before._arrival.spread
            self._by_adc, self._loose = before._by_adc, before._loose
            self._prompt, self._limit = before._prompt, before._limit

    # --- what is known ----------------------------------------------------------------------

    @property
    def adc(self) -> bool:
        """Whether the host's ADC time is used, and is no later than it can be."""
        return self._adc_usable and self._ahead < PROMPT_STEP_NS / 10

    @property
    def jitter_ns(self) -> float:
        """How late nineteen blocks in twenty come at most, beside the earliest."""
        return self._arrival.spread

    @property
    def captured_within_ns(self) -> float:
        """How far the time of a capture may be off: by so much the clock that tells it wanders."""
        if not self._adc_usable:
            return max(PROMPT_STEP_NS, self._arrival.spread + FIVE * self._arrival.noise)
        return max(PROMPT_STEP_NS, FIVE * self._adc.noise)

    @property
    def step_ns(self) -> float:
        """Time from one sample to the next, as measured."""
        return self._nominal if self._line is None else self._line.step_ns

    @property
    def ready(self) -> bool:
        """Whether there is a block whose place is known."""
        return bool(self._placed)

    def arrives_at(self, n: int) -> float:
        """When the block that ends before sample ``n`` comes at the earliest, in ns."""
        assert self._line is not None
        return self._line.at(n) + self._arrival.level

    def captured_at(self, n: int) -> float:
        """When sample ``n`` was captured, in ns: by the ADC time, if that makes sense."""
        assert self._line is not None
        level = self._arrival.level
        if self._adc_usable:
            level = self._adc.median_level(self._line) if self._loose else self._adc.level
            level -= self._ahead
        return self._line.at(n) + level

    def adc_at(self, n: int) -> float:
        """The ADC time of sample ``n`` as the host gives it, too late as it may be."""
        assert self._line is not None
        return self._line.at(n) + self._adc.level

    @property
    def adc_trusted(self) -> bool:
        """Whether the ADC time is good enough to measure an outage with."""
        return self._adc_usable and not self._loose

    def margin(self) -> int:
        """A block and the jitter, in samples: what an estimate may be off."""
        jitter = max(PROMPT_STEP_NS, self._arrival.spread)
        return self._largest + math.ceil(jitter / self.step_ns)

    # --- the blocks -------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """Take the next record."""
        if self._line is None:
            end = record.first + record.length
            self._line = Line(end, float(record.clock_ns), self._nominal)
            self._window_ends = record.clock_ns + WINDOW_NS
            if record.age_ns != NO_AGE:
                self._adc.level = self._see(record).adc
                self._adc_usable = True
        self._largest = max(self._largest, record.length)
        seen = self._see(record)
        if self._held or self._settling or self._is_late(seen):
            self._hold(seen)
            self._decide()
        else:
            self._accept(record)

    def placed(self) -> Placed | None:
        """The next block whose place is known, if there is one."""
        return self._placed.popleft() if self._placed else None

    def end(self) -> None:
        """Give back what is held: no more will come."""
        self._settling = False
        self._release()

    def remarks(self) -> tuple[Remark, ...]:
        """What was found and goes with no block any more; it is given once."""
        remarks, self._remarks = tuple(self._remarks), []
        return remarks

    def _see(self, record: Record) -> Seen:
        line = self._line
        assert line is not None
        end = record.first + record.length + self.host
        adc = math.nan
        if record.age_ns != NO_AGE:
            adc = record.clock_ns - record.age_ns - line.at(end - record.length)
        return Seen(record, end, record.clock_ns - line.at(end), adc)

    def _late(self, seen: Seen) -> float:
        """How late a block is, by the clock that decides."""
        if self._by_adc and seen.adc == seen.adc:
            return seen.adc - self._adc.level
        return seen.arrival - self._arrival.level

    def _is_late(self, seen: Seen) -> bool:
        """Whether a block is so late that samples may be missing before it."""
        record, late = seen.record, self._late(seen)
        flagged, self._overflows = record.overflow > self._overflows, record.overflow
        if self._suspended or not self._levels_known:
            return False
        if self._by_adc and seen.adc == seen.adc:
            return late > self._limit
        later = late - self._before[-1] > PROMPT_STEP_NS / 4  # else the flag is of another block
        limit = self._limit / 2 if flagged and later else self._limit + self._arrival.spread
        if self._by_adc:  # but not for this block
            limit += FIVE * self._arrival.noise
        return late > limit + self._rate_slack()

    def _hold(self, seen: Seen) -> None:
        self._held.append(seen)
        if seen.record.number >= self._held_before:
            self._held_before = seen.record.number + 1
            self.held += 1

    def _decide(self) -> None:
        """Look at the held blocks: by chance, a step, or not to be known yet."""
        held = self._held
        waited = held[-1].record.clock_ns - held[0].record.clock_ns
        if self._settling:
            if waited >= HOLD_NS and len(held) > LEAST_BLOCKS:
                self._settle()
            return
        clock, lates = self._witness()
        if self._on_time(clock, lates):
            self._release()
            return
        long = waited >= HOLD_NS and len(held) >= LEAST_BLOCKS
        if self._prompt and clock is self._arrival:
            least_ns, least = (
                (GRAPH_NS, GRAPH_BLOCKS) if self._graph else (PROMPT_NS, PROMPT_BLOCKS)
            )
            if not long and (waited < least_ns or not self._is_flat(lates, least)):
                return
        elif not long:
            return
        if clock is self._arrival and self._place_by_chance(lates):
            return
        step = clock.value(lates)
        if clock is self._adc or not self._prompt:
            half = len(lates) // 2
            growth = clock.value(lates[half:]) - clock.value(lates[:half])
            flat = abs(growth) < max(self._limit / 4, min(step / 4, FIVE * clock.noise))
            at_once = min(self._before) < step / 2
            if step < self._limit / 2 or not (flat and at_once) or self._catches_up():
                self._unsettle(step)
                return
        elif _grow(lates):
            self._unsettle(step)
            return
        self._judge(clock, lates, step)

    def _unsettle(self, step: float) -> None:
        """It is no step, or none yet: the windows tell what it is."""
        now = self._held[-1].record.clock_ns
        if not self._unsettled:
            self._since = self._held[0].end - self._held[0].record.length
        self._unsettled.append(step)
        self._suspended = True
        self._begin_window(now)
        self._release()
        self._begin_window(now)

    def _witness(self) -> tuple[Clock, list[float]]:
        """The clock that decides about the held blocks, and how late they are by it."""
        if self._by_adc:
            lates = [s.adc - self._adc.level for s in self._held if s.adc == s.adc]
            if 2 * len(lates) >= len(self._held):
                return self._adc, lates
        return self._arrival, [s.arrival - self._arrival.level for s in self._held]

    def _on_time(self, clock: Clock, lates: list[float]) -> bool:
        """Whether the held blocks were late by chance: the newest are not any more."""
        if clock is self._adc:  # which has outliers, to both sides
            on_time = sum(late < self._limit / 2 for late in lates)
            return 3 * on_time >= 2 * len(lates) and max(lates[-2:]) < self._limit / 2
        return lates[-1] <= PROMPT_STEP_NS / 2 + self._arrival.spread

    def _catches_up(self) -> bool:
        """Whether the held blocks waited somewhere, and come in a row now."""
        half = len(self._held) // 2
        first, second = (
            min(seen.arrival for seen in some) for some in (self._held[:half], self._held[half:])
        )
        return first - second > max(LOOSE_STEP_NS, FIVE * self._arrival.noise)

    def _is_flat(self, lates: list[float], least: int) -> bool:
        """Whether the blocks were late at once, and then by the same: chance does not do that."""
        if len(lates) < least:
            return False
        since = self._held[-1].record.clock_ns - PROMPT_NS
        count = sum(seen.record.clock_ns >= since for seen in self._held)
        recent = lates[-max(count, PROMPT_BLOCKS) :]
        flat = max(recent) - min(recent) < min(recent) / 4
        return flat and lates[0] - self._before[-1] > 0.7 * min(lates)

    def _place_by_chance(self, lates: list[float]) -> bool:
        """Place what was late by chance alone, if a held block was on time; look at the others."""
        first, last = self._held[0].record, self._held[-1].record
        middle = (first.clock_ns + last.clock_ns) / 2
        recent = [
            late
            for seen, late in zip(self._held, lates, strict=True)
            if seen.record.clock_ns >= middle
        ]
        spread = quantile(recent, 0.9) - min(recent)
        chance = self._limit / 2 + self._rate_slack() + spread / 10
        on_time = [i for i, late in enumerate(lates) if late < chance]
        if not on_time:
            return False
        for seen in self._held[: on_time[-1] + 1]:
            self._accept(seen.record)
        self._take_again(on_time[-1] + 1)
        return True

    # --- what a step is ---------------------------------------------------------------------

    def _judge(self, clock: Clock, lates: list[float], step: float) -> None:
        """Decide what the step of the held blocks is: a loss, or a change of latency."""
        line, held = self._line, self._held
        assert line is not None
        arrival = min(seen.arrival for seen in held) - self._arrival.level
        adc = [seen.adc for seen in held if seen.adc == seen.adc]
        adc_step = self._adc.value(adc) - self._adc.level if adc else math.nan
        lost_ns = step if self._agree(clock, step, arrival, adc_step) else 0.0
        if self._graph:
            lost_ns = self._less_still(self._graph, lost_ns)
        lost = round(lost_ns / line.step_ns)
        rest = arrival - lost * line.step_ns
        if rest > max(self._limit, FIVE * self._arrival.noise):  # of the arrival alone
            self._change(rest)
        if not lost:
            self._suspended = clock is self._adc
            self._release()
            return
        settled = next(i for i, late in enumerate(lates) if late <= step + PROMPT_STEP_NS)
        first = held[0]
        unsure = held[min(settled, len(held) - 1)].record.first - first.record.first
        begin = first.end - first.record.length
        if unsure > max(self.margin(), lost // 2):
            self._remark_unplaced(begin, lost, unsure + self._largest)
            for each in (self._arrival, self._adc):
                each.shift_points(lost * line.step_ns)
            self._release()
            return
        self._begin_window(first.record.clock_ns)
        self._losses.append((begin, lost))
        self.host += lost
        self._slope.step()
        self._accept(first.record, lost, unsure + self.margin())
        self._take_again(1)

    def _agree(self, clock: Clock, step: float, arrival: float, adc: float) -> bool:
        """Whether the clocks show one step: the other one may not contradict."""
        if clock is self._adc:
            return arrival > step - max(MOVED_ALONE_NS, FIVE * self._arrival.noise)
        if self._graph or not self._adc_usable or math.isnan(adc) or step > BEYOND_NS:
            return True
        if self._loose:
            return adc > step / 2
        return adc > step - max(MOVED_ALONE_NS, FIVE * self._adc.noise)

    def _less_still(self, graph: Graph, step: float) -> float:
        """What of a step was lost, if the graph may have stood still: whole blocks."""
        still = graph.stood_still([seen.record for seen in self._held])
        if abs(still) < max(STILL_NS, step / 10):
            return step
        if not 0 < still < STILL_WHOLLY * step:
            return 0.0
        lengths = {seen.record.length for seen in self._held}
        if len(lengths) > 1:
            return step - still
        block = lengths.pop() * self.step_ns
        return round((step - still) / block) * block

    def _change(self, by: float) -> None:
        """Take a change of latency: the arrival is later by so much, and nothing was lost."""
        self.changes.append(by)
        self._arrival.shift(by)
        if self._graph:  # whose ADC time is that of the arrival
            self._adc.shift(by)
        if not self._adc_tells_rate():
            self._slope.step()

    def _remark_unplaced(self, first: int, lost: int, within: int) -> None:
        """Report a loss beside the axis: from now on a sample's time is later by as much."""
        assert self._line is not None
        self._remarks.append(Remark("unplaced", first, lost, within))
        self._unplaced += lost
        self._line.ns += lost * self._line.step_ns
        self._slope.step()

    def _remark_missing(self, missing: int) -> None:
        """Report what a graph ran without us while its time was not known."""
        since = max(0, self._newest - SETTLING_S * round(1e9 / self.step_ns))
        self._remarks.append(Remark("unplaced", since, missing, self._newest - since))
        self._unplaced += missing

    def _refute(self, by: float) -> bool:
        """Whether a step back by ``by`` refutes a declared loss; the newest that fits."""
        line = self._line
        assert line is not None
        near = max(self._limit, by / 4)
        for first, lost in reversed(self._losses):
            lost_ns = lost * line.step_ns
            if abs(lost_ns - by) < near:
                self._losses.remove((first, lost))
                self._remarks.append(Remark("refuted", first, lost, 0))
                line.ns -= lost_ns
                for clock in (self._arrival, self._adc):
                    clock.noise = max(clock.noise, lost_ns) if clock.known else clock.noise
                    clock.points.clear()
                    clock.forget_window()
                self._slope.step()
                return True
        return False

    # --- the held blocks go -----------------------------------------------------------------

    def _settle(self) -> None:
        """Take the first blocks' clocks as they are."""
        self._settling = False
        self._arrival.level = min(seen.arrival for seen in self._held)
        adc = [seen.adc for seen in self._held if seen.adc == seen.adc]
        self._adc_usable = 2 * len(adc) > len(self._held)
        if self._adc_usable:
            half = len(adc) // 2  # a loss may lie among them
            self._adc.level = min(self._adc.value(adc[:half]), self._adc.value(adc[half:]))
        self._levels_known = True
        self._take_again(0)

    def _take_again(self, begin: int) -> None:
        """Look anew at the held blocks: what was lost before them is known."""
        held, self._held = self._held[begin:], []
        if held:
            self._overflows = held[0].record.overflow
        for seen in held:
            self.take(seen.record)

    def _release(self) -> None:
        """Let the held blocks go: nothing was lost before them."""
        held, self._held = self._held, []
        for seen in held:
            self._accept(seen.record)

    def _accept(self, record: Record, lost: int = 0, uncertainty: int = 0) -> None:
        seen = self._see(record)
        late = seen.arrival - self._arrival.level
        if late < 0:  # none can come before it is captured
            self._come_earlier(-late)
            seen = self._see(record)
            self._arrival.level = min(self._arrival.level, seen.arrival)
        self._before.append(self._late(seen))
        if self._adc_usable:
            self._ahead = max(self._ahead, self._adc.level - seen.arrival)
        begin = seen.end - record.length
        self._newest = seen.end
        self._placed.append(
            Placed(record, lost, uncertainty, seen.end, self.captured_at(begin), self.remarks())
        )
        self._arrival.add(seen.end, seen.arrival)
        if seen.adc == seen.adc:
            self._adc.add(begin, seen.adc)
        if self._graph:
            self._graph.add(record, self.host + self._unplaced)
        if record.clock_ns >= self._window_ends and self._arrival.seen >= WINDOW_BLOCKS:
            self._end_window(record.clock_ns)

    def _come_earlier(self, by: float) -> None:
        """A block came earlier than any before: a loss is refuted, or the latency is smaller."""
        if len(self._arrival.points) < 2:
            return
        if by > max(self._limit, FIVE * self._arrival.noise) and not self._refute(by):
            self.changes.append(-by)

    # --- each half second -------------------------------------------------------------------

    def _begin_window(self, now: float) -> None:
        """Begin the window again: what it has seen is of different levels."""
        for clock in (self._arrival, self._adc):
            clock.forget_window()
        self._window_ends = now + WINDOW_NS

    def _end_window(self, now: float) -> None:
        line, n = self._line, self._newest
        assert line is not None
        known = self._adc.seen > 0.9 * self._arrival.seen
        self._arrival.end_window(n, line)
        if known:
            self._adc.end_window(n, line)
        else:
            self._adc.forget_window()
        self._weigh(known)
        self._levels_known = True
        if self._graph and (missing := self._graph.end_window()) > self._largest // 2:
            self._remark_missing(missing)
        clock = self._adc if self._by_adc else self._arrival
        least = PROMPT_STEP_NS / 2 + 2 * clock.noise + self._rate_slack()
        moved = abs(clock.move) > (least if self._prompt else self._limit)
        moved = moved or self._arrival.move > BEYOND_NS
        if moved and not self._unsettled:
            self._since = clock.points[-2][0] if len(clock.points) > 1 else 0
        if moved or self._unsettled:
            self._unsettled.append(clock.move)
            self._find_out(clock, moved)
        elif (step := self._other_rate()) is not None:
            self._take_rate(step)
        else:
            self._follow()
        self._suspended = bool(self._unsettled) and not self._prompt
        self._window_ends = now + WINDOW_NS

    def _weigh(self, known: bool) -> None:
        """Learn which clock decides, and from when a step counts."""
        arrival, adc = self._arrival, self._adc
        before = self._by_adc
        self._adc_usable = known and (abs(adc.move) < WRONG_NS or before)
        self._alone *= FORGET
        if self._adc_usable and arrival.typical < QUIET_NS and abs(arrival.move) < QUIET_NS:
            self._alone += abs(adc.move) if MOVED_ALONE_NS < abs(adc.move) < WRONG_NS else 0
        self._loose = self._graph is None and (self._loose or self._alone > LOOSE_NS)
        noise = max(arrival.noise, adc.noise) if self._adc_usable else arrival.noise
        quiet_adc = adc.noise < QUIET_NS and adc.spread < 2 * QUIET_NS
        quiet = arrival.noise < QUIET_NS and (quiet_adc or not self._adc_usable)
        self._prompt = self._graph is not None or (quiet and not self._loose)
        steady = adc.noise <= max(QUIET_NS, arrival.noise)
        self._by_adc = self._adc_usable and steady and not (self._loose or self._prompt)
        if self._loose:
            self._limit = max(LOOSE_STEP_NS, min(THREE * noise, LOOSEST_NS))
        elif self._by_adc:
            self._limit = max(STEP_NS, FIVE * adc.noise)
        elif self._prompt:
            self._limit = PROMPT_STEP_NS
        else:
            self._limit = max(STEP_NS, FIVE * noise)
        if self._by_adc != before:
            self._slope.step()

    def _follow(self) -> None:
        """Take the clocks' points for their levels, and the quieter one's for the rate."""
        line, n = self._line, self._newest
        assert line is not None
        later = self._arrival.move
        if self._by_adc and later > max(STEP_NS, FIVE * self._arrival.noise):
            self.changes.append(later)
            self._arrival.start_again(n, line)
            self._arrival.move = 0.0
        clock = self._adc if self._adc_tells_rate() else self._arrival
        at, ns = clock.points[-1]
        self._first_point = n0, t0 = self._first_point or (at, ns)
        x = (at - n0) * self._nominal
        self._slope.add(x / 1e9, ns - t0 - x)
        self.drift = self._slope.drift()
        if len(clock.points) >= LEAST_POINTS:
            over = _slope([(p, t - p * self._base_ns) for p, t in clock.points])
            most = RATE_RANGE * self._base_ns
            line.turn(n, self._base_ns + min(most, max(-most, over)))
        for each in (self._arrival, self._adc):
            if each.known:
                each.follow(n, line)

    def _adc_tells_rate(self) -> bool:
        """Whether the device's rate shows better in the ADC time."""
        if self._graph or self._loose or not (self._adc_usable and self._adc.known):
            return False
        return self._adc.typical < 2 * self._arrival.typical + QUIET_NS / 4

    def _find_out(self, clock: Clock, moved: bool) -> None:
        """Find out what a clock does that has left its level: windows tell, one after another."""
        line, n, risen = self._line, self._newest, self._unsettled
        assert line is not None
        if not moved:
            self._unsettled = []
            self._follow()
        elif len(risen) < 2:
            return
        elif abs(risen[-1] - risen[-2]) < self._limit / 4 and not self._stale(clock):
            self._resolve(clock, risen[-1])
            self._unsettled = []
        elif (step := self._other_rate()) is not None:
            self._take_rate(step)
        elif len(risen) > UNSETTLED_WINDOWS:
            self._start_again()

    def _resolve(self, clock: Clock, rise: float) -> None:
        """A clock stays at another level: a loss, a loss refuted, or neither."""
        line = self._line
        assert line is not None
        if rise < 0:
            if not self._refute(-rise):
                clock.noise = max(clock.noise, -rise)
        elif self._agree(clock, rise, self._arrival.move, self._adc.move):
            lost = round(rise / line.step_ns)
            since = min(self._since, self._newest)
            self._remark_unplaced(since, lost, self._newest - since)
        elif clock is self._arrival:
            self.changes.append(rise)
        else:
            clock.noise = max(clock.noise, rise)
        self._start_again()

    def _stale(self, clock: Clock) -> bool:
        """Whether an ADC time does not show yet what the arrival has shown for long."""
        return clock is self._adc and self._arrival.move - clock.move > BEYOND_NS

    def _start_again(self) -> None:
        """The levels are where the clocks are now."""
        assert self._line is not None
        self._unsettled = []
        for clock in (self._arrival, self._adc):
            if clock.known:
                clock.start_again(self._newest, self._line)
        self._slope.step()

    def _other_rate(self) -> float | None:
        """The step of another rate than is near, if the last points of both clocks lie on it."""
        line = self._line
        assert line is not None
        clock = self._adc if self._adc_tells_rate() else self._arrival
        other = self._arrival if clock is self._adc else self._adc
        if len(clock.points) < LEAST_POINTS:
            return None
        (n0, t0), (n1, t1), (n2, t2) = list(clock.points)[-3:]
        step = (t2 - t0) / (n2 - n0)
        off = step - self._base_ns
        if not RATE_RANGE < abs(off) / self._nominal < MOST_RATE:
            return None
        if abs(t1 - t0 - (n1 - n0) * step) > abs(off) * (n2 - n0) / 10:
            return None
        if other is self._arrival or (self._adc_usable and not self._loose):
            if len(other.points) < LEAST_POINTS:
                return None
            (m0, s0), _, (m2, s2) = list(other.points)[-3:]
            if abs((s2 - s0) / (m2 - m0) - step) > abs(off) / 4:
                return None
        return step

    def _take_rate(self, step: float) -> None:
        """Go on at another rate; how the clocks moved until now says nothing."""
        assert self._line is not None
        self._base_ns = step
        self._line.turn(self._newest, step)
        self._first_point, self._slope = None, Slope()
        for clock in (self._arrival, self._adc):
            clock.noise = 0.0
        self._start_again()

    def _rate_slack(self) -> float:
        """How far a level may be off, since the rate is not known exactly."""
        clock = self._adc if self._by_adc else self._arrival
        return LEVEL_NS * (RATE_KNOWN if len(clock.points) > LEAST_POINTS else RATE_UNKNOWN)


def _slope(points: list[tuple[int, float]] | list[tuple[int, int]]) -> float:
    """The slope of least squares; 0 of fewer than two points."""
    if len(points) < 2:
        return 0.0
    x0, y0 = points[0]
    xs, ys = [x - x0 for x, _ in points], [y - y0 for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    below = sum((x - mean_x) ** 2 for x in xs)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / below if below else 0.0


def _grow(lates: list[float]) -> bool:
    """Whether blocks come later and later: no loss, but a rate that is not the promised one."""
    parts = min(8, len(lates) // 2) if len(lates) >= 16 else min(4, len(lates))
    size = max(1, len(lates) // parts)
    least = [min(lates[i * size : (i + 1) * size]) for i in range(parts)]
    growth = least[-1] - least[0]
    steps = [after - before for before, after in zip(least, least[1:], strict=False)]
    enough = 0.1 if parts > 4 else 0.5  # chance does not rise eight times in a row
    return growth > enough * least[0] and min(steps, default=0) > growth / 4 / parts
