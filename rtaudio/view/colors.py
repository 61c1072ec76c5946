"""The colour bar, and matplotlib's tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rtaudio.view.look import COLORMAPS
from rtaudio.view.panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtaudio.view.scene import Shown

_COLOR = """
uniform sampler2D u_colors;
uniform vec4 u_box;
void main() {
    float level = floor(gl_FragCoord.y - u_box.y) / max(1., u_box.w - 1.);
    gl_FragColor = vec4(texture2D(u_colors, vec2((level * 255. + .5) / 256., .5)).rgb, 1.);
}
"""


class ColorBar(Panel):
    """Draws the colormap, the floor at the bottom."""

    fragment = _COLOR

    def set(self, shown: Shown) -> None:
        """Nothing changes."""


def table(name: str) -> NDArray[np.uint8]:
    """Matplotlib's table of a colormap; shape (256, 3).

    They are kept as a picture, a line each, since importing matplotlib takes 15 MB and 0.3 s.
    """
    with Image.open(Path(__file__).with_name("colormaps.png")) as tables:
        colors: NDArray[np.uint8] = np.asarray(tables)[COLORMAPS.index(name)]
    return colors
