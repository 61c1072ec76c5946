"""What `rtaudio latency` tells of a run: a table, words, JSON, a picture, and whether it passes."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtaudio.cli import CHECK_FAILED, DONE, UNREADABLE
from rtaudio.cli.meter import heard_s, latency_words, lost_words
from rtaudio.words import Words, one_line

if TYPE_CHECKING:
    import argparse

    from rtaudio.books import LiveStats
    from rtaudio.consumers.delays import Delay
    from rtaudio.latency import Algorithmic, Drawing
    from rtaudio.pipeline import Live
    from rtaudio.roundtrip import RoundTrip

ADC_KNOWN_S = 2.0  # how long it may take
GATE = "callback_to_frame"  # what --max-p99-ms looks at
_COLUMNS = {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99", "p999_ms": "p99.9", "max_ms": "max"}


def report(run: Live, args: argparse.Namespace, words: Words, drawing: Drawing | None) -> int:
    """Print what was measured; returns the exit status."""
    from rtaudio.latency import Loopback, algorithmic

    stats = run.stats
    delay = algorithmic(run.settings, run.source.sr)
    trip = run.source.measure() if isinstance(run.source, Loopback) else None
    about = _about(run, stats, args, delay, trip, drawing)
    if args.json:
        print(json.dumps(about))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
        print("\n".join(_table(stats.stages, width)))
        for line in _words(run, stats, about, delay, trip):
            print(textwrap.fill(line, max(40, width), subsequent_indent="  "))
    status = DONE
    for note in (*run.source.notes, *(trip.notes if trip is not None else ())):
        words.error(note)
    if trip is not None and trip.samples is None:
        status = CHECK_FAILED
    if args.plot is not None and not _plot(run, args, stats.stages, words):
        status = UNREADABLE
    return status or _gate(stats.stages, args, words)


def _gate(stages: dict[str, Delay], args: argparse.Namespace, words: Words) -> int:
    """Whether p99 is as low as was asked for."""
    if args.max_p99_ms is None:
        return DONE
    n = stages[GATE].n if GATE in stages else 0
    p99 = stages[GATE].p99_ms if n else math.nan
    if math.isnan(p99):
        words.error(f"p99 of callback → frame takes 100 values, and there are {n}: --duration")
    elif p99 > args.max_p99_ms:
        words.error(f"p99 of callback → frame is {p99:.3g} ms, above {args.max_p99_ms:g}")
    return DONE if p99 <= args.max_p99_ms else CHECK_FAILED


def _about(
    run: Live,
    stats: LiveStats,
    args: argparse.Namespace,
    delay: Algorithmic,
    trip: RoundTrip | None,
    drawing: Drawing | None,
) -> dict[str, Any]:
    """All of it, as JSON has it."""
    microphone = stats.microphone
    about: dict[str, Any] = {
        "source": run.source.name,
        "sr": run.source.sr,
        "blocksize": _blocksize(run),
        "duration_s": heard_s(stats, run.source.sr),
        "load": [name for name in args.load if name != "none"],
        "settings": asdict(run.settings),
        "stages": {name: stage.as_dict() for name, stage in stats.stages.items()},
        "algorithmic_ms": delay.total_ms,
        "algorithmic": {
            **{name: value for name, value in asdict(delay).items() if name != "onset_ms"},
            "onset_ms": {f"{db} dB": ms for db, ms in delay.onset_ms.items()},
        },
        "xruns": microphone.overflows if microphone is not None else 0,
        "lost": stats.lost,
        **stats.lost_by_cause,
        "unplaced": stats.unplaced,
        "refuted": stats.refuted,
        "latency_changes": stats.latency_changes,
        "latency_change_ms": stats.latency_change_ms,
        "largest_latency_change_ms": stats.largest_latency_change_ms,
        "frames": stats.frames,
        "skipped": stats.skipped,
        "drift_ppm": None,
    }
    if run.model is not None:
        about |= {"model": run.model.name, "label_ms": 1e3 * run.model.delay_s}
    if microphone is not None:
        about |= {
            "drift_ppm": microphone.drift_ppm,
            "drift_uncertainty_ppm": microphone.drift_uncertainty_ppm,
            "drift_over_s": microphone.drift_over_s,
            "held": microphone.held,
            "claimed_ms": microphone.latency_ms,
            "realtime_priority": microphone.realtime_priority,
        }
    if drawing is not None:
        about |= {"drawn": drawing.where, "drawn_per_s": drawing.frames_per_s}
    if trip is not None:
        from rtaudio.latency import Loopback

        assert isinstance(run.source, Loopback)
        about["round_trip"] = {
            "samples": trip.samples,
            "ms": None if trip.samples is None else 1e3 * trip.samples / run.source.sr,
            "spread_samples": trip.spread_samples,
            "n": trip.n,
            "confidence": trip.confidence,
            "claimed_ms": run.source.claimed_ms,
            "gain_db": trip.gain_db,
            "notes": list(trip.notes),
        }
    return about


def _blocksize(run: Live) -> int | None:
    """Samples of a block; None where the sound system chooses."""
    from rtaudio.sources.microphone import Microphone

    opened = run.source.opened if isinstance(run.source, Microphone) else None
    return opened.blocksize or None if opened is not None else None


def _table(stages: dict[str, Delay], width: int) -> list[str]:
    """One line a stage; in a narrow terminal, fewer columns."""
    from rtaudio.books import STAGES

    columns = list(_COLUMNS)
    names = max(len(name) for name in STAGES.values())
    for drop in ("p999_ms", "p95_ms", "max_ms"):
        if names + 9 * len(columns) + 9 > width:
            columns.remove(drop)
    lines = [
        f"{'ms':{names}}" + "".join(f"{_COLUMNS[column]:>9}" for column in columns) + f"{'n':>9}"
    ]
    for name, stage in stages.items():
        figures = "".join(f"{_ms(getattr(stage, column)):>9}" for column in columns)
        lines.append(f"{STAGES[name]:{names}}{figures}{stage.n:>9}")
    return lines


def _ms(value: float) -> str:
    """Three digits, and no more than a microsecond."""
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _words(
    run: Live, stats: LiveStats, about: dict[str, Any], delay: Algorithmic, trip: RoundTrip | None
) -> list[str]:
    """What the table does not say, a paragraph each."""
    settings, sr = run.settings, run.source.sr
    onset = ", ".join(f"{db} dB after {ms:.1f} ms" for db, ms in delay.onset_ms.items())
    lines = [
        "",
        f"By the settings alone, on any machine: {delay.total_ms:.1f} ms.",
        f"- A row is of the middle of its frame, {delay.center_ms:.1f} ms (half of n_fft "
        f"{settings.n_fft}) before its newest sample; there is one every {delay.hop_ms:.1f} ms.",
        f"- A tone that sets in is at {onset} ({_window(settings.window)} window).",
    ]
    if delay.resampler_ms:
        lines.append(
            f"- Resampling {sr} → {settings.sr} Hz keeps samples back up to "
            f"{delay.resampler_ms:.1f} ms."
        )
    if run.model is not None:
        lines.append(
            f"- A label is of the middle of what the model hears: it comes {about['label_ms']:.1f} "
            "ms after that row, half of the context and of what is averaged."
        )
    if about["blocksize"]:
        block_ms = 1e3 * about["blocksize"] / sr
        lines.append(
            f"- Samples come in blocks of {about['blocksize']}: the first waits {block_ms:.1f} ms "
            "for the last, which is part of the ages above."
        )
    lines.append("")
    if "drawn" in about:
        unseen = "" if about["drawn"] == "in a window" else ", where nobody sees it"
        lines.append(f"Drawn {about['drawn']}{unseen}: {about['drawn_per_s']:.1f} times a second.")
    lost = lost_words(stats, sr)
    if stats.microphone is None:
        lines.append(
            f"{lost.capitalize()}. Nobody calls back with a recording: its delays count from when "
            "a microphone's callback would have come."
        )
        return lines
    held = f"; {about['held']} blocks held back until that was certain" if about["held"] else ""
    lines += [
        f"{lost.capitalize()}{held}; xruns told by the sound system: {about['xruns']}.",
        f"The driver claims {about['claimed_ms']:.1f} ms from capture to callback; that is no "
        "measurement.",
    ]
    if stats.latency_changes:
        lines.append(f"{latency_words(stats).capitalize()}.")
    if "adc_to_callback" not in about["stages"]:
        why = "makes no sense" if about["duration_s"] > ADC_KNOWN_S else "is not known well yet"
        lines.append(f"The device's own time {why}: ages count from the earliest callback.")
    drift = about["drift_ppm"]
    if drift is None:
        lines.append("Its true rate is not known yet: that takes 6 s at least, and a steady clock.")
    else:
        lines.append(
            f"Its true rate is {sr * (1 + drift * 1e-6):.2f} Hz: {drift:+.2f} ± "
            f"{about['drift_uncertainty_ppm']:.2f} ppm against this machine's clock, watched for "
            f"{about['drift_over_s']:.0f} s."
        )
    if trip is not None and trip.samples is not None:
        ms, claimed_ms = about["round_trip"]["ms"], about["round_trip"]["claimed_ms"]
        gain_db = round(trip.gain_db or 0.0, 1) + 0.0  # no -0.0
        lines += [
            "",
            f"Round trip: {trip.samples:.2f} samples, {ms:.3f} ms (spread {trip.spread_samples:.2f}"
            f" samples, {trip.n} sweeps, confidence {trip.confidence:.2f}; it comes back at "
            f"{gain_db:+.1f} dB). The driver claims {claimed_ms:.1f} ms.",
        ]
    return lines


def _window(name: object) -> str:
    return name if isinstance(name, str) else one_line(str(name))


def _plot(run: Live, args: argparse.Namespace, stages: dict[str, Delay], words: Words) -> bool:
    """Draw the distributions; whether that was possible."""
    from rtaudio import figures
    from rtaudio.books import STAGES
    from rtaudio.latency import LOADS

    named = {STAGES[name]: stage for name, stage in stages.items()}
    beside = " and ".join(LOADS[name] for name in args.load if name != "none")
    load = f", beside {beside}" if beside else ""
    what = f"{run.source.name}, {run.source.sr} Hz, hop {run.settings.hop_length}{load}"
    try:
        figures.draw_delays(named, f"Delays: {what}", Path(args.plot))
    except OSError as error:
        words.error(f"{args.plot}: {error.strerror or error}")
        return False
    words.say(f"picture: {args.plot}")
    return True
