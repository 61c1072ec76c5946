"""How the picture looks: what the keys change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

AXES = ("log", "linear", "mel")
COLORMAPS = ("magma", "viridis", "inferno", "cividis", "grey")
PANELS = ("spectrogram", "spectrum", "waveform", "mfcc", "level")
AVERAGING_S = (0.0, 0.125, 1.0)
LOWEST_HZ = 20.0  # of the logarithmic axis
LOWEST_DB, HIGHEST_DB, LEAST_DB = -300, 100, 10  # of the range, the last its least extent

T = TypeVar("T")


@dataclass(slots=True)
class Look:
    """How the picture looks. Lengths of time in s, frequencies in Hz, levels in dBFS."""

    span_s: float = 10.0
    axis: str = "log"
    low_hz: float | None = None
    high_hz: float | None = None
    """Both None: all frequencies."""
    floor_db: float = -100.0
    ceiling_db: float = 0.0
    colormap: str = "magma"
    panels: tuple[str, ...] = PANELS
    averaging_s: float = 0.0
    """Time constant of the spectrum's average; 0 is none."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for what can't be drawn."""
        for name, known in (("axis", AXES), ("colormap", COLORMAPS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(known)}")
        if not 0.1 <= self.span_s <= 600:
            raise ValueError(f"span_s={self.span_s:g} is not in 0.1 … 600 (s)")
        if not LOWEST_DB <= self.floor_db <= self.ceiling_db - LEAST_DB <= HIGHEST_DB - LEAST_DB:
            raise ValueError(
                f"{self.floor_db:g} … {self.ceiling_db:g} dBFS is not a range of {LEAST_DB} dB at "
                f"least, within {LOWEST_DB} … {HIGHEST_DB}"
            )
        low, high = self.low_hz, self.high_hz
        if (low is None) != (high is None) or (low is not None and not 0 <= low < (high or 0)):
            raise ValueError(
                f"low_hz={low}, high_hz={high}: two frequencies (Hz), or None and None"
            )
        if not self.panels or not set(self.panels) <= set(PANELS):
            raise ValueError(f"panels={self.panels!r}: one or more of {', '.join(PANELS)}")
        if not 0 <= self.averaging_s <= 60:
            raise ValueError(f"averaging_s={self.averaging_s:g} is not in 0 … 60 (s)")

    def move_range(self, by_db: float) -> None:
        """Move floor and ceiling."""
        if self.floor_db + by_db >= LOWEST_DB and self.ceiling_db + by_db <= HIGHEST_DB:
            self.floor_db += by_db
            self.ceiling_db += by_db

    def widen_range(self, by_db: float) -> None:
        """Lower the floor, or raise it where ``by_db`` is negative."""
        self.floor_db = min(max(self.floor_db - by_db, LOWEST_DB), self.ceiling_db - LEAST_DB)

    def toggle(self, panel: str) -> None:
        """Show or hide a panel; one stays."""
        wanted = tuple(p for p in PANELS if (p in self.panels) != (p == panel))
        self.panels = wanted or self.panels

    def next_axis(self) -> None:
        """Turn to the next frequency axis, all of it."""
        self.axis = _after(AXES, self.axis)
        self.low_hz = self.high_hz = None

    def next_colormap(self) -> None:
        """Turn to the next colormap."""
        self.colormap = _after(COLORMAPS, self.colormap)

    def next_averaging(self) -> None:
        """Turn to the next averaging."""
        self.averaging_s = _after(AVERAGING_S, self.averaging_s)


def _after(values: tuple[T, ...], value: T) -> T:
    return values[(values.index(value) + 1) % len(values)] if value in values else values[0]
