"""The spectrogram: time to the right, frequency upwards, dBFS as colour; gaps hatched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtaudio.view import ring
from rtaudio.view.panel import Panel

if TYPE_CHECKING:
    from rtaudio.view.scene import Shown

_COLOR = """
uniform sampler2D u_colors;
uniform vec4 u_range;    // floor, 1 / (ceiling - floor), which value is the lost share, unused
void main() {
    vec2 at = floor(gl_FragCoord.xy - u_box.xy);
    float db = most(at.x, at.y, -2000.);
    vec3 color = texture2D(u_colors, vec2((clamp((db - u_range.x) * u_range.y, 0., 1.)
                                           * 255. + .5) / 256., .5)).rgb;
    if (db < -1500.) color = vec3(.035, .04, .05);
    else if (db < -900.) color = mod(at.x + at.y, 8.) < 4. ? vec3(.30) : vec3(.20);
    if (u_box.w - at.y <= 4. && most(at.x, u_range.z, 0.) > 0.) color = vec3(.95, .25, .2);
    gl_FragColor = vec4(color, 1.);
}
"""


class Spectrogram(Panel):
    """Draws the pixels of the ring's rows. The newest is at the right."""

    fragment = ring.GLSL + _COLOR

    def set(self, shown: Shown) -> None:
        """Tell the shader what is to be seen."""
        look, program = shown.look, self.program
        scale = 1 / (look.ceiling_db - look.floor_db)
        program["u_range"] = (look.floor_db, scale, shown.ring.lost_at, 0)
        self.set_ring(shown)
