"""Where samples come from. All sources look the same: a context manager that yields blocks."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING

from rtaudio.capture.devices import MONITOR
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from rtaudio.sources.block import Source


def open_source(
    spec: str | PathLike[str] | Source, *, realtime: bool = False, raw: str | None = None
) -> Source:
    """Open a path, ``-`` (standard input), ``demo:`` or ``demo:KIND``; a source is handed back.

    ``raw`` describes samples without a header on standard input (``f32le:48000:1``).
    Raises `SourceError` where it can't be read and `ValueError` where the words are wrong.
    """
    if not isinstance(spec, (str, PathLike)):
        return spec
    name = fspath(spec)
    if name == "-":
        return _stdin(raw, realtime)
    if raw is not None:
        raise ValueError(f"--raw describes standard input: give - instead of {name}")
    if name.startswith("demo:"):
        from rtaudio.sources.signal import KINDS, LOOP_S, SignalSource

        duration_s = None if realtime else LOOP_S  # a recording has an end
        kind = name.removeprefix("demo:") or "demo"
        if kind not in KINDS:
            raise SourceError(f"{name}: no such signal: demo:, demo:{', demo:'.join(KINDS[1:])}")
        return SignalSource(kind, realtime=realtime, duration_s=duration_s)
    if name.startswith(MONITOR):
        raise SourceError(f"{name} is an input: -d {name}, or rtaudio.Microphone({name!r})")
    from rtaudio.sources.file import FileSource

    return FileSource(name, realtime=realtime)


def _stdin(raw: str | None, realtime: bool) -> Source:
    if raw is None:
        from rtaudio.sources.file import StdinFileSource

        return StdinFileSource(realtime)
    from rtaudio.sources.raw import RawFormat, RawStdinSource

    return RawStdinSource(RawFormat.parse(raw))
