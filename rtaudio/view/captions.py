"""Ticks, figures and words of the picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from rtaudio.consumers.history import HEARD
from rtaudio.view import axes, cursor, pointer
from rtaudio.view.cursor import decibels, frequency
from rtaudio.view.level import FLOOR_DB, meter_height
from rtaudio.view.overlay import FAINT, GREY, RED, SHADE, WHITE, Font, Overlay

if TYPE_CHECKING:
    from rtaudio.view.layout import Box
    from rtaudio.view.level import Level
    from rtaudio.view.scene import Scene

FONT_PX = 12
WORDS_S = 0.25  # how often figures are written anew
HEARD_S = 0.1  # likewise labels
SILENT_DB = -90.0  # of a peak below it, no frequency is told


class Status(NamedTuple):
    """The words that are not of the picture itself."""

    line: str = ""
    alarm: bool = False
    notice: str = ""
    """In the place of the line, for some seconds."""
    listing: tuple[tuple[str, str], ...] = ()
    """A table over the picture: the keys, or the devices."""
    title: str = ""
    """Of the table."""
    keys: bool = False
    """Whether keys do something, which is told then."""


class Captions:
    """Writes around and over the panels, anew where something changed."""

    def __init__(self) -> None:
        self._over = Overlay()
        self._scale = 0.0
        self._lasting: tuple[object, ...] = ()
        self._ticks: tuple[Any, ...] = ()
        self._passing: tuple[object, ...] = ()
        self._figures: tuple[str, ...] = ()
        self._figures_at = self._heard_at = -math.inf
        self._heard: tuple[object, ...] = ()
        self._built_column = 0  # the first one when the time axis was written

    @property
    def uploaded_bytes(self) -> int:
        """How much went to the graphics card so far."""
        return self._over.uploaded_bytes

    def draw(self, scene: Scene) -> None:
        """Draw what was written; the time axis moves with the columns."""
        box = scene.time_box
        ends = (0, 0) if box is None else (box.left, box.right)
        self._over.draw(scene.size, self._built_column - scene.first_column, ends)

    def write(self, scene: Scene, level: Level, stop: int, now: float, status: Status) -> None:
        """Write what changed; the figures four times a second while they move."""
        look = scene.look
        if scene.scale != self._scale:
            self._over.use(Font(round(FONT_PX * scene.scale)))
            self._scale = scene.scale
        lasting = (
            *(scene.size, scene.scale, scene.boxes, scene.axis, scene.history.settings),
            *(look.floor_db, look.ceiling_db),
        )
        ticks = (lasting, *_time_ticks(scene, self._px(72)))
        recent = 0 <= now - self._figures_at < WORDS_S
        if not recent or scene.scroll.frozen is not None or ticks != self._ticks:
            self._figures_at, self._figures = now, _figures(scene, level, stop)
        passing: tuple[object, ...] = (lasting, self._figures, look.averaging_s, status)
        if scene.pointer is not None:
            passing = (*passing, scene.pointer, scene.first_column, stop)
        if lasting != self._lasting:
            self._over.begin("axes")
            self._write_axes(scene)
        if ticks != self._ticks:
            self._over.begin("time")
            self._built_column = scene.first_column
            self._write_time(scene, *ticks[1:])
        labels = _labels_seen(scene) if "heard" in scene.boxes else []
        heard: tuple[object, ...] = (ticks, *labels)
        wait = 0 <= now - self._heard_at < HEARD_S and ticks == self._ticks
        if heard == self._heard or wait:
            heard = self._heard
        else:
            self._over.begin("heard")
            self._heard_at = now
            self._write_heard(scene, labels)
        if passing != self._passing:
            self._over.begin("words")
            self._write_figures(scene, status)
            self._write_status(scene, status)
            if not status.listing:
                self._write_pointer(scene)
        written = (lasting, ticks, heard, passing)
        if written != (self._lasting, self._ticks, self._heard, self._passing):
            self._lasting, self._ticks, self._heard, self._passing = written
            self._over.load()

    def _px(self, length: float) -> int:
        return round(length * self._scale)

    # --- what stays ---------------------------------------------------------------------------

    def _write_axes(self, scene: Scene) -> None:
        over, look, px, boxes = self._over, scene.look, self._px, scene.boxes
        for name, box in boxes.items():
            if name != "status":
                over.frame(*box, FAINT)
        if scene.frequency_box is not None:
            self._write_frequencies(scene.axis, scene.frequency_box)
        if "colors" in boxes:
            self._write_colors(scene, boxes["colors"])
        if "spectrum" in boxes:
            box = boxes["spectrum"]
            for tick in axes.db_ticks(look.floor_db, look.ceiling_db, box.width, px(46)):
                x = box.left + round(tick.at * box.width)
                over.rectangle(x, box.bottom + px(1), 1, px(4), GREY)
                over.text(tick.label, x, box.bottom + px(13), GREY, align=tick.at)
                if 0.01 < tick.at < 0.99:
                    over.rectangle(x, box.top, 1, box.height, FAINT)
        if "level" in boxes:
            box = boxes["level"]
            height = meter_height(box.height)
            for tick in axes.db_ticks(FLOOR_DB, 0, height, px(24)):
                y = box.bottom - round(tick.at * height)
                over.rectangle(box.right + px(1), y, px(4), 1, GREY)
                over.text(tick.label, box.right + px(7), y, GREY)
            over.text("RMS", box.left, box.bottom + px(13), GREY)
            over.text("peak", box.right, box.bottom + px(13), GREY, align=1)
        if "mfcc" in boxes:
            box, n_mfcc = boxes["mfcc"], scene.history.settings.n_mfcc
            for number in range(0, n_mfcc, max(1, math.ceil(px(16) * n_mfcc / box.height))):
                middle = box.bottom - (number + 0.5) / n_mfcc * box.height
                over.text(f"{number}", box.left - px(9), middle, GREY, align=1)
        if "heard" in boxes:
            box = boxes["heard"]
            over.text("heard", box.left - px(9), box.top + box.height / 2, GREY, align=1)
        if "waveform" in boxes:
            box = boxes["waveform"]
            for place, label in ((0.0, "1"), (0.5, "0"), (1.0, "−1")):
                middle = box.top + px(6) + place * (box.height - px(12))
                over.text(label, box.left - px(9), middle, GREY, align=1)

    def _write_frequencies(self, axis: axes.FrequencyAxis, box: Box) -> None:
        over, px = self._over, self._px
        ticks = axis.ticks(box.height, px(26))
        for tick in ticks:
            y = box.bottom - tick.at * box.height
            over.rectangle(box.left - px(5), round(y - 0.5), px(4), 1, GREY)
            label = tick.label
            if tick == ticks[-1]:  # the uppermost has the unit
                label = f"{label[:-1]} kHz" if label.endswith("k") else f"{label} Hz"
            y = min(max(y, box.top + px(5)), box.bottom - px(5))
            over.text(label, box.left - px(9), y, GREY, align=1)

    def _write_colors(self, scene: Scene, box: Box) -> None:
        over, look, px = self._over, scene.look, self._px
        for tick in axes.db_ticks(look.floor_db, look.ceiling_db, box.height, px(30)):
            y = box.bottom - tick.at * box.height
            over.rectangle(box.right + px(1), round(y - 0.5), px(4), 1, GREY)
            y = min(max(y, box.top + px(4)), box.bottom - px(4))
            over.text(tick.label, box.right + px(7), y, GREY)
        over.text("dBFS", box.right + px(7), box.bottom + px(13), GREY)

    def _write_time(self, scene: Scene, first: int, last: int, step: float) -> None:
        over, px = self._over, self._px
        names = ("waveform", "spectrogram", "heard", "mfcc")
        boxes = [scene.boxes[name] for name in names if name in scene.boxes]
        if not boxes:
            return
        for number in range(first, last + 1):
            column = scene.columns.column(scene.history.place(number * step))
            x = boxes[0].left + column - scene.first_column
            over.rectangle(x, boxes[-1].bottom + px(1), 1, px(4), GREY, moves=True)
            label = axes.clock(number * step, step)
            over.text(label, x, boxes[-1].bottom + px(14), GREY, align=0.5, moves=True)

    def _write_heard(self, scene: Scene, labels: list[tuple[float, float, str, float]]) -> None:
        """A box for each label, as long as it held; the surer, the brighter."""
        if "heard" not in scene.boxes:
            return
        over, px, box = self._over, self._px, scene.boxes["heard"]
        for start, end, label, probability in labels:
            left, right = (
                box.left + scene.columns.column(scene.history.place(at)) - self._built_column
                for at in (start, end)
            )
            color = (0.16, 0.42, 0.62, 0.35 + 0.65 * probability)
            over.rectangle(left, box.top + 1, max(1, right - left - 1), box.height - 2, color, 2)
            text = over.font.fitting(label, right - left - px(6))
            over.text(text, left + px(4), box.top + box.height / 2, WHITE, moves=2)

    # --- what passes --------------------------------------------------------------------------

    def _write_figures(self, scene: Scene, status: Status) -> None:
        over, px, boxes = self._over, self._px, scene.boxes
        if "spectrum" not in boxes or "spectrogram" not in boxes:
            return
        x = boxes["spectrum"].left
        if "waveform" in boxes:
            y = boxes["waveform"].top + px(12)
            for number, line in enumerate(self._figures):
                over.text(line, x, y + number * px(20), GREY if number == 2 else WHITE)
        if "mfcc" in boxes:
            y, averaging = boxes["mfcc"].top + px(36), scene.look.averaging_s
            mean = f"average of {1000 * averaging:g} ms" if averaging else "no averaging"
            lines = [f"spectrum: {mean}", "left: MFCC", *["h shows the keys"] * status.keys]
            for number, line in enumerate(lines):
                over.text(line, x, y + number * px(20), GREY)

    def _write_status(self, scene: Scene, status: Status) -> None:
        over, px, box = self._over, self._px, scene.boxes["status"]
        over.rectangle(*box, (0.085, 0.092, 0.105, 1))
        line = over.font.fitting(status.notice or status.line, box.width - px(24))
        color = RED if status.alarm and not status.notice else WHITE
        over.text(line, px(12), box.top + box.height / 2, color)
        if status.listing:
            self._write_listing(scene, status.title, status.listing)

    def _write_listing(
        self, scene: Scene, title: str, listing: tuple[tuple[str, str], ...]
    ) -> None:
        over, px = self._over, self._px
        width, height = scene.size
        first = max(over.font.line(key)[1] for key, _ in listing)
        room = width - px(80) - first
        fitted = [(key, over.font.fitting(text, room)) for key, text in listing]
        second = max(over.font.line(text)[1] for _, text in fitted)
        wide = max(first + px(24) + second, over.font.line(title)[1])
        line = min(px(22), (height - px(20)) / (len(fitted) + 2))
        tall = line * (len(fitted) + 1.5)
        x, y = (width - wide) / 2, max(px(14), (height - tall) / 2)
        over.rectangle(x - px(24), y - px(14), wide + px(48), tall + px(20), SHADE)
        over.text(title, x, y + line / 2, WHITE)
        for number, (key, text) in enumerate(fitted):
            at = y + line * (number + 2)
            over.text(key, x, at, WHITE)
            over.text(text, x + first + px(24), at, GREY)

    def _write_pointer(self, scene: Scene) -> None:
        """A cross, and what is under it."""
        if scene.pointer is None:
            return
        x, y = scene.pointer
        name = pointer.panel_at(scene, x, y)
        lines = pointer.reading(scene, x, y)
        if name is None or not lines:
            return
        over, px, box = self._over, self._px, scene.boxes[name]
        color = (1.0, 1.0, 1.0, 0.45)
        if name != "level":
            over.rectangle(math.floor(x), box.top, 1, box.height, color)
        if name != "mfcc":
            over.rectangle(box.left, math.floor(y), box.width, 1, color)
        width = max(over.font.line(text)[1] for text in lines) + px(16)
        height = px(19) * len(lines) + px(8)
        left, top = x + px(14), y + px(14)
        if left + width > scene.size[0]:
            left = x - px(14) - width
        if top + height > scene.boxes["status"].top:
            top = y - px(14) - height
        over.rectangle(left, top, width, height, SHADE)
        for number, text in enumerate(lines):
            over.text(text, left + px(8), top + px(4) + px(19) * (number + 0.5), WHITE)


def _time_ticks(scene: Scene, apart: float) -> tuple[int, int, float]:
    """Numbers of the first and the last tick that are to be seen, and the step in s."""
    step = axes.time_step(scene.look.span_s * apart / scene.width)
    begin, end = (scene.history.time(edge) for edge in (scene.left_edge, scene.right_edge))
    return max(0, math.ceil(begin / step)), math.floor(end / step), step


def _labels_seen(scene: Scene) -> list[tuple[float, float, str, float]]:
    """The labels that are on the time axis, in part at least."""
    begin, end = (scene.history.time(edge) for edge in (scene.left_edge, scene.right_edge))
    return [label for label in scene.history.labels() if label[1] > begin and label[0] < end]


def _figures(scene: Scene, level: Level, stop: int) -> tuple[str, ...]:
    """Levels, and the strongest frequency."""
    history = scene.history
    if stop <= history.first:
        return ("no samples yet",)
    lines = (f"RMS   {decibels(level.rms)}", f"peak  {decibels(level.peak)}")
    if level.peak > SILENT_DB and history.state(stop - 1, stop)[0] == HEARD:
        found = cursor.strongest(scene.peaks.current, history.settings)
        if found.peak:
            return (*lines, f"{frequency(found.hz)}   {cursor.note(found.hz)}")
    return lines
