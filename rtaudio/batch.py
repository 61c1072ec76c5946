"""Recordings into files of features: one after the other, or several at once."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from rtaudio.consumers.writers import CsvWriter, Writer, open_writer
from rtaudio.processes import Killed, in_processes
from rtaudio.recordings import Summary, analyze_recording
from rtaudio.sources import open_source
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rtaudio.analysis.frames import Frames
    from rtaudio.analysis.settings import Settings
    from rtaudio.consumers.model import Model
    from rtaudio.processes import Progress


STDOUT = Path("-")


@dataclass(frozen=True)
class Job:
    """One recording and where what is found in it goes; ``STDOUT`` is standard output, as CSV."""

    file: str
    out: Path | None
    """For its features; None: they are not asked for."""
    settings: Settings
    features: tuple[str, ...]
    top_db: float | None = None
    raw: str | None = None
    model: Model | None = None
    labels: Path | None = None
    """For what the model hears."""

    @property
    def outs(self) -> list[Path]:
        """Where something is written."""
        return [out for out in (self.out, self.labels) if out is not None]


class Outcome(NamedTuple):
    """What became of a job: a summary, or an error in one line."""

    job: Job
    summary: Summary | None
    error: str | None
    took_s: float


def do(job: Job, stdout: TextIO, progress: Progress) -> Outcome:
    """Analyze one recording into its output; what a user can cause is in the outcome.

    A broken pipe on standard output is raised, since nobody is left to write for.
    """
    begun = time.perf_counter()
    summary = error = None
    try:
        summary = _do(job, stdout, progress)
    except SourceError as failure:
        error = str(failure)
    except BrokenPipeError:
        raise
    except OSError as failure:
        reason = failure.strerror or str(failure)
        where = "standard output" if failure.filename == str(STDOUT) else failure.filename
        option = "--labels" if failure.filename == str(job.labels) else "--out"
        error = f"{where}: {reason}: choose another place with {option}"
    return Outcome(job, summary, error, time.perf_counter() - begun)


def _do(job: Job, stdout: TextIO, progress: Progress) -> Summary:
    with contextlib.ExitStack() as undo:
        writers = []
        for out in job.outs:
            with _named(out):
                writers.append((out, _open(job, out, stdout)))
            undo.callback(writers[-1][1].discard)  # nothing, once it is finished

        def take(frames: Frames) -> None:
            for out, writer in writers:
                with _named(out):
                    writer.take(frames)

        summary = analyze_recording(
            lambda: open_source(job.file, raw=job.raw),
            job.settings,
            take,
            top_db=job.top_db,
            progress=progress,
        )
        for out, writer in writers:
            with _named(out):
                writer.finish({"source": job.file, **summary.about()})
    return summary


def _open(job: Job, out: Path, stdout: TextIO) -> Writer:
    """The writer of what goes to ``out``."""
    if out == job.labels:
        from rtaudio.consumers.labels import LabelWriter

        assert job.model is not None
        return LabelWriter(stdout if out == STDOUT else out, job.model)
    if out == STDOUT:
        return CsvWriter(stdout, job.features, job.settings)
    return open_writer(out, job.features, job.settings)


@contextlib.contextmanager
def _named(out: Path) -> Iterator[None]:
    """Give an `OSError` the name that the user gave the output."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(out)) from None


def do_all(
    jobs: Sequence[Job], processes: int, report: Callable[[int, float, float | None], None]
) -> Iterator[Outcome]:
    """Do all of ``jobs`` in ``processes`` processes; yield the outcomes as they come.

    ``report`` is called about ten times a second with a job's number, the seconds done and the
    seconds there are (None: not known). However it ends, the workers leave nothing half-written,
    but for one that is killed.
    """
    todo = deque(enumerate(jobs))
    for done in in_processes(
        todo, _work, min(processes, len(jobs)), lambda task, *seconds: report(task[0], *seconds)
    ):
        if done is None:
            continue
        (_, job), outcome = done
        if isinstance(outcome, Killed):
            reason = f"its process was killed, {outcome}: use --jobs 1, or leave it out"
            outcome = Outcome(job, None, f"{job.file}: {reason}", 0)
        yield outcome


def _work(task: tuple[int, Job], progress: Progress) -> Outcome:
    return do(task[1], sys.stdout, progress)
