"""The command line: what it writes, what it says, and how it ends."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from command import COMMAND, SONG, names
from sounds import SR

import rtaudio
from rtaudio.cli import main


def test_csv_on_stdout(here, capsys):
    assert main(["analyze", "song.wav"]) == 0
    out, err = capsys.readouterr()
    header, *rows = csv.reader(out.splitlines())
    assert header == ["time", "lost", "rms", "peak", *(f"mfcc_{i}" for i in range(13))]
    values = np.array(rows, float)
    expected = rtaudio.analyze("song.wav")
    np.testing.assert_array_equal(values[:, 4:].astype(np.float32), expected.mfcc)
    assert names(here) == ["song.wav"]
    assert err == ""


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_one_file_to_one_file(here, capsys, suffix):
    assert main(["analyze", "song.wav", "--out", f"out.{suffix}"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"44 frames → out.{suffix}" in err
    assert (
        names(here)
        == {
            "csv": ["out.csv", "out.json", "song.wav"],
            "npz": ["out.npz", "song.wav"],
            "parquet": ["out.parquet", "song.wav"],
        }[suffix]
    )


def test_every_option_reaches_the_settings(here):
    options = (
        "--sr 16000 --n-fft 1024 --win-length 900 --hop-length 200 --window kaiser:8 --no-center "
    )
    options += "--n-mels 40 --n-mfcc 20 --fmin 50 --fmax 7000 --htk --quantize-bits 12 --channel 2"
    assert (
        main(["analyze", "song.wav", "-o", "o.npz", "--features", "db,rms", *options.split()]) == 0
    )
    held = np.load("o.npz")
    s = rtaudio.Settings(
        **{"sr": 16000, "n_fft": 1024, "win_length": 900, "hop_length": 200, "center": False},
        **{"window": ("kaiser", 8.0), "n_mels": 40, "n_mfcc": 20, "fmin": 50.0, "fmax": 7000.0},
        **{"htk": True, "quantize_bits": 12, "channel": 2},
    )
    assert rtaudio.Settings.from_json(str(held["settings"])) == s
    np.testing.assert_array_equal(held["db"], rtaudio.analyze("song.wav", s, features="db").db)
    assert "mfcc" not in held


def test_top_db(here):
    assert main(["analyze", "song.wav", "-o", "o.npz", "--top-db", "80"]) == 0
    expected = rtaudio.analyze("song.wav", top_db=80.0)
    np.testing.assert_array_equal(np.load("o.npz")["mfcc"], expected.mfcc)
    assert json.loads(str(np.load("o.npz")["about"]))["top_db"] == 80


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_many_into_a_folder_with_one_that_is_bad(here, capsys, jobs):
    soundfile.write("b.flac", SONG, SR)
    soundfile.write("c.ogg", SONG, SR)
    (here / "text.wav").write_text("no sound")
    call = ["analyze", "song.wav", "text.wav", "b.flac", "gone.wav", "c.ogg", "-o", "out/deep"]
    assert main([*call, "--jobs", jobs, "--as", "parquet"]) == 3
    err = capsys.readouterr().err.splitlines()
    assert len([line for line in err if "→" in line]) == 3
    assert len(err) == 5
    assert any("text.wav: not a recording" in line for line in err)
    assert any("gone.wav: no such file" in line for line in err)
    assert names(here / "out/deep") == ["b.parquet", "c.parquet", "song.parquet"]
    assert pq.read_table("out/deep/b.parquet").num_rows == 44


def test_nothing_is_left_where_nothing_was_read(here):
    assert main(["analyze", "gone.wav", "-o", "out"]) == 3
    assert main(["analyze", "gone.wav", "-o", "out.csv"]) == 3
    assert names(here) == ["song.wav"]


USAGE = [
    ("analyze", "the following arguments are required: FILE"),
    ("song.wav", "did you mean analyze song.wav"),
    ("analyze song.wav -o song.wav", "song.wav: File exists"),
    ("plot song.wav -o ./song.wav", "is the recording itself"),
    ("--verison", "usage: unrecognized arguments: --verison; did you mean --version?"),
    ("analyze song.wav --n-fft 0", "n_fft=0 is not in 1 …"),
    ("analyze song.wav --n-fft x", "invalid int value: 'x'"),
    ("analyze song.wav --fmin 900 --fmax 100", "fmin=900 Hz is not below fmax"),
    ("analyze song.wav --window haming", "did you mean 'hamming'"),
    ("analyze song.wav --nfft 3", "unrecognized arguments: --nfft 3; did you mean --n-fft?"),
    ("analyze song.wav --hop 3", "did you mean --hop-length?"),
    ("analyze song.wav --features mfcc,tempo", "'tempo' is not a feature"),
    ("analyze song.wav --features ,", "no feature named"),
    ("analyze song.wav --jobs 0", "--jobs 0"),
    ("analyze song.wav --top-db -3", "--top-db -3"),
    ("analyze song.wav --channel left", "channel='left'"),
    ("analyze song.wav song.wav", "2 recordings need a folder"),
    ("analyze song.wav b.wav -o x.csv", "2 recordings need a folder"),
    ("analyze song.wav sub/song.flac -o x", "would both become x/song.csv"),
    ("analyze song.wav -o x.csv --as npz", "do not agree"),
    ("analyze song.wav --as npz", "--out FILE.npz"),
    ("analyze song.wav -o song.wav/x", "song.wav/x: Not a directory"),
    ("analyze song.wav --raw f32le:8000:1", "give - as the FILE"),
    ("analyze - --raw f32le", "not a rate"),
    ("analyze - --top-db 80", "reads twice"),
    ("plot song.wav -o x.bmp", "not one of .png, .svg, .pdf"),
    ("plot", "required: FILE"),
    ("demo --duration 0", "--duration 0"),
    ("demo --top-db 80", "rtaudio plot demo:"),
    ("analize song.wav", "did you mean analyze"),
    ("--frobnicate", "unrecognized arguments: --frobnicate; see rtaudio --help"),
]


@pytest.mark.parametrize(("line", "words"), USAGE, ids=[line for line, _ in USAGE])
def test_wrong_usage_is_one_line_and_status_2(here, capsys, line, words):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rtaudio: ")
    assert err.count("\n") == 1
    assert words in err
    assert names(here) == ["song.wav"]


def _nan(y):
    y[100:103, 0] = np.nan, np.inf, -np.inf
    return y


ODD = {
    "one sample": (SONG[:1], SR),
    "shorter than a window": (SONG[:100], SR),
    "192 kHz": (np.tile(SONG, (3, 1)), 192_000),
    "8 channels": (np.tile(SONG, (1, 4)), SR),
    "DC": (np.full((3000, 1), 0.7), SR),
    "clipping": (np.clip(SONG * 50, -1, 1), SR),
    "out of range": (SONG * 1e6, SR),
    "1 Hz": (SONG[:3000], 1),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_recordings_are_analyzed(here, capsys, case):
    y, sr = ODD[case]
    soundfile.write("odd.wav", y, sr, subtype="FLOAT")
    assert main(["analyze", "odd.wav", "-o", "odd.npz"]) == 0
    assert main(["plot", "odd.wav"]) == 0
    assert "rtaudio:" not in capsys.readouterr().err
    held = np.load("odd.npz")
    assert len(held["mfcc"]) == 1 + len(y) // 512
    assert np.isfinite(held["mfcc"]).all()


def test_nan_and_inf_are_counted_in_words_and_in_the_output(here, capsys):
    soundfile.write("nan.wav", _nan(SONG.copy()), SR, subtype="FLOAT")
    assert main(["analyze", "nan.wav", "-o", "nan.csv"]) == 0
    assert "nan.wav: 3 samples were NaN, Inf or beyond 1e12, taken as 0" in capsys.readouterr().err
    assert json.loads((here / "nan.json").read_text())["invalid"] == 3


UNREADABLE = [
    ("demo:sinus", "no such signal: demo:, demo:sine"),
    ("gone.wav", "no such file"),
    ("empty.wav", "is empty"),
    ("text.wav", "not a recording"),
    ("nothing.wav", "holds no samples"),
    (".", "is a folder"),
]


@pytest.mark.parametrize(("name", "words"), UNREADABLE)
@pytest.mark.parametrize("command", ["analyze", "plot"])
def test_unreadable_is_one_line_and_status_3(here, capsys, command, name, words):
    (here / "empty.wav").touch()
    (here / "text.wav").write_text("hello")
    soundfile.write("nothing.wav", SONG[:0], SR)
    before = names(here)
    out = "out.npz" if command == "analyze" else "out.png"
    assert main([command, name, "-o", out]) == 3
    err = capsys.readouterr().err
    assert err.startswith(f"rtaudio: {name}: ")
    assert words in err
    assert err.count("\n") == 1
    assert names(here) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--channel 3", "has 2 channel(s), not a channel 3"),
        ("--fmax 20000", "fmax=20000 Hz is above half the rate"),
        ("--no-center --n-fft 65536", "are shorter than one frame (n_fft=65536)"),
    ],
)
def test_settings_that_do_not_fit_this_recording(here, capsys, options, words):
    assert main(["analyze", "song.wav", "-o", "x.csv", *options.split()]) == 3
    assert words in capsys.readouterr().err
    assert names(here) == ["song.wav"]


def test_unwritable_outputs(here, capsys):
    (here / "there.json").write_text("mine")
    for out, words in (
        ("no/where.csv", "No such file or directory"),
        ("there.csv", "is there and is not rtaudio's"),
        ("/proc/x.npz", "/proc"),
    ):
        assert main(["analyze", "song.wav", "-o", out]) == 3
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1
    assert main(["plot", "song.wav", "-o", "no/where.png"]) == 3
    assert "No such file" in capsys.readouterr().err
    assert names(here) == ["song.wav", "there.json"]


def limited(*argv, **kwargs):
    """Run the command where no file may grow beyond 20 kB: as on a full disk, writes fail."""
    shell = f"ulimit -f 20; exec {sys.executable} -m rtaudio {' '.join(argv)}"
    return subprocess.run(["bash", "-c", shell], capture_output=True, text=True, **kwargs)


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_a_full_disk_leaves_nothing(here, suffix):
    long = np.tile(SONG, (60, 1))
    soundfile.write("long.wav", long, SR)
    done = limited("analyze", "long.wav", "-o", f"out.{suffix}", "--features", "mfcc,mel_db")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"out.{suffix}" in done.stderr
    assert "choose another place" in done.stderr
    assert names(here) == ["long.wav", "song.wav"]


def test_a_full_standard_output(here):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*COMMAND, "analyze", "song.wav"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_head_has_seen_enough(here):
    soundfile.write("long.wav", np.tile(SONG, (60, 1)), SR)
    line = f"set -o pipefail; {' '.join(COMMAND)} analyze long.wav | head -n 2"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
def test_interrupted_leaves_nothing_half_written(here, number, status, jobs):
    """The run is ended while it is at work: an endless pipe keeps it busy."""
    fifo = here / "endless.wav"
    os.mkfifo(fifo)
    command = [*COMMAND, "analyze", "endless.wav", "demo:", "-o", "out", "--as", "npz", *jobs]
    command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]  # as a script's & does
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        with fifo.open("wb") as pipe:
            soundfile.write("head.wav", np.tile(SONG, (40, 1)), SR)
            pipe.write((here / "head.wav").read_bytes())
            pipe.flush()
            deadline = time.monotonic() + 60
            while not any(name.endswith(".part") for name in names(here)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            running.send_signal(number)
        assert running.wait(60) == status
        assert "Traceback" not in running.stderr.read()
    assert not [name for name in names(here) if name.endswith(".part")]


def test_raw_samples_through_a_pipe(here):
    data = SONG[:, :1].astype("<f4").tobytes()
    done = subprocess.run(
        [*COMMAND, *"analyze - --raw f32le:22050:1 -o out.npz".split()], input=data, check=True
    )
    assert done.returncode == 0
    expected = rtaudio.analyze(SONG[:, 0], sr=SR)
    np.testing.assert_array_equal(np.load("out.npz")["mfcc"], expected.mfcc)


def test_a_recording_is_not_overwritten_by_its_features(here, capsys):
    (here / "song.wav").rename("song.csv")
    assert main(["analyze", "song.csv", "-o", "song.csv"]) == 2
    assert "is the recording itself" in capsys.readouterr().err
    assert main(["analyze", "song.csv", "-o", "."]) == 2


def test_what_follows_two_dashes_is_a_file(here):
    (here / "song.wav").rename("-q.wav")
    assert main(["analyze", "-o", "o.csv", "--", "-q.wav"]) == 0
    assert names(here) == ["-q.wav", "o.csv", "o.json"]


def test_names_that_mean_something_to_matplotlib(here, capsys):
    for name in ("p$x^$.wav", "音楽.wav", "a_b {c} %d.wav", "x" * 240 + ".wav"):
        os.link("song.wav", name)
        assert main(["plot", name]) == 0
        assert capsys.readouterr().err.count("\n") == 1
        assert (here / name).with_suffix(".png").exists()


def test_a_name_that_is_no_text(here):
    os.link("song.wav", b"bad\xff.wav")
    for call in ("plot", "analyze -o o.npz", "analyze -o o.csv", "analyze -o o.parquet"):
        line = f"{' '.join(COMMAND)} {call} $'bad\\xff.wav'"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(here, closed):
    line = f"{' '.join(COMMAND)} analyze song.wav -o o.csv {closed}"
    assert subprocess.run(["bash", "-c", line], check=True).returncode == 0
    assert len((here / "o.csv").read_text().splitlines()) == 45
    done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} analyze song.wav {closed}"])
    assert done.returncode == (0 if closed == "2>&-" else 2)


def test_a_pipe_is_not_read_twice(here, capsys):
    os.mkfifo("pipe.wav")
    for command in ("analyze", "plot"):
        assert main([command, "pipe.wav", "--top-db", "80"]) == 2
        assert "reads twice" in capsys.readouterr().err
    with pytest.raises(ValueError, match="reads twice"):
        rtaudio.analyze("pipe.wav", top_db=80.0)


@contextlib.contextmanager
def two_workers(here):
    """A run of which one worker is done, and the other waits on a pipe."""
    os.mkfifo("slow.wav")
    command = [*COMMAND, *"analyze slow.wav song.wav -o out -j 2".split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while not list(here.glob("out/song.csv")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            yield running
        finally:
            running.kill()


def workers(pid):
    """The processes that another one has for its tasks."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                yield int(child)


def test_a_recording_whose_process_is_killed_each_time_is_reported(here):
    """It is tried again, and nothing hangs."""
    with two_workers(here) as running:
        killed = set()
        while running.poll() is None:
            for worker in set(workers(running.pid)) - killed:
                with contextlib.suppress(ProcessLookupError):  # the others are ended with it
                    os.kill(worker, signal.SIGKILL)
                killed.add(worker)
            time.sleep(0.05)
        assert running.returncode == 3
        err = running.stderr.read()
    assert "slow.wav: its process was killed, three times" in err
    assert "Traceback" not in err
    assert (here / "out/song.csv").exists()


def test_workers_end_with_a_killed_parent(here):
    with two_workers(here) as running:
        running.kill()
        running.communicate(timeout=60)  # they hold its stderr open: all are gone


def test_help_and_version(capsys):
    for argv in (["--help"], ["analyze", "--help"], ["plot", "-h"], ["demo", "-h"], ["--version"]):
        with pytest.raises(SystemExit) as left:
            main(argv)
        assert left.value.code == 0
    out = capsys.readouterr().out
    assert "rtaudio COMMAND --help" in out
    assert rtaudio.__version__ in out
    assert main([]) == 2


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot(here, capsys, suffix):
    assert main(["plot", "song.wav", "-o", f"out.{suffix}"]) == 0
    out, err = capsys.readouterr()
    assert out == "hop 512 samples = 0.023220 s, window 2048 samples = 0.092880 s\n"
    assert err == f"song.wav: 1.000 s, 44 frames → out.{suffix}\n"
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (here / f"out.{suffix}").read_bytes().startswith(start)


def test_plot_is_named_after_the_recording(here):
    (here / "deep").mkdir()
    os.chdir("deep")
    assert main(["plot", "../song.wav", "-q"]) == 0
    assert names(here) == ["deep", "song.png", "song.wav"]
    assert (here / "deep/song.png").exists()


def test_demo_without_a_screen_leaves_a_picture_and_a_summary(here, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    begun = time.perf_counter()
    assert main(["demo", "--duration", "1.5"]) == 0
    assert time.perf_counter() - begun > 1.5
    out, err = capsys.readouterr()
    assert not out
    assert "no window: there is no screen" in err
    assert "demo: 1.500 s, 65 rows; nothing lost" in err
    assert "picture: rtaudio-demo.png" in err
    assert (here / "rtaudio-demo.png").stat().st_size > 20_000


def test_the_first_run_says_that_it_compiles(here):
    """An empty cache: the kernels are compiled, and kept for the next run, with the same bits."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(here / "cache")}
    said, bits = [], []
    for _ in range(2):
        done = subprocess.run(
            [*COMMAND, *"analyze song.wav -o out.npz --features mfcc,power".split()],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        said.append("compiling" in done.stderr)
        bits.append({**np.load("out.npz")})
    assert said == [True, False]
    for name in ("mfcc", "power"):
        np.testing.assert_array_equal(bits[0][name], bits[1][name])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("after_s", [0, 2])
def test_a_first_run_can_be_ended_while_it_compiles(here, number, status, after_s):
    """Where LLVM is at work, what a handler raises would be printed, and forgotten."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(here / "cache")}
    command = [*COMMAND, *"analyze song.wav -o out.npz".split()]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert "compiling" in running.stderr.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(after_s)
        running.send_signal(number)
        assert running.wait(60) == status
        (line,) = running.stderr.read().splitlines()
    assert line.endswith("ed before anything was begun")
    assert not (here / "out.npz").exists()
