"""The archive as a user has it: what is found, done, noted, said, and read back."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
from archives import assert_same, endless, noise, parts_of, recordings, wait_for
from command import COMMAND, no_file_above

import rtaudio
from rtaudio.archive import dataset as dataset_module
from rtaudio.archive.dataset import DATASET, MANIFEST, REPORT
from rtaudio.archive.find import find, look
from rtaudio.archive.plan import Plan
from rtaudio.archive.rows import RowMaker
from rtaudio.archive.tasks import Task, do
from rtaudio.cli import main
from rtaudio.sources.remote import RemoteSource


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder `in` of six recordings, in the current one."""
    monkeypatch.chdir(tmp_path)
    recordings(tmp_path / "in")
    return tmp_path


def archive(*words):
    return main(["archive", *words, "-j", "1"])


def report(folder="out"):
    with (Path(folder) / REPORT).open(encoding="utf-8", newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


# --- one table --------------------------------------------------------------------------------


@pytest.mark.parametrize("per", ["frame", "second", "minute", "file"])
def test_everybody_opens_it_as_one_table(there, per, capsys):
    assert archive("in", "-o", "out", "--per", per) == 0
    assert "out: 6 recordings" in capsys.readouterr().err
    rows = {"frame": 6 + sum(8000 * (4 - 0.5 * i) // 512 for i in range(6)), "minute": 6, "file": 6}
    count = rows.get(per, sum(int(np.ceil(4 - 0.5 * i)) for i in range(6)))
    tables = [
        pd.read_parquet("out"),
        pl.read_parquet("out/*.parquet").to_pandas(),
        duckdb.sql("SELECT * FROM 'out/*.parquet'").df(),
        rtaudio.open_dataset("out").to_table().to_pandas(),
    ]
    for table in tables:
        assert len(table) == count
        assert set(table.path) == {str(there / f"in/a {i}.wav") for i in range(6)}
        assert set(table.sr) == {8000}
        assert table.clock.isna().all()
    about = json.loads(rtaudio.open_dataset("out").schema.metadata[b"rtaudio"])
    assert about["per"] == per
    assert about["settings"]["n_fft"] == 2048
    assert about["rtaudio"] == rtaudio.__version__
    part = json.loads(pl.read_parquet_metadata(next(there.glob("out/*.parquet")))["rtaudio"])
    assert part["settings"]["sr"] == 8000
    assert part["source_sr"] == 8000


def test_rates_are_told_where_they_differ(there, capsys):
    soundfile.write("in/b.wav", noise(1, 16000), 16000)
    assert archive("in", "-o", "out") == 0
    assert (
        "recordings of 8000, 16000 Hz are analyzed each at its own rate" in capsys.readouterr().err
    )
    assert set(pd.read_parquet("out").sr) == {8000, 16000}
    assert archive("in", "-o", "alike", "--sr", "8000") == 0
    assert "own rate" not in capsys.readouterr().err
    assert set(pd.read_parquet("alike").sr) == {8000}


def test_no_dataset_is_said(there):
    with pytest.raises(rtaudio.SourceError, match="in: is a folder, and no dataset"):
        rtaudio.open_dataset("in")
    with pytest.raises(rtaudio.SourceError, match="none: is a folder, and no dataset"):
        rtaudio.open_dataset("none")


# --- going on ---------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(there, capsys):
    assert archive("in", "-o", "out") == 0
    before = {path: path.stat().st_mtime_ns for path in there.glob("out/*.parquet")}
    assert archive("in", "-o", "out") == 0
    assert "0 recordings, 0.0 s; 6 were done before" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in there.glob("out/*.parquet")}


def test_what_is_new_changed_or_deleted_is_done(there, capsys):
    assert archive("in", "-o", "out") == 0
    whole = parts_of("out")
    soundfile.write("in/new.wav", noise(1, 8000), 8000)
    soundfile.write("in/a 1.wav", noise(2, 8000, seed=9), 8000)
    (there / "in/a 2.gaps.csv").write_text(
        "first_sample,length,cause,uncertainty\n8000,800,host,0\n"
    )
    next(there.glob("out/a_3*.parquet")).unlink()
    capsys.readouterr()
    assert archive("in", "-o", "out") == 0
    assert "4 recordings" in capsys.readouterr().err
    changed = parts_of("out")
    assert len(changed) == 7
    assert {name[:3] for name in whole if changed[name] != whole[name]} == {"a_1", "a_2"}
    assert archive("in", "-o", "fresh") == 0
    assert parts_of("fresh") == changed
    assert pd.read_parquet("out").lost_s.sum() == pytest.approx(0.1)


def test_a_recording_that_became_shorter_leaves_no_old_part(there):
    sr = 400
    soundfile.write("in/long.wav", noise(2.2 * 3600, sr), sr)
    assert archive("in/long.wav", "-o", "out", "--per", "minute") == 0
    assert len(parts_of("out")) == 3
    soundfile.write("in/long.wav", noise(1.1 * 3600, sr), sr)
    assert archive("in/long.wav", "-o", "out", "--per", "minute") == 0
    assert len(parts_of("out")) == 2
    assert len(pd.read_parquet("out")) == 66
    assert archive("in/long.wav", "-o", "fresh", "--per", "minute") == 0
    assert parts_of("out") == parts_of("fresh")


@pytest.mark.parametrize(
    "options", [["--per", "minute"], ["--n-fft", "1024"], ["--features", "rms"]]
)
def test_other_settings_are_refused_and_named(there, capsys, options):
    assert archive("in", "-o", "out") == 0
    before = parts_of("out")
    (there / "out/mine.txt").write_text("mine")
    assert archive("in", "-o", "out", *options) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    named = {"--per": "per second, not minute", "--n-fft": "n_fft 2048, not 1024"}
    assert named.get(options[0], "features rms,peak,mfcc, not rms") in said
    assert "--force" in said
    assert parts_of("out") == before
    assert archive("in", "-o", "out", *options, "--force") == 0
    assert archive("in", "-o", "fresh", *options) == 0
    assert parts_of("out") == parts_of("fresh")
    assert (there / "out/mine.txt").read_text() == "mine"


def test_a_folder_that_holds_something_else_is_refused(there, capsys):
    for force in ([], ["--force"]):
        assert archive("in", "-o", "in", *force) == 3
        assert "is no dataset of rtaudio's: name a new folder" in capsys.readouterr().err
    assert len(list(there.glob("in/*"))) == 6


def test_a_part_that_was_damaged_is_made_again(there, capsys):
    assert archive("in", "-o", "out") == 0
    whole = parts_of("out")
    os.truncate(next(there.glob("out/a_2*.parquet")), 1000)
    assert main(["plot", "out", "-o", "x.png"]) == 3
    assert "out: a part is damaged" in capsys.readouterr().err
    assert archive("in", "-o", "out") == 0
    assert "1 recording," in capsys.readouterr().err
    assert parts_of("out") == whole


def test_force_begins_anew(there, capsys):
    assert archive("in", "-o", "out") == 0
    (there / "in/a 0.wav").unlink()
    assert archive("in", "-o", "out") == 0
    assert "1 recording of former runs is not among these" in capsys.readouterr().err
    assert len(parts_of("out")) == 6
    assert archive("in", "-o", "out", "--force") == 0
    assert len(parts_of("out")) == 5
    (there / "out" / DATASET).write_text("{")
    assert archive("in", "-o", "out") == 3
    assert "a damaged _dataset.json" in capsys.readouterr().err
    assert archive("in", "-o", "out", "--force") == 0


def test_a_task_of_before_leaves_no_part(there):
    assert archive("in", "-o", "out") == 0
    token = json.loads((there / "out" / DATASET).read_text())["token"]
    old = Plan(there / "out", rtaudio.Settings(), ("rms",), token=token)
    assert archive("in", "-o", "out", "--force") == 0
    before = parts_of("out")
    outcome = do(old, Task(look(str(there / "in/a 0.wav"))))
    assert "is made anew by another run" in outcome.fatal
    assert parts_of("out") == before


def test_a_recording_that_is_whole_again_failed_no_more(there):
    assert archive("in", "-o", "out") == 0
    path = there / "in/a 1.wav"
    data, times = path.read_bytes(), path.stat()
    path.write_bytes(b"no recording")
    assert archive("in", "-o", "out") == 3
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert archive("in", "-o", "out") == 0
    assert report() == []


def test_a_torn_manifest_goes_on_at_its_last_whole_line(there, capsys):
    assert archive("in", "-o", "out") == 0
    manifest = there / "out" / MANIFEST
    lines = manifest.read_bytes().splitlines(keepends=True)
    whole = parts_of("out")
    for torn in (b"", lines[-1][:-1], lines[-1][:20]):
        manifest.write_bytes(b"".join(lines[:-1]) + torn)
        (there / "out/.0123456789abcdef.part").write_text("half")
        capsys.readouterr()
        assert archive("in", "-o", "out") == 0
        assert "1 recording," in capsys.readouterr().err
        assert parts_of("out") == whole
        assert not list(there.glob("out/.*"))
        assert archive("in", "-o", "out") == 0
        assert "6 were done before" in capsys.readouterr().err
    manifest.write_bytes(b"[1]\n" + b"".join(lines))
    assert archive("in", "-o", "out") == 3
    assert "line 1 is none of rtaudio's" in capsys.readouterr().err


def test_two_runs_do_not_write_at_once(there, capsys):
    settings = rtaudio.Settings()
    a_plan = Plan(there / "out", settings, ("rms", "peak", "mfcc"))
    with contextlib.closing(dataset_module.Dataset(a_plan)):
        assert archive("in", "-o", "out") == 3
    assert "another run is writing there" in capsys.readouterr().err
    assert archive("in", "-o", "out") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_goes_on(there, number):
    """A recording that takes its time is at work when the signal comes."""
    endless(there / "in/slow.au")
    call = [*COMMAND, "archive", "in", "-o", "out", "-j", "2"]
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as running:
        try:
            manifest = there / "out" / MANIFEST
            wait_for(lambda: manifest.exists() and manifest.read_bytes().count(b"\n") == 6)
            running.send_signal(number)
            status = running.wait(60)
            said = running.stderr.read()
        finally:
            running.kill()
    assert "Traceback" not in said
    if number == signal.SIGINT:
        assert status == 130
        assert "6 recordings" in said
        assert "1 recording is left: the same command goes on" in said
    assert not list(there.glob("out/.*"))
    (there / "in/slow.au").unlink()
    assert archive("in", "-o", "out") == 0
    assert archive("in", "-o", "fresh") == 0
    assert parts_of("out") == parts_of("fresh")


def test_two_processes_make_what_one_does(there):
    soundfile.write("in/long.wav", noise(1.1 * 3600, 400), 400)
    assert main(["archive", "in", "-o", "out", "-j", "2"]) == 0
    assert archive("in", "-o", "fresh") == 0
    assert parts_of("out") == parts_of("fresh")


# --- what can't be read -----------------------------------------------------------------------


def test_what_cannot_be_read_is_reported_and_stops_nothing(there, capsys):
    (there / "in/noise.wav").write_bytes(b"no recording")
    (there / "in/empty.flac").touch()
    (there / "in/gone.wav").symlink_to("nowhere.wav")
    (there / "in/notes.txt").write_text("hello")
    assert archive("in", "-o", "out") == 3
    err = capsys.readouterr().err
    assert "6 recordings" in err
    assert "3 recordings can't be read: out/_report.csv says why" in err
    assert "1 .txt" in err
    failed = {Path(path).name: (what, reason) for path, what, reason in report()}
    assert set(failed) == {"noise.wav", "empty.flac", "gone.wav"}
    assert "is empty (0 bytes)" in failed["empty.flac"][1]
    assert {what for what, _ in failed.values()} == {"failed"}
    assert len(set(pd.read_parquet("out").path)) == 6
    soundfile.write("in/noise.wav", noise(1, 8000), 8000)
    (there / "in/empty.flac").unlink()
    (there / "in/gone.wav").unlink()
    assert archive("in", "-o", "out") == 0
    assert [row for row in report() if row[1] == "failed"] == []
    assert len(set(pd.read_parquet("out").path)) == 7


def test_notes_stand_in_the_report(there, capsys):
    y = np.zeros(8000, np.float32)
    y[100:110] = np.nan
    soundfile.write("in/nan.wav", y, 8000, subtype="FLOAT")
    assert archive("in", "-o", "out") == 0
    ((path, what, reason),) = report()
    assert (Path(path).name, what) == ("nan.wav", "note")
    assert "10 samples were NaN" in reason
    assert "10 samples were NaN" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["grows", "vanishes", "is replaced"])
def test_a_recording_that_changes_while_it_is_read(there, monkeypatch, change, capsys):
    """When all of it is read, and not yet written."""
    path = there / "in/a 0.wav"
    end = RowMaker.end

    def change_it(self, gaps, samples):
        if samples == 4 * 8000:
            if change == "grows":
                with path.open("ab") as file:
                    file.write(bytes(100))
            elif change == "vanishes":
                path.unlink()
            else:
                soundfile.write(there / "other.wav", noise(1, 8000), 8000)
                (there / "other.wav").replace(path)
        return end(self, gaps, samples)

    monkeypatch.setattr(RowMaker, "end", change_it)
    assert archive("in", "-o", "out") == 3
    ((failed, _, reason),) = report()
    assert failed == str(path)
    assert ("no such file" if change == "vanishes" else "changed while it was read") in reason
    assert len(parts_of("out")) == 5


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(there, capsys):
    assert archive("in/a 5.wav", "-o", "out") == 0
    whole = parts_of("out")
    capsys.readouterr()
    with no_file_above(4000):
        assert archive("in", "-o", "out") == 3
    err = capsys.readouterr().err
    assert "/out: File too large: make room there, and run it again; what is done is kept" in err
    assert parts_of("out") == whole
    assert not list(there.glob("out/.*"))
    assert archive("in", "-o", "out") == 0
    assert len(parts_of("out")) == 6


def test_a_pipe_and_what_is_no_recording_are_told(there, capsys):
    os.mkfifo("in/pipe.wav")
    (there / "in/take.gaps.csv").write_text("first_sample,length,cause,uncertainty\n")
    (there / "film.m4a").write_bytes(bytes(range(256)) * 100)
    assert archive("in/pipe.wav", "in/take.gaps.csv", "film.m4a", "in/a 1.wav", "-o", "out") == 3
    err = capsys.readouterr().err
    assert "pipe.wav: is no file" in err
    assert "1 .m4a" in err
    assert [(Path(path).name, reason[-10:]) for path, _, reason in report()] == [
        ("pipe.wav", "is no file")
    ]


# --- what is found ----------------------------------------------------------------------------


def test_odd_names_are_found_and_written(there):
    odd = [
        b"new\nline.wav",
        b"caf\xe9.wav",
        "märz.wav".encode(),
        b"-dash.wav",
        b"semi;quote'\".wav",
    ]
    (there / "odd").mkdir()
    for name in odd:
        with open(os.path.join(b"odd", name), "wb") as file:  # noqa: PTH123, PTH118
            soundfile.write(file, noise(1, 8000), 8000, format="WAV")
    assert main(["archive", "odd", "-o", "out", "-j", "2"]) == 0
    shown = {Path(path).name for path in pd.read_parquet("out").path}
    assert shown == {"new\nline.wav", "caf\\xe9.wav", "märz.wav", "-dash.wav", "semi;quote'\".wav"}
    assert archive("odd", "-o", "out") == 0


def test_loops_of_links_end(there):
    (there / "in/loop").symlink_to(there / "in")
    (there / "in/deep").mkdir()
    (there / "in/deep/up").symlink_to("../..")
    found = find(["in"])
    assert len(found.recordings) == 6


def test_folders_globs_and_lists(there):
    names = [str(there / f"in/a {i}.wav") for i in range(6)]
    (there / "list.txt").write_text(
        "# two\n" + "\n".join(names[:2]) + "\nin/a 2.wav\r\nin/none.wav\n"
    )
    (there / "list0").write_bytes(b"\0".join(name.encode() for name in names[3:]) + b"\0")
    assert list(find(["in"]).recordings) == names
    assert list(find(["in/a*.wav"]).recordings) == names
    assert list(find(["**/*.wav"]).recordings) == names
    assert list(find(["i*"]).recordings) == names
    assert list(find(["in/a 3.wav"]).recordings) == names[3:4]
    assert list(find([f"file://{names[3]}"]).recordings) == names[3:4]
    assert list(find(["list0"]).recordings) == names[3:]
    listed = find(["list.txt"])
    assert list(listed.recordings) == names[:3]
    assert list(listed.failed) == [str(there / "in/none.wav")]
    assert find(["in", "in/a 1.wav", "./in/../in"]).twice == 7


def test_a_list_on_standard_input(there):
    names = "\n".join(map(str, sorted(there.glob("in/*"))))
    call = [*COMMAND, "archive", "-", "-o", "out", "-j", "1"]
    done = subprocess.run(call, input=names, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert len(parts_of("out")) == 6


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("archive", 2, "required: INPUT"),
        ("archive in", 2, "name the dataset's folder: --out DATASET"),
        ("archive nothing -o out", 3, "nothing: no such folder, file or list"),
        ("archive *.mp3 -o out", 3, "*.mp3: no recordings there"),
        ("archive empty -o out", 3, "empty: no recordings there"),
        ("archive in -o s3://bucket/out", 2, "a dataset is a folder"),
        ("archive in -o out --per hour", 2, "invalid choice: 'hour'"),
        ("archive in -o out --features mffc", 2, "'mffc' is not a feature"),
        ("archive in -o out --features captured", 2, "a recording has none"),
        ("archive in -o out --top-db 80", 2, "rtaudio analyze --top-db"),
        ("archive in -o out --jobs 0", 2, "--jobs 0 is not 1 or more"),
        ("archive in -o out --jobs 2 --cluster x", 2, "choose one"),
        ("archive in -o out --job 2", 2, "did you mean --jobs?"),
        ("archive s3://bucket/x -o out", 3, "Install s3fs to access S3, with pip"),
        ("archive memory://none.wav -o out", 3, "memory://none.wav: no such file"),
        ("archive nope://x -o out", 3, "nope://x: Protocol not known: nope"),
        ("archive in -o out --cluster nowhere", 3, "'nowhere' is no address: tcp://"),
        ("archive in -o in/a\\x200.wav", 3, "is a file: name a folder"),
        ("plot out -o x.png", 3, "out: no such file"),
        ("plot in -o x.png", 3, "in: is a folder, and no dataset: make one with rtaudio archive"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(there, capsys, words, status, said):
    (there / "empty").mkdir()
    assert main([word.replace("\\x20", " ") for word in words.split()]) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (there / "out").exists()


def test_json_tells_what_is_done(there, capsys):
    (there / "in/noise.wav").write_bytes(b"no recording")
    assert archive("in", "-o", "out", "--json", "-q") == 3
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["event"] for e in events if e["event"] != "progress"] == ["done"] * 6 + [
        "failed",
        "end",
    ]
    assert events[0]["path"] == str(there / "in/a 0.wav")
    assert events[0]["duration_s"] == 4
    end = events[-1]
    assert (end["recordings"], end["done"], end["failed"], end["done_before"]) == (7, 6, 1, 0)
    assert end["hours"] == pytest.approx(sum(4 - 0.5 * i for i in range(6)) / 3600)


def test_a_reader_that_has_seen_enough_stops_nothing(there):
    call = f"{' '.join(COMMAND)} archive in -o out -j 1 --json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", call], capture_output=True, text=True)
    assert json.loads(done.stdout)["event"] == "done"
    assert done.returncode == 0
    assert "out: 6 recordings" in done.stderr
    assert len(parts_of("out")) == 6


# --- at a URL ---------------------------------------------------------------------------------


@pytest.fixture
def memory(there):
    """The recordings in fsspec's memory."""
    system = fsspec.filesystem("memory")
    for path in there.glob("in/*"):
        system.pipe(f"/in/{path.name}", path.read_bytes())
    yield system
    system.rm("/in", recursive=True)


def test_recordings_in_memory_are_those_on_the_disk(memory, there):
    sr = 400
    samples = noise(1.1 * 3600, sr)
    soundfile.write("in/b.wav", samples, sr)
    gaps = b"first_sample,length,cause,uncertainty\n800,400,host,0\n"
    (there / "in/b.gaps.csv").write_bytes(gaps)
    memory.pipe("/in/b.wav", (there / "in/b.wav").read_bytes())
    memory.pipe("/in/b.gaps.csv", gaps)
    assert main(["archive", "memory://in", "-o", "out"]) == 0
    assert archive("in", "-o", "fresh") == 0
    order = ("start", "ascending")
    tables = [rtaudio.open_dataset(x).to_table() for x in ("out", "fresh")]
    names = [
        t.append_column("name", [[Path(p).name for p in t["path"].to_pylist()]]) for t in tables
    ]
    assert_same(*(t.sort_by([("name", "ascending"), order]).drop_columns(["name"]) for t in names))
    assert set(tables[0]["path"].to_pylist()) >= {"memory:///in/a 0.wav"}
    assert main(["archive", "memory://in/*.wav", "-o", "out"]) == 0
    memory.pipe("/in/a 1.wav", (there / "in/a 2.wav").read_bytes())
    before = parts_of("out")
    assert main(["archive", "memory://in", "-o", "out"]) == 0
    assert {name[:3] for name, part in parts_of("out").items() if part != before[name]} == {"a_1"}


class Files(SimpleHTTPRequestHandler):
    """A server of files, which may break off."""

    breaks = False

    def log_message(self, *words):
        pass

    def copyfile(self, source, outputfile):
        data = source.read()
        outputfile.write(data[: len(data) // 2] if self.breaks else data)


@pytest.fixture
def server(there):
    """The address of an HTTP server on this machine."""
    Files.breaks = False
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(there))) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_recordings_on_a_web_server(server, there):
    assert main(["archive", f"{server}/in/", "-o", "out", "-j", "2"]) == 0
    table = pd.read_parquet("out")
    assert set(table.path) == {f"{server}/in/a%20{i}.wav" for i in range(6)}
    assert archive("in", "-o", "fresh") == 0
    np.testing.assert_array_equal(
        table.sort_values(["path", "start"]).rms_mean,
        pd.read_parquet("fresh").sort_values(["path", "start"]).rms_mean,
    )


def test_a_long_take_on_a_web_server_without_ranges(server, there):
    samples = noise(1.1 * 3600, 4000)
    samples[4000:8000] = 0
    soundfile.write("in/a 0.wav", samples, 4000)
    gaps = "first_sample,length,cause,uncertainty\n4000,4000,host,0\n"
    (there / "in/a 0.gaps.csv").write_text(gaps)
    url = f"{server}/in/a%200.wav"
    (there / "list").write_text(f"{url}\n{server}/in/none.wav\n")
    assert archive("list", "-o", "out") == 3
    assert archive("in/a 0.wav", "-o", "fresh") == 0
    ((failed, _, reason),) = report()
    assert failed == f"{server}/in/none.wav"
    assert "no such file" in reason
    tables = [pd.read_parquet(x).sort_values("start") for x in ("out", "fresh")]
    assert tables[0].lost_s.sum() == 1
    np.testing.assert_array_equal(tables[0].rms_mean, tables[1].rms_mean)
    assert archive(url, "-o", "out") == 0
    times = (there / "in/a 0.wav").stat().st_mtime
    os.utime(there / "in/a 0.wav", (times, times + 5))
    assert dataset_of("out").missing(look(url)) == [Task(look(url))]


def dataset_of(folder):
    settings = rtaudio.Settings()
    a_plan = Plan(Path.cwd() / folder, settings, ("rms", "peak", "mfcc"))
    with contextlib.closing(dataset_module.Dataset(a_plan)) as dataset:
        return dataset


def test_a_connection_that_breaks_off_is_an_error_and_no_end(server, there, capsys):
    Files.breaks = True
    assert archive(f"{server}/in/a%200.wav", "-o", "out") == 3
    ((path, what, _),) = report()
    assert path.endswith("a%200.wav")
    assert what == "failed"
    assert parts_of("out") == {}


class Failing:
    """A file that can be read up to a place."""

    def __init__(self, data, stop, error):
        self.data, self.stop, self.at, self.error = data, stop, 0, error

    def seek(self, offset, whence=0):
        self.at = offset + {0: 0, 1: self.at, 2: len(self.data)}[whence]
        return self.at

    def tell(self):
        return self.at

    def read(self, size=-1):
        if self.at + size > self.stop:
            raise self.error
        data = self.data[self.at : self.at + size]
        self.at += len(data)
        return data

    def close(self):
        pass


def test_a_remote_recording_says_what_was_lost_and_is_not_in_it(memory, there):
    memory.pipe("/in/c.wav", (there / "in/a 0.wav").read_bytes())
    rows = b"800,400,host,0\n800,400,refuted,0\n800,4000,unplaced,8000\n"
    memory.pipe("/in/c.gaps.csv", b"first_sample,length,cause,uncertainty\n" + rows)
    with RemoteSource("memory://in/c.wav") as source:
        gaps = [gap for block in source for gap in block.gaps]
    assert gaps == [rtaudio.Gap(800, 400, "host", 0)]
    assert source.notes == [
        "memory://in/c.gaps.csv: 4000 samples (0.500 s) more were lost somewhere in "
        "0.100 … 1.100 s; they are not in the recording"
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError("the storage does not answer"), rtaudio.SourceError),
        (KeyboardInterrupt("the storage does not answer"), KeyboardInterrupt),
    ],
)
def test_what_is_raised_in_the_middle_is_no_end(memory, there, monkeypatch, error, told):
    data = (there / "in/a 0.wav").read_bytes()
    opened = type(memory).open

    def open_failing(self, path, mode="rb", **more):
        return (
            Failing(data, 40000, error)
            if path.endswith(".wav")
            else opened(self, path, mode, **more)
        )

    monkeypatch.setattr(type(memory), "open", open_failing)
    with (
        RemoteSource("memory://in/a 0.wav") as source,
        pytest.raises(told, match="the storage does not answer"),
    ):
        for _ in source:
            pass


# --- progress, picture ------------------------------------------------------------------------


def test_a_bar_on_a_narrow_terminal(there):
    endless(there / "in/slow.au")
    call = f"stty cols 44 && exec {' '.join(COMMAND)} archive in -o out -j 2"
    screen, terminal = os.openpty()
    with subprocess.Popen(
        ["bash", "-c", call], stdin=terminal, stderr=terminal, stdout=terminal
    ) as run:
        os.close(terminal)
        seen = b""
        deadline = time.monotonic() + 60
        while not re.search(rb"6\s+of\s+7", seen):
            assert time.monotonic() < deadline
            seen += os.read(screen, 4096)
        run.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            while data := os.read(screen, 4096):
                seen += data
    assert b"6 recordings" in seen
    os.close(screen)


def pictures(folder="."):
    from matplotlib import image

    return image.imread(Path(folder) / "x.png")


def test_the_picture_shows_what_sounds_when(there, capsys):
    """A tone by the clock: high in the first recording, low in the last; nothing in between."""
    sr, t = 8000, np.arange(8000 * 60) / 8000
    for name, hz in (("site_20260511_000000.wav", 3000), ("site_20260511_000400.wav", 300)):
        soundfile.write(name, 0.5 * np.sin(2 * np.pi * hz * t), sr)
    for features in ("mel_db,rms", "mfcc,rms", "db", "rms"):
        out = features.replace(",", "_")
        assert archive("site_*.wav", "-o", out, "--features", features) == 0
        assert main(["plot", out, "-o", "x.png"]) == 0
        assert "→ x.png" in capsys.readouterr().err
        picture = pictures()[..., :3]
        assert picture.shape[1] > 1000
        if features != "mel_db,rms":
            continue
        grey = np.abs(picture - 0.6).max(axis=2) < 0.01  # what was not recorded
        columns = grey[200:600].mean(axis=0)
        assert 0.3 < (columns > 0.9).mean() < 0.8
        left, right = np.flatnonzero(columns > 0.9)[[0, -1]]
        middles = [picture[150:750, at].sum(axis=1).argmax() for at in (left - 50, right + 50)]
        assert middles[0] < middles[1]  # the higher tone is higher


def test_the_picture_of_recordings_without_a_clock(there, capsys):
    soundfile.write("in/b.wav", noise(1, 16000), 16000)
    assert archive("in", "-o", "out") == 0
    assert main(["plot", "out"]) == 0
    assert "recordings of another rate than 8000 Hz, not drawn: 1" in capsys.readouterr().err
    assert (there / "out.png").exists()
    assert main(["plot", "out", "--n-fft", "512"]) == 2
    assert archive("in", "-o", "no", "--features", "peak") == 0
    assert main(["plot", "no"]) == 3
    assert "no spectrum and no level" in capsys.readouterr().err


def test_a_dataset_of_which_nothing_could_be_read(there, capsys):
    (there / "bad.wav").write_bytes(b"x")
    assert archive("bad.wav", "-o", "out") == 3
    assert (there / "out" / DATASET).exists()
    assert main(["plot", "out"]) == 3
    assert "out: holds no recordings yet" in capsys.readouterr().err
