"""The parent's end of a capture process."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import site
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtaudio.capture import wire
from rtaudio.capture.devices import Device, DeviceError
from rtaudio.capture.ring import RingReader

if TYPE_CHECKING:
    from rtaudio.capture.fake import Script
    from rtaudio.capture.wire import Opened, Request

WAIT_S = 0.1
_LIST_S = 30
_NO_ANSWER = "the capture process does not answer as rtaudio does: is its Python the right one?"
_NAME_IT = "name one that has rtaudio, Microphone(python=…) or RTAUDIO_PYTHON=…"


class CaptureProcess:
    """A capture process: `wait` until it is ``opened`` or has ``failed``, then for samples.

    Raises `DeviceError` where no process can be started.
    """

    def __init__(self, request: Request, python: str | None = None) -> None:
        self.opened: Opened | None = None
        self.failed: str | None = None
        """Why it could not open the device, or that it ended."""
        self.ring: RingReader | None = None
        self._heard = b""
        self._over = False
        with contextlib.ExitStack() as undo:
            try:
                self._memory_fd = _shared_memory()
                undo.callback(os.close, self._memory_fd)
                self._bell, theirs = socket.socketpair()
                undo.callback(self._bell.close)
                undo.callback(theirs.close)
                self._errors, errors = os.pipe()
            except OSError as error:  # no descriptors, or no memory
                raise DeviceError(f"capture can't be started: {error.strerror}") from None
            undo.pop_all()
        os.set_blocking(errors, False)  # a chatty library is cut short, and holds nothing up
        # A read that gives up after a while, in one call: each one may have to wait for the GIL.
        timeout = struct.pack("@ll", int(WAIT_S), int(WAIT_S % 1 * 1e6))
        self._bell.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        try:
            self._process = start_python(
                python,
                ["rtaudio.capture", str(self._memory_fd), str(os.getpid())],
                stdout=theirs,
                stderr=errors,
                pass_fds=(self._memory_fd,),
            )
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(errors)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: `wait` will say so
            self._process.stdin.write(f"{request.to_json()}\n".encode())
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait(self) -> None:
        """Wait for new samples, an answer or the end, `WAIT_S` at the most.

        Lets the GIL go once. Raises nothing: what went wrong is in ``failed``.
        """
        if self._over:
            return
        try:
            heard = os.read(self._bell.fileno(), 1 << 16)
        except BlockingIOError:  # no bell: it may have been lost
            if self.ring is not None:
                self.ring.look()
            return
        except ConnectionResetError:
            heard = b""
        if not heard:
            self._has_ended()
            return
        self._heard += heard
        if self.ring is None:
            self._take_answer()
        if self.ring is not None and len(self._heard) >= 8:
            whole = len(self._heard) // 8 * 8
            self.ring.heard(int.from_bytes(self._heard[whole - 8 : whole], "little"))
            self._heard = self._heard[whole:]

    def _take_answer(self) -> None:
        line, end, rest = self._heard.partition(b"\n")
        if not end:
            return
        self._heard = rest
        try:
            answer = wire.answer_from_json(line.decode())
            if isinstance(answer, str):
                self.failed = answer
                return
            memory = mmap.mmap(self._memory_fd, os.fstat(self._memory_fd).st_size)
        except (ValueError, TypeError, OSError):
            self.failed = _NO_ANSWER
            return
        self.opened = answer
        self.ring = RingReader(memory, answer.channels, answer.samples, answer.records)
        self.ring.look()  # the bell does not ring before the answer

    def _has_ended(self) -> None:
        if self.ring is not None:
            self.ring.look()
        if self.failed is None:
            said = os.read(self._errors, 1 << 16).decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "")
            self.failed = "the capture process ended" + (f" ({last[:200]})" if last else "")

    def end(self) -> None:
        """End the process, whatever state it is in. What it delivered can still be read."""
        if self._over:
            return
        self._over = True
        self.failed = self.failed or "the capture was ended"
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel
            self._process.wait(1)
        if self.ring is not None:
            self.ring.look()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a request that it did not wait for
            self._process.stdin.close()
        self._close()

    def _close(self) -> None:
        self._bell.close()
        os.close(self._errors)
        os.close(self._memory_fd)


class ProcessHost:
    """Starts capture processes: what `Microphone` captures with, unless it is told otherwise.

    ``fake`` is a `fake.Script` to run instead of the machine's sound system.
    """

    now_ns = staticmethod(wire.uptime_ns)

    def __init__(self, python: str | None = None, fake: Script | None = None) -> None:
        self._python = python
        self._fake = fake.to_dict() if fake is not None else None

    def asleep_ns(self) -> int:
        """By how much `now_ns` is ahead of `time.perf_counter_ns`."""
        return wire.uptime_ns() - time.perf_counter_ns()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def capture(self, request: Request) -> CaptureProcess:
        """Start a process."""
        return CaptureProcess(replace(request, fake=self._fake), self._python)


def list_devices(kind: str = "inputs") -> list[Device]:
    """The inputs, or the outputs, that there are now. `DeviceError` where that can't be known."""
    process = start_python(
        None, ["rtaudio.capture", kind], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        out, _ = process.communicate(f"{wire.Request().to_json()}\n".encode(), timeout=_LIST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise DeviceError("the sound system does not answer: is its server hung?") from None
    try:
        answer = (
            json.loads(out) if out else {"error": f"the {kind} can't be listed: rtaudio doctor"}
        )
        if isinstance(answer, dict):
            raise DeviceError(answer["error"])
        return [Device(**{**device, "rates": tuple(device["rates"])}) for device in answer]
    except (ValueError, TypeError, KeyError):
        raise DeviceError(_NO_ANSWER) from None


def start_python(
    python: str | None, arguments: list[str], **options: Any
) -> subprocess.Popen[bytes]:
    """Run a module of this package in a Python of its own; raises `DeviceError`."""
    if sys.platform == "win32":
        raise DeviceError("capture runs on Linux and macOS so far, not on Windows")
    command, environment = python_command(python, arguments)
    try:
        return subprocess.Popen(  # noqa: S603 - the user's own Python
            command,
            stdin=subprocess.PIPE,
            env=environment,
            process_group=0,  # the terminal's signals are the parent's
            **options,
        )
    except OSError as error:
        raise cannot_start(command, error) from None


def python_command(python: str | None, arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """The command that runs a module of this package, and its environment.

    Raises `DeviceError` where this process is no Python and none is named.
    """
    python = python or os.environ.get("RTAUDIO_PYTHON") or _this_python()
    environment = dict(os.environ)
    root = str(Path(__file__).parents[2])
    if root not in (*site.getsitepackages(), site.getusersitepackages()):  # not installed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.getenv("PYTHONPATH"))))
    return [python, "-P", "-m", *arguments], environment


def cannot_start(command: list[str], error: OSError) -> DeviceError:
    """What to say of a `python_command` that does not start."""
    return DeviceError(f"{command[0]} can't be started ({error.strerror}): {_NAME_IT}")


def _this_python() -> str:
    name = Path(sys.executable or "").name.lower()
    if getattr(sys, "frozen", False) or not ("python" in name or "pypy" in name):
        raise DeviceError(f"capture needs Python, and {name or 'this'} is not: {_NAME_IT}")
    return sys.executable


def _shared_memory() -> int:
    """A file that has no name and goes with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rtaudio")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
