"""What rtaudio said about lost samples, against what is true: of a cell that grid.py has run.

What is true, in terms of *heard* samples (those that rtaudio got, numbered from 0):

- The counter jumps between heard samples: so many are missing there. On PulseAudio and PipeWire a
  second recorder hears the same, so a jump in both at the same count is the player's or the
  graph's and counted apart. JACK's player counts its own cycles, so only a jump forwards is a loss.
- A suspended sink renders nothing: its pause is known from the player, which says when each
  sample is rendered, and is a loss of so much time, though no count is missing.

What rtaudio said are gaps, each before a heard sample and true within its uncertainty, and remarks
(``block.remarks``) about losses with an interval in place of a place. Where they meet a true loss
within their uncertainty they have found it; where not, they are invented.
"""

import bisect
import itertools
import json
import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import servers
import soundfile

SR = 48000
NEAR = 2 * SR  # a gap so near to a loss of its size is that loss, misplaced
PAUSE_SLACK = SR // 10  # a server renders ahead, so where exactly it was suspended is not known
ALIKE = SR // 500  # lengths that differ by less are of one loss
SLIPPED_NS = 40e6  # due times of libpulse that spread more are not of one line
STEP_NS = 1e6  # and neighbours among JACK's


# --- what is true -----------------------------------------------------------------------------


class Break(NamedTuple):
    """Where a counter does not go on by one."""

    at: int
    """Index of the first sample behind it."""
    before: int
    """The last count before it."""
    after: int
    silent: int
    """How many silent samples stand in it."""

    @property
    def jump(self):
        """How many counts are missing; negative where some come again."""
        return self.after - self.before - 1


class Stream:
    """A counter as somebody heard it: its counts, never wrapped, and where it breaks."""

    def __init__(self, counts, wrap):
        """``counts``: modulo ``wrap``; -1 is silence."""
        self.length = len(counts)
        where = np.flatnonzero(counts >= 0)
        assert len(where), "the counter was never heard"
        steps = (np.diff(counts[where]) + wrap // 2) % wrap - wrap // 2
        count = counts[where[0]] + np.concatenate([[0], np.cumsum(steps)])
        self.silent = int(self.length - len(where))
        self.first_heard = int(where[0])
        breaks = np.flatnonzero((steps != 1) | (np.diff(where) != 1))
        self.breaks = [
            Break(
                int(where[i + 1]),
                int(count[i]),
                int(count[i + 1]),
                int(where[i + 1] - where[i] - 1),
            )
            for i in breaks
        ]
        begins = np.concatenate([[0], breaks + 1])
        self._at, self._count = where[begins].tolist(), count[begins].tolist()  # of each piece

    def count_at(self, index):
        """The count of a sample that is not silent; where it is, what would be there."""
        piece = max(0, bisect.bisect_right(self._at, index) - 1)
        return self._count[piece] + index - self._at[piece]

    def index_of(self, count):
        """Where a count stands, or would."""
        piece = max(0, bisect.bisect_right(self._count, count) - 1)
        return self._at[piece] + count - self._count[piece]


def read_stream(path, jack, channels=1):
    """A file of raw samples."""
    samples = np.fromfile(path, np.float32)
    samples = samples[: len(samples) // channels * channels : channels]
    if jack:
        return Stream(np.where(samples == 0, -1, servers.counts(samples)), servers.COUNTS)
    return Stream(servers.pulse_counts(samples), servers.PULSE_COUNTS)


@dataclass
class Loss:
    """A true one."""

    at: int
    """The first heard sample behind it."""
    length: int
    slack: int = 0
    """How far off ``at`` may be."""
    found: bool = False


def losses_beside(heard, reference):
    """The true losses, and how many breaks are the player's or the graph's."""
    same = {(b.before, b.after): b.silent for b in reference.breaks}
    losses, elsewhere = [], 0
    for b in heard.breaks:
        passed = reference.index_of(b.after) - reference.index_of(b.before) - 1
        if (b.before, b.after) in same or b.jump < 0:
            elsewhere += 1
        else:
            passed = max(passed, b.jump)
        if passed > b.silent:
            losses.append(Loss(b.at, passed - b.silent))
    return losses, elsewhere


def losses_alone(heard, period):
    """The same without a second recorder: of JACK, whose player counts its own cycles.

    What comes again and then misses as much within two periods was its own delay. If as much is
    missing first and then comes again, one cycle was heard twice in place of another: the server
    had filled the buffer anew before it was read. On the axis nothing is missing then.
    """
    losses, elsewhere = [], 0
    at, owed, ahead = -period, 0, 0
    for b, after in itertools.pairwise([*heard.breaks, None]):
        net = b.jump - b.silent + (owed if b.at - at <= 2 * period else 0) + ahead
        at, owed, ahead = b.at, min(0, net), 0
        if after and 0 < net == -after.jump and after.at - at <= 2 * period:
            owed, ahead = 0, net
            elsewhere += 1
        elif net > 0:
            losses.append(Loss(b.at, net, slack=2 * period))  # a stale buffer hides one
        else:
            elsewhere += 1
    return losses, elsewhere


class DueTimes:
    """When each count was rendered, by the player's word.

    A server renders at its rate by the very clock that the player reads, so between pauses all
    words are of one line; libpulse's are off by a few ms, JACK's by 0.1 ms. Where they are off by
    more, the server stood still and did not catch up: the line has steps.
    """

    def __init__(self, due, pauses, exact):
        self._counts, self._due_ns = np.array(due, float).reshape(-1, 2).T
        self._offsets = self._due_ns - self._counts / SR * 1e9
        self._exact = exact
        self._edges = [-np.inf, *(self._count_when(begin) for begin, _ in pauses), np.inf]
        self._spans = []  # (counts, offsets) between the pauses
        for begin, end in itertools.pairwise(self._edges):
            some = np.flatnonzero((self._counts > begin) & (self._counts <= end))
            some = some[2:] if begin > 0 and len(some) > 4 else some  # the first are of before
            self._spans.append((self._counts[some], self._offsets[some]))

    def _count_when(self, ns):
        """What is rendered then; the last one, where nothing is any more."""
        after = min(int(np.searchsorted(self._due_ns, ns)), len(self._counts) - 1)
        before = max(0, after - 1)
        count = self._counts[before] + (ns - self._due_ns[before]) * SR / 1e9
        return min(count, self._counts[after])

    @property
    def noise_ms(self):
        """How far nine of ten are apart, beside the pauses."""
        return max(_spread(offsets) for _, offsets in self._spans) / 1e6

    def pause(self, number):
        """How many samples would have been rendered in a pause."""
        before, after = (np.median(offsets) for _, offsets in self._spans[number : number + 2])
        return round(float(after - before) * SR / 1e9)

    def pause_at(self, number):
        """At about which count it was."""
        return round(self._edges[number + 1])

    def of(self, counts):
        """In s; NaN where that is not known well, beside a pause or a step."""
        counts = np.asarray(counts, float)
        offsets = np.full(len(counts), np.nan)
        for span, (begin, end) in zip(self._spans, itertools.pairwise(self._edges), strict=True):
            inside = (counts > begin + PAUSE_SLACK) & (counts <= end - PAUSE_SLACK)
            if self._exact:
                offsets[inside] = self._between(counts[inside])
            elif _spread(span[1]) > SLIPPED_NS:
                offsets[inside] = np.interp(counts[inside], span[0], _smooth(span[1]))
            else:
                offsets[inside] = np.median(span[1])
        return (offsets + counts / SR * 1e9) / 1e9

    def _between(self, counts):
        after = np.clip(np.searchsorted(self._counts, counts), 1, len(self._counts) - 1)
        around = self._offsets[after - 1], self._offsets[after]
        return np.where(np.abs(around[1] - around[0]) < STEP_NS, np.mean(around, axis=0), np.nan)


def _spread(offsets):
    return float(np.ptp(np.percentile(offsets, [5, 95])))


def _smooth(values, reach=4):
    """The running median."""
    padded = np.pad(values, reach, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1)


# --- what was said, and how the two compare ---------------------------------------------------


@dataclass
class Said:
    """A loss that rtaudio told."""

    first: int
    """Its place on rtaudio's axis."""
    length: int
    cause: str
    uncertainty: int
    low: int
    """It lies before a heard sample from this one …"""
    high: int
    """… to this one."""
    placed: bool
    true: bool = False
    """Whether there is a true loss."""


class Axis:
    """Heard samples ↔ rtaudio's axis."""

    def __init__(self, blocks):
        self._firsts = [b["first_sample"] for b in blocks]
        self._lengths = [b["length"] for b in blocks]
        self.begins = list(itertools.accumulate(self._lengths, initial=0))

    def heard(self, position):
        """The first heard sample at or behind a position of the axis."""
        i = max(0, bisect.bisect_right(self._firsts, position) - 1)
        return self.begins[i] + min(max(0, position - self._firsts[i]), self._lengths[i])


def said_losses(blocks, axis):
    """All that was told: gaps, and losses without a place."""
    said = []
    for block, begin in zip(blocks, axis.begins, strict=False):
        for first, length, cause, unsure in block["gaps"]:
            low, high = begin - unsure, begin + unsure
            said.append(Said(first, length, cause, unsure, low, high, placed=True))
        for first, length, cause, width in block["remarks"]:
            if cause == "unplaced":
                low, high = axis.heard(first), axis.heard(first + width)
                said.append(Said(first, length, cause, width, low, high, placed=False))
    return said


def match(said, losses):
    """Say which are found and true; returns the errors of length, one for each group that meets.

    Groups are told losses and true ones whose intervals overlap. Within one, the largest true ones
    are found first, for as long as what was told lasts.
    """
    errors = []
    for some, true in _groups(said, losses):
        told = left = sum(s.length for s in some)
        for loss in sorted(true, key=lambda loss: -loss.length):
            loss.found = left >= loss.length / 2
            left -= loss.length if loss.found else 0
        if some and true:
            for s in some:
                s.true = True
            unsure = max(s.uncertainty for s in some) + max(loss.slack for loss in true)
            length = sum(loss.length for loss in true)
            errors.append({"told": told, "true": length, "within": unsure})
    return errors


def _groups(said, losses):
    """([told], [true]) whose intervals overlap."""
    spans = [(s.low, s.high, s) for s in said]
    spans += [(loss.at - loss.slack, loss.at + loss.slack, loss) for loss in losses]
    groups, end = [], -math.inf
    for low, high, item in sorted(spans, key=lambda span: span[:2]):
        if low > end:
            groups.append(([], []))
        end = max(end, high)
        groups[-1][isinstance(item, Loss)].append(item)
    return groups


def misplaced(said, losses):
    """Told losses that are no one's place, with a missed one of their size nearby."""
    left = [loss for loss in losses if not loss.found]
    found = []
    for s in said:
        for loss in left if not s.true else ():
            near = s.low - NEAR <= loss.at <= s.high + NEAR
            if near and abs(loss.length - s.length) <= max(ALIKE, loss.length / 5):
                left.remove(loss)
                found.append((s, loss))
                break
    return found


def wrong_rows(report, said, unknown):
    """How many rows are marked of which no sample is missing; of ``unknown`` losses none is."""
    size, hop = report["n_fft"], report["hop_length"]
    wrong = 0
    for row in report["marked"]:
        begin = row * hop - size // 2
        touching = [
            s
            for s in [*said, *unknown]
            if s.placed and s.first < begin + size and begin < s.first + s.length
        ]
        wrong += not any(s.true or s in unknown for s in touching)
    return wrong


def captured_errors(blocks, axis, heard, due):
    """How far ``captured`` of each block is from the player's word, in ms, after a second.

    Until then the ADC time may still be taken for earlier than it is.
    """
    known = [
        (heard.count_at(begin), block["captured"])
        for block, begin in zip(blocks, axis.begins, strict=False)
        if block["length"] and block["captured"] is not None and begin >= heard.first_heard + SR
    ]
    counts, captured = np.array(known, float).reshape(-1, 2).T
    return (captured - due.of(counts)) * 1e3


def duration_error_ms(blocks):
    """By how much the take is longer than the time between the first and the last callback."""
    first, last = (b for b in (_first(blocks), _first(reversed(blocks))))
    begin, end = (b["first_sample"] + b["length"] for b in (first, last))
    return ((end - begin) / SR - (last["called"] - first["called"])) * 1e3


def _first(blocks):
    return next(b for b in blocks if b["length"] and b["called"] is not None)


def compare(cell, folder, due, pauses):
    """All that is known about a cell that has run, as one object for JSON. Lengths in samples.

    ``invented``: told with a place, and not lost, or more than lost and the uncertainty together;
    ``invented_unplaced``: the same of those without a place. ``losses``, ``lost``: the true ones,
    how many and how much; ``told``: how much was. ``found``, ``missed``, ``misplaced`` (told, but
    outside its interval): how many of the true ones. ``lengths``: told and true of each group
    that meets, and within what; ``lengths_wrong``: how many are outside. ``elsewhere``: breaks
    that are the player's or the graph's; ``silent``: samples of theirs. ``captured_worst_ms``:
    the largest error of `Block.captured` beside the median error, ``captured_median_ms``.
    ``due_noise_ms``: how far apart the player's own words are. ``duration_error_ms``: the take
    against the clock. ``said`` and ``true``: every single one.
    """
    report = json.loads((folder / "report.json").read_text())
    blocks = report["blocks"]
    axis = Axis(blocks)
    heard = read_stream(folder / "heard.f32", cell.jack)
    begun = heard.count_at(heard.first_heard) - SR // 2
    times = DueTimes([d for d in due if d[0] >= begun], pauses, exact=cell.jack)
    if cell.jack:
        losses, elsewhere = losses_alone(heard, max(cell.blocksize, 128))
    else:
        reference = read_stream(folder / "reference.f32", False, channels=2)
        losses, elsewhere = losses_beside(heard, reference)
    losses += [_pause(heard, times, number) for number in range(len(pauses))]
    kept = sum(block["length"] for block in blocks)  # behind the last one nobody knows
    told = said_losses(blocks, axis)
    said = [s for s in told if (s.low + s.high) / 2 < kept]
    lengths = match(said, losses)
    return {
        "cell": asdict(cell),
        "folder": str(folder),
        **_found(said, losses, lengths),
        "elsewhere": elsewhere,
        "silent": heard.silent,
        "rows": report["rows"],
        "rows_wrongly_marked": wrong_rows(report, said, [s for s in told if s not in said]),
        **_times(blocks, axis, heard, times),
        "take_s": soundfile.info(folder / "take.wav").frames / SR,
        "stats": report["stats"],
        "microphone": report["microphone"],
        "messages": report["said"],
    }


def _pause(heard, times, number):
    """The loss that a suspended sink is, with what it had rendered for nobody."""
    at = heard.index_of(times.pause_at(number))
    near = [b for b in heard.breaks if abs(b.at - at) <= PAUSE_SLACK]
    length = times.pause(number) + sum(b.jump - b.silent for b in near)
    return Loss(at, length, slack=PAUSE_SLACK)


def _found(said, losses, lengths):
    """The losses, in samples."""
    beside = misplaced(said, losses)
    aside = [s for s, _ in beside]
    wrong = [s for s in said if not s.true and s not in aside]
    beyond = sum(max(0, e["told"] - e["true"] - e["within"]) for e in lengths)
    return {
        "invented": sum(s.length for s in wrong if s.placed) + beyond,
        "invented_events": sum(s.placed for s in wrong),
        "invented_unplaced": sum(s.length for s in wrong if not s.placed),
        "losses": len(losses),
        "lost": sum(loss.length for loss in losses),
        "told": sum(s.length for s in said),
        "found": sum(loss.found for loss in losses),
        "missed": sum(not loss.found for loss in losses) - len(beside),
        "misplaced": len(beside),
        "lengths": lengths,
        "lengths_wrong": sum(abs(e["told"] - e["true"]) > e["within"] for e in lengths),
        "said": [asdict(s) for s in said],
        "true": [asdict(loss) for loss in losses],
    }


def _times(blocks, axis, heard, due):
    errors = captured_errors(blocks, axis, heard, due)
    errors = errors[~np.isnan(errors)]
    middle = float(np.median(errors))
    return {
        "captured_median_ms": middle,
        "captured_worst_ms": float(np.abs(errors - middle).max()),
        "captured_raw_worst_ms": float(np.abs(errors).max()),
        "due_noise_ms": due.noise_ms,
        "duration_error_ms": duration_error_ms(blocks),
    }
