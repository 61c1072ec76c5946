"""The ring texture: the rows of the history that the picture shows, as its panels draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from vispy import gloo

from rtaudio.consumers.history import HEARD, LOST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtaudio.consumers.history import History
    from rtaudio.view.axes import Bins, Columns

UPLOAD_ROWS = 64  # at once, so that long spectra take little memory
SPARE = 66  # rows more than are seen, for scrolling back
#: Values of a pixel that are no dBFS: the row was lost, or there is none.
LOST_DB, NOTHING_DB = -1000.0, -2000.0

#: Of every panel with a time axis. A row of the texture is a row of the history: its pixels of
#: the spectrogram, which share of it was lost, its MFCCs (0 … 1), its waveform (least, greatest).
GLSL = """
uniform sampler2D u_ring;
uniform vec4 u_columns;  // phase of column 0, step, 2**-shift, texture row of its first row
uniform vec4 u_rows;     // first row that is there, last, counted from that one; texture's size
uniform vec4 u_box;      // of the panel in pixels: left, bottom, width, height

float first_row(float column) {
    return floor((u_columns.x + column * u_columns.y) * u_columns.z);
}
float value(float row, float at) {
    float t = u_columns.w + row;
    t -= t < u_rows.w ? 0. : u_rows.w;
    return texture2D(u_ring, vec2((at + .5) / u_rows.z, (t + .5) / u_rows.w)).r;
}
bool there(float row) {
    return row >= u_rows.x && row <= u_rows.y;
}
float most(float column, float at, float none) {
    float row = first_row(column);
    float count = max(1., first_row(column + 1.) - row);
    float found = none;
    for (int i = 0; i < 64; i++) {
        if (float(i) >= count) break;
        if (there(row + float(i))) found = max(found, value(row + float(i), at));
    }
    return found;
}
"""


class Ring:
    """Holds ``rows`` rows at least, beginning with none. Uploads what is new, and nothing else."""

    def __init__(self, history: History, bins: Bins, pixels: int, columns: Columns, width: int):
        settings = history.settings
        self._history, self._bins, self.columns = history, bins, columns
        self._visible = width
        self.lost_at = pixels
        self.mfcc_at = pixels + 1
        self.wave_at = self.mfcc_at + settings.n_mfcc
        self.size = (columns.row(width) + SPARE, self.wave_at + 2 * history.buckets)
        self.uploaded_bytes = 0
        self._mfcc_low, self._mfcc_scale = mfcc_range(history)
        self.texture = gloo.Texture2D(
            (*self.size, 1),
            format="luminance",
            internalformat="r32f",
            interpolation="nearest",
            wrapping="clamp_to_edge",
        )
        self._first = self._stop = 0  # the rows that are in it
        self._whole = 0  # those before it don't change any more

    def show(self, column: int, newest: int) -> None:
        """Bring in what the columns from ``column`` on need, of the rows before ``newest``."""
        first = max(self.columns.row(column), self._history.first)
        stop = min(self.columns.row(column + self._visible) + 1, newest)
        if stop <= first:
            return
        if first > self._stop or stop < self._first:
            self._first = self._stop = self._whole = first
        if first < self._first:  # scrolled back
            self._upload(first, min(stop, self._first))
            self._first, self._stop = first, min(self._stop, first + self.size[0])
            self._whole = min(self._whole, self._stop)
        if stop > self._whole:
            self._upload(max(self._whole, first), stop)
            self._whole = stop - 1 if stop == newest and self._can_grow else stop
            self._stop = max(self._stop, stop)
            self._first = max(self._first, self._stop - self.size[0])

    @property
    def _can_grow(self) -> bool:
        settings = self._history.settings
        return self._history.hops > 1 or settings.hop_length > settings.n_fft

    def _upload(self, first: int, stop: int) -> None:
        for begin in range(first, stop, UPLOAD_ROWS):
            self._upload_part(begin, min(stop, begin + UPLOAD_ROWS))

    def _upload_part(self, first: int, stop: int) -> None:
        rows = self._rows(first, stop)
        at = first % self.size[0]
        before_end = self.size[0] - at
        for part, offset in ((rows[:before_end], at), (rows[before_end:], 0)):
            if len(part):
                self.texture.set_data(part, offset=(offset, 0), copy=True)
                self.uploaded_bytes += part.nbytes

    def _rows(self, first: int, stop: int) -> NDArray[np.float32]:
        history = self._history
        rows = np.empty((stop - first, self.size[1], 1), np.float32)
        state = history.state(first, stop)
        values = rows[:, :, 0]
        values[:, : self.lost_at] = self._bins.pixels(history.dbfs(first, stop))
        values[:, self.lost_at] = history.levels(first, stop)[:, 2]
        mfcc = (history.mfcc(first, stop) - self._mfcc_low) * self._mfcc_scale
        values[:, self.mfcc_at : self.wave_at] = np.clip(mfcc, 0, 1)
        values[:, self.wave_at :] = history.wave(first, stop).reshape(stop - first, -1)
        for rest, what, lost in ((state == LOST, LOST_DB, 1), (state < LOST, NOTHING_DB, 0)):
            if rest.any():
                values[rest, : self.lost_at] = what
                values[rest, self.lost_at] = lost
                values[rest, self.mfcc_at : self.wave_at] = -1
        return rows

    def uniforms(self, column: int) -> dict[str, object]:
        """What `GLSL` is to be told where ``column`` is the panel's first."""
        first = self.columns.row(column)
        rows, width = self.size
        step, shift = self.columns.step, self.columns.shift
        return {
            "u_columns": (self.columns.phase(column), step, 0.5**shift, first % rows),
            "u_rows": (self._first - first, self._stop - 1 - first, width, rows),
        }


def mfcc_range(history: History) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What is black, and what one unit is of the scale from there to white, (n_mfcc,) each.

    Coefficient 0 is the mean level times the square root of the number of bands: -120 … 0 dBFS.
    Coefficient k tells the shape of the spectrum, the higher the less of it: 40 + 260 / k dB to
    either side of 0, which music and speech seldom leave.
    """
    settings = history.settings
    most = 40 + 260 / np.maximum(np.arange(settings.n_mfcc), 1)
    low, extent = -most, 2 * most
    root = settings.n_mels**0.5
    # A band of the mel filters (unit area) has about so much less than its bins.
    per_hz = 10 * np.log10((settings.sr or 1) / settings.n_fft)
    low[0] = root * (settings.full_scale_db - per_hz - 120)
    extent[0] = root * 120
    return low.astype(np.float32), (1 / extent).astype(np.float32)


assert HEARD > LOST  # `state < LOST` is what is not there
