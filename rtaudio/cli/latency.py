"""`rtaudio latency`: how late it is."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtaudio.cli import CHECK_FAILED, DONE, INTERRUPTED, UNREADABLE, Terminated
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.meter import heard_s, lost_words, meter, say_priority, title
from rtaudio.cli.options import (
    UsageError,
    add_microphone,
    add_settings,
    microphone_of,
    new_parser,
    parse_words,
    seconds,
    settings_of,
)
from rtaudio.words import Words, one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rtaudio.consumers.delays import Delay
    from rtaudio.latency import Algorithmic, Drawing
    from rtaudio.pipeline import Live
    from rtaudio.roundtrip import RoundTrip
    from rtaudio.sources.block import Source

METER_S = 0.1
ADC_KNOWN_S = 2.0  # how long it may take
GATE = "callback_to_frame"  # what --max-p99-ms looks at
_COLUMNS = {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99", "p999_ms": "p99.9", "max_ms": "max"}


def main(argv: Sequence[str]) -> int:
    """Measure the delays of the live chain."""
    args = _parse(argv)
    settings, words = settings_of(args), Words(args.quiet)
    load_kernels(words, live=True)
    from rtaudio.latency import Drawing
    from rtaudio.pipeline import Live
    from rtaudio.sources.block import SourceError
    from rtaudio.view.canvas import ViewError

    try:
        drawing = Drawing() if "render" in args.load else None
        run = Live(_source(args), settings, duration_s=args.duration, tell=words.error)
        run.open()
    except (SourceError, ViewError) as error:
        words.error(str(error))
        return UNREADABLE
    words.say(f"{title(run)}; for {args.duration:g} s")
    status = DONE
    try:
        try:
            _measure(run, args, words, drawing)
        finally:
            run.close()
    except (KeyboardInterrupt, Terminated) as end:
        status = INTERRUPTED if isinstance(end, KeyboardInterrupt) else DONE
        words.clear()
        words.error(f"ended after {heard_s(run):.1f} s: this is what was measured until then")
    except SourceError as error:
        words.error(str(error))
        status = UNREADABLE
    words.clear()
    return _report(run, args, words, drawing) or status


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(
        "latency", "How late it is: the live chain measured, stage by stage, and the round trip."
    )
    add = parser.add_argument
    add("source", nargs="?", metavar="SOURCE", help="a file, demo: or fake: (default: microphone)")
    add("--duration", type=seconds, default=10.0, metavar="TIME", help="how long (10 s)")
    add(
        "--load", default="none", metavar="NAMES", help="beside: none, gil, cpu, render; or several"
    )
    add("--loopback", metavar="OUT:IN", help="measure the round trip: sweeps are played on OUT")
    add("--level", type=float, metavar="DBFS", help="of the sweeps' peak (-20)")
    add("--json", action="store_true", help="one object on stdout")
    add("--plot", metavar="PNG", help="a picture of the distributions: .png, .svg, .pdf")
    add("--max-p99-ms", type=float, metavar="X", help="exit 1 if p99 of callback → frame is above")
    add_microphone(parser)
    add_settings(parser)
    args, sources = parse_words(parser, argv)
    if args.source is not None:
        sources.insert(0, args.source)
    if len(sources) > 1:
        raise UsageError(f"{' and '.join(sources)}: one SOURCE at a time")
    args.source = sources[0] if sources else None
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that do not go together."""
    from rtaudio.latency import LOADS

    if args.top_db is not None:
        raise UsageError("--top-db needs the whole recording: it works in rtaudio analyze and plot")
    args.load = list(dict.fromkeys(name.strip() for name in args.load.split(",")))
    for name in args.load:
        if name not in LOADS:
            raise UsageError(f"--load {name}: not one of {', '.join(LOADS)}")
    if args.source in ("", "-"):
        raise UsageError("standard input has no pace: name a file, demo: or fake:")
    if args.loopback is not None and (args.source is not None or args.device is not None):
        raise UsageError("--loopback OUT:IN names both devices: leave out SOURCE and --device")
    if args.level is not None and args.loopback is None:
        raise UsageError("--level is of the sweeps: --loopback OUT:IN plays them")
    if args.source not in (None, "fake:"):
        for option in ("device", "device_rate", "blocksize", "latency"):
            if getattr(args, option) is not None:
                name = option.replace("_", "-")
                raise UsageError(f"--{name} is for a microphone, and {args.source} is none")
    if args.max_p99_ms is not None and not args.max_p99_ms > 0:
        raise UsageError(f"--max-p99-ms {args.max_p99_ms:g} is not above 0")
    if args.plot is not None:
        from rtaudio.figures import PICTURE_SUFFIXES

        path = Path(args.plot)
        if path.suffix not in PICTURE_SUFFIXES:
            raise UsageError(f"--plot {path}: not one of {', '.join(PICTURE_SUFFIXES)}")
        if not os.access(path.parent, os.W_OK) or path.is_dir():
            raise UsageError(f"--plot {path}: no file can be written there")
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to write to")


def _source(args: argparse.Namespace) -> Source:
    """Raises `SourceError`, and `UsageError` for wrong words."""
    from rtaudio.capture.fake import Script
    from rtaudio.capture.process import ProcessHost
    from rtaudio.latency import Loopback
    from rtaudio.sources import open_source
    from rtaudio.sources.microphone import Microphone

    try:
        if args.loopback is not None:
            level = -20.0 if args.level is None else args.level
            return Loopback(args.loopback, args.duration, level, **microphone_of(args))
        if args.source == "fake:":
            host = ProcessHost(fake=Script())
            return Microphone(args.device, host=host, **microphone_of(args))
        if args.source is not None:
            source = open_source(args.source, realtime=True)
            if args.source.startswith("demo:"):  # a signal is as long as is asked for
                source.duration_s = args.duration
            return source
        return Microphone(args.device, **microphone_of(args))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _measure(run: Live, args: argparse.Namespace, words: Words, drawing: Drawing | None) -> None:
    """Run the chain until it ends; raises as `Live.close`."""
    from rtaudio.latency import Loopback, busy

    run.attach_frames("a consumer", lambda frames: None)
    if isinstance(run.source, Loopback):
        run.attach_blocks("the loopback", run.source.hear)
    if drawing is not None:
        drawing.begin(run)
    with busy(args.load):
        if drawing is not None:
            drawing.draw(run)
        else:
            run.start()
            while not run.wait(METER_S):
                words.show(lambda width: meter(run, width))
    say_priority(run, words)


# --- what is told -----------------------------------------------------------------------------


def _report(run: Live, args: argparse.Namespace, words: Words, drawing: Drawing | None) -> int:
    """Print what was measured; returns the exit status."""
    from rtaudio.latency import Loopback, algorithmic

    stages = run.stats.stages
    delay = algorithmic(run.settings, run.source.sr)
    trip = run.source.measure() if isinstance(run.source, Loopback) else None
    about = _about(run, args, delay, trip, drawing)
    if args.json:
        print(json.dumps(about))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
        print("\n".join(_table(stages, width)))
        for line in _words(run, about, delay, trip):
            print(textwrap.fill(line, max(40, width), subsequent_indent="  "))
    status = DONE
    for note in (*run.source.notes, *(trip.notes if trip is not None else ())):
        words.error(note)
    if trip is not None and trip.samples is None:
        status = CHECK_FAILED
    if args.plot is not None and not _plot(run, args, stages, words):
        status = UNREADABLE
    return status or _gate(stages, args, words)


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
    args: argparse.Namespace,
    delay: Algorithmic,
    trip: RoundTrip | None,
    drawing: Drawing | None,
) -> dict[str, Any]:
    """All of it, as JSON has it."""
    stats = run.stats
    microphone = stats.microphone
    about: dict[str, Any] = {
        "source": run.source.name,
        "sr": run.source.sr,
        "blocksize": _blocksize(run),
        "duration_s": heard_s(run),
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
        **{cause: getattr(stats, cause) for cause in ("dropped", "host", "outage")},
        "frames": stats.frames,
        "skipped": stats.skipped,
        "drift_ppm": None,
    }
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
    run: Live, about: dict[str, Any], delay: Algorithmic, trip: RoundTrip | None
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
    if about["blocksize"]:
        block_ms = 1e3 * about["blocksize"] / sr
        lines.append(
            f"- Samples come in blocks of {about['blocksize']}: the first waits {block_ms:.1f} ms "
            "for the last, which is part of the ages above."
        )
    lines.append("")
    if "drawn" in about:
        why = "" if about["drawn"] == "in a window" else "; nobody sees it, so it has no delay"
        lines.append(f"Drawn {about['drawn']}: {about['drawn_per_s']:.1f} times a second{why}.")
    lost = lost_words(run)
    if run.stats.microphone is None:
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
