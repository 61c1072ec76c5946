"""What every panel is: a rectangle of pixels, and a shader that colours them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from vispy import gloo

if TYPE_CHECKING:
    from rtaudio.view.layout import Box
    from rtaudio.view.scene import Shown

_VERTEX = """
attribute vec2 a_corner;
uniform vec4 u_clip;     // left, bottom, width, height in OpenGL's -1 to 1
void main() {
    gl_Position = vec4(u_clip.xy + a_corner * u_clip.zw, 0., 1.);
}
"""
_CORNERS = np.array([(0, 0), (1, 0), (0, 1), (1, 1)], np.float32)


class Panel:
    """A program that colours the pixels of a box. Made, and drawn, where OpenGL is current."""

    fragment: str

    def __init__(self) -> None:
        self.program = gloo.Program(_VERTEX, self.fragment)
        self.program["a_corner"] = gloo.VertexBuffer(_CORNERS)

    def place(self, box: Box, size: tuple[int, int]) -> None:
        """Put it into ``box`` of a picture of ``size`` (width, height)."""
        width, height = size
        bottom = height - box.bottom
        self.program["u_clip"] = (
            2 * box.left / width - 1,
            2 * bottom / height - 1,
            2 * box.width / width,
            2 * box.height / height,
        )
        self.program["u_box"] = (box.left, bottom, box.width, box.height)

    def set_ring(self, shown: Shown) -> None:
        """Tell the shader of the ring, as `ring.GLSL` needs it."""
        for name, value in shown.columns.items():
            self.program[name] = value

    def set(self, shown: Shown) -> None:
        """Tell the shader what is to be seen; called before each draw."""
        raise NotImplementedError

    def draw(self) -> None:
        """Draw."""
        self.program.draw("triangle_strip")
