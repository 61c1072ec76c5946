"""The sound servers of the tests: what is played is heard, to the bit, and none outlives them."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from servers import COUNTS, Jack, Pulse, alsa_file, counter_errors, counts, jack_counter, wait_for
from servers import end as end_process

LISTEN = """
import queue, sys
import sounddevice
device, channels, dtype, path = sys.argv[1:]
blocks = queue.SimpleQueue()
def callback(samples, length, time, status):
    blocks.put(bytes(samples))
stream = sounddevice.RawInputStream(
    samplerate=48000, device=device, channels=int(channels), dtype=dtype, callback=callback
)
with open(path, "wb", buffering=0) as file, stream:
    while True:
        file.write(blocks.get())
"""
JACK_DEVICE = "system, JACK Audio Connection Kit"


class Listener:
    """A process that writes what it hears on a device to a file."""

    def __init__(self, path, env, device, channels, dtype):
        self.channels = channels
        self.dtype = dtype
        self._path = path
        command = [sys.executable, "-c", LISTEN, device, str(channels), dtype, path]
        self.process = subprocess.Popen(command, env=env)

    def __len__(self):
        size = self._path.stat().st_size if self._path.exists() else 0
        return size // (self.channels * np.dtype(self.dtype).itemsize)

    def hears(self, samples=1):
        """Wait until it heard so many more samples."""
        enough = len(self) + samples
        wait_for(lambda: len(self) >= enough or self.process.poll() is not None, "sound", 20)
        assert self.process.poll() is None

    def hears_nothing(self):
        """Wait until nothing comes any more."""

        def still():
            before = len(self)
            try:
                wait_for(lambda: len(self) > before, "sound", 0.3)
            except TimeoutError:
                return True
            return False

        wait_for(still, "silence")

    def heard(self):
        """All so far, (n, channels)."""
        whole = np.fromfile(self._path, self.dtype, len(self) * self.channels)
        return whole.reshape(-1, self.channels)


@contextmanager
def listening(path, env, device, channels=1, dtype="float32"):
    listener = Listener(path, env, device, channels, dtype)
    try:
        listener.hears()
        yield listener
    finally:
        listener.process.kill()  # nothing else ends it where JACK died
        listener.process.wait()


def state(pid):
    """R, S, T (stopped), Z (ended, not yet waited for); None where it is gone."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[0] if stat.exists() else None


def played(start, length):
    """What the counter plays from its sample ``start`` on."""
    k = (start + np.arange(length)) % COUNTS
    return ((k - COUNTS / 2) / (COUNTS / 2)).astype(np.float32)


@given(
    st.integers(0, COUNTS - 1),
    st.integers(0, 50),
    st.lists(st.tuples(st.integers(1, 99), st.integers(1, COUNTS - 1)), max_size=5),
)
def test_missing_counts_are_found_where_they_miss(start, silence, gaps):
    pieces, expected = [np.zeros(silence, np.float32)], []
    k, index = (start, silence) if start != COUNTS // 2 else (start + 1, silence)
    for length, missing in gaps:
        pieces.append(played(k, length))
        k, index = k + length + missing, index + length
        expected.append((index, missing))
    pieces.append(played(k, 1))
    samples = np.concatenate(pieces)
    assert counter_errors(samples) == expected
    np.testing.assert_array_equal(counts(played(start, 100)), (start + np.arange(100)) % COUNTS)


@pytest.mark.parametrize("wrong", [np.nan, 1.0, -1.1, 0.1, 2**-24])
def test_what_is_no_count_is_told(wrong):
    samples = played(7, 100)
    samples[30] = wrong
    with pytest.raises(ValueError, match=r"sample 30 is .*: no count"):
        counter_errors(samples)


def test_jack_that_waits_loses_no_sample(tmp_path):
    with (
        Jack(tmp_path) as jack,
        jack_counter(jack) as counter,
        listening(tmp_path / "heard", jack.env, JACK_DEVICE) as listener,
    ):
        assert {"system:capture_2", "system:playback_2", counter} <= set(jack.ports())
        target = jack.input_port()
        jack.play_into(counter, target)
        assert jack.listeners(counter) == [target]
        assert jack.listeners() == []
        listener.hears(2.5 * 48000)
        heard = listener.heard()[:, 0]
    assert np.count_nonzero(heard) > 2 * 48000
    assert counter_errors(heard) == []


@pytest.mark.parametrize("sync", [True, False])
def test_jack_is_killed_stopped_and_started(tmp_path, sync):
    with Jack(tmp_path, period=256, sync=sync, channels_in=1, channels_out=1) as jack:
        assert set(jack.ports()) == {"system:capture_1", "system:playback_1"}
        first = jack.process.pid
        with listening(tmp_path / "first", jack.env, JACK_DEVICE) as listener:
            jack.stop()
            wait_for(lambda: state(first) == "T", "stopped server")
            listener.hears_nothing()
            jack.cont()
            listener.hears(4800)
            jack.kill()
            assert state(first) is None
            listener.hears_nothing()
        jack.start()
        with (
            jack_counter(jack) as counter,
            listening(tmp_path / "second", jack.env, JACK_DEVICE) as listener,
        ):
            jack.play_into(counter, jack.input_port())
            wait_for(lambda: listener.heard().any(), "counter")
        last = jack.process.pid
    assert state(last) is None


def test_more_jacks_are_killed_than_a_machine_holds(tmp_path):
    for _ in range(9):
        with Jack(tmp_path) as jack:
            jack.kill()


def test_the_counter_ends_with_its_server(tmp_path):
    before = children()
    with Jack(tmp_path) as jack, jack_counter(jack):
        (player,) = children() - before - {jack.process.pid}
        jack.kill()
        wait_for(lambda: state(player) in ("Z", None), "end of the player")
    assert children() == before
    assert not list(Path("/dev/shm").glob(f"*{jack.name}*"))


def children():
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in found.split()}


@pytest.fixture
def noise(tmp_path):
    """Two channels of noise in a file, and as they are in it."""
    samples = np.random.default_rng(5).uniform(-1, 1, (48000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", samples, 48000, subtype="FLOAT")
    return tmp_path / "noise.wav", samples


def hears_the_noise(listener, pulse, noise):
    """Play it, and find every bit of it in what the listener hears."""
    path, samples = noise
    begin = len(listener)
    player = pulse.play(path)
    assert player.wait(20) == 0
    listener.hears(48000)
    heard = listener.heard()[begin:]
    start = int(np.argmax(heard.any(axis=1)))
    np.testing.assert_array_equal(heard[start : start + len(samples)], samples)
    assert not heard[start + len(samples) :].any()


def test_pulse_is_killed_stopped_unplugged_and_started(tmp_path, noise):
    home = os.environ.get("HOME")
    with Pulse(tmp_path) as pulse:
        assert pulse.env.get("HOME") == home
        first = pulse.process.pid
        with listening(tmp_path / "first", pulse.env, "rtmon", 2) as listener:
            hears_the_noise(listener, pulse, noise)
            pulse.stop()
            wait_for(lambda: state(first) == "T", "stopped server")
            listener.hears_nothing()
            pulse.cont()
            listener.hears(4800)
            hears_the_noise(listener, pulse, noise)
            pulse.unload_sink()
            listener.hears_nothing()
        pulse.load_sink()
        with listening(tmp_path / "second", pulse.env, "rtmon", 2) as listener:
            hears_the_noise(listener, pulse, noise)
            pulse.kill()
            assert state(first) is None
            listener.hears_nothing()
        pulse.start()
        with listening(tmp_path / "third", pulse.env, "rtmon", 2) as listener:
            hears_the_noise(listener, pulse, noise)
            player = pulse.play(noise[0])
        last = pulse.process.pid
    assert state(last) is None
    assert state(player.pid) is None


@pytest.mark.parametrize("kind", [Jack, Pulse])
def test_a_stopped_server_ends_too(tmp_path, kind):
    with kind(tmp_path) as server:
        server.stop()
    assert state(server.process.pid) is None


@pytest.mark.parametrize(
    ("kind", "why"), [(Jack, "Options for driver 'dummy'"), (Pulse, "Module initialization failed")]
)
def test_a_server_that_does_not_start_says_why(tmp_path, kind, why):
    server = kind(tmp_path, sr=-1)
    with pytest.raises(RuntimeError, match=why), server:
        pass
    assert state(server.process.pid) is None


def test_end_kills_what_does_not_end():
    code = "import signal; signal.signal(15, 1); print(flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    end_process(process, seconds=0.1)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_alsa_plays_a_file(tmp_path, dtype, channels):
    rng = np.random.default_rng(6)
    samples = rng.integers(-32768, 32768, (48000, channels)).astype(dtype)
    if dtype == "float32":
        samples /= 32768
    raw = tmp_path / "samples.raw"
    samples.tofile(raw)
    for number, given_as in enumerate((samples, raw)):
        heard = tmp_path / f"heard{number}"
        env = alsa_file(tmp_path, given_as)
        with listening(heard, env, "filemic", channels, dtype) as listener:
            wait_for(lambda: len(listener) >= len(samples), "whole file")
            np.testing.assert_array_equal(listener.heard()[: len(samples)], samples)
