"""The window and the pictures without one: what `live` and `demo` share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtaudio.cli.options import UsageError

if TYPE_CHECKING:
    import argparse
    from collections import deque
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from rtaudio.pipeline import Live
    from rtaudio.view.look import Look
    from rtaudio.words import Words

SIZE = (1280, 720)
MOST = 1 << 16


def add_look(parser: argparse.ArgumentParser) -> None:
    """Add the options of the picture."""
    group = parser.add_argument_group(
        "picture", "The window keeps 10 minutes for scrolling back, in 256 MB at most."
    )
    add = group.add_argument
    add("--screenshot", metavar="PNG", help="a picture of the end; with --headless, no screen")
    add("--size", metavar="WxH", help="of window or picture (1280x720)")
    add("--axis", default="log", metavar="NAME", help="frequency: log (from 20 Hz), linear, mel")
    add("--colormap", default="magma", metavar="NAME", help="magma, viridis, inferno …")
    add("--span", type=float, default=10.0, metavar="S", help="seconds across (10)")
    add("--floor", type=float, default=-100.0, metavar="DB", help="dBFS of black (-100)")
    add("--ceiling", type=float, default=0.0, metavar="DB", help="dBFS of white (0)")
    add("--backend", default="glfw", metavar="NAME", help="vispy's: glfw, pyside6, sdl2 …")


def look_of(args: argparse.Namespace) -> Look:
    """What the options of `add_look` ask for, and ``args.size`` as numbers.

    Raises `UsageError`.
    """
    from rtaudio.view.look import Look

    args.size = _size(args.size)
    if args.screenshot is not None:
        _check_picture(Path(args.screenshot))
    try:
        return Look(
            span_s=args.span,
            axis=args.axis,
            colormap="grey" if args.colormap == "gray" else args.colormap,
            floor_db=args.floor,
            ceiling_db=args.ceiling,
        )
    except ValueError as error:
        said = re.sub(r"^(\w+?)(?:_s)?='?(.*?)'? is not", r"--\1 \2 is not", str(error))
        raise UsageError(said.replace("dBFS is", "dBFS (--floor, --ceiling) is")) from None


def _check_picture(path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise UsageError(f"--screenshot {path}: a picture is a PNG file: .png")
    if not path.parent.is_dir():
        raise UsageError(f"--screenshot {path}: there is no such folder")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"--screenshot {path}: no file can be written there")


def _size(text: str | None) -> tuple[int, int]:
    from rtaudio.view.layout import LEAST

    if text is None:
        return SIZE
    found = re.fullmatch(r"(\d{1,9})[x×](\d{1,9})", text)
    if found is None:
        raise UsageError(f"--size {text}: width and height in pixels, as 1280x720")
    size = int(found[1]), int(found[2])
    if size[0] < LEAST[0] or size[1] < LEAST[1]:
        raise UsageError(f"--size {text}: {LEAST[0]}x{LEAST[1]} at least")
    if max(size) > MOST:
        raise UsageError(f"--size {text}: {MOST}x{MOST} at most")
    return size


class Screen:
    """Shows a run: in a window, or where ``args.headless`` as one picture of its end.

    Raises `ViewError` where that can't be, and `UsageError` for a wrong backend or size.
    """

    def __init__(self, args: argparse.Namespace, look: Look, words: Words) -> None:
        """Open the window, or make sure that pictures can be drawn."""
        from rtaudio import screen

        self._words, self._look, self._out = words, look, args.screenshot
        self._close = args.duration is not None  # a run that was told to end
        self._failed = False
        try:
            self._offscreen = screen.Offscreen(look, args.size) if args.headless else None
            if not args.headless:
                self._window = screen.open_window(look, args.backend, args.size)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def begin(self, run: Live, notices: deque[str]) -> None:
        """Keep the rows of a run, from the first one on; before it is started.

        The window shows what comes into ``notices``.
        """
        from rtaudio.session import Session

        self._session = Session(run, self._look, notices, self._sum_up)

    @property
    def run(self) -> Live:
        """The run that is shown; another one once another device was chosen."""
        return self._session.run

    def close(self) -> None:
        """Do what the keys have asked for, then end the run; raises as `Live.close`."""
        self._session.close()

    def watch(self, display_died: Callable[[], object]) -> None:
        """Show the run in the window, until that is closed."""
        from rtaudio.screen import watch

        write = self._write if self._out is not None else None
        watch(
            self._window,
            self._session,
            close=self._close,
            at_close=write,
            display_died=display_died,
        )

    def end(self) -> bool:
        """Draw the picture where there is no window, else close that; whether all is written."""
        if self._offscreen is not None:
            self._write(*self._offscreen.draw(self._session))
        else:
            self._window.close()
        return not self._failed

    def _write(self, pixels: NDArray[np.uint8], about: dict[str, Any]) -> None:
        from rtaudio.session import write_png

        try:
            write_png(Path(self._out), pixels, about)
        except OSError as error:
            self._words.error(f"{self._out}: {error.strerror}")
            self._failed = True
        else:
            self._words.say(f"picture: {self._out}")

    def _sum_up(self, run: Live) -> None:
        from rtaudio.cli.meter import sum_up

        sum_up(run, self._words)
