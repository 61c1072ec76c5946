"""The picture, pixel by pixel: drawn by a real OpenGL into memory (EGL, Mesa)."""

import json
import math
import subprocess
from dataclasses import replace

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
        scene.scroll.move(history, rows, 100)
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
        scene.scroll.move(history, -0.13 * span, span)
        old = drawn(history, scene=scene)[1]
    assert scene.scroll.frozen < history.stop - 1.5 * span
    fresh = Scene(Look())
    fresh.scroll.frozen = scene.scroll.frozen
    np.testing.assert_array_equal(old, drawn(history, scene=fresh)[1])
    for _ in range(100):
        scene.scroll.move(history, -span, span)
    drawn(history, scene=scene)
    assert history.time(scene.left_edge) == pytest.approx(0, abs=0.1)  # not beyond the oldest
    scene.scroll.frozen = None
    np.testing.assert_array_equal(drawn(history, scene=scene)[1], newest)


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


@pytest.mark.parametrize("size", [(320, 240), (500, 300), (700, 720), (3840, 2160), (400, 1500)])
def test_any_size_has_its_panels_apart_and_inside(size):
    history = heard(Settings(sr=8000), np.sin(np.arange(8000 * 3)).astype(np.float32))
    scene, pixels = drawn(history, size=size)
    assert pixels.shape == (size[1], size[0], 3)
    boxes = list(scene.boxes.values())
    for number, a in enumerate(boxes):
        assert a.left >= 0 <= a.top
        assert a.right <= size[0]
        assert a.bottom <= size[1]
        assert min(a.width, a.height) >= 8
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
    # a jump takes in the last 3 s alone; what it holds is no higher than the truth
    assert (jumped.held <= peaks.held + 1e-3).all()
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


def test_the_table_of_keys_fits_into_the_smallest_window():
    from rtaudio.view.controls import KEYS

    history = heard(Settings(sr=8000), np.zeros(8000, np.float32))
    for size in ((320, 240), (1280, 720)):
        scene = Scene(Look())
        scene.resize(size, 1.0)
        canvas.picture(size, lambda: scene.draw(history, 0, False, Status(listing=KEYS)))  # noqa: B023
