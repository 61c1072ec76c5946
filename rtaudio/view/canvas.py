"""An OpenGL context to draw in: a window's, or one in memory; and why there is none."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

OFFSCREEN = ("egl", "osmesa")
_NO_WINDOW = (*OFFSCREEN, "_test", "jupyter_rfb", "ipynb_webgl")


class ViewError(Exception):
    """Nothing can be drawn here: one line that says why.

    ``missing`` names what is to be installed: OpenGL, fontconfig, screen, or the backend's own.
    """

    def __init__(self, text: str, missing: str = "") -> None:
        super().__init__(text)
        self.missing = missing


def check_backend(name: str) -> None:
    """Raise `ValueError` where vispy has no such backend for windows."""
    known = backends()
    if name.lower() not in known:
        raise ValueError(f"backend {name!r} is not one of {', '.join(known)}")


def backends() -> list[str]:
    """The backends for windows that vispy has, in its own words."""
    need_vispy()
    from vispy.app.backends import BACKEND_NAMES

    return [name for name in BACKEND_NAMES if name not in _NO_WINDOW]


def open_canvas(
    backend: str, size: tuple[int, int], title: str = "", show: bool = True
) -> Any:  # vispy.app.Canvas
    """A canvas whose context is current; raises `ViewError`.

    ``size`` is in the window system's own units, which for `OFFSCREEN` are pixels.
    """
    need_vispy()
    from vispy import app

    if backend == "egl":  # Mesa wants to be told that there is no window system
        os.environ.setdefault("EGL_PLATFORM", "surfaceless")
    try:  # one of its own, not vispy's for everybody: where this fails, another may work
        application = app.Application(backend)
    except RuntimeError as error:
        raise _no_backend(backend, str(error)) from None
    try:
        if backend == "glfw":
            import glfw

            application.native  # noqa: B018 - initializes glfw
            glfw.window_hint(glfw.SCALE_TO_MONITOR, glfw.TRUE)
        # On Wayland a hidden window would wait for ever.
        vsync = backend not in OFFSCREEN and not os.getenv("WAYLAND_DISPLAY")
        canvas = app.Canvas(
            title=title,
            size=size,
            show=False,
            vsync=vsync,
            keys=None,
            app=application,
            dpi=96,  # not used; else xdpyinfo is asked, which writes to standard output
        )
        canvas.set_current()
        canvas.events.ignore_callback_errors = False
        if show:
            canvas.show()
    except Exception as error:  # noqa: BLE001 - whatever a window system has to say
        said = " ".join(str(error).split()) or type(error).__name__
        if backend in OFFSCREEN:
            raise ViewError(f"OpenGL can't draw into memory ({said})", "OpenGL") from None
        screen = os.getenv("DISPLAY") or os.getenv("WAYLAND_DISPLAY")
        if sys.platform == "linux" and not screen:
            raise ViewError("there is no screen to open a window on", "screen") from None
        missing = "screen" if "display" in said.lower() else "OpenGL"
        raise ViewError(f"no window could be opened ({said})", missing) from None
    return canvas


def need_vispy() -> None:
    """Raise `ViewError` where vispy can't be imported; nothing else of the view is to be before."""
    try:
        import vispy.gloo  # noqa: F401
    except ImportError as error:
        text = " ".join(str(error).split())
        missing = "fontconfig" if "fontconfig" in text.lower() else "vispy"
        raise ViewError(f"nothing can be drawn ({text})", missing) from None


def _no_backend(backend: str, said: str) -> ViewError:
    reason = " ".join(said.split())
    if backend in ("glfw", *OFFSCREEN):
        return ViewError(f"{backend} does not work here ({reason})", "OpenGL")
    return ViewError(f"the backend {backend} does not work here ({reason})", backend)


def scale_of(canvas: Any) -> float:
    """How many pixels a length of 1 is to have, so that words are readable on this screen."""
    scale = float(canvas.pixel_scale)
    native: Any = getattr(canvas, "_backend", None)
    if type(native).__module__.endswith("_glfw") and native._id is not None:
        import glfw

        scale = max(scale, glfw.get_window_content_scale(native._id)[0])
    return min(4.0, max(1.0, round(4 * scale) / 4))


def renderer() -> str:
    """Who draws, in the words of the current context."""
    from vispy.gloo import gl

    return str(gl.glGetParameter(gl.GL_RENDERER))


def most_pixels() -> int:
    """The longest side of a picture that the current context can draw."""
    from vispy.gloo import gl

    textures = int(gl.glGetParameter(gl.GL_MAX_TEXTURE_SIZE))
    return min(textures, int(np.min(gl.glGetParameter(gl.GL_MAX_VIEWPORT_DIMS))))


def picture(size: tuple[int, int], draw: Callable[[], object]) -> NDArray[np.uint8]:
    """What ``draw`` draws into a picture of ``size``, from its top on; (height, width, 3)."""
    from vispy import gloo

    target = gloo.FrameBuffer(color=gloo.RenderBuffer(size[::-1]))
    with target:
        draw()
        pixels = target.read("color")
    target.delete()
    return np.ascontiguousarray(pixels[:, :, :3])


_kept: list[Any] = []  # what C code calls must not be collected


def when_display_dies(then: Callable[[], object]) -> None:
    """Call ``then`` where the X server is gone; it must not return. Elsewhere, do nothing.

    Xlib would end the process at once: no output would be finished.
    """
    if sys.platform != "linux":
        return
    try:
        xlib = ctypes.CDLL("libX11.so.6")
    except OSError:
        return
    handler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda display: then())
    _kept.append(handler)
    xlib.XSetIOErrorHandler(handler)
