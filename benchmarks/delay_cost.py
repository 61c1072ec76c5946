"""What measuring the delays costs: `python -m benchmarks.delay_cost [--json] [--hops 20000]`.

The processing thread's work for blocks of one hop, with a consumer's queue, with and without its
delays, in turn; and the accounting's calls alone. Bytes are what is kept, as tracemalloc sees it.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from typing import Any

import numpy as np

from benchmarks.report import show
from rtaudio import ArraySource, Settings
from rtaudio.consumers.delays import RECENT_S, Delays
from rtaudio.pipeline import Live
from rtaudio.sources.block import Block

SR, PIECE = 48000, 500


class Chain:
    """A live run whose blocks come as fast as they are asked for, in this thread."""

    def __init__(self, hop: int, measuring: bool) -> None:
        noise = np.random.default_rng(0).normal(0, 0.1, (hop, 1)).astype(np.float32)
        self._samples, self._hop = noise, hop
        self._run = Live(ArraySource(noise, SR), Settings(hop_length=hop))
        self._run.open()
        self._queue = self._run._rows_queue()
        self._at = 0
        if not measuring:
            self._run._books._delays.add = lambda *values: None  # type: ignore[method-assign]

    def step(self) -> None:
        """One block in, one row out."""
        now = time.perf_counter()
        block = Block(self._samples, self._at, 0, now - self._hop / SR, (), now)
        self._run._process(block)
        self._at += self._hop

    def take(self) -> None:
        """What a consumer does, in a thread of its own: take the rows."""
        while self._queue.get(0) is not None:
            pass


def accounting_us(count: int, hop: int) -> float:
    """What `step` measures within a hop, alone."""
    delays = Delays(*"abcdef")
    begun = time.perf_counter()
    for number in range(count):
        at = number * hop / SR
        delays.add(at, 1e-3, 1e-4, 1e-4, 1e-4, 1e-4, 1e-3)
    return 1e6 * (time.perf_counter() - begun) / count


def back_to_back(chains: dict[str, Chain], hops: int) -> dict[str, list[float]]:
    """Us a hop, of pieces in turn."""
    spent: dict[str, list[float]] = {name: [] for name in chains}
    for _ in range(hops // PIECE):
        for name, chain in chains.items():
            begun = time.perf_counter()
            for _ in range(PIECE):
                chain.step()
            spent[name].append(1e6 * (time.perf_counter() - begun) / PIECE)
            chain.take()
    return spent


def at_pace(chains: dict[str, Chain], hops: int) -> dict[str, list[float]]:
    """Us of each hop, at 200 a second, in turns of alternating order: caches are cold."""
    spent: dict[str, list[float]] = {name: [] for name in chains}
    for number in range(hops // 10):
        for name, chain in list(chains.items())[:: 1 if number % 2 else -1]:
            time.sleep(0.005)
            begun = time.perf_counter()
            chain.step()
            spent[name].append(1e6 * (time.perf_counter() - begun))
            chain.take()
    return spent


def row(pace: str, spent: dict[str, list[float]], alone: float) -> dict[str, Any]:
    medians = {name: float(np.median(times)) for name, times in spent.items()}
    return {
        "a hop of 512": pace,
        "us, with its delays": medians["with"],
        "without": medians["without"],
        "ratio": medians["with"] / medians["without"],
        "the calls alone, us": alone,
        "of the hop, %": 100 * alone / medians["with"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hops", type=int, default=40000)
    args = parser.parse_args()
    chains = {"with": Chain(512, True), "without": Chain(512, False)}
    alone = accounting_us(args.hops, 512)
    rows = [
        row("back to back", back_to_back(chains, args.hops), alone),
        row("at a pace", at_pace(chains, args.hops), alone),
    ]
    tracemalloc.start()
    chain = chains["with"]
    full = time.perf_counter() + RECENT_S + 3  # until as many seconds are kept as ever
    while time.perf_counter() < full:
        chain.step()
        chain.take()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10 * PIECE):
        chain.step()
        chain.take()
    rows[0]["bytes kept by 5,000 hops"] = tracemalloc.get_traced_memory()[0] - before
    show("What measuring the delays costs the processing thread, n_fft 2048", rows, args.json)


if __name__ == "__main__":
    main()
