"""`rtaudio latency`: how late it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, INTERRUPTED, UNREADABLE, Terminated
from rtaudio.cli.delays import report
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.meter import heard_s, meter, say_priority, title
from rtaudio.cli.options import (
    UsageError,
    add_microphone,
    add_model,
    add_settings,
    load_model,
    microphone_of,
    new_parser,
    parse_words,
    seconds,
    settings_of,
)
from rtaudio.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rtaudio.latency import Drawing
    from rtaudio.pipeline import Live
    from rtaudio.sources.block import Source

METER_S = 0.1


def main(argv: Sequence[str]) -> int:
    """Measure the delays of the live chain."""
    args = _parse(argv)
    load_model(args)
    settings, words = settings_of(args), Words(args.quiet)
    load_kernels(words, live=True)
    from rtaudio.latency import Drawing
    from rtaudio.pipeline import Live
    from rtaudio.sources.block import SourceError
    from rtaudio.view.canvas import ViewError

    try:
        drawing = Drawing() if "render" in args.load else None
        run = Live(
            _source(args), settings, model=args.model, duration_s=args.duration, tell=words.error
        )
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
        spent_s = heard_s(run.stats, run.source.sr)
        words.error(f"ended after {spent_s:.1f} s: this is what was measured until then")
    except SourceError as error:
        words.error(str(error))
        status = UNREADABLE
    words.clear()
    return report(run, args, words, drawing) or status


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
    add_model(parser)
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
