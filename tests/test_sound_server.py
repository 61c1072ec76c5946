"""The capture process knows which sound server its stream goes through, as the server says."""

import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from servers import Jack, PipeWire, Pulse, alsa_file

from rtaudio.capture.process import CaptureProcess
from rtaudio.capture.server import sound_server
from rtaudio.capture.wire import Request


@contextmanager
def captured(device):
    """A capture process with that device; yields what it says that it opened."""
    capture = CaptureProcess(Request(device, channels=1, sr=48000))
    try:
        while capture.opened is None and capture.failed is None:
            capture.wait()
        assert capture.failed is None, capture.failed
        yield capture.opened
    finally:
        capture.end()


@pytest.mark.parametrize(
    ("server", "device", "name"),
    [
        (Pulse, "rtmon", "pulseaudio"),
        (PipeWire, "rtmon", "pipewire"),
        (Jack, "system, JACK", "jack"),
    ],
)
def test_a_server_is_known_by_its_own_word(tmp_path, use, server, device, name):
    with server(tmp_path) as running:
        use(running.env)
        with captured(device) as opened:
            assert opened.server == name


def test_a_server_that_does_not_record_for_us_is_not_ours(tmp_path, use):
    file = alsa_file(tmp_path, np.zeros(480_000, np.float32))
    with Pulse(tmp_path) as pulse:
        use(pulse.env | {"ALSA_CONFIG_PATH": file["ALSA_CONFIG_PATH"]})
        with captured("filemic") as opened:
            assert opened.server == ""


def test_a_server_that_died_meanwhile_is_none(tmp_path, use):
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        with captured("rtmon"):
            code = "from rtaudio.capture import server; "
            code += "server.PLUGINS = (b'libc',); print(repr(server.sound_server('ALSA')))"
            pulse.kill()
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("''\n", "")


def test_where_no_server_runs(tmp_path, use):
    use(alsa_file(tmp_path, np.zeros(480_000, np.float32)))
    assert sound_server("ALSA") == ""
