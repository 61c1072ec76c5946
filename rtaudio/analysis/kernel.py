"""The hop kernel: the samples of a frame in, one row of every feature out.

Everything compiled is in this one file, since numba's cache does not notice an edit in an
imported one. `rows_holding_gil` and `rows_releasing_gil` are the same code under two wrappers.
A live run must not give up the GIL between two steps of a hop, since beside a busy thread it
would wait up to a switch interval to get it back; files are analyzed side by side without it.

No array is allocated here: tables, scratch and outputs come from `Analyzer`, each as one tuple
(a tuple of arrays costs a call half as much as a named tuple).

No fast-math: every sum runs in the order written here, so that a row has the same bits in every
process. With ``reassoc`` and ``contract`` the process that compiled and those that found the
compiled code differed in the last bits, since LLVM optimizes each copy of an inlined function
anew. Strictness costs a sixth of the Fourier transform; loops over independent elements are
vectorized all the same, and long sums are written as such (`_levels`).

What counts the delays of a live run (`consumers.delays`) is here, too, since it is compiled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from rocket_fft import r2c

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LIMIT = np.float32(1e12)  # a larger sample is not sound; its power could overflow float32
AMIN = np.float32(1e-10)  # librosa's floor of power, -100 dB
_FLAGS: dict[str, Any] = {"error_model": "numpy"}
_inner = numba.njit(**_FLAGS)


def _compiled(nogil: bool = False) -> Any:
    """Compile and keep the machine code between runs, where some folder can be written."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(**_FLAGS, nogil=nogil, cache=True)(function)
        except RuntimeError:  # neither this folder nor the user's cache can be written
            return numba.njit(**_FLAGS, nogil=nogil)(function)

    return decorate


# --- samples before they are framed ---------------------------------------------------------


@_compiled()
def append(samples, channel, bits, out, at):
    """Put ``samples`` (n, channels), mixed, cleaned and quantized, into ``out`` from ``at`` on.

    ``channel`` is a number from 1, or 0 for the mean of all. What is not finite, or beyond
    `LIMIT`, becomes 0. With ``bits``, the samples are rounded to the integers
    -2^(bits-1) … 2^(bits-1) - 1, and back. Returns how many samples were not valid.
    """
    n, channels = samples.shape
    out = out[at : at + n]
    if channel > 0:
        for i in range(n):
            out[i] = samples[i, channel - 1]
    elif channels == 1:
        for i in range(n):
            out[i] = samples[i, 0]
    else:
        for i in range(n):
            total = np.float32(0)
            for c in range(channels):
                total += samples[i, c]
            out[i] = total / np.float32(channels)
    invalid = 0
    for i in range(n):
        valid = abs(out[i]) <= LIMIT
        invalid += not valid
        out[i] = out[i] if valid else np.float32(0)
    if bits > 0:
        top = np.float32(1 << (bits - 1))
        for i in range(n):
            level = np.rint(out[i] * top)
            out[i] = min(max(level, -top), top - np.float32(1)) / top
    return invalid


# --- the Fourier transform --------------------------------------------------------------------


def fft_tables(
    n_fft: int,
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.float32]]:
    """Tables of `_power_of_two`: ``order``, ``twiddles`` (passes, 6, n_fft/8), ``split``.

    An empty ``order`` says that `_any_length` is to be used: n_fft is not a power of two, or
    too short to gain from it.
    """
    if n_fft < 16 or n_fft & (n_fft - 1):
        return np.zeros(0, np.uint32), np.zeros((0, 6, 0), np.float32), np.zeros((2, 0), np.float32)
    m = n_fft // 2
    bits = m.bit_length() - 1
    digits = [4] * (bits // 2) + [2] * (bits % 2)
    order = np.argsort(np.arange(m).reshape(digits[::-1]).transpose().ravel())
    steps = (bits - 1) // 2  # with twiddles; the last pass has none
    twiddles = np.empty((steps, 6, m // 4), np.float32)
    for step in range(steps):
        turns = (np.arange(m // 4) // 4**step) / (m // 4**step)
        for k in (1, 2, 3):
            root = np.exp(-2j * np.pi * k * turns)
            twiddles[step, 2 * k - 2], twiddles[step, 2 * k - 1] = root.real, root.imag
    root = np.exp(-2j * np.pi * np.arange(m + 1) / n_fft)
    return (
        np.append(order, order[0]).astype(np.uint32),
        twiddles,
        np.array([root.real, root.imag], np.float32),
    )


@_inner
def _radix4(xr, xi, yr, yi, w):
    """One pass: butterflies of four streams of x, each result times its twiddle into y."""
    m = xr.size // 4  # of n/2 + 1: the last place is for Z[n/2] below
    w1r, w1i, w2r, w2i, w3r, w3i = w[0], w[1], w[2], w[3], w[4], w[5]
    for p in range(m):
        ar, br, cr, dr = xr[p], xr[p + m], xr[p + 2 * m], xr[p + 3 * m]
        ai, bi, ci, di = xi[p], xi[p + m], xi[p + 2 * m], xi[p + 3 * m]
        er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
        gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
        yr[4 * p] = er + gr
        yi[4 * p] = ei + gi
        tr, ti = fr + hi, fi - hr
        yr[4 * p + 1] = tr * w1r[p] - ti * w1i[p]
        yi[4 * p + 1] = tr * w1i[p] + ti * w1r[p]
        tr, ti = er - gr, ei - gi
        yr[4 * p + 2] = tr * w2r[p] - ti * w2i[p]
        yi[4 * p + 2] = tr * w2i[p] + ti * w2r[p]
        tr, ti = fr - hi, fi + hr
        yr[4 * p + 3] = tr * w3r[p] - ti * w3i[p]
        yi[4 * p + 3] = tr * w3i[p] + ti * w3r[p]


@_inner
def _radix4_last(xr, xi, yr, yi):
    """The last pass of radix 4, whose twiddles are all 1."""
    m = xr.size // 4
    for p in range(m):
        ar, br, cr, dr = xr[p], xr[p + m], xr[p + 2 * m], xr[p + 3 * m]
        ai, bi, ci, di = xi[p], xi[p + m], xi[p + 2 * m], xi[p + 3 * m]
        er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
        gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
        yr[4 * p] = er + gr
        yi[4 * p] = ei + gi
        yr[4 * p + 1] = fr + hi
        yi[4 * p + 1] = fi - hr
        yr[4 * p + 2] = er - gr
        yi[4 * p + 2] = ei - gi
        yr[4 * p + 3] = fr - hi
        yi[4 * p + 3] = fi + hr


@_inner
def _radix2(xr, xi, yr, yi):
    """The last pass when log2 is odd: all twiddles are 1."""
    m = xr.size // 2
    for p in range(m):
        ar, br, ai, bi = xr[p], xr[p + m], xi[p], xi[p + m]
        yr[2 * p], yr[2 * p + 1] = ar + br, ar - br
        yi[2 * p], yi[2 * p + 1] = ai + bi, ai - bi


@_inner
def _power_of_two(frame, window, order, twiddles, split, planes, power):
    """Power spectrum of a windowed frame whose length n is a power of two.

    The even samples are the real part and the odd ones the imaginary part of n/2 numbers,
    which Pease's constant-geometry radix-4 FFT (J. ACM 15, 1968) transforms: every pass is the
    same loop, reading four contiguous streams and writing them interleaved, so the compiler
    makes vector code of all of them (a Stockham FFT spends its time in the passes of short
    stride). The price is a digit-reversed result, put in ``order`` by one gather. Then X[k] and
    X[n/2 - k] come from Z[k] and Z[n/2 - k] (Sorensen et al., IEEE Trans. ASSP 35, 1987).

    For n = 2048, frame to power takes 0.6 of what it takes with rocket-fft.
    """
    m = window.size // 2
    xr, xi, yr, yi = planes[0], planes[1], planes[2], planes[3]
    for j in range(m):
        xr[j] = frame[2 * j] * window[2 * j]
        xi[j] = frame[2 * j + 1] * window[2 * j + 1]
    steps = twiddles.shape[0]
    for step in range(steps):
        _radix4(xr, xi, yr, yi, twiddles[step])
        xr, xi, yr, yi = yr, yi, xr, xi
    if 4 ** (steps + 1) == m:
        _radix4_last(xr, xi, yr, yi)
    else:
        _radix2(xr, xi, yr, yi)
    xr, xi, yr, yi = yr, yi, xr, xi
    for k in range(m + 1):  # y is Z[0] … Z[m], where Z[m] is Z[0] again
        yr[k] = xr[order[k]]
        yi[k] = xi[order[k]]
    last = np.uint64(m)
    for k in range(np.uint64(m + 1)):  # and x is Z[m] … Z[0]; unsigned: no index below 0
        xr[k] = yr[last - k]
    for k in range(np.uint64(m + 1)):
        xi[k] = yi[last - k]
    cos, sin = split[0], split[1]
    for k in range(m + 1):
        er, ei = yr[k] + xr[k], yi[k] - xi[k]
        dr, di = yi[k] + xi[k], xr[k] - yr[k]
        real = er + cos[k] * dr - sin[k] * di
        imag = ei + cos[k] * di + sin[k] * dr
        power[k] = np.float32(0.25) * (real * real + imag * imag)


@_inner
def _any_length(frame, window, axis, planes, spectrum, power):
    """Power spectrum of a windowed frame of any length, by rocket-fft (DUCC's real FFT)."""
    windowed = planes.reshape(planes.size)[: window.size]
    for i in range(window.size):
        windowed[i] = frame[i] * window[i]
    r2c(windowed, spectrum, axis, True, 1.0, 1)
    for k in range(power.size):
        power[k] = spectrum[k].real ** 2 + spectrum[k].imag ** 2


# --- from power to every row ------------------------------------------------------------------

# 10 log10(m) = 20 / ln 10 · artanh(s) with s = (m - 1) / (m + 1), by the terms of artanh's
# series to s^9; the next one is below 2e-9 of the sum where m is in [sqrt(1/2), sqrt(2)).
_OCTAVE = np.float32(10 * math.log10(2))
_C1, _C3, _C5, _C7, _C9 = (np.float32(20 / math.log(10) / k) for k in (1, 3, 5, 7, 9))
_SQRT_HALF = np.int32(0x3F3504F3)  # the bits of float32 sqrt(1/2)


@_inner
def _decibels(power, floor, exponents, out):
    """10 log10(max(power, AMIN)), not below ``floor``, to 3e-6 dB; ``exponents`` is scratch."""
    bits = out.view(np.int32)
    for k in range(power.size):
        out[k] = max(power[k], AMIN)
    for k in range(power.size):
        exponent = (bits[k] - _SQRT_HALF) >> np.int32(23)
        exponents[k] = np.float32(exponent) * _OCTAVE
        bits[k] = bits[k] - (exponent << np.int32(23))
    for k in range(power.size):
        s = (out[k] - np.float32(1)) / (out[k] + np.float32(1))
        t = s * s
        log = s * (_C1 + t * (_C3 + t * (_C5 + t * (_C7 + t * _C9))))
        out[k] = max(exponents[k] + log, floor)


@_inner
def _mel(power, weights, bands, out):
    """The sum of each band: its weights times the bins from its start on."""
    start, bounds = bands[0], bands[1]
    for band in range(out.size):
        w = weights[bounds[band] : bounds[band + 1]]
        p = power[start[band] : start[band] + w.size]
        total = np.float32(0)
        for k in range(w.size):
            total += w[k] * p[k]
        out[band] = total


@_inner
def _product(matrix, vector, out):
    """A matrix times a vector. Each sum in eight parts, side by side, which errs less than one."""
    n = vector.size
    for i in range(out.size):
        row = matrix[i]
        a = b = c = d = e = f = g = h = np.float32(0)
        for eight in range(n // 8):
            k = 8 * eight
            a += row[k] * vector[k]
            b += row[k + 1] * vector[k + 1]
            c += row[k + 2] * vector[k + 2]
            d += row[k + 3] * vector[k + 3]
            e += row[k + 4] * vector[k + 4]
            f += row[k + 5] * vector[k + 5]
            g += row[k + 6] * vector[k + 6]
            h += row[k + 7] * vector[k + 7]
        for k in range(n - n % 8, n):
            a += row[k] * vector[k]
        out[i] = ((a + b) + (c + d)) + ((e + f) + (g + h))


@_inner
def _levels(frame, squares):
    """Root mean square, and the bits of the largest absolute value, without the window."""
    n = frame.size
    for i in range(n):
        squares[i] = frame[i] * frame[i]
    while n > 1:  # the sum: fold the upper half onto the lower one
        half = (n + 1) // 2
        low, high = squares[: n - half], squares[half:n]
        for i in range(low.size):
            low[i] += high[i]
        n = half
    bits = frame.view(np.int32)
    peak = np.int32(0)
    for i in range(frame.size):  # as integers, which compare in the order of absolute values
        peak = max(peak, bits[i] & np.int32(0x7FFFFFFF))
    return np.sqrt(squares[0] / np.float32(frame.size)), peak


@_inner
def _rows(samples, at, n_rows, hop, first, capture_shift, constants, tables, scratch, out):
    window, order, twiddles, split, weights, bands, dct = tables
    planes, spectrum, fft_axis, work = scratch
    power, db, mel_db, mfcc, levels, times = out
    sr, db_floor, mel_floor = constants
    exponents, mel = work[0], work[1, : mel_db.shape[1]]
    rms, peak_bits = levels[0], levels[1].view(np.int32)
    time, captured = times[0], times[1]
    for row in range(n_rows):
        frame = samples[at + row * hop : at + row * hop + window.size]
        rms[row], peak_bits[row] = _levels(frame, planes.reshape(planes.size))
        if order.size:
            _power_of_two(frame, window, order, twiddles, split, planes, power[row])
        else:
            _any_length(frame, window, fft_axis, planes, spectrum, power[row])
        _decibels(power[row], db_floor, exponents, db[row])
        _mel(power[row], weights, bands, mel)
        _decibels(mel, mel_floor, exponents, mel_db[row])
        _product(dct, mel_db[row], mfcc[row])
        time[row] = (first + row * hop) / sr
        captured[row] = time[row] + capture_shift


@_compiled()
def rows_holding_gil(
    samples, at, n_rows, hop, first, capture_shift, constants, tables, scratch, out
):
    """Compute ``n_rows`` rows of ``out`` from frames ``hop`` apart, the first at ``at``.

    ``first`` is the sample number of the first row's ``time``, ``capture_shift`` the seconds from
    ``time`` to ``captured``, ``constants`` (sr, least db, least mel_db). Called by the processing
    thread; allocates no array, raises nothing.
    """
    _rows(samples, at, n_rows, hop, first, capture_shift, constants, tables, scratch, out)


@_compiled(nogil=True)
def rows_releasing_gil(
    samples, at, n_rows, hop, first, capture_shift, constants, tables, scratch, out
):
    """As `rows_holding_gil`, letting other threads run meanwhile: for recordings."""
    _rows(samples, at, n_rows, hop, first, capture_shift, constants, tables, scratch, out)


# --- delays ---------------------------------------------------------------------------------


@_compiled()
def count_delays(values, n, least, per_octave, counts, most):
    """Count the first ``n`` of ``values``, one a column in turn, into ``counts``.

    A bucket of ``counts`` (columns, buckets) is the ``per_octave``-th part of one, the second is
    the first above ``least``, and the first is for NaN. ``most`` (2, columns): the largest value
    so far, in either row.
    """
    columns, buckets = counts.shape
    for i in range(n):
        value, column, bucket = values[i], i % columns, 0
        if value == value:
            octaves = math.log2(max(value, least) / least)
            bucket = int(min(1 + per_octave * octaves, buckets - 1.0))
            for row in range(2):
                most[row, column] = max(most[row, column], value)
        counts[column, bucket] += 1
