"""Where each captured block stands on the time axis: a line through its clock, and what was lost.

A host hands over a block some time after its last sample was captured: never earlier, often later.
So the line that relates samples to the clock lies *below* all blocks. A block that is late by
chance is followed by one that is not; samples that the host lost make all later blocks late, by as
much as was lost. To tell the two apart, blocks that are late are held back for a moment: until one
is on time again, or until it is certain that none will be.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.sources.drift import Drift, Slope

if TYPE_CHECKING:
    from rtaudio.capture.ring import Record

MS = 1e6  # the clock counts ns
HOLD_NS = 250 * MS  # how long late blocks are held back, at least
LONGEST_HOLD_NS = 1000 * MS
LEAST_BLOCKS = 4  # and how many of them
FLAT_NS = 16 * MS  # or so long, where they are late all at once and all by the same
FLAT_BLOCKS = 6
WINDOW_NS = 500 * MS  # one point of the line's fit: the earliest block of so much time
WINDOWS = 40  # how many points
LEAST_POINTS = 3
LATE_NS = 1 * MS  # later than usual by so much is late
FLAGGED_LATE_NS = 0.5 * MS  # where the host said that it lost something
RATE_UNKNOWN = 300e-6  # how far a device's rate is off, before anything is known about it
RATE_KNOWN = 50e-6


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


class Timeline:
    """Takes the records of one stream, in order; gives them back when their place is known.

    ``settle`` holds the first ones back, so that the time of the first sample is known well.
    """

    def __init__(self, sr: int, settle: bool = False) -> None:
        self.host = 0
        """How many samples the host lost so far."""
        self.held = 0
        """How many blocks were held back, until it was known whether samples were lost."""
        self.adc = False
        """Whether the device's own clock is used."""
        self.drift: Drift | None = None
        """How far the device's rate is from the promised one; None while that is not known."""
        self._placed: deque[Placed] = deque()
        self._held: list[tuple[Record, float]] = []  # with how late it is
        self._held_before = 0  # the records up to this one are counted
        self._settling = settle
        self._nominal = 1e9 / sr
        self._step = self._nominal  # ns from one sample to the next, as measured
        self._anchor: tuple[int, float] | None = None  # a sample and its time: the line
        self._overflows = 0
        self._points: deque[tuple[int, float]] = deque(maxlen=WINDOWS)
        self._first_point: tuple[int, float] | None = None
        self._slope = Slope()  # of all points: s, and ns behind the promised rate
        self._lateness: deque[float] = deque(maxlen=20)  # the usual one, of each window
        self._usual = 0.0
        self._longest_wait = 0.0  # until a block was on time again
        self._last_late = 0.0  # how late the last block was that was not held
        self._largest = 0  # samples of a block
        self._unresolved = 0
        self._newest = 0  # where the newest block ends
        self._noise = 0.0  # by how much the earliest blocks of the windows differ
        self._offset = 0.0  # from the line to when a sample was captured
        # By how much the last window lay above the line, and its earliest block.
        self._rising: tuple[float, tuple[int, float]] = (0.0, (0, 0.0))
        self._begin_window(math.inf)

    @property
    def jitter_ns(self) -> float:
        """How late nine blocks in ten come at most, beside the earliest."""
        return self._usual

    def time_of(self, n: int) -> float:
        """When the block that ends before sample ``n`` comes at the earliest, in ns.

        ``n`` counts lost samples too.
        """
        assert self._anchor is not None
        return self._anchor[1] + (n - self._anchor[0]) * self._step

    @property
    def step_ns(self) -> float:
        """Time from one sample to the next, as measured."""
        return self._step

    def margin(self) -> int:
        """A block and the jitter, in samples: what an estimate may be off."""
        jitter = math.ceil(max(LATE_NS, self._usual) / self._step)
        return self._largest + jitter + self._unresolved

    def take(self, record: Record) -> None:
        """Take the next record."""
        if self._anchor is None:
            self._anchor = (record.first + record.length, float(record.clock_ns))
            if record.age_ns >= 0:
                self._offset = min(0.0, record.length * self._step - record.age_ns)
        self._largest = max(self._largest, record.length)
        late = record.clock_ns - self.time_of(record.first + record.length + self.host)
        if self._held:
            self._hold(record, late)
            self._decide()
        elif self._settling or late > self._tolerated(record, late):
            self._hold(record, late)
        else:
            self._accept(record)

    def _hold(self, record: Record, late: float) -> None:
        self._held.append((record, late))
        if record.number >= self._held_before:
            self._held_before = record.number + 1
            self.held += 1

    def _tolerated(self, record: Record, late: float) -> float:
        """How late a record may be that nothing was lost before."""
        flagged, self._overflows = record.overflow > self._overflows, record.overflow
        later = late - self._last_late > FLAGGED_LATE_NS / 2  # else the flag tells of nothing here
        usual = FLAGGED_LATE_NS if flagged and later else LATE_NS + self._usual
        return usual + self._rate_slack()

    def placed(self) -> Placed | None:
        """The next block whose place is known, if there is one."""
        return self._placed.popleft() if self._placed else None

    @property
    def ready(self) -> bool:
        """Whether there is a block whose place is known."""
        return bool(self._placed)

    def end(self) -> None:
        """Give back what is held: no more will come."""
        if self._held and not self._settling:  # was anything lost there? nobody can tell now
            self._unresolved = self._held[-1][0].first - self._held[0][0].first
        elif self._points and (self._rising[0] or LATE_NS < self._earliest < math.inf):
            self._unresolved = self._newest - self._points[-1][0]
        self._settling = False
        self._release()

    def _rate_slack(self) -> float:
        """How far the line may be off, since the rate is not known exactly."""
        assert self._anchor is not None
        unknown = RATE_KNOWN if len(self._points) > LEAST_POINTS else RATE_UNKNOWN
        return unknown * (4 * WINDOW_NS)

    def _decide(self) -> None:
        """Look at the held blocks: by chance, lost, or not to be known yet."""
        (first, _), (last, late) = self._held[0], self._held[-1]
        waited = last.clock_ns - first.clock_ns
        if not self._settling and late <= FLAGGED_LATE_NS + self._usual:
            self._longest_wait = max(self._longest_wait, waited)
            self._release()
            return
        lates = [late for _, late in self._held]
        hold = min(max(HOLD_NS, 2 * self._longest_wait), LONGEST_HOLD_NS)
        if waited >= FLAT_NS and self._are_flat(lates):
            self._find_loss(lates)
        elif waited < hold or len(self._held) < LEAST_BLOCKS:
            return
        elif self._settling:
            self._settling = False
            self._lower(min(lates))
            self._take_again(0)
        elif _grow(lates):
            self._follow(lates)
        else:
            self._find_loss(lates)

    def _are_flat(self, lates: list[float]) -> bool:
        """Whether the blocks were late at once, and then by the same: chance does not do that."""
        if self._settling or len(lates) < FLAT_BLOCKS:
            return False
        since = self._held[-1][0].clock_ns - FLAT_NS
        count = sum(record.clock_ns >= since for record, _ in self._held)
        recent = lates[-max(count, FLAT_BLOCKS) :]
        flat = max(recent) - min(recent) < min(recent) / 4
        return flat and lates[0] - self._last_late > 0.7 * min(lates)

    def _find_loss(self, lates: list[float]) -> None:
        """Put what was lost before the held blocks, or what part of them was late by chance."""
        first, last = self._held[0][0], self._held[-1][0]
        middle = (first.clock_ns + last.clock_ns) / 2
        recent = sorted(late for record, late in self._held if record.clock_ns >= middle)
        spread = recent[len(recent) * 9 // 10] - recent[0]
        chance = FLAGGED_LATE_NS + self._rate_slack() + spread / 10
        by_chance = [i for i, late in enumerate(lates) if late < chance]
        if by_chance:
            for record, _ in self._held[: by_chance[-1] + 1]:
                self._accept(record)
            self._take_again(by_chance[-1] + 1)
            return
        least = min(lates)
        settled = next(r for r, late in self._held if late <= least + LATE_NS)
        unsure = settled.first - first.first + self.margin()
        lost = round(least / self._step)
        self.host += lost
        self._slope.step()
        self._accept(first, lost, unsure)
        self._take_again(1)

    def _follow(self, lates: list[float]) -> None:
        """Take the held blocks' own rate: it is not the promised one."""
        quarter = len(lates) // 4
        early = min(range(quarter), key=lates.__getitem__)
        late = min(range(len(lates) - quarter, len(lates)), key=lates.__getitem__)
        ends = [self._held[i][0].first + self._held[i][0].length for i in (early, late)]
        self._anchor = (ends[0] + self.host, self._held[early][0].clock_ns)
        self._step += (lates[late] - lates[early]) / (ends[1] - ends[0])
        self._release()

    def _take_again(self, begin: int) -> None:
        """Look anew at the held blocks: the line has changed, or what was lost is known."""
        held, self._held = self._held[begin:], []
        if held:
            self._overflows = held[0][0].overflow
        for record, _ in held:
            self.take(record)

    def _release(self) -> None:
        """Let the held blocks go: nothing was lost."""
        held, self._held = self._held, []
        for record, _ in held:
            self._accept(record)

    def _accept(self, record: Record, lost: int = 0, uncertainty: int = 0) -> None:
        end = record.first + record.length + self.host
        late = record.clock_ns - self.time_of(end)
        if late < 0:  # none can come before it is captured: the line is lower than it was thought
            self._lower(late)
            late = self._earliest = 0.0
            self._earliest_at = (end, float(record.clock_ns))
        elif late < self._earliest:
            self._earliest, self._earliest_at = late, (end, float(record.clock_ns))
        self._last_late = late
        self._newest = end
        begin = end - record.length
        captured = self.time_of(begin) + self._offset
        self._placed.append(Placed(record, lost, uncertainty, end, captured))
        self._window.append(late)
        if record.age_ns >= 0:
            self._ages.append(record.clock_ns - record.age_ns - self.time_of(begin))
        if record.clock_ns >= self._window_ends and len(self._window) >= 2 * LEAST_BLOCKS:
            self._end_window(record.clock_ns)
        elif self._window_ends == math.inf:
            self._begin_window(record.clock_ns + WINDOW_NS)

    def _lower(self, by: float) -> None:
        assert self._anchor is not None
        self._anchor = (self._anchor[0], self._anchor[1] + by)

    # --- once in a while: the line anew -------------------------------------------------------

    def _begin_window(self, ends: float) -> None:
        self._window_ends = ends
        self._window: list[float] = []
        self._ages: list[float] = []
        self._earliest, self._earliest_at = math.inf, (0, 0.0)

    def _end_window(self, now: float) -> None:
        late = sorted(self._window)
        self._lateness.append(late[len(late) * 9 // 10])
        self._usual = median(self._lateness)
        self._use_ages()
        noise = LATE_NS / 2 + 2 * self._noise + self._rate_slack()
        rising = self._earliest if self._earliest > noise else 0.0
        before, self._rising = self._rising, (rising, self._earliest_at)
        if rising and not before[0]:
            pass  # seen once: the next window tells what it is
        elif rising and rising - before[0] < before[0] / 2:
            self._insert_loss(min(rising, before[0]))
        elif rising:  # not a loss, but another rate
            self._points.clear()
            self._first_point, self._slope = None, Slope()
            (n0, t0), (n1, t1) = before[1], self._earliest_at
            self._step = (t1 - t0) / (n1 - n0)
            self._anchor = self._earliest_at
        else:
            self._points.append(self._earliest_at)
            self._first_point = n0, t0 = self._first_point or self._points[0]
            n, t = self._earliest_at
            x = (n - n0) * self._nominal
            self._slope.add(x / 1e9, t - t0 - x)
            self.drift = self._slope.drift()
            self._fit()
        self._begin_window(now + max(WINDOW_NS, 2 * self._longest_wait))

    def _use_ages(self) -> None:
        """Take the device's word for when a sample was captured, where it makes sense."""
        ages = sorted(self._ages)
        known = len(ages) > 0.9 * len(self._window)
        # No sample is captured after it could have come, and the device's clock is a clock.
        self.adc = known and median(ages) < LATE_NS / 10
        self.adc = self.adc and ages[len(ages) * 9 // 10] - ages[len(ages) // 10] < 20 * MS
        self._offset = min(0.0, median(ages)) if self.adc else 0.0

    def _insert_loss(self, late: float) -> None:
        """Put a loss, too small to be seen at once, before the newest block."""
        newest = self._placed.pop()
        lost = round(late / self._step)
        since = self._points[-1][0] if self._points else 0
        unsure = newest.record.first + self.host - since + self.margin()
        self._placed.append(newest._replace(lost=newest.lost + lost, uncertainty=unsure))
        self.host += lost
        self._slope.step()
        self._rising = (0.0, (0, 0.0))

    def _fit(self) -> None:
        """Put the line beneath the last points, with the slope of all of them."""
        n0, t0 = self._points[0]
        if len(self._points) >= LEAST_POINTS:
            xs = [n - n0 for n, _ in self._points]
            ys = [t - t0 - x * self._nominal for x, (_, t) in zip(xs, self._points, strict=True)]
            mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
            slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
            self._step = self._nominal + slope / sum((x - mean_x) ** 2 for x in xs)
        recent = list(self._points)[-LEAST_BLOCKS:]
        n1 = recent[-1][0]
        times = [t + (n1 - n) * self._step for n, t in recent]
        self._anchor = (n1, min(times))
        self._noise = max(times) - min(times)


def _grow(lates: list[float]) -> bool:
    """Whether blocks come later and later: no loss, but a rate that is not the promised one."""
    parts = min(8, len(lates) // 2) if len(lates) >= 16 else 4
    size = max(1, len(lates) // parts)
    least = [min(lates[i * size : (i + 1) * size]) for i in range(parts)]
    growth = least[-1] - least[0]
    steps = [after - before for before, after in pairwise(least)]
    enough = 0.1 if parts > 4 else 0.5  # chance does not rise eight times in a row
    return growth > enough * least[0] and min(steps) > growth / 4 / parts
