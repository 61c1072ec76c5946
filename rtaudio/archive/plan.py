"""What is found in every recording of an archive."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rtaudio.archive.bins import STATISTICS
from rtaudio.consumers.writers import columns

if TYPE_CHECKING:
    from pathlib import Path

    from rtaudio.analysis.settings import Settings
    from rtaudio.consumers.model import Model

DATASET = "_dataset.json"
HOUR_S = 3600  # of a part
#: What a row is of → how many s it covers; 0: a whole recording; None: one frame.
PER = {"frame": None, "second": 1, "minute": 60, "file": 0}


class DatasetError(Exception):
    """A dataset can't be written or used: one line that says what to do."""


@dataclass(frozen=True)
class Plan:
    """What is found in every recording, and the folder that it goes to."""

    folder: Path
    settings: Settings
    features: tuple[str, ...]
    per: str = "second"
    model: Model | None = None
    token: str = ""
    """Of the dataset, another one where it is made anew: tasks of before end without a part."""

    @property
    def bin_s(self) -> int | None:
        """How many s a row covers; 0: a whole recording; None: one frame."""
        return PER[self.per]

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model can say."""
        return () if self.model is None else self.model.front_end.labels

    def titles(self) -> list[str]:
        """The columns of numbers: a feature each, or the statistics of each."""
        wide = columns(self.features, self.settings)
        names = [title for name in self.features for title in wide[name]]
        if self.bin_s is None:
            return names
        return [f"{name}_{statistic}" for name in names for statistic in STATISTICS]

    def about(self) -> dict[str, Any]:
        """What makes one dataset differ from another."""
        about: dict[str, Any] = {"per": self.per, "features": list(self.features)}
        about["settings"] = asdict(self.settings)
        if self.model is not None:
            about["model"] = hashlib.sha256(self.model.data).hexdigest()
            about["labels"] = list(self.labels)
            for name in ("threshold", "every_ms", "smooth_ms"):
                about[name] = getattr(self.model, name)
        return about
