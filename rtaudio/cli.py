"""The command line. What is heavy is imported where it is used: `--help` is instant."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import rtaudio
from rtaudio.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rtaudio.analysis.frames import Frames
    from rtaudio.analysis.settings import Settings
    from rtaudio.batch import Job, Outcome
    from rtaudio.pipeline import Summary
    from rtaudio.sources.block import Source

DONE, USAGE, UNREADABLE, INTERRUPTED = 0, 2, 3, 130

EPILOG = """\
examples:
  rtaudio demo                                   what it does, on a built-in signal
  rtaudio analyze song.flac -o song.csv          MFCCs and levels of a recording
  rtaudio analyze *.wav -o features --as npz     of many, into a folder
  rtaudio plot song.flac                         five pictures: song.png
  ffmpeg -i talk.m4a -f wav - | rtaudio analyze - -o talk.parquet

rtaudio COMMAND --help tells the options of a command.
"""


class UsageError(Exception):
    """The words on the command line are wrong: exit status 2."""


class _Terminated(BaseException):
    """SIGTERM came."""


class _Parser(argparse.ArgumentParser):
    """One line for an error, as everywhere."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(
            f"{self.prog.partition(' ')[2] or 'usage'}: {message}; see {self.prog} --help"
        )


# --- options ----------------------------------------------------------------------------------


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("analysis (as in librosa)")
    add = group.add_argument
    add("--sr", type=int, metavar="HZ", help="analysis rate; resamples (default: the recording's)")
    add("--n-fft", type=int, default=2048, metavar="N", help="samples of a frame (2048)")
    add("--win-length", type=int, metavar="N", help="samples of the window (n_fft)")
    add("--hop-length", type=int, default=512, metavar="N", help="samples to the next frame (512)")
    add("--window", default="hann", metavar="NAME", help="scipy's name: hann, hamming, kaiser:8 …")
    add("--no-center", action="store_true", help="frame 0 begins at sample 0, without padding")
    add("--n-mels", type=int, default=128, metavar="N", help="mel bands (128)")
    add("--fmin", type=float, default=0.0, metavar="HZ", help="lowest mel frequency (0)")
    add("--fmax", type=float, metavar="HZ", help="highest mel frequency (half the rate)")
    add("--htk", action="store_true", help="HTK's mel scale instead of Slaney's")
    add("--n-mfcc", type=int, default=13, metavar="N", help="cepstral coefficients (13)")
    add("--quantize-bits", type=int, metavar="N", help="round samples to N bits first")
    add("--channel", default="mix", metavar="N", help="a channel from 1, or mix (the mean)")
    add("--top-db", type=float, metavar="DB", help="clip dB that far below the loudest moment")


def _settings(args: argparse.Namespace) -> Settings:
    from rtaudio.analysis.settings import Settings

    window: str | tuple[Any, ...] = args.window
    if ":" in args.window:
        name, *parameters = args.window.split(":")
        with contextlib.suppress(ValueError):
            window = (name, *map(float, parameters))
    try:
        if args.top_db is not None and not args.top_db >= 0:
            raise ValueError(f"--top-db {args.top_db:g} is below 0")
        return Settings(
            sr=args.sr,
            n_fft=args.n_fft,
            win_length=args.win_length,
            hop_length=args.hop_length,
            window=window,
            center=not args.no_center,
            n_mels=args.n_mels,
            fmin=args.fmin,
            fmax=args.fmax,
            htk=args.htk,
            n_mfcc=args.n_mfcc,
            quantize_bits=args.quantize_bits,
            channel=int(args.channel) if args.channel.isdecimal() else args.channel,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def _new(command: str, description: str) -> _Parser:
    parser = _Parser(prog=f"rtaudio {command}", description=description, allow_abbrev=False)
    parser.add_argument("-q", "--quiet", action="store_true", help="no words but errors")
    parser.add_argument("--version", action="version", version=rtaudio.__version__)
    return parser


def _parse(parser: _Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse options and FILEs in any order; what follows ``--`` is a FILE."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    args = parser.parse_intermixed_args(words[:end])
    args.files += words[end + 1 :]
    if not all(args.files):
        raise UsageError("a FILE's name is empty")
    if not args.files:
        parser.error("the following arguments are required: FILE")
    if args.top_db is not None:
        from rtaudio.pipeline import can_be_read_twice

        for file in args.files:
            if not can_be_read_twice(file):
                raise UsageError(
                    f"--top-db reads twice, and {file} is a pipe: make it a file first"
                )
    return args


# --- analyze ----------------------------------------------------------------------------------


def analyze(argv: Sequence[str]) -> int:
    """Features of recordings."""
    parser = _new("analyze", "Features of recordings, as fast as they can be read.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a recording, demo:KIND, or - for stdin"
    )
    add = parser.add_argument
    add("-o", "--out", metavar="OUT", help=".csv, .npz, .parquet, or a folder (default: stdout)")
    add("--as", dest="kind", choices=("csv", "npz", "parquet"), help="kind of files in a folder")
    add(
        "--features",
        default="mfcc,rms,peak",
        metavar="LIST",
        help="of mfcc,rms,peak,mel_db,db,power",
    )
    add("-j", "--jobs", type=int, default=1, metavar="N", help="recordings at once (1)")
    add("--raw", metavar="FORMAT", help="raw samples on stdin: f32le:48000:1")
    _add_settings(parser)
    args = _parse(parser, argv)
    settings = _settings(args)
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs} is not 1 or more")
    outs = _outputs(args.files, args.out, args.kind)
    for out in outs:
        _keep_recordings(args.files, out)
    jobs = _jobs(args, settings, outs)
    words = Words(args.quiet)
    words.compile()
    with _making_folder(args.out, outs):
        if args.jobs > 1 and len(jobs) > 1 and outs[0] is not None:
            outcomes = _do_all(jobs, args.jobs, words)
        else:
            outcomes = (_do(job, words) for job in jobs)
        failed = [outcome for outcome in outcomes if not words.tell(outcome)]
    return UNREADABLE if failed else DONE


def _jobs(args: argparse.Namespace, settings: Settings, outs: list[Path | None]) -> list[Job]:
    from rtaudio.analysis.frames import check_features
    from rtaudio.batch import Job
    from rtaudio.sources.raw import RawFormat

    try:
        features = check_features(
            [name.strip() for name in args.features.split(",") if name.strip()]
        )
        if args.raw is not None:
            RawFormat.parse(args.raw)
            if "-" not in args.files:
                raise ValueError("--raw describes standard input: give - as the FILE")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if "-" in args.files and args.jobs > 1 and len(args.files) > 1:
        raise UsageError("standard input can't be shared out: leave out --jobs")
    return [
        Job(file, out, settings, features, args.top_db, args.raw if file == "-" else None)
        for file, out in zip(args.files, outs, strict=True)
    ]


def _outputs(files: list[str], out: str | None, kind: str | None) -> list[Path | None]:
    """Where the features of each file go; None is standard output. Makes nothing yet."""
    if out is None or out == "-":
        if sys.stdout is None:
            raise UsageError("standard output is closed: --out FILE")
        if len(files) > 1:
            raise UsageError(f"{len(files)} recordings need a folder: --out FOLDER")
        if kind not in (None, "csv"):
            raise UsageError(f"--as {kind} needs a file: --out FILE.{kind}")
        return [None]
    path = Path(out)
    if path.suffix in (".csv", ".npz", ".parquet") and not path.is_dir():
        if len(files) > 1:
            raise UsageError(f"{len(files)} recordings need a folder, {out} is a file's name")
        if kind is not None and path.suffix != f".{kind}":
            raise UsageError(f"--as {kind} and --out {out} do not agree: leave out --as")
        results = [path]
    else:
        kind = kind or "csv"
        results = [path / f"{_stem(file)}.{kind}" for file in files]
        taken: dict[Path, str] = {}
        for file, result in zip(files, results, strict=True):
            if result in taken:
                raise UsageError(f"{taken[result]} and {file} would both become {result}")
            taken[result] = file
    if any(result.suffix == ".parquet" for result in results):
        _need("pyarrow", ".parquet", "parquet")
    return list(results)


def _keep_recordings(files: list[str], out: Path | None) -> None:
    for file in files:
        if out is not None and out.exists() and Path(file).exists() and out.samefile(file):
            raise UsageError(f"{out} is the recording itself: choose another --out")


def _stem(file: str) -> str:
    if file == "-":
        return "stdin"
    return file.replace(":", "") if file.startswith("demo:") else Path(file).stem


def _need(module: str, what: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise UsageError(f"{what} needs {module}: pip install 'rtaudio[{extra}]'")


@contextlib.contextmanager
def _making_folder(out: str | None, outs: list[Path | None]) -> Iterator[None]:
    """Make the folder of the outputs, and take it away again where nothing came to be in it."""
    folder = outs[0].parent if outs[0] is not None else None
    if folder is None or folder.is_dir() or Path(out or "") == outs[0]:
        yield  # standard output, or a place that is there or is the user's to make
        return
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}: name a folder that can be made") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty: that's as it should be
            folder.rmdir()


def _do(job: Job, words: Words) -> Outcome:
    from rtaudio.batch import do

    with words.progress([job.file], visible=job.out is not None) as report:
        return do(job, sys.stdout, lambda done_s, total_s: report(0, done_s, total_s))


def _do_all(jobs: list[Job], processes: int, words: Words) -> Iterator[Outcome]:
    from rtaudio.batch import do_all

    with words.progress([job.file for job in jobs]) as report:
        yield from do_all(jobs, processes, report)


# --- plot and demo ----------------------------------------------------------------------------


def plot(argv: Sequence[str]) -> int:
    """Five pictures of a recording."""
    parser = _new("plot", "Waveform, power spectrum, spectrogram, spectrogram in dB, and MFCCs.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="a recording, or demo:KIND")
    parser.add_argument(
        "-o", "--out", metavar="PNG", help=".png, .svg, .pdf (default: FILE's .png)"
    )
    _add_settings(parser)
    args = _parse(parser, argv)
    settings = _settings(args)
    if len(args.files) > 1:
        raise UsageError(f"plot draws one recording, not {len(args.files)}")
    file = args.files[0]
    if file == "-" and args.out is None:
        raise UsageError("standard input has no name: --out PICTURE.png")
    out = Path(args.out or f"{_stem(file)}.png")
    _keep_recordings([file], out)
    from rtaudio.sources import open_source

    words = Words(args.quiet)
    words.compile()
    summary = _picture(file, lambda: open_source(file), settings, out, args.top_db, words)
    if summary is None:
        return UNREADABLE
    words.say(f"{file}: {summary.duration_s:.3f} s, {summary.frames} frames → {out}")
    return DONE


def _picture(
    name: str,
    open_again: Callable[[], Source],
    settings: Settings,
    out: Path,
    top_db: float | None,
    words: Words,
    watch: Callable[[Frames], None] = lambda frames: None,
) -> Summary | None:
    """Draw the five pictures, and print the durations; None where it could not be done."""
    from rtaudio import figures
    from rtaudio.pipeline import analyze_recording
    from rtaudio.sources.block import SourceError

    if out.suffix not in figures.PICTURE_SUFFIXES:
        raise UsageError(f"--out {out}: not one of {', '.join(figures.PICTURE_SUFFIXES)}")
    overview = figures.Overview()

    def consume(frames: Frames) -> None:
        watch(frames)
        overview.take(frames)

    try:
        with words.progress([name]) as report:
            summary = analyze_recording(
                open_again,
                settings,
                consume,
                top_db=top_db,
                tap=overview.hear,
                progress=lambda done_s, total_s: report(0, done_s, total_s),
            )
        words.notes(name, summary)
        figures.draw(overview, summary, Path(name).name, out, 80.0 if top_db is None else top_db)
    except SourceError as error:
        words.error(str(error))
        return None
    except OSError as error:
        words.error(f"{out}: {error.strerror or error}: choose another place with --out")
        return None
    print(figures.durations(summary.settings))
    return summary


def demo(argv: Sequence[str]) -> int:
    """Try it on a built-in signal: a picture and a summary."""
    parser = _new("demo", "Analyze a built-in signal live: a picture and a summary.")
    parser.add_argument("--duration", type=float, default=10.0, metavar="S", help="seconds (10)")
    parser.add_argument(
        "-o", "--out", default="rtaudio-demo.png", metavar="PNG", help="the picture"
    )
    _add_settings(parser)
    args = parser.parse_args(argv)
    settings = _settings(args)
    if not 0 < args.duration <= 3600:
        raise UsageError(f"--duration {args.duration:g} s: more than 0, and at most 3600")
    if args.top_db is not None:
        raise UsageError("--top-db needs to know the end: rtaudio plot demo: --top-db DB")
    from rtaudio.sources.signal import SignalSource

    words = Words(args.quiet)
    words.compile()
    words.say(f"analyzing {args.duration:g} s of sine, sweep, noise, clicks and silence, live …")
    ages_ms: list[float] = []

    def watch(frames: Frames) -> None:
        now = time.perf_counter()
        ages_ms.extend(1e3 * (now - then) for then in frames.captured.tolist() if then == then)

    summary = _picture(
        "demo:",
        lambda: SignalSource(duration_s=args.duration, realtime=True),
        settings,
        Path(args.out),
        None,
        words,
        watch,
    )
    if summary is None:
        return UNREADABLE
    ages_ms = sorted(ages_ms) or [math.nan]
    words.say(
        f"{summary.frames} frames in {summary.duration_s:g} s, {summary.lost} samples lost; "
        "a frame's features "
        f"were ready {ages_ms[len(ages_ms) // 2]:.1f} ms after its last sample (p99 "
        f"{ages_ms[len(ages_ms) * 99 // 100]:.1f} ms; samples come in blocks of 10 ms)\n"
        f"picture: {args.out}\n"
        "next: rtaudio plot YOUR.wav, or rtaudio analyze YOUR.wav -o features.csv"
    )
    return DONE


# --- the whole --------------------------------------------------------------------------------

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "demo": demo,
    "analyze": analyze,
    "plot": plot,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if sys.stderr is None:  # closed by the shell: words must not go elsewhere
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminate)
            if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signal.signal(signal.SIGHUP, _terminate)  # the terminal was closed
            # A shell that starts us in the background has it ignored; SIGINT ends a run there too.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = _dispatch(list(argv))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except UsageError as error:
        print(f"rtaudio: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("rtaudio: interrupted; what was not finished is not there", file=sys.stderr)
        return INTERRUPTED
    except _Terminated:
        print("rtaudio: terminated; what was not finished is not there", file=sys.stderr)
        return DONE
    except BrokenPipeError:  # `| head` has seen enough
        _drop_stdout()
        return DONE
    except OSError as error:
        _drop_stdout()
        print(f"rtaudio: {error}", file=sys.stderr)
        return UNREADABLE


def _drop_stdout() -> None:
    """Let what standard output still holds go: it would fail again at the interpreter's exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(signum: int, frame: object) -> NoReturn:  # noqa: ARG001
    raise _Terminated


def _dispatch(argv: list[str]) -> int:
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    parser = _Parser(
        prog="rtaudio",
        description="Real-time streaming audio analyzer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rtaudio {rtaudio.__version__}")
    commands = parser.add_argument_group("commands")
    for name, command in COMMANDS.items():
        commands.add_argument(name, nargs="?", help=command.__doc__, default=argparse.SUPPRESS)
    if not argv:
        parser.print_help(sys.stderr)
        return USAGE
    if not argv[0].startswith("-"):
        near = difflib.get_close_matches(argv[0], COMMANDS, n=1)
        if Path(argv[0]).is_file():
            near = [f"analyze {argv[0]}"]
        hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}"
        raise UsageError(f"{argv[0]!r} is not a command; {hint}")
    parser.parse_args(argv[:1])
    return USAGE
