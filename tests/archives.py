"""What tests of archives share."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from distributed import Client

import rtaudio
from rtaudio.archive.find import look
from rtaudio.archive.plan import DATASET, Plan
from rtaudio.archive.tasks import Task, do

BIN = Path(sys.executable).parent


def plan(folder, settings=None, features=("mfcc", "rms", "peak"), **more):
    """A plan, whose folder is there."""
    folder.mkdir(exist_ok=True)
    (folder / DATASET).write_text("{}")
    return Plan(folder, settings or rtaudio.Settings(), features, **more)


def done(a_plan, path):
    """All tasks of a recording, and the table of their parts."""
    recording = look(str(path))
    outcomes = [do(a_plan, Task(recording))]
    count = outcomes[0].pieces
    outcomes += [do(a_plan, Task(recording, i, count)) for i in range(1, count)]
    assert not [o for o in outcomes if o.failed or o.fatal], outcomes
    parts = [pq.read_table(a_plan.folder / part) for o in outcomes for part in o.parts]
    return outcomes, pa.concat_tables(parts)


def assert_same(a, b):
    """The same rows, bit for bit, but for the names of the recordings."""
    assert a.schema.equals(b.schema)
    for name in a.column_names:
        if name != "path":
            one, other = (table[name].to_numpy() for table in (a, b))
            np.testing.assert_array_equal(one, other, err_msg=name)


def noise(seconds, sr, seed=0):
    """Noise that gets louder and softer, as 16-bit samples hold it."""
    n = round(seconds * sr)
    swell = 0.1 + 0.09 * np.sin(np.arange(n) / sr / 7)
    y = np.random.default_rng(seed).standard_normal(n) * swell
    return np.round(y.clip(-1, 1) * 32767).astype(np.int16)


def recordings(folder, count=6, sr=8000):
    """Some seconds each, the first one the longest."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"a {number}.wav"
        soundfile.write(path, noise(max(0.5, 4 - 0.5 * number), sr, number), sr)
    return folder


def endless(path):
    """A recording of a day and a half, of zeros that take no room; in one task."""
    header = b"".join(n.to_bytes(4, "big") for n in (24, 2**31 - 2**20, 3, 8000, 1))
    path.write_bytes(b".snd" + header)
    os.truncate(path, 2**31 - 2**20 + 24)


def parts_of(folder):
    """What is in each part of a dataset, by name."""
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.parquet")}


class Cluster:
    """A Dask scheduler and workers on this machine, in processes of their own."""

    def __init__(self, folder, port, **env):
        self.folder, self.address = folder, f"tcp://127.0.0.1:{port}"
        self.port, self.env = port, {**os.environ, **env}
        self.scheduler = None
        self.workers = []

    def _start(self, *words):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(
            [BIN / "dask", *words, "--host", "127.0.0.1", "--no-dashboard"],
            cwd=self.folder,
            env=self.env,
            **quiet,
        )

    def start_scheduler(self):
        self.scheduler = self._start("scheduler", "--port", str(self.port), "--no-show")

    def start_worker(self):
        """Without a nanny: the process is the worker."""
        self.workers.append(
            self._start(
                "worker",
                self.address,
                "--nthreads",
                "1",
                "--no-nanny",
                "--local-directory",
                str(self.folder),
            )
        )

    def wait_for_workers(self):
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=60)

    def restart(self):
        """Another scheduler; the workers of the one that is killed end themselves."""
        self.scheduler.kill()
        self.scheduler.wait()
        self.start_scheduler()
        for _ in range(2):
            self.start_worker()

    def __enter__(self):
        self.start_scheduler()
        for _ in range(2):
            self.start_worker()
        return self

    def __exit__(self, *error):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


def wait_for(what, seconds=60):
    """Until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.01)
