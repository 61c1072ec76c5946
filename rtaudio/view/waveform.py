"""The waveform: least and greatest sample under each column, so that no click is invisible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtaudio.view import ring
from rtaudio.view.panel import Panel

if TYPE_CHECKING:
    from rtaudio.view.scene import Shown

_WAVE = """
uniform vec4 u_wave;     // which value is the first, buckets of a row; the rest unused
float first_bucket(float column) {
    return floor((u_columns.x + column * u_columns.y) * (u_columns.z * u_wave.y));
}
void main() {
    vec2 at = floor(gl_FragCoord.xy - u_box.xy);
    float bucket = first_bucket(at.x);
    float count = max(1., first_bucket(at.x + 1.) - bucket);
    vec2 wave = vec2(2., -2.);
    bool lost = false;
    for (int i = 0; i < 512; i++) {
        if (float(i) >= count) break;
        float row = floor((bucket + float(i)) / u_wave.y);
        float number = bucket + float(i) - row * u_wave.y;
        if (there(row)) {
            vec2 found = vec2(value(row, u_wave.x + 2. * number),
                              value(row, u_wave.x + 2. * number + 1.));
            if (found.x <= found.y) wave = vec2(min(wave.x, found.x), max(wave.y, found.y));
            else if (found.x > 2.) lost = true;
        }
    }
    // a pixel of its own for the middle line, and one at least for the wave
    float middle = floor(u_box.w / 2.);
    vec2 ends = clamp(floor(middle + .5 + wave * (u_box.w / 2. - 1.)), 0., u_box.w - 1.);
    bool inside = wave.x <= wave.y && at.y >= ends.x && at.y <= ends.y;
    bool clipped = inside && max(-wave.x, wave.y) >= .99997;
    vec3 color = at.y == middle ? vec3(.16, .17, .19) : vec3(.035, .04, .05);
    if (lost) color = mod(at.x + at.y, 8.) < 4. ? vec3(.30) : vec3(.20);
    if (inside) color = clipped ? vec3(.95, .25, .2) : vec3(.55, .75, .95);
    gl_FragColor = vec4(color, 1.);
}
"""


class Waveform(Panel):
    """Draws -1 … 1 over its height; samples of full scale in red."""

    fragment = ring.GLSL + _WAVE

    def set(self, shown: Shown) -> None:
        """Tell the shader what is to be seen."""
        self.program["u_wave"] = (shown.ring.wave_at, shown.history.buckets, 0, 0)
        self.set_ring(shown)
