"""`rtaudio live --headless`: what it writes and says, and that it ends whole however it ends."""

import contextlib
import csv
import dataclasses
import fcntl
import json
import math
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from command import COMMAND, SONG, names, no_file_above
from servers import Pulse, private_env, wait_for
from sounds import SR

import rtaudio
from rtaudio.cli import main
from rtaudio.cli.meter import latency_words, lost_words, meter, sum_up
from rtaudio.sources.signal import signal as demo
from rtaudio.words import Words

LIVE = [*COMMAND, "live", "--headless"]
DEMO = ["live", "demo:", "--headless", "--fast"]


def read(path):
    """The columns of an output."""
    if path.suffix == ".npz":
        with np.load(path) as held:
            return {name: held[name] for name in ("time", "lost", "rms", "peak", "mfcc")}
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return {name: table[name].to_numpy() for name in table.column_names}
    with path.open() as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, np.array(rows, float).reshape(-1, len(header)).T, strict=True))


def about(path):
    if path.suffix == ".npz":
        return json.loads(str(np.load(path)["about"]))
    beside = path / "_about.json" if path.suffix == ".parquet" else path.with_suffix(".json")
    return json.loads(beside.read_text())


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def assert_begins(found, wanted, at_least):
    """Rows of a run that was ended are the first ones of a whole one."""
    assert list(found) == list(wanted)
    count = len(found["time"])
    assert at_least <= count
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array[:count], err_msg=name)


def assert_books(books, samples, frames):
    assert books["delivered"] == books["processed"] + books["dropped"] == samples
    assert books["lost"] == books["dropped"] + books["host"] + books["outage"]
    assert books["frames"] == frames


@contextlib.contextmanager
def running(*options, **kwargs):
    """A live run that is at work, with its output so far; killed in the end if need be."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    with subprocess.Popen([*LIVE, *options], text=True, **pipes) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def rows_until(process, seconds):
    """Read JSON rows up to that time."""
    for line in process.stdout:
        row = json.loads(line)
        if row["time"] >= seconds:
            return row["time"]
    raise AssertionError(process.stderr.read())


# --- the same numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
@pytest.mark.parametrize("options", ["", "--sr 16000 --channel 2 --n-fft 512 --no-center"])
def test_fast_is_analyze(here, capsys, suffix, options):
    names_of = here / f"live.{suffix}", here / f"whole.{suffix}"
    live = ["live", "song.wav", "--headless", "--fast", "-o", names_of[0].name]
    assert main([*live, *options.split()]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading song.wav: 22050 Hz, 2 channels\nsong.wav: 1.000 s, " in err
    assert err.endswith(" rows; nothing lost\n")
    assert main(["analyze", "song.wav", "-o", names_of[1].name, *options.split()]) == 0
    assert_equal(read(names_of[0]), read(names_of[1]))
    if suffix != "parquet":
        found, wanted = map(about, names_of)
        for name in ("settings", "rtaudio", "source_sr", "samples", "frames", "invalid", "notes"):
            assert found[name] == wanted[name]
        assert_books(found, len(SONG), wanted["frames"])
        assert found["start_utc"].endswith("+00:00")


def test_rows_on_standard_output(here, capsys):
    assert main("analyze song.wav --features peak,db".split()) == 0
    wanted = capsys.readouterr().out
    live = "live song.wav --headless --fast --features peak,db"
    assert main([*live.split(), "-o", "-", "-q"]) == 0
    assert capsys.readouterr() == (wanted, "")
    assert main([*live.split(), "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    *rows, end = map(json.loads, out.splitlines())
    assert err == ""
    assert end.pop("event") == "end"
    assert_books(end, len(SONG), len(rows))
    features = rtaudio.analyze("song.wav", features=("peak", "db"))
    for name in ("time", "lost", "peak", "db"):
        found = np.array([row[name] for row in rows], features.arrays[name].dtype)
        np.testing.assert_array_equal(found, features.arrays[name])


def test_what_is_not_known_is_null_in_json(here, capsys):
    assert main("live song.wav --headless --fast --features captured --json".split()) == 0
    *rows, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert {row["captured"] for row in rows} == {None}
    assert end["age_ms"] is None


@pytest.mark.parametrize("options", ["", "--sr 8000"])
def test_the_replay_of_a_take_is_the_live_run(here, options):
    live = "live demo: --headless --duration 0.7 --record take.wav -o live.npz"
    began = time.monotonic()
    assert main([*live.split(), *options.split()]) == 0
    assert time.monotonic() - began > 0.7
    assert main(["analyze", "take.wav", "-o", "replay.npz", *options.split()]) == 0
    assert_equal(read(here / "live.npz"), read(here / "replay.npz"))
    y, sr = soundfile.read("take.wav", dtype="float32")
    np.testing.assert_array_equal(y, rtaudio.sources.signal.signal("demo", sr)[: round(0.7 * sr)])


def test_a_take_with_gaps_is_copied_with_them(here, capsys):
    soundfile.write("take.wav", SONG, SR, subtype="FLOAT")
    gaps = "first_sample,length,cause,uncertainty\n3000,500,dropped,0\n9000,7000,outage,441\n"
    (here / "take.gaps.csv").write_text(gaps)
    live = "live take.wav --headless --fast --record copy.wav -o a.csv"
    assert main(live.split()) == 0
    err = capsys.readouterr().err
    assert (
        "; lost 7500 samples (0.340 s): 500 dropped here, about 0 by the sound system, about 7000 "
        "while it was gone" in err
    )
    assert (here / "copy.gaps.csv").read_text() == gaps
    assert main("analyze copy.wav -o b.csv".split()) == 0
    assert main("analyze take.wav -o c.csv".split()) == 0
    assert (here / "a.csv").read_text() == (here / "b.csv").read_text()
    assert (here / "a.csv").read_text() == (here / "c.csv").read_text()
    books = about(here / "a.csv")
    assert_books(books, len(SONG) - 7000, books["frames"])
    assert (books["dropped"], books["outage"], books["samples"]) == (500, 7000, len(SONG))


def test_remarks_are_copied_and_said(here, capsys):
    """The rows are those without them."""
    soundfile.write("take.wav", SONG, SR, subtype="FLOAT")
    header, gap = "first_sample,length,cause,uncertainty\n", "3000,500,host,44\n"
    remarks = "3000,240,refuted,0\n9000,2205,unplaced,4410\n"
    (here / "take.gaps.csv").write_text(header + gap + remarks)
    live = "live take.wav --headless --fast --json --features rms"
    assert main([*live.split(), "--record", "copy.wav"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[1:] == [
        "rtaudio: take.gaps.csv: 2205 samples (0.100 s) more were lost somewhere in "
        "0.408 … 0.608 s; they are not in the recording",
        "take.wav: 1.000 s, 44 rows; lost 500 samples (0.023 s): 0 dropped here, about 500 by the "
        "sound system, about 0 while it was gone; 240 of them turned out not to be lost; about "
        "2205 samples (0.100 s) more were lost at an unknown place: not in the recording",
    ]
    assert (here / "copy.gaps.csv").read_text() == header + gap + remarks
    *rows, end = map(json.loads, out.splitlines())
    assert_books(end, SR - 500, len(rows))
    assert (end["refuted"], end["unplaced"], end["latency_changes"]) == (240, 2205, 0)
    assert end["lost_by_cause"] == {"dropped": 0, "host": 500, "outage": 0}
    (here / "take.gaps.csv").write_text(header + gap)
    assert main([*live.split(), "-q"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1] == rows


BOOKS = rtaudio.LiveStats(
    *(1000, 1000, 0, 0, 0, 0, 0, 50, 0, 0, 10.0, 0, 0.0, 0.0), microphone=None, stages={}
)


@pytest.mark.parametrize(
    ("what", "words", "short"),
    [
        ({}, "nothing lost", "nothing lost"),
        (
            {"unplaced": 87397},
            "about 87397 samples (1.821 s) were lost at an unknown place: not in the recording",
            "lost 1.82 s at an unknown place",
        ),
        (
            {"host": 480, "dropped": 10, "refuted": 240},
            "lost 490 samples (0.010 s): 10 dropped here, about 480 by the sound system, about 0 "
            "while it was gone; 240 of them turned out not to be lost",
            "lost 0.01 s, 0.01 s of it refuted",
        ),
        (
            {"host": 480, "unplaced": 48000},
            "lost 480 samples (0.010 s): 0 dropped here, about 480 by the sound system, about 0 "
            "while it was gone; about 48000 samples (1.000 s) more were lost at an unknown place: "
            "not in the recording",
            "lost 0.01 s, 1.00 s at an unknown place",
        ),
    ],
)
def test_losses_in_words(what, words, short):
    stats = dataclasses.replace(BOOKS, **what)
    assert lost_words(stats, 48000) == words
    with rtaudio.live("demo:", realtime=False, duration_s=1) as run:
        run.wait()
    row = run.latest()
    row.captured[:] = time.perf_counter()
    seen = SimpleNamespace(
        latest=lambda: row,
        answer=lambda: None,
        stats=dataclasses.replace(stats, age_ms=math.nan),
        source=SimpleNamespace(sr=48000, name="x"),
    )
    assert f"  {short}  " in meter(seen, 500)


@pytest.mark.parametrize(
    ("count", "last", "largest", "words"),
    [
        (0, 0.0, 0.0, ""),
        (1, 12.4, 12.4, "latency changed once, by +12.4 ms"),
        (3, 12.4, 18.0, "latency changed 3 times, last by +12.4 ms, at most by +18.0 ms"),
        (2, -3.0, -30.25, "latency changed 2 times, last by -3.0 ms, at most by -30.2 ms"),
    ],
)
def test_changes_of_the_latency_in_words(count, last, largest, words, capsys):
    """In the last line of a run, behind the losses."""
    stats = dataclasses.replace(
        BOOKS,
        latency_changes=count,
        latency_change_ms=last,
        largest_latency_change_ms=largest,
    )
    assert latency_words(stats) == words
    run = SimpleNamespace(stats=stats, source=SimpleNamespace(sr=1000, name="x", notes=[]))
    sum_up(run, Words(False))
    end = f"; {words}" if words else ""
    assert capsys.readouterr().err == f"x: 1.000 s, 50 rows; nothing lost{end}\n"


def test_rotated_files_hold_every_sample(here):
    record = ["--record", "%SONG/take_%H%M%S.wav", "--rotate", "3s"]
    assert main([*DEMO, *record]) == 0
    takes = sorted(here.glob("*/take_*.wav"), key=lambda take: take.stat().st_mtime_ns)
    pieces = [soundfile.read(take, dtype="float32")[0] for take in takes]
    assert [len(piece) / SR for piece in pieces] == [3, 3, 3, 1]
    whole = demo("demo", SR)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert all(take.with_suffix(".gaps.csv").exists() for take in takes)


# --- standard input ---------------------------------------------------------------------------


def test_wav_through_a_pipe(here):
    data = (here / "song.wav").read_bytes()
    done = subprocess.run([*LIVE, *"- -o out.npz".split()], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert read(here / "out.npz").keys() == {"time", "lost", "rms", "peak", "mfcc"}
    np.testing.assert_array_equal(read(here / "out.npz")["mfcc"], rtaudio.analyze("song.wav").mfcc)


def test_raw_samples_that_end_within_one(here):
    data = SONG.astype("<f4").tobytes()[:-3]
    done = subprocess.run(
        [*LIVE, *"- --raw f32le:22050:2 -o out.npz".split()], input=data, capture_output=True
    )
    assert done.returncode == 0
    err = done.stderr.decode()
    assert "ended in mid-sample, 5 of 8 bytes; left out" in err
    assert err.count("\n") == 3
    expected = rtaudio.analyze(SONG[:-1].astype(np.float32), sr=SR)
    np.testing.assert_array_equal(read(here / "out.npz")["mfcc"], expected.mfcc)


def test_standard_input_that_is_none(here, monkeypatch, capsys):
    master, slave = pty.openpty()
    done = subprocess.run([*LIVE, "-"], stdin=slave, capture_output=True, text=True)
    os.close(master)
    os.close(slave)
    assert done.returncode == 3
    assert done.stderr.startswith("rtaudio: standard input is the terminal: pipe a recording in")
    assert done.stderr.count("\n") == 1
    monkeypatch.setattr(sys, "stdin", None)  # as where the shell has closed it
    assert main(["live", "-", "--headless"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("rtaudio: standard input is closed")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_silent_pipe_does_not_hold_the_end(here, number, status):
    """Nothing more comes, and it is not closed: all that came is in the outputs."""
    options = "- --raw f32le:22050:1 -o out.csv --json --record take.wav".split()
    samples = SONG[:, 0].astype("<f4")
    with running(*options, stdin=subprocess.PIPE) as run:
        run.stdin.buffer.write(samples.tobytes())
        run.stdin.buffer.flush()
        rows_until(run, 0.9)
        run.send_signal(number)
        *_, end = run.stdout
        assert run.wait(30) == status
        assert "Traceback" not in run.stderr.read()
    expected = rtaudio.analyze(samples, sr=SR)
    assert_books(json.loads(end), SR, len(expected))
    peaks = read(here / "out.csv")["peak"].astype(np.float32)
    np.testing.assert_array_equal(peaks, expected.peak)
    np.testing.assert_array_equal(soundfile.read("take.wav", dtype="float32")[0], samples)


# --- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "status", "suffix"),
    [
        ([signal.SIGINT], 130, "npz"),
        ([signal.SIGTERM, signal.SIGTERM, signal.SIGHUP], 0, "npz"),
        ([signal.SIGTERM], 0, "parquet"),
    ],
)
def test_a_signal_ends_it_with_every_output_whole(here, numbers, status, suffix):
    options = f"demo: --json --record take.wav -o out.{suffix}".split()
    command = [
        "sh",
        "-c",
        "trap '' INT; exec \"$@\"",
        "sh",
        *LIVE,
        *options,
    ]  # as a script's & does
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as run:
        rows_until(run, 0.5)
        for number in numbers:
            run.send_signal(number)
        rest = [json.loads(line) for line in run.stdout]
        assert run.wait(30) == status
        err = run.stderr.read()
    assert err.count("\n") == 2, err
    found = read(here / f"out.{suffix}")
    frames = len(found["time"])
    y, _ = soundfile.read("take.wav", dtype="float32")
    assert rest[-1].pop("event") == "end"
    assert_books(rest[-1], len(y), frames)
    assert_books(about(here / f"out.{suffix}"), len(y), frames)
    assert rest[-2]["time"] == found["time"][-1]
    assert main(["analyze", "take.wav", "-o", f"replay.{suffix}"]) == 0
    assert_equal(found, read(here / f"replay.{suffix}"))
    assert not list(here.rglob("*.part"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_killed_it_has_lost_the_last_second_at_most(here, suffix):
    with running(*f"demo: --json --record take.wav -o out.{suffix}".split()) as run:
        reached = rows_until(run, 2.5)
        run.kill()
    if suffix == "csv":
        text = (here / "out.csv").read_text()
        (here / "out.csv").write_text(text[: text.rindex("\n") + 1])
        found = read(here / "out.csv")
    else:
        with pa.OSFile("out.parquet/_current.arrows") as file:
            table = pa.Table.from_batches(pa.ipc.open_stream(file))
        found = {name: table[name].to_numpy() for name in table.column_names}
    rtaudio.analyze("demo:").save(here / f"whole.{suffix}")
    assert_begins(found, read(here / f"whole.{suffix}"), at_least=(reached - 1.3) * SR // 512)
    y, _ = soundfile.read("take.wav", dtype="float32")
    assert len(y) > (reached - 1.3) * SR
    np.testing.assert_array_equal(y, demo("demo", SR)[: len(y)])
    settings = about(here / f"out.{suffix}")["settings"]
    assert rtaudio.Settings(**settings) == rtaudio.Settings(sr=SR)


@pytest.mark.parametrize("rows", ["--json", "-o -"])
def test_head_has_seen_enough(here, rows):
    line = f"set -o pipefail; {' '.join(LIVE)} demo: {rows} --record take.wav | head -n 3"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert re.fullmatch(r"listening to .*\ndemo: .* rows; nothing lost\n", done.stderr)
    y, _ = soundfile.read("take.wav", dtype="float32")
    np.testing.assert_array_equal(y, demo("demo", SR)[: len(y)])


def test_a_reader_that_takes_its_time_gets_every_row(here):
    """The end of the run waits for it, though all is computed."""
    wanted = subprocess.run(
        [*COMMAND, *"analyze demo: --features db".split()], capture_output=True, check=True
    ).stdout
    with running(*"demo: --fast --features db -o - --record take.wav".split()) as run:
        wait_for((here / "take.wav").exists, "take")
        assert run.stdout.buffer.read(1)
        time.sleep(1)  # much more than it takes to compute
        assert run.poll() is None
        assert run.stdout.buffer.read() == wanted[1:]
        assert run.wait(30) == 0


def test_a_full_standard_output_ends_that_alone(here):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        options = "demo: --fast --json --record take.wav".split()
        done = subprocess.run([*LIVE, *options], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert done.stderr.splitlines()[1:] == [
        "rtaudio: standard output has ended: No space left on device",
        "demo: 10.000 s, 431 rows; nothing lost",
    ]
    assert soundfile.info("take.wav").frames == 10 * SR


def test_a_full_disk_ends_the_recording_and_it_goes_on_listening(here, capsys):
    with no_file_above(400_000):
        assert main([*DEMO, "--json", "--record", "take.wav", "-o", "out.npz"]) == 3
    out, err = capsys.readouterr()
    note = "the recording has ended: take.wav: File too large"
    assert err.splitlines()[1:] == [f"rtaudio: {note}", "demo: 10.000 s, 431 rows; nothing lost"]
    assert json.dumps({"event": "note", "text": note}) in out.splitlines()
    np.testing.assert_array_equal(read(here / "out.npz")["mfcc"], rtaudio.analyze("demo:").mfcc)
    y, _ = soundfile.read("take.wav", dtype="float32")
    assert 4 * len(y) > 399_000
    np.testing.assert_array_equal(y, demo("demo", SR)[: len(y)])


@pytest.mark.parametrize(
    ("suffix", "options", "rows"),
    [
        ("csv", "--features mel_db --hop-length 128", 256),
        ("npz", "--features db", 0),
        ("parquet", "--features db", 0),
    ],
)
def test_a_full_disk_ends_the_features_and_it_goes_on_recording(
    here, capsys, suffix, options, rows
):
    """What was flushed before stays, and nothing that can't be read."""
    with no_file_above(900_000):
        output = ["-o", f"out.{suffix}", "--record", "take.wav"]
        assert main([*DEMO, *options.split(), *output]) == 3
    err = capsys.readouterr().err
    assert f"rtaudio: the output has ended: {here / 'out'}.{suffix}: File too large\n" in err
    assert err.count("\n") == 3
    assert soundfile.info("take.wav").frames == 10 * SR
    left = {f"out.{suffix}", "out.json"} if rows else set()
    assert set(names(here)) - {"song.wav", "take.wav", "take.gaps.csv"} == left
    if rows:
        assert main(["analyze", "demo:", *options.split(), "-o", f"whole.{suffix}"]) == 0
        found = read(here / f"out.{suffix}")
        assert_begins(found, read(here / f"whole.{suffix}"), at_least=rows)


# --- what is refused --------------------------------------------------------------------------

USAGE = [
    ("song.wav --headless --top-db 80", "works in rtaudio analyze and plot"),
    ("--headless --top-db 80", "works in rtaudio analyze and plot"),
    ("song.wav --headless --device usb", "--device is for a microphone, and song.wav is none"),
    ("demo: --headless --device-rate 8000", "--device-rate is for a microphone"),
    ("demo: --headless --blocksize 64", "--blocksize is for a microphone"),
    ("- --headless --latency low", "--latency is for a microphone"),
    ("--headless --fast", "--fast is for a file"),
    ("--headless --play", "--play is for a file"),
    ("--headless --blocksize -1", "blocksize=-1 is below 1"),
    ("--headless --device-rate 0", "sr=0 is not a whole number in 1 …"),
    ("--headless --latency soon", "latency='soon' is not low, high or a number"),
    ("song.wav --headless --fast --play", "too fast to hear"),
    ("song.wav --headless --raw f32le:8000:1", "give - as the SOURCE"),
    ("- --headless --raw f32le", "not a rate"),
    ("song.wav --headless --rotate 1h", "--rotate needs --record"),
    ("song.wav --headless --record t_%S.wav --rotate 0.5", "--rotate 0.5: a file holds 1 s"),
    ("song.wav --headless --record t.wav --rotate 1h", "many files need the time in their name"),
    ("song.wav --headless --record t.mp3", "--record t.mp3: a take is a WAV file"),
    ("song.wav --headless --json -o -", "both write to standard output"),
    ("song.wav --headless -o x.txt", "not one of .csv, .npz, .parquet, or -"),
    ("song.wav --headless --features tempo", "'tempo' is not a feature"),
    ("song.wav --headless --duration 0", "'0' is not a time: 90 (seconds), 10m, 1.5h, 7d"),
    ("song.wav --headless --duration 1w", "'1w' is not a time"),
    ("song.wav --headless --n-fft 0", "n_fft=0 is not in 1 …"),
    ("song.wav b.wav --headless", "unrecognized arguments: b.wav"),
    ("song.wav --headless -- b.wav", "song.wav and b.wav: one SOURCE at a time"),
    ("song.wav --headless --screenshot x.png --size 0x0", "--size 0x0: 320x240 at least"),
    ("song.wav --headless --screenshot x.png --size big", "--size big: width and height in pixels"),
    ("song.wav --headless --screenshot x.png --size 70000x400", "--size 70000x400: 65536x65536"),
    ("song.wav --headless --screenshot x.png --size 60000x400", "is beyond 16384x16384"),
    ("song.wav --headless --screenshot x.jpg", "--screenshot x.jpg: a picture is a PNG file"),
    ("song.wav --headless --screenshot no/x.png", "--screenshot no/x.png: there is no such folder"),
    ("song.wav --headless --screenshot /.png/x.png", "there is no such folder"),
    (
        "song.wav --colormap jet",
        "--colormap jet is not one of magma, viridis, inferno, cividis, grey",
    ),
    ("song.wav --axis bark", "--axis bark is not one of log, linear, mel"),
    ("song.wav --span 0", "--span 0 is not in 0.1 … 600 (s)"),
    ("song.wav --floor 5", "5 … 0 dBFS (--floor, --ceiling) is not a range of 10 dB"),
    ("song.wav --backend gtk9", "glfw"),
    ("song.wav --headless --record-to x", "unrecognized arguments: --record-to"),
]


@pytest.mark.parametrize("display", [None, "", ":987"])
def test_a_picture_needs_no_screen_and_adds_no_words(here, display):
    env = {**os.environ, "DISPLAY": display or ""}
    if display is None:
        del env["DISPLAY"]
    command = [*DEMO, "--duration", "1", "--screenshot", "x.png"]
    done = subprocess.run([*COMMAND, *command], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert [line.split()[0] for line in done.stderr.splitlines()] == [
        "reading",
        "demo:",
        "picture:",
    ]


@pytest.mark.parametrize(("line", "words"), USAGE, ids=[line for line, _ in USAGE])
def test_wrong_usage_is_one_line_and_status_2(here, capsys, line, words):
    assert main(["live", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rtaudio: ")
    assert err.count("\n") == 1
    assert words in err
    assert names(here) == ["song.wav"]


def test_a_source_without_a_name(here, capsys):
    assert main(["live", "", "--headless"]) == 2
    assert capsys.readouterr().err == "rtaudio: the SOURCE's name is empty\n"


def test_a_recording_is_not_overwritten_by_its_features(here, capsys):
    before = (here / "song.wav").read_bytes()
    os.link("song.wav", "song.csv")
    assert main("live song.csv --headless --fast -o ./song.csv".split()) == 2
    assert "is the recording itself" in capsys.readouterr().err
    assert main("live song.wav --headless --fast --record song.wav".split()) == 3
    assert (here / "song.wav").read_bytes() == before
    assert names(here) == ["song.csv", "song.wav"]


def test_what_follows_two_dashes_is_a_file(here):
    (here / "song.wav").rename("-q.wav")
    assert main(["live", "--headless", "--fast", "-o", "o.csv", "--", "-q.wav"]) == 0
    assert names(here) == ["-q.wav", "o.csv", "o.json"]


UNREADABLE = [
    ("gone.wav", "gone.wav: no such file"),
    ("demo:sinus", "no such signal"),
    ("text.wav", "text.wav: not a recording"),
    ("song.wav --channel 3", "song.wav: has 2 channel(s), not a channel 3"),
    ("song.wav --fmax 20000", "fmax=20000 Hz is above half the rate"),
    ("song.wav -o no/where.csv", "no/where.csv: No such file or directory"),
    ("song.wav --record no/where.wav", "no/where.wav: No such file or directory"),
    ("song.wav --record mine.wav", "mine.wav: is there already: choose another name"),
    ("song.wav --record mine.wav -o new.csv", "mine.wav: is there already: choose another name"),
    ("song.wav -o there.csv --record new.wav", "there.json: is there and is not rtaudio's"),
    ("song.wav --record new%S/t.wav --rotate 1h -o /proc/x.npz", "/proc/x.npz: "),
]


@pytest.mark.parametrize(("line", "words"), UNREADABLE, ids=[line for line, _ in UNREADABLE])
def test_what_cannot_be_begun_is_one_line_and_status_3(here, capsys, line, words):
    """And it leaves everything as it was."""
    for name in ("text.wav", "mine.wav", "there.json"):
        (here / name).write_text("mine")
    assert main(["live", *line.split(), "--headless", "--fast"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rtaudio: ")
    assert err.count("\n") == 1
    assert words in err
    left = [name for name in names(here) if not re.fullmatch(r"new\d\d", name)]  # an empty folder
    assert left == ["mine.wav", "song.wav", "text.wav", "there.json"]
    assert (here / "mine.wav").read_text() == (here / "there.json").read_text() == "mine"


def test_a_damaged_file_keeps_what_could_be_read(here, capsys):
    soundfile.write("song.flac", np.random.default_rng(1).uniform(-1, 1, 4 * SR), SR)
    data = bytearray((here / "song.flac").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (here / "song.flac").write_bytes(data)
    assert main("live song.flac --headless --fast -o out.npz --json".split()) == 3
    out, err = capsys.readouterr()
    assert err.count("\n") == 3
    assert "rtaudio: song.flac: damaged after " in err
    *rows, end = map(json.loads, out.splitlines())
    assert len(rows) == len(read(here / "out.npz")["time"]) == end["frames"] > 50


# --- devices ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("devices", "input"),
        ("devices --json", "input"),
        ("devices --outputs", "output"),
        ("live --headless --record t.wav", "input"),
    ],
)
def test_a_machine_without_a_device(here, capsys, use, line, kind):
    use(private_env(PULSE_SERVER="unix:/nowhere"))
    assert main(line.split()) == 3
    assert capsys.readouterr() == (
        "", f"rtaudio: this machine has no audio {kind}: rtaudio doctor says what is missing\n",
    )  # fmt: skip
    assert names(here) == ["song.wav"]


ONE_OF_EACH = """
from types import SimpleNamespace
class PortAudioError(Exception): pass
default = SimpleNamespace(device=(0, 1))
def query_hostapis(): return [{"name": "ALSA"}]
def query_devices(): return [
    {"name": name, "hostapi": 0, "default_samplerate": 48000.0, f"max_{kind}_channels": 2}
    for name, kind in (("Ear", "input"), ("Mouth", "output"))
]
def check_input_settings(device, samplerate, **_): check(device == 0 and samplerate == 16000)
def check_output_settings(device, samplerate, **_): check(device == 1 and samplerate == 96000)
def check(fine):
    if not fine: raise PortAudioError("no")
"""


def test_inputs_and_outputs_are_listed_each_with_its_rates(here, capsys, monkeypatch):
    (here / "sounddevice.py").write_text(ONE_OF_EACH)
    monkeypatch.setenv("PYTHONPATH", str(here))
    assert main(["devices"]) == 0
    assert capsys.readouterr().out == "*  0  Ear (ALSA), 2 channels, 48000 Hz (also 16000)\n"
    assert main(["devices", "--outputs"]) == 0
    assert capsys.readouterr().out == "*  1  Mouth (ALSA), 2 channels, 48000 Hz (also 96000)\n"


def test_devices_and_one_that_is_not_there(here, capsys, use):
    with Pulse(here) as pulse:
        use(pulse.env)
        assert main(["devices"]) == 0
        listed = capsys.readouterr().out.splitlines()
        assert main(["devices", "--json"]) == 0
        devices = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        *of_portaudio, monitor = devices
        assert sum(device["default"] for device in devices) == 1
        assert listed[-1].startswith("   4  Monitor of Null Output (rt.monitor, PulseAudio), ")
        assert listed[-1].endswith("; what rt plays: -d monitor: or monitor:rt")
        assert (monitor["description"], monitor["monitor_of"]) == ("Monitor of Null Output", "rt")
        for line, device in zip(listed, of_portaudio, strict=False):
            assert f" {device['index']}  {device['name']} ({device['hostapi']}), " in line
        for line, device in zip(listed, devices, strict=True):
            assert line.startswith("*" if device["default"] else " ")
            assert f"{device['channels']} channel" in line
            assert f", {device['sr']} Hz" in line
        assert any("rtmon" in device["name"] for device in devices)
        assert main("live --headless -d bluetooth --record take.wav".split()) == 3
        err = capsys.readouterr().err
        assert err.startswith("rtaudio: there is no input 'bluetooth'; inputs are: ")
        assert all(f"{device['index']} {device['name']}" in err for device in of_portaudio)
        assert "4 Monitor of Null Output (rt.monitor, PulseAudio)" in err
        assert err.count("\n") == 1
        assert not (here / "take.wav").exists()


def test_a_microphone(here, capsys, use):
    with Pulse(here) as pulse:
        use(pulse.env)
        listen = "live --headless -d rtmon --duration 0.5 --json --record take.wav -o live.npz"
        assert main(listen.split()) == 0
    *rows, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert end.pop("event") == "end"
    rows = [row for row in rows if "event" not in row]
    assert_books(end, end["processed"] + end["dropped"], len(rows))
    take = soundfile.info("take.wav")
    assert end["processed"] + end["lost"] == take.frames == take.samplerate // 2
    assert main(["analyze", "take.wav", "-o", "replay.npz"]) == 0
    assert_equal(read(here / "live.npz"), read(here / "replay.npz"))


# --- the meter --------------------------------------------------------------------------------


def screen(data, columns):
    """The lines that a terminal shows, and the widest that any of them has been."""
    lines, column, widest = [""], 0, 0
    for part in re.findall(r"\x1b\[K|\r|\n|[^\r\n\x1b]", data):
        if part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif part == "\r":
            column = 0
        elif part == "\n":
            lines.append("")  # as a terminal that is told \r\n
        else:
            wide = 2 if ord(part) > 0x2E80 else 1
            lines[-1] = lines[-1][:column].ljust(column) + part * wide + lines[-1][column + wide :]
            column += wide
            widest = max(widest, column)
    return lines, widest


def on_a_terminal(columns, *options, stdout=None):
    """What is said on a terminal that wide; stdout is the terminal too, or a pipe."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    said = bytearray()

    def listen():
        with contextlib.suppress(OSError):  # EIO: nobody writes any more
            while data := os.read(master, 4096):
                said.extend(data)

    listener = threading.Thread(target=listen)
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    env |= {"NO_COLOR": "1", "TERM": "xterm"}
    with subprocess.Popen(
        [*LIVE, *options], stdout=slave if stdout is None else stdout, stderr=slave, env=env
    ) as run:
        os.close(slave)
        listener.start()
        if stdout is not None:
            run.stdout.read()
        status = run.wait(60)
    listener.join()
    os.close(master)
    assert status == 0
    return said.decode()


@pytest.mark.parametrize(
    ("columns", "stdout", "ends"),
    [
        (8, None, ""),
        (40, None, "nothing lost"),
        (40, subprocess.PIPE, "nothing lost"),
        (110, None, "音楽のとても長い名前の録音?.wav, 22050 Hz"),
    ],
)
def test_the_meter_is_one_line_that_is_gone_in_the_end(here, columns, stdout, ends):
    """Whatever the name holds, and wherever the rows go."""
    os.link("song.wav", "音楽のとても長い名前の録音\n.wav")
    rows = ["--json"] if stdout else []
    said = on_a_terminal(columns, "音楽のとても長い名前の録音\n.wav", *rows, stdout=stdout)
    shown = [part for part in said.split("\r") if part.endswith("\x1b[K") and part != "\x1b[K"]
    assert len(shown) >= 5
    for part in shown:
        lines, widest = screen(part, columns)
        assert len(lines) == 1
        assert widest < columns
        assert part.startswith("no samples") or part.endswith(f"{ends}\x1b[K")
    if columns == 110:
        levels = r"#+-+  +-\d+\.\d dBFS  0:00:00  nothing lost  delay \d+ ms  音"
        assert re.match(levels, shown[-1])
    assert set(re.findall(r"\x1b\[.*?[A-Za-z]", said)) == {"\x1b[K"}  # no colours
    lines, _ = screen(said, columns)
    assert lines[0].startswith("reading ")
    assert re.search(r"1\.000 s, 44 rows; nothing lost$", lines[1])
    assert lines[2:] == [""]


def test_rows_on_the_terminal_are_not_overwritten_by_the_meter(here):
    said = on_a_terminal(200, "demo:", "--duration", "0.5", "-o", "-")
    assert "dBFS" not in said
    rows = [line for line in said.splitlines() if re.match(r"\d+\.\d{9},0,", line)]
    assert len(rows) == 22


def test_a_terminal_that_goes_away_does_not_end_the_run(here):
    """As when a window is closed in which a run was left: what it writes is whole."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*LIVE, *"demo: --duration 0.6 -o out.npz --record take.wav".split()], stderr=slave
    ) as run:
        os.close(slave)
        assert os.read(master, 10)
        os.close(master)
        assert run.wait(60) == 0
    assert len(read(here / "out.npz")["time"]) == 26
    assert soundfile.info("take.wav").frames == round(0.6 * SR)
    reader = f"{' '.join(LIVE)} demo: --fast --duration 0.5 -o out2.npz 2>&1 >&- | true"
    assert subprocess.run(["bash", "-c", f"set -o pipefail; {reader}"]).returncode == 0
    assert len(read(here / "out2.npz")["time"]) == 22


def test_a_reader_that_stalls_holds_nobody_up(here):
    """Nobody reads the rows: the levels go on, and Ctrl-C ends the run all the same."""
    command = [*LIVE, "demo:", "--json", "--features", "db", "--record", "take.wav"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        wait_for((here / "take.wav").exists, "the take")
        size = (here / "take.wav").stat().st_size
        # much more than the pipe holds
        wait_for(lambda: (here / "take.wav").stat().st_size > size + 4 * 22050 * 3, "3 s", 20)
        run.send_signal(signal.SIGINT)
        assert run.wait(20) == 3
        said = run.stderr.read().decode()
        assert "standard output does not end: left behind after 3 s" in said
        assert "Traceback" not in said
    assert soundfile.info(here / "take.wav").frames > 3 * 22050
