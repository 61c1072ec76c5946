"""`rtaudio demo`: the window on a built-in signal, or a picture of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, live
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.options import UsageError, add_settings, new_parser, settings_of
from rtaudio.cli.window import Screen, add_look, look_of
from rtaudio.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtaudio.view.look import Look

PICTURE, PICTURE_S = "rtaudio-demo.png", 10.0


def main(argv: Sequence[str]) -> int:
    """Try it on a built-in signal: the window, or without a screen a picture and a summary."""
    parser = new_parser(
        "demo", "The window on a built-in signal; without a screen, a picture and a summary."
    )
    add = parser.add_argument
    add("--headless", action="store_true", help="a picture, also where there is a screen")
    add("--duration", type=float, metavar="S", help="seconds (a picture: 10; else until closed)")
    add("-o", "--out", dest="screenshot", metavar="PNG", help="as --screenshot")
    add_look(parser)
    add_settings(parser)
    wanted = parser.parse_args(argv)
    if wanted.duration is not None and not 0 < wanted.duration <= 3600:
        raise UsageError(f"--duration {wanted.duration:g} s: more than 0, and at most 3600")
    if wanted.top_db is not None:
        raise UsageError("--top-db needs to know the end: rtaudio plot demo: --top-db DB")
    args = argparse.Namespace(**{**vars(live.parse(["demo:"])), **vars(wanted)})
    settings, look, words = settings_of(args), look_of(args), Words(args.quiet)
    load_kernels(words, live=True)
    screen = None if args.headless else _window(args, look, words)
    if screen is None:
        args.headless = True
        args.duration = args.duration or PICTURE_S
        args.screenshot = args.screenshot or PICTURE
        words.say(f"{args.duration:g} s of sine, sweep, noise, clicks and silence, live …")
    status = live.run(args, settings, look, words, screen)
    if status == DONE:
        words.say("next: rtaudio live YOUR.wav, or rtaudio analyze YOUR.wav -o features.csv")
    return status


def _window(args: argparse.Namespace, look: Look, words: Words) -> Screen | None:
    """The window; None where there can't be one, which is said."""
    from rtaudio.view.canvas import ViewError

    try:
        return Screen(args, look, words)
    except ViewError as error:
        words.say(f"no window: {error}")
        return None
