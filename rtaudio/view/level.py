"""The level meter: RMS and peak of the newest frame in dBFS, peak hold, clip light."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from rtaudio.view.panel import Panel

if TYPE_CHECKING:
    from rtaudio.consumers.history import History
    from rtaudio.view.scene import Shown

FLOOR_DB = -60.0
HOLD_S, CLIP_S = 1.5, 3.0
CLIPPED = 1 - 2**-15  # the largest of 16 bits


class Level(NamedTuple):
    """Levels in dBFS, a sample of full scale being 0."""

    rms: float
    peak: float
    held: float
    """Highest peak of the last 1.5 s."""
    clipped: bool
    """A sample reached full scale within 3 s."""


def level(history: History, stop: int) -> Level:
    """The levels of the row before ``stop``."""
    rows = [round(seconds * history.rows_per_s) for seconds in (CLIP_S, HOLD_S)]
    first = max(history.first, stop - rows[0] - 1)
    if stop <= first:
        return Level(-math.inf, -math.inf, -math.inf, clipped=False)
    levels = history.levels(first, stop)
    held = levels[-rows[1] - 1 :, 1].max()
    rms, peak, held = (
        20 * math.log10(x) if x > 0 else -math.inf for x in (*levels[-1, :2].tolist(), held)
    )
    return Level(rms, peak, held, bool(levels[:, 1].max() >= CLIPPED))


_COLOR = """
uniform vec4 u_level;    // rms, peak, held in 0 to 1 of the height; clipped
uniform vec4 u_box;
void main() {
    vec2 at = floor(gl_FragCoord.xy - u_box.xy);
    float light = floor(u_box.w * .02) + 2.;
    float height = u_box.w - light - 2., y = at.y / height;
    bool left = at.x < floor(u_box.z / 2.) - 1., right = at.x >= ceil(u_box.z / 2.) + 1.;
    vec3 color = vec3(.035, .04, .05);
    vec3 lit = y > .95 ? vec3(.95, .3, .22) : y > .8 ? vec3(.92, .78, .3) : vec3(.33, .72, .45);
    if (at.y >= height + 2.) color = u_level.w > 0. ? vec3(1., .2, .15) : vec3(.17, .08, .08);
    else if (at.y < height) {
        if ((left && y < u_level.x) || (right && y < u_level.y)) color = lit;
        else if (right && abs(at.y - floor(u_level.z * height)) < 1.5 && u_level.z > 0.)
            color = vec3(.93, .90, .80);
        else if (left || right) color = vec3(.085, .09, .10);
    }
    gl_FragColor = vec4(color, 1.);
}
"""


class Meter(Panel):
    """Draws RMS at the left, peak and its hold at the right, the clip light above."""

    fragment = _COLOR

    def set(self, shown: Shown) -> None:
        """Tell the shader what is to be seen."""
        now = shown.level
        values = [min(1.0, max(0.0, 1 - db / FLOOR_DB)) for db in now[:3]]
        self.program["u_level"] = (*values, float(now.clipped))


def meter_height(box_height: int) -> int:
    """Pixels of the bars in a box so high, below the clip light; as in the shader."""
    return box_height - math.floor(box_height * 0.02) - 4
