"""What a model hears: the same whatever the blocks, live as recorded, gaps and all."""

import csv
import json
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from command import COMMAND
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import SR, sequence
from onnx_files import FRONT_END, build, failing, save, slow
from PIL import Image
from servers import Jack, Player, wait_for

import rtaudio
from rtaudio.cli import main
from rtaudio.consumers.hearing import Hearing
from rtaudio.consumers.labels import StreamingLabels, lines, titles
from rtaudio.consumers.listener import Answer, Interval, Intervals, Listener, longest, silence
from rtaudio.consumers.worker import BoundedQueue

HOP_S = 256 / SR


@pytest.fixture(scope="module")
def words():
    """Sounds one after the other: samples at SR, and where each is."""
    return sequence(("beep", "hiss", "rise", "beep", "rise"))


@pytest.fixture(scope="module")
def words_file(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "words.wav"
    soundfile.write(path, words[0], SR, subtype="FLOAT")
    return path


def check_places(intervals, places, within_s=0.12):
    """One interval a sound, where it is."""
    assert [interval.label for interval in intervals] == [label for _, _, label in places]
    for interval, (begin, end, _) in zip(intervals, places, strict=True):
        assert interval.start == pytest.approx(begin, abs=within_s)
        assert interval.end == pytest.approx(end, abs=within_s)
        assert 0.5 <= interval.probability <= 1


# --- the listener -----------------------------------------------------------------------------


def listen(model, rows, cuts=(), first=0):
    listener = Listener(model)
    answers, numbers = [], np.arange(len(rows)) + first
    for piece in np.split(np.arange(len(rows)), sorted(cuts)):
        answers += (
            listener.take_rows(first + int(piece[0]), numbers[piece] * HOP_S, rows[piece])
            if len(piece)
            else []
        )
    return answers + listener.end()


def by_hand(model, rows, heard=None, skipped=()):
    """The same by whole arrays: contexts, scores, means, labels.

    Without rows that were not heard, and without scores that were skipped.
    """
    front_end = model.front_end
    context, before = front_end.context, front_end.context // 2
    heard = np.ones(len(rows), bool) if heard is None else heard
    around = np.tile(silence(front_end), (context, 1))
    padded = np.concatenate([around, np.where(heard[:, np.newaxis], rows, around[0]), around])
    infer, step, reach = model.start(), model.step, model.reach
    scores = {
        n: infer(np.ascontiguousarray(padded[n + context - before :][:context]))
        for n in range(0, len(rows), step)
        if heard[n] and n not in skipped
    }
    run = np.cumsum(~heard)  # the same between two losses
    told = [i for i, label in enumerate(front_end.labels) if not label.startswith("_")]
    answers = []
    for n in scores:
        around = range(n - reach * step, n + reach * step + 1, step)
        near = [scores[k] for k in around if k in scores and run[k] == run[n]]
        mean = np.mean(near, axis=0) if len(near) > 1 else near[0]
        best = max(told, key=lambda i: mean[i])
        holds = mean[best] >= model.threshold and mean.argmax() == best
        label = front_end.labels[best] if holds else None
        answers.append(Answer(n * HOP_S, label, mean.item(best)))
    return answers


@pytest.fixture(scope="module")
def rows(words):
    features = rtaudio.analyze(words[0], sr=SR, n_fft=512, hop_length=256, n_mels=40)
    return features.mfcc


@pytest.mark.parametrize("every_ms", [None, 48])
@pytest.mark.parametrize("smooth_ms", [0, 100])
def test_answers_are_those_of_whole_arrays(every_ms, smooth_ms, training, rows):
    model = replace(training.model, every_ms=every_ms, smooth_ms=smooth_ms)
    answers = listen(model, rows)
    assert answers == by_hand(model, rows)
    assert len(answers) == -(-len(rows) // model.step)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 120), max_size=8), st.integers(0, 1000))
def test_any_chunks_give_the_same_answers(training, rows, cuts, first):
    model, some = training.model, rows[:120]
    whole = listen(model, some)
    assert listen(model, some, cuts) == whole
    moved = listen(model, some, cuts, first)
    assert [answer[1:] for answer in moved] == [answer[1:] for answer in whole]


def test_a_context_of_an_even_number_of_rows_is_as_by_hand(tmp_path):
    front_end = replace(FRONT_END, context=4)
    file = save(
        tmp_path / "m.onnx", build(shape=("batch", 4, 13), front_end=front_end, tensors=weights(52))
    )
    model = rtaudio.load_model(file, smooth_ms=0, threshold=0)
    some = np.random.default_rng(0).normal(0, 20, (30, 13)).astype(np.float32)
    assert listen(model, some) == by_hand(model, some)


def weights(inputs):
    from onnx import numpy_helper

    random = np.random.default_rng(0)
    return [numpy_helper.from_array(random.normal(0, 0.02, (inputs, 2)).astype("f4"), "weights")]


@pytest.mark.parametrize("change", [
    {}, {"center": False}, {"hop_length": 5000}, {"hop_length": 1 << 40}, {"n_fft": 513},
    {"channel": 3}, {"quantize_bits": 8},
])  # fmt: skip
def test_silence_is_the_row_of_zeros(change):
    settings = replace(FRONT_END.settings, **change)
    row = silence(replace(FRONT_END, settings=settings))
    hop = min(settings.hop_length, 5000)
    zeros = np.zeros((6000 + hop, 3), np.float32)
    frames = next(rtaudio.Analyzer(replace(settings, hop_length=hop), SR).feed(zeros))
    np.testing.assert_array_equal(row, frames.mfcc[0])


@pytest.mark.parametrize("missing", [3, 20, 31, 90])
def test_what_was_lost_is_silence_and_has_no_answer(missing, training, rows):
    model = training.model
    listener = Listener(model)
    answers = listener.take_rows(0, np.arange(60) * HOP_S, rows[:60])
    rest = np.arange(60 + missing, len(rows))
    answers += listener.take_rows(int(rest[0]), rest * HOP_S, rows[rest])
    answers += listener.end()
    heard = np.ones(len(rows), bool)
    heard[60 : 60 + missing] = False
    assert answers == by_hand(model, rows, heard)
    assert listener.skipped == 0


def test_rows_that_were_thrown_away_are_skipped_and_counted(training, rows):
    model = replace(training.model, smooth_ms=0)
    context = model.front_end.context
    listener = Listener(model)
    answers = listener.take_rows(0, np.arange(60) * HOP_S, rows[:60])
    rest = np.arange(80, len(rows))
    answers += listener.take_rows(80, rest * HOP_S, rows[rest], missed=True)
    answers += listener.end()
    near = context // 2
    sure = [n for n in range(len(rows)) if n < 60 - near or n >= 80 + near]
    whole = listen(model, rows)
    assert answers == [whole[n] for n in sure]
    assert listener.skipped == len(rows) - 20 - len(sure)


def test_what_a_queue_has_thrown_away_is_not_taken_for_silence(training):
    model = replace(training.model, smooth_ms=0)
    analyzer = rtaudio.Analyzer(model.front_end.settings)
    y = np.random.default_rng(0).normal(0, 0.1, SR * 3).astype(np.float32)
    one_each = [
        some.copy() for n in range(120) for some in analyzer.feed(y[256 * n : 256 * (n + 1)])
    ]
    assert all(len(some) == 1 for some in one_each)
    queue = BoundedQueue(24, skip=True)
    hearing = Hearing(model, queue)
    for some in one_each[:20]:
        queue.put(some)
    for _ in range(20):
        hearing.take(queue.get())
    for some in one_each[20:90]:  # of which the last 24 are left
        queue.put(some)
    for _ in range(24):
        hearing.take(queue.get())
    assert queue.skipped == 46
    # Rows 5 … 19 have some of those in their contexts, and 66 … 74; the others are not due yet.
    assert hearing.skipped == 15 + 9


@pytest.mark.parametrize("smooth_ms", [0, 100, 400])
def test_late_rows_have_no_answer_but_are_heard(smooth_ms, training, rows):
    model = replace(training.model, smooth_ms=smooth_ms)
    listener = Listener(model)
    answers, at = [], 0
    for late, count in ((False, 50), (True, 30), (False, len(rows) - 80)):
        piece = np.arange(at, at + count)
        answers += listener.take_rows(at, piece * HOP_S, rows[piece], late=late)
        at += count
    answers += listener.end()
    after = model.front_end.context // 2
    late = range(50 - after, 80 - after)
    assert answers == by_hand(model, rows, skipped=late)  # means of those that there are
    assert listener.skipped == 30
    near = range(late.start - model.reach, late.stop + model.reach)
    whole = {answer.time: answer for answer in listen(model, rows)}
    assert all(whole[a.time] == a for a in answers if round(a.time / HOP_S) not in near)


# --- intervals and their files ----------------------------------------------------------------


def test_intervals_hold_as_long_as_their_label(training):
    model = replace(training.model, smooth_ms=0)
    labels = ["a", "a", None, "a", "b", "b", "b"]
    answers = [Answer(n * HOP_S, label, 0.5 + n / 20) for n, label in enumerate(labels)]
    answers.append(Answer(9 * HOP_S, "b", 1.0))  # two are missing before it
    intervals = Intervals(model)
    found = [interval for answer in answers for interval in intervals.take([answer])]
    assert intervals.current.label == "b"
    found += intervals.end()
    half = HOP_S / 2
    assert [i.label for i in found] == ["a", "a", "b", "b"]
    assert [(i.start, i.end) for i in found] == [
        (0, HOP_S + half),
        (3 * HOP_S - half, 3 * HOP_S + half),
        (4 * HOP_S - half, 6 * HOP_S + half),
        (9 * HOP_S - half, 9 * HOP_S + half),
    ]
    assert [i.probability for i in found] == pytest.approx([0.525, 0.65, 0.75, 1.0])
    assert longest(found) == "b"
    assert longest([]) is None
    assert intervals.end() == []


def test_a_picture_shows_what_was_heard(model_file, words_file, tmp_path):
    picture = tmp_path / "picture.png"
    words = ["--headless", "--fast", "--model", str(model_file), "--screenshot", str(picture)]
    assert main(["live", str(words_file), *words]) == 0
    with Image.open(picture) as opened:
        shown = json.loads(opened.text["rtaudio"])["heard"]["labels"]
    assert [tuple(label) for label in shown] == rtaudio.hear(words_file, model_file)


@pytest.mark.parametrize("name", ["labels.txt", "labels.csv"])
def test_a_link_is_written_by_its_own_name(name, model_file, words_file, tmp_path):
    link = tmp_path / name
    link.symlink_to(tmp_path / "elsewhere.dat")
    found = rtaudio.hear(words_file, model_file)
    wanted = titles(link.suffix) + lines(found, link.suffix)
    words = [str(words_file), "--model", str(model_file), "--labels", str(link)]
    for command in (["analyze"], ["live", "--headless", "--fast"]):
        assert main([*command, *words]) == 0
        assert link.is_symlink()
        assert (tmp_path / "elsewhere.dat").read_text() == wanted


def test_titles_are_there_where_nothing_is_heard(model_file, capsys):
    live = ["live", "demo:silence", "--headless", "--fast", "--duration", "1", "--labels", "-"]
    assert main([*live, "--model", str(model_file)]) == 0
    assert capsys.readouterr().out == titles(".csv")


def test_lines_can_be_read_whatever_the_label(tmp_path):
    odd = [Interval(0.25, 1.5, 'a,"b"\tc\nd', 0.875), Interval(2, 3, "ü", 1.0)]
    table = list(csv.reader(lines(odd, ".csv").splitlines(keepends=True)))
    assert table == [
        ["0.250000", "1.500000", 'a,"b"\tc\nd', "0.8750"],
        ["2.000000", "3.000000", "ü", "1.0000"],
    ]
    assert lines(odd, ".txt") == '0.250000\t1.500000\ta,"b" c d\n2.000000\t3.000000\tü\n'
    with pytest.raises(OSError, match="is there and is not a file"):
        StreamingLabels(tmp_path)


# --- recordings and live ----------------------------------------------------------------------


def test_sounds_are_heard_where_they_are(model_file, words, words_file):
    check_places(rtaudio.hear(words_file, model_file), words[1])
    assert rtaudio.hear(words[0], model_file) == rtaudio.hear(words_file, model_file)


def test_a_recording_shorter_than_the_context_is_heard(model_file, words):
    begin, end, label = words[1][1]
    piece = words[0][int(begin * SR) : int(end * SR)][:3000]
    assert longest(rtaudio.hear(piece, model_file)) == label


@pytest.mark.parametrize("as_txt", [False, True])
def test_the_command_writes_what_is_heard(as_txt, model_file, words_file, tmp_path, capsys):
    found = rtaudio.hear(words_file, model_file)
    suffix = ".txt" if as_txt else ".csv"
    text = lines(found, suffix) if as_txt else titles(".csv") + lines(found, suffix)
    out = tmp_path / f"heard{suffix}"
    words = ["--model", str(model_file), "--labels", str(out)]
    assert main(["analyze", str(words_file), *words]) == 0
    assert out.read_text() == text
    assert capsys.readouterr().out == ""
    live = tmp_path / f"live{suffix}"
    words[-1] = str(live)
    assert main(["live", str(words_file), "--headless", "--fast", *words]) == 0
    assert live.read_text() == text  # live as recorded, exactly


def test_several_recordings_go_into_a_folder(model_file, words, words_file, tmp_path, capsys):
    other = tmp_path / "other.flac"
    soundfile.write(other, np.tile(words[0][:, np.newaxis], 2), SR)
    files = [str(words_file), str(other)]
    model = ["--model", str(model_file)]
    assert main(["analyze", *files, *model, "--labels", str(tmp_path / "heard"), "-j", "2"]) == 0
    assert sorted(p.name for p in (tmp_path / "heard").iterdir()) == ["other.csv", "words.csv"]
    assert main(["analyze", *files, *model, "--labels", str(tmp_path / "a"), "--as", "txt"]) == 0
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["other.txt", "words.txt"]
    assert main(["analyze", files[0], *model, "--labels", str(tmp_path / "one")]) == 0
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["words.csv"]
    both = ["--labels", str(tmp_path / "b"), "-o", str(tmp_path / "c")]
    assert main(["analyze", *files, *model, *both]) == 0
    assert (tmp_path / "b/words.csv").read_text().startswith(titles(".csv"))
    assert (tmp_path / "c/words.csv").read_text().startswith("time,lost,rms")
    capsys.readouterr()
    nowhere = tmp_path / "nowhere/x.csv"
    assert main(["analyze", files[0], *model, "--labels", str(nowhere)]) == 3
    assert "choose another place with --labels" in capsys.readouterr().err
    assert main(["analyze", *files, *model, "--labels", "one", "-o", "one"]) == 2
    assert "would be written to one place" in capsys.readouterr().err
    assert main(["analyze", files[0], *model, "--features", "rms"]) == 2
    assert "written to standard output: --out and --labels" in capsys.readouterr().err
    assert main(["analyze", *files, *model, "--labels", "x", "--as", "npz"]) == 2
    assert "--as npz is of features, and none are asked for" in capsys.readouterr().err


def test_without_a_place_labels_go_to_stdout_instead_of_features(model_file, words_file, capsys):
    model = ["--model", str(model_file)]
    text = titles(".csv") + lines(rtaudio.hear(words_file, model_file), ".csv")
    assert main(["analyze", str(words_file), *model]) == 0
    assert capsys.readouterr().out == text
    live = ["live", str(words_file), "--headless", "--fast", *model]
    assert main([*live, "--labels", "-"]) == 0
    assert capsys.readouterr().out == text
    assert main(live) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split()[-1] for line in said.err.splitlines()[1:6]] == [
        *("beep", "hiss", "rise", "beep", "rise"),
    ]


def test_json_has_an_object_for_each_answer(model_file, words_file, capsys):
    live = ["live", str(words_file), "--headless", "--fast", "--json", "--model", str(model_file)]
    assert main(live) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[-1]["event"] == "end"
    answers = [Answer(r["time"], r["label"], r["probability"]) for r in rows[:-1]]
    with rtaudio.live(words_file, model=model_file, realtime=False) as run:
        assert list(run.answers()) == answers
    assert main([*live, "--features", "rms"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum("rms" in row for row in rows) == rows[-1]["frames"]
    assert sum(row.get("event") == "label" for row in rows) == len(answers)
    assert rows[-1]["event"] == "end"


def test_features_stay_features(model_file, words_file, tmp_path):
    out, labels = tmp_path / "rows.csv", tmp_path / "labels.csv"
    words = ["--model", str(model_file), "--labels", str(labels), "-o", str(out)]
    assert main(["live", str(words_file), "--headless", "--fast", *words]) == 0
    assert main(["analyze", str(words_file), "-o", str(tmp_path / "a.csv"), *words[:2]]) == 0
    assert out.read_text() == (tmp_path / "a.csv").read_text()
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["settings"]["n_fft"] == 512
    assert about["model"] == str(model_file)


def test_from_python_rows_or_answers_can_be_taken(model_file, words_file):
    with rtaudio.live(words_file, model=model_file, realtime=False) as run:
        assert sum(len(frames) for frames in run) == run.stats.frames
    assert run.answer().label is None
    assert run.stats.skipped == 0
    with rtaudio.live(words_file, model=model_file, realtime=False) as run:
        assert run.wait(30)
    with rtaudio.live(words_file, realtime=False) as run:
        assert run.answer() is None
        with pytest.raises(RuntimeError, match="no answers to take"):
            next(run.answers())


def test_a_model_that_is_too_slow_skips_and_holds_nobody_up(tmp_path):
    file = save(tmp_path / "slow.onnx", slow())
    said = []
    with rtaudio.live("demo:", model=file, duration_s=2, tell=said.append) as run:
        times = [answer.time for answer in run.answers()]
    stats = run.stats
    assert stats.processed == 2 * 22050
    assert stats.skipped > 0
    assert stats.skipped + len(times) == stats.frames
    assert times == sorted(times)
    assert said == []


def test_a_loss_is_silence_also_where_frames_do_not_overlap(tmp_path):
    apart = replace(FRONT_END.settings, n_fft=256, hop_length=256, center=False)
    front_end = replace(FRONT_END, settings=apart)
    file = save(tmp_path / "m.onnx", build(front_end=front_end))
    y = np.random.default_rng(0).normal(0, 0.1, 256 * 40).astype(np.float32)
    y[256 * 20 : 256 * 22] = 0
    soundfile.write(tmp_path / "take.wav", y, SR, subtype="FLOAT")
    gaps = tmp_path / "take.gaps.csv"
    gaps.write_text(f"first_sample,length,cause,uncertainty\n{256 * 20},512,dropped,0\n")
    with rtaudio.live(tmp_path / "take.wav", model=file, realtime=False) as run:
        times = [answer.time for answer in run.answers()]
    assert run.stats.skipped == 0
    assert len(times) == run.stats.frames == 38


def test_a_model_that_fails_ends_alone_and_says_so(tmp_path, words_file, capsys):
    file = save(tmp_path / "failing.onnx", failing())
    said, rows = [], []
    with rtaudio.live(
        words_file, model=file, consumers=[rows.append], realtime=False, tell=said.append
    ) as run:
        assert run.wait(30)
    assert sum(map(len, rows)) == run.stats.frames > 100
    assert len(said) == 1
    assert "the model has ended" in said[0]
    assert "failing.onnx: gives scores that are no probabilities" in said[0]
    with (
        rtaudio.live(words_file, model=file, realtime=False, tell=said.append) as run,
        pytest.raises(rtaudio.ModelError, match="no probabilities"),
    ):
        list(run.answers())
    with pytest.raises(rtaudio.ModelError, match="no probabilities"):
        rtaudio.hear(words_file, file)
    for command in ("analyze", "live"):
        options = ["--headless", "--fast"] if command == "live" else []
        assert main([command, str(words_file), "--model", str(file), *options]) == 3
        err = capsys.readouterr().err
        assert "gives scores that are no probabilities" in err
        assert "Traceback" not in err


def test_its_delay_is_a_stage_of_rtaudio_latency(model_file):
    words = ["latency", "fake:", "--duration", "2", "--model", str(model_file), "--json"]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    stage = about["stages"]["frame_to_label"]
    assert stage["n"] > 60
    assert 0 < stage["p50_ms"] < 50
    assert about["label_ms"] == pytest.approx((15 + 3) * 1e3 * HOP_S)


def test_words_through_jack_are_heard_in_time(model_file, words, tmp_path, use):
    import soxr

    y, places = words
    played = soxr.resample(y, SR, 48000)
    with Jack(tmp_path) as jack, Player(jack, played, tmp_path) as player:
        use(jack.env)
        said = []
        with rtaudio.live(rtaudio.Microphone("system, jack"), model=model_file) as run:
            wait_for(lambda: run.latest() is not None, "rows")
            jack.play_into(player.port, jack.input_port())
            first = player.play()
            for answer in run.answers():
                said.append((time.perf_counter() - first, answer.label))
                if said[-1][0] > places[-1][1] + 0.5:
                    break
            stats = run.stats
    for begin, end, label in places:
        told = [name for at, name in said if begin < at < end + 0.3 and name is not None]
        assert told, f"{label} at {begin:.1f} s: nothing in time"
        assert max(set(told), key=told.count) == label
    assert stats.skipped == 0
    assert stats.stages["frame_to_label"].p99_ms < 200
