"""Real-time streaming audio analysis: exact STFT, dB and MFCC rows, hop by hop.

`analyze` takes a whole recording, `Analyzer` any number of samples at a time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rtaudio.analysis.analyzer import Analyzer as Analyzer
    from rtaudio.analysis.frames import Features as Features
    from rtaudio.analysis.frames import Frames as Frames
    from rtaudio.analysis.settings import Settings as Settings
    from rtaudio.pipeline import analyze as analyze
    from rtaudio.sources.array import ArraySource as ArraySource
    from rtaudio.sources.block import Block as Block
    from rtaudio.sources.block import SourceError as SourceError
    from rtaudio.sources.file import FileSource as FileSource
    from rtaudio.sources.signal import SignalSource as SignalSource

_HOMES = {
    "Analyzer": "rtaudio.analysis.analyzer",
    "Features": "rtaudio.analysis.frames",
    "Frames": "rtaudio.analysis.frames",
    "Settings": "rtaudio.analysis.settings",
    "analyze": "rtaudio.pipeline",
    "ArraySource": "rtaudio.sources.array",
    "Block": "rtaudio.sources.block",
    "SourceError": "rtaudio.sources.block",
    "FileSource": "rtaudio.sources.file",
    "SignalSource": "rtaudio.sources.signal",
}
__all__ = [
    "Analyzer",
    "ArraySource",
    "Block",
    "Features",
    "FileSource",
    "Frames",
    "Settings",
    "SignalSource",
    "SourceError",
    "__version__",
    "analyze",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that `import rtaudio` takes no time."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rtaudio' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, also those not yet imported."""
    return __all__
