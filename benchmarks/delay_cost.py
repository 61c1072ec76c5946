"""What measuring the delays costs: `python -m benchmarks.delay_cost [--json] [--hops 40000]`.

The processing thread's work for blocks of one hop, with a consumer's queue: with all it measures;
with its delays noted and not counted; and with neither, but for the counters of samples and rows.
In turn, on the same objects, since another place in memory alone makes a hop some percent slower.
Beside that the counting call alone. Bytes are what is kept, as tracemalloc sees it.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.report import show
from rtaudio import ArraySource, Settings
from rtaudio.consumers.delays import RECENT_S, Delays
from rtaudio.pipeline import Live
from rtaudio.sources.block import Block

if TYPE_CHECKING:
    from rtaudio.analysis.frames import Frames
    from rtaudio.books import Books

SR, HOP, PIECE = 48000, 512, 500
MEASURING = ("all", "not counted", "nothing")


def count_block(books: Books, block: Block, adc: bool) -> None:  # noqa: ARG001
    """`Books.block` without delays."""
    samples = len(block)
    books.position = block.first_sample + samples
    books.processed += samples
    assert not block.lost


def count_rows(books: Books, frames: Frames) -> float:
    """`Books.rows` without delays, but for the age, which overload is seen by."""
    books.frames += len(frames)
    now = time.perf_counter()
    age = now - frames.captured.item(-1)
    if age == age:
        books.age_ms = 1e3 * age
    return now


class Chain:
    """A live run whose blocks come as fast as they are asked for, in this thread."""

    def __init__(self) -> None:
        noise = np.random.default_rng(0).normal(0, 0.1, (HOP, 1)).astype(np.float32)
        self._samples = noise
        self._run = Live(ArraySource(noise, SR), Settings(hop_length=HOP))
        self._run.open()
        self._queue = self._run._rows_queue()
        self._at = 0

    def measure(self, what: str) -> None:
        """One of `MEASURING` from now on."""
        books = self._run._books
        for owner, name in ((books, "block"), (books, "rows"), (books._delays, "add")):
            vars(owner).pop(name, None)
        if what != "all":
            vars(books._delays)["add"] = lambda *values: None
        if what == "nothing":
            vars(books).update(block=MethodType(count_block, books))
            vars(books).update(rows=MethodType(count_rows, books))
        self.step()

    def step(self) -> None:
        """One block in, one row out."""
        now = time.perf_counter()
        block = Block(self._samples, self._at, 0, now - HOP / SR, (), now)
        self._run._process(block)
        self._at += HOP

    def take(self) -> None:
        """What a consumer does, in a thread of its own: take the rows."""
        while self._queue.get(0) is not None:
            pass


def counting_us(count: int) -> float:
    """The call that counts a hop's delays, alone."""
    delays = Delays(*"abcdef")
    begun = time.perf_counter()
    for number in range(count):
        delays.add(number * HOP / SR, 1e-3, 1e-4, 1e-4, 1e-4, 1e-4, 1e-3)
    return 1e6 * (time.perf_counter() - begun) / count


def back_to_back(chain: Chain, hops: int) -> dict[str, list[float]]:
    """Us a hop, of pieces in turn."""
    spent: dict[str, list[float]] = {what: [] for what in MEASURING}
    for _ in range(hops // PIECE):
        for what in MEASURING:
            chain.measure(what)
            begun = time.perf_counter()
            for _ in range(PIECE):
                chain.step()
            spent[what].append(1e6 * (time.perf_counter() - begun) / PIECE)
            chain.take()
    return spent


def at_pace(chain: Chain, hops: int) -> dict[str, list[float]]:
    """Us of each hop, at 200 a second, in turns of alternating order: caches are cold."""
    spent: dict[str, list[float]] = {what: [] for what in MEASURING}
    for number in range(hops // 10):
        for what in MEASURING[:: 1 if number % 2 else -1]:
            chain.measure(what)
            time.sleep(0.005)
            begun = time.perf_counter()
            chain.step()
            spent[what].append(1e6 * (time.perf_counter() - begun))
            chain.take()
    return spent


def row(pace: str, spent: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and medians of the ratios of neighbours in time."""
    times = {what: np.array(found) for what, found in spent.items()}
    figures: dict[str, Any] = {"a hop of 512": pace}
    figures |= {f"us, {what}": float(np.median(found)) for what, found in times.items()}
    for what in MEASURING[1:]:
        figures[f"all / {what}"] = float(np.median(times["all"] / times[what]))
    return figures


def kept_bytes(chain: Chain, hops: int) -> int:
    """What so many hops more leave in memory, once as many seconds are kept as ever."""
    chain.measure("all")
    tracemalloc.start()
    full = time.perf_counter() + RECENT_S + 3
    while time.perf_counter() < full:
        chain.step()
        chain.take()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(hops):
        chain.step()
        chain.take()
    return tracemalloc.get_traced_memory()[0] - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hops", type=int, default=40000)
    args = parser.parse_args()
    chain = Chain()
    rows = [
        row("back to back", back_to_back(chain, args.hops)),
        row("at a pace", at_pace(chain, args.hops)),
    ]
    rows[0]["the call alone, us"] = counting_us(args.hops)
    rows[0]["bytes kept by 5,000 hops"] = kept_bytes(chain, 5000)
    show("What measuring the delays costs the processing thread, n_fft 2048", rows, args.json)


if __name__ == "__main__":
    main()
