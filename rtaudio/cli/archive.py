"""`rtaudio archive`: thousands of recordings into one Parquet dataset."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtaudio.cli import DONE, UNREADABLE, drop_stdout
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.options import (
    InputError,
    UsageError,
    add_model,
    add_settings,
    load_model,
    need,
    new_parser,
    parse_words,
    settings_of,
)
from rtaudio.words import Words, clock

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from rtaudio.archive.find import Found
    from rtaudio.archive.plan import Plan
    from rtaudio.archive.run import Engine, Run
    from rtaudio.archive.tasks import Done, Task

MOST_ERRORS = 20  # that are said; the report has all
STATUS_S = 60.0  # where there is no terminal to draw a bar on


def main(argv: Sequence[str]) -> int:
    """Thousands of recordings."""
    parser = new_parser(
        "archive", "Features of thousands of recordings, as one table: a Parquet dataset."
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="a folder, glob, URL, recording, or a file that lists recordings (-: stdin)",
    )
    add("-o", "--out", metavar="DATASET", help="its folder; the same command goes on there")
    add("--features", metavar="LIST", help="of mfcc,rms,peak,mel_db,db,power (mfcc,rms,peak)")
    add(
        "--per",
        choices=("frame", "second", "minute", "file"),
        default="second",
        help="what a row is of: mean, std, percentiles (second)",
    )
    add("-j", "--jobs", type=int, metavar="N", help="processes here (default: one a core)")
    add("--cluster", metavar="ADDRESS", help="a running Dask scheduler: tcp://HOST:8786")
    add("--force", action="store_true", help="begin anew: forget what the dataset holds")
    add("--json", action="store_true", help="one object a line on stdout, as it goes on")
    add_model(parser)
    add_settings(parser)
    args, more = parse_words(parser, argv)
    args.inputs += more
    _check(args, parser)
    load_model(args)
    return _archive(args, _plan(args), Words(args.quiet))


def _check(args: argparse.Namespace, parser: Any) -> None:
    if not args.inputs or not all(args.inputs):
        parser.error("the following arguments are required: INPUT")
    if not args.out:
        raise UsageError("name the dataset's folder: --out DATASET")
    if "://" in args.out:
        raise UsageError(f"--out {args.out}: a dataset is a folder: mount the storage, or copy it")
    try:
        args.out.encode()
    except UnicodeEncodeError:
        raise UsageError("--out: the dataset's name is no UTF-8: choose another") from None
    if args.top_db is not None:
        raise UsageError("--top-db needs a whole recording at once: rtaudio analyze --top-db")
    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs} is not 1 or more")
    if args.jobs is not None and args.cluster is not None:
        raise UsageError("--jobs is of this machine, --cluster of others: choose one")
    if args.json and sys.stdout is None:
        raise UsageError("standard output is closed: leave out --json")
    need("pyarrow", "a dataset", "parquet")
    if args.cluster is not None:
        need("distributed", "--cluster", "cluster")
    if "-" in args.inputs:
        from rtaudio.sources.file import check_stdin

        check_stdin()


def _plan(args: argparse.Namespace) -> Plan:
    from rtaudio.analysis.frames import check_features
    from rtaudio.archive.plan import Plan

    names = "mfcc,rms,peak" if args.features is None else args.features
    try:
        features = check_features([name.strip() for name in names.split(",") if name.strip()])
    except ValueError as error:
        raise UsageError(str(error)) from None
    if "captured" in features:
        raise UsageError("captured is the clock of a live run: a recording has none")
    folder = Path(os.path.abspath(args.out))  # noqa: PTH100 - workers are somewhere else
    return Plan(folder, settings_of(args), features, args.per, args.model)


def _archive(args: argparse.Namespace, plan: Plan, words: Words) -> int:
    from rtaudio.archive.cluster import ClusterError
    from rtaudio.archive.dataset import Dataset
    from rtaudio.archive.find import find
    from rtaudio.archive.plan import DatasetError
    from rtaudio.archive.run import Run
    from rtaudio.sources.block import SourceError

    try:
        found = find(args.inputs)
        with contextlib.closing(Dataset(plan, args.force)) as dataset:
            for note in [*dataset.notes, *_notes(found)]:
                words.say(note)
            run = Run(dataset, found)
            teller = _Teller(run, words, args.json)
            for path, reason in found.failed.items():
                teller.tell_failed(path, reason)
            try:
                engine = _engine(args, dataset.plan, found, run, words)
                with teller, contextlib.closing(run.share(engine)) as doing:
                    for ended in doing:
                        teller.tell(ended)
            finally:
                failed = dataset.report(found)
                if dataset.entries or found.failed:
                    teller.end(args.out, failed)
    except (SourceError, DatasetError, ClusterError) as error:
        raise InputError(str(error)) from None
    return UNREADABLE if failed else DONE


def _notes(found: Found) -> Iterator[str]:
    if found.twice:
        yield f"{found.twice} of the names came more than once, and are taken once"
    if found.others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.others.most_common(5))
        yield f"left aside, by their names no recordings: {kinds}"


def _engine(args: argparse.Namespace, plan: Plan, found: Found, run: Run, words: Words) -> Engine:
    from rtaudio.archive.run import in_this_process
    from rtaudio.archive.tasks import do
    from rtaudio.processes import in_processes

    if args.cluster is not None:
        from rtaudio.archive.cluster import on_cluster

        return on_cluster(plan, args.cluster, words.say)
    if run.todo:
        load_kernels(words)
    jobs = args.jobs or _cores()
    in_memory = any(path.startswith("memory:") for path in found.recordings)
    if jobs == 1 or in_memory:  # of this process alone
        return in_this_process(plan, run.report)
    return lambda todo: in_processes(todo, partial(do, plan), jobs, run.report)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Teller:
    """Says how a run goes on: a bar on a terminal, a line a minute elsewhere, JSON on stdout."""

    def __init__(self, run: Run, words: Words, as_json: bool) -> None:
        self._run, self._words, self._json = run, words, as_json
        run.watch = self._tick
        self._shown = self._said = time.monotonic()
        self._errors = 0
        self._bar = words.bar()

    def __enter__(self) -> None:
        """Draw a bar, where there is a terminal."""
        self._update = self._bar.__enter__()

    def __exit__(self, *error: Any) -> None:
        """Take it away."""
        self._bar.__exit__(*error)

    def tell(self, ended: tuple[Task, Done] | None) -> None:
        """Say what became of a task, or with None how far it is."""
        if ended is not None:
            self._tell_ended(*ended)
        self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._shown >= 0.1:
            self._shown = now
            self._update(self._run.part, self._status())
        if now - self._said >= (1.0 if self._json else STATUS_S):
            self._said = now
            if self._json:
                self._put("progress", left_s=self._run.left_s, **self._books())
            elif not self._words.on_terminal:
                self._words.say(self._status())

    def _tell_ended(self, task: Task, done: Done) -> None:
        if done.failed is not None:
            self.tell_failed(task.recording.path, done.failed)
            return
        for note in done.notes:
            self._error(note)
        piece = {"piece": task.piece + 1, "pieces": done.pieces, "notes": done.notes}
        spans = {"duration_s": done.seconds, "lost_s": done.lost_s}
        self._put("done", path=shown(task.recording.path), **piece, **spans)

    def tell_failed(self, path: str, reason: str) -> None:
        """Say why a recording can't be read."""
        self._error(reason)
        self._put("failed", path=shown(path), reason=shown(reason))

    def _error(self, line: str) -> None:
        self._errors += 1
        if self._errors <= MOST_ERRORS:
            self._words.error(line)
        elif self._errors == MOST_ERRORS + 1:
            self._words.error("and more; all will stand in the dataset's report")

    def _status(self) -> str:
        run = self._run
        left = "" if run.left_s is None else f", {clock(run.left_s)} left"
        failed = f", {len(run.failed)} failed" if run.failed else ""
        at = f"{run.done + run.done_before} of {run.recordings} recordings{failed}"
        return f"{at}, {_hours(run.seconds_now)} at {run.speed:.0f} × real time{left}"

    def _books(self) -> dict[str, Any]:
        run = self._run
        return {
            "recordings": run.recordings,
            "done": run.done,
            "done_before": run.done_before,
            "failed": len(run.failed),
            "hours": run.seconds_now / 3600,
            "lost_s": run.lost_s,
            "took_s": run.took_s,
            "x_real_time": run.speed,
        }

    def end(self, out: str, failed: int) -> None:
        """Say what was done, also where it was stopped."""
        from rtaudio.archive.dataset import REPORT

        run, report = self._run, Path(out) / REPORT
        former = run.done_before
        before = f"; {former} {'was' if former == 1 else 'were'} done before" if former else ""
        took = f" in {run.took_s:.1f} s ({run.speed:.0f} × real time)" if run.done else ""
        self._words.say(f"{out}: {_many(run.done)}, {_hours(run.seconds)}{took}{before}")
        if run.others:
            self._words.say(
                f"{_many(run.others)} of former runs {_are(run.others)} not among these; what the "
                "dataset has of them stays"
            )
        if len(run.rates) > 1 and not run.one_rate:
            rates = ", ".join(map(str, sorted(run.rates)))
            self._words.say(
                f"recordings of {rates} Hz are analyzed each at its own rate: MFCCs and bands of "
                "different rates can't be compared: --sr HZ makes them alike"
            )
        if run.lost_s:
            self._words.say(f"{run.lost_s:.3f} s of them are gaps: lost_s and lost tell where")
        if failed:
            self._words.error(f"{_many(failed)} can't be read: {report} says why")
        if run.left:
            self._words.say(f"{_many(run.left)} {_are(run.left)} left: the same command goes on")
        self._put("end", report=str(report), **{**self._books(), "failed": failed})

    def _put(self, event: str, **values: Any) -> None:
        if not self._json:
            return
        try:
            sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has seen enough; the dataset is not done with that
            self._json = False
            drop_stdout()


def shown(path: str) -> str:
    """As in the dataset."""
    from rtaudio.archive import parts

    return parts.shown(path)


def _many(count: int) -> str:
    return f"{count} recording{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.1f} s"
