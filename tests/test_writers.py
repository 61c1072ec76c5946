"""Outputs hold what was computed, bit for bit; they are whole or not there."""

import csv
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from sounds import SR, music

import rtaudio
from rtaudio import Settings, analyze
from rtaudio.analysis.frames import FEATURES
from rtaudio.consumers.writers import CsvFileWriter, NpzWriter, ParquetWriter, open_writer

Y = music(2.0)
FEATURES_OF_Y = analyze(Y, sr=SR, features=FEATURES)
SMALL = analyze(Y, sr=SR)


def table(path):
    """The columns of a CSV or Parquet file, as float64."""
    if path.suffix == ".parquet":
        return {name: column.to_numpy() for name, column in zip(*_parquet(path), strict=True)}
    with path.open() as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, np.array(rows, float).T, strict=True))


def _parquet(path):
    read = pq.read_table(path)
    return read.column_names, read.columns


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_holds_the_same_bits(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    FEATURES_OF_Y.save(path)
    columns = table(path)
    assert list(columns)[:5] == ["time", "lost", "rms", "peak", "mfcc_0"]
    for name in ("mfcc", "mel_db", "db", "power"):
        wide = getattr(FEATURES_OF_Y, name)
        assert f"{name}_{wide.shape[1]}" not in columns
        for i in (0, wide.shape[1] - 1):
            written = columns[f"{name}_{i}"].astype(np.float32)
            np.testing.assert_array_equal(written, wide[:, i])
    for name in ("rms", "peak", "lost"):
        written = columns[name].astype(getattr(FEATURES_OF_Y, name).dtype)
        np.testing.assert_array_equal(written, getattr(FEATURES_OF_Y, name))
    np.testing.assert_allclose(columns["time"], FEATURES_OF_Y.time, atol=6e-10)
    assert sum(name.startswith("db_") for name in columns) == 1025


def test_npz_holds_the_same_bits_and_no_pickle(tmp_path):
    FEATURES_OF_Y.save(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as held:
        for name in ("time", "lost", *FEATURES):
            assert held[name].dtype == getattr(FEATURES_OF_Y, name).dtype
            np.testing.assert_array_equal(held[name], getattr(FEATURES_OF_Y, name))
        np.testing.assert_array_equal(held["frequencies"], FEATURES_OF_Y.frequencies)
        assert Settings.from_json(str(held["settings"])) == FEATURES_OF_Y.settings
        assert json.loads(str(held["about"]))["rtaudio"] == rtaudio.__version__


def test_settings_and_version_stand_with_each(tmp_path):
    SMALL.save(tmp_path / "out.csv")
    SMALL.save(tmp_path / "out.parquet")
    beside = json.loads((tmp_path / "out.json").read_text())
    metadata = pq.read_schema(tmp_path / "out.parquet").metadata
    assert json.loads(metadata[b"rtaudio"]) == beside
    for settings in (beside["settings"], json.loads(metadata[b"settings"])):
        assert Settings(**settings) == SMALL.settings
    assert beside["rtaudio"] == rtaudio.__version__
    assert (beside["samples"], beside["frames"], beside["invalid"]) == (len(Y), len(SMALL), 0)


def test_parquet_in_many_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(ParquetWriter, "GROUP_ROWS", 64)
    SMALL.save(tmp_path / "out.parquet")
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == -(-len(SMALL) // 64)
    columns = table(tmp_path / "out.parquet")
    np.testing.assert_array_equal(columns["mfcc_7"], SMALL.mfcc[:, 7])
    np.testing.assert_array_equal(columns["time"], SMALL.time)


@pytest.mark.parametrize("kind", [CsvFileWriter, NpzWriter, ParquetWriter])
def test_what_was_not_finished_is_not_there(tmp_path, kind):
    path = tmp_path / "out.x"
    arguments = (path, ("mfcc",)) if kind is NpzWriter else (path, ("mfcc",), SMALL.settings)
    writer = kind(*arguments)
    writer.take(SMALL)
    assert list(tmp_path.glob(".*.part"))
    writer.discard()
    assert list(tmp_path.iterdir()) == []
    writer.discard()


def test_an_output_that_was_there_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "out.csv"
    SMALL.save(path)
    before = path.read_bytes()
    writer = open_writer(path, ("rms",), SMALL.settings)
    writer.take(SMALL)
    assert path.read_bytes() == before
    writer.finish(SMALL.about)
    writer.discard()
    assert path.read_bytes().startswith(b"time,lost,rms\n")
    assert {p.name for p in tmp_path.iterdir()} == {"out.csv", "out.json"}


def test_a_link_stays_a_link_and_the_mode_is_the_users(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.npz"
    link.symlink_to(tmp_path / "there/real.npz")
    old = os.umask(0o027)
    try:
        SMALL.save(link)
    finally:
        os.umask(old)
    assert link.is_symlink()
    assert (tmp_path / "there/real.npz").stat().st_mode & 0o777 == 0o640


def test_places_that_are_taken(tmp_path):
    (tmp_path / "out.json").write_text('{"mine": 1}')
    with pytest.raises(OSError, match="is not rtaudio's"):
        SMALL.save(tmp_path / "out.csv")
    assert (tmp_path / "out.json").read_text() == '{"mine": 1}'
    (tmp_path / "dir.npz").mkdir()
    with pytest.raises(OSError, match="is not a file"):
        SMALL.save(tmp_path / "dir.npz")
    with pytest.raises(ValueError, match=r"not one of \.csv, \.npz, \.parquet"):
        SMALL.save(tmp_path / "out.xlsx")


def test_features_say_what_they_hold():
    assert len(SMALL) == len(SMALL.time) == 87
    with pytest.raises(AttributeError, match=r"db was not asked for: analyze\(…, features=\('db'"):
        SMALL.db  # noqa: B018
    with pytest.raises(AttributeError, match="no 'tempo'"):
        SMALL.tempo  # noqa: B018
    with pytest.raises(ValueError, match="'tempo' is not a feature"):
        analyze(Y, sr=SR, features=("tempo",))
    assert analyze(Y, sr=SR, features="db").db.shape == (87, 1025)
