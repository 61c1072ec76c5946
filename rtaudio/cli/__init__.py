"""The command line. What is heavy is imported where it is used: `--help` is instant."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import rtaudio
from rtaudio.cli.options import InputError, Parser, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, CHECK_FAILED, USAGE, UNREADABLE, INTERRUPTED = 0, 1, 2, 3, 130

#: Command → the module whose `main` runs it, and what it does. Imported when it is called.
COMMANDS = {
    "demo": ("rtaudio.cli.demo", "Try it on a built-in signal: the window, or a picture."),
    "analyze": ("rtaudio.cli.analyze", "Features of recordings."),
    "archive": ("rtaudio.cli.archive", "Features of thousands of recordings: a dataset."),
    "live": ("rtaudio.cli.live", "A microphone, a file or standard input, as it sounds."),
    "devices": ("rtaudio.cli.devices", "The microphones and other inputs of this machine."),
    "train": ("rtaudio.cli.train", "Learn sounds from a folder of recordings: a model."),
    "plot": ("rtaudio.cli.plot", "Five pictures of a recording."),
    "latency": ("rtaudio.cli.latency", "How late it is: each stage, and the round trip."),
    "doctor": ("rtaudio.cli.doctor", "What is missing on this machine, and how to mend it."),
}

_EPILOG = """\
examples:
  rtaudio demo                                   the window, on a built-in signal
  rtaudio live                                   the window, on the microphone
  rtaudio analyze song.flac -o song.csv          MFCCs and levels of a recording
  rtaudio analyze *.wav -o features --as npz     of many, into a folder
  rtaudio archive recordings -o features         of thousands, as one table (Parquet)
  rtaudio plot song.flac                         five pictures: song.png
  rtaudio live --headless                        without a window: level, losses, delay
  rtaudio live --headless -d usb --record 'site_%Y%m%d_%H%M%S.wav' --rotate 1h
  rtaudio train sounds -o sounds.onnx            learn sounds/LABEL/*.wav …
  rtaudio live --model sounds.onnx               … and hear them live
  rtaudio latency                                every delay from the microphone on
  ffmpeg -i talk.m4a -f wav - | rtaudio analyze - -o talk.parquet

rtaudio COMMAND --help tells the options of a command.
"""


class Terminated(BaseException):
    """SIGTERM came."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if sys.stderr is None:  # closed by the shell: words must not go elsewhere
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    _keep_standard_streams()
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
    except InputError as error:
        print(f"rtaudio: {error}", file=sys.stderr)
        return UNREADABLE
    except KeyboardInterrupt:
        print("rtaudio: interrupted; what was not finished is not there", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print("rtaudio: terminated; what was not finished is not there", file=sys.stderr)
        return DONE
    except BrokenPipeError:  # `| head` has seen enough
        drop_stdout()
        return DONE
    except OSError as error:
        drop_stdout()
        print(f"rtaudio: {error}", file=sys.stderr)
        return UNREADABLE


def _keep_standard_streams() -> None:
    """Let no pipe or file take the place of a stream that is closed, and no letter be an error."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")


def drop_stdout() -> None:
    """Let what standard output still holds go: it would fail again at the interpreter's exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(signum: int, frame: object) -> NoReturn:  # noqa: ARG001
    # Again, they would end the closing of the outputs. SIG_IGN would be told as a race, here.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda signum, frame: None)
    raise Terminated


def _dispatch(argv: list[str]) -> int:
    if argv and argv[0] in COMMANDS:
        return int(import_module(COMMANDS[argv[0]][0]).main(argv[1:]))
    parser = Parser(
        prog="rtaudio",
        description="Real-time streaming audio analyzer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rtaudio {rtaudio.__version__}")
    commands = parser.add_argument_group("commands")
    for name, (_, what) in COMMANDS.items():
        commands.add_argument(name, nargs="?", help=what, default=argparse.SUPPRESS)
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
