"""What a task makes of a recording: the same numbers whole, cut, and by plain numpy."""

import math
import tracemalloc
from datetime import datetime

import numpy as np
import pytest
import soundfile
from archives import assert_same, done, noise, plan
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_files import build, save

import rtaudio
from rtaudio.archive.bins import EXACT, STATISTICS, Statistics, Tally
from rtaudio.archive.find import look
from rtaudio.archive.plan import DATASET
from rtaudio.archive.tasks import Task, do
from rtaudio.consumers.model import FrontEnd, load_model
from rtaudio.sources.clock import wall_clock

HOURS, RATE = 2.3, 250  # which makes three parts


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """The same long recording in files that can be cut, and in one that can't."""
    folder = tmp_path_factory.mktemp("long")
    samples = noise(HOURS * 3600, RATE)
    for suffix in ("wav", "aiff", "flac", "au"):
        soundfile.write(folder / f"long.{suffix}", samples, RATE, subtype="PCM_16")
    return folder


GRID = [
    {},
    {"center": False},
    {"n_fft": 300, "hop_length": 77, "n_mels": 20},
    {"n_fft": 64, "hop_length": 1000, "n_mels": 5, "n_mfcc": 5, "center": False},
]


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac"])
@pytest.mark.parametrize("per", ["frame", "second", "minute"])
def test_cut_into_hours_equals_uncut(long, tmp_path, suffix, per):
    for options in GRID if suffix == "wav" else GRID[:1]:
        a_plan = plan(tmp_path / "out", rtaudio.Settings(**options), per=per)
        outcomes, cut = done(a_plan, long / f"long.{suffix}")
        assert len(outcomes) == 3
        whole_outcome, whole = done(a_plan, long / "long.au")
        assert len(whole_outcome) == 1
        assert len(whole_outcome[0].parts) == 3
        assert_same(cut, whole)
        assert sum(o.seconds for o in outcomes) == whole_outcome[0].seconds == HOURS * 3600


@pytest.mark.parametrize("options", GRID)
def test_frames_are_those_of_analyze(long, tmp_path, options):
    a_plan = plan(tmp_path / "out", rtaudio.Settings(**options), ("rms", "mfcc", "db"), per="frame")
    _, table = done(a_plan, long / "long.wav")
    features = rtaudio.analyze(long / "long.wav", a_plan.settings, features=("rms", "mfcc", "db"))
    np.testing.assert_array_equal(table["start"], features.time)
    np.testing.assert_array_equal(table["rms"], features.rms)
    for name in ("mfcc", "db"):
        for i in (0, 3):
            np.testing.assert_array_equal(table[f"{name}_{i}"], getattr(features, name)[:, i])


@pytest.mark.parametrize("per", ["second", "minute", "file"])
def test_statistics_are_numpys(tmp_path, per):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(150.3, 8000), 8000)
    _, table = done(plan(tmp_path / "out", per=per), path)
    features = rtaudio.analyze(path)
    bins = features.time // {"second": 1, "minute": 60, "file": math.inf}[per]
    assert table["start"].to_pylist() == [
        {"second": 1, "minute": 60, "file": 0}[per] * b for b in range(len(table))
    ]
    ends = table["end"].to_pylist()
    assert ends[:-1] == table["start"].to_pylist()[1:]
    assert ends[-1] == 150.3
    for row in range(len(table)):
        rows = features.mfcc[bins == row].astype(np.float64)
        assert table["frames"][row].as_py() == len(rows)
        expected = [
            rows.mean(0),
            rows.std(0),
            *np.percentile(rows, [10, 50, 90], axis=0),
            rows.max(0),
        ]
        for name, values in zip(STATISTICS, expected, strict=True):
            got = [table[f"mfcc_{i}_{name}"][row].as_py() for i in range(13)]
            np.testing.assert_allclose(got, values, rtol=2e-6, atol=1e-5)


@given(st.data())
@settings(deadline=None, max_examples=30)
def test_statistics_of_any_pieces_are_the_same(data):
    count = data.draw(st.sampled_from([1, 2, 7, 100, EXACT - 1, EXACT, EXACT + 1, 3 * EXACT + 5]))
    rows = np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=5)))
    statistics = Statistics(3)
    for piece in np.split(rows, cuts):
        statistics.add(piece)
    counted, got = statistics.take()
    assert counted == count
    statistics.add(rows)
    _, whole = statistics.take()
    np.testing.assert_array_equal(got, whole)
    if count <= EXACT:
        np.testing.assert_allclose(
            got[2:5], np.percentile(rows, [10, 50, 90], axis=0), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(got[0], rows.mean(0, dtype=np.float64), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got[1], rows.std(0, dtype=np.float64), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[5], rows.max(0))


@pytest.mark.parametrize("order", ["random", "rising", "falling", "sawtooth"])
def test_percentiles_of_very_many_rows_are_within_their_bound(order):
    count = 40 * EXACT + 3
    values = np.random.default_rng(1).standard_normal(count).astype(np.float32)
    values = {
        "random": values,
        "rising": np.sort(values),
        "falling": np.sort(values)[::-1],
        "sawtooth": np.concatenate([np.sort(x) for x in np.array_split(values, 100)]),
    }[order]
    statistics = Statistics(1)
    statistics.add(np.ascontiguousarray(values)[:, np.newaxis])
    _, got = statistics.take()
    ranks = [(values <= value).mean() for value in got[2:5, 0]]
    bound = (1 + math.log2(count / EXACT)) / EXACT
    # Far within it, since the odd and the even ones are kept in turn.
    assert np.abs(np.array(ranks) - [0.1, 0.5, 0.9]).max() <= bound / 4


def test_nothing_has_no_statistics():
    count, got = Statistics(2).take()
    assert count == 0
    assert np.isnan(got).all()


def test_what_was_heard_most():
    tally = Tally(3)
    nan = np.nan
    tally.add(np.array([1, 1, -1, 2, -1]), np.array([0.5, 0.7, 0.3, 0.9, nan], np.float32))
    label, probability, shares = tally.take()
    assert label == 1
    assert probability == pytest.approx(0.6)
    np.testing.assert_allclose(shares, [0, 0.5, 0.25])
    assert tally.take()[0] == -1


# --- gaps -------------------------------------------------------------------------------------


def with_gaps(path, samples, sr, gaps):
    """A take: zeros where it has gaps, and the list of them."""
    for first, length in gaps:
        samples[first : first + length] = 0
    soundfile.write(path, samples, sr)
    rows = "".join(f"{first},{length},host,0\n" for first, length in gaps)
    path.with_suffix(".gaps.csv").write_text("first_sample,length,cause,uncertainty\n" + rows)


GAPS = [(1000, 500), (4000, 2600), (59000, 90), (1_439_900, 300), (2_000_000, 1_700_000)]


@pytest.mark.parametrize("per", ["frame", "second", "minute", "file"])
def test_gaps_of_takes_are_carried(tmp_path, per):
    """Some lie across the edges of bins and hours, one is longer than an hour."""
    sr = 400
    samples = noise(2.6 * 3600, sr)
    with_gaps(tmp_path / "take.wav", samples, sr, GAPS)
    with_gaps(tmp_path / "take.au", samples, sr, GAPS)
    a_plan = plan(tmp_path / "out", rtaudio.Settings(n_fft=256, hop_length=100), per=per)
    outcomes, cut = done(a_plan, tmp_path / "take.wav")
    assert len(outcomes) == (1 if per == "file" else 3)
    _, whole = done(a_plan, tmp_path / "take.au")
    assert_same(cut, whole)
    lost = sum(length for _, length in GAPS)
    assert sum(o.lost_s for o in outcomes) == pytest.approx(lost / sr, abs=1e-9)
    features = rtaudio.analyze(tmp_path / "take.wav", a_plan.settings)
    if per == "frame":
        np.testing.assert_array_equal(cut["start"], features.time)
        np.testing.assert_array_equal(cut["lost"], features.lost)
        return
    seconds = {"second": 1, "minute": 60, "file": 1e9}[per]
    assert cut["rms_mean"].null_count == sum(n == 0 for n in cut["frames"].to_pylist())
    assert sum(cut["lost_s"].to_pylist()) == pytest.approx(lost / sr, abs=1e-9)
    assert len(cut) == math.ceil(2.6 * 3600 / seconds)  # where all is lost, too
    bins = features.time // seconds
    for row in range(0, len(cut), 97):
        whole_frames = features.rms[(bins == row) & (features.lost == 0)]
        assert cut["frames"][row].as_py() == len(whole_frames)
        mean = cut["rms_mean"][row].as_py()
        assert mean is None if not len(whole_frames) else mean == pytest.approx(whole_frames.mean())


def test_a_resampled_take_tells_its_losses_in_its_own_seconds(tmp_path):
    with_gaps(tmp_path / "take.wav", noise(5, 8000), 8000, [(8000, 12000)])
    _, table = done(plan(tmp_path / "out", rtaudio.Settings(sr=6000)), tmp_path / "take.wav")
    assert table["lost_s"].to_pylist() == [0, 1, 0.5, 0, 0]
    assert table["sr"].to_pylist() == [6000] * 5
    assert table["rms_mean"][1].as_py() is None  # a NaN would be that of every mean with it


# --- a model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("per", ["frame", "second"])
@pytest.mark.parametrize("options", [{}, {"every_ms": 700.0, "smooth_ms": 3000.0}])
def test_what_a_model_hears_is_the_same_whole_and_cut(tmp_path, per, options):
    settings = rtaudio.Settings(sr=400, n_fft=256, hop_length=100, n_mels=20)
    front_end = FrontEnd(settings, 7, ("one", "two"))
    weights = np.random.default_rng(2).normal(0, 0.05, (7 * 13, 2)).astype(np.float32)
    tensors = [numpy_helper.from_array(weights, "weights")]
    onnx = build(shape=("batch", 7, 13), front_end=front_end, tensors=tensors)
    model = load_model(save(tmp_path / "m.onnx", onnx), threshold=0.0, **options)
    sr = 400
    samples = noise(1.2 * 3600, sr)
    for suffix in ("wav", "au"):
        with_gaps(tmp_path / f"take.{suffix}", samples, sr, [(500, 300), (1_439_700, 200)])
    a_plan = plan(tmp_path / "out", model.front_end.settings, ("rms",), per=per, model=model)
    outcomes, cut = done(a_plan, tmp_path / "take.wav")
    assert len(outcomes) == 2
    _, whole = done(a_plan, tmp_path / "take.au")
    assert_same(cut, whole)
    assert set(cut["label"].to_pylist()) >= {"one", "two"}
    heard = rtaudio.hear(tmp_path / "take.au", model)
    if per == "second":
        shares = cut["heard_one"].to_numpy() * 1.0
        spent = sum(i.end - i.start for i in heard if i.label == "one")
        assert np.nansum(shares) == pytest.approx(spent, rel=0.05)


# --- by the wall's clock ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "metadata", "when"),
    [
        ("site_20240511_053000.wav", {}, datetime(2024, 5, 11, 5, 30)),
        ("20240511T053000.250Z.flac", {}, datetime(2024, 5, 11, 5, 30, 0, 250000)),
        ("2024-05-11 05.30.00.wav", {}, datetime(2024, 5, 11, 5, 30)),
        (
            "a.wav",
            {"comment": "Recorded at 05:30:00 11/05/2024 (UTC) by AudioMoth"},
            datetime(2024, 5, 11, 5, 30),
        ),
        ("a.wav", {"date": "2024-05-11T05:30:00"}, datetime(2024, 5, 11, 5, 30)),
        ("a.wav", {"date": "2024-05-11"}, None),
        ("20241311_053000.wav", {}, None),
        ("1234567890123456.wav", {}, None),
        ("song.wav", {}, None),
    ],
)
def test_when_it_was_recorded(name, metadata, when):
    assert wall_clock(name, metadata) == when


def test_the_clock_of_a_broadcast_wave_stands_in_every_row(tmp_path):
    path = tmp_path / "b.wav"
    soundfile.write(path, noise(2.5, 8000), 8000)
    data = path.read_bytes()
    chunk = b"".join((bytes(320), b"2024-05-11", b"05:30:00", bytes(264)))
    size = len(data) + len(chunk)
    path.write_bytes(
        b"".join(
            (
                b"RIFF",
                size.to_bytes(4, "little"),
                b"WAVEbext",
                len(chunk).to_bytes(4, "little"),
                chunk,
                data[12:],
            )
        )
    )
    _, table = done(plan(tmp_path / "out"), path)
    assert table["clock"].to_pylist() == [datetime(2024, 5, 11, 5, 30, s) for s in range(3)]


# --- edges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.0, 4.0, 4.25])
def test_a_frame_in_the_middle_of_the_very_end_makes_no_row_of_its_own(tmp_path, seconds):
    soundfile.write(tmp_path / "a.wav", noise(seconds, 16000), 16000)
    _, table = done(plan(tmp_path / "out"), tmp_path / "a.wav")
    assert len(table) == math.ceil(seconds)
    assert sum(table["frames"].to_pylist()) == 1 + int(seconds * 16000) // 512


def test_a_frame_at_the_very_end_where_the_rate_is_another_one(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(2 - 1 / 44100, 44100), 44100)
    settings = rtaudio.Settings(sr=22050, hop_length=441, n_fft=1024)
    _, table = done(plan(tmp_path / "out", settings), tmp_path / "a.wav")
    assert table["frames"].to_pylist() == [50, 51]


NOT_CENTRED = {"n_fft": 256, "hop_length": 128, "center": False}


@pytest.mark.parametrize(
    ("samples", "gap", "options"),
    [
        (4 * 3600 * RATE, (3500 * RATE, 3800 * RATE), {"n_fft": 1024, "hop_length": 1024}),
        (4 * 3600 * RATE, (3500 * RATE, 3800 * RATE), NOT_CENTRED),
        (4 * 3600 * RATE, (3500 * RATE, 3800 * RATE), {"n_fft": 64, "hop_length": 997}),
        (2 * 3600 * RATE + 2, None, {"n_fft": 1024, "hop_length": 1024}),
        (2 * 3600 * RATE + 2, None, {"n_fft": 1024, "hop_length": 512, "center": False}),
        (2 * 3600 * RATE + 170, (7200 * RATE, 170), {"n_fft": 64, "hop_length": 99}),
    ],
)
def test_hours_with_hardly_a_frame_are_as_uncut(tmp_path, samples, gap, options):
    """A gap across an edge, a whole hour lost, a tail of less than a frame."""
    sounds = noise(samples / RATE, RATE)
    for suffix in ("wav", "au"):
        with_gaps(tmp_path / f"a.{suffix}", sounds, RATE, [gap] if gap else [])
    a_plan = plan(tmp_path / "out", rtaudio.Settings(**options), ("rms",), per="second")
    outcomes, cut = done(a_plan, tmp_path / "a.wav")
    assert len(outcomes) > 2
    _, whole = done(a_plan, tmp_path / "a.au")
    assert_same(cut, whole)
    assert sum(cut["lost_s"].to_pylist()) == pytest.approx((gap or (0, 0))[1] / RATE)


def test_statistics_of_very_many_columns_take_little_memory(tmp_path):
    statistics = Statistics(5000)
    rows = np.random.default_rng(0).standard_normal((2000, 5000)).astype(np.float32)
    tracemalloc.start()
    before = Statistics(5000)
    for _ in range(20):
        before.add(rows)
    before.take()
    assert tracemalloc.get_traced_memory()[1] < 250e6
    tracemalloc.stop()
    statistics.add(rows[:800])
    _, got = statistics.take()
    np.testing.assert_allclose(got[3], np.median(rows[:800], axis=0), rtol=1e-5, atol=1e-6)


def test_an_hour_is_one_part(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(3600, 400), 400)
    for per in ("frame", "second", "minute", "file"):
        outcomes, _ = done(
            plan(tmp_path / per, rtaudio.Settings(hop_length=400), per=per), tmp_path / "a.wav"
        )
        assert [len(o.parts) for o in outcomes] == [1]


def test_a_flac_that_ends_early_is_not_cut_and_says_where_it_is_damaged(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(1.5 * 3600, 400), 400)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    a_plan = plan(tmp_path / "out")
    outcome = do(a_plan, Task(look(str(path))))
    assert outcome.pieces == 1
    assert "a.flac: damaged after 48" in outcome.failed
    assert [p.name for p in a_plan.folder.iterdir()] == [DATASET]


def test_a_wav_that_ends_early_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1.5 * 3600, 400), 400)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    outcomes, table = done(plan(tmp_path / "out", per="minute"), path)
    assert len(outcomes) == 2
    assert outcomes[0].notes == []
    assert "ends early: its header promises 5400.00 s" in outcomes[1].notes[0]
    assert len(table) == 81
