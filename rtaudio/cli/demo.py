"""`rtaudio demo`: a built-in signal."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, UNREADABLE
from rtaudio.cli.options import UsageError, add_settings, new_parser, settings_of
from rtaudio.cli.plot import picture
from rtaudio.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtaudio.analysis.frames import Frames


def main(argv: Sequence[str]) -> int:
    """Try it on a built-in signal: a picture and a summary."""
    parser = new_parser("demo", "Analyze a built-in signal live: a picture and a summary.")
    parser.add_argument("--duration", type=float, default=10.0, metavar="S", help="seconds (10)")
    parser.add_argument(
        "-o", "--out", default="rtaudio-demo.png", metavar="PNG", help="the picture"
    )
    add_settings(parser)
    args = parser.parse_args(argv)
    settings = settings_of(args)
    if not 0 < args.duration <= 3600:
        raise UsageError(f"--duration {args.duration:g} s: more than 0, and at most 3600")
    if args.top_db is not None:
        raise UsageError("--top-db needs to know the end: rtaudio plot demo: --top-db DB")
    from rtaudio.sources.signal import SignalSource

    words = Words(args.quiet)
    words.compile()
    words.say(f"analyzing {args.duration:g} s of sine, sweep, noise, clicks and silence, live …")
    ages_ms: list[float] = []

    def watch(frames: Frames) -> None:
        now = time.perf_counter()
        ages_ms.extend(1e3 * (now - then) for then in frames.captured.tolist() if then == then)

    summary = picture(
        "demo:",
        lambda: SignalSource(duration_s=args.duration, realtime=True),
        settings,
        Path(args.out),
        None,
        words,
        watch,
    )
    if summary is None:
        return UNREADABLE
    ages_ms = sorted(ages_ms) or [math.nan]
    words.say(
        f"{summary.frames} frames in {summary.duration_s:g} s, {summary.lost} samples lost; "
        "a frame's features "
        f"were ready {ages_ms[len(ages_ms) // 2]:.1f} ms after its last sample (p99 "
        f"{ages_ms[len(ages_ms) * 99 // 100]:.1f} ms; samples come in blocks of 10 ms)"
    )
    words.say(f"picture: {args.out}")
    words.say("next: rtaudio plot YOUR.wav, or rtaudio analyze YOUR.wav -o features.csv")
    return DONE
