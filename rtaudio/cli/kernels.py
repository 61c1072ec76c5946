"""Before a command begins: the compiled kernels, loaded or made, and signals meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from rtaudio.cli import DONE, INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from rtaudio.words import Words

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


def load_kernels(words: Words, live: bool = False) -> None:
    """Load the compiled kernels; say so where they have to be compiled first."""
    import numba.core.event as numba_event

    from rtaudio.analysis import analyzer
    from rtaudio.consumers.delays import Delays

    class Listener(numba_event.Listener):
        said = False

        def on_start(self, event: object) -> None:  # noqa: ARG002
            if not self.said:
                words.say("compiling the analysis for this machine, once: some seconds …")
            self.said = True

        def on_end(self, event: object) -> None:
            pass

    listener = Listener()
    numba_event.register("numba:compile", listener)  # type: ignore[no-untyped-call]
    try:
        with _ended_at_once():
            analyzer.load_kernels(release_gil=not live)
            if live or listener.said:
                Delays("any")
            if listener.said:  # the others too, so that it is said once
                analyzer.load_kernels(release_gil=live)
    finally:
        numba_event.unregister("numba:compile", listener)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _ended_at_once() -> Iterator[None]:
    """Let signals end the program at once, since nothing is open yet.

    LLVM calls Python functions while it compiles, and what a handler raises in one of those is
    printed and forgotten.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    numbers = [number for number in numbers if callable(signal.getsignal(number))]  # by `cli.main`
    handlers = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    how, status = ("interrupted", INTERRUPTED) if number == signal.SIGINT else ("terminated", DONE)
    os.write(2, f"rtaudio: {how} before anything was begun\n".encode())
    os._exit(status)
