"""What one hop costs: `python -m benchmarks.hop_cost [--json] [--paced-s 30]`.

Back to back, in rounds of 200 hops a contender, all in turn; then at the true rate, one hop of
each 23 ms, where caches go cold between two hops: the control and rtaudio half a hop apart.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders import CONTROL, HOP, SR, contenders
from benchmarks.report import show

if TYPE_CHECKING:
    from benchmarks.contenders import Hop

ROUNDS, HOPS = 15, 200
SOUND = (0.1 * np.random.default_rng(0).standard_normal((HOPS, HOP))).astype(np.float32)


def timed(hop: Hop, samples: Any) -> int:
    begun = time.perf_counter_ns()
    hop(samples)
    return time.perf_counter_ns() - begun


def back_to_back(found: dict[str, Hop]) -> dict[str, list[int]]:
    """Nanoseconds of every hop. The slowest contenders get fewer hops a round."""
    taken: dict[str, list[int]] = {name: [] for name in found}
    for hop in found.values():
        for samples in SOUND[:20]:
            hop(samples)
    for _ in range(ROUNDS):
        for name, hop in found.items():
            taken[name] += [timed(hop, samples) for samples in SOUND]
    return taken


def paced(found: dict[str, Hop], seconds: float) -> dict[str, list[int]]:
    """Nanoseconds of every hop, each contender once in a hop's duration, evenly apart."""
    taken: dict[str, list[int]] = {name: [] for name in found}
    slot = HOP / SR / len(found)
    start, count = time.perf_counter(), 0
    while count * slot < seconds:
        for name, hop in found.items():
            time.sleep(max(0.0, start + count * slot - time.perf_counter()))
            taken[name].append(timed(hop, SOUND[count // len(found) % HOPS]))
            count += 1
    return taken


def arrays_allocated(hop: Hop) -> float:
    """Bytes that numpy takes and gives back within a hop, at the most, beyond what stays."""
    most = 0
    for samples in SOUND[:50]:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        hop(samples)
        most = max(most, tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
    return most


def rows_of(taken: dict[str, list[int]], control: float) -> list[dict[str, Any]]:
    rows = []
    for name, times in taken.items():
        p50, p99, p999 = np.percentile(times, (50, 99, 99.9)) / 1000
        rows.append(
            {
                "contender": name,
                "ratio of medians": float(p50 / control),
                "p50 µs": float(p50),
                "p99 µs": float(p99),
                "p99.9 µs": float(p999),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--paced-s", type=float, default=30.0)
    args = parser.parse_args()
    found = contenders()
    taken = back_to_back(found)
    rows = rows_of(taken, float(np.median(taken[CONTROL])) / 1000)
    for row in rows:
        row["bytes within a hop"] = arrays_allocated(found[row["contender"]])
    show("One hop of 512, n_fft 2048, MFCC and dB: back to back", rows, args.json)
    two = {name: found[name] for name in (CONTROL, "rtaudio, Analyzer.feed")}
    taken = paced(two, args.paced_s)
    rows = rows_of(taken, float(np.median(taken[CONTROL])) / 1000)
    show("The same at the true rate, one hop each 23 ms", rows, args.json)


if __name__ == "__main__":
    main()
