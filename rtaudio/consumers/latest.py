"""The newest row, for a window or whoever else polls."""

from __future__ import annotations

from dataclasses import fields

from rtaudio.analysis.frames import Frames

_ARRAYS = [field.name for field in fields(Frames)][1:]


class Latest:
    """The newest row, for readers that never wait and a writer that never waits for them."""

    def __init__(self) -> None:
        self._slots: list[Frames] = []
        self._published = 0

    def put(self, frames: Frames) -> None:
        """Take the last of ``frames``. Allocates arrays the first time alone."""
        if not self._slots:
            self._slots = [frames.newest() for _ in range(3)]
        number = self._published + 1
        slot = self._slots[number % 3]
        for name in _ARRAYS:
            getattr(slot, name)[:] = getattr(frames, name)[-1:]
        slot.first = frames.first + len(frames) - 1
        self._published = number

    def get(self) -> Frames | None:
        """A copy; None before the first row."""
        while number := self._published:
            row = self._slots[number % 3].copy()
            if self._published < number + 2:  # else the writer may have come round meanwhile
                return row
        return None
