"""The MFCC heat map: time to the right, coefficients upwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtaudio.view import ring
from rtaudio.view.panel import Panel

if TYPE_CHECKING:
    from rtaudio.view.scene import Shown

_COLOR = """
uniform sampler2D u_colors;
uniform vec4 u_mfcc;     // which value is coefficient 0, how many there are, unused
void main() {
    vec2 at = floor(gl_FragCoord.xy - u_box.xy);
    float number = floor((at.y + .5) / u_box.w * u_mfcc.y);
    float level = most(at.x, u_mfcc.x + number, -1.);
    vec3 color = texture2D(u_colors, vec2((max(level, 0.) * 255. + .5) / 256., .5)).rgb;
    gl_FragColor = vec4(level < 0. ? vec3(.035, .04, .05) : color, 1.);
}
"""


class Mfcc(Panel):
    """Draws each coefficient as a band of the same height, 0 at the bottom."""

    fragment = ring.GLSL + _COLOR

    def set(self, shown: Shown) -> None:
        """Tell the shader what is to be seen."""
        self.program["u_mfcc"] = (shown.ring.mfcc_at, shown.history.settings.n_mfcc, 0, 0)
        self.set_ring(shown)
