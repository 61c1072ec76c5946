"""Hearing what is analyzed, by way of a process of its own."""

from __future__ import annotations

import contextlib
import select
import subprocess
from typing import TYPE_CHECKING

import numpy as np

from rtaudio.capture.devices import DeviceError
from rtaudio.capture.process import start_python

if TYPE_CHECKING:
    from rtaudio.sources.block import Block

OPENING_S = 10.0


class Player:
    """Plays blocks on the default output, as they come.

    Raises `OSError` where nothing can be played. The output's clock is not the source's: where
    they drift apart by a second, what is too much is left out.
    """

    def __init__(self, sr: int, channels: int) -> None:
        arguments = ["rtaudio.capture.play", str(sr), str(channels)]
        pipe = subprocess.PIPE
        try:
            self._process = start_python(None, arguments, stdout=pipe, stderr=subprocess.DEVNULL)
        except DeviceError as error:
            raise OSError(None, str(error), "--play") from None
        assert self._process.stdout is not None
        answer = ""
        try:
            if select.select([self._process.stdout], [], [], OPENING_S)[0]:
                answer = self._process.stdout.readline().decode()
        finally:
            if answer != "\n":
                self._process.kill()
                self.finish()
        if answer != "\n":
            raise OSError(None, answer.strip() or "the sound system does not answer", "--play")

    def take(self, block: Block) -> None:
        """Play a block; a gap is silence, but for a long one."""
        assert self._process.stdin is not None
        silence = np.zeros((min(block.lost, 48000), block.samples.shape[1]), np.float32)
        with contextlib.suppress(BrokenPipeError):  # the output is gone: the rest goes on
            for samples in (silence, block.samples):
                self._process.stdin.write(np.ascontiguousarray(samples, np.float32).data)
            self._process.stdin.flush()

    def finish(self) -> None:
        """Play what is left, and end."""
        try:
            self._process.communicate(timeout=OPENING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
