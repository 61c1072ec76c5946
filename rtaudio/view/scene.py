"""The picture: its panels on their axes; drawn in a window or into memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from vispy import gloo

from rtaudio.view import axes
from rtaudio.view.axes import Bins, Columns
from rtaudio.view.captions import Captions, Status
from rtaudio.view.colors import ColorBar, table
from rtaudio.view.layout import LEAST, layout
from rtaudio.view.level import Level, Meter, level
from rtaudio.view.mfcc import Mfcc
from rtaudio.view.ring import Ring
from rtaudio.view.scroll import Scroll
from rtaudio.view.spectrogram import Spectrogram
from rtaudio.view.spectrum import Peaks, Spectrum
from rtaudio.view.waveform import Waveform

if TYPE_CHECKING:
    from rtaudio.consumers.history import History
    from rtaudio.view.layout import Box
    from rtaudio.view.look import Look
    from rtaudio.view.panel import Panel

MOST_TOLD = 100  # labels beside a picture
BACKGROUND = (0.055, 0.06, 0.07, 1.0)
TIMED = ("waveform", "spectrogram", "mfcc")  # the panels with a time axis, from the top
COLORED = ("spectrogram", "mfcc", "spectrum", "colors")  # those that need the colormap


class Shown(NamedTuple):
    """What the panels are told before each draw."""

    history: History
    look: Look
    ring: Ring
    columns: dict[str, object]
    """Uniforms of `ring.GLSL`."""
    level: Level
    scale: float


class Scene:
    """Draws a history as a `Look` wants it. All calls where its OpenGL context is current.

    What is made once a size and a look: boxes, axes, ring. A draw uploads the rows that are new,
    the spectrum, and words where they changed, however long the run is.
    """

    def __init__(self, look: Look) -> None:
        self.look = look
        self.scroll = Scroll()
        self.pointer: tuple[float, float] | None = None
        """Physical pixels from the top left; None outside."""
        self.size = (0, 0)
        """Physical pixels, width and height."""
        self.scale = 1.0
        self.boxes: dict[str, Box] = {}
        self.first_column = 0
        """Number of the column of pixels at the left, on the grid of `Columns`."""
        self._spectrum = Spectrum()
        self._panels: dict[str, Panel] = {
            "waveform": Waveform(),
            "spectrogram": Spectrogram(),
            "mfcc": Mfcc(),
            "spectrum": self._spectrum,
            "colors": ColorBar(),
            "level": Meter(),
        }
        self._captions = Captions()
        self._laid_out: tuple[object, ...] = ()
        self._colored = ""
        self._peaks_of: tuple[object, ...] = ()
        self._loaded = False  # whether the spectrum's pixels are those of the peaks
        self._old_rings_bytes = 0

    # --- once a size, a look, a history -------------------------------------------------------

    def resize(self, size: tuple[int, int], scale: float) -> None:
        """Fit into ``size`` physical pixels; words and margins are ``scale`` times as large.

        Less where the picture would be smaller than `LEAST` of them.
        """
        self.size = size
        self.scale = min(scale, size[0] / LEAST[0], size[1] / LEAST[1])

    def _lay_out(self, history: History) -> None:
        look = self.look
        if self._laid_out and history is not self.history:
            self.scroll = Scroll()  # its rows may lie elsewhere on the clock
        self.history: History = history
        self.boxes = boxes = layout(self.size, self.scale, look, history.hears)
        for name, panel in self._panels.items():
            if name in boxes:
                panel.place(boxes[name], self.size)
        self.width = self.time_box.width if self.time_box is not None else 64
        height = self.frequency_box.height if self.frequency_box is not None else 1
        self.axis = axes.frequency_axis(history.settings, look)
        self.columns = Columns.of(look.span_s * history.rows_per_s / self.width, self.width)
        self._bins = Bins(history.settings, self.axis, height)
        if self._laid_out:
            self._old_rings_bytes += self.ring.uploaded_bytes
        self.ring: Ring = Ring(history, self._bins, height, self.columns, self.width)
        for name in TIMED:
            self._panels[name].program["u_ring"] = self.ring.texture
        self._spectrum.resize(height)
        self._loaded = False

    def _color(self, name: str) -> None:
        texture = gloo.Texture2D(table(name)[np.newaxis], interpolation="nearest")
        for panel in COLORED:
            self._panels[panel].program["u_colors"] = texture
        self._colored = name

    # --- each frame ---------------------------------------------------------------------------

    def draw(self, history: History, now: float, running: bool, status: Status) -> int:
        """Draw the picture of ``now`` (s); returns the row after the newest that it shows.

        ``running``: whether the source goes on, and with it the time axis.
        """
        look, newest = self.look, history.stop  # rows that come meanwhile are the next draw's
        key = (
            *(self.size, self.scale, id(history), history.hears, look.panels, look.span_s),
            *(look.axis, look.low_hz, look.high_hz),
        )
        if key != self._laid_out:
            self._lay_out(history)
            self._laid_out = key
        if look.colormap != self._colored:
            self._color(look.colormap)
        edge = self.scroll.edge(history, newest, now, running)
        # Frozen, the last column is a full one: no row to come lies under it.
        last = math.ceil if self.scroll.frozen is None else math.floor
        self.first_column = last(edge / self.columns.rows) - self.width
        self.ring.show(self.first_column, newest)
        stop = min(newest, math.ceil(self.right_edge))
        self._take_spectrum(history, stop)
        columns = self.ring.uniforms(self.first_column)
        shown = Shown(history, look, self.ring, columns, level(history, stop), self.scale)
        self._captions.write(self, shown.level, stop, now, status)
        gloo.set_viewport(0, 0, *self.size)
        gloo.clear(BACKGROUND)
        for name, panel in self._panels.items():
            if name in self.boxes:
                panel.set(shown)
                panel.draw()
        self._captions.draw(self)
        return stop

    def _take_spectrum(self, history: History, stop: int) -> None:
        key = (id(history), self.look.averaging_s)
        if key != self._peaks_of:
            self.peaks = Peaks(history, self.look.averaging_s)
            self._peaks_of = key
            self._loaded = False
        if self.peaks.reach(stop) or not self._loaded:
            self._spectrum.load(self.peaks, self._bins)
            self._loaded = True

    # --- what is where ------------------------------------------------------------------------

    @property
    def time_box(self) -> Box | None:
        """A panel whose left and width are the time axis's; None where there is none."""
        return next((self.boxes[name] for name in TIMED if name in self.boxes), None)

    @property
    def frequency_box(self) -> Box | None:
        """A panel whose top and height are the frequency axis's; None where there is none."""
        return self.boxes.get("spectrogram") or self.boxes.get("spectrum")

    @property
    def left_edge(self) -> float:
        """Where the time axis begins, in rows as `History.place`."""
        return self.first_column * self.columns.rows

    @property
    def right_edge(self) -> float:
        """Where it ends."""
        return (self.first_column + self.width) * self.columns.rows

    def column_at(self, x: float) -> int:
        """The column of pixels that ``x`` of the picture is in."""
        assert self.time_box is not None
        return self.first_column + math.floor(x) - self.time_box.left

    @property
    def uploaded_bytes(self) -> tuple[int, int]:
        """What went to the graphics card so far: rows and spectra, and words."""
        rows = self._old_rings_bytes + self.ring.uploaded_bytes + self._spectrum.uploaded_bytes
        return rows, self._captions.uploaded_bytes

    def about(self) -> dict[str, Any]:
        """What the picture shows and where, in pixels from its top left, as JSON can hold it."""
        history, look = self.history, self.look
        settings = history.settings
        about: dict[str, Any] = {"size": self.size, "colormap": look.colormap}
        about |= {name: getattr(settings, name) for name in ("sr", "n_fft", "hop_length")}
        about |= {"averaging_s": look.averaging_s, "frozen": self.scroll.frozen is not None}
        for name, box in self.boxes.items():
            about[name] = {"box": list(box)}
            if name == "heard":
                about[name]["labels"] = history.labels()[-MOST_TOLD:]
            if name in TIMED:
                ends = (self.left_edge, self.right_edge)
                about[name]["time_s"] = [history.time(edge) for edge in ends]
            if name in ("spectrogram", "spectrum"):
                about[name]["frequency_hz"] = [self.axis.low, self.axis.high]
                about[name]["axis"] = self.axis.scale
            if name in ("spectrogram", "spectrum", "colors"):
                about[name]["dbfs"] = [look.floor_db, look.ceiling_db]
        return about
