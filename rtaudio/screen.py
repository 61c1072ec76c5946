"""A live run on the screen: the window with its keys, or a picture of it without one."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rtaudio import doctor
from rtaudio.pipeline import live
from rtaudio.session import Session
from rtaudio.view.canvas import (
    ViewError,
    check_backend,
    most_pixels,
    open_canvas,
    picture,
    when_display_dies,
)
from rtaudio.view.look import Look

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings
    from rtaudio.books import LiveStats
    from rtaudio.consumers.model import Model
    from rtaudio.sources.block import Source
    from rtaudio.view.window import Window

_PACKAGES = {"sdl2": "pysdl2 pysdl2-dll", "wx": "wxpython", "tkinter": "pyopengltk"}  # of backends


def mended(error: ViewError) -> ViewError:
    """With what to do about it."""
    if error.missing == "screen":
        advice = "start it in a desktop session or over ssh -X, or do without one: --headless"
    elif error.missing in ("OpenGL", "fontconfig"):
        advice = doctor.install(error.missing)
    elif error.missing:
        advice = f"pip install {_PACKAGES.get(error.missing, error.missing)}"
    else:
        return error
    return ViewError(f"{error}: {advice}", error.missing)


class Offscreen:
    """Pictures of a run without a window. Raises `ViewError` where OpenGL is missing."""

    def __init__(self, look: Look, size: tuple[int, int]) -> None:
        try:
            self._canvas = open_canvas("egl", (16, 16), show=False)
            check_size(size)
        except ViewError as error:
            raise mended(error) from None
        from rtaudio.view.scene import Scene

        self._scene = Scene(look)
        self._scene.resize(size, max(1, size[1] // 1080))
        self.size = size

    def draw(self, session: Session) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """The picture of now, (height, width, 3), and what it shows."""
        from rtaudio.view.captions import Status

        self._canvas.set_current()
        now, status = time.perf_counter(), Status(*session.words())
        draw = lambda: self._scene.draw(session.history, now, session.running, status)  # noqa: E731
        return picture(self.size, draw), self._scene.about()


def check_size(size: tuple[int, int]) -> None:
    """Raise `ValueError` for a size that can't be drawn; where OpenGL is current."""
    most = most_pixels()
    if max(size) > most:
        raise ValueError(f"a picture of {size[0]}x{size[1]} is beyond {most}x{most}, OpenGL's most")


def open_window(
    look: Look | None = None, backend: str = "glfw", size: tuple[int, int] = (1280, 720)
) -> Window:
    """A window for `watch`; raises `ViewError`, and `ValueError` for what vispy does not have."""
    try:
        check_backend(backend)
        from rtaudio.view.window import Window

        window = Window(replace(look or Look()), backend=backend, size=size)
        check_size(size)
        return window
    except ViewError as error:
        raise mended(error) from None


def watch(
    window: Window,
    session: Session,
    *,
    close: bool = False,
    at_close: Callable[[NDArray[np.uint8], dict[str, Any]], object] | None = None,
    display_died: Callable[[], object] | None = None,
) -> None:
    """Start the run, and show it until the window is closed; the run goes on then.

    ``close``: close the window where the source ends. ``at_close`` gets the last picture.
    ``display_died`` is called where the screen is gone, and must not return.
    """
    if display_died is not None:
        when_display_dies(display_died)
    session.run.start()
    window.run(session, at_close, until=(lambda: not session.running) if close else None)


def show(
    source: str | PathLike[str] | Source | None = None,
    settings: Settings | None = None,
    *,
    look: Look | None = None,
    model: str | PathLike[str] | Model | None = None,
    backend: str = "glfw",
    size: tuple[int, int] = (1280, 720),
    realtime: bool = True,
    duration_s: float | None = None,
    **overrides: Any,
) -> LiveStats:
    """Show a window on a source until it is closed; returns the books of the run.

    Parameters
    ----------
    source, settings, model, realtime, duration_s, overrides
        As `rtaudio.live` has them. Where the source ends, the last picture stays.
    look
        What is shown at first: `rtaudio.Look`.
    backend
        One of vispy's: glfw, pyqt6, pyside6, sdl2, …
    size
        Of the window, in the screen's own units.

    Call it in the main thread; Ctrl-C closes it, too. Where the screen goes away (the X server
    ends), the run is closed, its recording whole, and the process ends with status 3: Xlib lets
    nobody go on.

    Raises
    ------
    ViewError
        Where no window can be opened: what to install, in a line.
    SourceError, ModelError, ValueError
        As `rtaudio.live`.

    """
    window = open_window(look, backend, size)
    notices: deque[str] = deque()

    def tell(text: str) -> None:
        _logger.warning(text)
        notices.append(text)

    with contextlib.ExitStack() as stack:
        stack.callback(window.close)
        run = live(
            source,
            settings,
            model=model,
            realtime=realtime,
            duration_s=duration_s,
            tell=tell,
            **overrides,
        )
        session = Session(run, window.look, notices)
        stack.callback(session.close)

        def display_died() -> None:
            with contextlib.suppress(Exception):
                session.close()
            _logger.error("the screen is gone: the run has ended, and what it wrote is whole")
            logging.shutdown()
            os._exit(3)

        watch(window, session, display_died=display_died)
    return session.run.stats


_logger = logging.getLogger("rtaudio")
