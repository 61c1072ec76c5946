"""The five pictures are gathered in constant memory and stand on true axes."""

import matplotlib.figure
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import SR, music

from rtaudio import ArraySource, Block, Settings, figures
from rtaudio.recordings import analyze_recording


@given(
    total=st.integers(1, 20_000),
    cuts=st.lists(st.integers(0, 20_000), max_size=9),
)
def test_columns_hold_the_maximum_of_what_they_cover(total, cuts):
    rows = np.random.default_rng(total).standard_normal((total, 2)).astype(np.float32)
    columns = figures.Columns(np.maximum)
    for piece in np.split(rows, sorted(cuts)):
        columns.add(piece)
    image, stride = columns.image(), columns.stride
    assert len(image) == -(-total // stride) <= figures.COLUMNS
    for i in (0, len(image) // 2, len(image) - 1):
        np.testing.assert_array_equal(image[i], rows[i * stride : (i + 1) * stride].max(axis=0))


def overview_of(y, settings, sr=SR):
    overview = figures.Overview()
    summary = analyze_recording(
        lambda: ArraySource(y, sr), settings, overview.take, tap=overview.hear
    )
    return overview, summary


def test_the_power_spectrum_of_the_whole_signal():
    t = np.arange(SR) / SR
    y = (0.5 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)
    overview, _ = overview_of(y, Settings(sr=SR))
    frequencies, power = overview.spectrum.result(SR)
    assert (len(frequencies), frequencies[0], frequencies[-1]) == (SR // 2 + 1, 0, SR / 2)
    assert frequencies[power.argmax()] == 1000
    assert power.max() == pytest.approx(0.25, rel=1e-5)


def test_the_spectrum_of_a_long_signal_is_the_mean_of_segments(monkeypatch):
    monkeypatch.setattr(figures, "WHOLE", 1 << 14)
    monkeypatch.setattr(figures, "SEGMENT", 1 << 10)
    y = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    spectrum = figures.Spectrum()
    for piece in np.array_split(y, 17):
        spectrum.add(piece)
    _, power = spectrum.result(SR)
    assert spectrum.segments == 97
    segments = y[: 97 << 10].reshape(97, -1)
    expected = (np.abs(np.fft.rfft(segments)) ** 2).mean(axis=0) / 512**2
    np.testing.assert_allclose(power, expected, rtol=1e-4)


def drawn(y, settings, tmp_path, monkeypatch):
    """The matplotlib figure that `draw` saved."""
    kept = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure, *args, **kwargs):
        kept.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    overview, summary = overview_of(y, settings)
    figures.draw(overview, summary, "title", tmp_path / "out.png", 80.0)
    return kept[0]


@pytest.mark.parametrize("center", [True, False])
def test_axes_are_true(tmp_path, monkeypatch, center):
    """A click at 1.5 s, and a tone on bin 70 from 0.5 to 1 s, stand where they belong."""
    y = np.zeros(2 * SR, np.float32)
    y[int(1.5 * SR)] = 1
    t = np.arange(SR // 2) / SR
    y[SR // 2 : SR] = 0.5 * np.sin(2 * np.pi * 70 * SR / 512 * t)
    settings = Settings(sr=SR, n_fft=512, hop_length=128, center=center)
    figure = drawn(y, settings, tmp_path, monkeypatch)
    wave, spectrum, linear, db, mfcc = figure.axes[:5]
    labels = [axis.get_title() for axis in figure.axes[:5]]
    assert labels == [
        *("Waveform", "Power spectrum (whole signal)", "Spectrogram", "Spectrogram in dB"),
        "13 MFCCs",
    ]
    assert [axis.get_xlabel() for axis in figure.axes[:5]] == [
        *("time (s)", "frequency (Hz)", "time (s)", "time (s)", "time (s)")
    ]
    for axis in (wave, linear, db, mfcc):
        assert axis.get_xlim() == (0, 2)
    assert spectrum.get_xlim() == (0, SR / 2)
    line = spectrum.lines[0]
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(70 * SR / 512, abs=10)
    for axis in (linear, db):
        (image,) = axis.images
        left, right, bottom, top = image.get_extent()
        pixels = image.get_array()
        column = 128 / SR
        assert (right - left) / pixels.shape[1] == pytest.approx(column)
        times = left + (np.arange(pixels.shape[1]) + 0.5) * column
        bins = bottom + (np.arange(pixels.shape[0]) + 0.5) * (top - bottom) / pixels.shape[0]
        np.testing.assert_allclose(bins, settings.frequencies, atol=1e-9)
        tone = (times > 0.6) & (times < 0.9)
        assert bins[pixels[:, tone].argmax(axis=0)] == pytest.approx(70 * SR / 512)
        click = times[pixels[200:].max(axis=0).argmax()]
        assert click == pytest.approx(1.5, abs=column)
    assert figure.axes[6].get_ylabel() == "dBFS"
    assert db.images[0].get_array().max() == pytest.approx(20 * np.log10(0.5), abs=0.01)


def test_mfccs_of_many_frames_are_means(monkeypatch):
    monkeypatch.setattr(figures, "COLUMNS", 16)
    y = music(2.0)
    settings = Settings(sr=SR)
    overview, summary = overview_of(y, settings)
    means = figures._means(overview.mfcc, overview.frames_seen)
    from rtaudio import analyze

    rows = analyze(y, settings).mfcc
    stride = overview.mfcc.stride
    assert len(rows) == summary.frames
    for i, mean in enumerate(means):
        np.testing.assert_allclose(
            mean, rows[i * stride : (i + 1) * stride].mean(axis=0), rtol=1e-3
        )


def test_a_gap_keeps_its_place_in_every_picture():
    class Gappy(ArraySource):
        def __iter__(self):
            yield Block(self._samples[:SR], 0)
            yield Block(self._samples[SR:], 11 * SR, lost=10 * SR)

    overview = figures.Overview()
    settings = Settings(sr=SR)
    summary = analyze_recording(
        lambda: Gappy(music(2.0), SR), settings, overview.take, tap=overview.hear
    )
    assert (summary.samples, summary.lost) == (12 * SR, 10 * SR)
    for columns, rate in ((overview.db, SR / 512), (overview.mfcc, SR / 512), (overview.high, SR)):
        image = columns.image()
        times = np.arange(len(image)) * columns.stride / rate
        assert times[-1] == pytest.approx(12, abs=0.1)
        missing = np.isnan(image).any(axis=1)
        assert missing[(times > 1.1) & (times < 10.9)].all()
        assert not missing[(times < 0.9) | (times > 11.1)].any()


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_picture_twice_is_the_same_file(tmp_path, suffix):
    overview, summary = overview_of(music(1.0), Settings(sr=SR))
    for name in ("a", "b"):
        figures.draw(overview, summary, "x", tmp_path / f"{name}.{suffix}", 80.0)
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
