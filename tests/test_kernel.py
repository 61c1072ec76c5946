"""The kernel allocates no arrays, and its logarithm is one."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sounds import SR, music

from rtaudio import Analyzer, Settings
from rtaudio.analysis import kernel

COUNT_ALLOCATIONS = """
import numpy as np
from numba.core.runtime import rtsys
from rtaudio import Analyzer, Settings
for n_fft in (2048, 1000):
    analyzer = Analyzer(Settings(sr=22050, n_fft=n_fft, hop_length=256))
    list(analyzer.feed(np.ones(16000, np.float32)))
    analyzer._start = analyzer._end - analyzer._filled
    for rows in (0, 40):
        before = rtsys.get_allocation_stats().alloc
        analyzer._compute(rows)
        print(rtsys.get_allocation_stats().alloc - before)
"""


def test_compiled_code_allocates_nothing():
    """numba counts one allocation for each array it is handed, and none for any of 40 rows."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_ALLOCATIONS],
        env=os.environ | {"NUMBA_NRT_STATS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    handed, more, *others = map(int, done.stdout.split())
    assert handed == more > 0
    assert others == [handed, handed]


@pytest.mark.parametrize("n_fft", [2048, 1000])
def test_feed_allocates_less_than_a_hop(n_fft):
    """Python's objects for the call, 2 kB, and no array: the smallest here would be a hop's."""
    analyzer = Analyzer(Settings(sr=SR, n_fft=n_fft))
    blocks = np.split(np.tile(music(1.0)[:20480], 4), 40)
    for block in blocks:
        list(analyzer.feed(block))
    tracemalloc.start()
    try:
        for block in blocks:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for frames in analyzer.feed(block):
                assert frames.mfcc is not None
            assert tracemalloc.get_traced_memory()[1] - before < block.nbytes
    finally:
        tracemalloc.stop()


def test_decibels_over_the_whole_range_of_float32():
    power = np.geomspace(1e-12, 3e38, 200_001).astype(np.float32)
    out, scratch = np.zeros_like(power), np.zeros_like(power)
    kernel._decibels(power, -np.inf, scratch, out)
    expected = 10 * np.log10(np.maximum(power.astype(float), 1e-10))
    assert np.abs(out - expected).max() < 4e-5  # a step of float32 at 385 dB
    near = np.abs(expected) < 100
    assert np.abs(out - expected)[near].max() < 8e-6
    assert (np.diff(out) >= -4e-6).all()
    kernel._decibels(power, -20.0, scratch, out)
    assert out.min() == -20
