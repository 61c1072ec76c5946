"""Capture from real sound servers: exact samples, and what happens when they die."""

import json
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from command import COMMAND
from servers import (
    Jack,
    Pulse,
    alsa_file,
    counter_errors,
    end,
    jack_counter,
    private_env,
    wait_for,
)

import rtaudio
from rtaudio import Microphone


class Listener:
    """A microphone that is read by a thread, which keeps the samples and the gaps."""

    def __init__(self, **arguments):
        self.said = []
        self.mic = Microphone(tell=self.tell, **arguments)
        self.parts, self.gaps, self.kept = [], [], 0
        self.told_at = []
        self.error = None
        self._thread = threading.Thread(target=self._run)

    def tell(self, text):
        self.said.append(text)
        self.told_at.append(time.monotonic())

    def _run(self):
        try:
            for block in self.mic:
                self.gaps += block.gaps
                self.parts.append(block.samples.copy())
                self.kept += len(block)
        except Exception as error:  # the test tells it
            self.error = error

    def __enter__(self):
        self.mic.__enter__()
        self._thread.start()
        return self

    def hear(self, seconds):
        """Wait until so many seconds more were heard."""
        enough = self.kept + seconds * self.mic.sr
        wait_for(lambda: self.kept >= enough, f"{seconds} s of samples", 10 + 3 * seconds)

    def wait_for_words(self, count, seconds):
        wait_for(lambda: len(self.said) >= count, f"{count} messages, not {self.said}", seconds)

    @property
    def samples(self):
        return np.concatenate(self.parts)

    def __exit__(self, *error):
        self.mic.stop()
        self._thread.join(20)
        self.mic.__exit__(None, None, None)
        if error[0] is None:
            assert self.error is None
            stats = self.mic.stats
            assert stats.delivered == stats.processed + stats.dropped
            assert stats.processed == self.kept
            assert stats.lost == sum(gap.length for gap in self.gaps)


@contextmanager
def running(command, **options):
    """A program whose words are read; it is ended where the test fails."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    try:
        yield process
    finally:
        end(process)


# --- JACK -------------------------------------------------------------------------------------


def test_jack_delivers_every_sample(tmp_path, use):
    with Jack(tmp_path, sync=True) as jack, jack_counter(jack) as port:
        use(jack.env)
        device = next(d for d in rtaudio.devices() if "JACK" in d.hostapi)
        assert (device.name, device.channels, device.sr) == ("system", 2, 48000)
        with Listener(device="system, jack", channels=1) as listener:
            jack.play_into(port, jack.input_port())
            listener.hear(3)
        samples = listener.samples[:, 0]
    assert counter_errors(samples) == []
    assert np.count_nonzero(samples) > 2 * 48000
    assert listener.mic.stats.dropped == 0


@pytest.mark.parametrize("extra", [[], ["--blocksize", "1000", "--n-fft", "1024"]])
def test_the_take_replays_to_the_same_rows(tmp_path, extra):
    options = extra[2:]
    with Jack(tmp_path, sync=True) as jack, jack_counter(jack) as port:
        command = [*COMMAND, *"live --headless --duration 4 --record take.wav -o live.npz".split()]
        live = subprocess.Popen([*command, *extra], cwd=tmp_path, env=jack.env)
        jack.play_into(port, jack.input_port())
        assert live.wait(60) == 0
    analyze = [*COMMAND, "analyze", "take.wav", "-o", "replay.npz", *options]
    subprocess.run(analyze, cwd=tmp_path, check=True)
    with np.load(tmp_path / "live.npz") as a, np.load(tmp_path / "replay.npz") as b:
        for name in ("time", "lost", "mfcc", "rms", "peak"):
            np.testing.assert_array_equal(a[name], b[name])
        assert (a["rms"] > 0.1).sum() > 50  # the counter was there
    assert soundfile.info(tmp_path / "take.wav").frames == 4 * 48000


def test_jack_killed_and_started_again(tmp_path, use):
    with Jack(tmp_path) as jack:
        use(jack.env)
        with Listener() as listener:
            for round_ in range(2):
                listener.hear(1)
                killed = time.monotonic()
                jack.kill()
                listener.wait_for_words(2 * round_ + 1, 4)
                assert listener.told_at[-1] - killed < 3
                jack.start()
                ready = time.monotonic()
                listener.wait_for_words(2 * round_ + 2, 8)
                assert listener.told_at[-1] - ready < 5
            listener.hear(0.5)
    assert {gap.cause for gap in listener.gaps} <= {"outage", "host"}
    assert listener.mic.stats.restarts == 2
    assert "is lost (no samples for 2 s)" in listener.said[0]


def test_jack_started_again_at_another_rate_is_waited_for(tmp_path, use):
    with Jack(tmp_path) as jack:
        use(jack.env)
        with Listener() as listener:
            listener.hear(1)
            jack.kill()
            listener.wait_for_words(1, 4)
            jack.start(sr=44100)
            listener.wait_for_words(2, 8)
            jack.kill()
            jack.start()
            listener.wait_for_words(3, 8)
            listener.hear(0.5)
    assert "does not take 48000 Hz; it takes 44100" in listener.said[1]
    assert "is back after" in listener.said[2]
    assert listener.mic.stats.restarts == 1


def test_jack_stopped_and_continued(tmp_path, use):
    with Jack(tmp_path) as jack:
        use(jack.env)
        with Listener() as listener:
            listener.hear(1)
            jack.stop()
            listener.wait_for_words(1, 4)
            jack.cont()
            listener.wait_for_words(2, 10)
            listener.hear(0.5)
    assert listener.mic.stats.outage > 2 * 48000


@pytest.mark.parametrize(("stop", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_run_is_ended_while_the_server_is_dead(tmp_path, stop, status):
    command = [*COMMAND, *"live --headless --json --record take.wav".split()]
    with (
        Jack(tmp_path) as jack,
        running(command, cwd=tmp_path, env=jack.env) as live,
    ):
        times = [json.loads(live.stdout.readline())["time"] for _ in range(50)]
        assert times == sorted(times)
        jack.kill()
        assert any("is lost" in line for line in live.stderr)
        live.send_signal(stop)
        out, err = live.communicate(timeout=20)
    assert live.returncode == status
    assert "Traceback" not in err
    books = json.loads(out.splitlines()[-1])
    assert books["delivered"] == books["processed"] + books["dropped"]
    assert books["lost"] == books["dropped"] + books["host"] + books["outage"]
    assert books["outage"] > 1.5 * 48000
    take = soundfile.info(tmp_path / "take.wav")
    assert take.frames == books["processed"] + books["lost"]


# --- PulseAudio -------------------------------------------------------------------------------


def test_pulse_delivers_what_is_played(tmp_path, use):
    chance = np.random.default_rng(3)
    played = chance.uniform(-0.5, 0.5, (2 * 48000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", played, 48000, subtype="FLOAT")
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        with Listener(device="rtmon", channels=2, sr=48000) as listener:
            player = pulse.play(tmp_path / "noise.wav")
            assert player.wait(20) == 0
            listener.hear(1)
    samples = listener.samples
    begin = int(np.flatnonzero(np.abs(samples).sum(axis=1))[0])
    np.testing.assert_array_equal(samples[begin : begin + len(played)], played)
    assert listener.mic.stats.dropped == 0


@pytest.mark.parametrize("how", ["kill", "unload", "stop"])
def test_pulse_goes_and_comes_back(tmp_path, use, how):
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        with Listener(device="rtmon", channels=2, sr=48000) as listener:
            listener.hear(1)
            gone = time.monotonic()
            {"kill": pulse.kill, "unload": pulse.unload_sink, "stop": pulse.stop}[how]()
            listener.wait_for_words(1, 5)
            assert listener.told_at[0] - gone < 3
            {"kill": pulse.start, "unload": pulse.load_sink, "stop": pulse.cont}[how]()
            ready = time.monotonic()
            listener.wait_for_words(2, 10)
            assert listener.told_at[1] - ready < 5
            listener.hear(0.5)
    assert listener.mic.stats.restarts == 1
    assert listener.mic.stats.outage > 0


# --- ALSA without a server --------------------------------------------------------------------


def test_alsa_reads_a_file_exactly(tmp_path, use):
    ramp = (np.arange(30 * 48000) % 65_521 / 65_536).astype(np.float32)
    use(alsa_file(tmp_path, ramp))
    with Listener(device="filemic", channels=1, sr=48000, blocksize=512) as listener:
        listener.hear(5)
    # It runs faster than time: what the ring could not hold is dropped, and exactly so.
    at = exact = 0
    for part, gap in pieces(listener):
        at += gap
        if at > len(ramp) - 48000:  # a gap may reach beyond the file's end
            break
        np.testing.assert_array_equal(part[:, 0], ramp[at : at + len(part)])
        at += len(part)
        exact += len(part)
    assert exact > 5 * 48000


def pieces(listener):
    """Each block with what is lost before it."""
    gaps = iter(listener.gaps)
    position, gap = 0, next(gaps, None)
    for part in listener.parts:
        lost = 0
        while gap is not None and gap.first_sample == position + lost:
            assert gap.cause == "dropped"
            lost += gap.length
            gap = next(gaps, None)
        position += lost + len(part)
        yield part, lost


def test_a_file_is_heard_while_it_is_analyzed(tmp_path, use):
    chance = np.random.default_rng(4)
    song = chance.uniform(-0.5, 0.5, (2 * 48000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", song, 48000, subtype="FLOAT")
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        with Listener(device="rtmon", channels=2, sr=48000) as listener:
            command = [*COMMAND, *"live song.wav --headless --play -o song.npz".split()]
            subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
            listener.hear(0.5)
    heard = listener.samples
    begin = int(np.flatnonzero(np.abs(heard).sum(axis=1))[0])
    np.testing.assert_array_equal(heard[begin : begin + len(song)], song)
    with np.load(tmp_path / "song.npz") as rows:
        assert len(rows["mfcc"]) == 1 + len(song) // 512


def test_where_nothing_can_be_played(tmp_path):
    soundfile.write(tmp_path / "song.wav", np.zeros(48000), 48000)
    command = [*COMMAND, *"live song.wav --headless --play -o song.npz".split()]
    done = subprocess.run(command, cwd=tmp_path, env=private_env(), capture_output=True, text=True)
    assert done.returncode == 3
    assert "nothing can be played" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song.wav"]
