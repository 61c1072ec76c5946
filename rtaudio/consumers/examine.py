"""The process that tries a model first: it may crash, hang or run out of memory, and alone does.

One trial says something of all later runs only where those do the same work, whatever the sound:
so what depends on the sound may be float numbers alone, never an index, a size or a condition, and
nothing may be random.

Standard input: the length of the JSON beside the model (8 bytes), that JSON, the model. Standard
output: a JSON object with ``front_end`` or ``error``.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtaudio.consumers.model import KEY, FrontEnd, session_options

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_MEMORY = 4 << 30
MOST_RESIDENT = 1 << 30  # after the trial
MOST_CPU_S = 25
MOST_ANSWER_S = 1.0
OPSETS = {"": (7, 26), "ai.onnx.ml": (1, 5)}  # the least and the greatest of each domain
MAKE = "make one with rtaudio train"
#: Operators that may take what depends on the sound. Of float32 they make float32, in sizes that
#: follow from sizes; axes, indices and conditions are integers or booleans, which none makes.
OF_SOUND = {
    *("Abs", "Add", "Sub", "Mul", "Div", "Neg", "Exp", "Log", "Sqrt", "Pow", "Reciprocal", "Erf"),
    *("Sin", "Cos", "Clip", "Min", "Max", "Sum", "Mean", "Relu", "LeakyRelu", "PRelu", "Elu"),
    *("Selu", "Celu", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Sigmoid", "Softplus"),
    *("Softsign", "Tanh", "Softmax", "LogSoftmax", "Identity", "Cast", "Dropout", "Flatten"),
    *("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Split", "Slice", "Gather", "Pad"),
    *("Expand", "Tile", "MatMul", "Gemm", "Conv", "LSTM", "GRU", "RNN", "LRN", "MaxPool"),
    *("AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization"),
    *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "LpNormalization"),
    *("MeanVarianceNormalization", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"),
    *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare", "ReduceProd"),
    *("Scaler", "Normalizer"),
}
#: Operators of what does not depend on the sound, beside those. A shape does not.
OF_CONSTANTS = {"Constant", "ConstantOfShape", "Shape", "Range"}
MASKED = {"Dropout", "MaxPool"}  # whose second output is no float32


class Refused(Exception):
    """What is wrong with the model, and what to do."""


def main() -> None:
    """Examine what standard input holds, and say what it is."""
    _limit()
    data = sys.stdin.buffer.read()
    (length,) = struct.unpack_from("<Q", data)
    said = sys.stdout
    sys.stdout = sys.stderr  # whatever else prints
    try:
        answer = {"front_end": examine(data[8 + length :], data[8 : 8 + length]).to_json()}
    except Refused as refused:
        answer = {"error": str(refused)}
    except MemoryError:
        answer = {"error": f"takes more than {MOST_MEMORY >> 30} GB: use a smaller model"}
    print(json.dumps(answer), file=said)


def _limit() -> None:
    """Take no more than so much memory and time, where the system can hold us to it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_CPU, MOST_CPU_S)):
        _, hard = resource.getrlimit(what)
        with contextlib.suppress(ValueError, OSError):  # macOS knows no RLIMIT_AS
            resource.setrlimit(what, (most if hard < 0 else min(most, hard), hard))


def examine(data: bytes, beside: bytes = b"") -> FrontEnd:
    """Look at a model and run it once on zeros; raises `Refused`."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError):
        raise Refused(f"is no ONNX file, or is cut off: {MAKE}") from None
    if not (model.ir_version and model.opset_import and model.graph.node):
        raise Refused(f"is no ONNX file, or is cut off: {MAKE}")
    _check_operators(model)
    front_end = _front_end(model, beside)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise Refused(f"is no valid ONNX model ({_line(error)}): export it again") from None
    _check_sound(model.graph)
    _run(data, front_end)
    _check_memory()
    return front_end


def _check_operators(model: Any) -> None:
    """Refuse what is not plain arithmetic of known operators, all in this one file."""
    import onnx

    versions = {}
    for opset in model.opset_import:
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        if domain not in OPSETS:
            raise Refused(f"needs operators of {domain!r}: export it with those of ONNX alone")
        least, most = OPSETS[domain]
        if not least <= opset.version <= most:
            raise Refused(
                f"is of opset {opset.version} of {domain or 'ai.onnx'}: export it with one in "
                f"{least} … {most}"
            )
        versions[domain] = opset.version
    if model.graph.sparse_initializer:
        raise Refused("has sparse weights: export it with dense ones")
    if model.functions:
        raise Refused("has functions of its own: export it with operators of ONNX alone")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise Refused("keeps weights in other files: save it as one, without external data")
    for node in model.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = versions.get(domain)
        if version is None or not onnx.defs.has(node.op_type, version, domain):
            raise Refused(
                f"has the operator {node.op_type!r:.60}, which is not one of its opsets: export it "
                "with operators of ONNX alone"
            )
        kinds = {attribute.type for attribute in node.attribute}
        if kinds & {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
            raise Refused(f"has loops or branches ({node.op_type}): export it without")


def _check_sound(graph: Any) -> None:
    """Refuse work that depends on the sound: see above. The nodes are in order."""
    import onnx

    sound = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        name = node.op_type
        if name not in OF_SOUND and name not in OF_CONSTANTS:
            raise Refused(
                f"has the operator {name}, which is none of those that are run: export it with "
                "plain arithmetic of float32"
            )
        if name == "Shape" or sound.isdisjoint(node.input):
            continue
        to = next((entry.i for entry in node.attribute if entry.name == "to"), None)
        if (
            name not in OF_SOUND
            or (name == "Cast" and to != onnx.TensorProto.FLOAT)
            or (name in MASKED and len(node.output) > 1)
            or (name == "Dropout" and len(node.input) > 2)  # it may train, which is random
        ):
            raise Refused(
                f"makes an index, a size or a condition of the sound ({name}), or chance: export "
                "it without"
            )
        sound.update(node.output)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _front_end(model: Any, beside: bytes) -> FrontEnd:
    own = {entry.key: entry.value for entry in model.metadata_props}.get(KEY)
    text = own or beside.decode(errors="replace")
    where = f"its metadata {KEY!r}" if own else "the .json beside it"
    if not text:
        raise Refused(
            "has no front end: write settings, context and labels as JSON into a .json beside it"
        )
    try:
        return FrontEnd.from_json(text)
    except ValueError as error:
        raise Refused(f"{where}: {_line(error)}: write it anew, or {MAKE}") from None


def _run(data: bytes, front_end: FrontEnd) -> None:
    """Run it on zeros and on noise, as it will be run."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(
            data, session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own
        raise Refused(f"can't be loaded by onnxruntime ({_line(error)}): export it again") from None
    given, got = session.get_inputs(), session.get_outputs()
    wanted = (front_end.context, front_end.width)
    if len(given) != 1 or len(got) != 1:
        raise Refused(
            f"has {len(given)} inputs and {len(got)} outputs: one of each is wanted, (batch, "
            "context, features) and (batch, labels)"
        )
    (given,) = given
    if given.type != "tensor(float)" or len(given.shape) != 3:
        raise Refused(
            f"takes {given.type} {given.shape}: float32 (batch, context, features) is wanted"
        )
    if any(
        isinstance(n, int) and n != want for n, want in zip(given.shape, (1, *wanted), strict=True)
    ):
        raise Refused(
            f"takes {given.shape}, and its front end makes (batch, {wanted[0]}, {wanted[1]}): "
            "context and features have to be those it was trained with"
        )
    begun = time.process_time()
    noise = np.random.default_rng(0).standard_normal((1, *wanted), np.float32)
    try:
        (scores,), (others,) = (session.run(None, {given.name: x}) for x in (0 * noise, noise))
    except Exception as error:  # noqa: BLE001 - likewise
        raise Refused(f"can't be run ({_line(error)}): export it again") from None
    took_s = (time.process_time() - begun) / 2
    if took_s > MOST_ANSWER_S:
        raise Refused(f"takes {took_s:.1f} s for an answer: use a smaller model")
    labels = len(front_end.labels)
    if not isinstance(scores, np.ndarray) or scores.shape != (1, labels):
        raise Refused(
            f"gives {getattr(scores, 'shape', type(scores).__name__)}, and its front end has "
            f"{labels} labels: (1, {labels}) is wanted"
        )
    if scores.dtype != np.float32:
        raise Refused(f"gives {scores.dtype}: float32 scores are wanted")
    both = np.concatenate([scores, others])
    if front_end.scores == "probabilities" and not ((both >= 0) & (both <= 1.0001)).all():
        raise Refused('gives scores beyond 0 … 1: "scores": "logits" in its front end')


def _check_memory() -> None:
    """Refuse what has taken too much by now, and would take it again where it is used."""
    if _most_memory() > MOST_RESIDENT:
        raise Refused(f"takes more than {MOST_RESIDENT >> 30} GB: use a smaller model")


def _most_memory() -> int:
    """The most bytes that this process had in memory; 0 where that is not known."""
    with contextlib.suppress(OSError):  # Linux; there, what getrusage says begins as the parent's
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _line(error: BaseException) -> str:
    """The first line of what a library says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".: ")[:200]


if __name__ == "__main__":
    main()
