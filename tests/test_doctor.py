"""The doctor: what it finds, in places where things are really missing, hung or broken."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from servers import Jack, Pulse, alsa_file, private_env, wait_for

import rtaudio
from rtaudio import doctor
from rtaudio.cli import main
from rtaudio.cli.doctor import _show

COMMAND = [sys.executable, "-m", "rtaudio", "doctor"]
ROOT = Path(rtaudio.__file__).parents[1]
PICTURES = {"EGL_PLATFORM": "surfaceless", "LIBGL_ALWAYS_SOFTWARE": "1"}
OUTSIDE = {"DISPLAY", "WAYLAND_DISPLAY", "RTAUDIO_PYTHON", "PYTHONUNBUFFERED", *PICTURES}
OUTSIDE |= {"NO_COLOR", "COLUMNS"}


def place(env=None, **changes):
    """An environment without a screen, and without any server or setting of the machine."""
    # A server that is named is not started where there is none.
    env = private_env(PULSE_SERVER="unix:/nowhere") if env is None else env
    env = {name: value for name, value in env.items() if name not in OUTSIDE}
    return env | {name: str(value) for name, value in changes.items()}


def ask(env):
    """What the command says in JSON, by check. The exit status follows from it."""
    done = subprocess.run([*COMMAND, "--json"], env=env, capture_output=True, text=True)
    assert done.stderr == ""
    found = {}
    for line in done.stdout.splitlines():
        check = doctor.Check(**json.loads(line))
        found[check.check] = check
        assert check.ok or check.mend or check.check in ("inputs", "opengl")
    assert (
        list(found)
        == "python portaudio server inputs monitors fonts opengl parquet models clusters".split()
    )
    broken = {check.needed for check in found.values() if not check.ok} - {None}
    assert done.returncode == bool(broken)
    return found


def run(*options, env):
    return subprocess.run([*COMMAND, *options], env=env, capture_output=True, text=True)


@pytest.fixture
def here(monkeypatch, use):
    """This process in such a place, impatient."""
    use(place())
    monkeypatch.setattr(doctor, "ANSWER_S", 3.0)
    return monkeypatch


def stand_in(folder, module, code):
    """A folder for PYTHONPATH in which ``module`` is this code."""
    (folder / f"{module}.py").write_text(code)
    return folder


def hiding(folder, *libraries):
    """A folder for PYTHONPATH with which Python does not find these libraries."""
    code = f"""
import ctypes.util
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if name in {libraries!r} else find(name)
"""
    return stand_in(folder, "sitecustomize", code)


def test_a_machine_without_sound_and_screen():
    found = ask(place())
    assert found["python"].found.startswith(f"rtaudio {rtaudio.__version__}, Python 3.")
    assert found["portaudio"].ok
    assert "PortAudio V19" in found["portaudio"].found
    assert "ALSA" in found["server"].found
    assert "none answers" in found["server"].found
    assert found["monitors"].found.startswith("no monitors: monitor: needs PulseAudio or PipeWire")
    assert found["monitors"].mend is None
    assert found["fonts"].ok
    assert not found["opengl"].ok
    assert "no screen" in found["opengl"].found


def test_what_mends_the_pictures_does_so():
    mend = ask(place())["opengl"].mend
    name, value = mend.partition("export ")[2].split("=")
    check = ask(place(**{name: value}))["opengl"]
    assert check.ok
    assert "llvmpipe" in check.found
    assert "pictures alone" in check.found
    assert "a window needs a screen" in check.mend


def test_all_is_well_with_pulseaudio(tmp_path):
    listing = "import rtaudio; d = rtaudio.devices(); print(len(d), *[x for x in d if x.default])"
    with Pulse(tmp_path) as pulse:
        found = ask(place(pulse.env, **PICTURES))
        listed = subprocess.check_output([sys.executable, "-c", listing], env=pulse.env, text=True)
    assert all(check.ok for check in found.values())
    assert "sound server: PulseAudio;" in found["server"].found
    assert found["server"].mend is None
    count, default = listed.strip().split(" ", 1)
    count = int(count) - 1  # a monitor is no microphone
    assert found["inputs"].found == f"{count} inputs, the default is {default}"
    said = "1 monitor of outputs, monitor: is Monitor of Null Output"
    assert found["monitors"].found == said


def test_jack_answers(tmp_path):
    with Jack(tmp_path) as jack:
        found = ask(place(jack.env, PULSE_SERVER="unix:/nowhere"))
    assert "sound server: JACK;" in found["server"].found
    assert "JACK Audio Connection Kit" in found["server"].found
    assert found["inputs"].ok
    assert "JACK" in found["inputs"].found


def test_a_server_that_hangs(here, tmp_path):
    with Pulse(tmp_path) as pulse:
        for name, value in place(pulse.env).items():
            here.setenv(name, value)
        pulse.stop()
        sound, _ = doctor.portaudio()
        server, monitors = doctor.server([]), doctor.monitors()
        pulse.cont()
        again, _ = doctor.portaudio()
    assert not sound.ok
    assert "no answer in 3 s" in sound.found
    assert "hangs" in sound.mend
    assert not server.ok
    assert (monitors.ok, monitors.mend) == (False, doctor._RESTART)
    assert "no answer in 5 s" in monitors.found
    assert "no answer in 3 s" in server.found
    assert again.ok


def test_a_server_that_alsa_does_not_reach(here, tmp_path):
    with Pulse(tmp_path) as pulse:
        here.setenv("PULSE_SERVER", pulse.env["PULSE_SERVER"])
        check = doctor.inputs()
        assert check.ok
        assert check.mend is None
        here.setenv("ALSA_PLUGIN_DIR", "/nowhere")
        check = doctor.inputs()
    assert not check.ok
    assert (
        check.mend == f"PulseAudio answers, and ALSA can't reach it: {doctor.install('alsa-pulse')}"
    )


def test_no_libpulse(tmp_path):
    code = """
import ctypes
load = ctypes.CDLL
def missing(name, *arguments, **more):
    if name == "libpulse.so.0":
        raise OSError(name)
    return load(name, *arguments, **more)
ctypes.CDLL = missing
"""
    with Pulse(tmp_path) as pulse:
        folder = stand_in(tmp_path, "sitecustomize", code)
        check = ask(place(pulse.env, PYTHONPATH=folder))["monitors"]
    assert "libpulse is missing" in check.found
    assert check.mend == doctor.install("libpulse")


def test_an_input_needs_no_server(tmp_path):
    found = ask(
        place(alsa_file(tmp_path, np.zeros(1000, np.float32)), PULSE_SERVER="unix:/nowhere")
    )
    assert found["server"].mend is not None
    assert found["inputs"].ok
    assert found["inputs"].found == "1 input, the default is 0 filemic (ALSA)"


NO_DEFAULT = """
class default:
    device = (-1, -1)
class PortAudioError(Exception):
    pass
def query_devices():
    return [{"name": "m", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 8e3}] * 2
def query_hostapis():
    return [{"name": "ALSA", "default_input_device": -1}]
def check_input_settings(**settings):
    pass
"""


def test_inputs_of_which_none_is_the_default(here, tmp_path):
    here.setenv("PYTHONPATH", str(stand_in(tmp_path, "sounddevice", NO_DEFAULT)))
    check = doctor.inputs()
    assert check.ok
    assert check.found == "2 inputs, none is the default"
    assert "--device" in check.mend


def test_no_portaudio(tmp_path):
    found = ask(place(PYTHONPATH=hiding(tmp_path, "portaudio"), **PICTURES))
    assert [name for name in found if not found[name].ok] == ["portaudio", "inputs"]
    assert "library not found" in found["portaudio"].found
    assert found["portaudio"].mend == doctor.install("PortAudio")


def test_no_opengl(here, tmp_path):
    for name, value in PICTURES.items():
        here.setenv(name, value)
    assert doctor.opengl().ok
    here.setenv("PYTHONPATH", str(hiding(tmp_path, "EGL", "GL")))
    check = doctor.opengl()
    assert not check.ok
    assert check.mend.startswith(doctor.install("OpenGL"))
    assert doctor.fonts().ok


def test_no_fontconfig(tmp_path):
    found = ask(place(PYTHONPATH=hiding(tmp_path, "fontconfig"), **PICTURES))
    assert not found["opengl"].ok  # who draws is not known: vispy can't be asked
    assert not found["fonts"].ok
    assert "fontconfig" in found["fonts"].found
    assert found["fonts"].mend == doctor.install("fontconfig")


def test_a_screen_that_is_not_there(here):
    here.setenv("DISPLAY", ":987")
    for name, value in PICTURES.items():  # pictures could be drawn; a window is what was asked
        here.setenv(name, value)
    check = doctor.opengl()
    assert not check.ok
    assert "Failed to open display :987" in check.found
    assert "needs a screen" in check.mend


# The calls of vispy that tell which driver draws, for a screen that is not here.
DRIVER = """
import sys, types
class gl:
    GL_RENDERER, GL_VERSION = "{renderer}", "4.6"
    glGetParameter = lambda name: name
class Canvas:
    def __init__(self, **options): pass
    def set_current(self): pass
app, gloo = types.SimpleNamespace(Canvas=Canvas), types.SimpleNamespace(gl=gl)
def use(backend): assert backend == "glfw"
"""


@pytest.mark.parametrize(
    ("renderer", "software"),
    [
        ("Mesa Intel(R) UHD Graphics 620", False),
        ("NVIDIA GeForce RTX 3060/PCIe/SSE2", False),
        ("llvmpipe (LLVM 15.0.6, 256 bits)", True),
        ("Apple Software Renderer", True),
        ("GDI Generic", True),
    ],
)
def test_drawing_in_software_is_a_warning(here, tmp_path, renderer, software):
    code = DRIVER.format(renderer=renderer)
    here.setenv("PYTHONPATH", str(stand_in(tmp_path, "vispy", code)))
    check = doctor.opengl()
    assert check.ok
    assert f"OpenGL 4.6 on {renderer}" in check.found
    assert (check.mend is not None) == ("software, slow" in check.found) == software
    here.setenv("LIBGL_ALWAYS_SOFTWARE", "1")
    assert (doctor.opengl().mend == "unset LIBGL_ALWAYS_SOFTWARE") == software


def test_a_driver_that_crashes_and_one_that_hangs(here, tmp_path):
    """Both at import, where drivers do it too."""
    here.setenv("DISPLAY", ":987")
    here.setenv("PYTHONPATH", str(stand_in(tmp_path, "vispy", "import os; os.abort()")))
    here.setattr(doctor, "ANSWER_S", 1.0)
    crashed = doctor.opengl()
    assert not crashed.ok
    assert "it crashed (SIGABRT)" in crashed.found
    assert crashed.mend == doctor.install("OpenGL")
    stand_in(tmp_path, "vispy", "import time; time.sleep(60)")
    hung = doctor.opengl()
    assert not hung.ok
    assert "no answer in 1 s" in hung.found


def test_an_alsa_configuration_that_crashes(here, tmp_path):
    (tmp_path / "empty").touch()
    here.setenv("ALSA_CONFIG_PATH", str(tmp_path / "empty"))
    check, hostapis = doctor.portaudio()
    assert not check.ok
    assert hostapis == []
    assert "it crashed (SIGABRT)" in check.found
    assert check.mend.startswith("see ALSA_CONFIG_PATH")


def test_a_python_without_packages_is_told_of_each(tmp_path):
    venv.create(tmp_path / "bare", symlinks=True)
    python = tmp_path / "bare/bin/python"
    code = "import json; from rtaudio.doctor import checks; print(json.dumps([*checks()]))"
    done = subprocess.check_output([python, "-c", code], env=place(PYTHONPATH=ROOT), text=True)
    found = {values[0]: doctor.Check(*values) for values in json.loads(done)}
    missing = {name: check.mend for name, check in found.items() if not check.ok}
    assert missing == {
        "portaudio": "pip install sounddevice",
        "inputs": None,
        "fonts": "pip install vispy",
        "opengl": None,
        "parquet": "pip install 'rtaudio[parquet]'",
        "models": "pip install 'rtaudio[train]'",
        "clusters": "pip install 'rtaudio[cluster]'",
    }
    assert found["parquet"].needed is None


def test_a_python_that_is_none(tmp_path):
    env = place(RTAUDIO_PYTHON=tmp_path / "pythön", PYTHONIOENCODING="ascii")
    check = ask(env)["portaudio"]
    assert "No such file" in check.found
    assert "RTAUDIO_PYTHON" in check.mend
    done = run(env=env)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "pyth?n: No such file" in " ".join(done.stdout.split())


def test_vispy_has_no_glfw(here, tmp_path):
    code = "raise ModuleNotFoundError(\"No module named 'glfw'\", name='glfw')"
    here.setenv("PYTHONPATH", str(stand_in(tmp_path, "glfw", code)))
    here.setenv("DISPLAY", ":987")
    assert doctor.opengl().mend == "pip install glfw"


def test_pactl_is_not_there(here):
    here.setenv("PATH", "/nowhere")
    check = doctor.server(["ALSA"])
    assert not check.ok
    assert check.needed is None
    assert check.mend == doctor.install("pactl")


def test_what_nothing_needs_is_no_failure(tmp_path):
    microphone = alsa_file(tmp_path, np.zeros(1000, np.float32))
    found = ask(place(microphone, PATH="/nowhere", **PICTURES))
    assert [name for name in found if not found[name].ok] == ["server"]
    # No word of microphone or window beneath.
    last = run("-q", env=place(microphone, PATH="/nowhere", **PICTURES)).stdout.splitlines()[-1]
    assert last.strip() == found["server"].mend


def test_sound_cards(tmp_path):
    assert "there is no sound card" in doctor.mend_cards(tmp_path / "snd")
    tmp_path.joinpath("pcmC0D0p").touch()  # it plays
    assert "no input" in doctor.mend_cards(tmp_path)
    tmp_path.joinpath("pcmC0D0c").touch()
    assert "fuser" in doctor.mend_cards(tmp_path)


@contextlib.contextmanager
def nobody():
    """Root as a user who may open nothing; any other user stays who they are."""
    root = os.getuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


def test_a_sound_card_that_is_not_permitted():
    with tempfile.TemporaryDirectory() as name:  # anybody may enter it
        folder = Path(name)
        folder.chmod(0o755)
        folder.joinpath("pcmC0D0c").touch(0o000)
        with nobody():
            mend = doctor.mend_cards(folder)
            command = doctor.install("PortAudio", {"ID": "arch"})
    assert mend == 'sudo usermod -aG audio "$USER", then log in again'
    assert command == "sudo pacman -S portaudio"
    as_this_user = doctor.install("PortAudio", {"ID": "arch"})
    assert as_this_user.startswith("sudo ") == (os.geteuid() != 0)


RELEASES = {
    "apt": ["ID=debian", "ID=ubuntu\nID_LIKE=debian", 'ID=linuxmint\nID_LIKE="ubuntu debian"'],
    "dnf": ["ID=fedora", 'ID="rocky"\nID_LIKE="rhel centos fedora"'],
    "pacman": ["ID=arch", "ID=manjaro\nID_LIKE=arch"],
}


@pytest.mark.parametrize("part", doctor._PACKAGES)
def test_the_command_is_the_systems(part):
    commands = {}
    for manager, texts in RELEASES.items():
        for text in texts:
            release = {k: v.strip('"') for k, v in (line.split("=") for line in text.split("\n"))}
            command = doctor.install(part, release)
            assert command.removeprefix("sudo ").split()[0] == manager
            assert commands.setdefault(manager, command) == command
    assert len(set(commands.values())) == 3
    assert doctor.install(part, {}) == f"install {part} with the system's packages"


def test_debians_packages_are_those_that_the_tests_are_run_with():
    setup = (ROOT / ".ci/setup").read_text().split()
    for part in doctor._PACKAGES:
        names = doctor.install(part, {"ID": "debian"}).partition("install ")[2].split()
        assert names
        assert not set(names) - {
            word.strip('"').partition("=")[2] or word.strip('"') for word in setup
        }


def words_of(check):
    state = "missing" if not check.ok else "warning" if check.mend else "ok"
    return [state, *check.found.split(), *(check.mend or "").split()]


@pytest.mark.parametrize("width", [40, 80])
def test_the_words_say_what_the_json_says_and_fit(width):
    env = place(**PICTURES)
    found = ask(env)
    done = run(env=env | {"COLUMNS": str(width)})
    assert done.returncode == 1
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= width
    said = "".join(lines[:-1]).replace(" ", "")
    assert said == "".join(word for check in found.values() for word in words_of(check))
    assert lines[-1] == "The microphone cannot work yet."


def test_no_word_of_a_command_is_broken(capsys):
    mend = doctor.install("OpenGL", {"ID": "fedora"})
    check = doctor.Check("opengl", False, "window", "OpenGL: there is no screen", mend)
    for width in range(40, 81):
        _show(check, Console(), width)
        assert capsys.readouterr().out.split() == words_of(check)


def on_a_terminal(env):
    """What is written to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(COMMAND, env=env, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        written = b""
        while chunk := read(ours):
            written += chunk
    os.close(ours)
    assert running.returncode == 1
    return written.decode()


def read(fd):
    try:
        return os.read(fd, 4096)
    except OSError:  # closed at the other end
        return b""


def test_colours_are_for_a_terminal_that_wants_them():
    env = place(TERM="xterm", COLUMNS=80)
    coloured = on_a_terminal(env)
    plain = on_a_terminal(env | {"NO_COLOR": "1"})
    assert {f"\x1b[{n}m{word}" for n, word in ((32, "ok"), (33, "warning"), (31, "missing"))} <= {
        line.partition("\x1b[0m")[0] for line in coloured.splitlines()
    }
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain


def test_quiet_tells_what_is_missing():
    env = place()
    missing = [check for check in ask(env).values() if not check.ok]
    lines = run("-q", env=env).stdout.splitlines()
    assert [line[:7] for line in lines if line[0] != " "] == ["missing"] * len(missing) + [
        "The mic"
    ]


def test_head_has_seen_enough():
    line = f"set -o pipefail; {' '.join(COMMAND)} | head -n 1"
    done = subprocess.run(["bash", "-c", line], env=place(), capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("ok       rtaudio")
    assert done.stderr == ""


def test_wrong_usage(capsys):
    assert main(["doctor", "me"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "rtaudio: doctor: unrecognized arguments: me; see rtaudio doctor --help\n"


def test_interrupted_while_something_hangs(tmp_path):
    """What is known is said before; the process that hangs ends too."""
    code = (
        "import os, time; open(os.environ['HERE'], 'w').write(f'{os.getpid()}\\n'); time.sleep(60)"
    )
    pid_file = tmp_path / "pid"
    env = place(PYTHONPATH=stand_in(tmp_path, "sounddevice", code), HERE=pid_file)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, "--json"], env=env, **pipes) as running:
        assert json.loads(running.stdout.readline())["check"] == "python"
        wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "child")
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 130
        assert running.stderr.read().count("\n") == 1
    stat = Path("/proc", pid_file.read_text().strip(), "stat")
    # Where nobody waits for orphans they stay as zombies.
    wait_for(lambda: not stat.exists() or ") Z" in stat.read_text(), "end of the child", 5)


def test_nothing_that_may_crash_is_loaded_here():
    code = "import sys; from rtaudio.doctor import checks; list(checks()); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], env=place(), text=True).split()
    assert "rtaudio.doctor" in loaded
    assert not set(loaded) & {"vispy", "glfw", "sounddevice", "pyarrow"}
