"""The spectrum of the newest frame, beside the spectrogram: level to the right, peaks held."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from vispy import gloo

from rtaudio.consumers.history import HEARD
from rtaudio.view.panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtaudio.consumers.history import History
    from rtaudio.view.axes import Bins
    from rtaudio.view.scene import Shown

HOLD_S, DECAY_DB_PER_S = 1.0, 20.0
LOWEST_DB = -300.0
MOST_DB = 120.0  # after it has fallen so far, nobody sees a peak


class Peaks:
    """The spectrum up to a row: averaged, and its peaks, which stay 1 s and then fall 20 dB/s.

    The average is exponential, of power; ``averaging_s`` is its time constant.
    """

    def __init__(self, history: History, averaging_s: float) -> None:
        self._history = history
        self._row_s = 1 / history.rows_per_s
        self._share = 1 - math.exp(-self._row_s / averaging_s) if averaging_s else 1.0
        matters_s = max(HOLD_S + MOST_DB / DECAY_DB_PER_S, 5 * averaging_s)
        self._most = math.ceil(matters_s / self._row_s)
        self._next: int | None = None
        self.current: NDArray[np.float32]
        """dBFS of each bin."""
        self.held: NDArray[np.float32]
        self._forget()

    def reach(self, stop: int) -> bool:
        """Take in the rows before ``stop``; whether anything changed."""
        if stop == self._next:
            return False
        first = max(stop - self._most, self._history.first)
        if self._next is not None and first <= self._next < stop:
            first = self._next
        else:
            self._forget()
        self._next = stop
        for begin in range(first, stop, 64):  # at once, so that long spectra take little memory
            ends = begin, min(stop, begin + 64)
            for row in self._history.dbfs(*ends)[self._history.state(*ends) == HEARD]:
                self._take(row)
        return True

    def _forget(self) -> None:
        n_bins = self._history.settings.n_bins
        self._power = np.zeros(n_bins, np.float32)
        self.current = np.full(n_bins, LOWEST_DB, np.float32)
        self.held = self.current.copy()
        self._held_for = np.zeros(n_bins, np.float32)

    def _take(self, dbfs: NDArray[np.float32]) -> None:
        self.current = dbfs
        if self._share < 1:
            fresh = not self._power.any()
            power = np.exp(dbfs * np.float32(math.log(10) / 10))
            self._power += (1.0 if fresh else self._share) * (power - self._power)
            self.current = 10 * np.log10(np.maximum(self._power, 1e-30))
        self._held_for += self._row_s
        falls = self._held_for > HOLD_S
        self.held[falls] -= DECAY_DB_PER_S * self._row_s
        higher = self.current >= self.held
        self.held[higher] = self.current[higher]
        self._held_for[higher] = 0


_COLOR = """
uniform sampler2D u_levels;  // (2, pixels) dBFS: current, held
uniform sampler2D u_colors;
uniform vec4 u_range;        // floor, 1 / (ceiling - floor), pixels, thickness of the line
uniform vec4 u_box;
float across(float y, float which) {
    float db = texture2D(u_levels, vec2((y + .5) / u_range.z, which)).r;
    return clamp((db - u_range.x) * u_range.y, 0., 1.);
}
void main() {
    vec2 at = floor(gl_FragCoord.xy - u_box.xy);
    float level = across(at.y, .25), held = across(at.y, .75);
    float above = across(min(at.y + 1., u_range.z - 1.), .75);
    vec3 color = vec3(.035, .04, .05);
    if (level > 0. && at.x < level * u_box.z)
        color = texture2D(u_colors, vec2((level * 255. + .5) / 256., .5)).rgb;
    float low = min(held, above) * u_box.z - u_range.w, high = max(held, above) * u_box.z;
    if (held > 0. && at.x >= floor(low) && at.x <= high) color = vec3(.93, .90, .80);
    gl_FragColor = vec4(color, 1.);
}
"""


class Spectrum(Panel):
    """Draws `Peaks` as pixels of the frequency axis."""

    fragment = _COLOR

    def __init__(self) -> None:
        super().__init__()
        self._texture: gloo.Texture2D | None = None
        self.uploaded_bytes = 0

    def resize(self, pixels: int) -> None:
        """Make room for a frequency axis of so many pixels."""
        self._texture = gloo.Texture2D(
            (2, pixels, 1), format="luminance", internalformat="r32f", interpolation="nearest"
        )
        self.program["u_levels"] = self._texture

    def load(self, peaks: Peaks, bins: Bins) -> None:
        """Upload what changed."""
        assert self._texture is not None
        pixels = bins.pixels(np.stack([peaks.current, peaks.held]))
        self._texture.set_data(pixels[:, :, np.newaxis], offset=(0, 0), copy=True)
        self.uploaded_bytes += pixels.nbytes

    def set(self, shown: Shown) -> None:
        """Tell the shader what is to be seen."""
        look = shown.look
        scale = 1 / (look.ceiling_db - look.floor_db)
        self.program["u_range"] = (look.floor_db, scale, shown.ring.lost_at, shown.scale)
