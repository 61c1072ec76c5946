"""An archive on a real Dask cluster: a scheduler and workers in processes of their own."""

import json
import socket
import subprocess
from pathlib import Path

import pytest
import soundfile
from archives import Cluster, noise, parts_of, recordings
from command import COMMAND

import rtaudio
from rtaudio.archive import cluster as cluster_module
from rtaudio.cli import main

LONG_S = 2 * 3600 + 100


@pytest.fixture
def port():
    """One that is free."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Many short recordings, a long one, and one that can't be read; what one process makes."""
    folder = tmp_path_factory.mktemp("sounds")
    recordings(folder / "in", 30)
    for number in range(30):
        soundfile.write(folder / f"in/b {number}.wav", noise(20, 16000, number), 16000)
    soundfile.write(folder / "in/long.wav", noise(LONG_S, 1000), 1000)
    (folder / "in/bad.wav").write_bytes(b"no recording")
    assert main(["archive", str(folder / "in"), "-o", str(folder / "one"), "-q", "-j", "1"]) == 3
    return folder


def start(sounds, out, address):
    call = [*COMMAND, "archive", sounds / "in", "-o", out, "--cluster", address, "--json"]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def one_round(sounds, cluster, out):
    """A run in which a worker is killed, and the scheduler is started again."""
    with start(sounds, out, cluster.address) as run:
        try:
            seen = 0
            for line in run.stdout:
                seen += json.loads(line)["event"] == "done"
                if seen == 5:
                    cluster.workers[0].kill()
                    cluster.start_worker()
                if seen == 20 and cluster.scheduler.poll() is None:
                    cluster.restart()
                    seen += 1
            said = run.stderr.read()
            assert run.wait(60) == 3, said
        finally:
            run.kill()
    assert "the scheduler is gone; waiting for it to come back" in said
    assert "Traceback" not in said
    assert "61 recordings" in said
    assert said.splitlines()[-1].startswith("rtaudio: 1 recording can't be read")
    assert parts_of(out) == parts_of(sounds / "one")


def test_a_killed_worker_and_a_scheduler_started_again_change_nothing(sounds, tmp_path, port):
    with Cluster(tmp_path, port) as cluster:
        one_round(sounds, cluster, tmp_path / "out")


@pytest.mark.soak
def test_ten_times_in_a_row(sounds, tmp_path, port):
    with Cluster(tmp_path, port) as cluster:
        for number in range(10):
            one_round(sounds, cluster, tmp_path / f"out{number}")


def test_no_scheduler_is_told(sounds, tmp_path, port, capsys, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_S", 2.0)
    address = f"tcp://127.0.0.1:{port}"
    call = ["archive", str(sounds / "in"), "-o", str(tmp_path / "out"), "--cluster", address]
    assert main(call) == 3
    err = capsys.readouterr().err
    assert f"rtaudio: {address}: no Dask scheduler answers: start one" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_worker_with_another_rtaudio_is_named(sounds, tmp_path, port, capsys):
    about = tmp_path / "other/rtaudio-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rtaudio\nVersion: 0.1\n")
    with Cluster(tmp_path, port, PYTHONPATH=str(about.parent)) as cluster:
        cluster.wait_for_workers()
        call = ["archive", str(sounds / "in"), "-o", str(tmp_path / "out")]
        assert main([*call, "--cluster", cluster.address]) == 3
    err = capsys.readouterr().err
    assert f"has rtaudio 0.1, here it is {rtaudio.__version__}: install the same" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["the scheduler", "the worker tcp://1"])
def test_another_python_is_named(where):
    """Of what a cluster answers, since there is one Python here."""

    class Answers:
        def run_on_scheduler(self, ask):
            return "3.9.1" if where == "the scheduler" else ask()

        def run(self, ask):
            return {"tcp://1": ask() if where == "the scheduler" else "3.9.1"}

    with pytest.raises(cluster_module.ClusterError, match=rf"{where} has Python 3.9.1, here it is"):
        cluster_module._check(Answers())


def test_nothing_listens(sounds, tmp_path, port):
    """While it is at work on a cluster, none of the client's sockets does."""
    out = tmp_path / "out"
    with Cluster(tmp_path, port) as cluster, start(sounds, out, cluster.address) as run:
        assert json.loads(run.stdout.readline())["event"] in ("done", "progress")
        own = {str(link.readlink()) for link in Path(f"/proc/{run.pid}/fd").iterdir()}
        listening = listening_sockets()
        run.kill()
        run.communicate()
    assert len(listening) >= 3  # of the scheduler and the workers
    assert any(name.startswith("socket:") for name in own)
    assert not listening & own


def listening_sockets():
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
