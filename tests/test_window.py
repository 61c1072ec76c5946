"""A real window on a real X server, with real keys and a real mouse."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
import soundfile
from command import COMMAND, SONG
from monitored import load_sink
from PIL import Image
from servers import Jack, Pulse, Screen, end, wait_for
from sounds import SR

from rtaudio import ArraySource, Block, Gap, Look, Microphone, Settings
from rtaudio.pipeline import Live
from rtaudio.session import Session
from rtaudio.sources.signal import signal as demo_signal
from rtaudio.view.canvas import open_canvas
from rtaudio.view.layout import layout


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    with Screen(tmp_path_factory.mktemp("screen")) as screen:
        yield screen


class Shown:
    """rtaudio in a window, in a folder of its own."""

    def __init__(self, screen, folder, *words, command=COMMAND, env=None):
        self.screen, self.folder = screen, folder
        self.process = subprocess.Popen(
            [*command, *words], cwd=folder, env=env or screen.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self):
        try:
            self.window = self.screen.window()
            self.screen.xdotool("mousemove", 5, 5)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        end(self.process)

    def press(self, *keys):
        self.screen.press(*keys)

    def save(self):
        """Press s; the picture, and what it says of itself."""
        before = set(self.folder.glob("rtaudio-*.png"))
        self.press("s")
        (path,) = wait_for(lambda: set(self.folder.glob("rtaudio-*.png")) - before, "picture")
        with Image.open(path) as picture:
            return np.asarray(picture), json.loads(picture.text["rtaudio"])

    def freeze(self):
        """Press space; the picture, and what it says of itself, once it is on the screen."""
        self.press("space")

        def shown():
            pixels, about = self.save()
            assert about["frozen"]
            _, top, _, height = about["spectrogram"]["box"]
            bottom, width = top + height, pixels.shape[1]
            seen = self.screen.pixels()[:bottom, :width]
            return np.array_equal(seen, pixels[:bottom]) and (pixels, about)

        return wait_for(shown, "frozen picture")

    def end(self, *keys):
        """Press keys, and wait for the end: status, and what was said on stderr."""
        if keys:
            self.press(*keys)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """One window on demo:, for the tests that leave it as it was, and a screen of its own."""
    folder = tmp_path_factory.mktemp("shown")
    with Screen(folder) as screen, Shown(screen, folder, "demo", "--span", "2") as shown:
        yield shown


def test_what_is_seen_is_what_is_saved(shown):
    wait_for(lambda: shown.save()[1]["spectrogram"]["time_s"][1] > 1, "a second")
    pixels, about = shown.freeze()
    assert pixels.shape == (720, 1280, 3) == (*about["size"][::-1], 3)
    seen = shown.screen.pixels()
    for name in ("spectrogram", "spectrum", "waveform", "mfcc", "level"):
        left, top, width, height = about[name]["box"]
        box = slice(top, top + height), slice(left, left + width)
        np.testing.assert_array_equal(seen[box], pixels[box], err_msg=name)
        assert len(np.unique(pixels[box].reshape(-1, 3), axis=0)) >= 3
    shown.press("space")


def test_it_scrolls_by_the_clock_and_stands_still_where_frozen(shown):
    def right():
        return shown.save()[1]["spectrogram"]["time_s"][1], time.monotonic()

    wait_for(lambda: right()[0] > 2.5, "more than there is room for")
    (a, a_at), _ = right(), time.sleep(1.0)
    b, b_at = right()
    assert b - a == pytest.approx(b_at - a_at, abs=0.35)
    shown.press("space")
    (c, _), (d, _) = right(), right()
    assert c == d
    shown.press("Left")
    e, _ = right()
    assert e < d
    shown.press("Right")
    shown.press("space")
    f, f_at = right()
    assert f - a == pytest.approx(f_at - a_at, abs=0.35)  # what came meanwhile is there


@pytest.mark.parametrize(
    ("key", "name", "values"),
    [
        ("f", lambda about: about["spectrogram"]["axis"], ["linear", "mel", "log"]),
        ("c", lambda about: about["colormap"], ["viridis", "inferno", "cividis", "grey", "magma"]),
        ("a", lambda about: about["averaging_s"], [0.125, 1.0, 0.0]),
        ("plus", lambda about: about["colors"]["dbfs"], [[-110, 0]]),
        ("minus", lambda about: about["colors"]["dbfs"], [[-100, 0]]),
        ("bracketright", lambda about: about["colors"]["dbfs"], [[-95, 5]]),
        ("bracketleft", lambda about: about["colors"]["dbfs"], [[-100, 0]]),
        ("n", lambda about: about["n_fft"], [1024, 512, 512]),
        ("N", lambda about: about["n_fft"], [1024, 2048]),
        *((str(n), lambda about, name=name: name in about, [False, True]) for n, name in
          enumerate(("spectrogram", "spectrum", "waveform", "mfcc", "level"), 1)),
    ],
)  # fmt: skip
def test_keys(shown, key, name, values):
    for value in values:
        shown.press(key)
        assert name(shown.save()[1]) == value


def test_the_wheel_zooms_and_a_double_click_shows_all(shown):
    whole = shown.save()[1]["spectrogram"]
    left, top, width, height = whole["box"]
    shown.screen.xdotool("mousemove", left + width // 2, top + height // 2)
    shown.screen.xdotool("click", "--repeat", 3, "--delay", 50, 4)
    low, high = shown.save()[1]["spectrogram"]["frequency_hz"]
    assert whole["frequency_hz"][0] < low < high < whole["frequency_hz"][1]
    middle = (whole["frequency_hz"][0] * whole["frequency_hz"][1]) ** 0.5
    assert (low * high) ** 0.5 == pytest.approx(middle, rel=0.02)
    shown.screen.xdotool("click", "--repeat", 2, "--delay", 60, 1)
    assert shown.save()[1]["spectrogram"]["frequency_hz"] == whole["frequency_hz"]
    # with the pointer in it, there is a cross and a box of words
    with_cross, _ = shown.save()
    line = with_cross[top : top + height, left + width // 2].astype(int)
    assert (line.min(axis=1) > 80).mean() > 0.5
    shown.screen.xdotool("mousemove", 5, 5)


def test_keys_are_listed_and_the_list_goes(shown):
    shown.freeze()
    before = shown.screen.pixels()[:692, :1280].copy()

    def changed():  # all but the status line
        return (shown.screen.pixels()[:692, :1280] != before).any(axis=2).mean()

    shown.press("h")
    wait_for(lambda: changed() > 0.05, "list of keys")
    shown.press("Escape")  # the list, not the window
    wait_for(lambda: changed() == 0, "its end")
    shown.press("space")


def test_any_size_of_the_window(shown):
    for size in ((900, 500), (330, 250), (1390, 880), (1280, 720)):
        shown.screen.xdotool("windowsize", "--sync", shown.window, *size)
        found = wait_for(
            lambda size=size: (saved := shown.save())[1]["size"] == list(size) and saved, "size"
        )
        assert found[0].shape[:2] == size[::-1]
        seen = shown.screen.pixels()
        assert seen[size[1] - 10, size[0] - 10].max() > 0  # it is filled to its corner


def test_hidden_and_shown_again_it_is_as_it_would_be(shown):
    begun = shown.save()[1]["spectrogram"]["time_s"][1]
    at = time.monotonic()
    shown.screen.xdotool("windowunmap", "--sync", shown.window)
    time.sleep(1.5)  # hidden
    shown.screen.xdotool("windowmap", "--sync", shown.window)
    shown.screen.xdotool("mousemove", 6, 6)
    now = shown.save()[1]["spectrogram"]["time_s"][1]
    assert now - begun == pytest.approx(time.monotonic() - at, abs=0.6)


def test_a_recording_holds_what_was_played(screen, tmp_path):
    with Shown(screen, tmp_path, "live", "demo:") as shown:
        shown.press("r")
        take = wait_for(lambda: next(tmp_path.glob("rtaudio-*.wav"), None), "take")
        assert re.fullmatch(r"rtaudio-\d{8}-\d{6}\.wav", take.name)
        time.sleep(1.2)  # of sound
        shown.press("r")
        time.sleep(0.3)  # not of the take
        shown.press("r")
        second = wait_for(lambda: next(iter(set(tmp_path.glob("*.wav")) - {take}), None), "second")
        time.sleep(0.3)
        status, said = shown.end("q")  # while it records
    assert status == 0
    loop = demo_signal("demo", SR)
    for path, least_s in ((take, 1.0), (second, 0.2)):
        samples, sr = soundfile.read(path, dtype="float32")
        assert sr == SR
        assert len(samples) >= least_s * SR
        starts = np.flatnonzero(loop == samples[0])
        wrapped = np.concatenate([loop, loop])
        assert any(np.array_equal(wrapped[s : s + len(samples)], samples) for s in starts)
        assert (tmp_path / f"{path.stem}.gaps.csv").read_text().count("\n") == 1
    assert "nothing lost" in said


def test_the_last_picture_stays_until_the_window_is_closed(screen, tmp_path):
    soundfile.write(tmp_path / "song.wav", SONG, SR)
    words = ["live", "song.wav", "--screenshot", "end.png"]
    with Shown(screen, tmp_path, *words) as shown:
        last = lambda: shown.save()[1]["spectrogram"]["time_s"][1]  # noqa: E731
        wait_for(lambda: last() == last(), "end of the song", 20)
        assert shown.process.poll() is None
        shown.press("n")  # there is nothing left to analyze otherwise
        pixels, about = shown.save()
        assert about["n_fft"] == 2048
        status, said = shown.end("Escape")
    assert status == 0
    assert "song.wav: 1.000 s" in said
    with Image.open(tmp_path / "end.png") as picture:
        assert json.loads(picture.text["rtaudio"])["spectrogram"] == about["spectrogram"]
    left, top, width, height = about["spectrogram"]["box"]
    assert pixels[top : top + height, left + width - 60 : left + width - 30].max() > 150


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
def test_signals_end_it_whole(screen, tmp_path, number, status):
    words = "live demo: -o out.csv --record take.wav --screenshot end.png".split()
    command = ["env", "--default-signal=HUP,INT", *COMMAND]  # whatever started the tests
    with Shown(screen, tmp_path, *words, command=command) as shown:
        wait_for((tmp_path / "out.csv").exists, "rows")
        time.sleep(1.0)  # of sound
        shown.process.send_signal(number)
        found, said = shown.end()
    assert found == status, said
    assert "Traceback" not in said
    rows = (tmp_path / "out.csv").read_text().splitlines()
    samples, _ = soundfile.read(tmp_path / "take.wav")
    assert len(samples) > SR // 2
    assert len(rows) == 1 + 1 + len(samples) // 512
    assert (tmp_path / "end.png").exists()


def size(path):
    return path.stat().st_size if path.exists() else 0


def test_a_screen_that_dies_leaves_all_that_was_recorded(tmp_path):
    with Screen(tmp_path) as screen:
        words = "live demo: -o out.csv --record take.wav".split()
        with Shown(screen, tmp_path, *words) as shown:
            wait_for(lambda: size(tmp_path / "take.wav") > 8 * SR, "sound", 30)
            screen.kill()
            status, said = shown.end()
    assert status == 3
    assert "the screen is gone" in said
    assert "Traceback" not in said
    samples, _ = soundfile.read(tmp_path / "take.wav", dtype="float32")
    loop = demo_signal("demo", SR)
    np.testing.assert_array_equal(samples, np.resize(loop, len(samples)))
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2 + len(samples) // 512


def test_what_is_written_keeps_its_settings_and_its_device(screen, tmp_path):
    with Shown(screen, tmp_path, *"live demo: -o out.csv".split()) as shown:
        shown.press("N")
        assert shown.save()[1]["n_fft"] == 2048
        assert shown.end("q")[0] == 0
    settings = json.loads((tmp_path / "out.json").read_text())["settings"]
    assert settings["n_fft"] == 2048


def test_a_microphone_and_another_one(tmp_path, screen):
    with Jack(tmp_path) as jack:
        env = {**jack.env, "DISPLAY": screen.env["DISPLAY"]}
        with Shown(screen, tmp_path, *"live -d system".split(), env=env) as shown:
            wait_for(jack.listeners, "listener")
            old = wait_for(lambda: shown.save()[1]["waveform"]["time_s"][1] > 2 and 2, "2 s")
            shown.press("d")

            def another():
                shown.press("1")  # once the devices are found, it is the first of them
                return shown.save()[1]["waveform"]["time_s"][1] < old

            wait_for(another, "time axis of another device", 30)
            status, said = shown.end("q")
    assert status == 0, said
    assert len(re.findall(r"system .*: \d+\.\d+ s, \d+ rows; ", said)) == 2, said  # both books


def test_another_device_keeps_the_end_that_was_asked_for(tmp_path, screen):
    with Jack(tmp_path) as jack:
        env = {**jack.env, "DISPLAY": screen.env["DISPLAY"]}
        words = "live -d system --duration 8".split()
        with Shown(screen, tmp_path, *words, env=env) as shown:
            wait_for(lambda: shown.save()[1]["waveform"]["time_s"][1] > 1, "1 s")
            first = set(jack.listeners())
            shown.press("d")
            wait_for(
                lambda: shown.press("1") or set(jack.listeners()) - first, "another listener", 30
            )
            status, said = shown.end()
    assert status == 0, said
    heard = [float(s) for s in re.findall(r"system .*: (\d+\.\d+) s, \d+ rows; ", said)]
    assert len(heard) == 2, said
    assert heard[1] < 7.1  # the first one had a second, and what it heard until it was closed
    assert sum(heard) > 7.5


def test_while_the_device_is_changed_the_run_goes_on(tmp_path, monkeypatch, training):
    """A window that is to close where the source ends would close else. A model listens on."""
    with Jack(tmp_path) as jack, ExitStack() as stack:
        for name, value in jack.env.items():
            monkeypatch.setenv(name, value)
        stack.callback(open_canvas("egl", (16, 16), show=False).close)
        old = Live(Microphone("system"), Settings(), model=training.model)
        session = Session(old, Look())
        stack.callback(session.close)
        old.start()
        session.list_devices()
        wait_for(lambda: session.devices, "devices", 30)
        session.choose(0)
        deadline = time.monotonic() + 30
        while not old.ended or session.run is old:
            assert session.running
            assert time.monotonic() < deadline
        assert session.run.model is old.model
        wait_for(session.run.answer, "answer of the model, from the other device")


def test_what_is_played_is_chosen_and_followed(tmp_path, use):
    with Pulse(tmp_path) as pulse, ExitStack() as stack:
        use(pulse.env)
        load_sink(pulse, "other", description="Other")
        pulse.pactl("set-default-sink", "rt")
        stack.callback(open_canvas("egl", (16, 16), show=False).close)
        session = Session(Live(Microphone("rtmon"), Settings()), Look())
        stack.callback(session.close)
        session.run.start()
        session.list_devices()
        wait_for(lambda: session.devices, "devices", 30)
        number = next(i for i, name in enumerate(session.devices) if "(rt.monitor" in name)
        session.choose(number)
        wait_for(lambda: session.title == "Monitor of Null Output (PulseAudio)", "monitor", 30)
        pulse.pactl("set-default-sink", "other")
        wait_for(lambda: session.title == "Monitor of Other (PulseAudio)", "other output", 30)


def test_remarks_in_the_status_line_and_in_a_recording_begun_in_the_middle(tmp_path, monkeypatch):
    """A take of which they say nothing is not told of them."""
    monkeypatch.chdir(tmp_path)
    y, heard, go_on = np.ones((1000, 1), np.float32), threading.Event(), threading.Event()

    class Remarking(ArraySource):
        def __iter__(self):
            yield Block(y, 500, 500, gaps=(Gap(0, 500, "host", 0),))
            heard.set()
            go_on.wait()
            yield Block(y, 1500)
            yield Block(
                y,
                2600,
                100,
                gaps=(Gap(2500, 100, "host", 0),),
                remarks=(
                    *(Gap(0, 500, "refuted", 2000), Gap(300, 3, "unplaced", 900)),
                    *(Gap(1400, 70, "unplaced", 400), Gap(2500, 60, "refuted", 0)),
                ),
            )

    with ExitStack() as stack:
        stack.callback(open_canvas("egl", (16, 16), show=False).close)
        session = Session(Live(Remarking(y, 1000), Settings()), Look())
        stack.callback(session.close)
        session.run.start()
        assert heard.wait(10)
        wait_for(lambda: session.run.stats.processed, "the first block")
        session.record()
        go_on.set()
        session.run.wait()
        said, alarm = session.words()
        assert "lost 600 samples (0.60 s), 0.56 s of it refuted, 0.07 s at an unknown place" in said
        assert alarm
    (path,) = tmp_path.glob("*.gaps.csv")
    rows = ["1000,100,host,0", "0,70,unplaced,300", "1000,60,refuted,0"]
    assert path.read_text().splitlines()[1:] == rows


def test_what_was_lost_at_an_unknown_place_is_no_nothing():
    y = np.ones((1000, 1), np.float32)

    class Remarking(ArraySource):
        def __iter__(self):
            yield Block(y, 0, remarks=(Gap(0, 500, "unplaced", 900),))

    with ExitStack() as stack:
        stack.callback(open_canvas("egl", (16, 16), show=False).close)
        session = Session(Live(Remarking(y, 1000), Settings()), Look())
        stack.callback(session.close)
        session.run.start()
        session.run.wait()
        said, alarm = session.words()
        assert "lost 0.50 s at an unknown place" in said
        assert "nothing" not in said
        assert alarm


def test_a_picture_asked_for_at_the_end_is_written(screen, tmp_path):
    with Shown(screen, tmp_path, *"live demo: --size 1390x890".split()) as shown:
        assert shown.end("s", "q")[0] == 0
    (path,) = tmp_path.glob("*.png")
    with Image.open(path) as picture:
        assert picture.size == (1390, 890)


def test_twice_the_pixels_an_inch_are_twice_the_pixels(tmp_path):
    words = "live demo: --size 900x600".split()
    with (
        Screen(tmp_path, size=(2000, 1300), dpi=192) as screen,
        Shown(screen, tmp_path, *words) as shown,
    ):
        about = shown.save()[1]
        shown.end("q")
    assert about["size"] == [1800, 1200]
    for name, box in layout((900, 600), 1.0, Look()).items():
        np.testing.assert_allclose(about[name]["box"], np.multiply(box, 2), atol=2)


def test_from_python(screen, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import rtaudio\n"
        "look = rtaudio.Look(axis='mel')\n"
        "stats = rtaudio.show('demo:', look=look, n_fft=1024, size=(800, 600))\n"
        "print(stats.frames > 20, stats.lost)\n"
    )
    with Shown(screen, tmp_path, script, command=[sys.executable]) as shown:
        wait_for(lambda: shown.save()[1]["spectrogram"]["time_s"][1] > 1, "a second")
        _, about = shown.save()
        assert about["size"] == [800, 600]
        assert about["spectrogram"]["axis"] == "mel"
        assert about["n_fft"] == 1024
        shown.press("q")
        out, said = shown.process.communicate(timeout=30)
    assert out == "True 0\n", said


def test_from_python_a_screen_that_dies_leaves_a_whole_recording(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import rtaudio\nrtaudio.show('demo:')\n")
    with (
        Screen(tmp_path) as screen,
        Shown(screen, tmp_path, script, command=[sys.executable]) as shown,
    ):
        shown.press("r")
        take = wait_for(lambda: next(tmp_path.glob("rtaudio-*.wav"), None), "take")
        wait_for(lambda: size(take) > 4 * SR, "sound", 30)
        screen.kill()
        status, said = shown.end()
    assert status == 3
    assert "the screen is gone" in said
    samples, _ = soundfile.read(take, dtype="float32")  # its header is written at the end
    assert len(samples) * 4 + 100 > size(take) - 100
    assert not take.with_suffix(".wav.part").exists()


@pytest.mark.parametrize("words", ["demo", "live demo:"])
def test_duration_closes_it(screen, tmp_path, words):
    begun = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *words.split(), "--duration", "1.5"],
        cwd=tmp_path, env=screen.env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun > 1.5
    assert "1.500 s" in done.stderr


def test_a_gil_hog_stops_neither_window_nor_capture(screen, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import threading, rtaudio\n"
        "def hog():\n"
        "    while True: sorted(range(10000))\n"
        "threading.Thread(target=hog, daemon=True).start()\n"
        "stats = rtaudio.show('demo:', duration_s=60)\n"
        "print(stats.dropped)\n"
    )
    with Shown(screen, tmp_path, script, command=[sys.executable]) as shown:
        a = shown.save()[1]["spectrogram"]["time_s"][1]
        wait_for(lambda: shown.save()[1]["spectrogram"]["time_s"][1] > a + 1, "scrolling", 30)
        shown.press("q")
        out, said = shown.process.communicate(timeout=30)
    assert out == "0\n", said


def test_without_fonts_or_opengl_it_says_what_to_install(tmp_path):
    """As on a machine where a library is not installed."""
    code = (
        "import sys, ctypes.util\n"
        "find = ctypes.util.find_library\n"
        "lost = lambda name: sys.argv[1] in name.lower()\n"
        "ctypes.util.find_library = lambda name: None if lost(name) else find(name)\n"
        "import rtaudio.cli\n"
        "sys.exit(rtaudio.cli.main(['live', 'demo:', '--headless', '--screenshot', 'x.png']))\n"
    )
    for library, package in (("fontconfig", "libfontconfig1"), ("egl", "libegl1")):
        done = subprocess.run(
            [sys.executable, "-c", code, library], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 3, done.stderr
        assert package in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_no_screen_is_told_in_a_line(tmp_path):
    env = {name: value for name, value in os.environ.items() if name not in (
        "DISPLAY", "WAYLAND_DISPLAY")}  # fmt: skip
    for extra in ({}, {"DISPLAY": ":987"}):
        done = subprocess.run(
            [*COMMAND, "live", "demo:"],
            cwd=tmp_path,
            env=env | extra,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1, done.stderr
        assert "--headless" in done.stderr
