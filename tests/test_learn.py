"""`rtaudio train` and `rtaudio.learn`: what is learned, and what can't be."""

import io
import json
import os
import pty
import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout, suppress

import numpy as np
import onnx
import pytest
import soundfile
from command import COMMAND
from labelled import LABELS, SR, make, sound

import rtaudio
from rtaudio.cli import main
from rtaudio.consumers.model import FrontEnd
from rtaudio.fitting import split
from rtaudio.labelled import Reader
from rtaudio.learn import fit, train


def run(*words):
    """The command, in this process: status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(["train", *map(str, words)])
    return status, out.getvalue(), err.getvalue()


# --- fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_a_network_learns_to_add(seed):
    x = np.random.default_rng(seed).uniform(0, 0.5, (5000, 2))
    fitted = fit(x, x.sum(axis=1), hidden=5, epochs=100, seed=seed)
    assert len(fitted.held_out) == 1500
    off = fitted.predict(x[fitted.held_out]) - x[fitted.held_out].sum(axis=1)
    assert np.mean(off**2) == pytest.approx(fitted.error)
    assert fitted.error <= 1e-3
    assert fitted.predict(np.array([[0.1, 0.2], [0.2, 0.2]])) == pytest.approx([0.3, 0.4], abs=0.03)


def rings(n=600, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(0, 1, (n, 2))
    return x, np.where(np.hypot(*x.T) > 1.2, "out", "in")


def test_labels_are_learned_and_the_same_seed_gives_the_same_network():
    x, y = rings()
    options = {"hidden": 16, "activation": "relu", "batch_size": 20}
    one, same, other = (fit(x, y, seed=seed, **options) for seed in (0, 0, 1))
    assert one.error < 0.1
    assert np.mean(one.predict(x[one.held_out]) != y[one.held_out]) == one.error
    assert one.losses == same.losses != other.losses
    np.testing.assert_array_equal(one.predict(x), same.predict(x))


def test_it_stops_when_it_gets_no_better_and_keeps_the_best():
    x, y = rings()
    told = []
    fitted = fit(x, y, epochs=500, patience=3, on_epoch=lambda n, loss: told.append((n, loss)))
    assert told == list(enumerate(fitted.losses, 1))
    assert len(told) < 500
    assert fitted.epochs == len(told) - 3
    best = fit(x, y, epochs=fitted.epochs, patience=3)
    for kept, wanted in zip(fitted.pipeline[-1].coefs_, best.pipeline[-1].coefs_, strict=True):
        np.testing.assert_array_equal(kept, wanted)


def test_a_rare_label_weighs_the_same():
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(0, 1, (3000, 1)), random.normal(2, 1, (60, 1))])
    y = np.repeat(["often", "seldom"], [3000, 60])
    told = fit(x, y, hidden=4, epochs=60, test_size=0).predict(np.array([[0.5], [1.5]]))
    assert told.tolist() == ["often", "seldom"]  # their border lies in the middle


def test_groups_stay_together_and_every_label_is_in_both_parts():
    groups = np.repeat(np.arange(30), 7)
    labels = np.repeat(["a", "b", "c"], 70)
    seen, out = split(groups, labels, 0.3, 0)
    assert sorted([*seen, *out]) == list(range(210))
    assert not set(groups[seen]) & set(groups[out])
    assert {label: len(set(groups[out][labels[out] == label])) for label in "abc"} == dict.fromkeys(
        "abc", 3
    )
    assert len(split(groups, labels, 0, 0)[1]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate=-1 is not above 0"),
        ({"epochs": 0}, "epochs=0, batch_size=200: both are 1 or more"),
        ({"hidden": 0}, "hidden=0 is not 1 or more neurons"),
        ({"test_size": 1.0}, "test_size=1 is not in"),
        ({"groups": [1, 2]}, "5 examples, 5 values and 2 groups: not alike"),
    ],
)
def test_what_can_not_be_fitted(options, message):
    with pytest.raises(ValueError, match=message):
        fit(np.arange(5.0)[:, np.newaxis], np.arange(5.0), **{"epochs": 20, **options})


def test_a_label_that_only_groups_kept_aside_have_is_no_trouble():
    random = np.random.default_rng(0)
    y = np.array(["a", "b"] * 50 + ["c"] * 4)
    groups = np.repeat(np.arange(26), 4)
    for seed in range(8):
        fit(random.normal(0, 1, (104, 2)), y, groups=groups, test_size=0, epochs=3, seed=seed)


def test_wide_examples_are_taken_a_few_at_once(monkeypatch):
    from rtaudio import fitting

    x, y = rings(100)
    whole = fit(x, y, epochs=3, batch_size=10, patience=0)
    taken = []

    class Wide:
        def __len__(self):
            return len(x)

        def __getitem__(self, indices):
            taken.append(len(indices))
            return x[indices]

    monkeypatch.setattr(fitting, "CHUNK_BYTES", 20 * x[:1].nbytes)
    assert len(fit(Wide(), y, epochs=3, batch_size=10, patience=0).losses) == len(whole.losses)
    assert max(taken) == 20


# --- train ------------------------------------------------------------------------------------


def test_a_model_knows_what_was_held_out_and_how_it_came_about(training):
    assert training.accuracy == 1
    assert training.confusion.sum() == 9
    assert training.rows == LABELS
    assert training.columns == (*LABELS, None)
    front_end = training.model.front_end
    assert front_end.labels == ("_", *LABELS)
    assert front_end.settings == rtaudio.Settings(sr=SR, n_fft=512, hop_length=256, n_mels=40)
    assert front_end.context == 31
    assert front_end.training["learned"] == dict.fromkeys(LABELS, 7)
    assert front_end.training["accuracy"] == 1
    assert len(training.model.data) < 1_000_000


def test_the_model_equals_scikit_learns(training):
    front_end = training.model.front_end
    shape = (200, front_end.context, front_end.width)
    contexts = np.random.default_rng(0).normal(0, 40, shape).astype(np.float32)
    infer = training.model.start()
    exact = training.fit.pipeline.predict_proba(contexts.reshape(200, -1))
    np.testing.assert_allclose([infer(context) for context in contexts], exact, atol=1e-5)


def test_the_same_seed_trains_the_same_model(tmp_path):
    make(tmp_path, 4)
    one, same = (train(tmp_path, epochs=3).model.data for _ in range(2))
    assert one == same


def test_rows_are_those_of_the_analyzer_also_where_samples_were_lost(tmp_path):
    settings = rtaudio.Settings(sr=SR, n_fft=512, hop_length=256, n_mels=40)
    y = sound("rise", np.random.default_rng(0))
    y[2000:4000] = 0
    (tmp_path / "rise").mkdir()
    take = tmp_path / "rise/take.wav"
    soundfile.write(take, y, SR, subtype="FLOAT")
    gaps = tmp_path / "rise/take.gaps.csv"
    gaps.write_text("first_sample,length,cause,uncertainty\n2000,2000,dropped,0\n")
    reader = Reader(FrontEnd(settings, 31, ("",)), 0, 0)
    recording = reader.read(take)
    whole = rtaudio.analyze(take, settings)
    number = np.round(whole.time * SR / 256).astype(int)
    np.testing.assert_array_equal(recording.rows[0][number], whole.mfcc)
    missing = np.setdiff1d(np.arange(len(recording.heard)), number)
    assert len(missing)
    np.testing.assert_array_equal(
        recording.rows[0][missing], np.tile(reader.silence, (len(missing), 1))
    )
    np.testing.assert_array_equal(np.flatnonzero(recording.heard), number[whole.lost == 0])


def test_copies_are_at_another_level_and_in_noise(tmp_path):
    settings = rtaudio.Settings(sr=SR, n_fft=512, hop_length=256, n_mels=40)
    take = make(tmp_path, 1, labels=("hiss",)) / "hiss/a_0.wav"
    recording = Reader(FrontEnd(settings, 31, ("a",)), 5, 0).read(take)
    plain, *copies = recording.rows
    loud = plain[:, 0] > np.median(plain[:, 0])
    gains_db = [float(np.median((rows - plain)[loud, 0])) / 40**0.5 for rows in copies]
    assert len(set(gains_db)) == 5
    assert all(-18.5 < gain_db < 6.5 for gain_db in gains_db)
    assert all(np.abs((rows - plain)[loud, 1:]).max() > 0 for rows in copies)  # the noise


def test_rates_channels_and_kinds_of_files_are_mixed_and_bad_ones_named(tmp_path):
    make(tmp_path, 4)
    random = np.random.default_rng(5)
    stereo = np.tile(sound("hiss", random, 44100)[:, np.newaxis], 2)
    soundfile.write(tmp_path / "hiss/stereo.flac", stereo, 44100)
    soundfile.write(tmp_path / "beep/loud.ogg", sound("beep", random, 22050), 22050)
    soundfile.write(tmp_path / "beep/nothing.wav", np.zeros(8000), SR)
    (tmp_path / "rise/text.wav").write_text("no sound")
    (tmp_path / "rise/empty.wav").touch()
    (tmp_path / "rise/notes.txt").write_text("no recording")
    (tmp_path / "nothing").mkdir()
    said = []
    result = train(tmp_path, epochs=2, tell=said.append)
    assert sorted(path.rpartition("/")[2] for path in result.skipped) == [
        "empty.wav",
        "nothing.wav",
        "text.wav",
    ]
    assert any("is silent all through" in why for why in result.skipped.values())
    assert said[0] == (
        "recordings have several rates (13 of 16000 Hz, 1 of 22050 Hz, 1 of 44100 Hz): all are "
        "learned at 16000 Hz (--sr)"
    )
    assert said[1] == "'nothing' has no recording that can be used, and is not learned"
    assert result.learned + result.confusion.sum() == 14


def test_a_recording_without_the_channel_is_named(tmp_path):
    make(tmp_path, 3)
    for path in tmp_path.glob("*/*_[01].wav"):
        y, sr = soundfile.read(path)
        soundfile.write(path, np.column_stack([0 * y, y]), sr)
    result = train(tmp_path, epochs=1, channel=2)
    assert len(result.skipped) == 3
    assert "has 1 channel(s), not a channel 2" in "".join(result.skipped.values())


def test_groups_are_held_out_whole(tmp_path):
    make(tmp_path, 6, speakers="abc")
    result = train(tmp_path, epochs=2, group_by="^([a-z])_", test_size=0.3)
    assert result.confusion.sum() == 6  # one speaker of three
    assert len(result.groups) == 1
    assert result.learned == 12


def test_background_is_learned_and_not_told(tmp_path):
    make(tmp_path, 6, labels=("beep", "hiss"))
    (tmp_path / "hiss").rename(tmp_path / "_background")
    result = train(tmp_path, epochs=30)
    assert result.columns == ("beep", None)
    assert result.rows == ("_background", "beep")
    assert result.accuracy == 1
    hiss = sound("hiss", np.random.default_rng(9))
    assert rtaudio.hear(hiss, result.model) == []


# --- the command ------------------------------------------------------------------------------


def test_the_command_shows_a_matrix_and_writes_model_and_picture(tmp_path):
    make(tmp_path / "sounds", 4)
    out, plot = tmp_path / "model.onnx", tmp_path / "matrix.png"
    status, told, said = run(tmp_path / "sounds", "-o", out, "--epochs", 30, "--plot", plot)
    assert status == 0
    lines = told.splitlines()
    assert lines[0].split() == ["held", "out", *LABELS]
    assert lines[1].split() == ["beep", "1", "·", "·"]
    assert lines[-1] == "100.0 % of 3 held-out recordings heard rightly"
    assert "9 recordings learned in" in said
    assert f"rtaudio live --model {out}" in said
    assert plot.read_bytes().startswith(b"\x89PNG")
    held = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(held["rtaudio"])["settings"]["sr"] == SR


def test_without_held_out_recordings_it_says_that_nobody_knows(tmp_path):
    make(tmp_path / "sounds", 1)
    status, told, said = run(
        tmp_path / "sounds", "-o", tmp_path / "m.onnx", "--epochs", 2, "--test-size", 0
    )
    assert (status, told) == (0, "")
    assert "nobody knows how good it is" in said


def test_imbalance_is_said(tmp_path):
    make(tmp_path / "s", 3, labels=("beep",))
    make(tmp_path / "s", 9, labels=("hiss",))
    _, _, said = run(tmp_path / "s", "-o", tmp_path / "m.onnx", "--epochs", 1)
    assert "times as much of 'hiss' as of 'beep': each label is made to weigh the same" in said


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "no folder: one FOLDER, with one for each label in it"),
        (["sounds"], 2, "no model: --out MODEL.onnx"),
        (["sounds", "-o", "m.pkl"], 2, "--out m.pkl: not .onnx"),
        (["sounds", "-o", "no/m.onnx"], 2, "--out no/m.onnx: no file can be written there"),
        (["sounds", "-o", "m.onnx", "--plot", "m.gif"], 2, "--plot m.gif: not .png or .svg"),
        (["sounds", "-o", "m.onnx", "--hidden", "99999"], 2, "makes a model of"),
        (["sounds", "-o", "m.onnx", "--test-size", "0", "--plot", "x.png"], 2, "holds out nothing"),
        (["sounds", "-o", "m.onnx", "--sr", "0"], 2, "sr=0 is not in 1 …"),
        (["sounds", "-o", "m.onnx", "--hidden", "0"], 2, "--hidden 0: neurons of a layer"),
        (["sounds", "-o", "m.onnx", "--epoch", "3"], 2, "did you mean --epochs?"),
        (["sounds", "-o", "m.onnx", "--features", "mfc"], 2, "'mfc' is not a feature"),
        (["sounds", "-o", "m.onnx", "--n-mels", "4"], 2, "n_mfcc=13 is not in 1 … 4 (n_mels)"),
        (["sounds", "-o", "m.onnx", "--group-by", "("], 2, "is no regular expression"),
        (["sounds", "-o", "m.onnx", "--group-by", "x+"], 3, "finds nothing in a_0.wav"),
        (["sounds", "-o", "m.onnx", "--learning-rate", "1e9"], 2, "the loss is no number"),
        (["sounds", "-o", "m.onnx", "--context-ms", "1"], 2, "context_ms=1 is not in 10 … 60000"),
        (["nowhere", "-o", "m.onnx"], 3, "nowhere: is no folder"),
        (["empty", "-o", "m.onnx"], 3, "empty: holds no recordings: they are taken from FOLDER"),
        (["one", "-o", "m.onnx"], 3, "one: one label alone ('beep'): a model tells two"),
        (["few", "-o", "m.onnx"], 3, "few/hiss: has one recording: record another, or"),
        (["sounds/beep", "-o", "m.onnx"], 3, "put its recordings into a folder for each label"),
        (["quiet", "-o", "m.onnx"], 3, "skipped 2, as quiet/hiss/a.wav: is silent all through"),
        (["bad", "-o", "m.onnx"], 3, "bad/beep/a.wav: "),
        (["sounds", "-o", "m.onnx", "--seed", "99999999999"], 2, "--seed 99999999999 is not in"),
        (["left", "-o", "m.onnx"], 3, "every label begins with _; skipped 1, as left/beep/a.wav"),
        (["raw", "-o", "m.onnx"], 3, "can't be printed: rename that folder"),
        (["hidden", "-o", "m.onnx"], 3, "every label begins with _ and would not be told"),
    ],
)
def test_what_can_not_be_learned_is_told_in_a_line(words, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "sounds", 2)
    make(tmp_path / "one", 2, labels=("beep",))
    make(tmp_path / "few", 2, labels=("beep",))
    make(tmp_path / "few", 1, labels=("hiss",))
    make(tmp_path / "hidden", 2, labels=("beep", "hiss"))
    for label in ("beep", "hiss"):
        (tmp_path / "hidden" / label).rename(tmp_path / "hidden" / f"_{label}")
    make(tmp_path / "left", 2, labels=("_a", "_b"))
    (tmp_path / "left/beep").mkdir()
    (tmp_path / "left/beep/a.wav").write_text("no sound")
    make(tmp_path / "raw", 1, labels=("beep",))
    (tmp_path / "raw/beep").rename(os.fsdecode(os.fsencode(tmp_path) + b"/raw/\xff"))
    (tmp_path / "empty/label").mkdir(parents=True)
    make(tmp_path / "quiet", 2, labels=("beep", "hiss"))
    for name in ("a", "b"):
        (tmp_path / "quiet/hiss" / f"{name}_{int(name == 'b')}.wav").unlink()
        soundfile.write(tmp_path / f"quiet/hiss/{name}.wav", np.zeros(5000), SR)
    (tmp_path / "bad/beep").mkdir(parents=True)
    (tmp_path / "bad/beep/a.wav").write_text("no sound")
    result, told, said = run(*words)
    assert (result, told) == (status, "")
    errors = [line for line in said.splitlines() if line.startswith("rtaudio: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "m.onnx").exists()


def test_many_labels_list_what_is_confused_most(training):
    from dataclasses import replace

    from rtaudio.cli.train import _matrix

    names = tuple(f"a long label {number}" for number in range(20))
    confusion = np.zeros((20, 21), np.int64)
    confusion[3, 5], confusion[4, 20] = 7, 2
    confusion[np.arange(20), np.arange(20)] = 30
    many = replace(training, rows=names, columns=(*names, None), confusion=confusion)
    assert _matrix(many, 80) == [
        "   7 × a long label 3 heard as a long label 5",
        "   2 × a long label 4 heard as nothing",
        "(most often confused; the matrix needs 351 columns)",
    ]
    assert len(_matrix(many, 400)) == 21
    wide = replace(many, rows=("日本", *names[1:]), columns=("日本", *names[1:], None))
    heads, first = _matrix(wide, 500)[:2]
    assert first.index("30") + 2 - len("日本") == heads.index("日本")  # two cells a letter
    room = replace(many, rows=("_room", *names[1:]))
    room.confusion[0] = 0
    room.confusion[0, -1] = 12  # as it should be
    assert "_room" not in "".join(_matrix(room, 80))
    long = replace(many, rows=("x" * 80, *names[1:]), columns=("x" * 80, *names[1:], None))
    assert _matrix(long, 600)[1].split()[0] == "x" * 23 + "…"


def test_interrupted_it_leaves_nothing(tmp_path):
    make(tmp_path / "sounds", 4)
    ours, theirs = pty.openpty()
    words = [tmp_path / "sounds", "-o", tmp_path / "m.onnx", "--hidden", "4000"]
    with subprocess.Popen([*COMMAND, "train", *words], stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while b"epochs" not in said:  # it is at work, and shows how far it is
                said += os.read(ours, 1024)
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # the other end is closed
                while more := os.read(ours, 1024):
                    said += more
            process.wait(20)
        finally:
            process.kill()
            os.close(ours)
    assert process.returncode == 130
    assert b"loss" in said
    assert b"rtaudio: interrupted" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "sounds"]
