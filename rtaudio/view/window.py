"""The window: draws a scene at the screen's pace, and hears keys and mouse."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rtaudio.view import canvas as screen
from rtaudio.view.captions import Status
from rtaudio.view.controls import KEYS, Controls
from rtaudio.view.controls import Session as Controlled
from rtaudio.view.layout import LEAST
from rtaudio.view.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rtaudio.consumers.history import History
    from rtaudio.view.look import Look

FASTEST_S, SLOWEST_S = 1 / 60, 1 / 32
# Where processors have to draw: half of one, or what the slowest pace takes, but 1.2 at most.
SHARE, MOST_SHARE = 0.5, 1.2
NOTICE_S = 4.0
WORDS_S = 0.25
_SOFTWARE = re.compile("llvmpipe|softpipe|swrast|swiftshader|software|gdi generic", re.IGNORECASE)


class Session(Controlled, Protocol):
    """The run that a window shows."""

    @property
    def history(self) -> History:
        """What to draw; another one once the settings or the device were changed."""
        ...

    @property
    def running(self) -> bool:
        """Whether the source goes on."""
        ...

    @property
    def title(self) -> str:
        """What is heard."""
        ...

    def words(self) -> tuple[str, bool]:
        """The beginning of the status line, and whether something is wrong."""
        ...

    def shown(self, history: History, row: int, now: float) -> None:
        """Measure the way to the screen: ``row`` is the newest that is seen ``now``."""
        ...

    def notices(self) -> list[str]:
        """What is to be told since the last call."""
        ...

    def save(self, pixels: NDArray[np.uint8], about: dict[str, Any]) -> None:
        """Write a picture, (height, width, 3), and what is on it."""
        ...


class Window:
    """Shows a session until it is closed. All calls in the main thread."""

    def __init__(
        self, look: Look, *, backend: str = "glfw", size: tuple[int, int] = (1280, 720)
    ) -> None:
        """Open; `ViewError` where that can't be."""
        self.look = look
        self.drawn_at: deque[float] = deque(maxlen=64)
        """When the last draws ended, in s of `time.perf_counter`."""
        self.drawn = 0
        """How many frames were drawn."""
        self._canvas = screen.open_canvas(backend, size, "rtaudio", show=False)
        self._scene = Scene(look)
        self._software = bool(_SOFTWARE.search(screen.renderer()))
        self._closed = False
        self._early: list[Callable[[], object]] = []  # events before the first draw
        self._error: BaseException | None = None
        self._notice = ""
        self._notice_until = self._words_at = -np.inf
        self._words: tuple[str, bool] = ("", False)
        self._drawn_stop: tuple[History, int] | None = None  # what a draw showed
        self._known_stop: tuple[History, int] | None = None
        self._interval_s = FASTEST_S
        self._busy_s, self._frames = 0.0, 0  # processor time of the last draws, and their number

    def run(
        self,
        session: Session,
        at_close: Callable[[NDArray[np.uint8], dict[str, Any]], object] | None = None,
        until: Callable[[], bool] | None = None,
    ) -> None:
        """Show until it is closed, or ``until()``; ``at_close`` gets the last picture as `save`.

        Ctrl-C and SIGTERM do what they do elsewhere, between two frames. An exception of a
        handler is raised here.
        """
        self._session, self._at_close = session, at_close
        self._controls = Controls(self.look, self._scene, session)
        self._listen()
        self._canvas.title = f"rtaudio: {session.title}"
        self._canvas.show()
        now = due = time.perf_counter()
        with _signals_kept() as kept:
            while not self._closed:
                due = max(due + self._interval_s, now)
                time.sleep(max(0.0, due - time.perf_counter()))
                before, now = now, time.perf_counter()
                self._controls.hold(now - before)
                busy_s = time.process_time()
                self._canvas.update()
                self._canvas.app.process_events()  # and draws
                if self._drawn_stop is not None:
                    self._busy_s += time.process_time() - busy_s
                self._raise_error()
                self._after_draw()
                if until is not None and until():
                    self.close()
                while kept:
                    number, frame, handler = kept.pop(0)
                    handler(number, frame)

    def close(self) -> None:
        """Close it."""
        if not self._closed:
            self._canvas.close()
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    # --- drawing ------------------------------------------------------------------------------

    def _draw(self, event: object) -> None:  # noqa: ARG002
        size = tuple(self._canvas.physical_size)
        if min(size) < 64:  # minimized
            return
        self._scene.resize(size, screen.scale_of(self._canvas))
        history, now = self._session.history, time.perf_counter()
        stop = self._scene.draw(history, now, self._session.running, self._status(now))
        self._drawn_stop = history, stop

    def _status(self, now: float) -> Status:
        if now - self._words_at >= WORDS_S:
            self._words_at = now
            self._words = self._told()
            if self._canvas.title != (title := f"rtaudio: {self._session.title}"):
                self._canvas.title = title  # another device
        for text in self._session.notices():
            self._notice, self._notice_until = text, now + NOTICE_S
        notice = self._notice if now < self._notice_until else ""
        return Status(*self._words, notice, *self._table(), keys=True)

    def _table(self) -> tuple[tuple[tuple[str, str], ...], str]:
        """What is listed over the picture, and its title."""
        controls, devices = self._controls, self._session.devices
        if not controls.choosing:
            return KEYS if controls.help else (), "Keys"
        if devices is None:
            return (("", "looking for devices …"),), "Devices"
        rows = tuple((str(number), name) for number, name in enumerate(devices, 1))
        return rows or (("", "none"),), "Which device? Its number; d leaves all as it is"

    def _told(self) -> tuple[str, bool]:
        line, alarm = self._session.words()
        parts = [line]
        parts.append(f"{self.rate():.0f} frames/s")
        scroll, history = self._scene.scroll, self._session.history
        if scroll.frozen is not None:
            behind = max(0.0, (history.stop - scroll.frozen) / history.rows_per_s)
            parts.insert(0, f"FROZEN, {behind:.1f} s ago")
        return "    ".join(parts), alarm

    def rate(self) -> float:
        """Frames drawn per second, of the last one."""
        drawn = self.drawn_at
        recent = [at for at in drawn if at > time.perf_counter() - 1]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0

    def _after_draw(self) -> None:
        """Take the time; do what was asked for."""
        now = time.perf_counter()
        if self._drawn_stop is not None:
            self.drawn_at.append(now)
            self._frames += 1
            self.drawn += 1
            while self._early:
                self._early.pop(0)()
            if self._drawn_stop != self._known_stop:
                history, stop = self._drawn_stop
                if self._scene.scroll.frozen is None:
                    self._session.shown(history, stop - 1, now)
                self._known_stop = self._drawn_stop
            self._drawn_stop = None
        self._adapt()
        if self._controls.saving:
            self._controls.saving = False
            self._session.save(self.picture(), self._scene.about())
        if self._controls.quitting:
            self.close()

    def _adapt(self) -> None:
        """Draw 60 frames a second, or where processors have to do it, what is left for them."""
        if self._frames < 16:
            return
        cost_s, self._busy_s, self._frames = self._busy_s / self._frames, 0.0, 0
        wanted = cost_s / SHARE if self._software else FASTEST_S
        slowest = max(SLOWEST_S, cost_s / MOST_SHARE)
        self._interval_s = min(max(wanted, FASTEST_S), slowest)

    def picture(self) -> NDArray[np.uint8]:
        """What is seen now, without notices; (height, width, 3)."""
        self._canvas.set_current()
        scene, session = self._scene, self._session
        if not self.drawn:  # closed before it was seen
            scene.resize(LEAST, 1.0)
        draw = lambda: scene.draw(  # noqa: E731
            session.history, time.perf_counter(), session.running, Status(*self._words)
        )
        return screen.picture(scene.size, draw)

    # --- events -------------------------------------------------------------------------------

    def _listen(self) -> None:
        events, controls = self._canvas.events, self._controls
        handlers: dict[str, Callable[[Any], object]] = {
            "draw": self._draw,
            "close": self._on_close,
            "key_press": lambda e: controls.press(e.key.name if e.key else "", e.text),
            "key_release": lambda e: controls.release(e.key.name if e.key else ""),
            "mouse_move": lambda e: self._point(e.pos),
            "mouse_wheel": lambda e: controls.wheel(self._pixels(e.pos)[1], e.delta[1]),
            "mouse_double_click": lambda e: controls.double_click(),
        }
        for name, function in handlers.items():
            seen_first = name not in ("draw", "close")
            getattr(events, name).connect(self._safely(function, seen_first))
        native = self._canvas._backend
        if type(native).__module__.endswith("_glfw"):
            import glfw

            glfw.set_window_size_limits(native._id, *LEAST, glfw.DONT_CARE, glfw.DONT_CARE)
            glfw.set_cursor_enter_callback(native._id, self._on_enter)

    def _safely(self, function: Callable[[Any], object], seen_first: bool) -> Callable[[Any], None]:
        """A handler whose exception ends `run`: toolkits print it and forget it.

        ``seen_first``: what comes before the first draw waits for it.
        """

        def handle(event: Any) -> None:
            if seen_first and not self.drawn:
                self._early.append(lambda: handle(event))
                return
            try:
                function(event)
            except BaseException as error:  # noqa: BLE001 - raised by `run`
                self._error = self._error or error

        return handle

    def _on_close(self, event: object) -> None:  # noqa: ARG002
        if not self._closed:
            self._closed = True
            if self._at_close is not None:
                self._at_close(self.picture(), self._scene.about())

    def _on_enter(self, native: object, entered: int) -> None:  # noqa: ARG002
        if not entered:
            self._point(None)

    def _point(self, at: tuple[float, float] | None) -> None:
        self._scene.pointer = None if at is None else self._pixels(at)

    def _pixels(self, at: tuple[float, float]) -> tuple[float, float]:
        ratio = self._canvas.physical_size[0] / max(1, self._canvas.size[0])
        return at[0] * ratio, at[1] * ratio


@contextlib.contextmanager
def _signals_kept() -> Iterator[list[Any]]:
    """Collect signals and their handlers: in a toolkit's callback, an exception would be lost."""
    kept: list[Any] = []
    found: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and callable(handler := signal.getsignal(number)):
                found[number] = handler
                signal.signal(number, lambda n, frame: kept.append((n, frame, found[n])))
    try:
        yield kept
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
