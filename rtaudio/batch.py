"""Recordings into files of features: one after the other, or several at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from rtaudio.analysis.analyzer import load_kernels
from rtaudio.consumers.writers import CsvWriter, Writer, open_writer
from rtaudio.recordings import Summary, analyze_recording
from rtaudio.sources import open_source
from rtaudio.sources.block import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.sharedctypes import SynchronizedArray

    from rtaudio.analysis.frames import Frames
    from rtaudio.analysis.settings import Settings
    from rtaudio.consumers.model import Model

    Progress = Callable[[float, float | None], None]


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
    spawn = multiprocessing.get_context("spawn")
    shared: Any = spawn.Array("d", 2 * len(jobs), lock=False)
    pool = ProcessPoolExecutor(
        min(processes, len(jobs)), spawn, initializer=_begin_worker, initargs=(shared,)
    )
    others = set(multiprocessing.active_children())
    try:
        pending = {pool.submit(_work, number, job): job for number, job in enumerate(jobs)}
        while pending:
            done, _ = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            for number in range(len(jobs)):
                report(number, shared[2 * number], shared[2 * number + 1] or None)
            for future in done:
                job = pending.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield Outcome(job, None, f"{job.file}: a process was killed: use --jobs 1", 0)
    finally:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


# --- in a worker ------------------------------------------------------------------------------


class _Stopped(BaseException):
    """The parent ended the run."""


_shared: SynchronizedArray[float]
_busy = _stopped = False
_idle = threading.Event()


def _begin_worker(shared: SynchronizedArray[float]) -> None:
    global _shared  # noqa: PLW0603 - the one way to hand something to a pool's worker
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    load_kernels(release_gil=True)  # not in a job: what `_stop` raises is lost where LLVM calls


def _end_with_parent() -> None:
    """End when the parent is gone without a word, as after SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)  # what is half-written goes
    _idle.wait(5)
    os._exit(1)


def _stop(signum: int, frame: object) -> None:  # noqa: ARG001
    global _stopped  # noqa: PLW0603
    _stopped = True
    if _busy:
        raise _Stopped


def _work(number: int, job: Job) -> Outcome:
    global _busy  # noqa: PLW0603

    def progress(done_s: float, total_s: float | None) -> None:
        _shared[2 * number], _shared[2 * number + 1] = done_s, total_s or 0

    try:
        _idle.clear()
        _busy = not _stopped
        if _busy:
            return do(job, sys.stdout, progress)
    except _Stopped:
        pass
    finally:
        _busy = False
        _idle.set()
    return Outcome(job, None, f"{job.file}: stopped", 0)
