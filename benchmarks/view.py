"""What drawing costs: `python -m benchmarks.view [--json] [--seconds 60]`.

Frames drawn at the pace of a window, 48 kHz at a hop of 512, all panels: how long Python takes (all
but the calls of OpenGL), how long until the picture is finished, and what is uploaded; in memory
(EGL) and in a window (Xvfb), at 1280x720 and 3840x2160; and the ring texture beside uploading the
whole spectrogram each frame. Then the program itself in a window, listening to JACK: frames a
second, age of the newest sample on screen, processor and memory of all its processes, and Python's
time in the first and the last tenth of the run; once alone, and once beside a spinning thread.
Needs Linux, xvfb and jackd2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import from_tests, show, spinning
from rtaudio import Analyzer, Look, Settings
from rtaudio.consumers.history import History

if TYPE_CHECKING:
    from collections.abc import Iterator

SR = 48000
FRAMES = 240
SIZES = ((1280, 720), (3840, 2160))


@contextmanager
def gl_timed() -> Iterator[list[float]]:
    """Adds up what the calls of OpenGL take, in s."""
    from vispy.gloo import gl

    spent = [0.0]

    def timed(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[0] += time.perf_counter() - begun

        return call

    found = {
        name: value for name, value in vars(gl).items() if name[:2] == "gl" and callable(value)
    }
    for name, function in found.items():
        setattr(gl, name, timed(function))
    try:
        yield spent
    finally:
        for name, function in found.items():
            setattr(gl, name, function)


class Feed:
    """A history of noise that grows as that of a microphone does."""

    def __init__(self) -> None:
        self.history = History(Settings(sr=SR))
        noise = np.random.default_rng(1).standard_normal(SR).astype(np.float32) * 0.1
        self._noise = noise
        self._analyzer = Analyzer(self.history.settings, tap=self.history.tap)
        self._at = 0
        self.more(12.0)

    def more(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            begin = self._at % SR
            for frames in self._analyzer.feed(self._noise[begin : begin + 480]):
                self.history.put(frames)
            self._at += 480


def draw_cost(where: str, size: tuple[int, int], whole_image: bool = False) -> dict[str, Any]:
    """One row: the costs of a frame, paced at 50 frames a second."""
    from vispy.gloo import gl

    from rtaudio.view import canvas
    from rtaudio.view.captions import Status
    from rtaudio.view.scene import Scene

    window = where == "window"
    made = canvas.open_canvas(
        "glfw" if window else "egl", size if window else (16, 16), show=window
    )
    feed, scene = Feed(), Scene(Look())
    scene.resize(size, 1.0)
    python_ms: list[float] = []
    finish_ms: list[float] = []
    uploaded: list[list[int]] = []
    target = None
    if not window:
        from vispy import gloo

        target = gloo.FrameBuffer(color=gloo.RenderBuffer(size[::-1]))
        target.activate()
    for number in range(FRAMES):
        feed.more(0.02)
        if whole_image and number:
            scene.ring._first = scene.ring._stop = 0  # nothing of it is there
        time.sleep(max(0.0, 0.02 - (sum(finish_ms[-1:]) / 1e3)))
        before = scene.uploaded_bytes if number else (0, 0)
        with gl_timed() as spent:
            begun = time.perf_counter()
            scene.draw(feed.history, number / 50, False, Status(f"frame {number // 12}"))
            python_ms.append(1e3 * (time.perf_counter() - begun - spent[0]))
            made.swap_buffers() if window else None
            gl.glFinish()
        finish_ms.append(1e3 * (time.perf_counter() - begun))
        after = scene.uploaded_bytes
        uploaded.append([b - a for a, b in zip(before, after, strict=True)])
    if target is not None:
        target.deactivate()
    made.close()
    kept = slice(20, None)
    rows, words = np.mean(uploaded[kept], axis=0)
    return {
        "drawn": f"{where}, {size[0]}x{size[1]}" + (", whole image" if whole_image else ""),
        "Python ms, p50": float(np.median(python_ms[kept])),
        "p99": float(np.percentile(python_ms[kept], 99)),
        "finished ms, p50": float(np.median(finish_ms[kept])),
        "frames/s at most": 1e3 / float(np.median(finish_ms[kept])),
        "rows, bytes": float(rows),
        "words, bytes": float(words),
    }


# --- the program ------------------------------------------------------------------------------


def memory_mb(pid: int) -> float:
    """What a process and its children have, shared pages divided among those that share them."""
    total = 0.0
    for one in (pid, *_children(pid)):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1e3
    return total


def cpu_s(pid: int) -> float:
    """Processor time of a process and its children so far."""
    ticks = 0
    for one in (pid, *_children(pid)):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    tasks = Path(f"/proc/{pid}/task").iterdir()
    for task in tasks:
        listed += (task / "children").read_text().split()
    return sorted({int(child) for child in listed})


def program(seconds: float, hog: bool) -> dict[str, Any]:
    """The window on JACK's microphone, in this process; what it took, as one row."""
    from rtaudio import Microphone
    from rtaudio.pipeline import Live
    from rtaudio.screen import open_window, watch
    from rtaudio.session import Session

    window = open_window()
    run = Live(Microphone("system"), Settings())
    session = Session(run, window.look)
    starts, times, control = array("d"), array("d"), array("d")
    draw, scene = window._scene.draw, window._scene

    measured: dict[str, Any] = {}

    def measure() -> None:
        time.sleep(3)
        begun, cpu, drawn = time.perf_counter(), cpu_s(os.getpid()), window.drawn
        time.sleep(min(60.0, seconds))
        early_mb = memory_mb(os.getpid())
        time.sleep(max(0.0, seconds - 60))
        took = time.perf_counter() - begun
        measured.update(
            fps=(window.drawn - drawn) / took,
            cores=(cpu_s(os.getpid()) - cpu) / took,
            early_mb=early_mb,
            mb=memory_mb(os.getpid()),
        )
        run.stop()

    with ExitStack() as stack:
        spent = stack.enter_context(gl_timed())

        def timed(*args: Any) -> int:
            spent[0] = 0.0
            begun = time.perf_counter()
            stop = draw(*args)
            starts.append(begun)
            ended = time.perf_counter()
            times.append(1e3 * (ended - begun - spent[0]))
            for number in range(200):  # the same each time: what changes is the machine
                str(number)
            control.append(time.perf_counter() - ended)
            return stop

        scene.draw = timed  # type: ignore[method-assign,assignment]
        stack.enter_context(spinning(hog))
        thread = threading.Thread(target=measure)
        thread.start()
        watch(window, session, close=True)
        thread.join()
    run.close()
    stats = run.stats
    steady = np.array(starts) > starts[0] + 3
    tenth = steady.sum() // 10
    ends = slice(None, tenth), slice(-tenth, None)
    first, last = (float(np.median(np.array(times)[steady][end])) for end in ends)
    before, after = (float(np.median(np.array(control)[steady][end])) for end in ends)
    age = stats.stages["captured_to_screen"]
    return {
        "in a window, JACK at 48 kHz": "beside a spinning thread" if hog else "alone",
        "frames/s": measured["fps"],
        "Python ms a frame, first tenth": first,
        "last tenth": last,
        "last / first": last / first,
        "of a control": after / before,
        "age ms, p50": age.p50_ms,
        "age p99": age.p99_ms,
        "processors": measured["cores"],
        "MB after a minute": measured["early_mb"],
        "at the end": measured["mb"],
        "dropped": stats.dropped,
    }


def in_servers(*words: str) -> list[dict[str, Any]]:
    """Run this file's part ``words`` in a process of its own, on a screen."""
    servers = from_tests("servers")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        screen = stack.enter_context(servers.Screen(folder, size=(3840, 2160)))
        env = {**os.environ, "DISPLAY": screen.env["DISPLAY"], "LIBGL_ALWAYS_SOFTWARE": "1"}
        if words[0] == "--program":
            jack = stack.enter_context(servers.Jack(folder, sync=False))
            env |= jack.env | {"DISPLAY": screen.env["DISPLAY"]}
            stack.enter_context(playing(jack, env))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.view", *words],
            env=env, stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
    return list(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def playing(jack: Any, env: dict[str, str]) -> Iterator[None]:
    """Play noise into the first that listens to JACK's microphone."""
    code = "import numpy, sounddevice, sys; noise = numpy.random.default_rng(0).normal(size=480000)"
    code += "; sounddevice.play(noise * .1, 48000, device='system', loop=True); sys.stdin.read()"
    player = subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.PIPE)

    def connect() -> None:
        target = jack.input_port(60)
        (source,) = [name for name in jack.ports() if name.endswith("out_0")]
        jack.play_into(source, target)

    thread = threading.Thread(target=connect)
    thread.start()
    yield
    thread.join()
    player.kill()
    player.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--draw", help=argparse.SUPPRESS)
    parser.add_argument("--program", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--hog", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.draw:
        rows = [draw_cost(args.draw, size) for size in SIZES]
        if args.draw == "memory":
            rows.append(draw_cost("memory", SIZES[0], whole_image=True))
        print(json.dumps(rows))
        return
    if args.program:
        print(json.dumps([program(args.seconds, args.hog)]))
        return
    rows = [row for where in ("memory", "window") for row in in_servers("--draw", where)]
    show("A frame of the picture", rows, args.json)
    rows = in_servers("--program", "--seconds", str(args.seconds))
    rows += in_servers("--program", "--hog", "--seconds", str(min(60.0, args.seconds)))
    show("The window", rows, args.json)


if __name__ == "__main__":
    main()
