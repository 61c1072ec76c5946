"""A take holds what was heard and lists what was not, however it ends; a replay knows both."""

import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SR, joined, music

from rtaudio import Analyzer, Block, FileSource, Settings, SourceError, analyze
from rtaudio.analysis.frames import FEATURES
from rtaudio.consumers.recorder import Recorder, wav_header
from rtaudio.sources.block import CAUSES, REMARKS, Gap
from rtaudio.sources.gaps_file import (
    HEADER,
    GapsWriter,
    gaps_path,
    read_gaps,
    read_listed,
    write_all,
)

START = datetime(2024, 2, 29, 23, 59, 58, 500_000, UTC)
NOISE = np.random.default_rng(1).standard_normal((20_000, 3)).astype(np.float32)
NOISE[::50, 0] = np.resize([np.nan, np.inf, -0.0, 1e-42], 400)  # every bit pattern is a sample
MUSIC = np.stack([music(1.0), np.roll(music(1.0), 50)], axis=1)

# What a source tells: (the losses before a block, how many samples it has).
LOSSES = st.lists(
    st.tuples(st.sampled_from([1, 2, 30, 999]), st.sampled_from(CAUSES), st.integers(0, 9)),
    max_size=3,
)
TOLD = st.lists(st.tuples(LOSSES, st.sampled_from([0, 1, 7, 100, 480])), min_size=1, max_size=8)


# How far behind its block's end a remark's first sample lies; length, cause and uncertainty.
REMARKED = st.lists(
    st.lists(
        st.tuples(
            *(st.sampled_from([0, 1, 60, 900]), st.sampled_from([1, 30, 5000])),
            *(st.sampled_from(REMARKS), st.sampled_from([0, 7, 700])),
        ),
        max_size=2,
    ),
    max_size=9,
)


def remarked(blocks, what):
    """The blocks, with remarks on what lies before their end."""
    for block, remarks in zip(blocks, itertools.chain(what, itertools.repeat(()))):  # noqa: B905
        end = block.first_sample + len(block)
        block.remarks = tuple(Gap(max(0, end - back), *more) for back, *more in remarks)
        yield block


def blocks_of(told, noise=NOISE):
    """The blocks, all in one buffer that is filled anew, as sources may do."""
    buffer = np.empty((max(count for _, count in told), noise.shape[1]), np.float32)
    position = 0
    for losses, count in told:
        gaps = []
        for length, cause, unsure in losses:
            gaps.append(Gap(position, length, cause, unsure))
            position += length
        buffer[:] = 7  # what was borrowed is gone
        buffer[:count] = noise[position : position + count]
        lost = sum(gap.length for gap in gaps)
        yield Block(buffer[:count], position, lost, gaps=tuple(gaps))
        position += count


def axis_of(told, noise=NOISE):
    """The samples with zeros in the gaps, and the gaps: one for each run of one cause."""
    what = []  # of each sample: cause and uncertainty
    for losses, count in told:
        for length, cause, unsure in losses:
            what += [(cause, unsure)] * length
        what += [(None, 0)] * count
    samples = noise[: len(what)].copy()
    samples[[cause is not None for cause, _ in what]] = 0
    gaps, position = [], 0
    for cause, run in itertools.groupby(what, key=lambda one: one[0]):
        unsure = [unsure for _, unsure in run]
        if cause is not None:
            gaps.append(Gap(position, len(unsure), cause, max(unsure)))
        position += len(unsure)
    return samples, gaps


def read(path):
    """The samples of a file as libsndfile sees them."""
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def assert_bits(a, b):
    assert a.shape == b.shape
    np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))


def record(path, blocks, channels=3, sr=SR, **options):
    recorder = Recorder(str(path), sr, channels, start=START, **options)
    for block in blocks:
        recorder.take(block)
    recorder.finish()
    return recorder.paths


# --- a take and its replay --------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3])
@given(told=TOLD, flushes=st.sets(st.integers(0, 8)))
@settings(max_examples=40, deadline=None)
def test_a_take_is_the_axis_with_zeros_in_its_gaps(channels, told, flushes):
    noise = NOISE[:, :channels].copy()
    samples, gaps = axis_of(told, noise)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "take.wav"
        recorder = Recorder(str(path), SR, channels, start=START)
        for number, block in enumerate(blocks_of(told, noise)):
            recorder.take(block)
            if number in flushes:  # all is true then
                recorder.flush()
                so_far, gaps_so_far = axis_of(told[: number + 1], noise)
                assert_bits(read(path), so_far)
                assert read_gaps(gaps_path(path), None) == gaps_so_far
        recorder.finish()
        assert recorder.paths == [path]
        assert {p.name for p in Path(folder).iterdir()} == {"take.gaps.csv", "take.wav"}
        assert_bits(read(path), samples)
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (SR, channels, "FLOAT")
        assert info.format == ("WAV" if channels <= 2 else "WAVEX")
        assert path.stat().st_size == len(wav_header(SR, channels, 0)) + samples.nbytes
        assert gaps_path(path).read_bytes().startswith(b"first_sample,length,cause,uncertainty\n")
        assert read_gaps(gaps_path(path), len(samples)) == gaps


@given(told=TOLD, what=REMARKED, blocksize=st.sampled_from([64, 479, 16384]))
@settings(max_examples=60, deadline=None)
def test_a_remark_is_a_row_of_its_own_and_changes_nothing_else(told, what, blocksize):
    """Not a sample, not a gap; a replay hands it on where its place is reached."""
    samples, gaps = axis_of(told)
    remarks = []

    def noted(blocks):
        for block in blocks:
            remarks.extend(block.remarks)
            yield block

    with tempfile.TemporaryDirectory() as folder:
        (path,) = record(Path(folder) / "take.wav", noted(remarked(blocks_of(told), what)))
        assert_bits(read(path), samples)
        listed = read_listed(gaps_path(path), None)
        assert listed.remarks == remarks
        assert merged(listed.gaps) == [gap[:3] for gap in gaps]
        assert read_gaps(gaps_path(path), None) == listed.gaps
        listed = read_listed(gaps_path(path), len(samples))
        unplaced = [remark for remark in remarks if remark.cause == "unplaced"]
        for remark in listed.remarks:
            if remark.cause == "refuted":
                assert 0 < remark.length <= len(samples) - remark.first_sample
        assert [r for r in listed.remarks if r.cause == "unplaced"] == unplaced
        position, due = 0, []
        with FileSource(path, blocksize=blocksize) as source:
            for block in source:
                assert_bits(block.samples, samples[block.first_sample :][: len(block)])
                assert block.lost == sum(gap.length for gap in block.gaps)
                assert block.first_sample == position + block.lost
                position = block.first_sample + len(block)
                due += block.remarks
                for remark in block.remarks:
                    assert remark.first_sample < position + (not len(block))
        assert position == len(samples)
        assert due == listed.remarks
        lost = sum(remark.length for remark in unplaced)
        assert len(source.notes) == bool(unplaced)
        assert all(note.startswith(f"{gaps_path(path)}: {lost} samples (") for note in source.notes)


def test_each_remark_is_of_one_piece(tmp_path):
    soundfile.write(tmp_path / "take.wav", MUSIC, SR)
    remarks = [Gap(n * 1000, 5, "unplaced", n) for n in (0, 3, 4, 5, 22)]
    remarks.append(Gap(len(MUSIC), 1, "unplaced", 0))
    list_gaps(tmp_path / "take.gaps.csv", *(",".join(map(str, remark)) for remark in remarks))
    found = []
    for start, stop in ((0, 4000), (4000, 5000), (5000, None)):
        with FileSource(tmp_path / "take.wav") as source:
            source.cut(start, stop)
            found += [remark for block in source for remark in block.remarks]
    assert found == remarks


def test_a_recording_says_what_was_lost_and_is_not_in_it(tmp_path):
    soundfile.write(tmp_path / "take.wav", MUSIC, SR)
    rows = ("0,240,host,48", "0,240,refuted,0", "13230,300,unplaced,22050")
    list_gaps(tmp_path / "take.gaps.csv", *rows)
    assert FileSource(tmp_path / "take.wav").notes == [
        f"{tmp_path}/take.gaps.csv: 300 samples (0.014 s) more were lost somewhere in "
        "0.600 … 1.600 s; they are not in the recording"
    ]
    list_gaps(tmp_path / "take.gaps.csv", *rows, "4410,2205,unplaced,0")
    features = analyze(tmp_path / "take.wav")
    assert features.about["notes"] == [
        f"{tmp_path}/take.gaps.csv: 2505 samples (0.114 s) more were lost somewhere in "
        "0.200 … 1.600 s; they are not in the recording"
    ]
    assert features.about["lost"] == 240  # the refuted ones are zeros all the same
    list_gaps(tmp_path / "take.gaps.csv", *rows[:2])
    assert FileSource(tmp_path / "take.wav").notes == []


def assert_replayed(source, samples, gaps):
    """The source delivers exactly these samples and gaps; returns its blocks."""
    position, told, blocks = 0, [], []
    for block in source:
        assert sum(gap.length for gap in block.gaps) == block.lost
        for gap in block.gaps:
            assert gap.first_sample == position
            position += gap.length
        assert block.first_sample == position
        assert_bits(block.samples, samples[position : position + len(block.samples)])
        position += len(block.samples)
        told += block.gaps
        blocks.append((block.lost, len(block.samples)))
    assert position == len(samples)
    assert told == gaps  # so no sample of a gap was delivered as a sample
    assert source.notes == []
    return blocks


@given(told=TOLD, blocksize=st.sampled_from([1, 64, 479, 16384]))
@settings(max_examples=40, deadline=None)
def test_a_replay_is_the_same_samples_and_gaps(told, blocksize):
    samples, gaps = axis_of(told)
    with tempfile.TemporaryDirectory() as folder:
        (path,) = record(Path(folder) / "take.wav", blocks_of(told))
        with FileSource(path, blocksize=blocksize) as source:
            blocks = assert_replayed(source, samples, gaps)
        assert all(0 < count <= blocksize for _, count in blocks[:-1])
        with FileSource(path, blocksize=blocksize) as source:
            assert source.duration_s == len(samples) / SR


PARTS = [
    ([], 4000),
    ([(30_000, "outage", 480), (12_345, "outage", 480), (7, "host", 64)], 10_000),
    ([(1, "dropped", 0)], 5000),
    ([(700, "outage", 0)], 0),
    ([(300, "outage", 0)], 0),
]
LONG = np.resize(MUSIC, (70_000, 2))


def in_pieces(parts, size):
    for losses, count in parts:
        if not count:
            yield losses, 0
        for start in range(0, count, size):
            yield losses if start == 0 else [], min(size, count - start)


@pytest.mark.parametrize("size", [128, 511])
@pytest.mark.parametrize("sr", [SR, 16000])
def test_the_replay_has_the_rows_of_the_live_run(tmp_path, sr, size):
    analyzer = Analyzer(Settings(sr=sr), SR)
    recorder = Recorder(str(tmp_path / "take.wav"), SR, 2, start=START)
    kept = []
    for block in blocks_of(list(in_pieces(PARTS, size)), LONG):
        recorder.take(block)
        kept += [frames.copy() for frames in analyzer.feed(block.samples, lost=block.lost)]
    kept += [frames.copy() for frames in analyzer.flush()]
    recorder.finish()
    live = joined(kept)
    replay = analyze(tmp_path / "take.wav", sr=sr, features=FEATURES)
    assert (live["lost"] > 0).sum() > 4
    for name, array in replay.arrays.items():
        np.testing.assert_array_equal(array, live[name], err_msg=name)
    assert replay.about["lost"] == sum(n for losses, _ in PARTS for n, _, _ in losses)


def test_a_gap_at_the_end_comes_as_a_block_without_samples(tmp_path):
    (path,) = record(tmp_path / "take.wav", blocks_of(PARTS, LONG), channels=2)
    with FileSource(path) as source:
        *_, last = source
    assert last.samples.shape == (0, 2)
    assert (last.first_sample, last.lost) == (len(read(path)), 1000)
    assert last.gaps == (Gap(last.first_sample - 1000, 1000, "outage", 0),)


@pytest.mark.parametrize("suffix", ["flac", "mp3", "pipe"])
def test_the_gaps_of_a_recording_that_cannot_be_seeked(tmp_path, suffix):
    """In an MP3 no sample is found exactly; of a pipe nobody knows where a gap is cut."""
    path = tmp_path / f"take.{suffix}"
    samples = LONG[:20_000]
    if suffix == "pipe":
        soundfile.write(tmp_path / "copy.wav", samples, SR, subtype="FLOAT")
        os.mkfifo(path)
        data = (tmp_path / "copy.wav").read_bytes()
        writer = threading.Thread(target=path.write_bytes, args=(data,))
        writer.start()
    else:
        soundfile.write(path, samples, SR)
        samples = np.concatenate([block.samples.copy() for block in FileSource(path)])
    end = len(samples)
    gaps = [Gap(0, 17, "host", 3), Gap(5000, 12_000, "outage", 9), Gap(end - 10, 10, "dropped", 0)]
    too_long = [*gaps[:2], gaps[2]._replace(length=5000), Gap(end + 10_000, 5, "host", 0)]
    list_gaps(gaps_path(path), *(",".join(map(str, gap)) for gap in too_long))
    with FileSource(path, blocksize=999) as source:
        assert (source.duration_s is None) == (suffix == "pipe")
        assert_replayed(source, samples, gaps)
    if suffix == "pipe":
        writer.join()


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_what_is_decoded_does_not_depend_on_the_blocks(tmp_path, suffix):
    path = tmp_path / f"song.{suffix}"
    soundfile.write(path, LONG, SR)
    with soundfile.SoundFile(path) as file:
        whole = file.read(dtype="float32")  # as librosa.load does
    for blocksize in (999, 16384):
        blocks = [block.samples.copy() for block in FileSource(path, blocksize=blocksize)]
        assert_bits(np.concatenate(blocks), whole)


def list_gaps(path, *rows):
    path.write_bytes(HEADER + b"".join(row.encode() + b"\n" for row in rows))


def test_at_real_pace_a_gap_takes_its_time(tmp_path):
    told = [([], 2000), ([(5000, "outage", 0)], 1000), ([(1500, "dropped", 0)], 0)]
    (path,) = record(tmp_path / "take.wav", blocks_of([*told], np.resize(NOISE, (9500, 3))))
    starts = []
    with FileSource(path, realtime=True) as source:
        begun = time.perf_counter()
        for block in source:
            assert time.perf_counter() >= block.captured + len(block.samples) / SR
            starts.append(block.captured - block.first_sample / SR)
    assert time.perf_counter() - begun >= 9500 / SR
    np.testing.assert_allclose(starts, starts[0], atol=1e-9)


def test_what_was_not_handed_over_is_dropped_and_a_loss_without_cause_the_hosts(tmp_path):
    y = NOISE[:100]
    blocks = [
        Block(y, 50),  # the recorder came later
        Block(y, 160, lost=10),
        Block(y, 290, lost=30, gaps=(Gap(270, 20, "dropped", 0),)),
    ]
    (path,) = record(tmp_path / "take.wav", blocks)
    assert read_gaps(gaps_path(path), None) == [
        *(Gap(0, 50, "dropped", 0), Gap(150, 10, "host", 0)),
        *(Gap(260, 10, "host", 0), Gap(270, 20, "dropped", 0)),
    ]
    recorder = Recorder(str(tmp_path / "other.wav"), SR, 3, start=START)
    recorder.take(blocks[0])
    with pytest.raises(ValueError, match=r"block.first_sample=140 .* end of the last \(150\)"):
        recorder.take(Block(y, 140))
    recorder.finish()


# --- rotation and names -----------------------------------------------------------------------


@given(told=TOLD, rotate_s=st.sampled_from([1, 1.3, 7.777, 1000.0]))
@settings(max_examples=40, deadline=None)
def test_rotated_files_are_the_take_in_equal_pieces(told, rotate_s):
    samples, gaps = axis_of(told)
    size = round(rotate_s * 100)
    with tempfile.TemporaryDirectory() as folder:
        pattern = Path(folder) / "a_%Y%m%d_%H%M%S.wav"
        paths = record(pattern, blocks_of(told), sr=100, rotate_s=rotate_s)
        assert len(paths) == max(1, -(-len(samples) // size))
        assert {*Path(folder).iterdir()} == {*paths, *map(gaps_path, paths)}
        listed = []
        for number, path in enumerate(paths):
            first = number * size
            when = START + timedelta(seconds=first / 100)
            assert path.name == f"a_{when:%Y%m%d_%H%M%S}.wav"
            assert_bits(read(path), samples[first : first + size])
            for gap in read_gaps(gaps_path(path), None):
                assert gap.first_sample + gap.length <= size
                listed.append(gap._replace(first_sample=first + gap.first_sample))
    assert merged(listed) == [gap[:3] for gap in gaps]


@given(told=TOLD, what=REMARKED, rotate_s=st.sampled_from([1, 1.3, 7.777]))
@settings(max_examples=60, deadline=None)
def test_a_remark_is_listed_with_the_file_that_holds_its_place(told, what, rotate_s):
    """Or with the one before that which is written; at its beginning, if it lies before that."""
    size = round(rotate_s * 100)
    blocks = list(remarked((block.copy() for block in blocks_of(told)), what))
    expected = {}
    for block in blocks:
        current = max(0, -(-(block.first_sample + len(block)) // size) - 1)
        for remark in block.remarks:
            number = max(0, min(current, max(current - 1, remark.first_sample // size)))
            begin = max(remark.first_sample, number * size)
            unsure = remark.uncertainty
            if remark.cause == "unplaced":
                unsure = max(0, remark.first_sample + unsure - begin)
            row = Gap(begin - number * size, remark.length, remark.cause, unsure)
            expected.setdefault(number, []).append(row)
    with tempfile.TemporaryDirectory() as folder:
        paths = record(Path(folder) / "a_%H%M%S.wav", blocks, sr=100, rotate_s=rotate_s)
        for number, path in enumerate(paths):
            assert read_listed(gaps_path(path), None).remarks == expected.pop(number, [])
    assert not expected


@pytest.mark.parametrize("why", ["moved", "not ours"])
def test_a_remark_on_a_file_that_cannot_be_opened_is_listed_with_the_next(
    tmp_path, monkeypatch, why
):
    def refuse(path, **again):
        raise PermissionError(13, "Permission denied")

    recorder = Recorder(str(tmp_path / "a_%H%M%S.wav"), 100, 3, rotate_s=1, start=START)
    recorder.take(Block(NOISE[:150], 0))
    gaps_path(recorder.paths[0]).unlink()
    if why == "not ours":
        monkeypatch.setattr("rtaudio.consumers.recorder.GapsWriter", refuse)
    recorder.take(Block(NOISE[150:160], 150, remarks=(Gap(90, 5, "unplaced", 30),)))
    recorder.finish()
    assert read_listed(gaps_path(recorder.paths[1]), None).remarks == [Gap(0, 5, "unplaced", 20)]
    assert not gaps_path(recorder.paths[0]).exists()


def merged(gaps):
    whole = []
    for gap in gaps:
        if whole and whole[-1][2] == gap.cause and sum(whole[-1][:2]) == gap.first_sample:
            first, length, cause = whole.pop()
            whole.append((first, length + gap.length, cause))
        else:
            whole.append(gap[:3])
    return whole


def test_a_name_tells_utc_of_the_first_sample_and_never_overwrites(tmp_path):
    elsewhere = START.astimezone(timezone(timedelta(hours=-7)))
    for name in ("y_20240301_0000.wav", "y_20240301_0000-2.gaps.csv"):
        (tmp_path / name).write_text("mine")
    recorder = Recorder(str(tmp_path / "y_%Y%m%d_%H%M.wav"), 100, 3, rotate_s=30, start=elsewhere)
    recorder.take(Block(NOISE[:7000], 0))
    recorder.finish()
    assert [path.name for path in recorder.paths] == [
        *("y_20240229_2359.wav", "y_20240301_0000-3.wav", "y_20240301_0000-4.wav"),
    ]
    assert_bits(np.concatenate([read(path) for path in recorder.paths]), NOISE[:7000])
    assert (tmp_path / "y_20240301_0000.wav").read_text() == "mine"
    assert not (tmp_path / "y_20240301_0000-2.wav").exists()


@pytest.mark.parametrize("taken", ["take.wav", "take.gaps.csv"])
def test_a_take_that_is_there_stays(tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(FileExistsError, match="is there already: choose another name") as raised:
        Recorder(str(tmp_path / "take.wav"), SR, 1, start=START)
    assert raised.value.filename == str(tmp_path / taken)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(taken, "mine")]


def test_a_folder_a_day_is_made_and_no_other(tmp_path):
    paths = record(tmp_path / "%Y/%d/a_%H%M%S.wav", [Block(NOISE[:150], 0)], sr=50, rotate_s=2)
    names = ["2024/29/a_235958.wav", "2024/01/a_000000.wav"]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == names
    with pytest.raises(FileNotFoundError) as raised:
        Recorder(str(tmp_path / "none/a_%H.wav"), SR, 1, start=START)
    assert raised.value.filename == str(tmp_path / "none/a_23.wav")


@pytest.mark.parametrize(
    ("pattern", "rotate_s", "words"),
    [
        ("take.flac", None, "take.flac: a take is a WAV file"),
        ("take", None, "end its name in .wav"),
        ("take.wav", 60, "many files need the time in their name"),
        ("100%%.wav", 60, "many files need the time"),
        *(("%H.wav", rotate_s, "at least 1") for rotate_s in (0, -1, 0.5, np.nan, np.inf)),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, pattern, rotate_s, words):
    with pytest.raises(ValueError, match=words):
        Recorder(str(tmp_path / pattern), SR, 1, rotate_s=rotate_s, start=START)
    assert list(tmp_path.iterdir()) == []


# --- large files ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_header_tells_its_sizes_at_every_length(tmp_path, channels):
    """Read back by libsndfile from sparse files, on both sides of 4 GiB."""
    size = len(wav_header(SR, channels, 0))
    last = (2**32 - 2 - size + 8) // (4 * channels)  # what RIFF can tell
    for length in (0, 1, 100_000, last - 1, last, last + 1, 2**32 - 1, 2**32, 2**36):
        header = wav_header(SR, channels, length)
        assert len(header) == size
        assert header[:4] == (b"RIFF" if length <= last else b"RF64")
        if length <= last:
            assert struct.unpack_from("<I", header, 4)[0] == size + 4 * channels * length - 8
            assert header[-4:] == struct.pack("<I", 4 * channels * length)
        path = tmp_path / "sparse.wav"
        path.write_bytes(header)
        os.truncate(path, size + 4 * channels * length)
        with soundfile.SoundFile(path) as file:
            assert (file.frames, file.channels, file.samplerate) == (length, channels, SR)
            assert file.format == ("RF64" if length > last else "WAVEX" if channels > 2 else "WAV")


def test_an_outage_of_a_day_makes_a_take_beyond_4_gib_that_takes_no_place(tmp_path):
    day = 86400 * 48000
    told = [([], 480), ([(day // 2, "outage", 480)] * 2, 480)]
    path = tmp_path / "take.wav"
    recorder = Recorder(str(path), 48000, 2, start=START)
    first, second = (NOISE[:480, :2], NOISE[480:960, :2])
    recorder.take(Block(first, 0))
    recorder.flush()
    assert soundfile.info(path).format == "WAV"
    for number in (1, 2):  # an outage is told in pieces
        gap = Gap(480 + (number - 1) * day // 2, day // 2, "outage", 480)
        recorder.take(Block(first[:0], 480 + number * day // 2, day // 2, gaps=(gap,)))
    recorder.take(Block(second, 480 + day))
    recorder.flush()
    assert path.stat().st_size > 2**32
    assert path.stat().st_blocks * 512 < 2**20
    with soundfile.SoundFile(path) as file:
        assert (file.format, file.frames) == ("RF64", day + 960)
        file.seek(-500, soundfile.SEEK_END)
        end = file.read(dtype="float32")
    assert not end[:20].any()
    assert_bits(end[20:], np.ascontiguousarray(second))
    recorder.finish()
    begun = time.process_time()
    with FileSource(path) as source:
        blocks = [(b.first_sample, b.samples.copy(), b.lost, b.gaps) for b in source]
    assert time.process_time() - begun < 1  # 33 GB of zeros were not read
    assert [(at, lost) for at, _, lost, _ in blocks] == [(0, 0), (480 + day, day)]
    assert_bits(blocks[1][1], np.ascontiguousarray(second))
    assert blocks[1][3] == (Gap(480, day, "outage", 480),)
    assert len(told) == len(blocks)


# --- however it ends --------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from datetime import UTC, datetime
import numpy as np
from rtaudio import Block
from rtaudio.consumers.recorder import Recorder
from rtaudio.sources.block import Gap

y, after = np.load(sys.argv[2]), np.load(sys.argv[3])
recorder = Recorder(sys.argv[1], 8000, 1, start=datetime.now(UTC))
recorder.take(Block(y[:500], 0))
recorder.take(Block(y[:0], 600, 100, gaps=(Gap(500, 100, "outage", 8),)))
recorder.flush()
recorder.take(Block(y[:0], 650, 50, gaps=(Gap(600, 50, "outage", 8),)))
recorder.take(Block(y[650:700], 650))
if sys.argv[4] == "flush":
    recorder.flush()
recorder.take(Block(after, 710, 10, gaps=(Gap(700, 10, "dropped", 0),)))
recorder.take(Block(after, 800 + len(after), 90, gaps=(Gap(710 + len(after), 90, "host", 1),)))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("flushed", [600, 700])
@pytest.mark.parametrize("after", ["noise", "zeros", "text"])
def test_a_killed_recording_opens_and_holds_all_that_was_flushed(tmp_path, flushed, after):
    y = NOISE[:1000, 1:2].copy()
    then = {"noise": y, "zeros": 0 * y, "text": np.full((1000, 1), 0.7, np.float32)}[after]
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "after.npy", then)
    path = tmp_path / "take.wav"
    arrays = (tmp_path / "y.npy", tmp_path / "after.npy")
    last = "flush" if flushed == 700 else "kill"
    done = subprocess.run([sys.executable, "-c", KILLED, path, *arrays, last])
    assert done.returncode == -signal.SIGKILL
    expected = y[:flushed].copy()
    expected[500:650] = 0
    assert_bits(read(path), expected)
    with FileSource(path) as source:
        length = min(150, flushed - 500)
        assert_replayed(source, expected, [Gap(500, length, "outage", 8)])


FULL = """
import json, resource, sys
from datetime import UTC, datetime
import numpy as np
from rtaudio import Block
from rtaudio.consumers.recorder import Recorder
from rtaudio.sources.block import Gap

path, limit, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
recorder = Recorder(path, 8000, 3, rotate_s=2000 if kind == "rotated" else None,
                    start=datetime.now(UTC))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
y = np.arange(3000, dtype=np.float32).reshape(1000, 3) + 1
position = 0
try:
    for number in range(10_000):
        count = 1 if kind in ("gaps", "remarks") else 100
        gap = {"gaps": 1, "zeros": 1_000_000}.get(kind, 0) * (number > 3)
        gaps = (Gap(position, gap, ("host", "dropped")[number % 2], 0),) if gap else ()
        remarks = (Gap(position, 1, "refuted", 0),) if kind == "remarks" else ()
        position += gap
        recorder.take(Block(y[:count], position, gap, gaps=gaps, remarks=remarks))
        position += count
        if number % 2:
            recorder.flush()
except OSError as error:
    print(json.dumps([error.errno, error.strerror, error.filename, list(map(str, recorder.paths))]))
    recorder.take(Block(y, 10**9))
    recorder.flush()
    recorder.finish()
"""


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        *(("samples", 9007), ("gaps", 1003), ("remarks", 1003), ("zeros", 20_000)),
        ("rotated", 9007),
    ],
)
def test_a_full_disk_ends_a_take_whole(tmp_path, kind, limit):
    """A limit on the size of files stands for it: the write fails halfway in the same way."""
    name = str(tmp_path / ("take%%_%Y.wav" if kind == "rotated" else "take.wav"))
    done = subprocess.run(
        [sys.executable, "-c", FULL, name, str(limit), kind], capture_output=True, check=True
    )
    errno_, strerror, filename, paths = json.loads(done.stdout)
    assert (os.strerror(errno_), filename) == (strerror, paths[-1])
    path = Path(filename)
    samples = read(path)
    header = len(wav_header(8000, 3, 0))
    assert path.stat().st_size == header + samples.nbytes
    if kind in ("samples", "rotated"):
        assert len(samples) == (limit - header) // 12  # every whole one that went in
    gaps = read_gaps(gaps_path(path), None)
    assert gaps == read_gaps(gaps_path(path), len(samples))  # none but of what is there
    heard = np.ones(len(samples), bool)
    for gap in gaps:
        heard[gap.first_sample : gap.first_sample + gap.length] = False
    np.testing.assert_array_equal(samples.any(axis=1), heard)
    assert gaps_path(path).read_bytes().endswith(b"\n")
    assert (len(gaps) > 20) == (kind == "gaps")
    remarks = read_listed(gaps_path(path), None).remarks
    assert (len(remarks) > 20) == (kind == "remarks")
    assert len(remarks) in (0, len(samples), len(samples) - 1)  # one a sample


ROWS = """
import resource, sys
from pathlib import Path
from rtaudio.sources.block import Gap
from rtaudio.sources.gaps_file import GapsWriter

writer = GapsWriter(Path(sys.argv[1]))
before = int(sys.argv[2])
writer.add(Gap(10, 99_999, "outage", 7))
writer.add(Gap(200_000, 1, "host", 7))
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, size + 3))
try:
    writer.add(Gap(before, 10**9, sys.argv[3], 7))
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize(("begin", "cause"), [(200_001, "host"), (300_000, "host"), (5, "refuted")])
def test_a_row_that_does_not_fit_leaves_the_list_as_it_was(tmp_path, begin, cause):
    """One that would have grown in its place, a new one, and a remark."""
    path = tmp_path / "take.gaps.csv"
    done = subprocess.run(
        [sys.executable, "-c", ROWS, path, str(begin), cause], capture_output=True, check=True
    )
    assert done.stdout.strip().isdigit()
    assert path.read_bytes() == HEADER + b"10,99999,outage,7\n200000,1,host,7\n"


NO_ROOM = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from rtaudio.consumers.recorder import Recorder
from rtaudio.sources.gaps_file import GapsWriter

resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
path = sys.argv[1]
for begin in (
    lambda: GapsWriter(Path(path).with_suffix(".gaps.csv")),
    lambda: Recorder(path, 8000, 1, start=datetime.now(UTC)),
):
    try:
        begin()
    except OSError as error:
        print(error.errno)
"""


def test_a_take_that_cannot_begin_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, tmp_path / "take.wav"], capture_output=True, check=True
    )
    assert len(done.stdout.split()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_write_may_take_less_than_it_was_given(tmp_path):
    class Sluggish:
        got = b""

        def write(self, data):
            self.got += bytes(data[:7])
            return len(data[:7])

    file = Sluggish()
    write_all(file, memoryview(NOISE.tobytes()[:1000]))
    assert file.got == NOISE.tobytes()[:1000]


def test_after_the_end_nothing_happens(tmp_path):
    (path,) = record(tmp_path / "take.wav", [Block(NOISE[:10], 0)])
    recorder = Recorder(str(tmp_path / "other.wav"), SR, 3, start=START)
    recorder.finish()
    recorder.take(Block(NOISE[:10], 0))
    recorder.flush()
    recorder.finish()
    assert read(tmp_path / "other.wav").shape == (0, 3)
    assert read(path).shape == (10, 3)


# --- lists that make no sense -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"first,length,cause,uncertainty\n1,2,host,0\n", "line 1 is not first_sample,length"),
        (b"1,2,host,0\n", "line 1 is not first_sample,length"),
        (b"\n", "line 1"),
        (HEADER + b"1,2,host\n", "line 2, '1,2,host', is no gap"),
        (HEADER + b"1,2,host,0\n5,1,theft,0\n", "line 3, '5,1,theft,0', is no gap"),
        (HEADER + b"-1,2,host,0\n", "line 2"),
        (HEADER + b"1.5,2,host,0\n", "line 2"),
        (HEADER + b"1,nan,host,0\n", "line 2"),
        (HEADER + b"1,2,host,0,5\n", "line 2"),
        (HEADER + b"\n1,2,host,0\n", "line 2"),
        (HEADER + "١,2,host,0\n".encode(), "line 2"),
        (HEADER + b"\xff\0\n", r"line 2, '\xff\x00', is no gap"),
        (HEADER + f"{2**50 + 1},0,host,0\n".encode(), "line 2"),
        (HEADER + f"{2**50},1,host,0\n".encode(), "whole numbers up to 2^50"),
        (HEADER + f"1,2,host,{2**50 + 1}\n".encode(), "line 2"),
        (HEADER + b"9" * 100_000 + b",2,host,0\n", "line 2"),
        (HEADER + b"9" * 100_000, "line 2"),
        (HEADER + b"10,5,host,0\n14,1,host,0\n", "line 3 begins at sample 14, before the end"),
        (HEADER + b"10,5,host,0\n3,1,host,0\n", "the last gap (15)"),
        (HEADER + b"10,5,host,0\n9,9,refuted,0\n3,1,host,0\n", "line 4 begins at sample 3, before"),
        (HEADER + b"1,1,theft,0\n", "and dropped, host, outage, unplaced or refuted"),
    ],
)
def test_a_list_that_makes_no_sense(tmp_path, data, words):
    soundfile.write(tmp_path / "take.wav", MUSIC, SR)
    (tmp_path / "take.gaps.csv").write_bytes(data)
    with pytest.raises(SourceError) as raised:
        FileSource(tmp_path / "take.wav")
    said = str(raised.value)
    assert said.startswith(str(tmp_path / "take.gaps.csv") + ": line ")
    assert words in said
    assert said.endswith("mend it, or delete the file to take the gaps for silence")
    assert "\n" not in said
    assert len(said) < 300 + len(str(tmp_path))
    if Path("/proc/self/fd").exists():  # and the recording is closed, while ``raised`` is held
        open_files = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
        assert str(tmp_path / "take.wav") not in open_files


@pytest.mark.parametrize("cut", range(60))
def test_a_list_that_was_cut_anywhere_is_read_as_far_as_it_goes(tmp_path, cut):
    whole = HEADER + b"10,5,host,3\n1234,567,outage,89\n"
    gaps = [Gap(10, 5, "host", 3), Gap(1234, 567, "outage", 89)]
    path = tmp_path / "take.gaps.csv"
    path.write_bytes(whole[:cut])
    rows = whole[:cut].count(b"\n") - 1
    got = read_gaps(path, None)
    # The end of the last number may be missing; all before it may not.
    unsure = [gap._replace(uncertainty=0) for gap in got]
    assert unsure[: max(0, rows)] == [gap._replace(uncertainty=0) for gap in gaps[: max(0, rows)]]
    assert [gap[:3] for gap in got] == [gap[:3] for gap in gaps[: len(got)]]
    assert len(got) <= max(0, rows) + 1


def test_gaps_are_cut_at_the_end_of_the_take(tmp_path):
    path = tmp_path / "a.gaps.csv"
    list_gaps(path, "5,0,host,0", "5,10,host,0", "15,9,outage,1", "24,1,host,0")
    for total in range(40):
        gaps = read_gaps(path, total)
        ends = [gap.first_sample + gap.length for gap in gaps]
        assert sum(gap.length for gap in gaps) == max(0, min(total, 25) - 5)
        assert ends == sorted({min(total, end) for end in (15, 24, 25) if min(total, end) > 5})
    assert read_gaps(path, 25) == read_gaps(path, None)


def test_remarks_may_begin_anywhere_and_a_refuted_gap_is_cut_at_the_end_too(tmp_path):
    path = tmp_path / "a.gaps.csv"
    rows = ("5,10,host,0", "5,10,refuted,0", "0,99,unplaced,0", "20,1,host,3", "21,4,unplaced,6")
    list_gaps(path, *rows, "3,2,unplaced,4", "25,1,refuted,0")
    gaps = [Gap(5, 10, "host", 0), Gap(20, 1, "host", 3)]
    remarks = [
        *(Gap(5, 10, "refuted", 0), Gap(0, 99, "unplaced", 0), Gap(21, 4, "unplaced", 6)),
        *(Gap(3, 2, "unplaced", 4), Gap(25, 1, "refuted", 0)),
    ]
    assert read_listed(path, None) == (gaps, remarks)
    assert read_gaps(path, None) == gaps
    cut = [remarks[0]._replace(length=3), remarks[1], remarks[3]]
    assert read_listed(path, 8) == ([gaps[0]._replace(length=3)], cut)
    assert read_listed(path, 21) == (gaps, remarks[:4])  # what is unplaced may be at the end
    assert read_listed(path, 25) == (gaps, remarks[:4])


def test_a_remark_ends_the_row_that_grows_and_never_grows_itself(tmp_path):
    path = tmp_path / "a.gaps.csv"
    writer = GapsWriter(path)
    for begin, cause in [(10, "host"), (15, "host"), (20, "refuted"), (25, "refuted")]:
        writer.add(Gap(begin, 5, cause, 0))
    for begin, cause in [(20, "host"), (25, "host"), (30, "unplaced")]:
        writer.add(Gap(begin, 5, cause, 0))
    writer.close()
    again = GapsWriter(path, again=True)
    again.add(Gap(35, 5, "unplaced", 0))
    again.close()
    rows = ("10,10,host,0", "20,5,refuted,0", "25,5,refuted,0", "20,10,host,0")
    last = ("30,5,unplaced,0", "35,5,unplaced,0")
    assert path.read_text().splitlines() == [HEADER.decode().strip(), *rows, *last]
    with pytest.raises(FileNotFoundError):
        GapsWriter(tmp_path / "b.gaps.csv", again=True)


def test_no_list_is_no_gap_and_what_cannot_be_read_is_told(tmp_path):
    assert gaps_path("a/b.c.wav") == Path("a/b.c.gaps.csv")
    assert read_gaps(tmp_path / "none.gaps.csv", 5) == []
    long = tmp_path / ("x" * 250 + ".wav")
    soundfile.write(long, MUSIC, SR)
    with FileSource(long) as source:
        assert sum(len(block.samples) for block in source) == len(MUSIC)
    soundfile.write(tmp_path / "take.wav", MUSIC, SR)
    (tmp_path / "take.gaps.csv").mkdir()
    with pytest.raises(SourceError, match=r"take.gaps.csv: Is a directory: mend it, or delete"):
        FileSource(tmp_path / "take.wav")


def test_a_spreadsheet_may_end_lines_in_its_own_way(tmp_path):
    path = tmp_path / "take.gaps.csv"
    path.write_bytes((HEADER + b"1,2,host,3\n7,1,outage,0").replace(b"\n", b"\r\n"))
    assert read_gaps(path, None) == [Gap(1, 2, "host", 3), Gap(7, 1, "outage", 0)]


def test_touching_gaps_of_one_cause_are_one_row(tmp_path):
    writer = GapsWriter(tmp_path / "a.gaps.csv")
    size = 0
    for number in range(1, 2000):  # an outage, told in pieces: the list does not grow with them
        writer.add(Gap(number * 48000, 48000, "outage", number % 7))
        assert read_gaps(tmp_path / "a.gaps.csv", None) == [
            Gap(48000, number * 48000, "outage", min(6, number))
        ]
        assert (tmp_path / "a.gaps.csv").stat().st_size >= size
        size = (tmp_path / "a.gaps.csv").stat().st_size
    assert size < 70
    writer.close()
