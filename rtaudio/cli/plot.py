"""`rtaudio plot`: five pictures of a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, UNREADABLE
from rtaudio.cli.kernels import load_kernels
from rtaudio.cli.options import (
    UsageError,
    add_settings,
    given_settings,
    keep_recordings,
    need,
    new_parser,
    parse_recordings,
    settings_of,
    stem,
)
from rtaudio.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from rtaudio.analysis.settings import Settings
    from rtaudio.recordings import Summary
    from rtaudio.sources.block import Source


def main(argv: Sequence[str]) -> int:
    """Five pictures of a recording."""
    parser = new_parser(
        "plot",
        "Waveform, power spectrum, spectrogram, spectrogram in dB, and MFCCs; of a dataset of "
        "rtaudio archive, its long-term spectrogram.",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a recording, demo:KIND, or a dataset"
    )
    parser.add_argument(
        "-o", "--out", metavar="PNG", help=".png, .svg, .pdf (default: FILE's .png)"
    )
    add_settings(parser)
    args = parse_recordings(parser, argv)
    settings = settings_of(args)
    if len(args.files) > 1:
        raise UsageError(f"plot draws one recording, not {len(args.files)}")
    file = args.files[0]
    if Path(file).is_dir():
        return _dataset(Path(file), args)
    if file == "-" and args.out is None:
        raise UsageError("standard input has no name: --out PICTURE.png")
    out = Path(args.out or f"{stem(file)}.png")
    keep_recordings([file], out)
    from rtaudio.sources import open_source

    words = Words(args.quiet)
    load_kernels(words)
    summary = _picture(file, lambda: open_source(file), settings, out, args.top_db, words)
    if summary is None:
        return UNREADABLE
    words.say(f"{file}: {summary.duration_s:.3f} s, {summary.frames} frames → {out}")
    return DONE


def _dataset(folder: Path, args: argparse.Namespace) -> int:
    """Draw what `rtaudio archive` made."""
    need("pyarrow", "a dataset", "parquet")
    from rtaudio.archive.picture import draw_dataset
    from rtaudio.figures import PICTURE_SUFFIXES
    from rtaudio.sources.block import SourceError

    for name, value in {**given_settings(args), "top_db": args.top_db}.items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')}: a dataset has its settings: leave it out"
            )
    out = Path(args.out or f"{folder.resolve().name}.png")
    if out.suffix not in PICTURE_SUFFIXES:
        raise UsageError(f"--out {out}: not one of {', '.join(PICTURE_SUFFIXES)}")
    words = Words(args.quiet)
    try:
        for note in draw_dataset(folder, out):
            words.say(note)
    except SourceError as error:
        words.error(str(error))
        return UNREADABLE
    except OSError as error:
        words.error(f"{out}: {error.strerror or error}: choose another place with --out")
        return UNREADABLE
    words.say(f"{folder} → {out}")
    return DONE


def _picture(
    name: str,
    open_again: Callable[[], Source],
    settings: Settings,
    out: Path,
    top_db: float | None,
    words: Words,
) -> Summary | None:
    """Draw the five pictures, and print the durations; None where it could not be done."""
    from rtaudio import figures
    from rtaudio.recordings import analyze_recording
    from rtaudio.sources.block import SourceError

    if out.suffix not in figures.PICTURE_SUFFIXES:
        raise UsageError(f"--out {out}: not one of {', '.join(figures.PICTURE_SUFFIXES)}")
    overview = figures.Overview()

    try:
        with words.progress([name]) as report:
            summary = analyze_recording(
                open_again,
                settings,
                overview.take,
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
