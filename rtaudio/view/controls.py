"""What keys and mouse do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rtaudio.view.axes import frequency_axis, whole_axis
from rtaudio.view.look import PANELS

if TYPE_CHECKING:
    from rtaudio.view.look import Look
    from rtaudio.view.scene import Scene

KEYS = (
    ("space", "freeze the picture, and go on; sound is captured all the time"),
    ("←  →", "scroll back and forward, where frozen"),
    ("+  −", "more or less range in dB"),
    ("[  ]", "the range 5 dB down or up"),
    ("f", "frequency axis: logarithmic, linear, mel"),
    ("c", "colormap: magma, viridis, inferno, cividis, grey"),
    ("1 … 5", "show or hide spectrogram, spectrum, waveform, MFCC, level"),
    ("a", "averaging of the spectrum: none, 125 ms, 1 s"),
    ("n  N", "halve or double n_fft"),
    ("r", "recording on and off"),
    ("s", "save the picture"),
    ("d", "choose another device"),
    ("wheel", "zoom frequency; a double click shows all"),
    ("h", "show or hide this"),
    ("q", "quit; or Escape"),
)
STEP = 0.05  # of the picture's width, by a key
SPEED = 0.5  # of it in a second, while a key is held


class Session(Protocol):
    """What is asked of the run that is shown."""

    def scale_n_fft(self, factor: float) -> None:
        """Analyze by a longer or shorter frame."""
        ...

    def record(self) -> None:
        """Begin a recording, or end it."""
        ...

    def list_devices(self) -> None:
        """Find the devices; `devices` has them then."""
        ...

    @property
    def devices(self) -> list[str] | None:
        """What was found; None before."""
        ...

    def choose(self, number: int) -> None:
        """Listen to one of `devices`, counted from 0."""
        ...


class Controls:
    """Keys and mouse change the look, freeze the scene, and ask the session for the rest."""

    def __init__(self, look: Look, scene: Scene, session: Session) -> None:
        self._look, self._scene, self._session = look, scene, session
        self.help = False
        """Whether the keys are listed."""
        self.choosing = False
        """Whether the devices are listed."""
        self.quitting = self.saving = False
        """To be done after the next draw."""
        self._scrolling = 0

    def press(self, name: str, text: str) -> None:
        """A key went down: its ``name`` where it is no letter, its ``text`` where it is."""
        if self.choosing and self._choose(name, text):
            return
        look, session = self._look, self._session
        actions = {
            "+": lambda: look.widen_range(10),
            "=": lambda: look.widen_range(10),  # + without shift
            "-": lambda: look.widen_range(-10),
            "[": lambda: look.move_range(-5),
            "]": lambda: look.move_range(5),
            "f": look.next_axis,
            "c": look.next_colormap,
            "a": look.next_averaging,
            "n": lambda: session.scale_n_fft(0.5),
            "N": lambda: session.scale_n_fft(2),
            "r": session.record,
            "d": self._list,
        }
        if text in actions:
            actions[text]()
        elif text in ("1", "2", "3", "4", "5"):
            look.toggle(PANELS[int(text) - 1])
        elif text == "s":
            self.saving = True
        elif text == "h":
            self.help = not self.help
        elif name == "Escape" and self.help:
            self.help = False
        elif text == "q" or name == "Escape":
            self.quitting = True
        elif name == "Space" or text == " ":
            self._toggle_freeze()
        elif name in ("Left", "Right"):
            self._scrolling = -1 if name == "Left" else 1
            self._scene.scroll.freeze()
            self._move(STEP * self._scrolling)

    def release(self, name: str) -> None:
        """A key went up."""
        if name in ("Left", "Right"):
            self._scrolling = 0

    def hold(self, seconds: float) -> None:
        """So much time has passed."""
        if self._scrolling:
            self._move(SPEED * seconds * self._scrolling)

    def _toggle_freeze(self) -> None:
        scroll = self._scene.scroll
        if scroll.frozen is None:
            scroll.freeze()
        else:
            scroll.frozen = None

    def _move(self, spans: float) -> None:
        scene = self._scene
        span = scene.right_edge - scene.left_edge
        scene.scroll.move(spans * span, scene.history.first + span)

    def _list(self) -> None:
        self.choosing = True
        self._session.list_devices()

    def _choose(self, name: str, text: str) -> bool:
        """Whether a key was about the list of devices."""
        devices = self._session.devices
        if text in ("d", "q") or name == "Escape":
            self.choosing = False
        elif text.isdecimal():
            if devices is not None and 1 <= int(text) <= len(devices):
                self.choosing = False
                self._session.choose(int(text) - 1)
        else:
            return False
        return True

    def wheel(self, y: float, steps: float) -> None:
        """Zoom the frequency axis about a height of the picture, in pixels from its top."""
        look, settings = self._look, self._scene.history.settings
        box = self._scene.boxes.get("spectrogram") or self._scene.boxes.get("spectrum")
        if box is None or not box.top <= y < box.bottom:
            return
        most = whole_axis(settings, look.axis)
        about = (box.bottom - y) / box.height
        ends = frequency_axis(settings, look).zoomed(about, 1.25**steps, most)
        whole = ends[0] <= most.low * (1 + 1e-9) and ends[1] >= most.high * (1 - 1e-9)
        look.low_hz, look.high_hz = (None, None) if whole else ends

    def double_click(self) -> None:
        """Show all frequencies."""
        self._look.low_hz = self._look.high_hz = None
