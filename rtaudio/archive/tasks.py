"""What one process does: a recording, or an hour of a long one, becomes parts of the dataset.

The same on this machine and on a cluster, and the same numbers: an hour is read with the overlap
that its frames need, and its rows keep the numbers that they have in the whole.
"""

from __future__ import annotations

import json
import math
import platform
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import rtaudio
from rtaudio.analysis.analyzer import Analyzer
from rtaudio.archive.find import Recording, changed, is_remote, look
from rtaudio.archive.parts import Parts
from rtaudio.archive.plan import DATASET, HOUR_S, DatasetError, Plan
from rtaudio.archive.rows import WHOLE, RowMaker, inside, span_of_hour
from rtaudio.recordings import for_rate
from rtaudio.sources.block import SourceError
from rtaudio.sources.file import FileSource
from rtaudio.sources.remote import RemoteSource

if TYPE_CHECKING:
    from rtaudio.analysis.settings import Settings
    from rtaudio.processes import Progress
    from rtaudio.sources.block import Gap


LEAST_BYTES = 1 << 20  # of what is worth to be cut


@dataclass(frozen=True)
class Task:
    """A recording; ``piece`` 0 is its first hour, or all of it where it can't be cut."""

    recording: Recording
    piece: int = 0
    pieces: int = 1
    """How many there are; piece 0 finds out."""


@dataclass
class Done:
    """What became of a task."""

    pieces: int = 1
    """How many tasks its recording makes."""
    parts: dict[str, int] = field(default_factory=dict)
    """Names of files in the dataset's folder, and their sizes."""
    seconds: float = 0.0
    lost_s: float = 0.0
    sr: int = 0
    """Of the recording, Hz."""
    notes: list[str] = field(default_factory=list)
    failed: str | None = None
    """Why the recording can't be read."""
    fatal: str | None = None
    """Why nothing can be written."""
    rtaudio: str = rtaudio.__version__


def do(plan: Plan, task: Task, progress: Progress = lambda done_s, total_s: None) -> Done:
    """Analyze a recording, or an hour of it, into parts; what can go wrong is in the answer."""
    path = task.recording.path
    try:
        _check(plan)
        return _do(plan, task, progress)
    except DatasetError as error:
        return Done(fatal=str(error))
    except SourceError as error:
        return Done(failed=str(error))
    except OSError as error:
        return Done(failed=f"{path}: {error.strerror or error}")
    except MemoryError:
        return Done(failed=f"{path}: needs more memory than there is")


def _check(plan: Plan) -> None:
    """Raise `DatasetError` where the dataset is not to be seen, or is another one by now."""
    try:
        made = json.loads((plan.folder / DATASET).read_bytes())
    except (OSError, ValueError):
        raise DatasetError(
            f"{plan.folder}: can't be seen from {platform.node()}: put the dataset where all "
            "workers and this machine find it under one name"
        ) from None
    if made.get("token", "") != plan.token:
        raise DatasetError(f"{plan.folder}: is made anew by another run")


def _do(plan: Plan, task: Task, progress: Progress) -> Done:
    path = task.recording.path
    before = look(path).identity
    pieces = task.pieces if task.piece else _pieces(plan, task.recording)
    with _opened(path) as source:
        settings, span = for_rate(plan.settings, source), WHOLE
        if pieces > 1:
            last = task.piece == pieces - 1
            span = span_of_hour(settings, plan.model, task.piece, last)
            source.cut(min(span.start_sample, source.samples or 0), span.stop_sample)
        maker = RowMaker(plan, settings, span, source.sr)
        with Parts(plan, path, source) as parts:
            done = _analyze(source, _analyzer(settings, source.sr), maker, parts, progress)
            after = look(path).identity
            if changed(before, after) or changed(task.recording.identity, after):
                raise SourceError(f"{path}: changed while it was read: run again once it is whole")
            _check(plan)
            done.pieces, done.parts = pieces, parts.commit()
    return done


def _pieces(plan: Plan, recording: Recording) -> int:
    """Into how many hours a recording is cut; 1: it is too short, or not to be cut."""
    if 0 < recording.size < LEAST_BYTES:
        return 1
    with _opened(recording.path) as source:
        settings = for_rate(plan.settings, source)
        hours = -(-(source.samples or 0) // (HOUR_S * source.sr))
        if hours < 2 or plan.bin_s == 0 or settings.sr != source.sr or not source.exact_pieces:
            return 1
        source.cut((source.samples or 0) - 1, None)
        try:  # whether there are as many samples as the header promises
            last = max((block.first_sample + len(block) for block in source), default=0)
            return hours if last == source.samples else 1
        except SourceError:
            return 1


def _opened(path: str) -> FileSource:
    return RemoteSource(path) if is_remote(path) else FileSource(path)


def _analyze(
    source: FileSource, analyzer: Analyzer, maker: RowMaker, parts: Parts, progress: Progress
) -> Done:
    """Every row into ``parts``; what became of the recording up to where it was read."""
    gaps: deque[Gap] = deque()
    position = lost = frames = 0  # lost: inside the span
    sr, span = source.sr, maker.span
    for block in source:
        position = block.first_sample + len(block)
        lost += sum(inside(gap, span.begin_s * sr, span.end_s * sr) for gap in block.gaps)
        gaps += block.gaps
        for some in analyzer.feed(block.samples, lost=block.lost):
            frames += len(some)
            parts.take_all(maker.take(some, gaps))
        whole_s = min(source.duration_s or math.inf, span.end_s) - span.begin_s
        done_s = max(0.0, position / sr - span.begin_s)
        progress(done_s, whole_s if whole_s < math.inf else None)
    for some in analyzer.flush():
        frames += len(some)
        parts.take_all(maker.take(some, gaps))
    parts.take_all(maker.end(gaps, position))
    if not position:
        raise SourceError(f"{source.name}: holds no samples: record or copy it again")
    if not frames and span is WHOLE and position > lost:
        raise SourceError(
            f"{source.name}: its {position} samples are shorter than one frame "
            f"(n_fft={analyzer.settings.n_fft}): choose a smaller n_fft, or leave out --no-center"
        )
    notes = list(source.notes)
    if analyzer.invalid:
        notes.append(
            f"{source.name}: {analyzer.invalid} samples were NaN, Inf or beyond 1e12, taken as 0"
        )
    seconds = min(position / sr, span.end_s) - span.begin_s
    return Done(seconds=seconds, lost_s=lost / sr, sr=sr, notes=notes)


_kept = threading.local()


def _analyzer(settings: Settings, source_sr: int) -> Analyzer:
    """An analyzer of this thread's, made anew where the last one was of other settings."""
    key = settings, source_sr
    if getattr(_kept, "key", None) != key:
        _kept.analyzer, _kept.key = Analyzer(settings, source_sr, release_gil=True), key
    analyzer: Analyzer = _kept.analyzer
    analyzer.reset()
    return analyzer
