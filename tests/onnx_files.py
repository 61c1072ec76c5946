"""ONNX files as others make them, and as nobody should."""

import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from rtaudio.analysis.settings import Settings
from rtaudio.consumers.model import FrontEnd

FRONT_END = FrontEnd(Settings(sr=16000, n_fft=512, hop_length=256, n_mels=40), 5, ("no", "yes"))


def build(
    nodes=None,
    tensors=None,
    shape=("batch", 5, 13),
    out=("batch", 2),
    kind=TensorProto.FLOAT,
    front_end=FRONT_END,
    opset=17,
    ir=8,
    **also,
):
    """A model: Flatten, MatMul, Softmax where nothing else is asked for."""
    if tensors is None:
        weights = np.random.default_rng(0).normal(0, 0.02, (65, 2)).astype(np.float32)
        tensors = [numpy_helper.from_array(weights, "weights")]
    nodes = nodes or [
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    given = [helper.make_tensor_value_info("rows", kind, shape)]
    got = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, out)]
    graph = helper.make_graph(nodes, "model", given, got, tensors)
    imports = [helper.make_opsetid("", opset), *also.pop("opsets", [])]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir, **also)
    if front_end is not None:
        text = front_end if isinstance(front_end, str) else front_end.to_json()
        helper.set_model_props(model, {"rtaudio": text})
    return model


def save(path, model):
    path.write_bytes(model.SerializeToString())
    return path


def changed(**values):
    """The front end as JSON with some of its values changed."""
    about = json.loads(FRONT_END.to_json())
    for name, value in values.items():
        if name in about:
            about[name] = value
        else:
            about["settings"][name] = value
    return json.dumps(about)


def failing():
    """One whose scores are probabilities of little alone: of sounds they are far beyond 1."""
    weights = numpy_helper.from_array(np.full((65, 2), 1e-3, np.float32), "weights")
    half = numpy_helper.from_array(np.full(2, 0.5, np.float32), "half")
    nodes = [
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["some"]),
        helper.make_node("Add", ["some", "half"], ["scores"]),
    ]
    return build(nodes, [weights, half])


def switching(*nodes, tensors=()):
    """One that can tell noise from sound: ``on`` is 0 for the one, 1 for the other (float32)."""
    twenty = numpy_helper.from_array(np.array(20, np.float32), "twenty")
    one = numpy_helper.from_array(np.array(1, np.float32), "one")
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    weights = numpy_helper.from_array(np.zeros((65, 2), np.float32), "weights")
    start = [
        helper.make_node("Abs", ["rows"], ["loud"]),
        helper.make_node("ReduceMax", ["loud"], ["most"], keepdims=0),
        helper.make_node("Sub", ["most", "twenty"], ["above"]),
        helper.make_node("Clip", ["above", "zero", "one"], ["on"]),
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["plain"]),
    ]
    return build([*start, *nodes], [twenty, one, zero, weights, *tensors])


def slow(layers=300, width=1500):
    """One that takes tens of milliseconds for an answer, of two labels."""
    random = np.random.default_rng(0)
    many = (random.normal(0, 1, (width, width)) / width**0.5).astype(np.float32)
    first = random.normal(0, 0.01, (65, width)).astype(np.float32)
    last = random.normal(0, 0.01, (width, 2)).astype(np.float32)
    tensors = [numpy_helper.from_array(w, n) for n, w in (("f", first), ("m", many), ("l", last))]
    nodes = [
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("MatMul", ["flat", "f"], ["h0"]),
        *(helper.make_node("MatMul", [f"h{i}", "m"], [f"h{i + 1}"]) for i in range(layers)),
        helper.make_node("MatMul", [f"h{layers}", "l"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    return build(nodes, tensors)
