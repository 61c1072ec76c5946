"""What the mouse points at, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rtaudio.consumers.history import HEARD, LOST, NOTHING_BUT_LOST
from rtaudio.view import axes, cursor
from rtaudio.view.cursor import decibels, frequency
from rtaudio.view.level import level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtaudio.view.scene import Scene

SNAP_PX = 5  # how near a peak the pointer must be to read it


def panel_at(scene: Scene, x: float, y: float) -> str | None:
    """The name of the panel at a point of the picture."""
    return next((name for name, box in scene.boxes.items() if box.holds(x, y)), None)


def reading(scene: Scene, x: float, y: float) -> list[str]:
    """What is at a point of the picture, a line each; nothing outside the panels."""
    name = panel_at(scene, x, y)
    if name == "spectrum":
        return _told(read(scene, scene.peaks.current, y))
    if name == "level":
        now = level(scene.history, min(scene.history.stop, math.ceil(scene.right_edge)))
        return [
            f"{what} {decibels(db)}" for what, db in zip(("RMS", "peak", "held"), now, strict=False)
        ]
    if name not in ("spectrogram", "waveform", "mfcc", "heard"):
        return []
    history, (first, stop) = scene.history, rows_at(scene, x)
    middle = history.time((scene.column_at(x) + 0.5) * scene.columns.rows)
    when = axes.clock(middle, 0.01)
    if name == "heard":
        labels = (label for label in history.labels() if label[0] <= middle < label[1])
        told = (f"{label}   {100 * probability:.0f} %" for _, _, label, probability in labels)
        return [when, next(told, "nothing")]
    states = history.state(first, stop)
    heard = states == HEARD
    if name == "waveform":
        return [when, _wave(history.wave(first, stop))]
    if not heard.any():
        return [when, "lost" if (states == LOST).any() else "nothing"]
    if name == "mfcc":
        box = scene.boxes[name]
        number = math.floor(
            (box.bottom - math.floor(y) - 0.5) / box.height * (history.settings.n_mfcc)
        )
        value = history.mfcc(first, stop)[heard, number].max()
        return [when, axes.minus(f"MFCC {number}: {value:.1f}")]
    return [when, *_told(read(scene, history.dbfs(first, stop)[heard].max(axis=0), y))]


def _wave(buckets: NDArray[np.float32]) -> str:
    there = buckets[buckets[:, :, 0] <= buckets[:, :, 1]]
    if len(there):
        return axes.minus(f"{there[:, 0].min():.4f} … {there[:, 1].max():.4f}")
    return "lost" if (buckets == NOTHING_BUT_LOST).any() else "nothing"


def rows_at(scene: Scene, x: float) -> tuple[int, int]:
    """The rows of the history under a column of pixels: first, and after the last."""
    column = scene.column_at(x)
    first = scene.columns.row(column)
    return first, max(first + 1, scene.columns.row(column + 1))


def read(scene: Scene, dbfs: NDArray[np.float32], y: float) -> cursor.Reading:
    """Read a spectrum (n_bins,) at a height of the picture; a peak near by is preferred."""
    box = scene.frequency_box
    assert box is not None
    near = SNAP_PX * scene.scale
    from_bottom = box.bottom - math.floor(y) - 0.5 + np.array([-near, 0, near])
    low, hz, high = scene.axis.hz(np.clip(from_bottom / box.height, 0, 1)).tolist()
    return cursor.read(dbfs, scene.history.settings, low, hz, high)


def _told(found: cursor.Reading) -> list[str]:
    kind = "peak  " if found.peak else ""
    return [f"{frequency(found.hz)}   {cursor.note(found.hz)}", kind + decibels(found.dbfs)]
