"""What works on this machine, what is missing, and what mends it.

PortAudio and OpenGL may crash or hang: each is asked in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import rtaudio
from rtaudio.capture import libpulse
from rtaudio.capture.devices import MONITOR, DeviceError
from rtaudio.capture.process import list_devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rtaudio.capture.devices import Device

ANSWER_S = 15.0

_PORTAUDIO = """
import sounddevice
version = sounddevice.get_portaudio_version()[1].partition(",")[0]
answer = [version, [hostapi["name"] for hostapi in sounddevice.query_hostapis()]]
"""
_OPENGL = """
import sys, vispy
vispy.use(sys.argv[1])
from vispy import app, gloo
canvas = app.Canvas(size=(16, 16), show=False)
canvas.set_current()
get = gloo.gl.glGetParameter
answer = [get(gloo.gl.GL_RENDERER), get(gloo.gl.GL_VERSION)]
"""
_FONTS = "import vispy\nanswer = True\n"  # it asks for fontconfig
# os._exit: with a dead server, an orderly exit hangs.
_ANSWER = "import json, os\nprint(json.dumps(answer), flush=True)\nos._exit(0)"

_COMMANDS = {"debian": "apt install", "fedora": "dnf install", "arch": "pacman -S"}
# Part → its packages on each of these.
_PACKAGES = {
    "PortAudio": ("libportaudio2", "portaudio", "portaudio"),
    "OpenGL": ("libgl1 libegl1 libgl1-mesa-dri", "mesa-libGL mesa-libEGL mesa-dri-drivers", "mesa"),
    "fontconfig": ("libfontconfig1", "fontconfig", "fontconfig"),
    "pactl": ("pulseaudio-utils", "pulseaudio-utils", "libpulse"),
    "libpulse": ("libpulse0", "pulseaudio-libs", "libpulse"),
    "alsa-pulse": ("libasound2-plugins", "alsa-plugins-pulseaudio", "alsa-plugins"),
}
_RESTART = "systemctl --user restart pipewire wireplumber, pulseaudio -k, or killall jackd"
_SCREEN = "a window needs a screen: start it in a desktop session, or over ssh -X"
_SOFTWARE = re.compile("llvmpipe|softpipe|swrast|swiftshader|software|gdi generic", re.IGNORECASE)


class Check(NamedTuple):
    """What was looked at, and what is to be done about it."""

    check: str
    ok: bool
    needed: Literal["microphone", "window"] | None
    """What cannot work without it."""
    found: str
    mend: str | None
    """What to do, a command where there is one. Where ``ok``: what would make it better."""


class NoAnswer(Exception):
    """A process did not answer: one line that says why."""


def checks() -> Iterator[Check]:
    """All checks, each as soon as it is known. Raises nothing for what is missing."""
    versions = f"rtaudio {rtaudio.__version__}, Python {platform.python_version()}"
    yield Check("python", True, None, f"{versions} ({sys.executable})", None)
    sound, hostapis = portaudio()
    yield sound
    yield server(hostapis)
    if sound.ok:
        yield inputs()
    else:
        why = "inputs can't be listed without PortAudio"
        yield Check("inputs", False, "microphone", why, None)
    yield monitors()
    text = fonts()
    yield text
    if text.ok:
        yield opengl()
    else:
        yield Check("opengl", False, "window", "OpenGL can't be tried without fonts", None)
    yield parquet()
    yield models()
    yield clusters()


def portaudio() -> tuple[Check, list[str]]:
    """PortAudio's library, and the names of its host APIs."""
    python = os.environ.get("RTAUDIO_PYTHON") or sys.executable  # what captures
    try:
        version, hostapis = _ask(_PORTAUDIO, python=python)
    except NoAnswer as error:
        mend = _pip(error) or install("PortAudio")
        if "no answer" in str(error):
            mend = f"its sound server hangs: {_RESTART}"
        elif "crashed" in str(error):
            mend = f"see ALSA_CONFIG_PATH, ~/.asoundrc and /etc/asound.conf; {mend}"
        elif str(error).startswith(python):
            mend = "name a Python that has rtaudio, or unset RTAUDIO_PYTHON"
        return Check("portaudio", False, "microphone", f"PortAudio: {error}", mend), []
    return Check("portaudio", True, "microphone", version, None), hostapis


def server(hostapis: list[str]) -> Check:
    """The sound servers that answer, and what PortAudio reaches them by."""
    apis = f"PortAudio has {', '.join(hostapis) or 'no host API'}"
    if sys.platform != "linux":
        return Check("server", True, None, apis, None)
    answering = ["JACK"] if any("JACK" in name for name in hostapis) else []
    try:
        answering += filter(None, [_pulse()])
    except NoAnswer as error:
        mend = _RESTART if shutil.which("pactl") else install("pactl")
        return Check("server", False, None, f"sound server: {error}; {apis}", mend)
    found = f"sound server: {', '.join(answering) or 'none answers'}; {apis}"
    mend = "to share the microphone among programs: systemctl --user start pipewire-pulse"
    return Check("server", True, None, found, None if answering else mend)


def _pulse() -> str:
    """What PulseAudio or PipeWire calls itself, empty where neither runs; raises `NoAnswer`."""
    said = _run(["pactl", "info"], LC_ALL="C").stdout
    name = re.search(r"^Server Name: (.+)$", said, re.MULTILINE)
    return name[1].replace("pulseaudio", "PulseAudio") if name else ""


def inputs() -> Check:
    """The inputs, and which is the default."""
    from rtaudio.sources.block import SourceError
    from rtaudio.sources.microphone import devices

    try:
        found = [device for device in devices() if not device.monitor_of]
    except SourceError as error:
        return Check("inputs", False, "microphone", str(error), None)
    if not found:
        return Check("inputs", False, "microphone", "no audio input", _mend_inputs())
    count = f"{len(found)} input{'s' if len(found) > 1 else ''}"
    default = next((device for device in found if device.default), None)
    if default is None:
        mend = "choose one with --device: rtaudio devices"
        return Check("inputs", True, "microphone", f"{count}, none is the default", mend)
    words = f"{count}, the default is {default}"
    return Check("inputs", True, "microphone", words, _mend_route(found))


def _mend_route(found: list[Device]) -> str | None:
    """What lets PortAudio reach the sound server, too."""
    servers = [device.hostapi for device in found if device.description]
    names = " ".join(
        f"{device.name} {device.hostapi}" for device in found if not device.description
    )
    if not servers or any(way in names for way in ("pulse", "pipewire", "JACK")):
        return None
    return f"{servers[0]} answers, and ALSA can't reach it: {install('alsa-pulse')}"


def monitors() -> Check:
    """Whether what the outputs play can be captured."""
    if sys.platform == "darwin":
        mend = "to capture what is played: install BlackHole (https://existential.audio/blackhole)"
        return Check("monitors", True, None, "macOS has no monitors of outputs", mend)
    try:
        found = [device for device in list_devices("sources") if device.monitor_of]
    except DeviceError as error:
        words = f"no monitors: {str(error).partition(': rtaudio doctor')[0]}"
        if libpulse.HUNG in words:
            return Check("monitors", False, None, words, _RESTART)
        mend = install("libpulse") if libpulse.MISSING in words else None
        return Check("monitors", True, None, words, mend)
    default = next((device for device in found if device.server_default), None)
    words = f"{MONITOR} is {default.description}" if default else "none is the default"
    count = f"{len(found)} monitor{'' if len(found) == 1 else 's'} of outputs"
    return Check("monitors", True, None, f"{count}, {words}", None)


def _mend_inputs() -> str:
    if sys.platform != "linux":
        return "plug in a microphone, and permit its use in the system's privacy settings"
    with contextlib.suppress(NoAnswer):
        if name := _pulse():
            return f"{name} answers, and ALSA can't reach it: {install('alsa-pulse')}"
    return mend_cards(Path("/dev/snd"))


def mend_cards(folder: Path) -> str:
    """What keeps the sound cards whose devices are in ``folder`` from being inputs."""
    if not folder.is_dir():
        return (
            "there is no sound card: plug in a microphone; a container needs "
            "--device /dev/snd, or PULSE_SERVER and the socket that it names"
        )
    devices = list(folder.glob("pcmC*D*c"))  # c: they capture
    if not devices:
        return "the sound card has no input: plug in a microphone"
    if not any(os.access(device, os.R_OK | os.W_OK) for device in devices):
        return f'{_sudo()}usermod -aG audio "$USER", then log in again'
    return f"end what uses the sound card: fuser -v {folder}/*; or {_RESTART}"


def opengl() -> Check:
    """Whether the window can be drawn: on a screen, or else pictures of it in memory."""
    try:
        renderer, version = _ask(_OPENGL, "glfw")
    except NoAnswer as error:
        if sys.platform == "linux" and not (os.getenv("DISPLAY") or os.getenv("WAYLAND_DISPLAY")):
            return _without_screen()
        mend = _SCREEN if "display" in str(error) else _pip(error) or install("OpenGL")
        return Check("opengl", False, "window", f"OpenGL: {error}", mend)
    found = f"OpenGL {version} on {renderer}"
    if not _SOFTWARE.search(renderer):
        return Check("opengl", True, "window", found, None)
    mend = "install the graphics card's driver, or turn on a virtual machine's 3D"
    if os.getenv("LIBGL_ALWAYS_SOFTWARE"):
        mend = "unset LIBGL_ALWAYS_SOFTWARE"
    return Check("opengl", True, "window", f"{found}: software, slow", mend)


def _without_screen() -> Check:
    why, mend = "there is no screen", f"{install('OpenGL')}; {_SCREEN}"
    for settings in ({}, {"EGL_PLATFORM": "surfaceless"}):
        try:
            renderer, version = _ask(_OPENGL, "egl", **settings)
        except NoAnswer:
            continue
        if settings:
            mend = f"{_SCREEN}; for pictures alone: export EGL_PLATFORM=surfaceless"
            break
        found = f"OpenGL {version} on {renderer}, for pictures alone: {why}"
        return Check("opengl", True, "window", found, _SCREEN)
    return Check("opengl", False, "window", f"OpenGL: {why}", mend)


def fonts() -> Check:
    """Whether the window can write: on Linux vispy is nothing without fontconfig."""
    try:
        _ask(_FONTS)
    except NoAnswer as error:
        mend = _pip(error) or install("fontconfig")
        return Check("fonts", False, "window", f"fonts: {error}", mend)
    return Check("fonts", True, "window", "fonts are found", None)


def parquet() -> Check:
    """Whether .parquet can be written."""
    try:
        return Check("parquet", True, None, f"pyarrow {metadata.version('pyarrow')}", None)
    except metadata.PackageNotFoundError:
        found = "no pyarrow, which .parquet alone needs"
        return Check("parquet", False, None, found, "pip install 'rtaudio[parquet]'")


def models() -> Check:
    """Whether sounds can be learned and heard."""
    try:
        versions = [f"{name} {metadata.version(name)}" for name in ("onnxruntime", "skl2onnx")]
        return Check("models", True, None, ", ".join(versions), None)
    except metadata.PackageNotFoundError as error:
        found = f"no {error.name}, which train and --model alone need"
        return Check("models", False, None, found, "pip install 'rtaudio[train]'")


def clusters() -> Check:
    """Whether archives can be read from a URL, and shared out on a Dask cluster."""
    try:
        versions = [f"{name} {metadata.version(name)}" for name in ("distributed", "fsspec")]
        return Check("clusters", True, None, ", ".join(versions), None)
    except metadata.PackageNotFoundError as error:
        found = f"no {error.name}, which archive's --cluster and URLs alone need"
        return Check("clusters", False, None, found, "pip install 'rtaudio[cluster]'")


def _ask(code: str, *arguments: str, python: str = sys.executable, **environment: str) -> Any:
    """What ``code`` leaves as ``answer`` in a process of its own; raises `NoAnswer`."""
    done = _run([python, "-P", "-c", code + _ANSWER, *arguments], **environment)
    if done.returncode < 0:
        raise NoAnswer(f"it crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    # Below the indented lines of a traceback stands the error.
    said = re.split(r"^ .*\n", done.stderr, flags=re.MULTILINE)[-1]
    raise NoAnswer(" ".join(said.split())[:200] or f"it ended with {done.returncode}")


def _run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - of this file
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer in {ANSWER_S:g} s") from None
    except OSError as error:
        raise NoAnswer(f"{command[0]}: {error.strerror}") from None


def _pip(error: NoAnswer) -> str | None:
    missing = re.search(r"(?:No module named '|pip install )(\w+)", str(error))
    return f"pip install {missing[1]}" if missing else None


def install(part: str, release: Mapping[str, str] | None = None) -> str:
    """The command that installs a part of `_PACKAGES`, here or where /etc/os-release is so."""
    if sys.platform == "darwin" and part == "PortAudio":
        return "brew install portaudio"
    if release is None:
        try:
            release = platform.freedesktop_os_release()
        except OSError:
            release = {}
    systems = (release.get("ID"), *release.get("ID_LIKE", "").split())
    for (system, command), packages in zip(_COMMANDS.items(), _PACKAGES[part], strict=True):
        if system in systems:
            return f"{_sudo()}{command} {packages}"
    return f"install {part} with the system's packages"


def _sudo() -> str:
    return "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "sudo "
