"""The recording of a live run gives the rows of that run, bit for bit, with its gaps."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Jack, jack_counter, wait_for

import rtaudio
from rtaudio.capture.fake import FakeHost, Fault, Script, VirtualClock
from rtaudio.capture.process import ProcessHost
from rtaudio.consumers.recorder import Recorder
from rtaudio.consumers.streaming import open_streaming
from rtaudio.recordings import Collector
from rtaudio.sources.gaps_file import gaps_path, read_gaps

FEATURES = ("mfcc", "rms", "peak", "db", "mel_db")


def assert_same_rows(live, replay, names=FEATURES):
    for name in ("time", "lost", *names):
        np.testing.assert_array_equal(live[name], replay[name], err_msg=name)


def record(mic, folder, seconds, during=lambda run: None, **overrides):
    """A run with both outputs, ended after ``seconds`` of sound, or by ``during``."""
    run = rtaudio.live(mic, duration_s=seconds, tell=lambda text: None, **overrides).open()
    recorder = Recorder(
        str(folder / "take.wav"), run.source.sr, run.source.channels, start=run.started_utc
    )
    run.attach_blocks("the recording", recorder.take, recorder.flush, recorder.finish)
    writer = open_streaming(folder / "live.npz", FEATURES, run.settings)
    finish = lambda: writer.finish(run.about())  # noqa: E731
    run.attach_frames("the features", writer.take, writer.flush, finish)
    run.start()
    during(run)
    run.wait()
    run.close()
    stats = run.stats
    assert stats.delivered == stats.processed + stats.dropped
    assert stats.lost == stats.dropped + stats.host + stats.outage
    assert stats.skipped == 0
    gaps = read_gaps(gaps_path(recorder.paths[0]), None)
    assert stats.lost == sum(gap.length for gap in gaps)
    replay = rtaudio.analyze(folder / "take.wav", features=FEATURES, **overrides)
    replay.save(folder / "replay.npz")
    with np.load(folder / "live.npz") as a, np.load(folder / "replay.npz") as b:
        assert_same_rows(a, b)
        assert len(a["mfcc"]) > 10
        return {name: a[name] for name in a.files}, gaps


RUNS = [
    (Script(odd_sizes=True, channels=2), {}),
    (Script(odd_sizes=True, faults=(Fault(2.5, "loss", samples=7777),)), {"n_fft": 1000}),
    (Script(odd_sizes=True, faults=(Fault(2.5, "freeze", seconds=0.7),)), {"sr": 16000}),
    (Script(sr=8000, blocksize=77, faults=(Fault(2.5, "end"),)), {"center": False}),
    (Script(odd_sizes=True, faults=(Fault(2.5, "crash"),)), {"channel": 1, "sr": 22050}),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All of them, each through a capture process of its own, at once."""

    def run(script, overrides):
        host = ProcessHost()
        mic = rtaudio.Microphone(host=ProcessHost(fake=replace_start(script, host)))
        return record(mic, tmp_path_factory.mktemp("run"), 6, **overrides)

    with ThreadPoolExecutor(len(RUNS)) as pool:
        return [pool.submit(run, *each) for each in RUNS]


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_through_the_capture_process(runs, number):
    rows, gaps = runs[number].result()
    faults = RUNS[number][0].faults
    assert bool(gaps) == bool(faults)
    assert (rows["lost"] > 0).any() == bool(faults)


def replace_start(script, host):
    return Script(**{**vars(script), "switched_on_ns": host.now_ns()})


def test_a_run_that_ends_while_the_device_is_gone(tmp_path):
    script = replace_start(Script(faults=(Fault(3, "unplug", seconds=99),)), ProcessHost())

    def during(run):
        wait_for(lambda: run.stats.outage > 48000, "an outage")
        run.stop()

    mic = rtaudio.Microphone(host=ProcessHost(fake=script))
    rows, gaps = record(mic, tmp_path, 60, during)
    assert gaps[-1].cause == "outage"
    assert rows["lost"][-1] > 0


def test_on_jack_with_the_server_killed_meanwhile(tmp_path, monkeypatch):
    with Jack(tmp_path) as jack, jack_counter(jack) as port:
        for name, value in jack.env.items():
            monkeypatch.setenv(name, value)

        def during(run):
            jack.play_into(port, jack.input_port())
            before = run.stats.processed
            wait_for(lambda: run.stats.processed > before + 48000, "1 s")
            jack.kill()
            wait_for(lambda: run.stats.outage > 0, "the outage")
            jack.start()

        rows, gaps = record(rtaudio.Microphone("system"), tmp_path, 8, during)
    assert "outage" in {gap.cause for gap in gaps}
    assert (rows["rms"] > 0.1).any()


@given(
    seed=st.integers(0, 10_000),
    sizes=st.sampled_from([(2048, 512), (400, 160), (1000, 333)]),
    odd=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_on_a_virtual_clock(tmp_path_factory, seed, sizes, odd):
    """Any faults: what the analyzer was fed live is what it is fed from the take."""
    folder = tmp_path_factory.mktemp("take")
    faults = (
        Fault(0.7, "loss", samples=300 + seed),
        Fault(1.5 + seed % 7 / 7, "freeze", seconds=seed % 11 / 10),
        Fault(4, "end" if seed % 2 else "flagged_loss", samples=2000),
    )
    script = Script(sr=8000, blocksize=50 + seed % 300, odd_sizes=odd, seed=seed, faults=faults)
    host = FakeHost(script, VirtualClock())
    n_fft, hop = sizes
    collector = Collector(FEATURES)
    with rtaudio.Microphone(host=host, tell=lambda text: None) as mic:
        analyzer = rtaudio.Analyzer(rtaudio.Settings(sr=mic.sr, n_fft=n_fft, hop_length=hop))
        recorder = Recorder(str(folder / "take.wav"), mic.sr, mic.channels, start=datetime.now(UTC))
        for block in mic:
            recorder.take(block)
            for frames in analyzer.feed(block.samples, block.lost):
                collector.take(frames)
            if host.now_ns() > 9e9:
                mic.stop()
        for frames in analyzer.flush():
            collector.take(frames)
    recorder.finish()
    replay = rtaudio.analyze(folder / "take.wav", n_fft=n_fft, hop_length=hop, features=FEATURES)
    live = {name: np.concatenate(parts) for name, parts in collector._parts.items()}
    assert_same_rows(live, replay.arrays)
    assert live["lost"].any()
