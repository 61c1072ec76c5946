"""What `rtaudio live` writes to standard output: rows or answers, as JSON lines or CSV."""

from __future__ import annotations

import json
import math
import sys
import threading
from typing import TYPE_CHECKING, Any

from rtaudio.cli import drop_stdout
from rtaudio.cli.meter import books

if TYPE_CHECKING:
    import argparse
    from collections import deque
    from collections.abc import Callable

    from rtaudio.analysis.frames import Frames
    from rtaudio.consumers.hearing import Heard
    from rtaudio.pipeline import Live


class Stdout:
    """Rows or answers on standard output, as JSON lines or CSV; ends the run when nobody reads.

    All of it in the consumers' own threads: a reader that stalls holds nobody else up.
    """

    def __init__(
        self, run: Live, args: argparse.Namespace, notes: deque[str], consumers: int
    ) -> None:
        from rtaudio.consumers.labels import titles
        from rtaudio.consumers.writers import CsvWriter

        self._run, self._notes, self._json = run, notes, args.json
        self._lock = threading.Lock()  # rows and answers come from two threads
        self._consumers = consumers
        self._closed = False
        self._titles = titles(".csv") if args.labels == "-" else ""  # still to be written
        self._write = CsvWriter(sys.stdout, args.features, run.settings).take
        if args.json:
            self._names = ("time", "lost", *args.features)
            self._write = self._write_json  # type: ignore[assignment]

    def take(self, frames: Frames) -> None:
        """Write some rows, and flush them: somebody may be waiting for each."""
        self._put(lambda: self._write(frames))

    def hear(self, heard: Heard) -> None:
        """Write what was heard: each answer as JSON, or each interval that has ended."""
        self._put(lambda: self._write_heard(heard))

    def flush(self) -> None:
        """Write what was told meanwhile, where it is JSON."""
        self._put(lambda: None)

    def finish(self) -> None:
        """Write the books, where it is JSON, once all consumers have finished."""
        with self._lock:
            self._consumers -= 1
            last = not self._consumers
        if last:
            self._put(self._write_end)

    def _write_end(self) -> None:
        sys.stdout.write(self._titles)
        self._put_json({"event": "end", **books(self._run)})

    def _put(self, write: Callable[[], None]) -> None:
        with self._lock:
            self._put_now(write)

    def _put_now(self, write: Callable[[], None]) -> None:
        if self._closed:
            return
        try:
            while self._notes:
                self._put_json({"event": "note", "text": self._notes.popleft()})
            write()
            sys.stdout.flush()
        except OSError as error:
            self._closed = True
            drop_stdout()
            if not isinstance(error, BrokenPipeError):
                raise
            self._run.stop()

    def _put_json(self, values: dict[str, Any]) -> None:
        if self._json:
            sys.stdout.write(_json(values) + "\n")

    def _write_heard(self, heard: Heard) -> None:
        for answer in heard.answers if self._json else ():
            self._put_json({"event": "label", **answer._asdict()})
        if not self._json:
            from rtaudio.consumers.labels import lines

            sys.stdout.write(self._titles + lines(heard.ended, ".csv"))
            self._titles = ""

    def _write_json(self, frames: Frames) -> None:
        columns = [getattr(frames, name).tolist() for name in self._names]
        for row in zip(*columns, strict=True):
            self._put_json(dict(zip(self._names, row, strict=True)))


def _json(values: dict[str, Any]) -> str:
    """One line; what is no number (NaN) is null, as JSON has it."""
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    return json.dumps(known)
