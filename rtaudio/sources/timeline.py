"""Where each captured block stands on the time axis, and what the host lost: on evidence.

A block is placed as it comes, unless it is later than its host's latency and jitter explain
(`host_kinds` says by which clock, and from when a step counts). Then it and those after it are held
back for a moment, until it is known what that was:

    state      what comes                                     then
    ---------  ---------------------------------------------  ------------------------------------
    SETTLING   150 ms have passed (after an outage)           FOLLOWING
    FOLLOWING  a block as late as counts                      it is held: WATCHING
    WATCHING   blocks on time again                           they are placed: FOLLOWING
    WATCHING   a step that stayed, which both clocks show     a loss before the first: FOLLOWING
    WATCHING   a step that stayed, of the arrival alone       a change of latency: FOLLOWING
    WATCHING   no step: later and later, or a backlog         they are placed: UNSETTLED
    FOLLOWING  half a second whose clocks left their level    UNSETTLED
    UNSETTLED  two half seconds equally late, by both clocks  a loss at an unknown place: FOLLOWING
    UNSETTLED  four, by more than half a second of arrival    a loss: of a long stop (`host_kinds`)
    UNSETTLED  two, by one clock                              a change of latency, or its noise
    UNSETTLED  three, each later by the same                  another rate: FOLLOWING
    any        a step back by as much as a declared loss      that loss is refuted
    any        frames of a graph that three blocks miss       a loss before the first, exact

While a host is UNSETTLED it is not watched, but for one whose latency is constant. A loss whose
place is uncertain by more than its block and the host's jitter, and by more than half of its own
length, is *unplaced*: nothing is put onto the axis, it is reported beside it, and times stay right.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum, auto
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.sources.clocks import MS, RECENT, Clock, quantile
from rtaudio.sources.host_kinds import HOLD_NS, LEAST_BLOCKS, LOOSE, PROMPT
from rtaudio.sources.host_model import (
    BEYOND_NS,
    CHANGE_NS,
    LEAST_NS,
    QUIET_NS,
    RATE_RANGE,
    HostModel,
    Seen,
)

if TYPE_CHECKING:
    from rtaudio.capture.ring import Record
    from rtaudio.sources.drift import Drift
    from rtaudio.sources.graph import Graph

WINDOW_NS = 500 * MS  # one point of each clock
WINDOW_BLOCKS = 8  # of so many blocks at least
SETTLE_BLOCKS = 4
PATIENT_WINDOWS = 4  # so many windows two of them have to be alike within a quarter of a step
UNSETTLED_WINDOWS = 20  # after so many windows nothing is waited for any more
REFUTABLE = 16  # how many declared losses are remembered
ALIKE_NS = 10 * MS  # windows that differ by more are not alike, whatever the noise
LEAST_ALIKE = 0.4  # of the blocks behind a step: half of those that wait wait for longer
BACKLOG_NS = 40 * MS  # blocks that catch up by so much have waited somewhere


class State(Enum):
    """What the timeline does: the table above."""

    SETTLING = auto()
    FOLLOWING = auto()
    WATCHING = auto()
    UNSETTLED = auto()


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
    remarks: tuple[Remark, ...]


class Timeline:
    """Takes the records of one stream, in order; gives them back when their place is known.

    ``before`` is that of the stream before an outage: what was learned there holds on, and the
    first records are held back, so that the time of the first sample is known well.
    ``server``: the sound server that the stream goes through, as `wire.Opened` says.
    """

    def __init__(self, sr: int, before: Timeline | None = None, server: str = "") -> None:
        self.model: HostModel = HostModel(sr, server, None if before is None else before.model)
        self.host = 0
        """How many samples the host lost so far, of those that are on the axis."""
        self.held = 0
        """How many blocks were held back, until it was known whether samples were lost."""
        self.unresolved = 0
        """How many samples at the end may belong behind a loss that was not found any more."""
        self.latency_changes: list[float] = []
        """In ns, those that nobody took yet; positive: later."""
        self._state = State.FOLLOWING if before is None else State.SETTLING
        self._placed: deque[Placed] = deque()
        self._held: list[Seen] = []
        self._held_before = 0  # the records up to this one are counted
        self._before: deque[float] = deque([0.0], maxlen=4)  # how late the last blocks placed were
        self._overflows = 0
        self._newest = 0  # where the newest placed block ends
        self._unlearned: Seen | None = None  # the newest placed block, if it was not learned from
        self._watches = False  # not before the clocks' levels are known, and not while unsettled
        self._window_ends = math.inf
        self._risen: list[float] = []  # while unsettled: how far above the level each window was
        self._risen_since = 0  # sample
        self._losses: deque[tuple[int, int]] = deque(maxlen=REFUTABLE)  # first sample and length
        self._unplaced = 0  # samples
        self._remarks: list[Remark] = []  # that go with the next block

    @property
    def drift(self) -> Drift | None:
        """How far the device's rate is from the promised one; None while that is not known."""
        return self.model.drift

    @property
    def ready(self) -> bool:
        """Whether there is a block whose place is known."""
        return bool(self._placed)

    # --- the blocks ---------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """Take the next record."""
        self.learn()
        if self.model.line is None:
            self._window_ends = record.clock_ns + WINDOW_NS
        seen = self.model.see(record, self.host)
        if self._state is State.SETTLING:
            self._hold(seen)
            self._settle()
        elif self._state is State.WATCHING or self._is_late(seen):
            self._hold(seen)
            self._watch()
        else:
            self._place(seen)

    def learn(self) -> None:
        """Learn from the newest block, and from the half second that has passed, if one has.

        Who hands blocks on does it afterwards: nobody waits for it then. `take` does it at the
        latest, so that nothing depends on when.
        """
        if self._unlearned is None:
            return
        seen, self._unlearned = self._unlearned, None
        self.model.learn(seen, self._gone)
        now = seen.record.clock_ns
        if now >= self._window_ends and self.model.arrival.seen >= WINDOW_BLOCKS:
            self._end_window(now)

    def placed(self) -> Placed | None:
        """The next block whose place is known, if there is one."""
        return self._placed.popleft() if self._placed else None

    def remarks(self) -> tuple[Remark, ...]:
        """What was found and goes with no block any more; it is given once."""
        remarks, self._remarks = tuple(self._remarks), []
        return remarks

    def end(self) -> None:
        """Give back what is held: no more will come."""
        self.learn()
        if self._state is State.WATCHING:
            clock, lates = self._lates()
            if len(lates) >= LEAST_BLOCKS and self._is_step(clock, lates):
                self._judge(clock, lates)
        if self._held and self._state is not State.SETTLING:  # nobody will know
            self.unresolved = self._held[-1].end - self._held[0].begin
        elif self._risen:
            self.unresolved = self._newest - self._risen_since
        self._release()

    def _is_late(self, seen: Seen) -> bool:
        """Whether a block is so late that samples may be missing before it."""
        record = seen.record
        flagged, self._overflows = record.overflow > self._overflows, record.overflow
        if self.model.graph and self.model.graph.missing(record, self._gone):
            return True
        if not self._watches:
            return False
        late = self.model.late(seen)
        later = late - self._before[-1] > LEAST_NS / 4  # else the flag is of another block
        return late > self.model.tolerance(seen, flagged and later)

    def _hold(self, seen: Seen) -> None:
        self._held.append(seen)
        if seen.record.number >= self._held_before:
            self._held_before = seen.record.number + 1
            self.held += 1

    def _release(self) -> None:
        """Let the held blocks go: nothing was lost before them."""
        held, self._held = self._held, []
        self._state = State.UNSETTLED if self._risen else State.FOLLOWING
        for seen in held:
            self._place_held(seen)

    def _take_again(self, begin: int) -> None:
        """Look anew at the held blocks from ``begin`` on: what came before them is known."""
        held, self._held = self._held[begin:], []
        self._state = State.FOLLOWING
        if held:
            self._overflows = held[0].record.overflow
        for seen in held:
            self.take(seen.record)

    def _place(self, seen: Seen, lost: int = 0, uncertainty: int = 0) -> None:
        model, record = self.model, seen.record
        self._before.append(model.late(seen))
        model.update_levels(seen)
        self._unlearned, self._newest = seen, seen.end
        captured = model.captured_at(seen.begin)
        self._placed.append(Placed(record, lost, uncertainty, seen.end, captured, self.remarks()))

    def _place_held(self, seen: Seen, lost: int = 0, uncertainty: int = 0) -> None:
        """Place a block that was held: the levels may have changed since."""
        self._place(self.model.see(seen.record, self.host), lost, uncertainty)
        self.learn()

    def _settle(self) -> None:
        """Learn the clocks' levels from the first blocks."""
        held = self._held
        waited = held[-1].record.clock_ns - held[0].record.clock_ns
        if waited >= HOLD_NS and len(held) >= SETTLE_BLOCKS:
            self.model.settle(held)
            self._watches = True
            self._take_again(0)

    # --- watching: is it a step? --------------------------------------------------------------

    def _watch(self) -> None:
        """Look at the held blocks: late by chance, a step, or not to be known yet."""
        self._state = State.WATCHING
        if self.model.graph and self._is_missing(self.model.graph):
            return
        clock, lates = self._lates()
        if self._on_time(clock, lates):
            self._release()
        elif self._stayed(lates):
            if clock is self.model.arrival and self._place_by_chance(lates):
                return
            if self._is_step(clock, lates):
                self._judge(clock, lates)
            else:
                self._unsettle(clock.value(lates))

    @property
    def _gone(self) -> int:
        """How many samples were lost in all, as far as it is known."""
        return self.host + self._unplaced

    def _is_missing(self, graph: Graph) -> bool:
        """Whether frames of the graph are missing among the held blocks, or may be."""
        held = [seen.record for seen in self._held]
        at = len(held)
        while at and graph.missing(held[at - 1], self._gone):
            at -= 1  # before one that misses none, none is missing: a late callback reads too much
        if at == len(held):
            return False
        lost = graph.confirmed(held[at:], self._gone)
        if lost is None:  # not yet; blocks of one moment are held for no time
            return held[-1].clock_ns - held[0].clock_ns < HOLD_NS
        if lost:
            whole = held[at].length == graph.cycle
            exact = whole and graph.missing(held[at], self._gone) == lost
            for seen in self._held[:at]:
                self._place_held(seen)
            self.host += lost
            self.model.part()
            self._place_held(self._held[at], lost, 0 if exact else held[at].length)
            self._take_again(at + 1)
        return bool(lost)

    def _lates(self) -> tuple[Clock, list[float]]:
        """The clock that decides about the held blocks, and how late they are by it."""
        model = self.model
        if model.kind.by_adc:
            lates = [seen.adc - model.adc.level for seen in self._held if seen.adc == seen.adc]
            if 2 * len(lates) >= len(self._held):
                return model.adc, lates
        return model.arrival, [seen.arrival - model.arrival.level for seen in self._held]

    def _on_time(self, clock: Clock, lates: list[float]) -> bool:
        """Whether the held blocks were late by chance: the newest are not any more."""
        if clock is self.model.arrival:
            return lates[-1] <= LEAST_NS / 2 + clock.spread
        half = self.model.limit / 2  # an ADC time has outliers, to both sides
        on_time = sum(late < half for late in lates)
        return 3 * on_time >= 2 * len(lates) and max(lates[-2:]) < half

    def _stayed(self, lates: list[float]) -> bool:
        """Whether the held blocks have been late for long enough."""
        held, kind = self._held, self.model.kind
        waited = held[-1].record.clock_ns - held[0].record.clock_ns
        next_one = held[-1].record.length * self.model.step_ns  # would come too late
        if waited + next_one >= HOLD_NS and len(held) >= LEAST_BLOCKS:
            return True
        if not kind.prompt or waited < kind.watch_ns or len(held) < kind.blocks:
            return False
        # At once, and then by the same: chance does not do that.
        since = held[-1].record.clock_ns - PROMPT.watch_ns
        count = sum(seen.record.clock_ns >= since for seen in held)
        recent = lates[-max(count, PROMPT.blocks) :]
        flat = max(recent) - min(recent) < min(recent) / 4
        return flat and lates[0] - self._before[-1] > 0.7 * min(lates)

    def _place_by_chance(self, lates: list[float]) -> bool:
        """Place what was late by chance alone, if a held block was on time; look at the others."""
        first, last = self._held[0].record.clock_ns, self._held[-1].record.clock_ns
        recent = [
            late
            for seen, late in zip(self._held, lates, strict=True)
            if seen.record.clock_ns >= (first + last) / 2
        ]
        spread = quantile(recent, 0.9) - min(recent)
        chance = self.model.limit / 2 + self.model.rate_slack() + spread / 10
        on_time = [i for i, late in enumerate(lates) if late < chance]
        if not on_time:
            return False
        for seen in self._held[: on_time[-1] + 1]:
            self._place_held(seen)
        self._take_again(on_time[-1] + 1)
        return True

    def _is_step(self, clock: Clock, lates: list[float]) -> bool:
        """Whether the held blocks became late at once, and by the same."""
        step = clock.value(lates)
        if min(self._before) >= step / 2:
            return False
        if self.model.kind.prompt and clock is self.model.arrival:
            return not _grow(lates)
        near = max(LEAST_NS / 2, self.model.limit / 8, step / 8)
        near += clock.spread if clock is self.model.arrival else 0.0
        flat = sum(abs(late - step) <= near for late in lates) > LEAST_ALIKE * len(lates)
        return flat and step > self.model.limit and not self._catches_up()

    def _catches_up(self) -> bool:
        """Whether the held blocks waited somewhere, and come in a row now."""
        half = len(self._held) // 2
        first = min(seen.arrival for seen in self._held[:half])
        second = min(seen.arrival for seen in self._held[half:])
        return first - second > max(BACKLOG_NS, 5 * self.model.arrival.noise)

    def _unsettle(self, step: float) -> None:
        """It is no step, or none yet: the windows that begin now show what it is."""
        now = self._held[-1].record.clock_ns
        if not self._risen:
            self._risen_since = self._held[0].begin
        self._risen.append(step)
        self._watches = False
        self._begin_window(now)
        self._release()
        self._begin_window(now)

    # --- judging: what is the step? -----------------------------------------------------------

    def _judge(self, clock: Clock, lates: list[float]) -> None:
        """Decide what the step of the held blocks is: a loss, or a change of latency."""
        model, held, step = self.model, self._held, clock.value(lates)
        arrival = min(seen.arrival for seen in held) - model.arrival.level
        adc = [seen.adc for seen in held if seen.adc == seen.adc]
        adc_step = model.adc.value(adc) - model.adc.level if adc else math.nan
        lost_ns = model.shown_by_both(clock, step, arrival, adc_step)
        lost = round(lost_ns / model.step_ns)
        rest = arrival - lost * model.step_ns  # of the arrival alone
        if rest > max(model.limit, 5 * model.arrival.noise):
            self.latency_changes.append(rest)
            model.change_latency(rest)
        if lost:
            on_time = [i for i, late in enumerate(lates) if late <= step + LEAST_NS]
            settled = held[min(on_time[0], len(held) - 1)]
            apart = abs(arrival - adc_step) if model.kind is LOOSE else 0.0  # NaN: no ADC time
            length_unsure = round(apart / model.step_ns) if apart < step else 0
            self._lose(lost, settled.record.first - held[0].record.first, length_unsure)
        else:
            self._watches = clock is model.arrival
            self._release()

    def _lose(self, lost: int, unsure: int, length_unsure: int) -> None:
        """Put a loss before the held blocks, or beside the axis if its place is too uncertain."""
        first, margin = self._held[0], self.model.margin()
        since = first.begin
        if self._risen:  # since when nothing was watched
            since = min(since, self._risen_since)
            unsure += first.begin - since
        if unsure > max(margin, lost // 2):
            self._remark("unplaced", since, lost, unsure + first.record.length)
            self.model.pass_over(lost * self.model.step_ns, before=False)
            self._release()
            return
        self._begin_window(first.record.clock_ns)
        self._losses.append((first.begin, lost))
        self.host += lost
        self.model.part()
        self._place_held(first, lost, max(unsure, length_unsure) + margin)
        self._take_again(1)

    def _remark(self, cause: str, first: int, length: int, within: int) -> None:
        self._remarks.append(Remark(cause, first, length, within))
        if cause == "unplaced":
            self._unplaced += length

    def _refute(self, by: float) -> bool:
        """Whether a step back by ``by`` refutes a declared loss: the newest that fits."""
        near = max(self.model.limit, by / 4)
        for first, lost in reversed(self._losses):
            lost_ns = lost * self.model.step_ns
            if abs(lost_ns - by) < near:
                self._losses.remove((first, lost))
                self._remark("refuted", first, lost, 0)
                self.model.take_back(lost_ns)
                return True
        return False

    # --- each half second ---------------------------------------------------------------------

    def _begin_window(self, now: float) -> None:
        self.model.begin_window()
        self._window_ends = now + WINDOW_NS

    def _end_window(self, now: float) -> None:
        """Take what half a second shows: the levels, or that they are left."""
        model = self.model
        noise = model.arrival.noise
        model.end_window()
        self._window_ends = now + WINDOW_NS
        if len(model.arrival.points) > 2 and self._comes_earlier(noise):
            return
        clock, stopped = model.clock, model.arrival.move > BEYOND_NS
        if stopped:  # an ADC time takes seconds to show that
            clock = model.arrival
        least = self._moves(clock)
        # An ADC time, of which most blocks count, shows a loss a window before the earliest block.
        leads = model.kind is PROMPT and model.adc_usable and model.adc.move > least
        moved = stopped or abs(clock.move) > least or (leads and not self._risen)
        if moved and not self._risen:
            self._risen_since = clock.points[-2][0] if len(clock.points) > 1 else 0
        if stopped:
            model.use_known_rate(self._risen_since)
        if moved:
            self._risen.append(model.adc.move if leads else clock.move)
            self._find_out(clock)
        else:
            self._risen.clear()
            self._follow()
        if self._state is not State.WATCHING:
            self._state = State.UNSETTLED if self._risen else State.FOLLOWING
        self._watches = model.kind.prompt or not self._risen

    def _comes_earlier(self, noise: float) -> bool:
        """Whether blocks came so early that a declared loss is refuted; else the latency fell."""
        arrival = self.model.arrival
        fall = -arrival.move
        if fall <= max(min(self.model.limit, CHANGE_NS), 5 * noise):
            return False
        if fall > self.model.limit and self.model.falls(fall) and self._refute(fall):
            return True
        self.latency_changes.append(-fall)
        if self.model.clock is arrival:
            assert self.model.line is not None
            arrival.start_again(self._newest, self.model.line)
            arrival.move = 0.0
        return False

    def _moves(self, clock: Clock) -> float:
        """From which move of a window on a clock has left its level."""
        if self.model.kind.prompt:
            return LEAST_NS / 2 + 2 * clock.noise + self.model.rate_slack()
        return self.model.limit

    def _follow(self) -> None:
        model = self.model
        if (step := model.other_rate()) is not None:
            model.take_rate(self._newest, step)
            return
        if not model.kind.prompt and (rise := model.latency_rise()):
            self.latency_changes.append(rise)
            assert model.line is not None
            model.arrival.start_again(self._newest, model.line)
            model.arrival.move = 0.0
        model.follow(self._newest)

    def _find_out(self, clock: Clock) -> None:
        """Find out what a clock does that has left its level: one window after another shows it."""
        model, risen = self.model, self._risen
        if len(risen) < 2:
            return
        if (rise := self._stays(clock)) is not None:
            self._resolve(clock, rise)
        elif (step := model.other_rate()) is not None:
            model.take_rate(self._newest, step)
        elif len(risen) > UNSETTLED_WINDOWS:
            model.start_again(self._newest)
        else:
            return
        risen.clear()

    def _stays(self, clock: Clock) -> float | None:
        """By how much a clock has risen to stay there, if its last windows are alike."""
        risen, near = self._risen, min(self.model.limit / 4, ALIKE_NS)
        if self._needs_a_level(clock):
            last = risen[-RECENT:]
            whole = len(risen) > RECENT  # the first may be of single blocks
            return min(last) if whole and max(last) - min(last) < ALIKE_NS + clock.swing else None
        if len(risen) >= PATIENT_WINDOWS:  # the rate may not be known well
            near = max(near, RATE_RANGE * WINDOW_NS)
        return risen[-1] if abs(risen[-1] - risen[-2]) < near else None

    def _needs_a_level(self, clock: Clock) -> bool:
        """Whether a long stop came, and a single window does not show where the clock is now."""
        return self._risen[-1] > BEYOND_NS and clock.typical > QUIET_NS

    def _resolve(self, clock: Clock, rise: float) -> None:
        """A clock stays at another level: a loss, a loss refuted, or neither."""
        model = self.model
        if rise < 0:
            if not self._refute(-rise):
                model.distrust(clock, -rise)
        elif shown := model.shown_by_both(clock, rise, model.arrival.move, model.adc.move):
            since = min(self._risen_since, self._newest)
            lost = round(shown / model.step_ns)
            self._remark("unplaced", since, lost, self._newest - since)
            model.pass_over(lost * model.step_ns, before=True)
        elif clock is model.arrival:
            self.latency_changes.append(rise)
        if model.arrival.known:
            model.start_again(self._newest, RECENT if self._needs_a_level(clock) else 1)


def _grow(lates: list[float]) -> bool:
    """Whether blocks come later and later: no loss, but a rate that is not the promised one."""
    parts = min(8, len(lates) // 2) if len(lates) >= 16 else min(4, len(lates))
    size = max(1, len(lates) // parts)
    least = [min(lates[i * size : (i + 1) * size]) for i in range(parts)]
    growth = least[-1] - least[0]
    steps = [after - before for before, after in pairwise(least)]
    enough = 0.1 if parts > 4 else 0.5  # chance does not rise eight times in a row
    return growth > enough * least[0] and min(steps, default=0) > growth / 4 / parts
