"""What is said to the user, on stderr: data alone goes to stdout."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rtaudio.batch import Outcome
    from rtaudio.recordings import Summary


def losses(lost: str, refuted_s: float, unplaced_s: float) -> str:
    """Losses in a few words: ``lost`` says how much lies on the axis, and is empty if nothing."""
    parts = [lost] if lost else []
    if refuted_s:
        parts.append(f"{refuted_s:.2f} s of it refuted")
    if unplaced_s:
        more = "" if lost else "lost "
        parts.append(f"{more}{unplaced_s:.2f} s at an unknown place")
    return ", ".join(parts) or "nothing lost"


class Words:
    """Says things, or with ``quiet`` errors alone; draws progress bars on a terminal."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() and not quiet
        self._shown = False  # a line that is overwritten by the next
        self._lock = threading.Lock()  # several threads have something to say

    @property
    def on_terminal(self) -> bool:
        """Whether what is shown can be overwritten."""
        return self._terminal

    def say(self, text: str) -> None:
        """Say what went well, unless quiet."""
        if not self._quiet:
            self._put(f"{one_line(text)}\n", shown=False)

    def error(self, text: str) -> None:
        """Say what went wrong, in one line."""
        self._put(f"rtaudio: {one_line(text)}\n", shown=False)

    def show(self, line: Callable[[int], str]) -> None:
        """Show one line, made for the terminal's width, over the last one; on a terminal alone."""
        if self._terminal:
            width = _columns() - 1
            self._put(_fitted(line(width), width), shown=True)

    def clear(self) -> None:
        """Take the shown line away."""
        self._put("", shown=False)

    def _put(self, text: str, shown: bool) -> None:
        with self._lock:
            if self._shown or shown:
                text = f"\r{text}\x1b[K" if shown else f"\r\x1b[K{text}"
            self._shown = shown
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except OSError:  # the terminal is gone: a run goes on without
                sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
                self._terminal = False

    def notes(self, file: str, summary: Summary) -> None:
        """Tell what is wrong with a recording that could be analyzed all the same."""
        for note in summary.notes:
            self.error(note)
        if summary.invalid:
            self.error(
                f"{file}: {summary.invalid} samples were NaN, Inf or beyond 1e12, taken as 0"
            )

    def tell(self, outcome: Outcome) -> bool:
        """Say what became of a job; returns whether it was done."""
        file, summary = outcome.job.file, outcome.summary
        if summary is None:
            self.error(outcome.error or "")
            return False
        self.notes(file, summary)
        outs = outcome.job.outs
        if Path("-") not in outs:
            speed = summary.duration_s / max(outcome.took_s, 1e-9)
            self.say(
                f"{file}: {summary.duration_s:.3f} s, {summary.frames} frames → "
                f"{' and '.join(map(str, outs))} ({outcome.took_s:.2f} s, {speed:.0f} × real time)"
            )
        return True

    @contextlib.contextmanager
    def progress(
        self, files: Sequence[str], visible: bool = True
    ) -> Iterator[Callable[[int, float, float | None], None]]:
        """A bar for each recording, on a terminal alone."""
        if not (self._terminal and visible):
            yield lambda number, done_s, total_s: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            tasks: dict[int, Any] = {}

            def report(number: int, done_s: float, total_s: float | None) -> None:
                if number not in tasks and done_s > 0:
                    name = Path(files[number]).name
                    tasks[number] = bars.add_task(name, total=total_s, done="")
                if number in tasks:
                    bars.update(tasks[number], completed=done_s, total=total_s, done=clock(done_s))
                    if total_s and done_s >= total_s:
                        bars.update(tasks[number], visible=False)

            yield report

    @contextlib.contextmanager
    def steps(self) -> Iterator[Callable[[str, int, int, str], None]]:
        """One bar for work in steps, on a terminal alone: what, how many, of how many, words."""
        if not self._terminal:
            yield lambda what, done, total, words: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed} of {task.total}{task.fields[words]}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("", words="")

            def step(what: str, done: int, total: int, words: str) -> None:
                bars.update(task, description=what, completed=done, total=total, words=words)

            yield step

    @contextlib.contextmanager
    def bar(self) -> Iterator[Callable[[float, str], None]]:
        """One bar, on a terminal alone: the part that is done, 0 … 1, and words."""
        if not self._terminal:
            yield lambda part, words: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        words = Column(ratio=4, no_wrap=True, overflow="ellipsis")
        columns = (
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.description}", markup=False, table_column=words),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as bars:
            task = bars.add_task("", total=1.0)
            yield lambda part, words: bars.update(task, completed=part, description=words)


def _columns() -> int:
    """How wide the terminal is that words go to."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def one_line(text: str) -> str:
    """Without what moves the cursor: the name of a file or a device may hold anything."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "?", text)


def shortened(text: str, most: int) -> str:
    """At most so many letters, the last … where some are left out."""
    text = one_line(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _fitted(text: str, width: int) -> str:
    """As much of ``text`` as fits into one line."""
    from rich.cells import cell_len, set_cell_size

    text = one_line(text)
    return text if cell_len(text) <= width else set_cell_size(text, width)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 0:01:23."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
