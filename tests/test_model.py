"""Models: what is loaded, what is refused, and that no file can harm the process."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_files import FRONT_END, build, changed, save, switching

import rtaudio
from rtaudio import ModelError, Settings, load_model
from rtaudio.cli import main
from rtaudio.consumers.model import MOST_BYTES, FrontEnd, softmax


def test_a_front_end_comes_back_from_its_json(training):
    front_end = training.model.front_end
    again = FrontEnd.from_json(front_end.to_json())
    assert again == front_end
    assert again.training == json.loads(json.dumps(front_end.training))
    assert FRONT_END.width == 13
    assert replace(FRONT_END, features=("db", "rms")).width == 258


def test_its_rows_are_the_features_side_by_side():
    frames = next(rtaudio.Analyzer(FRONT_END.settings).feed(np.ones(4000, np.float32)))
    front_end = replace(FRONT_END, features=("mfcc", "rms"))
    rows = front_end.rows(frames)
    np.testing.assert_array_equal(rows, np.column_stack([frames.rms, frames.mfcc]))
    assert (rows.dtype, rows.shape[1]) == (np.float32, front_end.width)


def test_a_saved_model_is_loaded_as_it_was(training, model_file):
    model = load_model(model_file, threshold=0.7, every_ms=50, smooth_ms=0)
    assert model.front_end == training.model.front_end
    assert model.data == model_file.read_bytes()
    assert (model.step, model.reach) == (3, 0)
    context = np.zeros((model.front_end.context, model.front_end.width), np.float32)
    np.testing.assert_array_equal(model.start()(context), training.model.start()(context))


def test_of_others_the_front_end_may_lie_beside(tmp_path):
    path = save(tmp_path / "other.onnx", build(front_end=None))
    path.with_suffix(".json").write_text(FRONT_END.to_json())
    model = load_model(path)
    assert model.front_end == FRONT_END
    scores = model.start()(np.ones((5, 13), np.float32))
    assert scores.sum() == pytest.approx(1)


def test_logits_become_probabilities(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Neg", ["logits"], ["scores"]),
    ]
    weights = [numpy_helper.from_array(-np.tile([[1.0, 2.0]], (65, 1)).astype("f4"), "weights")]
    model = load_model(
        save(tmp_path / "m.onnx", build(nodes, weights, front_end=changed(scores="logits")))
    )
    scores = model.start()(np.full((5, 13), 0.1, np.float32))
    np.testing.assert_allclose(scores, softmax(np.array([6.5, 13.0], np.float32)), rtol=1e-5)


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=20))
def test_softmax_is_a_distribution(logits):
    found = softmax(np.array(logits, np.float32))
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found[np.argmax(np.array(logits, np.float32))] == found.max()


# --- what is refused --------------------------------------------------------------------------


def external():
    model = build()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    return model


def hungry():
    """Asks for 4 TB."""
    size = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "size")
    weights = numpy_helper.from_array(np.zeros((65, 2), np.float32), "weights")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["much"]),
        helper.make_node("ReduceMax", ["much"], ["one"], keepdims=0),
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Add", ["logits", "one"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["scores"]),
    ]
    return build(nodes, [size, weights])


def looping():
    body = build().graph
    loop = helper.make_node("Loop", ["", "", "rows"], ["scores"], body=body)
    return build([loop])


def functional():
    function = helper.make_function(
        "own",
        "Mine",
        ["x"],
        ["y"],
        [helper.make_node("Neg", ["x"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    return build(functions=[function], opsets=[helper.make_opsetid("own", 1)])


MODELS = {
    "external": (external, "keeps weights in other files"),
    "hungry": (hungry, "(be run|be loaded|GB|died)"),
    "division": (
        lambda: switching(
            helper.make_node("Cast", ["on"], ["index"], to=TensorProto.INT64),
            helper.make_node("Div", ["index", "index"], ["odd"]),
            helper.make_node("Cast", ["odd"], ["back"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["plain", "back"], ["scores"]),
        ),
        "makes an index, a size or a condition of the sound (Cast)",
    ),
    "size": (
        lambda: switching(
            helper.make_node("Range", ["zero", "on", "one"], ["many"]),
            helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
            helper.make_node("Add", ["plain", "sum"], ["scores"]),
        ),
        "makes an index, a size or a condition of the sound (Range)",
    ),
    "condition": (
        lambda: switching(
            helper.make_node("Greater", ["on", "zero"], ["is"]),
            helper.make_node("Where", ["is", "plain", "plain"], ["scores"]),
        ),
        "has the operator Greater, which is none of those that are run",
    ),
    "mask": (
        lambda: switching(
            helper.make_node("Unsqueeze", ["rows", "axes"], ["wide"]),
            helper.make_node("MaxPool", ["wide"], ["pooled", "where"], kernel_shape=[1, 1]),
            helper.make_node("Identity", ["plain"], ["scores"]),
            tensors=[numpy_helper.from_array(np.array([1], np.int64), "axes")],
        ),
        "makes an index, a size or a condition of the sound (MaxPool)",
    ),
    "chance": (
        lambda: switching(
            helper.make_node("RandomNormalLike", ["plain"], ["noise"]),
            helper.make_node("Add", ["plain", "noise"], ["scores"]),
        ),
        "has the operator RandomNormalLike, which is none of those that are run",
    ),
    "training": (
        lambda: switching(
            helper.make_node("Dropout", ["plain", "zero", "yes"], ["scores"]),
            tensors=[numpy_helper.from_array(np.array(True), "yes")],
        ),
        "or chance",
    ),
    "looping": (looping, "has loops or branches (Loop)"),
    "functional": (functional, "needs operators of 'own'"),
    "domain": (lambda: build(opsets=[helper.make_opsetid("evil", 1)]), "operators of 'evil'"),
    "operator": (
        lambda: build([helper.make_node("Evil", ["rows"], ["scores"])]),
        "has the operator 'Evil', which is not one of its opsets",
    ),
    "opset": (lambda: build(opset=99), "is of opset 99 of ai.onnx: export it with one in"),
    "nothing": (lambda: build(front_end=None), "has no front end: write settings, context"),
    "json": (lambda: build(front_end="{"), "its metadata 'rtaudio': not JSON"),
    "list": (lambda: build(front_end="[1]"), "its metadata 'rtaudio': has no settings"),
    "deep": (lambda: build(front_end="[" * 100_000), "its metadata 'rtaudio': not JSON"),
    "n_fft": (lambda: build(front_end=changed(n_fft=10**9)), "n_fft=1000000000 is not in 1 …"),
    "key": (
        lambda: build(front_end=FRONT_END.to_json().replace('"scores"', '"score"')),
        "has 'score', which is none of its keys",
    ),
    "beyond later": (
        lambda: build(
            [
                helper.make_node("Flatten", ["rows"], ["flat"]),
                helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
            ]
        ),
        '"scores": "logits" in its front end',
    ),
    "unknown": (lambda: build(front_end=changed(nfft=512)), "unexpected keyword argument 'nfft'"),
    "rate": (lambda: build(front_end=changed(sr=None)), "settings have no sr"),
    "context": (lambda: build(front_end=changed(context=10**9)), "context=1000000000 is not in"),
    "float": (lambda: build(front_end=changed(context=5.0)), "context=5.0 is not int"),
    "labels": (lambda: build(front_end=changed(labels=["a", "a"])), "labels are not 1 …"),
    "kind": (lambda: build(front_end=changed(labels="ab")), "labels are not 1 …"),
    "scores": (lambda: build(front_end=changed(scores="odds")), "scores='odds' is not one of"),
    "untold": (lambda: build(front_end=changed(labels=["_a", "_b"])), "every label begins with _"),
    "letters": (lambda: build(front_end=changed(labels=["a", "\ud800"])), "is not UTF-8"),
    "nothing there": (lambda: build(front_end=changed(features=["time"])), "time is nothing to"),
    "dense": (
        lambda: build(front_end=changed(hop_length=1, sr=10_000_000)),
        "hop_length=1 at 10000000 Hz makes more than 10000 rows a second",
    ),
    "clock": (
        lambda: build(front_end=changed(features=["captured"])),
        "captured is nothing to learn from",
    ),
    "feature": (lambda: build(front_end=changed(features=["mfc"])), "'mfc' is not a feature"),
    "shape": (
        lambda: build(front_end=changed(context=6)),
        "takes ['batch', 5, 13], and its front end makes (batch, 6, 13)",
    ),
    "count": (
        lambda: build(front_end=changed(labels=["a", "b", "c"])),
        "gives (1, 2), and its front end has 3 labels",
    ),
    "doubles": (
        lambda: build(
            [
                helper.make_node("Cast", ["rows"], ["cast"], to=TensorProto.FLOAT),
                helper.make_node("Flatten", ["cast"], ["flat"]),
                helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
                helper.make_node("Softmax", ["logits"], ["scores"]),
            ],
            kind=TensorProto.DOUBLE,
        ),
        "takes tensor(double) ['batch', 5, 13]: float32",
    ),
    "beyond": (
        lambda: build(
            [
                helper.make_node("Flatten", ["rows"], ["flat"]),
                helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
                helper.make_node("Add", ["logits", "two"], ["scores"]),
            ],
            [
                numpy_helper.from_array(np.ones((65, 2), np.float32), "weights"),
                numpy_helper.from_array(np.array([2, 2], np.float32), "two"),
            ],
        ),
        '"scores": "logits" in its front end',
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_can_not_be_used_says_why(name, tmp_path):
    from rtaudio.consumers.examine import Refused, examine

    make, message = MODELS[name]
    if name == "hungry":  # in a process of its own, as for users
        with pytest.raises(ModelError, match=message) as refused:
            load_model(save(tmp_path / "m.onnx", make()))
    else:
        with pytest.raises(Refused) as refused:
            examine(make().SerializeToString())
        assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("MOST_RESIDENT", "takes more than 0 GB"),
        ("MOST_ANSWER_S", "s for an answer: use a smaller"),
    ],
)
def test_what_a_trial_takes_too_much_of_is_refused(limit, message, monkeypatch):
    from rtaudio.consumers import examine

    monkeypatch.setattr(examine, limit, 0)
    with pytest.raises(examine.Refused, match=message):
        examine.examine(build().SerializeToString())


def test_a_file_that_is_no_model_says_so(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "empty.onnx").touch()
    whole = build().SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "cut"):
        with pytest.raises(ModelError, match=f"{name}.onnx: is no ONNX file, or is cut off"):
            load_model(tmp_path / f"{name}.onnx")
    with pytest.raises(ModelError, match=r"nowhere\.onnx: No such file or directory: name an ONNX"):
        load_model(tmp_path / "nowhere.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        load_model(tmp_path)


def test_a_python_that_is_none_is_told(model_file, monkeypatch):
    monkeypatch.setenv("RTAUDIO_PYTHON", "/nowhere/python")
    with pytest.raises(ModelError, match=r"/nowhere/python can't be started \(No such file"):
        load_model(model_file)


def test_what_lies_beside_a_whole_model_does_not_matter(model_file, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(model_file.read_bytes())
    with path.with_suffix(".json").open("wb") as file:
        file.truncate(70 << 20)
    assert load_model(path).front_end == load_model(model_file).front_end


def test_too_much_to_average_is_refused(training):
    wide = replace(
        training.model.front_end,
        settings=replace(FRONT_END.settings, hop_length=2),
        labels=tuple(map(str, range(100))),
    )
    with pytest.raises(ValueError, match="smooth_ms=60000 are too many answers to average"):
        replace(training.model, front_end=wide, smooth_ms=60000)


@pytest.mark.parametrize("worst", [np.nan, np.inf, -0.7, 3.0])
def test_scores_that_are_no_probabilities_are_never_told(worst, tmp_path):
    limits = [numpy_helper.from_array(np.full((1, 2), worst, np.float32), "worst")]
    nodes = [helper.make_node("Mul", ["on", "worst"], ["more"])]
    nodes.append(helper.make_node("Add", ["plain", "more"], ["scores"]))
    if not np.isfinite(worst):  # 0 times it would be seen at once
        nodes[0] = helper.make_node("Div", ["on", "off"], ["ratio"])
        nodes.insert(0, helper.make_node("Sub", ["one", "on"], ["off"]))
        nodes[2] = helper.make_node("Add", ["plain", "ratio"], ["scores"])
    model = load_model(save(tmp_path / "m.onnx", switching(*nodes, tensors=limits)))
    infer = model.start()
    assert infer(np.ones((5, 13), np.float32)).sum() == pytest.approx(1)
    with pytest.raises(ModelError, match="gives scores that are no probabilities"):
        infer(np.full((5, 13), 100, np.float32))


def test_a_huge_file_is_not_read(tmp_path):
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(ModelError, match=f"is larger than {MOST_BYTES >> 20} MB"):
        load_model(huge)


MUTATE = """
import os, random, sys
import numpy as np, onnx, onnxruntime
from rtaudio.consumers.examine import Refused, _limit, examine
from rtaudio.consumers.model import Model
whole = open(sys.argv[1], "rb").read()
first, count = int(sys.argv[2]), int(sys.argv[3])
counts = {"refused": 0, "used": 0, "died in the trial": 0, "died in use": 0}
for seed in range(first, first + count):
    random.seed(seed)
    data = bytearray(whole)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        at = random.randrange(len(data) if random.random() < 0.5 else 1500)
        kind = random.randrange(4)
        if kind == 0:
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[at] = random.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del data[at : at + random.randrange(1, 40)]
        else:
            data[at:at] = random.randbytes(random.randrange(1, 20))
    into, out = os.pipe()
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        try:
            _limit()
            front_end = examine(bytes(data))
        except Refused:
            os.write(out, b"r")
            os._exit(0)
        os.write(out, b"t")
        infer = Model("mutated", bytes(data), front_end).start()
        noise = np.random.default_rng(0)
        for _ in range(5):
            infer(noise.normal(0, 50, (front_end.context, front_end.width)).astype("f4"))
        os.write(out, b"u")
        os._exit(0)
    os.close(out)
    said = os.read(into, 9)
    while more := os.read(into, 9):
        said += more
    os.close(into)
    os.waitpid(child, 0)
    kind = {b"r": "refused", b"tu": "used", b"": "died in the trial", b"t": "died in use"}[said]
    counts[kind] += 1
print(counts)
"""


@pytest.mark.parametrize("first", [0, pytest.param(500, marks=pytest.mark.soak)])
def test_no_mutated_model_harms_the_process(first, training, tmp_path):
    import ast

    small = tmp_path / "m.onnx"
    small.write_bytes(training.model.data)
    done = subprocess.run(
        [sys.executable, "-c", MUTATE, small, str(first), "500"],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = ast.literal_eval(done.stdout)
    assert counts["died in use"] == 0, counts
    assert counts["refused"] > 50
    assert counts["used"] > 50
    assert sum(counts.values()) == 500


# --- settings and options ---------------------------------------------------------------------


def test_other_settings_than_the_models_are_refused(training):
    model = training.model
    own = model.front_end.settings
    assert model.settings_for(None) == model.settings_for(Settings()) == own
    assert model.settings_for(own) == model.settings_for({"n_fft": 512}) == own
    with pytest.raises(ValueError, match="n_fft=1024 does not match the model, which was trained"):
        model.settings_for(Settings(n_fft=1024))
    with pytest.raises(ValueError, match="n_fft=2048 does not match the model"):
        rtaudio.live("demo:", model=model, n_fft=2048)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_ms": 0}, "every_ms=0 is not above 0"),
        ({"smooth_ms": -1}, "smooth_ms=-1 is not in 0"),
        ({"threshold": 1.5}, "threshold=1.5 is not in 0 … 1"),
    ],
)
def test_bad_options_raise(options, message, model_file):
    with pytest.raises(ValueError, match=message):
        load_model(model_file, **options)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--model", "none.onnx"], 3, "none.onnx: No such file or directory: name an ONNX file"),
        (["--labels", "x.csv"], 2, "--labels is what a model hears: name one with --model"),
        (["--threshold", "0.3"], 2, "--threshold is for a model: name one with --model"),
        (["--model", "MODEL", "--threshold", "2"], 2, "--threshold 2 is not in 0 … 1"),
        (["--model", "MODEL", "--every-ms", "0"], 2, "--every-ms 0 is not above 0"),
        (["--model", "MODEL", "--n-fft", "2048"], 2, "n_fft=2048 does not match the model"),
        (["--model", "MODEL", "--labels", "x.doc"], 2, "--labels x.doc: .csv, .txt (for"),
    ],
)
@pytest.mark.parametrize("command", ["live", "analyze"])
def test_what_is_wrong_is_told_in_a_line(command, words, status, message, model_file, here, capsys):
    words = [str(model_file) if word == "MODEL" else word for word in words]
    if command == "live":
        words.append("--headless")
    assert main([command, "song.wav", *words]) == status
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err
    assert sorted(os.listdir()) == ["song.wav"]


def test_without_onnxruntime_it_says_what_to_install(model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    from rtaudio.consumers import model

    monkeypatch.setattr(model, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"a model needs onnx: pip install 'rtaudio\[onnx\]'"):
        load_model(model_file)
