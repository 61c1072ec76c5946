"""The picture, pixel by pixel: drawn by a real OpenGL into memory (EGL, Mesa)."""

import json
import math
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
import soundfile
from command import COMMAND
from PIL import Image
from test_history import heard

from rtaudio import Look, Settings
from rtaudio.consumers.history import History
from rtaudio.view import canvas, pointer
from rtaudio.view.captions import Status
from rtaudio.view.colors import table
from rtaudio.view.cursor import decibels
from rtaudio.view.level import level
from rtaudio.view.look import AXES, COLORMAPS
from rtaudio.view.scene import Scene

SR = 48000
SIZE = (1280, 720)
STATUS = Status("status")


@pytest.fixture(scope="module", autouse=True)
def opengl():
    """A context in memory, current in all these tests."""
    made = canvas.open_canvas("egl", (16, 16), show=False)
    made.set_current()
    yield made
    made.close()


def drawn(history, look=None, scene=None, size=SIZE, now=0.0, running=False):
    """The scene, and its picture."""
    scene = scene or Scene(look or Look())
    scene.resize(size, 1.0)
    pixels = canvas.picture(size, lambda: scene.draw(history, now, running, STATUS))
    return scene, pixels


def inside(pixels, box):
    return pixels[box.top : box.bottom, box.left : box.right].astype(int)


def sweep(seconds, low=30.0, high=20000.0, amplitude=0.9):
    """A logarithmic sweep, and its frequency at a time."""
    t = np.arange(int(seconds * SR)) / SR
    k = math.log(high / low) / seconds
    y = amplitude * np.sin(2 * np.pi * low / k * np.expm1(k * t))
    return y.astype(np.float32), lambda at: low * math.exp(k * at)


def ridge(pixels, box):
    """The brightest line of each column, counted from the top of a box."""
    bright = inside(pixels, box).sum(axis=2)
    at_most = bright == bright.max(axis=0)
    # where several are as bright, their middle
    lines = np.arange(box.height)[:, np.newaxis]
    return (at_most * lines).sum(axis=0) / at_most.sum(axis=0)


def assert_ridge_is_the_sweeps(pixels, about, hz_at, n_fft, seconds):
    left, top, width, height = about["box"]
    box = canvas_box(left, top, width, height)
    found = ridge(pixels, box)
    begin, end = about["time_s"]
    low, high = about["frequency_hz"]
    from rtaudio.view.axes import FrequencyAxis

    axis = FrequencyAxis(about["axis"], low, high)
    checked = 0
    for x, line in enumerate(found):
        time = begin + (x + 0.5) * (end - begin) / width
        if not 0.3 < time < seconds - 0.3:
            continue
        hz = hz_at(time)
        place = (1 - float(axis.place(hz))) * height - 0.5
        half_bin = SR / n_fft / 2
        reach = [float(axis.place(max(hz + d, low))) * height for d in (-half_bin, half_bin)]
        allowed = max(2.0, (reach[1] - reach[0]) / 2)
        assert abs(line - place) <= allowed, (x, time, hz, line, place)
        checked += 1
    assert checked > 0.7 * width


def canvas_box(*values):
    from rtaudio.view.layout import Box

    return Box(*values)


@pytest.mark.parametrize("axis", AXES)
def test_the_ridge_of_a_sweep_lies_where_its_frequency_is(axis):
    y, hz_at = sweep(10.0)
    history = heard(Settings(sr=SR), y)
    scene, pixels = drawn(history, Look(axis=axis))
    about = scene.about()["spectrogram"]
    assert_ridge_is_the_sweeps(pixels, about, hz_at, 2048, 10.0)


@pytest.mark.parametrize("axis", AXES)
def test_the_same_by_the_command_line(axis, tmp_path):
    y, hz_at = sweep(10.0)
    soundfile.write(tmp_path / "sweep.wav", y, SR, subtype="FLOAT")
    command = f"live sweep.wav --headless --fast --screenshot out.png --size 1280x720 --axis {axis}"
    subprocess.run([*COMMAND, *command.split()], cwd=tmp_path, check=True, capture_output=True)
    picture = Image.open(tmp_path / "out.png")
    about = json.loads(picture.text["rtaudio"])
    assert picture.size == SIZE == tuple(about["size"])
    assert_ridge_is_the_sweeps(np.asarray(picture), about["spectrogram"], hz_at, 2048, 10.0)


@pytest.mark.parametrize(("place", "within"), [(100.0, 0.1), (100.3, 0.2), (400.5, 0.2)])
@pytest.mark.parametrize("axis", AXES)
def test_the_cursor_reads_a_full_scale_sine(place, within, axis):
    hz = place * SR / 2048
    y = np.sin(2 * np.pi * hz * np.arange(3 * SR) / SR).astype(np.float32)
    history = heard(Settings(sr=SR), y)
    scene, _ = drawn(history, Look(axis=axis))
    box = scene.boxes["spectrogram"]
    at = box.bottom - float(scene.axis.place(hz)) * box.height
    column = scene.columns.column(history.place(1.5)) - scene.first_column
    dbfs = history.dbfs(*pointer.rows_at(scene, box.left + column))[0]
    for off in (-2, 0, 2):
        found = pointer.read(scene, dbfs, at + off)
        assert found.dbfs == pytest.approx(0, abs=within)
        assert found.hz == pytest.approx(hz, abs=0.1 * SR / 2048)
    lines = pointer.reading(scene, box.left + column + 0.5, at)
    assert lines[0].startswith("0:01.5")
    assert lines[1].startswith((f"{hz:.1f}"[:3], f"{hz / 1000:.3f}"[:4]))
    assert lines[2].replace("−", "-").removeprefix("peak  ") in ("0.0 dBFS", "-0.0 dBFS")


def test_colormaps_are_those_of_matplotlib():
    for name in COLORMAPS:
        known = mpl.colormaps["gray" if name == "grey" else name](np.arange(256), bytes=True)
        np.testing.assert_array_equal(table(name), known[:, :3])


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_a_pixel_has_the_colour_of_its_level(colormap):
    rng = np.random.default_rng(3)
    y = (0.3 * rng.standard_normal(4 * SR)).astype(np.float32)
    history = heard(Settings(sr=SR), y)
    look = Look(colormap=colormap, axis="linear", floor_db=-90, ceiling_db=-10)
    scene, pixels = drawn(history, look)
    box = scene.boxes["spectrogram"]
    found = inside(pixels, box)
    colors = table(colormap).astype(int)
    edges = np.linspace(0, 1025 - 1, box.height + 1)
    checked = 0
    for x in range(box.width - 300, box.width - 5, 37):
        first, stop = pointer.rows_at(scene, box.left + x)
        dbfs = history.dbfs(first, stop).max(axis=0)
        for line in range(5, box.height - 5, 13):
            low, high = edges[box.height - 1 - line], edges[box.height - line]
            bins = np.arange(math.ceil(low - 1e-9), math.ceil(high - 1e-9))
            level = (dbfs[bins].max() + 90) / 80
            number = min(max(level, 0), 1) * 255
            near = colors[[math.floor(number), math.ceil(number)]]
            assert (np.abs(found[line, x] - near).max(axis=1) <= 1).any()
            checked += 1
    assert checked > 200


def afresh(history, look=None, **kwargs):
    return drawn(history, look, **kwargs)[1]


@pytest.mark.parametrize("axis", AXES)
def test_after_wraps_the_picture_is_the_one_drawn_afresh(axis):
    settings = Settings(sr=22050)
    y = np.random.default_rng(1).standard_normal(22050 * 60).astype(np.float32) * 0.1
    y *= np.linspace(0, 1, len(y), dtype=np.float32)
    y[22050 * 20 : 22050 * 21] = 0
    history = History(settings)
    from rtaudio import Analyzer

    analyzer = Analyzer(settings, tap=history.tap)
    look = Look(axis=axis, span_s=5.0)
    scene = Scene(look)
    wraps, compared = (1.0, 2.5, 7.0), 0
    for number, piece in enumerate(np.split(y, range(700, len(y), 700))):
        for frames in analyzer.feed(piece, lost=3000 if number % 500 == 499 else 0):
            history.put(frames)
        if number % 5:
            continue
        kept = drawn(history, scene=scene, size=(640, 480))[1]
        if compared < 3 and history.stop >= wraps[compared] * scene.ring.size[0]:
            compared += 1
            np.testing.assert_array_equal(
                kept, afresh(history, Look(axis=axis, span_s=5.0), size=(640, 480))
            )
    assert compared == 3


def test_nothing_shimmers():
    """A column of pixels has the same colours wherever it has moved to."""
    rng = np.random.default_rng(5)
    settings = Settings(sr=SR, hop_length=100, n_fft=512)
    y = (0.2 * rng.standard_normal(12 * SR)).astype(np.float32)
    history = heard(settings, y, span_s=10.0)
    scene = Scene(Look())
    scene.scroll.frozen = history.stop - 500.0
    before, pixels = drawn(history, scene=scene)
    first, box = before.first_column, before.boxes["spectrogram"]
    for rows in (3, 17.4, 120.9):
        scene.scroll.move(rows, 100)
        moved, later = drawn(history, scene=scene)
        by = moved.first_column - first
        assert by > 0
        for name in ("spectrogram", "waveform", "mfcc"):
            box = scene.boxes[name]
            a, b = inside(pixels, box), inside(later, box)
            np.testing.assert_array_equal(a[:, by:], b[:, : box.width - by])


def test_a_click_is_seen_at_any_width():
    y = np.zeros(30 * SR, np.float32)
    y[22 * SR + 77] = 1.0
    y[25 * SR + 1] = -0.5
    for span in (10.0, 30.0):
        history = heard(Settings(sr=SR), y, span_s=span)
        for width in (400, 1280):
            scene, pixels = drawn(history, Look(span_s=span), size=(width, 720))
            box = scene.boxes["waveform"]
            wave = inside(pixels, box)
            loud = wave[3, :, 0] > 200  # red: of full scale
            assert loud.sum() == 1
            begin, end = scene.about()["waveform"]["time_s"]
            time = begin + (np.flatnonzero(loud)[0] + 0.5) / box.width * (end - begin)
            assert time == pytest.approx(22.0016, abs=1.5 * span / box.width)


def is_mark(pixels):
    """Which pixels have the red of what a gap touches."""
    return (np.abs(pixels - (242, 64, 51)) <= 1).all(axis=-1)


def test_gaps_are_hatched_and_what_they_touch_is_marked():
    y = np.random.default_rng(2).standard_normal(4 * SR).astype(np.float32) * 0.1
    settings = Settings(sr=SR)
    history = heard(settings, y, cuts=[2 * SR], lost=SR)
    scene, pixels = drawn(history)
    box = scene.boxes["spectrogram"]
    picture = inside(pixels, box)
    begin, end = scene.about()["spectrogram"]["time_s"]

    def column(time):
        return int((time - begin) / (end - begin) * box.width)

    for time in (2.1, 2.5, 2.9):
        hatched = picture[10:, column(time)]
        assert {tuple(color) for color in hatched} == {(51, 51, 51), (77, 77, 77)} or (
            np.ptp(hatched, axis=1).max() <= 1  # grey, of two kinds
            and len(np.unique(hatched[:, 0])) == 2
        )
    marked = np.flatnonzero(is_mark(picture[1]))
    assert marked[0] == pytest.approx(column(2 - 1024 / SR), abs=2)
    assert marked[-1] == pytest.approx(column(3 + 1024 / SR), abs=2)
    assert len(marked) == marked[-1] - marked[0] + 1
    y_middle = box.top + box.height / 2
    assert pointer.reading(scene, box.left + column(2.5), y_middle)[1] == "lost"
    assert pointer.reading(scene, box.left + 2, y_middle)[1] == "nothing"


def test_one_lost_row_among_many_in_a_pixel_is_seen():
    settings = Settings(sr=SR, n_fft=64, hop_length=32)
    y = np.random.default_rng(2).standard_normal(4 * SR).astype(np.float32) * 0.1
    history = heard(settings, y, cuts=[2 * SR], lost=96)
    scene, pixels = drawn(history)
    picture = inside(pixels, scene.boxes["spectrogram"])
    assert is_mark(picture[1]).sum() >= 1


def test_only_new_rows_are_uploaded():
    settings = Settings(sr=SR)
    y = np.random.default_rng(2).standard_normal(12 * SR).astype(np.float32) * 0.1
    from rtaudio import Analyzer

    history = heard(settings, y)
    scene, _ = drawn(history)
    row = 4 * scene.ring.size[1]
    assert scene.uploaded_bytes[0] <= row * (scene.columns.row(scene.width) + 3) + 8 * 720
    analyzer = Analyzer(settings, tap=history.tap)
    list(analyzer.feed(np.zeros(0, np.float32)))
    for rows in (1, 1, 2, 5, 0):
        before = scene.uploaded_bytes[0]
        stop = history.stop
        frames = next(iter(Analyzer(settings).feed(y[: 2048 + 512 * 6]))).copy()
        for _ in range(rows):
            frames.first = history.stop
            short = frames.newest()
            short.first = history.stop
            history.put(short)
        assert history.stop == stop + rows
        drawn(history, scene=scene)
        spectrum = 8 * scene.boxes["spectrogram"].height if rows else 0
        assert scene.uploaded_bytes[0] - before == rows * row + spectrum


def test_scrolled_back_is_what_was_seen_then():
    settings = Settings(sr=22050)
    y = np.random.default_rng(4).standard_normal(22050 * 40).astype(np.float32) * 0.1
    history = heard(settings, y)
    scene, newest = drawn(history)
    scene.scroll.frozen = scene.right_edge
    span = scene.right_edge - scene.left_edge
    for _ in range(12):
        scene.scroll.move(-0.13 * span, span)
        old = drawn(history, scene=scene)[1]
    assert scene.scroll.frozen < history.stop - 1.5 * span
    fresh = Scene(Look())
    fresh.scroll.frozen = scene.scroll.frozen
    np.testing.assert_array_equal(old, drawn(history, scene=fresh)[1])
    for _ in range(100):
        scene.scroll.move(-span, history.first + span)
    drawn(history, scene=scene)
    assert history.time(scene.left_edge) == pytest.approx(0, abs=0.1)  # not beyond the oldest
    scene.scroll.frozen = None
    np.testing.assert_array_equal(drawn(history, scene=scene)[1], newest)


@pytest.mark.parametrize(
    ("hop", "n_fft", "span_s"),
    [(512, 2048, 0.5), (512, 2048, 10), (512, 2048, 120), (2048, 512, 20), (64, 256, 60)],
)  # pixels per row, rows per pixel, and as below
@pytest.mark.parametrize("then", ["nothing", "Right", "another size"])
def test_what_comes_after_the_freeze_changes_nothing_that_is_seen(hop, n_fft, span_s, then):
    from rtaudio import Analyzer
    from rtaudio.view.controls import Controls

    settings = Settings(sr=22050, hop_length=hop, n_fft=n_fft)
    rng = np.random.default_rng(7)
    history, look = History(settings, span_s=span_s), Look(span_s=span_s)
    analyzer, scene = Analyzer(settings, tap=history.tap), Scene(look)

    def feed(seconds, captured):
        for frames in analyzer.feed(
            rng.standard_normal(round(seconds * 22050)).astype(np.float32) * 0.1, captured=captured
        ):
            history.put(frames)

    for second in (1.0, 2.0):
        feed(1.0, second)
        drawn(history, scene=scene, now=second + 1, running=True)
    now = 3.2  # the next rows are late, and their place on the axis is empty
    drawn(history, scene=scene, now=now, running=True)
    assert scene.right_edge > history.stop + 2
    controls, size = Controls(look, scene, SimpleNamespace(record=None)), SIZE
    controls.press("Space", " ")
    if then == "Right":
        controls.press("Right", "")
    elif then == "another size":
        size = 1271, 709
    frozen = drawn(history, scene=scene, now=now, running=True, size=size)[1]
    for seconds in (0.013, 0.5):  # a part of a column, and more than one
        feed(seconds, 3.0)
        again = drawn(history, scene=scene, now=now + 0.01, running=True, size=size)[1]
        np.testing.assert_array_equal(again, frozen)
    missing = history.stop - scene.right_edge - 0.513 * history.rows_per_s
    assert missing < max(1, scene.columns.rows) + 3  # what was there, to the last whole column


def test_frozen_the_meter_is_of_the_last_row_that_is_seen():
    settings = Settings(sr=22050)
    y = np.linspace(0, 1, 22050 * 40, dtype=np.float32)  # each row's peak is its own
    history, stops = heard(settings, y, span_s=120.0), []
    scene, _ = drawn(history, Look(span_s=120.0))
    scene.scroll.freeze()
    for rows in (-1, -3.4, -200.7):
        scene.scroll.move(rows, 0)
        canvas.picture(SIZE, lambda: stops.append(scene.draw(history, 0, False, STATUS)))
        assert stops[-1] == math.ceil(scene.right_edge)
        box = scene.boxes["level"]
        peak = decibels(level(history, stops[-1]).peak)
        assert f"peak {peak}" in pointer.reading(scene, box.left + 2, box.top + 50)


@pytest.mark.parametrize(
    ("hop", "n_fft", "span_s"), [(512, 2048, 5), (2048, 512, 20), (64, 256, 60)]
)  # the last two: a row of several hops, a row whose samples come after its frame
@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_drawn_before_the_picture_is_the_one_drawn_afresh(hop, n_fft, span_s, seed):
    from rtaudio import Analyzer

    rng = np.random.default_rng(seed)
    settings = Settings(sr=8000, hop_length=hop, n_fft=n_fft, n_mels=20)
    look, size = Look(span_s=span_s), (400, 360)
    history = History(settings, span_s=span_s, keep_s=5 * span_s)
    analyzer = Analyzer(settings, tap=history.tap)

    def feed(seconds):
        y = rng.standard_normal(round(seconds * 8000)).astype(np.float32) * 0.1
        for frames in analyzer.feed(y, lost=int(rng.choice([0, 0, 0, hop // 2, 8000]))):
            history.put(frames)

    feed(2 * span_s)
    scene, _ = drawn(history, look, size=size)
    for _ in range(12):
        scroll, span = scene.scroll, scene.right_edge - scene.left_edge
        action = rng.integers(4)
        if action == 0:
            scroll.frozen = None
        elif action == 1:
            scroll.frozen = scroll.frozen or scene.right_edge
            by = float(rng.choice([-0.01, -0.05, -0.3, -0.9, 0.4, 1.2]))
            scroll.move(by * span, history.first + span)
        else:
            feed(float(rng.choice([hop / 8000 / 3, hop / 8000, 0.1, span_s / 3])))
        kept = drawn(history, scene=scene, size=size)[1]
        fresh = Scene(look)
        fresh.scroll.frozen = scroll.frozen
        again = drawn(history, scene=fresh, size=size)[1]
        for name in ("spectrogram", "waveform"):
            box = scene.boxes[name]
            np.testing.assert_array_equal(inside(kept, box), inside(again, box), err_msg=name)


def test_another_history_begins_at_its_own_newest_row():
    settings = Settings(sr=22050)
    y = np.random.default_rng(4).standard_normal(22050 * 40).astype(np.float32) * 0.1
    scene, _ = drawn(heard(settings, y))
    scene.scroll.frozen = scene.right_edge - 300
    drawn(scene.history, scene=scene)
    other = heard(replace(settings, n_fft=512), y[: 22050 * 15])
    pixels = drawn(other, scene=scene)[1]
    np.testing.assert_array_equal(pixels, afresh(other))


def test_a_history_shorter_than_the_picture_and_an_empty_one():
    settings = Settings(sr=SR)
    drawn(History(settings))
    y = np.random.default_rng(4).standard_normal(SR * 12).astype(np.float32) * 0.1
    short = heard(settings, y, keep_s=2.0)
    scene, pixels = drawn(short)
    spectrogram = inside(pixels, scene.boxes["spectrogram"])
    there = spectrogram[100:].sum(axis=(0, 2)) > spectrogram.shape[0] * 100
    assert there.mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("change", [
    {"n_fft": 1 << 17, "hop_length": 4096}, {"n_fft": 16, "hop_length": 1}, {"n_fft": 1},
    {"n_fft": 64, "hop_length": 100_000}, {"n_mfcc": 128}, {"center": False},
    {"win_length": 100, "window": "boxcar"}, {"n_mels": 1, "n_mfcc": 1},
])  # fmt: skip
def test_any_settings_can_be_drawn(change):
    settings = Settings(**{"sr": 8000, "n_mels": 128, "n_mfcc": 13, **change})
    y = np.sin(np.arange(8000 * 30) / 3).astype(np.float32)[
        : 8000 if change.get("n_fft") == 16 else None
    ]
    history = heard(settings, y)
    for axis in AXES:
        scene, pixels = drawn(history, Look(axis=axis), size=(640, 480))
        box = scene.boxes["spectrogram"]
        assert inside(pixels, box).max() > 100


def test_a_gap_that_no_frame_lies_in_is_seen_and_told():
    y = np.random.default_rng(2).standard_normal(8 * SR).astype(np.float32) * 0.1
    history = heard(Settings(sr=SR, n_fft=16384), y, cuts=[6 * SR], lost=SR // 4)
    look = Look(panels=("waveform", "level"))
    scene, pixels = drawn(history, look)
    box = scene.boxes["waveform"]
    begin, end = scene.about()["waveform"]["time_s"]
    column = lambda time: int((time - begin) / (end - begin) * box.width)  # noqa: E731
    grey = np.ptp(inside(pixels, box)[5], axis=1) <= 1
    hatched = np.flatnonzero(grey & (inside(pixels, box)[5, :, 0] > 45))
    assert hatched[0] == pytest.approx(column(6), abs=2)
    assert hatched[-1] == pytest.approx(column(6.25), abs=2)
    y_middle = box.top + box.height // 3
    told = [pointer.reading(scene, box.left + column(at), y_middle)[1] for at in (5.5, 6.1, 6.5)]
    assert told[1] == "lost"
    assert " … " in told[0]
    assert " … " in told[2]
    assert pointer.reading(scene, box.left + 2, y_middle)[1] != "lost"


def test_rows_that_come_while_it_is_drawn_are_the_next_draws():
    from rtaudio import Analyzer

    y = np.random.default_rng(2).standard_normal(3 * SR).astype(np.float32) * 0.1
    settings = Settings(sr=SR)

    class Coming(History):
        """As if the processing thread came in between."""

        more = None

        def dbfs(self, first, stop):
            for frames in self.more or ():
                self.put(frames)
            self.more = None
            return super().dbfs(first, stop)

    history = Coming(settings)
    analyzer = Analyzer(settings, tap=history.tap)
    for frames in analyzer.feed(y[: 2 * SR]):
        history.put(frames)
    stop = history.stop
    history.more = analyzer.feed(y[2 * SR :])
    scene = Scene(Look())
    scene.resize(SIZE, 1.0)
    shown = []
    canvas.picture(SIZE, lambda: shown.append(scene.draw(history, 0.0, False, STATUS)))
    assert shown == [stop]
    assert history.stop > stop + 50
    np.testing.assert_array_equal(drawn(history, scene=scene)[1], afresh(history))


def test_scrolled_back_into_an_outage_the_spectrum_is_empty():
    y = np.sin(2 * np.pi * 1000 * np.arange(30 * SR) / SR).astype(np.float32)
    history = heard(Settings(sr=SR), y, cuts=[10 * SR], lost=20 * SR)
    scene, _ = drawn(history)
    assert scene.peaks.current.max() > -5
    scene.scroll.frozen = history.place(29.0)
    pixels = drawn(history, scene=scene)[1]
    assert scene.peaks.current.max() < -200
    fresh = Scene(Look())
    fresh.scroll.frozen = scene.scroll.frozen
    box = scene.boxes["spectrum"]
    again = inside(drawn(history, scene=fresh)[1], box)
    np.testing.assert_array_equal(inside(pixels, box), again)


def test_held_peaks_stay_when_the_window_changes():
    t = np.arange(6 * SR) / SR
    y = (np.sin(2 * np.pi * 1000 * t) * (t < 2)).astype(np.float32)
    history = heard(Settings(sr=SR), y)
    scene, _ = drawn(history)
    held = scene.peaks.held.copy()
    assert -75 < held.max() < -50  # it has been falling for 3 s
    drawn(history, scene=scene, size=(900, 600))
    np.testing.assert_array_equal(scene.peaks.held, held)


def test_the_pointer_reads_what_is_under_it():
    t = np.arange(3 * SR) / SR
    y = (np.sin(2 * np.pi * 1000 * t) + np.sin(2 * np.pi * 3000 * t)).astype(np.float32) / 2
    history = heard(Settings(sr=SR), y)
    scene, _ = drawn(history)
    box = scene.boxes["mfcc"]
    row = history.stop - 50
    x = box.left + scene.columns.column(row + 0.5) - scene.first_column
    for number in range(13):
        middle = box.bottom - (number + 0.5) / 13 * box.height
        value = history.mfcc(*pointer.rows_at(scene, x))[:, number].max()
        told = pointer.reading(scene, x, middle)[1]
        assert told.replace("−", "-") == f"MFCC {number}: {value:.1f}"
    box = scene.boxes["spectrogram"]
    dbfs = history.dbfs(row, row + 1)[0]
    for y in range(box.top + 20, box.bottom - 20, 7):  # far from a peak, what the pixel shows
        found = pointer.read(scene, dbfs, y)
        if not found.peak:
            hz = scene.axis.hz((box.bottom - y - 0.5) / box.height)
            assert found.hz == pytest.approx(float(hz), rel=1e-9)


def test_the_wheel_zooms_about_the_pointer():
    from rtaudio.view.controls import Controls

    history = heard(Settings(sr=8000), np.zeros(8000, np.float32))
    look = Look()
    scene, _ = drawn(history, look)
    controls, box = Controls(look, scene, None), scene.boxes["spectrogram"]
    y = box.top + box.height / 4
    before = float(scene.axis.hz(0.75))
    for _ in range(3):
        controls.wheel(y, 1)
        drawn(history, scene=scene)
    assert look.high_hz / look.low_hz < 100
    assert float(scene.axis.hz(0.75)) == pytest.approx(before, rel=0.01)


def blue(pixels, box):
    """Which columns of a box have a label's colour."""
    found = inside(pixels, box)[box.height - 3]
    return np.flatnonzero(found[:, 2] > found[:, 0] + 40)


def test_labels_lie_under_what_they_are_of_and_move_with_it():
    history = heard(Settings(sr=8000), np.zeros(8000 * 12, np.float32))
    history.hears = True
    history.label((4.0, 4.2, "short", 0.9))
    history.label((4.0, 5.0, "short", 0.9))  # it has grown
    history.label((6.0, 7.0, "a longer one that does not fit", 0.9))
    history.label((0.5, 2.5, "half seen", 0.9))  # the picture begins at 2 s
    scene, pixels = drawn(history)
    box = scene.boxes["heard"]
    assert box.top == scene.boxes["spectrogram"].bottom + 4
    assert box.bottom < scene.boxes["mfcc"].top

    def columns(*ends):
        at = (scene.columns.column(history.place(end)) - scene.first_column for end in ends)
        return [max(0, column) for column in at]

    wanted = [columns(*ends) for ends in ((0.5, 2.5), (4.0, 5.0), (6.0, 7.0))]
    np.testing.assert_array_equal(
        blue(pixels, box), np.concatenate([np.arange(a, b - 1) for a, b in wanted])
    )
    assert inside(pixels, box).max() > 200  # their names
    assert len(blue(pixels, box._replace(left=0, width=box.left))) == 0  # cut off at the axis
    scene.scroll.frozen = scene.right_edge - 1.0 * history.rows_per_s
    moved = drawn(history, scene=scene)[1]
    fresh = Scene(Look())
    fresh.scroll.frozen = scene.scroll.frozen
    np.testing.assert_array_equal(moved, drawn(history, scene=fresh)[1])
    assert scene.about()["heard"]["labels"] == history.labels()
    at = box.left + scene.columns.column(history.place(4.5)) - scene.first_column
    assert pointer.reading(scene, at, box.top + 5)[1] == "short   90 %"
    assert pointer.reading(scene, at + 100, box.top + 5)[1] == "nothing"


def test_the_time_axis_is_below_the_labels_where_there_are_no_mfccs():
    history = heard(Settings(sr=8000), np.zeros(8000 * 3, np.float32))
    history.hears = True
    scene, pixels = drawn(history, Look(panels=("spectrogram",)))
    below = scene.boxes["heard"].bottom
    assert pixels[below + 4 : below + 20, scene.boxes["heard"].left :].max() > 100


@pytest.mark.parametrize("scale", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("size", [(320, 240), (500, 300), (700, 720), (3840, 2160), (400, 1500),
                                  (320, 4320), (64, 64)])  # fmt: skip
def test_any_size_has_its_panels_apart_and_inside(size, scale):
    history = heard(Settings(sr=8000), np.sin(np.arange(8000 * 3)).astype(np.float32))
    history.hears = True
    history.label((1.0, 2.0, "a label", 1.0))
    scene = Scene(Look())
    scene.resize(size, scale)
    pixels = canvas.picture(size, lambda: scene.draw(history, 0.0, False, STATUS))
    assert pixels.shape == (size[1], size[0], 3)
    boxes = list(scene.boxes.values())
    for number, a in enumerate(boxes):
        assert a.left >= 0 <= a.top
        assert a.right <= size[0]
        assert a.bottom <= size[1]
        assert min(a.width, a.height) >= 8 * min(1.0, scene.scale)
        for b in boxes[number + 1 :]:
            apart = a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top
            assert apart, (a, b)


@pytest.mark.parametrize("panels", [
    ("spectrogram",), ("spectrum",), ("waveform",), ("mfcc",), ("level",), ("waveform", "mfcc"),
    ("spectrum", "level"), ("spectrogram", "mfcc"),
])  # fmt: skip
def test_any_panels(panels):
    history = heard(Settings(sr=8000), np.sin(np.arange(8000 * 3)).astype(np.float32))
    scene, pixels = drawn(history, Look(panels=panels), size=(900, 600))
    assert set(panels) <= set(scene.boxes) <= {*panels, "status", "colors"}
    for name in panels:
        assert inside(pixels, scene.boxes[name]).max() > 100
    for x in range(0, 900, 90):
        for y in range(0, 600, 60):
            pointer.reading(scene, x, y)
    scene.pointer = (450.0, 300.0)
    drawn(history, scene=scene, size=(900, 600))
    scene.resize((1000, 700), 2.0)  # on another screen
    canvas.picture((1000, 700), lambda: scene.draw(history, 0, False, STATUS))


def test_the_level_meter_and_its_light():
    quiet = np.sin(np.arange(SR * 2) / 9).astype(np.float32) * 0.1
    history = heard(Settings(sr=SR), quiet)
    scene, pixels = drawn(history)
    box = scene.boxes["level"]
    light = inside(pixels, box)[2, box.width // 2]
    assert light[0] < 80
    left = inside(pixels, box)[:, 4]
    lit = (left[:, 1] > 150).sum()
    rms = 20 * math.log10(history.levels(history.stop - 1, history.stop)[0, 0])
    assert lit / (box.height * 0.97) == pytest.approx(1 + rms / 60, abs=0.02)
    history = heard(Settings(sr=SR), quiet * 10)
    scene, pixels = drawn(history)
    assert inside(pixels, box)[2, box.width // 2, 0] > 200


def test_the_spectrum_holds_its_peaks_and_lets_them_fall():
    settings = Settings(sr=SR)
    t = np.arange(5 * SR) / SR
    y = (np.sin(2 * np.pi * 1000 * t) * (t < 1)).astype(np.float32)
    history = heard(settings, y)
    from rtaudio.view.spectrum import Peaks

    bin_1k = round(1000 / (SR / 2048))
    peaks = Peaks(history, 0.0)
    held = []
    for stop in range(1, history.stop + 1):
        peaks.reach(stop)
        held.append(float(peaks.held[bin_1k]))
    at = lambda seconds: held[round(seconds * SR / 512)]  # noqa: E731
    assert at(0.9) == pytest.approx(-0.63, abs=0.1)  # a third of a bin beside
    assert at(1.9) == pytest.approx(at(0.9), abs=0.01)
    assert at(3.5) - at(2.5) == pytest.approx(-20, abs=0.5)
    jumped = Peaks(history, 0.0)
    jumped.reach(history.stop)
    np.testing.assert_array_equal(jumped.held, peaks.held)  # a jump takes in all that matters
    assert not peaks.reach(history.stop)


def test_averaging_is_of_power_with_its_time_constant():
    settings = Settings(sr=SR)
    t = np.arange(4 * SR) / SR
    y = (np.sin(2 * np.pi * 1000 * t) * (t < 2)).astype(np.float32)
    history = heard(settings, y)
    from rtaudio.view.spectrum import Peaks

    bin_1k = round(1000 / (SR / 2048))
    for constant in (0.125, 1.0):
        peaks = Peaks(history, constant)
        level = []
        for stop in range(1, history.stop + 1):
            peaks.reach(stop)
            level.append(float(peaks.current[bin_1k]))
        fall = np.subtract(*(level[round(s * SR / 512)] for s in (2.5, 2.5 + constant / 2)))
        assert fall == pytest.approx(10 * math.log10(math.e) / 2, abs=0.15)


def test_words_with_letters_the_font_has_not():
    history = heard(Settings(sr=8000), np.zeros(8000, np.float32))
    scene = Scene(Look())
    scene.resize(SIZE, 1.0)
    odd = Status("Mikrofon größer 麦克风 😀 " + "x" * 500, True, "記" * 300,
                 tuple((str(n), "設備" * 40) for n in range(9)), "Gerät?")  # fmt: skip
    pixels = canvas.picture(SIZE, lambda: scene.draw(history, 0, False, odd))
    assert pixels.max() > 200


def test_a_table_is_not_written_over_by_the_pointer():
    history = heard(Settings(sr=8000), np.zeros(8000, np.float32))
    listed = Status(listing=(("1", "one"), ("2", "two")), title="Which?")
    pictures = []
    for at in (None, (640.0, 360.0)):
        scene = Scene(Look())
        scene.resize(SIZE, 1.0)
        scene.pointer = at
        pictures.append(canvas.picture(SIZE, lambda: scene.draw(history, 0, False, listed)))  # noqa: B023
    np.testing.assert_array_equal(*pictures)


def test_the_table_of_keys_fits_into_the_smallest_window():
    from rtaudio.view.controls import KEYS

    history = heard(Settings(sr=8000), np.zeros(8000, np.float32))
    for size in ((320, 240), (1280, 720)):
        scene = Scene(Look())
        scene.resize(size, 1.0)
        canvas.picture(size, lambda: scene.draw(history, 0, False, Status(listing=KEYS)))  # noqa: B023
