"""Who may import whom, and what is not loaded until it is needed."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rtaudio

PACKAGE = Path(rtaudio.__file__).parent
STANDARD = sys.stdlib_module_names | {"__future__"}

# Room (longest prefix wins) → what it may import besides itself and the standard library.
ROOMS = {
    "rtaudio.analysis": {"numpy", "scipy", "numba", "rocket_fft", "soxr"},
    "rtaudio.capture": {"numpy"},
    "rtaudio.capture.__main__": {"rtaudio.capture", "sounddevice"},
    "rtaudio.capture.play": {"sounddevice"},
    "rtaudio.sources": {"numpy", "soundfile", "fsspec", "rtaudio.capture"},
    "rtaudio.consumers": {
        *("numpy", "pyarrow", "rtaudio", "rtaudio.analysis", "rtaudio.sources"),
        *("rtaudio.capture", "onnxruntime"),
        "rtaudio.consumers.history",
    },
    "rtaudio.consumers.examine": {"numpy", "rtaudio.consumers", "onnx", "onnxruntime", "google"},
    "rtaudio.consumers.history": {"numpy", "rtaudio.analysis"},
    "rtaudio.recordings": {
        *("numpy", "rtaudio", "rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers"),
    },
    "rtaudio.learn": {
        *("numpy", "skl2onnx", "onnx", "rtaudio.fitting", "rtaudio.labelled"),
        *("rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers"),
    },
    "rtaudio.labelled": {
        *("numpy", "rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers"),
        "rtaudio.recordings",
    },
    "rtaudio.fitting": {"numpy", "sklearn"},
    "rtaudio.pipeline": {
        *("numpy", "rtaudio", "rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers"),
        *("rtaudio.consumers.history", "rtaudio.recordings", "rtaudio.books"),
        "rtaudio.scheduling",
    },
    "rtaudio.books": {"rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers"},
    "rtaudio.figures": {
        *("numpy", "scipy", "matplotlib", "rtaudio.analysis", "rtaudio.consumers"),
        *("rtaudio.recordings", "rtaudio.sources"),
    },
    "rtaudio.processes": {"rtaudio.analysis"},
    "rtaudio.batch": {
        *("rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers", "rtaudio.recordings"),
        "rtaudio.processes",
    },
    "rtaudio.archive": {
        *("numpy", "scipy", "pyarrow", "distributed", "matplotlib", "rtaudio"),
        *("rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers", "rtaudio.recordings"),
        *("rtaudio.processes", "rtaudio.figures"),
    },
    "rtaudio.view": {
        *("numpy", "vispy", "glfw", "PIL"),
        *("rtaudio.analysis", "rtaudio.consumers.history"),
    },
    "rtaudio.session": {
        *("numpy", "PIL", "rtaudio.analysis", "rtaudio.capture", "rtaudio.sources"),
        *("rtaudio.consumers", "rtaudio.consumers.history", "rtaudio.pipeline", "rtaudio.view"),
        "rtaudio.words",
    },
    "rtaudio.screen": {
        *("numpy", "rtaudio.analysis", "rtaudio.sources", "rtaudio.pipeline"),
        *("rtaudio.session", "rtaudio.view", "rtaudio.doctor", "rtaudio.books"),
        "rtaudio.consumers",
    },
    "rtaudio.roundtrip": {"numpy", "scipy"},
    "rtaudio.latency": {
        *("numpy", "rtaudio.analysis", "rtaudio.capture", "rtaudio.sources", "rtaudio.roundtrip"),
        *("rtaudio.pipeline", "rtaudio.screen", "rtaudio.session", "rtaudio.view"),
    },
    "rtaudio.words": {"rich", "rtaudio.batch", "rtaudio.recordings"},
    "rtaudio.cli": {
        *("rtaudio", "rtaudio.analysis", "rtaudio.sources", "rtaudio.consumers"),
        *("rtaudio.pipeline", "rtaudio.recordings", "rtaudio.batch", "rtaudio.figures"),
        *("rtaudio.capture", "rtaudio.words", "rtaudio.doctor", "rtaudio.screen", "rich"),
        *("rtaudio.session", "rtaudio.view", "numpy", "rtaudio.books", "rtaudio.latency"),
        *("rtaudio.roundtrip", "numba", "rtaudio.learn", "rtaudio.archive", "rtaudio.processes"),
    },
    "rtaudio.doctor": {"rtaudio", "rtaudio.capture", "rtaudio.sources"},
    "rtaudio.__main__": {"rtaudio.cli"},
    "rtaudio": {
        *("rtaudio.analysis", "rtaudio.sources", "rtaudio.recordings", "rtaudio.pipeline"),
        *("rtaudio.capture", "rtaudio.screen", "rtaudio.view", "rtaudio.books"),
        *("rtaudio.consumers", "rtaudio.archive"),
    },
}
# A Features saves itself; that one import points up, and runs at the call.
UPWARD = {("rtaudio.analysis.frames", "rtaudio.consumers")}


def room_of(module):
    return max((r for r in ROOMS if (module + ".").startswith(r + ".")), key=len, default=module)


def imports_of(path):
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            if node.module.startswith("rtaudio"):
                yield from (f"{node.module}.{name.name}" for name in node.names)
            else:
                yield node.module


MODULES = {
    ".".join(("rtaudio", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module):
    room = room_of(module)
    for name in imports_of(MODULES[module]):
        if name.split(".")[0] in STANDARD:
            continue
        target = room_of(name) if name.startswith("rtaudio") else name.split(".")[0]
        allowed = ROOMS[room] | {room} | {up for low, up in UPWARD if low == module}
        assert target in allowed, f"{module} imports {name}"


HEAVY = (
    *("numpy", "scipy", "numba", "vispy", "sounddevice", "librosa", "matplotlib", "rich"),
    *("sklearn", "onnx", "onnxruntime", "pyarrow", "fsspec", "distributed"),
)


@pytest.mark.parametrize(
    "argv", [["-c", "import rtaudio; dir(rtaudio)"], ["-m", "rtaudio", "--help"]]
)
def test_nothing_heavy_is_loaded_at_the_start(argv):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *argv], capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & set(HEAVY)


def test_the_analysis_path_loads_neither_librosa_nor_matplotlib():
    code = "import sys, numpy, rtaudio; rtaudio.analyze(numpy.zeros(3000), sr=8000)"
    code += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "numba" in loaded
    assert not loaded & {"librosa", "matplotlib", "vispy", "sounddevice", "pyarrow", "scipy.signal"}
    assert not loaded & {"sklearn", "onnx", "onnxruntime"}


def test_the_window_loads_neither_librosa_nor_matplotlib():
    code = "import sys, rtaudio.screen; from rtaudio.view import window, colors, overlay"
    code += "; colors.table('magma'), overlay.Font(12); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "vispy" in loaded
    assert not loaded & {"librosa", "matplotlib", "scipy.signal"}


def test_the_public_names_are_there():
    for name in rtaudio.__all__:
        assert getattr(rtaudio, name) is not None
    assert set(rtaudio.__all__) == set(dir(rtaudio))
    with pytest.raises(AttributeError, match="no attribute 'Analyser'"):
        rtaudio.Analyser  # noqa: B018


@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]])
def test_clean(tool):
    done = subprocess.run(
        [sys.executable, "-m", *tool], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_a_wheel_can_be_built_and_holds_the_package(tmp_path):
    begun = time.time()
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, PACKAGE.parent],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_mtime >= begun - 2
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout
    assert "rtaudio/py.typed" in listed
    assert "rtaudio/analysis/kernel.py" in listed
    assert "rtaudio/view/colormaps.png" in listed
    assert "tests/" not in listed
