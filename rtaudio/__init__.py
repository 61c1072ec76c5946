"""Real-time streaming audio analysis: exact STFT, dB and MFCC rows, hop by hop.

`analyze` takes a whole recording, `Analyzer` any number of samples at a time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.6.0"

if TYPE_CHECKING:
    from rtaudio.analysis.analyzer import Analyzer as Analyzer
    from rtaudio.analysis.frames import Features as Features
    from rtaudio.analysis.frames import Frames as Frames
    from rtaudio.analysis.settings import Settings as Settings
    from rtaudio.archive.dataset import open_dataset as open_dataset
    from rtaudio.books import LiveStats as LiveStats
    from rtaudio.capture.devices import Device as Device
    from rtaudio.consumers.delays import Delay as Delay
    from rtaudio.consumers.listener import Answer as Answer
    from rtaudio.consumers.listener import Interval as Interval
    from rtaudio.consumers.model import Model as Model
    from rtaudio.consumers.model import ModelError as ModelError
    from rtaudio.consumers.model import load_model as load_model
    from rtaudio.pipeline import Live as Live
    from rtaudio.pipeline import live as live
    from rtaudio.recordings import analyze as analyze
    from rtaudio.recordings import hear as hear
    from rtaudio.screen import show as show
    from rtaudio.sources.array import ArraySource as ArraySource
    from rtaudio.sources.block import Block as Block
    from rtaudio.sources.block import Gap as Gap
    from rtaudio.sources.block import SourceError as SourceError
    from rtaudio.sources.file import FileSource as FileSource
    from rtaudio.sources.microphone import Microphone as Microphone
    from rtaudio.sources.microphone import MicrophoneStats as MicrophoneStats
    from rtaudio.sources.microphone import devices as devices
    from rtaudio.sources.signal import SignalSource as SignalSource
    from rtaudio.view.canvas import ViewError as ViewError
    from rtaudio.view.look import Look as Look

_HOMES = {
    "Analyzer": "rtaudio.analysis.analyzer",
    "Features": "rtaudio.analysis.frames",
    "Frames": "rtaudio.analysis.frames",
    "Settings": "rtaudio.analysis.settings",
    "Answer": "rtaudio.consumers.listener",
    "Interval": "rtaudio.consumers.listener",
    "Model": "rtaudio.consumers.model",
    "ModelError": "rtaudio.consumers.model",
    "open_dataset": "rtaudio.archive.dataset",
    "load_model": "rtaudio.consumers.model",
    "hear": "rtaudio.recordings",
    "analyze": "rtaudio.recordings",
    "ArraySource": "rtaudio.sources.array",
    "Block": "rtaudio.sources.block",
    "SourceError": "rtaudio.sources.block",
    "FileSource": "rtaudio.sources.file",
    "SignalSource": "rtaudio.sources.signal",
    "Delay": "rtaudio.consumers.delays",
    "Device": "rtaudio.capture.devices",
    "Gap": "rtaudio.sources.block",
    "Live": "rtaudio.pipeline",
    "LiveStats": "rtaudio.books",
    "Microphone": "rtaudio.sources.microphone",
    "MicrophoneStats": "rtaudio.sources.microphone",
    "devices": "rtaudio.sources.microphone",
    "live": "rtaudio.pipeline",
    "Look": "rtaudio.view.look",
    "ViewError": "rtaudio.view.canvas",
    "show": "rtaudio.screen",
}
__all__ = [
    "Analyzer",
    "Answer",
    "ArraySource",
    "Block",
    "Delay",
    "Device",
    "Features",
    "FileSource",
    "Frames",
    "Gap",
    "Interval",
    "Live",
    "LiveStats",
    "Look",
    "Microphone",
    "MicrophoneStats",
    "Model",
    "ModelError",
    "Settings",
    "SignalSource",
    "SourceError",
    "ViewError",
    "__version__",
    "analyze",
    "devices",
    "hear",
    "live",
    "load_model",
    "open_dataset",
    "show",
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
