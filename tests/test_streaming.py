"""Rows written as they come: what was flushed is there, bit for bit, however the run ends."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import no_file_above
from hypothesis import given, settings
from hypothesis import strategies as st

import rtaudio
from rtaudio import Frames, Settings
from rtaudio.analysis.frames import FEATURES
from rtaudio.consumers import streaming
from rtaudio.consumers.streaming import open_streaming
from rtaudio.consumers.writers import ParquetWriter, columns

TINY = Settings(sr=1000, n_fft=8, hop_length=4, n_mels=4, n_mfcc=2)
WIDE = Settings(sr=22050)
BEGUN = {"rtaudio": rtaudio.__version__, "settings": asdict(TINY)}
ABOUT = {**BEGUN, "samples": 12345, "notes": ["over"]}
SUFFIXES = ("csv", "npz", "parquet")


def frames_at(time, what=TINY, seed=0):
    """Rows at these times (s) of any bits that are numbers."""
    rng = np.random.default_rng(seed)
    k = len(time)

    def noise(*shape):
        bits = rng.integers(0, 1 << 32, shape, np.uint32).view(np.float32)
        return np.where(np.isfinite(bits), bits, np.float32(0.1))

    return Frames(
        0,
        np.array(time, np.float64),
        *(noise(k, width) for width in (what.n_bins, what.n_bins, what.n_mels, what.n_mfcc)),
        *(noise(k), noise(k)),
        rng.integers(0, 1 << 40, k),
        np.where(rng.random(k) < 0.5, np.nan, rng.random(k)),
    )


def expected(kept, names=FEATURES, what=TINY):
    """The columns of a table that holds these rows."""
    table = {}
    for name, titles in columns(names, what).items():
        rows = [getattr(frames, name).reshape(len(frames), len(titles)) for frames in kept]
        whole = np.concatenate(rows or [getattr(frames_at([], what), name).reshape(0, len(titles))])
        table |= dict(zip(titles, whole.T, strict=True))
    return table


def read(path, names=FEATURES, what=TINY):
    """All that can be read now: of a Parquet folder its parts, then the minute that goes on."""
    empty = expected([], names, what)
    if path.suffix == ".csv":
        with path.open() as file:
            header, *rows = csv.reader(file)
        assert header == list(empty)
        values = np.array(rows, object).reshape(len(rows), len(header)).T
        return {
            title: column.astype(np.float64 if empty[title].dtype != np.int64 else np.int64).astype(
                empty[title].dtype
            )
            for title, column in zip(header, values, strict=True)
        }
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as held:
            return {
                title: column
                for name, titles in columns(names, what).items()
                for title, column in zip(titles, held[name].reshape(-1, len(titles)).T, strict=True)
            }
    tables = [pq.read_table(path)] if list(path.glob("part-*")) else []
    tables += [pa.Table.from_batches(batches(path))] if (path / "_current.arrows").exists() else []
    for table in tables:
        assert {f.name: f.type.to_pandas_dtype() for f in table.schema} == {
            title: column.dtype.type for title, column in empty.items()
        }
    whole = pa.concat_tables(table.replace_schema_metadata() for table in tables) if tables else {}
    return {title: whole[title].to_numpy() if whole else empty[title] for title in empty}


def batches(path):
    """What a user gets out of the minute that goes on, up to where it is torn."""
    with pa.OSFile(str(path / "_current.arrows")) as file:
        whole = []
        with contextlib.suppress(pa.ArrowInvalid, OSError):
            for batch in pa.ipc.open_stream(file):
                whole.append(batch)
        return whole


def assert_holds(path, kept, names=FEATURES, what=TINY):
    wanted = expected(kept, names, what)
    found = read(path, names, what)
    assert list(found) == list(wanted)
    for title, column in wanted.items():
        assert found[title].dtype == column.dtype
        if path.suffix == ".csv" and column.dtype == np.float64:  # 9 digits behind the point
            np.testing.assert_allclose(found[title], column, rtol=0, atol=6e-10)
        else:
            assert found[title].tobytes() == column.tobytes() or (
                np.isnan(column).any() and np.array_equal(found[title], column, equal_nan=True)
            )


def finished(writer, about=ABOUT):
    writer.finish(about)
    writer.discard()


STEPS = st.one_of(st.floats(1e-3, 1), st.sampled_from((20.0, 59.999999999999, 60.0, 7321.5)))


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(
    pieces=st.lists(st.lists(STEPS, max_size=9), max_size=8),
    flushed=st.sets(st.integers(0, 7)),
    held=st.integers(1, 9),
    group=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_any_pieces_and_flushes_read_back_the_same(suffix, pieces, flushed, held, group):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "HELD_ROWS", held)
        patch.setattr(streaming, "GROUP_ROWS", group)
        path = Path(folder, f"out.{suffix}")
        writer = open_streaming(path, FEATURES, TINY)
        kept, now = [], 0.0
        for number, steps in enumerate(pieces):
            times = now + np.cumsum(steps)
            now = times[-1] if steps else now
            borrowed = frames_at(times, seed=number)
            kept.append(borrowed.copy())
            writer.take(borrowed)
            borrowed.time[:] = borrowed.mfcc[:] = borrowed.rms[:] = 0
            if number in flushed:
                writer.flush()
                if suffix != "npz":
                    assert_holds(path, kept)
        finished(writer)
        assert_holds(path, kept)
        assert not list(Path(folder).rglob("*.part"))
        assert len(list(Path(folder).iterdir())) == (2 if suffix == "csv" else 1)
        if suffix == "parquet":
            assert_parts_are_minutes(path, np.concatenate([[], *(f.time for f in kept)]))


def assert_parts_are_minutes(path, time):
    parts = {file.name: pq.read_table(file)["time"].to_numpy() for file in path.glob("part*")}
    minutes = set((time // 60).astype(int)) or {0}
    assert set(parts) == {f"part-{minute:06d}.parquet" for minute in minutes}
    for name, times in parts.items():
        minute = int(name[5:-8])
        assert np.array_equal(times, time[(time >= 60 * minute) & (time < 60 * (minute + 1))])
    assert {file.name for file in path.iterdir()} == {*parts, "_about.json"}


def test_minutes_begin_at_their_first_instant(tmp_path):
    path = tmp_path / "out.parquet"
    writer = open_streaming(path, ("rms",), TINY)
    hours = 5 * 3600
    time = np.array([0, np.nextafter(60, 0), 60, 119.5, 120, hours + 0.5, hours + 59, hours + 60])
    for one in time:
        writer.take(frames_at([one]))
        writer.flush()
        current = pa.Table.from_batches(batches(path))["time"].to_numpy()
        assert np.array_equal(current, time[(time // 60 == one // 60) & (time <= one)])
    finished(writer)
    assert_parts_are_minutes(path, time)
    assert sorted(file.name for file in path.glob("part*")) == [
        f"part-{minute:06d}.parquet" for minute in (0, 1, 2, 300, 301)
    ]
    assert np.array_equal(pq.read_table(path)["time"].to_numpy(), time)


def test_columns_and_metadata_are_those_of_a_whole_file(tmp_path):
    frames = frames_at([1.0, 2.0])
    whole = ParquetWriter(tmp_path / "whole.parquet", FEATURES, TINY)
    whole.take(frames)
    whole.finish(ABOUT)
    path = tmp_path / "out.parquet"
    writer = open_streaming(path, FEATURES, TINY)
    writer.take(frames)
    writer.take(frames_at([61.0]))
    finished(writer)
    schema = pq.read_schema(tmp_path / "whole.parquet")
    first, last = (pq.read_schema(path / f"part-00000{n}.parquet") for n in (0, 1))
    assert last.equals(schema, check_metadata=True)
    assert first.equals(schema)
    assert json.loads(first.metadata[b"rtaudio"]) == BEGUN
    assert Settings.from_json(first.metadata[b"settings"]) == TINY
    assert pq.read_table(path).schema.equals(schema)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_wide_features(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    names = ("rms", "mfcc", "db")
    writer = open_streaming(path, names, WIDE)
    kept = [frames_at(np.arange(7) * 3.0 + 21 * number, WIDE, number) for number in range(4)]
    for frames in kept:
        writer.take(frames)
        writer.flush()
        assert_holds(path, kept[: kept.index(frames) + 1], names, WIDE)
    finished(writer)
    assert_holds(path, kept, names, WIDE)


def about_of(path):
    beside = path.with_suffix(".json") if path.suffix == ".csv" else path / "_about.json"
    return json.loads(beside.read_text())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_known_stands_beside_from_the_start(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    writer = open_streaming(path, FEATURES, TINY)
    assert about_of(path) == BEGUN
    assert_holds(path, [])
    writer.take(frames_at([1.0]))
    writer.flush()
    assert about_of(path) == BEGUN
    if suffix == "parquet":
        stored = batches(path)[0].schema.metadata
        assert json.loads(stored[b"rtaudio"]) == BEGUN
    finished(writer)
    assert about_of(path) == ABOUT


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_without_rows_has_its_columns(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    writer = open_streaming(path, FEATURES, TINY)
    writer.flush()
    finished(writer)
    assert_holds(path, [])
    if suffix == "parquet":
        assert pq.read_table(path).column_names == list(expected([]))
    if suffix == "npz":
        with np.load(path) as held:
            assert held["mfcc"].shape == (0, 2)
            assert held["rms"].shape == (0,)


# --- ends that nobody wished for --------------------------------------------------------------


def piece(number):
    return frames_at(number * 21.0 + np.arange(7) * 3.0, seed=number)


def write_until_killed(path):
    """Say how many pieces were flushed, without end."""
    writer = open_streaming(Path(path), FEATURES, TINY)
    for number in range(1_000_000):
        writer.take(piece(number))
        writer.flush()
        print(number + 1, flush=True)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("pieces", [1, 40, 173])
def test_killed_after_a_flush(tmp_path, suffix, pieces):
    path = tmp_path / f"out.{suffix}"
    code = f"import test_streaming; test_streaming.write_until_killed({str(path)!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    ) as running:
        said = [int(running.stdout.readline()) for _ in range(pieces)]
        running.send_signal(signal.SIGKILL)
        said += [int(line) for line in running.stdout]  # what it still did
    assert running.returncode == -signal.SIGKILL
    flushed = said[-1]
    assert flushed >= pieces
    wanted = expected([piece(number) for number in range(flushed)])
    if suffix == "csv":  # the last line may be torn
        text = path.read_text()
        path.write_text(text[: text.rindex("\n") + 1])
    found = read(path)
    once = np.unique(found["time"], return_index=True)[1]  # a part made in the last moment
    rows = 7 * flushed
    for title, column in wanted.items():
        np.testing.assert_allclose(found[title][once][:rows], column, rtol=0, atol=6e-10)
        if column.dtype == np.float32:
            assert np.array_equal(found[title][once][:rows], column)
    assert about_of(path) == BEGUN
    finished(open_streaming(path, FEATURES, TINY))  # what it left is replaced
    assert_holds(path, [])


def test_a_torn_stream_has_all_batches_before_the_tear(tmp_path):
    path = tmp_path / "out.parquet"
    writer = open_streaming(path, ("rms",), TINY)
    ends = [0]
    for number in range(4):
        writer.take(frames_at([number + 0.25, number + 0.5], seed=number))
        writer.flush()
        ends.append((path / "_current.arrows").stat().st_size)
    for size in range(ends[-1], ends[1] - 1, -1):
        os.truncate(path / "_current.arrows", size)
        assert len(batches(path)) == sum(end <= size for end in ends[1:])


def until_full(path, step):
    """Take pieces and flush each until the disk is full; the pieces, and what came of the last."""
    rows, error = [], None
    while error is None:
        rows.append(frames_at(len(rows) + np.arange(10) / 10, seed=len(rows)))
        try:
            step(rows[-1])
        except OSError as full:
            error = full
    assert "File too large" in str(error)
    assert error.filename == str(path)
    assert len(rows) > 5
    return rows


def assert_full(path, *calls):
    for call in calls:
        with pytest.raises(OSError, match="File too large") as caught:
            call()
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_full_disk_keeps_what_was_flushed_and_loses_nothing(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    writer = open_streaming(path, FEATURES, TINY)

    def step(frames):
        writer.take(frames)
        writer.flush()

    with no_file_above(30_000):
        rows = until_full(path, step)
        assert_holds(path, rows[:-1])
        assert_full(path, writer.flush, lambda: writer.finish(ABOUT))
        writer.discard()
        assert_holds(path, rows[:-1])
        assert not list(tmp_path.rglob("*.part"))
    finished(writer)  # there is room again
    assert_holds(path, rows)
    assert about_of(path) == ABOUT


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_full_disk_holds_no_more_and_more_rows(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(streaming, "HELD_ROWS", 20)
    writer = open_streaming(tmp_path / f"out.{suffix}", FEATURES, TINY)
    with no_file_above(100):
        for number in range(2):
            writer.take(frames_at(number + np.arange(10) / 10))
        assert_full(tmp_path / f"out.{suffix}", *3 * [lambda: writer.take(frames_at([2.0]))])
    writer.take(frames_at([2.0]))
    finished(writer)
    assert len(read(tmp_path / f"out.{suffix}")["time"]) == 21


def test_a_full_disk_when_a_minute_ends(tmp_path):
    path = tmp_path / "out.parquet"
    writer = open_streaming(path, FEATURES, TINY)
    first, second = frames_at(np.arange(60.0)), frames_at([60.0], seed=1)
    writer.take(first)
    writer.flush()
    with no_file_above(100):
        for call in (lambda: writer.take(second), lambda: writer.finish(ABOUT)):
            assert_full(path, call)
            assert {file.name for file in path.iterdir()} == {"_current.arrows", "_about.json"}
            assert_holds(path, [first])
    writer.take(second)
    finished(writer)
    assert_holds(path, [first, second])
    assert_parts_are_minutes(path, np.arange(61.0))


def test_a_full_disk_leaves_the_whole_rows_to_an_npz(tmp_path):
    path = tmp_path / "out.npz"
    writer = open_streaming(path, FEATURES, TINY)
    with no_file_above(5_000):
        rows = until_full(path, writer.take)
        with pytest.raises(OSError, match="since its disk was full") as caught:
            writer.take(rows[-1])
        assert caught.value.filename == str(path)
        assert_full(path, lambda: writer.finish(ABOUT))
    finished(writer)
    assert_holds(path, rows[:-1])
    assert [file.name for file in tmp_path.iterdir()] == ["out.npz"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_is_full_from_the_start(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    with no_file_above(0):
        if suffix == "npz":
            open_streaming(path, FEATURES, TINY).discard()
        else:
            with pytest.raises(OSError, match="File too large") as caught:
                open_streaming(path, FEATURES, TINY)
            assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_after_the_header(tmp_path):
    with no_file_above(100), pytest.raises(OSError, match="File too large"):
        open_streaming(tmp_path / "out.csv", ("rms",), TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_csv_that_cannot_be_begun_stays(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("of yesterday\n")
    path.with_suffix(".json").write_text('{"rtaudio": "0"}')
    with no_file_above(0), pytest.raises(OSError, match="File too large"):
        open_streaming(path, FEATURES, TINY)
    assert path.read_text() == "of yesterday\n"
    assert about_of(path) == {"rtaudio": "0"}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_that_never_began_leaves_nothing(tmp_path, suffix):
    writer = open_streaming(tmp_path / f"out.{suffix}", FEATURES, TINY)
    writer.take(frames_at([1.0]))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_discard_removes_no_flushed_row(tmp_path, suffix):
    writer = open_streaming(tmp_path / f"out.{suffix}", FEATURES, TINY)
    frames = frames_at([1.0, 61.0])
    writer.take(frames)
    writer.flush()
    writer.discard()
    assert_holds(tmp_path / f"out.{suffix}", [frames])


# --- places -----------------------------------------------------------------------------------


def test_what_was_there_is_replaced(tmp_path):
    path = tmp_path / "out.parquet"
    path.write_text("a file")
    for time in ([1.0, 61.0, 121.0], [1.0]):
        writer = open_streaming(path, FEATURES, TINY)
        assert [file.name for file in path.iterdir()] == ["_about.json"]
        writer.take(frames_at(time))
        finished(writer)
        (path / ".0123456789abcdef.part").touch()
        (path / "_current.arrows").touch()
    (path / "_current.arrows").unlink()
    assert_holds(path, [frames_at([1.0])])
    csv_path = tmp_path / "out.csv"
    csv_path.write_text("long ago\n" * 100)
    finished(open_streaming(csv_path, FEATURES, TINY))
    assert_holds(csv_path, [])


def test_places_that_are_taken(tmp_path):
    (tmp_path / "out.json").write_text('{"mine": 1}')
    with pytest.raises(OSError, match="is not rtaudio's"):
        open_streaming(tmp_path / "out.csv", FEATURES, TINY)
    for name in (
        "thesis.txt",
        "part-0.parquet",
        ".hidden",
        "part-000001.parquet.bak",
        "part-000001.parquet/",
    ):
        path = tmp_path / f"{name.strip('/')}.parquet"
        path.mkdir()
        (path / "part-000000.parquet").write_text("ours")
        (path / name).mkdir() if name.endswith("/") else (path / name).write_text("mine")
        with pytest.raises(OSError, match=f"holds {name.strip('/')}, which is not") as caught:
            open_streaming(path, FEATURES, TINY)
        assert caught.value.filename == str(path)
        assert {file.name for file in path.iterdir()} == {"part-000000.parquet", name.strip("/")}
    path = tmp_path / "about.parquet"
    path.mkdir()
    (path / "_about.json").write_text("[]")
    with pytest.raises(OSError, match="is not rtaudio's"):
        open_streaming(path, FEATURES, TINY)
    assert (path / "_about.json").read_text() == "[]"
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "dir.csv").mkdir()
    for name in ("pipe.parquet", "dir.csv"):
        with pytest.raises(OSError, match="is there and is n"):
            open_streaming(tmp_path / name, FEATURES, TINY)
    for suffix in SUFFIXES:
        path = tmp_path / "no" / f"out.{suffix}"
        with pytest.raises(FileNotFoundError) as caught:
            open_streaming(path, FEATURES, TINY)
        assert caught.value.filename == str(path)
    with pytest.raises(ValueError, match=r"not one of \.csv, \.npz, \.parquet"):
        open_streaming(tmp_path / "out.xlsx", FEATURES, TINY)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    for suffix in SUFFIXES:
        link = tmp_path / f"out.{suffix}"
        link.symlink_to(tmp_path / "there" / f"out.{suffix}")
        finished(open_streaming(link, FEATURES, TINY))
        assert link.is_symlink()
        assert_holds(tmp_path / "there" / f"out.{suffix}", [])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_runs_into_one_place_are_noticed(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    first = open_streaming(path, FEATURES, TINY)
    first.take(frames_at([1.0]))
    first.flush()
    second = open_streaming(path, FEATURES, TINY)
    second.take(frames_at([1.0, 2.0], seed=2))
    second.flush()
    first.take(frames_at([2.0]))
    with pytest.raises(OSError, match="is another run writing it") as caught:
        first.flush()
    assert caught.value.filename == str(path)
    assert_holds(path, [frames_at([1.0, 2.0], seed=2)])
    finished(second)
    assert_holds(path, [frames_at([1.0, 2.0], seed=2)])


def test_a_file_that_was_deleted_is_noticed(tmp_path):
    path = tmp_path / "out.csv"
    writer = open_streaming(path, FEATURES, TINY)
    path.unlink()
    writer.take(frames_at([1.0]))
    with pytest.raises(FileNotFoundError) as caught:
        writer.flush()
    assert caught.value.filename == str(path)
    assert not path.exists()


# --- memory -----------------------------------------------------------------------------------


MANY = Settings(sr=22050, n_fft=64, n_mels=40)


def peak(path, seconds, rows):
    """Bytes of Python, numpy and Arrow at most, while so many rows are written."""
    default = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(default)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        writer = open_streaming(path, ("mel_db",), MANY)
        for first in range(0, rows, 100):
            writer.take(frames_at((first + np.arange(100)) * seconds / rows, MANY))
        finished(writer, {"rtaudio": "0", "settings": asdict(MANY)})
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)


@pytest.mark.parametrize(("suffix", "rows"), [("csv", 1000), ("npz", 8000), ("parquet", 4000)])
def test_memory_is_the_same_at_any_length(tmp_path, suffix, rows, monkeypatch):
    monkeypatch.setattr(streaming, "HELD_ROWS", 200)
    monkeypatch.setattr(streaming, "GROUP_ROWS", 1000)
    path = tmp_path / f"out.{suffix}"
    peak(path, 120, rows)  # what is imported and built once
    short = peak(path, 120, rows)
    added = 3 * rows * MANY.n_mels * 4
    assert peak(path, 480, 4 * rows) < short + 0.05 * added  # more minutes
    assert peak(path, 120, 4 * rows) < short + 0.05 * added  # more in each, but for its footer
