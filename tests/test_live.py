"""The live chain: the rows of a replay, books that add up, and an end that leaves nothing."""

import contextlib
import sys
import threading
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import wait_for
from sounds import SR, assert_same, joined, music

import rtaudio
from rtaudio import Analyzer, ArraySource, Block, Gap, Settings, SignalSource, SourceError
from rtaudio.analysis.frames import FEATURES
from rtaudio.capture.fake import FakeHost, Script, VirtualClock
from rtaudio.capture.process import ProcessHost
from rtaudio.consumers.latest import Latest
from rtaudio.consumers.recorder import Recorder
from rtaudio.consumers.worker import BoundedQueue
from rtaudio.sources.block import CAUSES, REMARKS

Y = np.stack([music(2.0), np.roll(music(2.0), 50)], axis=1)
ARRAYS = [field.name for field in fields(rtaudio.Frames)][1:]
SMALL = Settings(n_fft=64, hop_length=20, n_mels=8, n_mfcc=4)


class Told:
    """A source as a user writes one: blocks as they are told, as fast as they are taken.

    In place of a block, an exception is raised and a function is called. A block's samples are
    lent until the next one is asked for.
    """

    name, channels, duration_s = "what is told", 1, None

    def __init__(self, *told, sr=1000, realtime=False):
        self.told, self.sr, self.realtime = told, sr, realtime
        self.notes = []
        self.entered = self.left = self.handed = 0

    def __enter__(self):
        self.entered += 1
        return self

    def __exit__(self, *error):
        self.left += 1

    def __iter__(self):
        for what in self.told:
            if isinstance(what, Exception):
                raise what
            if callable(what):
                what()
                continue
            self.handed += 1
            lent = what.copy()
            yield lent
            lent.samples[:] = np.nan


def blocks(samples, size):
    """Blocks (n, 1) of so many samples, one after the other."""
    samples = np.asarray(samples, np.float32).reshape(-1, 1)
    return [Block(samples[at : at + size], at) for at in range(0, len(samples), size)]


def noise(n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


def assert_rows(kept, features):
    """Rows from a live run are those of a whole recording, each feature of it, bit for bit."""
    rows = joined(kept)
    np.testing.assert_array_equal(rows["row"], np.arange(len(features)))
    for name, array in features.arrays.items():
        assert rows[name].dtype == array.dtype
        np.testing.assert_array_equal(rows[name], array, err_msg=name)


def ours():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rtaudio ")]


@pytest.fixture(autouse=True)
def _nothing_left():
    """No thread is left by any of these tests, and the switch interval is as before."""
    before = sys.getswitchinterval()
    assert ours() == []
    yield
    assert sys.getswitchinterval() == before
    wait_for(lambda: not ours(), "end of the threads")


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.flac"
    soundfile.write(path, Y, SR)
    return path


@pytest.fixture
def damaged(tmp_path):
    """A FLAC that is no FLAC any more from its middle on."""
    path = tmp_path / "damaged.flac"
    soundfile.write(path, noise(4 * SR), SR)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)
    return path


# --- the rows ---------------------------------------------------------------------------------

ANY = [
    {},
    {"n_fft": 512, "hop_length": 200},
    {"channel": 2, "hop_length": 3000},
    {"sr": 16000, "center": False},
    {"sr": 48000, "channel": 1, "quantize_bits": 8},
    {"n_fft": 1500, "hop_length": 77, "window": "hamming", "n_mels": 40, "htk": True},
]


@pytest.mark.parametrize("what", ANY, ids=str)
def test_live_is_analyze(song, what):
    with rtaudio.live(song, realtime=False, **what) as run:
        assert_rows(list(run), rtaudio.analyze(song, features=FEATURES, **what))
        assert run.settings == replaced(what)


def replaced(what):
    return Settings(**{"sr": SR, **what})


def test_settings_and_overrides(song):
    with rtaudio.live(song, Settings(n_fft=256), realtime=False, hop_length=100) as run:
        assert_rows(list(run), rtaudio.analyze(song, n_fft=256, hop_length=100))


@pytest.mark.parametrize("blocksize", [1, 511, 100_000])
def test_an_array_in_blocks_of_any_size(blocksize):
    y = Y[:9000].astype(np.float64)
    with rtaudio.live(ArraySource(y, SR, blocksize=blocksize)) as run:
        assert_rows(list(run), rtaudio.analyze(y, sr=SR, features=FEATURES))


def test_a_signal():
    with rtaudio.live("demo:clicks", realtime=False) as run:
        assert_rows(list(run), rtaudio.analyze("demo:clicks", features=FEATURES))


def test_real_pace(song):
    """As long as it sounds, with the same rows; each says when its last sample was captured."""
    began = time.perf_counter()
    with rtaudio.live(song, duration_s=0.4) as run:
        kept = list(run)
    took = time.perf_counter() - began
    assert took >= 0.4
    y, _ = soundfile.read(song, dtype="float32")
    assert_rows(kept, rtaudio.analyze(y[: round(0.4 * SR)], sr=SR))
    captured = np.concatenate([frames.captured for frames in kept])
    known = captured[~np.isnan(captured)]
    np.testing.assert_allclose(np.diff(known), 512 / SR, atol=1e-6)
    assert began < known[0] < known[-1] < began + took
    assert 0 < run.stats.age_ms < 1e3 * took


# --- the axis, the books and the end ----------------------------------------------------------


@st.composite
def told_blocks(draw):
    """Blocks of any size behind losses of any cause, told as gaps or not, with remarks on what lies
    before their ends; and their axis.

    The axis: -1 where a sample is, else which of CAUSES it was lost by.
    """
    told, axis = [], []
    for number in range(draw(st.integers(0, 8))):
        causes = draw(st.lists(st.sampled_from(CAUSES), max_size=3))
        lengths = [draw(st.integers(1, 150)) for _ in causes]
        begin, gaps = len(axis), []
        untold = draw(st.integers(0, 50)) * draw(st.booleans())  # that is the host's
        axis += [CAUSES.index("host")] * untold
        for cause, length in zip(causes, lengths, strict=True):
            gaps.append(Gap(len(axis), length, cause, 0))
            axis += [CAUSES.index(cause)] * length
        lost = len(axis) - begin
        count = draw(st.integers(0, 200))
        told.append(Block(noise(count, number)[:, None], len(axis), lost, gaps=tuple(gaps)))
        axis += [-1] * count
        for cause in draw(st.lists(st.sampled_from(REMARKS), max_size=2)):
            first = draw(st.integers(0, len(axis)))
            length = draw(st.integers(1, 500))
            length = min(length, len(axis) - first) if cause == "refuted" else length
            told[-1].remarks += (Gap(first, length, cause, draw(st.integers(0, 50))),)
    return told, np.array(axis, int)


def fed(told, axis, what):
    """The rows of that axis, fed as runs of samples and of loss."""
    heard = np.concatenate([np.zeros((0, 1), np.float32), *(block.samples for block in told)])
    analyzer = Analyzer(what)
    kept, taken, lost = [], 0, 0
    for run in np.split(axis, np.flatnonzero(np.diff(axis < 0)) + 1):
        if len(run) and run[0] < 0:
            some = analyzer.feed(heard[taken : taken + len(run)], lost)
            kept += [frames.copy() for frames in some]
            taken, lost = taken + len(run), 0
        else:
            lost = len(run)
    if lost:
        assert not list(analyzer.feed(heard[:0], lost))
    return joined([*kept, *(frames.copy() for frames in analyzer.flush())])


def assert_books(stats, axis):
    assert stats.processed == (axis < 0).sum()
    for number, cause in enumerate(CAUSES):
        assert getattr(stats, cause) == (axis == number).sum()
    assert stats.delivered == stats.processed + stats.dropped
    assert stats.lost == stats.dropped + stats.host + stats.outage == (axis >= 0).sum()
    assert list(stats.lost_by_cause) == list(CAUSES)
    assert stats.lost == sum(stats.lost_by_cause.values())


def assert_remarks(stats, told, cut):
    """Those on what lies before the sample ``cut`` are counted, until a block reaches it."""
    expected = dict.fromkeys(REMARKS, 0)
    for block in told:
        for first, length, cause, _ in block.remarks:
            room = length if cause == "unplaced" else cut - first
            expected[cause] += min(length, room) if first < cut else 0
        if block.first_sample + len(block) >= cut:
            break
    assert {cause: getattr(stats, cause) for cause in REMARKS} == expected


@given(what=told_blocks(), cut=st.integers(1, 2500), sr=st.sampled_from((1000, 44100)))
@settings(max_examples=150, deadline=None)
def test_a_run_ends_exactly_where_it_is_told_to(what, cut, sr):
    told, axis = what
    with rtaudio.live(Told(*told, sr=sr), SMALL, duration_s=cut / sr) as run:
        rows = joined(list(run))
    inside = axis[:cut]
    assert_same(rows, fed(told, inside, SMALL.with_sr(sr)))
    assert_books(run.stats, inside)
    assert_remarks(run.stats, told, cut)
    assert run.stats.frames == len(rows["row"])
    about = run.about()
    assert about["samples"] == len(inside)
    assert {name: about[name] for name in (*CAUSES, *REMARKS)} == {
        name: getattr(run.stats, name) for name in (*CAUSES, *REMARKS)
    }


def test_an_end_within_what_was_dropped():
    host = FakeHost(Script(), VirtualClock())

    class Away(rtaudio.Microphone):
        """Its reader is away for longer than the ring holds."""

        def __iter__(self):
            for number, block in enumerate(super().__iter__()):
                if number == 1000:
                    host.clock.advance(40)
                yield block

    with rtaudio.live(Away(host=host), SMALL, duration_s=30) as run:
        run.wait()
    stats = run.stats
    assert stats.delivered == stats.processed + stats.dropped
    assert stats.processed + stats.lost == 30 * 48000
    assert stats.dropped > 5 * 48000


@given(what=told_blocks(), flushed=st.sets(st.integers(0, 7)))
@settings(max_examples=60, deadline=None)
def test_the_replay_of_a_recorded_run_is_the_run(tmp_path_factory, what, flushed):
    told, axis = what
    take = tmp_path_factory.mktemp("take") / "take.wav"
    run = rtaudio.live(Told(*told), SMALL).open()
    recorder = Recorder(str(take), 1000, 1, start=run.started_utc)
    run.attach_blocks("the take", recorder.take, recorder.flush, recorder.finish)
    live = []
    run.attach_frames("the rows", live.append)
    with run:
        run.wait()
    replay = []
    with rtaudio.live(take, SMALL, realtime=False, consumers=[replay.append]) as again:
        again.wait()
    assert_same(joined(live), joined(replay))
    assert_books(again.stats, axis)
    assert_remarks(run.stats, told, len(axis) + 1)
    assert replace(run.stats, age_ms=0) == replace(again.stats, age_ms=0)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 99.0])
@pytest.mark.parametrize("sr", [None, 16000])
def test_a_file_ends_where_it_is_told_to(song, seconds, sr):
    read, _ = soundfile.read(song, dtype="float32")
    part = song.with_name("part.wav")
    soundfile.write(part, read[: round(seconds * SR)], SR, subtype="FLOAT")
    with rtaudio.live(song, realtime=False, duration_s=seconds, sr=sr) as run:
        assert_rows(list(run), rtaudio.analyze(part, sr=sr))
    assert run.stats.processed == min(len(Y), round(seconds * SR))


def test_a_duration_of_nothing(song):
    with pytest.raises(ValueError, match=r"duration_s=0 is not above 0"):
        rtaudio.live(song, duration_s=0)


def test_samples_that_are_no_numbers_are_counted():
    y = noise(1000)
    y[10:13] = np.nan, np.inf, -np.inf
    with rtaudio.live(Told(*blocks(y, 100)), SMALL) as run:
        run.wait()
    assert run.stats.invalid == 3


# --- slow and broken consumers ----------------------------------------------------------------

MANY = noise(30_000)  # 1500 rows, of which a queue of 10 s at 1000 Hz holds 500


def test_a_slow_loop_behind_a_clock_misses_the_oldest_and_counts():
    source = Told(*blocks(MANY, 100), realtime=True)
    total = len(rtaudio.analyze(MANY, SMALL, sr=1000))
    with rtaudio.live(source, SMALL) as run:
        rows = iter(run)
        kept = [next(rows)]
        wait_for(lambda: run.stats.frames == total, "end of the source")
        kept += rows
    numbers = joined(kept)["row"]
    assert run.stats.skipped > 900
    assert len(numbers) + run.stats.skipped == run.stats.frames == total
    missed = np.diff(numbers) - 1
    assert (missed > 0).sum() == 1  # in one place, and what is newest is there
    assert missed.max() + numbers[0] == run.stats.skipped
    assert numbers[-1] == total - 1


def test_a_slow_loop_behind_a_file_misses_nothing():
    source = Told(*blocks(MANY, 100))
    with rtaudio.live(source, SMALL) as run:
        rows = iter(run)
        kept = [next(rows)]
        wait_for(lambda: run.stats.frames > 490, "full queue")
        time.sleep(0.1)  # time enough to run away
        assert source.handed < 120
        kept += rows
    assert_rows(kept, rtaudio.analyze(MANY, SMALL, sr=1000))
    assert run.stats.skipped == 0


def test_a_slow_consumer_does_not_hold_up_the_others_behind_a_clock():
    go_on = threading.Event()
    slow, quick = [], []

    def wait(frames):
        go_on.wait()
        slow.append(frames)

    def keep_up():
        wait_for(lambda: run.stats.frames == sum(map(len, quick)), "rows")

    begin = threading.Event()
    told = [begin.wait]
    for number, block in enumerate(blocks(MANY, 100)):
        told += [block, keep_up] if number % 50 == 0 else [block]
    source = Told(*told, realtime=True)
    with rtaudio.live(source, SMALL, consumers=[wait, quick.append]) as run:
        begin.set()
        wait_for(lambda: source.left, "end of the source")
        go_on.set()
        run.wait()
    assert_rows(quick, rtaudio.analyze(MANY, SMALL, sr=1000))
    assert len(joined(slow)["row"]) + run.stats.skipped == run.stats.frames
    assert run.stats.skipped > 900


def test_what_is_said_of_losses_elsewhere_is_not_thrown_away_with_a_block():
    """Whatever a slow recording misses, it gets each remark, once and in order."""
    begin, go_on, taken = threading.Event(), threading.Event(), []

    def wait(block):
        go_on.wait()
        taken.append(block)

    told = blocks(MANY, 100)
    for number, block in enumerate(told):
        if number % 7 == 0:
            block.remarks = (Gap(10 * number, number + 1, REMARKS[number % 2], 0),)
    source = Told(begin.wait, *told, realtime=True)
    run = rtaudio.live(source, SMALL, consumers=[lambda frames: None]).open()
    run.attach_blocks("slow", wait)
    with run:
        begin.set()
        wait_for(lambda: source.left, "end of the source")
        go_on.set()
        run.wait()
    assert len(taken) < 150 < len(told)
    remarks = [remark for block in taken for remark in block.remarks]
    assert remarks == [remark for block in told for remark in block.remarks]


def test_a_block_that_says_nothing_of_itself_is_handed_on():
    """No samples, no loss: its remarks are counted and recorded all the same."""
    taken = []
    late = Block(noise(0)[:, None], 100, remarks=(Gap(20, 30, "unplaced", 60),))
    run = rtaudio.live(Told(*blocks(noise(100), 50), late), SMALL).open()
    run.attach_blocks("the take", taken.append)
    with run:
        run.wait()
    assert taken[-1].remarks == late.remarks
    assert (run.stats.unplaced, run.stats.lost, run.stats.delivered) == (30, 0, 100)


def test_changes_of_the_latency_are_the_microphones():
    """They are no losses, and another source has none."""

    class Changed(rtaudio.Microphone):
        @property
        def stats(self):
            return replace(
                super().stats,
                latency_changes=3,
                latency_change_ms=12.4,
                largest_latency_change_ms=-18.0,
            )

    with rtaudio.live(Changed(host=FakeHost(Script(), VirtualClock())), SMALL, duration_s=1) as run:
        run.wait()
    stats = run.stats
    found = stats.latency_changes, stats.latency_change_ms, stats.largest_latency_change_ms
    assert found == (3, 12.4, -18.0)
    assert stats.lost == 0
    with rtaudio.live(Told(*blocks(noise(100), 50)), SMALL) as run:
        run.wait()
    stats = run.stats
    found = stats.latency_changes, stats.latency_change_ms, stats.largest_latency_change_ms
    assert found == (0, 0.0, 0.0)


def test_each_consumer_gets_every_row_of_its_own_and_an_exception_ends_one_alone():
    said, first, last = [], [], []

    def spoil(frames):
        first.append(frames.copy())
        for name in FEATURES:
            getattr(frames, name)[:] = 7

    def fail(frames):
        raise KeyError("no such label")

    def fail_silently(frames):
        raise ZeroDivisionError

    def leave(frames):
        sys.exit("enough")

    consumers = [spoil, fail, last.append, fail_silently, leave]
    source = Told(*blocks(MANY, 100))  # more than a queue holds
    with rtaudio.live(source, SMALL, consumers=consumers, tell=said.append) as run:
        run.wait()
    expected = rtaudio.analyze(MANY, SMALL, sr=1000, features=FEATURES)
    assert_rows(first, expected)
    assert_rows(last, expected)
    assert sorted(said) == [
        "fail has ended: KeyError: 'no such label'",
        "fail_silently has ended: ZeroDivisionError",
        "leave has ended: SystemExit: enough",
    ]
    assert [type(worker.error) for worker in run.workers] == [
        type(None), KeyError, type(None), ZeroDivisionError, SystemExit,
    ]  # fmt: skip


def test_by_default_it_is_logged(song, caplog):
    def fail(frames):
        raise OSError(28, "No space left on device", "there.csv")

    with rtaudio.live(song, realtime=False, consumers=[fail]) as run:
        run.wait()
    assert caplog.messages == ["fail has ended: there.csv: No space left on device"]


def test_what_ended_by_an_exception_is_finished_too(song):
    """And what comes later is thrown away; but the first thing that went wrong is what is told."""
    said, done = [], []

    def fail(frames):
        done.append("take")
        raise ValueError("first")

    def finish():
        done.append("finish")
        raise ValueError("second")

    run = rtaudio.live(song, realtime=False, tell=said.append).open()
    run.attach_frames("it", fail, finish=finish)
    with run:
        run.wait()
    assert done == ["take", "finish"]
    assert said == ["it has ended: ValueError: first"]


def test_a_consumer_that_never_returns_does_not_hold_the_end():
    """Nor does the full queue before it, behind which the source waits."""
    said, never, other = [], threading.Event(), []

    def hang(frames):
        never.wait()

    source = Told(*blocks(MANY, 100))
    run = rtaudio.live(source, SMALL, tell=said.append).open()
    run.attach_frames("hang", hang, end_s=0.1)
    run.attach_frames("other", other.append)
    with run:
        wait_for(lambda: run.stats.frames > 490, "full queue")
        assert run.wait(0.05) is False
        assert said == []
    assert said == ["hang does not end: left behind after 0.1 s"]
    assert isinstance(run.workers[0].error, TimeoutError)
    assert len(joined(other)["row"]) == run.stats.frames
    assert source.left == 1
    never.set()


def test_waiting_takes_as_long_as_a_slow_consumer_needs():
    """The source has ended: what is queued is handed over, however long that takes."""
    go_on, kept = threading.Event(), []

    def slow(frames):
        go_on.wait()
        kept.append(frames)

    y = noise(5000)
    source = Told(*blocks(y, 100))
    run = rtaudio.live(source, SMALL).open()
    run.attach_frames("slow", slow, end_s=0.01)
    with run:
        wait_for(lambda: source.left, "end of the source")
        assert run.wait(0.1) is False
        go_on.set()
        assert run.wait() is True
    assert_rows(kept, rtaudio.analyze(y, SMALL, sr=1000))


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 20), st.booleans())
def test_a_queue_loses_nothing_uncounted(lengths, capacity, ended):
    queue = BoundedQueue(capacity, skip=True)
    items = [[number] * length for number, length in enumerate(lengths)]
    for item in items:
        queue.put(item)
    if ended:
        queue.close()
        queue.put([0])
    got = []
    while (item := queue.get(0)) is not None:
        got.append(item)
        assert queue.missed == (len(got) == 1 and queue.skipped > 0)
    assert got == items[len(items) - len(got) :]
    assert sum(map(len, got)) + queue.skipped == sum(lengths)
    assert sum(map(len, got)) <= max(capacity, max(lengths, default=0))
    assert queue.over == ended


# --- polling ----------------------------------------------------------------------------------


def test_the_newest_row():
    begin = threading.Event()
    y = noise(20_000)
    expected = rtaudio.analyze(y, SMALL, sr=1000, features=FEATURES)
    polled = []
    with rtaudio.live(Told(begin.wait, *blocks(y, 100)), SMALL) as run:
        assert run.latest() is None
        begin.set()
        while not polled or polled[-1].first < len(expected) - 1:
            row = run.latest()
            if row is not None and (not polled or polled[-1].first != row.first):
                polled.append(row)
        assert run.wait()
        polled.append(run.latest())
    polled.append(run.latest())
    numbers = [row.first for row in polled]
    assert numbers == sorted(numbers)
    assert numbers[-2:] == [len(expected) - 1] * 2
    for row in polled:
        assert len(row) == 1
        for name in FEATURES:
            np.testing.assert_array_equal(getattr(row, name)[0], getattr(expected, name)[row.first])
    polled[-1].mfcc[:] = 0
    assert run.latest().mfcc.any()
    assert run.stats.skipped == 0  # nobody iterated


def test_a_row_that_is_overwritten_while_it_is_copied_is_copied_again():
    def row(number):
        arrays = {name: np.full((1, 3), number) for name in ARRAYS}
        return Slow(number, **arrays)

    class Slow(rtaudio.Frames):
        """The writer comes round while it is copied, once."""

        def newest(self):
            return row(self.first)

        def copy(self):
            time_ = self.time.copy()
            if self.first == 1:
                for number in (2, 3, 4):
                    latest.put(row(number))
            arrays = {name: getattr(self, name).copy() for name in ARRAYS}
            return rtaudio.Frames(self.first, **{**arrays, "time": time_})

    latest = Latest()
    assert latest.get() is None
    latest.put(row(1))
    got = latest.get()
    assert got.first == 4
    assert all((getattr(got, name) == 4).all() for name in ARRAYS)


def test_polling_never_waits():
    """Neither for a source that is stuck nor for a consumer that is."""
    stuck, kept = threading.Event(), []

    def hang(frames):
        stuck.wait()

    source = Told(*blocks(MANY, 100))
    with rtaudio.live(source, SMALL, consumers=[hang]) as run:
        wait_for(lambda: run.stats.frames > 490, "full queue")
        poll = threading.Thread(target=lambda: kept.append((run.latest(), run.stats)))
        poll.start()
        poll.join(10)
        assert kept
        assert kept[0][0].first <= kept[0][1].frames
        stuck.set()


def test_before_it_is_open(song):
    run = rtaudio.live(song, realtime=False)
    assert run.latest() is None
    assert run.stats.delivered == run.stats.lost == run.stats.frames == 0
    run.close()
    run.source.__exit__()


# --- begin and end ----------------------------------------------------------------------------


def test_begin_and_end_as_often_as_you_like():
    source = Told(*blocks(MANY, 100))
    run = rtaudio.live(source, SMALL)
    with run.start() as same, run:
        assert same is run
        assert run.start() is run
        assert_rows(list(run), rtaudio.analyze(MANY, SMALL, sr=1000))
        assert list(run) == []
        assert run.wait()
        assert run.wait()
        run.stop()
        run.close()
    run.stop()
    run.close()
    assert run.wait()
    assert (source.entered, source.left) == (1, 1)
    with pytest.raises(RuntimeError, match="this run is over"):
        run.start()


def test_what_has_not_begun():
    source = Told(*blocks(MANY, 100))
    run = rtaudio.live(source, SMALL)
    run.close()
    for wrong in (run.wait, lambda: next(iter(run))):
        with pytest.raises(RuntimeError, match="not started"):
            wrong()
    run.open()
    assert run.settings.sr == 1000
    run.open()
    run.attach_frames("nobody", lambda frames: None)
    run.close()
    run.close()
    assert (source.entered, source.left, source.handed) == (1, 1, 0)
    with pytest.raises(RuntimeError, match="this run is over"):
        run.start()


@pytest.mark.parametrize("end", ["stop", "close", "break", "raise"])
@pytest.mark.parametrize("realtime", [False, True])
def test_the_end_within_a_loop(end, realtime):
    """What was taken from the source is processed, and the source is let go of."""
    source = SignalSource("sine", realtime=realtime)  # without end
    kept = []

    def loop():
        for frames in run:
            kept.append(frames)
            if end == "break":
                return
            if end == "raise":
                raise LookupError("of the body")
            getattr(run, end)()

    expected = pytest.raises(LookupError) if end == "raise" else contextlib.nullcontext()
    with expected, rtaudio.live(source) as run:
        loop()
    if end in ("stop", "close"):  # the loop goes on to the last row
        assert run.stats.frames == len(joined(kept)["row"]) + run.stats.skipped
    assert run.stats.frames == 1 + run.stats.processed // 512
    assert run.stats.delivered == run.stats.processed > 0


def test_the_bodys_exception_goes_before_that_of_the_source():
    source = Told(*blocks(noise(500), 100), SourceError("torn"))
    with pytest.raises(KeyboardInterrupt), rtaudio.live(source, SMALL) as run:  # noqa: PT012
        wait_for(lambda: source.left, "end of the source")
        raise KeyboardInterrupt
    with pytest.raises(SourceError, match="torn"), rtaudio.live(source, SMALL) as run:
        wait_for(lambda: source.left == 2, "end of the source")
    run.close()  # it was told


def test_a_consumer_may_end_the_run():
    kept, said = [], []

    def enough(frames):
        kept.append(frames)
        run.close()

    run = rtaudio.live(SignalSource("sine"), consumers=[enough], tell=said.append)
    with run:
        assert run.wait(30)
    assert kept
    assert said == []


def test_beside_consumers_a_loop_begins_with_the_next_row(song):
    kept = []
    with rtaudio.live(song, realtime=False, consumers=[kept.append]) as run:
        run.wait()
        assert list(run) == []  # there is none
    begin, later = threading.Event(), blocks(noise(1000), 100)
    with rtaudio.live(Told(begin.wait, *later), SMALL, consumers=[kept.append]) as run:
        rows = iter(run)
        threading.Timer(0.05, begin.set).start()
        assert_rows(list(rows), rtaudio.analyze(noise(1000), SMALL, sr=1000))


# --- broken sources ---------------------------------------------------------------------------


def test_a_damaged_file(damaged):
    kept, taken = [], []
    with rtaudio.live(damaged, realtime=False) as run, pytest.raises(SourceError, match="damaged"):
        kept.extend(run)
    with rtaudio.live(damaged, realtime=False, consumers=[taken.append]) as run:  # noqa: SIM117
        with pytest.raises(SourceError, match=r"damaged after .* s \("):
            run.wait()
    y = noise(4 * SR)[: run.stats.processed]
    assert len(y) > SR
    soundfile.write(damaged.with_name("whole.flac"), y, SR)
    for rows in (kept, taken):  # what could be read is analyzed to its end
        assert_rows(rows, rtaudio.analyze(damaged.with_name("whole.flac")))


class Refusing(Told):
    def __enter__(self):
        raise SourceError("in use")


WRONG = {
    "in use": (Refusing(), {}),
    "not a channel 3": (Told(), {"channel": 3}),
    "fmax=900 Hz is above half the rate": (Told(), {"fmax": 900}),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_source_that_cannot_be_had_leaves_nothing_running(words):
    source, what = WRONG[words]
    run = rtaudio.live(source, **what)
    with pytest.raises(SourceError, match=words), run:
        raise AssertionError
    assert source.left == source.entered
    assert ours() == []
    run.close()


def test_a_file_that_is_not_there():
    with pytest.raises(SourceError, match="no such file"):
        rtaudio.live("gone.wav")


def test_a_source_with_a_bug():
    source = Told(*blocks(noise(500), 100), AttributeError("a bug"))
    with rtaudio.live(source, SMALL) as run, pytest.raises(AttributeError, match="a bug"):
        run.wait()
    with pytest.raises(AttributeError, match="a bug"), rtaudio.live(source, SMALL) as run:
        list(run)
    assert (source.entered, source.left) == (2, 2)


def test_a_source_that_does_not_return_is_left_behind(monkeypatch):
    """Its rows so far are handed out at once, and it is let go of when it does return."""
    monkeypatch.setattr("rtaudio.pipeline.STOP_S", 0.05)
    stuck, kept = threading.Event(), []
    y = noise(1000)
    source = Told(*blocks(y, 100), stuck.wait, *blocks(y, 100))
    with rtaudio.live(source, SMALL, consumers=[kept.append]) as run:
        wait_for(lambda: source.handed == 10 and run.stats.processed == 1000, "blocks")
    assert_rows(kept, rtaudio.analyze(y, SMALL, sr=1000))
    assert source.left == 0
    stuck.set()
    wait_for(lambda: source.left == 1, "end of the source")
    assert run.stats.processed == 1000


# --- several ----------------------------------------------------------------------------------


def test_two_at_once(song):
    other = noise(30_000)
    with (
        rtaudio.live(song, realtime=False) as one,
        rtaudio.live(Told(*blocks(other, 77)), SMALL) as two,
    ):
        twos = iter(two)
        kept = [next(twos)]
        ones = list(one)
        kept += twos
    assert_rows(ones, rtaudio.analyze(song))
    assert_rows(kept, rtaudio.analyze(other, SMALL, sr=1000))


@pytest.mark.parametrize("first", [0, 1])
def test_the_switch_interval_is_short_until_the_last_has_ended(first):
    before = sys.getswitchinterval()
    runs = [rtaudio.live(SignalSource("sine", realtime=True)).start() for _ in range(2)]
    rtaudio.live(Told(), SMALL).open().close()  # one that never began changes nothing
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    runs.pop(first).close()
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    runs.pop().close()
    assert sys.getswitchinterval() == before


def test_samples_without_a_rate():
    with pytest.raises(ValueError, match="samples have no rate"):
        rtaudio.live(np.zeros(100, np.float32))


def test_a_tell_that_fails_stops_nothing(caplog):
    def tell(text):
        raise ValueError("tell broke")

    def fail(frames):
        raise ValueError("mine")

    got = []
    with rtaudio.live(
        "demo:", SMALL, consumers=[fail, got.append], tell=tell, duration_s=0.5
    ) as run:
        assert run.wait(20)
    assert len(joined(got)["row"]) == run.stats.frames
    assert "fail has ended: ValueError: mine" in caplog.text


def test_a_source_that_cannot_be_let_go_is_told():
    class Stuck(rtaudio.ArraySource):
        def __exit__(self, *error):
            raise OSError("stuck")

    with pytest.raises(OSError, match="stuck"), rtaudio.live(Stuck(noise(5000), SR), SMALL) as run:
        run.wait(20)


def test_the_books_of_a_run_that_never_began():
    mic = rtaudio.Microphone(host=ProcessHost(fake=Script()))
    run = rtaudio.live(mic).open()
    wait_for(lambda: run.stats.delivered > 4800, "samples")
    run.close()
    stats = run.stats
    assert stats.processed == 0
    assert stats.delivered == stats.dropped == stats.lost > 0


def test_the_microphones_own_tell_is_kept():
    said, later = [], []
    script = Script(silent=True)
    mic = rtaudio.Microphone(host=ProcessHost(fake=script), tell=said.append)
    with rtaudio.live(mic, consumers=[later.append], duration_s=2.5) as run:
        run.wait()
    assert "nothing but zeros" in said[0]
