"""`rtaudio train`: a folder of labelled recordings becomes a model."""

from __future__ import annotations

import math
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, UNREADABLE
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.options import (
    InputError,
    UsageError,
    add_settings,
    given_settings,
    need,
    new_parser,
    parse_words,
)
from rtaudio.words import Words, shortened

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rtaudio.learn import Training

WORST = 10  # confusions that are listed where a matrix has no room
LONGEST = 24  # letters of a label that are shown


def main(argv: Sequence[str]) -> int:
    """Learn the labels of a folder."""
    args = _parse(argv)
    settings, words = given_settings(args), Words(args.quiet)
    load_kernels(words)
    from rtaudio.learn import LearnError, train

    begun = time.perf_counter()
    features = [name.strip() for name in args.features.split(",") if name.strip()]
    try:
        with words.steps() as step:
            training = train(
                args.folder,
                features=features,
                context_ms=args.context_ms,
                augment=args.augment,
                group_by=args.group_by,
                test_size=args.test_size,
                hidden=_hidden(args.hidden),
                activation=args.activation,
                learning_rate=args.learning_rate,
                epochs=args.epochs,
                seed=args.seed,
                tell=words.error,
                on_read=lambda done, total: step("recordings", done, total, ""),
                on_epoch=lambda n, loss: step("epochs", n, args.epochs, f", loss {loss:.4f}"),
                **settings,
            )
    except LearnError as error:
        raise InputError(str(error)) from None
    except MemoryError:
        raise InputError(
            f"{args.folder}: is more than fits into memory: less --context-ms"
        ) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    for why in training.skipped.values():
        words.error(f"skipped: {why}")
    _tell(training, words, time.perf_counter() - begun)
    return _write(training, args, words)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(
        "train",
        "Learn sounds: FOLDER/LABEL/*.wav (.flac, .ogg, .mp3) become a model that rtaudio live and "
        "analyze run with --model. A label that begins with _ is background, and never told.",
    )
    add = parser.add_argument
    add("folder", nargs="?", metavar="FOLDER", help="a folder of recordings for each label")
    add("-o", "--out", metavar="ONNX", help="the model")
    add("--plot", metavar="PNG", help="the confusion matrix: .png, .svg, .pdf")
    group = parser.add_argument_group("learning")
    add = group.add_argument
    add("--context-ms", type=float, default=500.0, metavar="MS", help="sound for an answer (500)")
    add("--features", default="mfcc", metavar="LIST", help="of mfcc,mel_db,rms,peak … (mfcc)")
    add("--hidden", default="64", metavar="N", help="neurons of the hidden layer; or 64,32 (64)")
    add("--activation", default="logistic", choices=("logistic", "relu"), help="(logistic)")
    add("--learning-rate", type=float, default=0.1, metavar="X", help="of SGD (0.1)")
    add("--epochs", type=int, default=200, metavar="N", help="at most; stops when it is best (200)")
    add("--test-size", type=float, default=0.3, metavar="P", help="share of files held out (0.3)")
    add("--group-by", metavar="REGEX", help="hold out what it finds in names whole: '^([a-z]+)_'")
    add("--augment", type=int, default=1, metavar="N", help="copies at other levels, in noise (1)")
    add("--seed", type=int, default=0, metavar="N", help="another split, another start (0)")
    add_settings(parser, "the recordings' least", "about 32 ms", "half of that", "40")
    args, folders = parse_words(parser, argv)
    folders = [args.folder] * (args.folder is not None) + folders
    if len(folders) != 1:
        raise UsageError(
            f"{' and '.join(folders) or 'no folder'}: one FOLDER, with one for each label in it"
        )
    args.folder = folders[0]
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    if args.out is None:
        raise UsageError("no model: --out MODEL.onnx")
    for option, name, suffixes in (
        ("--out", args.out, (".onnx",)),
        ("--plot", args.plot, (".png", ".svg", ".pdf")),
    ):
        path = Path(name or f"x{suffixes[0]}")
        if path.suffix.lower() not in suffixes:
            raise UsageError(f"{option} {path}: not {' or '.join(suffixes)}")
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise UsageError(f"{option} {path}: no file can be written there")
    for name, least, most in (("epochs", 1, 10**6), ("augment", 0, 100), ("seed", 0, 2**32 - 1)):
        if not least <= getattr(args, name) <= most:
            raise UsageError(f"--{name} {getattr(args, name)} is not in {least} … {most}")
    if not 0 <= args.test_size < 1:
        raise UsageError(f"--test-size {args.test_size:g} is not in 0 … 1, without 1")
    if args.plot is not None and not args.test_size:
        raise UsageError("--plot is of what was held out, and --test-size 0 holds out nothing")
    if not (args.learning_rate > 0 and math.isfinite(args.learning_rate)):
        raise UsageError(f"--learning-rate {args.learning_rate:g} is not above 0")
    if args.top_db is not None:
        raise UsageError("--top-db needs the whole recording, and a model hears live: leave it out")
    for module in ("sklearn", "skl2onnx", "onnxruntime"):
        need(module, "rtaudio train", "train")


def _hidden(text: str) -> list[int]:
    try:
        hidden = [int(part) for part in text.split(",")]
    except ValueError:
        hidden = [0]
    if min(hidden) < 1:
        raise UsageError(f"--hidden {text}: neurons of a layer, or of several: 64, or 64,32")
    return hidden


# --- what is told -----------------------------------------------------------------------------


def _tell(training: Training, words: Words, took_s: float) -> None:
    front_end = training.model.front_end
    settings = front_end.settings
    words.say(
        f"{training.learned} recordings learned in {took_s:.1f} s, the best of "
        f"{len(training.fit.losses)} epochs was the {_ordinal(training.fit.epochs)}"
        + (f"; {len(training.skipped)} skipped" if training.skipped else "")
    )
    words.say(
        f"front end: {settings.sr} Hz, n_fft {settings.n_fft}, hop {settings.hop_length}, "
        f"{front_end.context} rows ({1e3 * front_end.context * front_end.hop_s:.0f} ms) of "
        f"{', '.join(front_end.features)}"
    )
    if not training.confusion.sum():
        words.say("nothing was held out, so nobody knows how good it is: --test-size")
        return
    width = shutil.get_terminal_size((100, 24)).columns
    print("\n".join(_matrix(training, width)))
    total, right = int(training.confusion.sum()), training.accuracy
    whole = f"; held out whole: {', '.join(training.groups)}" if training.groups else ""
    print(f"{100 * right:.1f} % of {total} held-out recordings heard rightly{whole}")


def _names(labels: Sequence[str | None]) -> list[str]:
    return ["nothing" if label is None else shortened(label, LONGEST) for label in labels]


def _ordinal(number: int) -> str:
    tens = number % 100 in (11, 12, 13)
    return f"{number}{'th' if tens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _matrix(training: Training, width: int) -> list[str]:
    """The confusion matrix; where it has no room, what was confused most."""
    from rich.cells import cell_len

    rows, columns = _names(training.rows), _names(training.columns)
    if not training.confusion[:, -1].any() and not any(r.startswith("_") for r in training.rows):
        columns, counts = columns[:-1], training.confusion[:, :-1]
    else:
        counts = training.confusion
    first = max(len("held out"), *map(cell_len, rows))
    wide = 1 + max(len(str(counts.max())), *map(cell_len, columns))
    if first + wide * len(columns) <= width:
        heads = (" " * (wide - cell_len(name)) + name for name in columns)
        lines = [f"{'held out':{first}}" + "".join(heads)]
        for name, row in zip(rows, counts.tolist(), strict=True):
            figures = "".join(f"{n or '·':>{wide}}" for n in row)
            lines.append(name + " " * (first - cell_len(name)) + figures)
        return lines
    wrong = sorted(
        (
            (-count, rows[r], columns[c])
            for r, row in enumerate(counts.tolist())
            for c, count in enumerate(row)
            if count and c != training.right[r]
        ),
    )
    lines = [f"{-count:4} × {row} heard as {column}" for count, row, column in wrong[:WORST]]
    lines = lines or ["none was heard as another"]
    return [
        *lines,
        f"(most often confused; the matrix needs {first + wide * len(columns)} columns)",
    ]


def _write(training: Training, args: argparse.Namespace, words: Words) -> int:
    """Write the model and the picture; the exit status."""
    status = DONE
    try:
        training.save(args.out)
        size = len(training.model.data)
        words.say(f"model: {args.out} ({size / 1000:.0f} kB); rtaudio live --model {args.out}")
    except OSError as error:
        words.error(f"{args.out}: {error.strerror or error}")
        status = UNREADABLE
    if args.plot is not None and training.confusion.sum():
        from rtaudio import figures

        whole = f"; held out whole: {', '.join(training.groups)}" if training.groups else ""
        title = (
            f"{args.folder}: {100 * training.accuracy:.1f} % of held-out recordings right{whole}"
        )
        rows, columns = _names(training.rows), _names(training.columns)
        try:
            figures.draw_confusion(rows, columns, training.confusion, title, Path(args.plot))
            words.say(f"picture: {args.plot}")
        except OSError as error:
            words.error(f"{args.plot}: {error.strerror or error}")
            status = UNREADABLE
    return status
