"""`rtaudio analyze`: features of recordings."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, UNREADABLE
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.options import (
    UsageError,
    add_model,
    add_settings,
    check_labels,
    keep_recordings,
    load_model,
    need,
    new_parser,
    parse_recordings,
    settings_of,
    stem,
)
from rtaudio.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from rtaudio.analysis.settings import Settings
    from rtaudio.batch import Job, Outcome


def main(argv: Sequence[str]) -> int:
    """Features of recordings."""
    parser = new_parser("analyze", "Features of recordings, as fast as they can be read.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a recording, demo:KIND, or - for stdin"
    )
    add = parser.add_argument
    add("-o", "--out", metavar="OUT", help=".csv, .npz, .parquet, or a folder (default: stdout)")
    add(
        "--as",
        dest="kind",
        choices=("csv", "npz", "parquet", "txt"),
        help="kind of files in a folder; txt: of --labels",
    )
    add("--features", metavar="LIST", help="of mfcc,rms,peak,mel_db,db,power (mfcc,rms,peak)")
    add("--labels", metavar="OUT", help="what --model hears: .csv, .txt (Audacity), or a folder")
    add("-j", "--jobs", type=int, default=1, metavar="N", help="recordings at once (1)")
    add("--raw", metavar="FORMAT", help="raw samples on stdin: f32le:48000:1")
    add_model(parser)
    add_settings(parser)
    args = parse_recordings(parser, argv)
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs} is not 1 or more")
    outs, labels = _places(args)
    load_model(args)
    settings = settings_of(args)
    jobs = _jobs(args, settings, outs, labels)
    words = Words(args.quiet)
    load_kernels(words)
    with _making_folder("--out", args.out, outs), _making_folder("--labels", args.labels, labels):
        if args.jobs > 1 and len(jobs) > 1:
            outcomes = _do_all(jobs, args.jobs, words)
        else:
            outcomes = (_do(job, words) for job in jobs)
        failed = [outcome for outcome in outcomes if not words.tell(outcome)]
    return UNREADABLE if failed else DONE


def _places(args: argparse.Namespace) -> tuple[list[Path | None], list[Path | None]]:
    """Where features and labels of each file go; None: nowhere. Makes nothing yet."""
    from rtaudio.batch import STDOUT

    nowhere: list[Path | None] = [None] * len(args.files)
    txt, labels = args.kind == "txt", nowhere
    if txt and args.labels is None:
        raise UsageError("--as txt is of what a model hears: --labels FOLDER")
    if args.model is not None and args.labels is None and args.out is None:
        args.labels = "-"  # nothing else was asked for
    if args.labels is not None:
        check_labels(args.labels, args.model, folder=True)
        kinds = (".csv", ".txt")
        labels = _outputs(args.files, args.labels, "txt" if txt else None, "--labels", kinds)
    outs = nowhere
    if args.labels is None or args.out is not None or args.features is not None:
        outs = _outputs(args.files, args.out, None if txt else args.kind)
    for place in (*outs, *labels):
        keep_recordings(args.files, place)
    if any(out is not None and out in outs for out in labels):
        where = "standard output" if STDOUT in labels else "one place"
        raise UsageError(f"features and labels would be written to {where}: --out and --labels")
    if args.kind in ("npz", "parquet") and outs == nowhere:
        raise UsageError(f"--as {args.kind} is of features, and none are asked for: --out FOLDER")
    return outs, labels


def _jobs(
    args: argparse.Namespace,
    settings: Settings,
    outs: list[Path | None],
    labels: list[Path | None],
) -> list[Job]:
    from rtaudio.analysis.frames import check_features
    from rtaudio.batch import Job
    from rtaudio.sources.raw import RawFormat

    try:
        names = args.features or "mfcc,rms,peak"
        features = check_features([name.strip() for name in names.split(",") if name.strip()])
        if args.raw is not None:
            RawFormat.parse(args.raw)
            if "-" not in args.files:
                raise ValueError("--raw describes standard input: give - as the FILE")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if "-" in args.files and args.jobs > 1 and len(args.files) > 1:
        raise UsageError("standard input can't be shared out: leave out --jobs")
    return [
        Job(
            file=file,
            out=out,
            settings=settings,
            features=features,
            top_db=args.top_db,
            raw=args.raw if file == "-" else None,
            model=args.model,
            labels=heard,
        )
        for file, out, heard in zip(args.files, outs, labels, strict=True)
    ]


def _outputs(
    files: list[str],
    out: str | None,
    kind: str | None,
    option: str = "--out",
    suffixes: tuple[str, ...] = (".csv", ".npz", ".parquet"),
) -> list[Path | None]:
    """Where what is found in each file goes."""
    from rtaudio.batch import STDOUT

    if out is None or out == "-":
        if sys.stdout is None:
            raise UsageError(f"standard output is closed: {option} FILE")
        if len(files) > 1:
            raise UsageError(f"{len(files)} recordings need a folder: {option} FOLDER")
        if kind not in (None, "csv"):
            raise UsageError(f"--as {kind} needs a file: {option} FILE.{kind}")
        return [STDOUT]
    path = Path(out)
    if path.suffix in suffixes and not path.is_dir():
        if len(files) > 1:
            raise UsageError(f"{len(files)} recordings need a folder, {out} is a file's name")
        if kind is not None and path.suffix != f".{kind}":
            raise UsageError(f"--as {kind} and {option} {out} do not agree: leave out --as")
        results = [path]
    else:
        kind = kind or "csv"
        results = [path / f"{stem(file)}.{kind}" for file in files]
        taken: dict[Path, str] = {}
        for file, result in zip(files, results, strict=True):
            if result in taken:
                raise UsageError(f"{taken[result]} and {file} would both become {result}")
            taken[result] = file
    if any(result.suffix == ".parquet" for result in results):
        need("pyarrow", ".parquet", "parquet")
    return list(results)


@contextlib.contextmanager
def _making_folder(option: str, out: str | None, outs: list[Path | None]) -> Iterator[None]:
    """Make the folder of the outputs, and take it away again where nothing came to be in it."""
    folder = outs[0].parent if outs[0] is not None else None
    if folder is None or folder.is_dir() or Path(out or "") == outs[0]:
        yield  # standard output, or a place that is there or is the user's to make
        return
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"{option} {out}: {error.strerror}: name a folder that can be made"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty: that's as it should be
            folder.rmdir()


def _do(job: Job, words: Words) -> Outcome:
    from rtaudio.batch import STDOUT, do

    with words.progress([job.file], visible=STDOUT not in job.outs) as report:
        return do(job, sys.stdout, lambda done_s, total_s: report(0, done_s, total_s))


def _do_all(jobs: list[Job], processes: int, words: Words) -> Iterator[Outcome]:
    from rtaudio.batch import do_all

    with words.progress([job.file for job in jobs]) as report:
        yield from do_all(jobs, processes, report)
