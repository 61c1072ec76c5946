"""`rtaudio live`: what is heard now, as it comes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, INTERRUPTED, UNREADABLE, Terminated
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.meter import heard_words, meter, say_priority, sum_up, title
from rtaudio.cli.options import (
    UsageError,
    add_microphone,
    add_model,
    add_settings,
    check_labels,
    keep_recordings,
    load_model,
    microphone_of,
    need,
    new_parser,
    parse_words,
    seconds,
    settings_of,
)
from rtaudio.cli.stdout import Stdout
from rtaudio.cli.window import Screen, add_look, look_of
from rtaudio.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rtaudio.analysis.settings import Settings
    from rtaudio.consumers.hearing import Heard
    from rtaudio.consumers.recorder import Recorder
    from rtaudio.consumers.streaming import StreamingWriter
    from rtaudio.pipeline import Live
    from rtaudio.sources.block import Source
    from rtaudio.view.look import Look

METER_S = 0.1
STALLED_S = 3.0  # how long Ctrl-C waits for a reader of standard output


def main(argv: Sequence[str]) -> int:
    """Analyze sound as it comes, until it ends or Ctrl-C does."""
    args = parse(argv)
    look, words = look_of(args), Words(args.quiet)
    load_model(args)
    settings = settings_of(args)
    load_kernels(words, live=True)
    return run(args, settings, look, words)


def run(
    args: argparse.Namespace,
    settings: Settings,
    look: Look,
    words: Words,
    screen: Screen | None = None,
) -> int:
    """Do what was asked for, on ``screen`` where that is open already; returns the exit status."""
    from rtaudio.pipeline import Live
    from rtaudio.sources.block import SourceError
    from rtaudio.view.canvas import ViewError

    notes: deque[str] = deque()  # what is told, for standard output and the window too
    notices: deque[str] = deque()

    def tell(text: str) -> None:
        words.error(text)
        notes.append(text)
        notices.append(text)

    try:
        if screen is None and (args.screenshot or not args.headless):
            screen = Screen(args, look, words)
        run = Live(_source(args), settings, model=args.model, duration_s=args.duration, tell=tell)
        run.open()
    except (SourceError, ViewError) as error:
        words.error(str(error))
        return UNREADABLE
    try:
        if screen is not None:
            screen.begin(run, notices)
        _attach(run, args, notes, words)
    except OSError as error:
        run.close()
        place = error.filename or args.out or args.record or args.labels
        words.error(f"{place}: {error.strerror or error}")
        return UNREADABLE
    except BaseException:
        run.close()
        raise
    return _listen(run, args, words, screen)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; raises `UsageError`."""
    parser = new_parser("live", "Analyze a microphone, a file or standard input as it sounds.")
    add = parser.add_argument
    add("source", nargs="?", metavar="SOURCE", help="a file, demo:, or - (default: microphone)")
    add("--headless", action="store_true", help="without a window")
    add("--duration", type=seconds, metavar="TIME", help="end after 90, 10m, 2h, 7d")
    add("--fast", action="store_true", help="a file as fast as it can be read")
    add("--play", action="store_true", help="hear the file, too")
    add("-o", "--out", metavar="OUT", help="features into .csv, .npz, .parquet; - is stdout (CSV)")
    add("--features", metavar="LIST", help="of mfcc,rms,peak,mel_db,db … (mfcc,rms,peak)")
    add(
        "--labels", metavar="OUT", help="what --model hears into .csv, .txt (Audacity); - is stdout"
    )
    add("--record", metavar="TAKE", help="record into .wav; its name may hold %%Y%%m%%d_%%H%%M%%S")
    add("--rotate", type=seconds, metavar="TIME", help="a new file every 1h; UTC in its name")
    add(
        "--json", action="store_true", help="one object a row, or with --model an answer, on stdout"
    )
    add("--raw", metavar="FORMAT", help="raw samples on stdin: f32le:48000:1")
    add_model(parser)
    add_microphone(parser)
    add_look(parser)
    add_settings(parser)
    args, sources = parse_words(parser, argv)
    if args.source is not None:
        sources.insert(0, args.source)
    if len(sources) > 1:
        raise UsageError(f"{' and '.join(sources)}: one SOURCE at a time")
    args.source = sources[0] if sources else None
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that do not go together."""
    from rtaudio.analysis.frames import check_features
    from rtaudio.consumers.writers import SUFFIXES

    microphone = args.source is None
    if args.top_db is not None:
        raise UsageError("--top-db needs the whole recording: it works in rtaudio analyze and plot")
    if args.source == "":
        raise UsageError("the SOURCE's name is empty")
    for option in ("device", "device_rate", "blocksize", "latency"):
        if not microphone and getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise UsageError(
                f"--{name} is for a microphone, and {args.source} is none: leave out one"
            )
    if microphone and (args.fast or args.play):
        raise UsageError(f"--{'fast' if args.fast else 'play'} is for a file: name one")
    if args.fast and args.play:
        raise UsageError("--fast is too fast to hear: leave out --play")
    if args.raw is not None and args.source != "-":
        raise UsageError("--raw describes standard input: give - as the SOURCE")
    if args.rotate is not None and args.record is None:
        raise UsageError("--rotate needs --record 'take_%Y%m%d_%H%M%S.wav'")
    if args.rotate is not None and args.rotate < 1:
        raise UsageError(f"--rotate {args.rotate:g}: a file holds 1 s at least")
    if args.out == "-" and args.json:
        raise UsageError("--json and --out - both write to standard output: leave out one")
    if args.out not in (None, "-"):
        if Path(args.out).suffix not in SUFFIXES:
            raise UsageError(f"--out {args.out}: not one of {', '.join(SUFFIXES)}, or -")
        if args.source is not None:
            keep_recordings([args.source], Path(args.out))
        if args.out.endswith(".parquet"):
            need("pyarrow", ".parquet", "parquet")
    if (args.out == "-" or args.json) and sys.stdout is None:
        raise UsageError("standard output is closed: --out FILE")
    check_labels(args.labels, args.model)
    if args.labels == "-" and (args.out == "-" or args.json):
        raise UsageError(
            "--labels - and --json or --out - all write to standard output: name files"
        )
    if args.labels is not None and args.out is not None and Path(args.labels) == Path(args.out):
        raise UsageError(f"--labels and --out are both {args.out}: name two files")
    args.answers = args.json and args.model is not None
    args.rows = args.json and (args.model is None or args.features is not None)
    try:
        wanted = args.features or "mfcc,rms,peak"
        args.features = check_features([n.strip() for n in wanted.split(",") if n.strip()])
    except ValueError as error:
        raise UsageError(str(error)) from None


def _source(args: argparse.Namespace) -> Source:
    """Raises `SourceError`, and `UsageError` for wrong words."""
    from rtaudio.sources import open_source
    from rtaudio.sources.microphone import Microphone

    try:
        if args.source is not None:
            source = open_source(args.source, realtime=not args.fast, raw=args.raw)
            if args.source.startswith("demo:"):  # a signal is as long as is asked for
                source.duration_s = args.duration or source.duration_s
            return source
        return Microphone(args.device, **microphone_of(args))
    except ValueError as error:
        raise UsageError(str(error)) from None


# --- where the rows and the samples go --------------------------------------------------------


def _attach(run: Live, args: argparse.Namespace, notes: deque[str], words: Words) -> None:
    """Attach what was asked for; raises `OSError` where it can't be written, and leaves nothing."""
    with contextlib.ExitStack() as undo:
        if args.play:
            from rtaudio.consumers.player import Player

            player = Player(run.source.sr, run.source.channels)
            undo.callback(player.finish)
            run.attach_blocks("playing", player.take, None, player.finish)
        if args.record is not None:
            recorder = _recorder(run, args)
            undo.callback(_remove, recorder)
            steps = (recorder.take, recorder.flush, recorder.finish)
            run.attach_blocks("the recording", *steps, end_s=None)
        if args.out not in (None, "-"):
            from rtaudio.consumers.streaming import open_streaming

            writer = open_streaming(Path(args.out), args.features, run.settings)
            undo.callback(writer.discard)
            finish = lambda: _finish(writer, run)  # noqa: E731
            run.attach_frames("the output", writer.take, writer.flush, finish, end_s=None)
        if args.labels not in (None, "-"):
            from rtaudio.consumers.labels import StreamingLabels

            labels = StreamingLabels(Path(args.labels))
            undo.callback(labels.discard)
            take = lambda heard: labels.take(heard.ended)  # noqa: E731
            run.attach_heard("the labels", take, end_s=None)
        rows, heard = args.rows or args.out == "-", args.labels == "-" or args.answers
        if rows or heard:
            out = Stdout(run, args, notes, rows + heard)
            ends = (out.flush, out.finish, STALLED_S)
            if rows:
                run.attach_frames("standard output", out.take, *ends)
            if heard:
                run.attach_heard("standard output", out.hear, *ends)
        if args.headless and run.hearing is not None and not heard:
            run.attach_heard("the words", lambda heard: _say_heard(heard, words))
        if args.headless and not run.workers:  # the levels alone
            run.attach_frames("the levels", lambda frames: None)
        undo.pop_all()


def _recorder(run: Live, args: argparse.Namespace) -> Recorder:
    from rtaudio.consumers.recorder import Recorder

    rate, channels, start = run.source.sr, run.source.channels, run.started_utc
    assert start is not None
    try:
        return Recorder(args.record, rate, channels, rotate_s=args.rotate, start=start)
    except ValueError as error:
        raise UsageError(f"--record {error}") from None


def _remove(recorder: Recorder) -> None:
    """A recording that was not begun leaves nothing."""
    from rtaudio.sources.gaps_file import gaps_path

    recorder.finish()
    for path in recorder.paths:
        path.unlink()
        gaps_path(path).unlink()


def _finish(writer: StreamingWriter, run: Live) -> None:
    try:
        writer.finish(run.about())
    finally:
        writer.discard()  # of an output that can't be completed, what nobody can read


def _say_heard(heard: Heard, words: Words) -> None:
    for interval in heard.ended:
        words.say(heard_words(interval))


# --- while it runs ----------------------------------------------------------------------------


def _listen(run: Live, args: argparse.Namespace, words: Words, screen: Screen | None) -> int:
    """Run until the end, showing it; returns the exit status."""
    from rtaudio.sources.block import SourceError

    def current() -> Live:  # another one once another device was chosen
        return run if screen is None else screen.run

    def close() -> None:
        run.close() if screen is None else screen.close()

    def display_died() -> None:
        with contextlib.suppress(SourceError):
            close()
        words.error("the screen is gone: the run has ended, and what it wrote is whole")
        os._exit(_conclude(UNREADABLE, current(), words))

    status = DONE
    try:
        try:
            if screen is None or args.headless:
                _watch(run, args, words)
            else:
                words.say(f"{title(run)}; h in the window shows the keys")
                screen.watch(display_died)
                say_priority(current(), words)
        finally:
            close()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Terminated:
        pass
    except SourceError as error:
        words.error(str(error))
        status = UNREADABLE
    status = _conclude(status, current(), words)
    if screen is not None and not screen.end():
        status = UNREADABLE
    return status


def _conclude(status: int, run: Live, words: Words) -> int:
    """Tell the books; returns the exit status."""
    words.clear()
    sum_up(run, words)
    failed = any(worker.error is not None for worker in run.workers)
    status = UNREADABLE if failed else status
    if not all(worker.done.is_set() for worker in run.workers):
        sys.stderr.flush()
        os._exit(status)  # a thread that hangs in a write would hold up the interpreter's exit
    return status


def _watch(run: Live, args: argparse.Namespace, words: Words) -> None:
    """Show the level until all is done."""
    words.say(title(run))
    run.start()
    rows_on_it = (args.json or "-" in (args.out, args.labels)) and sys.stdout.isatty()
    said = False
    while not run.wait(METER_S):
        if not rows_on_it:
            words.show(lambda width: meter(run, width))
        said = said or say_priority(run, words)
