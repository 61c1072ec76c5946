"""Every delay of a live run is measured, and told as numpy has it of the values themselves."""

import json
import math
import subprocess
import time

import numpy as np
import pytest
from command import COMMAND

import rtaudio
from rtaudio.books import STAGES, Books
from rtaudio.capture.fake import Fault, Script
from rtaudio.capture.process import ProcessHost
from rtaudio.consumers.delays import PERCENTILES, Delays
from rtaudio.sources.block import Block, Gap

SMALL = rtaudio.Settings(n_fft=256, hop_length=128, n_mels=20)


def fake(**script):
    return rtaudio.Microphone(host=ProcessHost(fake=Script(**script)), blocksize=128)


@pytest.fixture
def raw(monkeypatch):
    """The values that are measured, by the name of their delay."""
    values = {name: [] for name in STAGES}
    add = Delays.add

    def noted(self, at, *found):
        for name, value in zip(self.names, found, strict=True):
            values[name].append(value)
        add(self, at, *found)

    monkeypatch.setattr(Delays, "add", noted)
    return values


def test_the_delays_of_a_run_are_those_of_its_values(raw):
    with rtaudio.live(fake(latency_ms=5), SMALL, consumers=[lambda f: None], duration_s=3) as run:
        run.wait()
    stages = run.stats.stages
    elsewhere = ("frame_to_label", "frame_to_screen", "captured_to_screen")
    assert list(stages) == [name for name in STAGES if name not in elsewhere]
    for name, delay in stages.items():
        known = [value for value in raw[name] if not math.isnan(value)]
        assert delay.n == len(known) > 900
        assert delay.max_ms == pytest.approx(1e3 * max(known), rel=1e-12)
        for percentile, percent in PERCENTILES.items():
            told = getattr(delay, percentile)
            if percent == 99.9 and delay.n < 1000:
                assert math.isnan(told)
            else:
                assert told == pytest.approx(1e3 * np.percentile(known, percent), rel=0.01)
    # The fake's device hands a block over 5 ms after its last sample.
    assert 5 <= stages["adc_to_callback"].p50_ms < 6
    # What is a part of the way is not longer than the whole.
    assert stages["callback_to_read"].p50_ms < stages["callback_to_frame"].p50_ms
    assert stages["captured_to_frame"].p50_ms > 5 + stages["read_to_frame"].p50_ms


def test_without_a_time_of_the_device_nothing_is_told_of_it():
    with rtaudio.live(fake(adc=False), SMALL, consumers=[lambda f: None], duration_s=1) as run:
        run.wait()
    assert "adc_to_callback" not in run.stats.stages
    assert run.stats.stages["callback_to_frame"].n > 300


def test_a_clock_that_jumps_or_runs_backwards_makes_nobody_late():
    faults = (Fault(1.2, "clock_jump", seconds=5), Fault(1.5, "adc_back", seconds=0.3))
    with rtaudio.live(fake(faults=faults), SMALL, consumers=[lambda f: None], duration_s=3) as run:
        run.wait()
    stages = run.stats.stages
    assert stages["adc_to_callback"].n > 300
    for name in ("adc_to_callback", "callback_to_frame", "captured_to_frame"):
        assert stages[name].max_ms < 300


def test_a_recording_at_its_pace_is_measured_from_when_a_callback_would_have_come():
    source = rtaudio.SignalSource("noise", realtime=True, duration_s=1)
    with rtaudio.live(source, SMALL, consumers=[lambda frames: None]) as run:
        run.wait()
    stages = run.stats.stages
    assert "adc_to_callback" not in stages
    assert 90 < stages["callback_to_read"].n <= 101
    assert 0 < stages["callback_to_frame"].p50_ms < 100


def test_what_is_read_at_once_was_never_captured():
    with rtaudio.live("demo:", SMALL, realtime=False, duration_s=2) as run:
        for _ in run:
            pass
    assert list(run.stats.stages) == ["read_to_frame", "frame_to_consumer"]


def test_a_consumer_that_is_slow_is_called_late():
    def slow(frames):
        time.sleep(0.05)

    source = rtaudio.SignalSource("noise", realtime=True, duration_s=1)
    with rtaudio.live(source, SMALL, consumers=[slow]) as run:
        run.wait()
    assert run.stats.stages["frame_to_consumer"].max_ms > 500


def test_jitter_is_how_far_callbacks_are_from_their_pace():
    books = Books()
    books.sr = 1000
    samples = np.zeros((10, 1), np.float32)
    position = 0
    for lost, called in ((0, 1.0), (0, 1.012), (0, 1.02), (50, 1.081)):  # 10 ms each
        position += lost
        books.block(Block(samples, position, lost, called - 0.01, (), called), adc=True)
        position += 10
    books.end()
    jitter = books.stages()["callback_jitter"]
    assert jitter.n == 3
    assert jitter.max_ms == pytest.approx(2)  # 12 ms; then 8; then 61 with 50 lost
    assert jitter.percentile(1e-9) == pytest.approx(1, rel=0.01)
    assert books.lost["host"] == 50


def test_a_remark_is_counted_for_itself():
    books = Books()
    samples = np.zeros((10, 1), np.float32)
    gaps = (Gap(0, 5, "outage", 0),)
    remarks = (Gap(0, 3, "refuted", 0), Gap(0, 700, "unplaced", 9), Gap(3, 1, "refuted", 0))
    books.block(Block(samples, 5, 5, gaps=gaps, remarks=remarks), adc=False)
    books.block(Block(samples[:0], 15, remarks=remarks[1:]), adc=False)
    assert books.remarks == {"unplaced": 1400, "refuted": 5}
    assert books.lost == {"dropped": 0, "host": 0, "outage": 5}
    assert (books.processed, books.position) == (10, 15)


def test_rtaudio_live_tells_the_delays_as_json():
    command = [*COMMAND, "live", "demo:", "--headless", "--json", "--duration", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["event"] == "end"
    stage = end["stages"]["callback_to_frame"]
    assert 0 < stage["p50_ms"] <= stage["max_ms"]
    assert stage["p99_ms"] is None  # of 43 rows: none is beyond it
    assert stage["last_10_s"]["n"] == stage["n"] > 40
