"""What a live run shows: its level while it runs, its books at the end."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from rtaudio.words import clock, losses, one_line

if TYPE_CHECKING:
    from rtaudio.books import LiveStats
    from rtaudio.consumers.listener import Interval
    from rtaudio.pipeline import Live
    from rtaudio.words import Words

GONE_S = 1.0  # no samples for so long are shown


def title(run: Live) -> str:
    """What is heard, at which rate."""
    source = run.source
    verb = "listening to" if source.realtime and source.duration_s is None else "reading"
    channels = f"{source.channels} channel{'s' if source.channels > 1 else ''}"
    return f"{verb} {_name(run)}: {source.sr} Hz, {channels}"


def _name(run: Live) -> str:
    return one_line(run.source.name.removesuffix(":"))  # of demo:


def meter(run: Live, width: int) -> str:
    """Level, time, losses, delay and what is heard, as far as they fit."""
    from rich.cells import cell_len

    row, stats = run.latest(), run.stats
    if row is None:
        return "no samples yet …"
    since_s = time.perf_counter() - float(row.captured[0])
    gone = since_s > GONE_S
    rms, peak = (20 * math.log10(max(float(x[0]), 1e-6)) for x in (row.rms, row.peak))
    seconds = heard_s(stats, run.source.sr)
    sr = run.source.sr
    lost = f"lost {stats.lost / sr:.2f} s" if stats.lost else ""
    lost = losses(lost, stats.refuted / sr, stats.unplaced / sr)
    parts = [f"{rms:6.1f} dBFS", clock(seconds), lost]
    answer = run.answer()
    if answer is not None:
        parts.insert(1, f"{answer.label or '–'} {100 * answer.probability:.0f} %")
    if gone:
        parts[0] = f"no samples for {since_s:.0f} s"
    elif peak > -0.01:
        parts[0] += " CLIP"
    if not (gone or math.isnan(stats.age_ms)):
        recent = stats.stages["captured_to_frame"].recent
        p99 = "" if math.isnan(recent.p99_ms) else f" (p99 {recent.p99_ms:.0f})"
        parts.append(f"delay {recent.p50_ms:.0f} ms{p99}")
    parts.append(f"{_name(run)}, {run.source.sr} Hz")
    while len(parts) > 1 and cell_len("  ".join(parts)) > width:
        parts.pop()
    text = "  ".join(parts)
    bar = min(30, width - cell_len(text) - 2)
    if bar < 6 or gone:
        return text
    filled = round(bar * min(1.0, max(0.0, 1 + rms / 60)))
    return f"{'#' * filled:-<{bar}}  {text}"


def heard_words(interval: Interval) -> str:
    """One interval, in a line."""
    start, end, label, probability = interval
    return f"{start:9.2f} … {end:.2f} s  {100 * probability:3.0f} %  {label}"


def say_priority(run: Live, words: Words) -> bool:
    """Say once where the system grants the capture no real-time priority."""
    microphone = run.stats.microphone
    if microphone is None or not microphone.delivered:
        return microphone is None
    if not microphone.realtime_priority and sys.platform == "linux":
        words.say(
            "no real-time priority: a busy machine may lose samples (ulimit -r 95, or the group "
            "that /etc/security/limits.d gives rtprio)"
        )
    return True


def heard_s(stats: LiveStats, sr: int) -> float:
    """How much sound there was so far; what was lost counts."""
    return (stats.processed + stats.lost) / sr


def lost_words(stats: LiveStats, sr: int) -> str:
    """How much was lost, and how."""
    words = []
    if stats.lost:
        words.append(
            f"lost {stats.lost} samples ({stats.lost / sr:.3f} s): {stats.dropped} dropped here, "
            f"about {stats.host} by the sound system, about {stats.outage} while it was gone"
        )
    if stats.refuted:
        words.append(f"{stats.refuted} of them turned out not to be lost")
    if stats.unplaced:
        more = "more " if stats.lost else ""
        words.append(
            f"about {stats.unplaced} samples ({stats.unplaced / sr:.3f} s) {more}were lost at an "
            "unknown place: not in the recording"
        )
    return "; ".join(words) or "nothing lost"


def latency_words(stats: LiveStats) -> str:
    """How often the latency changed, and by how much; empty if it did not."""
    last, largest = stats.latency_change_ms, stats.largest_latency_change_ms
    if not stats.latency_changes:
        return ""
    if stats.latency_changes == 1:
        return f"latency changed once, by {last:+.1f} ms"
    return (
        f"latency changed {stats.latency_changes} times, last by {last:+.1f} ms, at most by "
        f"{largest:+.1f} ms"
    )


def sum_up(run: Live, words: Words) -> None:
    """The books, at the end of every run."""
    stats, sr = run.stats, run.source.sr
    for note in run.source.notes:
        words.error(note)
    if stats.invalid:
        words.error(f"{stats.invalid} samples were NaN, Inf or beyond 1e12, taken as 0")
    lost = "; ".join(filter(None, (lost_words(stats, sr), latency_words(stats))))
    words.say(f"{_name(run)}: {heard_s(stats, sr):.3f} s, {stats.frames} rows; {lost}")
    if stats.skipped:
        words.error(
            f"{stats.skipped} rows, samples or answers were skipped by what was too slow for them"
        )


def books(run: Live) -> dict[str, Any]:
    """All counters and delays, as JSON has them."""
    stats = run.stats
    microphone = asdict(stats.microphone) if stats.microphone is not None else {}
    counters = {f.name: getattr(stats, f.name) for f in fields(stats)[:-2]}
    stages = {
        name: {**delay.as_dict(), "last_10_s": delay.recent.as_dict()}
        for name, delay in stats.stages.items()
    }
    lost = {"lost": stats.lost, "lost_by_cause": stats.lost_by_cause}
    return {**microphone, **counters, **lost, "stages": stages}
