"""Where the panels are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rtaudio.view.look import Look

LEAST = (320, 240)  # of a picture, at scale 1
_LEFT, _TOP, _RIGHT, _GAP = 60, 12, 12, 12
_TIME, _STATUS = 24, 28  # heights of what stands below the panels
_SPECTRUM, _COLORS, _LABELS, _METER = 190, 12, 40, 58
_WAVE, _MFCC, _HEARD = 84, 104, 20


class Box(NamedTuple):
    """A rectangle in physical pixels, counted from the top left of the picture."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column beyond it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first line below it."""
        return self.top + self.height

    def holds(self, x: float, y: float) -> bool:
        """Whether a point is in it."""
        return self.left <= x < self.right and self.top <= y < self.bottom


def layout(size: tuple[int, int], scale: float, look: Look, hears: bool = False) -> dict[str, Box]:
    """Boxes by the names of `look.PANELS`, ``colors`` and ``status``, in a picture of ``size``.

    Where a model ``hears``, ``heard`` is below the spectrogram, for labels.
    What time runs along has the same left and width, what frequency runs along the same top and
    height. Panels that a small picture has no room for are left out.
    """
    width, height = size

    def px(length: float) -> int:
        return round(length * scale)

    wanted = set(look.panels)
    if width < px(720):
        wanted -= {"spectrum"} if wanted != {"spectrum"} else set()
    if width < px(460):
        wanted -= {"level"} if wanted != {"level"} else set()
    if height < px(440):
        wanted -= {"mfcc"} if wanted & {"spectrogram", "spectrum"} else set()
    if height < px(340):
        wanted -= {"waveform"} if wanted & {"spectrogram", "spectrum"} else set()

    boxes = {"status": Box(0, height - px(_STATUS), width, px(_STATUS))}
    top, bottom = px(_TOP), boxes["status"].top - px(_TIME)
    left, right = px(_LEFT), width - px(_RIGHT)
    if "level" in wanted:
        boxes["level"] = Box(right - px(_METER + 30), top, px(_METER), bottom - top)
        right = boxes["level"].left - px(_GAP)

    middle = wanted & {"spectrogram", "spectrum"}
    heights = {"waveform": px(_WAVE), "mfcc": px(_MFCC)}
    outer: list[str] = [name for name in ("waveform", "mfcc") if name in wanted]
    if not middle and outer:
        heights = dict.fromkeys(outer, (bottom - top - px(_GAP) * (len(outer) - 1)) // len(outer))
    if "waveform" in wanted:
        boxes["waveform"] = Box(left, top, 0, heights["waveform"])
        top += heights["waveform"] + px(_GAP)
    if "mfcc" in wanted:
        boxes["mfcc"] = Box(left, bottom - heights["mfcc"], 0, heights["mfcc"])
        bottom -= heights["mfcc"] + px(_GAP)
    if hears and "spectrogram" in wanted:
        boxes["heard"] = Box(left, bottom - px(_HEARD), 0, px(_HEARD))
        bottom -= px(_HEARD + 4)
        outer.append("heard")

    if middle:
        height = max(16, bottom - top)
        boxes["colors"] = Box(right - px(_COLORS + _LABELS), top, px(_COLORS), height)
        right = boxes["colors"].left - px(_GAP)
        if "spectrum" in wanted:
            begin = max(left, right - px(_SPECTRUM)) if "spectrogram" in wanted else left
            boxes["spectrum"] = Box(begin, top, right - begin, height)
            right = begin - px(_GAP) if "spectrogram" in wanted else right
        if "spectrogram" in wanted:
            boxes["spectrogram"] = Box(left, top, right - left, height)
    for name in outer:
        boxes[name] = boxes[name]._replace(width=max(16, right - left))
    return boxes
