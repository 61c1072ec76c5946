"""Whether a round trip is right: `python -m benchmarks.round_trip [--json] [--runs 100]`.

`rtaudio latency --loopback` on real JACK, with a delay line of known length in the loop, with noise
beside the sweeps, with nothing or something else in their place; each run of its own processes.
What counts is the difference from the loop without a delay line. Six runs side by side on a server
of their own, begun again where it hangs. Needs Linux, jackd2 and the extra `test`.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.report import from_tests, show

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAYS = (0, 1, 7, 480, 4801, 48000)
SR = 48000
SWEEP_RMS = 0.1 * math.sqrt(0.5)
LOOPS = ("a delay line", "noise 40 dB below", "noise 20 dB above", "silence", "another port")
AT_ONCE = 6


class Batch:
    """Runs side by side on one server."""

    def __init__(self, jack: Any, stack: ExitStack) -> None:
        self._jack, self._stack = jack, stack
        self._measurement = from_tests("loopback").Measurement
        self._servers = from_tests("servers")

    def errors(self, loop: str, numbers: range) -> list[float | None]:
        """By how many samples runs are wrong; None for one that is refused."""
        direct = self._measurement(self._jack).directly()
        runs = [self._begin(loop, DELAYS[number % len(DELAYS)]) for number in numbers]
        samples = direct.result()["samples"]
        return [self._error(run, samples + delay) for run, delay in runs]

    def _begin(self, loop: str, delay: int) -> tuple[Any, float]:
        """A run and its delay; where it hears no sweep, any figure is wrong without end."""
        if loop == "silence":
            return self._measurement(self._jack), math.inf
        if loop == "another port":
            counter = self._servers.jack_client(self._jack, "jack_counter.py")
            run = self._measurement(self._jack)
            self._jack.connect(self._stack.enter_context(counter)["port"], run.input)
            return run, math.inf
        settings = {}
        if loop.startswith("noise"):
            level_db = -40 if "below" in loop else 20
            settings["noise"] = SWEEP_RMS * 10 ** (level_db / 20)
        client = self._servers.jack_delay(self._jack, delay, **settings)
        ports = self._stack.enter_context(client)
        return self._measurement(self._jack, seconds=2.7 + delay / SR).through(ports), delay

    def _error(self, run: Any, true: float) -> float | None:
        found = run.result()["samples"]
        if (found is None) != (run.status == 1):
            raise ValueError(f"status {run.status}, {found}: {run.said}")
        return None if found is None else float(found - true)


def errors(loop: str, runs: int) -> Iterator[float | None]:
    """Of all runs, a server each few."""
    for at in range(0, runs, AT_ONCE):
        numbers = range(at, min(at + AT_ONCE, runs))
        for attempt in range(3):
            try:
                with (
                    tempfile.TemporaryDirectory() as folder,
                    from_tests("servers").Jack(folder) as jack,
                    ExitStack() as stack,
                ):
                    found = Batch(jack, stack).errors(loop, numbers)
                break
            except (RuntimeError, TimeoutError, subprocess.TimeoutExpired) as error:
                if attempt == 2:
                    raise
                print(f"begun again, since jackd hung: {error}", file=sys.stderr)
        yield from found


def row(loop: str, found: list[float | None]) -> dict[str, Any]:
    told = [abs(error) for error in found if error is not None]
    return {
        "in the loop": loop,
        "runs": len(found),
        "right to a sample": sum(error <= 1 for error in told),
        "refused": len(found) - len(told),
        "wrong": sum(error > 1 for error in told),
        "largest error, samples": max(told, default=""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=100, help="of each loop")
    args = parser.parse_args()
    rows = [row(loop, list(errors(loop, args.runs))) for loop in LOOPS]
    show("Round trips on JACK, 48 kHz, periods of 128", rows, args.json)


if __name__ == "__main__":
    main()
