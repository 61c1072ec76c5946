"""`rtaudio doctor`: what is missing on this machine."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from rtaudio.cli import CHECK_FAILED, DONE
from rtaudio.cli.options import new_parser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from rtaudio.doctor import Check


def main(argv: Sequence[str]) -> int:
    """Tell what is missing; the status is 1 where microphone or window cannot work."""
    parser = new_parser(
        "doctor",
        "What works on this machine, what is missing, and what mends it. "
        "Exit status 1: the microphone or the window cannot work.",
    )
    parser.add_argument("--json", action="store_true", help="one object a check on stdout")
    args = parser.parse_args(argv)
    from rich.console import Console

    from rtaudio.doctor import checks

    console = Console(highlight=False)
    width = min(max(console.width, 20), 80)
    broken: list[str] = []
    for check in checks():
        if args.json:
            print(json.dumps(check._asdict()), flush=True)
        elif not (args.quiet and check.ok):
            _show(check, console, width)
        if not check.ok and check.needed and check.needed not in broken:
            broken.append(check.needed)
    if broken and not args.json:
        said = f"The {' and the '.join(broken)} cannot work yet."
        print(textwrap.fill(said, width))
    return CHECK_FAILED if broken else DONE


def _show(check: Check, console: Console, width: int) -> None:
    """A line that begins with ok, warning or missing, and beneath it the mend."""
    from rich.text import Text

    word, style = ("warning", "yellow") if check.mend else ("ok", "green")
    if not check.ok:
        word, style = "missing", "red" if check.needed else "yellow"
    lines = []
    for first, text in ((word, check.found), ("", check.mend or "")):
        lines += textwrap.wrap(
            text,
            width,
            initial_indent=first.ljust(9),
            subsequent_indent=" " * 9,
            break_on_hyphens=False,  # it may be a command
        )
    shown = Text("\n".join(lines))
    shown.stylize(style, 0, len(word))
    with console.capture() as captured:  # printed below: rich has a way of its own with pipes
        console.print(shown, soft_wrap=True)
    print(captured.get(), end="", flush=True)
