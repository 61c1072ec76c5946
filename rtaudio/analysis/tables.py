"""The constant tables of an analysis: window, mel filters, DCT. Built once, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def window(name: str | float | tuple[Any, ...], win_length: int, n_fft: int) -> NDArray[np.float64]:
    """A periodic window of ``win_length``, centred in zeros to ``n_fft``; shape (n_fft,).

    `scipy.signal.get_window` makes it. The default alone is computed here, since importing
    scipy.signal takes longer than everything else on the way to the first frame:
    w[n] = 1/2 - 1/2 cos(2 pi n / win_length).
    """
    if name == "hann":
        weights = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(win_length) / win_length)
        if win_length == 1:
            weights[0] = 1.0  # as scipy has it
    else:
        from scipy.signal import get_window

        weights = get_window(name, win_length, fftbins=True)
    left = (n_fft - win_length) // 2
    return np.pad(weights, (left, n_fft - win_length - left))


def hz_to_mel(hz: NDArray[np.float64], htk: bool) -> NDArray[np.float64]:
    """Frequency on the mel scale.

    HTK: 2595 log10(1 + f / 700) (O'Shaughnessy, Speech Communication, 1987). Slaney (Auditory
    Toolbox, 1998): linear below 1 kHz, 3 mel each 200 Hz, then 27 mel each factor of 6.4.
    """
    if htk:
        return 2595 * np.log10(1 + hz / 700)
    log_part = 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4)
    return np.where(hz < 1000, 3 * hz / 200, log_part)


def mel_to_hz(mel: NDArray[np.float64], htk: bool) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    if htk:
        return 700 * (10 ** (mel / 2595) - 1)
    log_part = 1000 * np.exp(np.log(6.4) * (np.maximum(mel, 15) - 15) / 27)
    return np.where(mel < 15, 200 * mel / 3, log_part)


def mel_edges(n_mels: int, fmin: float, fmax: float, htk: bool) -> NDArray[np.float64]:
    """Corners of ``n_mels`` overlapping triangles in Hz, even on the mel scale; (n_mels + 2,)."""
    low, high = hz_to_mel(np.array([fmin, fmax]), htk)
    return mel_to_hz(np.linspace(low, high, n_mels + 2), htk)


def mel_filters(
    sr: int, n_fft: int, n_mels: int, fmin: float, fmax: float, htk: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Triangular mel filters of unit area ("slaney" norm), without their zeros.

    Returns ``weights`` of all bands end to end, and ``bands`` (2, n_mels + 1): band b begins at
    bin ``bands[0, b]`` and has ``weights[bands[1, b]:bands[1, b + 1]]``. A dense matrix of 128
    bands and 1025 bins would be 98 % zeros.
    """
    edges = mel_edges(n_mels, fmin, fmax, htk)
    frequencies = np.fft.rfftfreq(n_fft, 1 / sr)
    pieces: list[NDArray[np.float64]] = []
    bands = np.zeros((2, n_mels + 1), np.int64)
    for band, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        first, stop = np.searchsorted(frequencies, (left, right))
        bins = frequencies[first:stop]
        rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
        pieces.append(np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left))
        bands[0, band] = first
    bands[1] = np.cumsum([0, *(len(piece) for piece in pieces)])
    return np.concatenate(pieces).astype(np.float32), bands


def dct_matrix(n_mfcc: int, n_mels: int) -> NDArray[np.float32]:
    """The first rows of the orthonormal DCT-II, as `scipy.fft.dct(norm="ortho")`; (n_mfcc, n_mels).

    D[k, n] = sqrt(2 / N) cos(pi k (2n + 1) / 2N), row 0 divided by sqrt(2).
    """
    k, n = np.ogrid[:n_mfcc, :n_mels]
    matrix: NDArray[np.float64] = np.sqrt(2 / n_mels) * np.cos(
        np.pi * k * (2 * n + 1) / (2 * n_mels)
    )
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)
