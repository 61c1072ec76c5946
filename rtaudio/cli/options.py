"""The options of the commands: what several share, and how a wrong one is told."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import rtaudio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtaudio.analysis.settings import Settings


UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class UsageError(Exception):
    """The words on the command line are wrong: exit status 2."""


class InputError(Exception):
    """Something that was named can't be read or used: exit status 3."""


class Parser(argparse.ArgumentParser):
    """One line for an error, as everywhere."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        hint = f"see {self.prog} --help"
        if message.startswith("unrecognized arguments: -"):
            word = message.split()[2].partition("=")[0]
            options = list(self._option_string_actions)
            near = [option for option in options if option.startswith(word)]
            near = near or difflib.get_close_matches(word, options, n=1)
            hint = f"did you mean {near[0]}?" if near else hint
        raise UsageError(f"{self.prog.partition(' ')[2] or 'usage'}: {message}; {hint}")


def add_settings(
    parser: argparse.ArgumentParser,
    sr: str = "the recording's",
    n_fft: str = "2048",
    hop: str = "512",
    n_mels: str = "128",
) -> None:
    """Add the options of the analysis, spelled as in `Settings`, and ``--top-db``.

    Some defaults differ between the commands: these words tell them. What is not given is None.
    """
    group = parser.add_argument_group("analysis (as in librosa)")
    add = group.add_argument
    add("--sr", type=int, metavar="HZ", help=f"analysis rate; resamples (default: {sr})")
    add("--n-fft", type=int, metavar="N", help=f"samples of a frame ({n_fft})")
    add("--win-length", type=int, metavar="N", help="samples of the window (n_fft)")
    add("--hop-length", type=int, metavar="N", help=f"samples to the next frame ({hop})")
    add("--window", metavar="NAME", help="scipy's name: hann, hamming, kaiser:8 … (hann)")
    add(
        "--no-center",
        dest="center",
        action="store_const",
        const=False,
        help="frame 0 begins at sample 0, without padding",
    )
    add("--n-mels", type=int, metavar="N", help=f"mel bands ({n_mels})")
    add("--fmin", type=float, metavar="HZ", help="lowest mel frequency (0)")
    add("--fmax", type=float, metavar="HZ", help="highest mel frequency (half the rate)")
    add("--htk", action="store_const", const=True, help="HTK's mel scale instead of Slaney's")
    add("--n-mfcc", type=int, metavar="N", help="cepstral coefficients (13)")
    add("--quantize-bits", type=int, metavar="N", help="round samples to N bits first")
    add("--channel", metavar="N", help="a channel from 1, or mix (the mean; default)")
    add("--top-db", type=float, metavar="DB", help="clip dB that far below the loudest moment")


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of `add_settings` ask for, by the names of `Settings`."""
    from rtaudio.analysis.settings import Settings

    names = (field.name for field in fields(Settings))
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if ":" in given.get("window", ""):
        name, *parameters = args.window.split(":")
        with contextlib.suppress(ValueError):
            given["window"] = (name, *map(float, parameters))
    if given.get("channel", "").isdecimal():
        given["channel"] = int(args.channel)
    return given


def settings_of(args: argparse.Namespace) -> Settings:
    """The `Settings` that the options ask for, or ``args.model`` has; raises `UsageError`."""
    from rtaudio.analysis.settings import Settings

    try:
        if args.top_db is not None and not args.top_db >= 0:
            raise ValueError(f"--top-db {args.top_db:g} is below 0")
        given = given_settings(args)
        model = getattr(args, "model", None)
        return Settings(**given) if model is None else model.settings_for(given)
    except ValueError as error:
        raise UsageError(str(error)) from None


def add_microphone(parser: argparse.ArgumentParser) -> None:
    """Add the options of a microphone."""
    group = parser.add_argument_group("microphone")
    add = group.add_argument
    add(
        "-d",
        "--device",
        metavar="DEVICE",
        help="index or parts of its name (rtaudio devices); monitor: is what this computer plays",
    )
    add("--device-rate", type=int, metavar="HZ", help="its rate (default: its own)")
    add("--blocksize", type=int, metavar="N", help="samples of a block (default: its choice)")
    add("--latency", metavar="S", help="low, high or seconds (high)")


def microphone_of(args: argparse.Namespace) -> dict[str, Any]:
    """What `Microphone` takes, but for the device, of the options of `add_microphone`."""
    latency: float | str = args.latency or "high"
    with contextlib.suppress(ValueError):
        latency = float(latency)
    return {"sr": args.device_rate, "blocksize": args.blocksize or 0, "latency": latency}


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options of a model."""
    group = parser.add_argument_group("model")
    add = group.add_argument
    add("--model", metavar="ONNX", help="tell what is heard, by a model of rtaudio train")
    add("--threshold", type=float, metavar="P", help="least probability of a label (0.5)")
    add("--every-ms", type=float, metavar="MS", help="from one answer to the next (a hop)")
    add("--smooth-ms", type=float, metavar="MS", help="average scores over so long (100)")


def load_model(args: argparse.Namespace) -> None:
    """Put the model in the place of its name in ``args.model``.

    Raises `UsageError` for wrong options, `InputError` for a model that can't be used.
    """
    names = ("threshold", "every_ms", "smooth_ms")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.model is None:
        for name in given:
            raise UsageError(f"--{name.replace('_', '-')} is for a model: name one with --model")
        return
    from rtaudio.consumers import model

    if not args.model:
        raise UsageError("the model's name is empty")
    try:
        args.model = model.load_model(args.model, **given)
    except model.ModelError as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        raise UsageError(re.sub(r"^(\w+)=", _as_option, str(error))) from None


def _as_option(name: re.Match[str]) -> str:
    return f"--{name[1].replace('_', '-')} "


def check_labels(labels: str | None, model: object, folder: bool = False) -> None:
    """Raise `UsageError` where ``--labels`` can't be; whether it may be a folder."""
    if labels is None:
        return
    if model is None:
        raise UsageError("--labels is what a model hears: name one with --model")
    if folder and (Path(labels).is_dir() or not Path(labels).suffix):
        return
    if labels != "-" and Path(labels).suffix not in (".csv", ".txt"):
        raise UsageError(f"--labels {labels}: .csv, .txt (for Audacity), or - for stdout")
    if labels == "-" and sys.stdout is None:
        raise UsageError("standard output is closed: --labels FILE")


def seconds(text: str) -> float:
    """``90``, ``10m``, ``1.5h`` or ``7d`` in seconds; raises `UsageError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is not a time: 90 (seconds), 10m, 1.5h, 7d")
    return float(found[1]) * UNITS_S[found[2]]


def new_parser(command: str, description: str) -> Parser:
    """A parser with what every command takes: ``--help``, ``--quiet`` and ``--version``."""
    parser = Parser(prog=f"rtaudio {command}", description=description, allow_abbrev=False)
    parser.add_argument("-q", "--quiet", action="store_true", help="no words but errors")
    parser.add_argument("--version", action="version", version=rtaudio.__version__)
    return parser


def parse_words(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse options and names in any order, and give back what follows ``--``: names, too.

    Raises `UsageError`.
    """
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    return parser.parse_intermixed_args(words[:end]), words[end + 1 :]


def parse_recordings(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse options and FILEs; raises `UsageError`."""
    args, more = parse_words(parser, argv)
    args.files += more
    if not all(args.files):
        raise UsageError("a FILE's name is empty")
    if not args.files:
        parser.error("the following arguments are required: FILE")
    if args.top_db is not None:
        from rtaudio.recordings import can_be_read_twice

        for file in args.files:
            if not can_be_read_twice(file):
                raise UsageError(
                    f"--top-db reads twice, and {file} is a pipe: make it a file first"
                )
    return args


def stem(file: str) -> str:
    """What the output of a FILE is called, without its suffix."""
    if file == "-":
        return "stdin"
    return file.replace(":", "") if file.startswith("demo:") else Path(file).stem


def keep_recordings(files: list[str], out: Path | None) -> None:
    """Raise `UsageError` where ``out`` is one of the recordings."""
    for file in files:
        if out is not None and out.exists() and Path(file).exists() and out.samefile(file):
            raise UsageError(f"{out} is the recording itself: choose another --out")


def need(module: str, what: str, extra: str) -> None:
    """Raise `UsageError` where ``module`` of the optional packages ``extra`` is not installed."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise UsageError(f"{what} needs {module}: pip install 'rtaudio[{extra}]'")
