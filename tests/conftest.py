"""Fixtures that several files share."""

import os

import pytest
import soundfile
from command import SONG
from labelled import trained
from sounds import SR


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with song.wav in it, as the current one."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("song.wav", SONG, SR)
    return tmp_path


@pytest.fixture
def use(monkeypatch):
    """Puts this process, and those that it starts, into another environment."""

    def put(env):
        for name in set(os.environ) - set(env):
            monkeypatch.delenv(name)
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture(scope="session")
def training(tmp_path_factory):
    """What was learned of beeps, hisses and rises."""
    return trained(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="session")
def model_file(training, tmp_path_factory):
    """The model of these, in a file."""
    path = tmp_path_factory.mktemp("model") / "sounds.onnx"
    training.save(path)
    return path
