"""Words, lines and rectangles over the panels: all of them in one draw."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from vispy import gloo

if TYPE_CHECKING:
    from numpy.typing import NDArray

Color = tuple[float, float, float, float]

WHITE: Color = (0.93, 0.93, 0.92, 1)
GREY: Color = (0.62, 0.64, 0.67, 1)
FAINT: Color = (1, 1, 1, 0.14)
RED: Color = (0.97, 0.38, 0.32, 1)
SHADE: Color = (0.05, 0.055, 0.065, 0.93)

_VERTEX = """
attribute vec4 a_place;  // x, y in pixels from the top left; x, y in the atlas
attribute vec4 a_color;
attribute float a_moves; // 1: with the time axis; 2: and is cut off at its ends
uniform vec4 u_view;     // 2 / width, 2 / height, how far the time axis has moved, unused
varying vec2 v_glyph;
varying vec4 v_color;
varying float v_cut;
void main() {
    vec2 at = a_place.xy + vec2(min(a_moves, 1.) * u_view.z, 0.);
    v_cut = a_moves;
    gl_Position = vec4(at.x * u_view.x - 1., 1. - at.y * u_view.y, 0., 1.);
    v_glyph = a_place.zw;
    v_color = a_color;
}
"""
_FRAGMENT = """
uniform sampler2D u_atlas;
uniform vec2 u_ends;     // left and right of the time axis, in pixels
varying vec2 v_glyph;
varying vec4 v_color;
varying float v_cut;
void main() {
    if (v_cut > 1.5 && (gl_FragCoord.x < u_ends.x || gl_FragCoord.x > u_ends.y)) discard;
    gl_FragColor = vec4(v_color.rgb, v_color.a * texture2D(u_atlas, v_glyph).r);
}
"""
_VERTICES = np.dtype([("a_place", "f4", 4), ("a_color", "f4", 4), ("a_moves", "f4")])


class Glyph(NamedTuple):
    """Where a letter is in the atlas, and how far it is to the next one; pixels."""

    left: int
    width: int
    advance: float


def _font_path() -> Path:
    """Found without importing matplotlib, which takes 15 MB and 0.3 s."""
    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("mpl-data") / "fonts/ttf/DejaVuSans.ttf"


class Font:
    """DejaVu Sans, as matplotlib ships it, at one size; letters are drawn when first used."""

    def __init__(self, pixels: int) -> None:
        self._font = ImageFont.truetype(_font_path(), pixels)
        self._ascent, descent = self._font.getmetrics()
        self.height = self._ascent + descent
        self._glyphs: dict[str, Glyph] = {}
        self.image = np.zeros((self.height + 2, 2048), np.uint8)
        self.image[:2, :2] = 255  # of what is no letter
        self._next = 3
        self.grown = True  # there is more than was uploaded
        for letter in map(chr, range(32, 127)):
            self.glyph(letter)

    def glyph(self, letter: str) -> Glyph:
        """A letter; boxes where the font has none, or the atlas is full."""
        if letter not in self._glyphs:
            advance = self._font.getlength(letter)
            width = int(advance) + 3
            if self._next + width > self.image.shape[1]:
                wider = np.zeros_like(self.image)
                if self.image.shape[1] >= 1 << 14:
                    return self._glyphs["?"]
                self.image = np.concatenate([self.image, wider], axis=1)
            drawn = Image.new("L", (width, self.height))
            ImageDraw.Draw(drawn).text((1, 0), letter, font=self._font, fill=255)
            self.image[2:, self._next : self._next + width] = np.asarray(drawn)
            self._glyphs[letter] = Glyph(self._next, width, advance)
            self._next += width + 1
            self.grown = True
        return self._glyphs[letter]

    @lru_cache(maxsize=512)  # noqa: B019 - a font lives as long as its window
    def line(self, text: str) -> tuple[NDArray[np.float32], float]:
        """Where each letter is: left, atlas left, width, (n, 3); and how long the line is."""
        x, places = 0.0, []
        for letter in text:
            glyph = self.glyph(letter)
            if letter != " ":
                places.append((round(x) - 1, glyph.left, glyph.width))
            x += glyph.advance
        return np.array(places, np.float32).reshape(-1, 3), x

    def fitting(self, text: str, width: float) -> str:
        """As much of a text as fits, with … where it was cut."""
        if self.line(text)[1] <= width:
            return text
        while text and self.line(text + "…")[1] > width:
            text = text[:-1]
        return text and text + "…"


class Overlay:
    """Collects rectangles and words, layer by layer, and draws them at once.

    A layer is written anew by `begin` and what follows; the others stay as they are, and are not
    uploaded again.
    """

    def __init__(self) -> None:
        self._program = gloo.Program(_VERTEX, _FRAGMENT)
        self._layers: dict[str, list[NDArray[np.void]]] = {}
        self._changed: set[str] = set()
        self._rooms: dict[str, int] = {}  # vertices of each layer in the buffer
        self._buffer: gloo.VertexBuffer | None = None
        self.uploaded_bytes = 0

    def use(self, font: Font) -> None:
        """Write in a font; every layer is to be written anew then."""
        self.font = font

    def begin(self, layer: str) -> None:
        """Write a layer anew: what follows goes into it."""
        self._pieces = self._layers[layer] = []
        self._changed.add(layer)

    def rectangle(
        self, x: float, y: float, width: float, height: float, color: Color, moves: int = 0
    ) -> None:
        """A filled rectangle, in pixels from the top left.

        ``moves``: 1 with the time axis, 2 and is cut off at its ends.
        """
        self._quads(np.array([[x, y, width, height, 1, 1, 0, 0]], np.float32), color, moves)

    def frame(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """The outline of a rectangle, just outside of it."""
        self.rectangle(x - 1, y - 1, width + 2, 1, color)
        self.rectangle(x - 1, y + height, width + 2, 1, color)
        self.rectangle(x - 1, y, 1, height, color)
        self.rectangle(x + width, y, 1, height, color)

    def text(
        self,
        text: str,
        x: float,
        y: float,
        color: Color = GREY,
        align: float = 0.0,
        moves: int = 0,
    ) -> float:
        """A line of words, ``y`` its middle, ``x`` its left (``align`` 0) … right (1) end.

        Returns its length in pixels.
        """
        letters, length = self.font.line(text)
        quads = np.empty((len(letters), 8), np.float32)
        height = self.font.height
        quads[:, 0] = letters[:, 0] + round(x - align * length)
        quads[:, 1] = round(y - height / 2)
        quads[:, 2], quads[:, 3] = letters[:, 2], height
        quads[:, 4], quads[:, 5] = letters[:, 1], 2
        quads[:, 6], quads[:, 7] = letters[:, 2], height
        self._quads(quads, color, moves)
        return length

    def _quads(self, quads: NDArray[np.float32], color: Color, moves: int) -> None:
        """(n, 8): left, top, width, height on the screen, and in the atlas."""
        vertices = np.empty((len(quads), 6), _VERTICES)
        for number, (x, y) in enumerate(((0, 0), (1, 0), (0, 1), (1, 0), (0, 1), (1, 1))):
            for begin in (0, 4):
                place = vertices["a_place"][:, number, begin // 2 : begin // 2 + 2]
                place[:, 0] = quads[:, begin] + x * quads[:, begin + 2]
                place[:, 1] = quads[:, begin + 1] + y * quads[:, begin + 3]
        vertices["a_color"] = color
        vertices["a_moves"] = moves
        self._pieces.append(vertices.reshape(-1))

    def load(self) -> None:
        """Upload the layers that were written anew."""
        if self.font.grown:
            atlas = gloo.Texture2D(
                self.font.image[:, :, np.newaxis], format="luminance", interpolation="nearest"
            )
            self._program["u_atlas"] = atlas
            self.font.grown = False
            self.uploaded_bytes += self.font.image.nbytes
            self._changed |= self._layers.keys()  # their places are shares of the atlas
        vertices = {layer: self._vertices(layer) for layer in sorted(self._changed)}
        self._changed.clear()
        fits = vertices.keys() <= self._rooms.keys() and all(
            len(some) == self._rooms[layer] for layer, some in vertices.items()
        )
        if self._buffer is None or not fits:
            vertices = {layer: self._vertices(layer) for layer in self._layers}
            self._rooms = {layer: len(some) for layer, some in vertices.items()}
            self._buffer = gloo.VertexBuffer(np.concatenate(list(vertices.values())))
            self._program.bind(self._buffer)
        else:
            at = dict(zip(self._rooms, np.cumsum([0, *self._rooms.values()]), strict=False))
            for layer, some in vertices.items():
                self._buffer.set_subdata(some, offset=int(at[layer]))
        self.uploaded_bytes += sum(some.nbytes for some in vertices.values())

    def _vertices(self, layer: str) -> NDArray[np.void]:
        """A layer, filled up with triangles without extent: its room changes seldom so."""
        pieces = self._layers[layer]
        count = sum(map(len, pieces))
        vertices = np.zeros(-(-(count + 1) // 384) * 384, _VERTICES)
        if pieces:
            np.concatenate(pieces, out=vertices[:count])
        height, width = self.font.image.shape
        vertices["a_place"][:, 2:] /= (width, height)
        return vertices

    def draw(self, size: tuple[int, int], moved: float, ends: tuple[int, int] = (0, 0)) -> None:
        """Draw over what is there; the time axis, with its ``ends``, ``moved`` to the right."""
        self._program["u_view"] = (2 / size[0], 2 / size[1], moved, 0)
        self._program["u_ends"] = ends
        gloo.set_state(blend=True, blend_func=("src_alpha", "one_minus_src_alpha"))
        self._program.draw("triangles")
        gloo.set_state(blend=False)
