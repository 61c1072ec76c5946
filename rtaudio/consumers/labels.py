"""What a model heard, as intervals in a file: CSV, or Audacity's labels."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rtaudio.consumers.listener import Intervals, Listener
from rtaudio.consumers.partial import Partial
from rtaudio.consumers.streaming import Growing, named

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rtaudio.analysis.frames import Frames
    from rtaudio.consumers.listener import Interval
    from rtaudio.consumers.model import Model
    from rtaudio.consumers.writers import Rows


def titles(suffix: str) -> str:
    """The first line of a file; Audacity's have none."""
    return "" if suffix == ".txt" else "start,end,label,probability\n"


def lines(intervals: Iterable[Interval], suffix: str) -> str:
    """A line for each: ``start,end,label,probability``, or for .txt Audacity's, by tabs."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    for interval in intervals:
        times = f"{interval.start:.6f}", f"{interval.end:.6f}"
        if suffix == ".txt":
            label = re.sub(r"[\x00-\x1f\x7f]", " ", interval.label)
            text.write("\t".join((*times, label)) + "\n")
        else:
            write((*times, interval.label, f"{interval.probability:.4f}"))
    return text.getvalue()


class LabelWriter:
    """Intervals into a stream of text, or into a file that is whole or not there.

    Takes rows and listens to them by itself, as a `Writer` of features does.
    """

    def __init__(self, out: Path | TextIO, model: Model) -> None:
        """Raises `OSError` where the file can't be written."""
        self._listener, self._intervals = Listener(model), Intervals(model)
        self._partial, self._suffix = None, ".csv"
        if isinstance(out, Path):
            path = Path(os.path.realpath(out))
            if path.exists() and not path.is_file():
                raise OSError(None, "is there and is not a file", str(path))
            self._partial, self._suffix = Partial(path), out.suffix
            self._file: TextIO = self._partial.name.open("w", encoding="utf-8", newline="")
        else:
            self._file = out
        self._titles = titles(self._suffix)

    def take(self, frames: Frames | Rows) -> None:
        """Write the intervals that some rows end."""
        self._write(self._intervals.take(self._listener.take(frames)))  # type: ignore[arg-type]

    def _write(self, intervals: list[Interval]) -> None:
        # Titles come with the first rows: there are none of what can't be read.
        self._file.write(self._titles + lines(intervals, self._suffix))
        self._titles = ""

    def finish(self, about: dict[str, Any]) -> None:  # noqa: ARG002 - intervals are all there is
        """Write what is still open, and give the file its name."""
        last = self._intervals.take(self._listener.end())
        self._write(last + self._intervals.end())
        if self._partial is None:
            self._file.flush()
            return
        self._file.close()
        self._partial.commit()

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `finish`."""
        if self._partial is not None:
            self._file.close()
            self._partial.discard()


class StreamingLabels:
    """Intervals into a file under its own name from the start; each is there when it has ended."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` where the file can't be written."""
        self._suffix = path.suffix
        self._path = Path(os.path.realpath(path))  # a link stays a link
        if self._path.exists() and not self._path.is_file():
            raise OSError(None, "is there and is not a file", str(path))
        with named(self._path):
            self._file = Growing(self._path, titles(path.suffix).encode())

    def take(self, intervals: list[Interval]) -> None:
        """Write some intervals; raises `OSError` where the disk is full."""
        if intervals:
            with named(self._path):
                self._file.append(lines(intervals, self._suffix).encode())

    def discard(self) -> None:
        """Leave nothing behind, of a run that never began."""
        self._path.unlink(missing_ok=True)
