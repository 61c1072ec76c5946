"""Whether a round trip is right: `python -m benchmarks.round_trip [--json] [--runs 100]`.

`rtaudio latency --loopback` on real JACK, with a delay line of known length in the loop, with noise
beside the sweeps, with nothing or something else in their place; each run of its own processes.
What counts is the difference from the loop without a delay line. Six runs side by side, a server
for each kind of loop. Needs Linux, jackd2 and the extra `test`.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from contextlib import ExitStack
from typing import Any

from benchmarks.report import from_tests, show

DELAYS = (0, 1, 7, 480, 4801, 48000)
SR = 48000
SWEEP_RMS = 0.1 * math.sqrt(0.5)
LOOPS = ("a delay line", "noise 40 dB below", "noise 20 dB above", "silence", "another port")
AT_ONCE = 6


class Loops:
    """The loops of one server."""

    def __init__(self, jack: Any) -> None:
        self._jack = jack
        self._measurement = from_tests("loopback").Measurement
        self._servers = from_tests("servers")
        self._direct = self._measurement(jack).directly().result()["samples"]

    def errors(self, loop: str, numbers: range) -> list[float | None]:
        """By how many samples runs side by side are wrong; None for one that is refused."""
        with ExitStack() as stack:
            runs = [self._begin(stack, loop, DELAYS[number % len(DELAYS)]) for number in numbers]
            return [self._error(run, delay) for run, delay in runs]

    def _begin(self, stack: ExitStack, loop: str, delay: int) -> tuple[Any, float]:
        """A run and its delay; where it hears no sweep, any figure is wrong without end."""
        if loop == "silence":
            return self._measurement(self._jack), math.inf
        if loop == "another port":
            counter = self._servers.jack_client(self._jack, "jack_counter.py")
            run = self._measurement(self._jack)
            self._jack.connect(stack.enter_context(counter)["port"], run.input)
            return run, math.inf
        settings = {}
        if loop.startswith("noise"):
            level_db = -40 if "below" in loop else 20
            settings["noise"] = SWEEP_RMS * 10 ** (level_db / 20)
        ports = stack.enter_context(self._servers.jack_delay(self._jack, delay, **settings))
        return self._measurement(self._jack, seconds=2.7 + delay / SR).through(ports), delay

    def _error(self, run: Any, delay: float) -> float | None:
        found = run.result()["samples"]
        if (found is None) != (run.status == 1):
            raise RuntimeError(f"status {run.status}, {found}: {run.said}")
        return None if found is None else float(found - self._direct - delay)


def row(loop: str, errors: list[float | None]) -> dict[str, Any]:
    told = [abs(error) for error in errors if error is not None]
    return {
        "in the loop": loop,
        "runs": len(errors),
        "right to a sample": sum(error <= 1 for error in told),
        "refused": len(errors) - len(told),
        "wrong": sum(error > 1 for error in told),
        "largest error, samples": max(told, default=""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=100, help="of each loop")
    args = parser.parse_args()
    rows = []
    starts = range(0, args.runs, AT_ONCE)
    batches = [range(at, min(at + AT_ONCE, args.runs)) for at in starts]
    for loop in LOOPS:
        with tempfile.TemporaryDirectory() as folder, from_tests("servers").Jack(folder) as jack:
            loops = Loops(jack)
            errors = [error for batch in batches for error in loops.errors(loop, batch)]
        rows.append(row(loop, errors))
    show("Round trips on JACK, 48 kHz, periods of 128", rows, args.json)


if __name__ == "__main__":
    main()
