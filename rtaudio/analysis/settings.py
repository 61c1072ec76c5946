"""What to compute: the settings of an analysis, named and defaulted as in librosa."""

from __future__ import annotations

import difflib
import json
import math
import numbers
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtaudio.analysis import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_N_FFT = 1 << 20
MAX_SR = 10_000_000
MAX_CHANNELS = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of an analysis. Lengths are in samples at ``sr``, frequencies in Hz.

    ``sr=None`` means the source's own rate. ``window`` is anything that
    `scipy.signal.get_window` takes by name (``"hann"``, ``("kaiser", 8.0)``, or a number, the
    beta of a Kaiser window), always periodic. ``channel`` is ``"mix"`` (the mean of all) or a
    channel number from 1. ``quantize_bits`` rounds the samples to that many bits first.

    A bad value raises `ValueError`, naming the value and the range.
    """

    sr: int | None = None
    n_fft: int = 2048
    win_length: int | None = None
    hop_length: int = 512
    window: str | float | tuple[Any, ...] = "hann"
    center: bool = True
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float | None = None
    htk: bool = False
    n_mfcc: int = 13
    quantize_bits: int | None = None
    channel: int | str = "mix"

    def __post_init__(self) -> None:
        """Check every value; numpy's numbers become Python's, lists become tuples."""
        for name, low, high in (
            ("n_fft", 1, MAX_N_FFT),
            ("hop_length", 1, 1 << 40),
            ("n_mels", 1, 4096),
        ):
            self._whole(name, low, high)
        self._whole("n_mfcc", 1, self.n_mels, "n_mels")
        if self.sr is not None:
            self._whole("sr", 1, MAX_SR)
        if self.win_length is not None:
            self._whole("win_length", 1, self.n_fft, "n_fft")
        if self.quantize_bits is not None:
            self._whole("quantize_bits", 1, 24)
        if self.channel != "mix":
            if isinstance(self.channel, str):
                raise ValueError(f"channel={self.channel!r} is not 'mix' or a number from 1")
            self._whole("channel", 1, MAX_CHANNELS)
        for name in ("center", "htk"):
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{name}={value!r} is not True or False")
            self._set(name, bool(value))
        self._check_band()
        self._check_window()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _whole(self, name: str, low: int, high: int, limit: str = "") -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueError(f"{name}={value!r} is not a whole number")
        value = int(value)
        if not low <= value <= high:
            raise ValueError(f"{name}={value} is not in {low} … {high}{limit and f' ({limit})'}")
        self._set(name, value)

    def _check_band(self) -> None:
        for name in ("fmin",) if self.fmax is None else ("fmin", "fmax"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ValueError(f"{name}={value!r} is not a number (Hz)")
            value = float(value)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}={value} Hz is not a frequency from 0")
            self._set(name, value)
        top = math.inf if self.sr is None else self.sr / 2
        if self.fmax is not None and self.fmax > top:
            raise ValueError(f"fmax={self.fmax:g} Hz is above half the rate (sr/2 = {top:g} Hz)")
        highest, name = (top, "half the rate") if self.fmax is None else (self.fmax, "fmax")
        if self.fmin >= highest:
            raise ValueError(f"fmin={self.fmin:g} Hz is not below {name} ({highest:g} Hz)")

    def _check_window(self) -> None:
        if isinstance(self.window, np.ndarray):
            raise ValueError("window is an array: name one that scipy knows, or (name, parameter)")
        self._set("window", _as_tuple(self.window))
        name = self.window[0] if isinstance(self.window, tuple) and self.window else self.window
        if str(name).endswith("_symmetric"):
            raise ValueError(f"window={self.window!r} is symmetric: windows are periodic here")
        if self.window == "hann":  # the default needs no check, nor scipy.signal's long import
            return
        try:
            weights = tables.window(self.window, self.win_length or self.n_fft, self.n_fft)
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(_window_message(self.window, error)) from None
        with np.errstate(over="ignore"):
            finite = np.isfinite(weights.astype(np.float32)).all()
        if not finite:
            raise ValueError(f"window={self.window!r} holds values that are not finite")

    def with_sr(self, sr: int) -> Settings:
        """These settings with ``sr`` filled in where it was left to the source."""
        return self if self.sr is not None else Settings(**{**asdict(self), "sr": sr})

    @property
    def n_bins(self) -> int:
        """Number of frequency bins, 1 + n_fft // 2."""
        return 1 + self.n_fft // 2

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Centre of each bin of ``power`` and ``db`` in Hz, shape (1 + n_fft // 2,)."""
        rate = self._rate("frequencies")
        return np.asarray(np.fft.rfftfreq(self.n_fft, 1 / rate), np.float64)

    @property
    def mel_frequencies(self) -> NDArray[np.float64]:
        """Centre of each mel band in Hz, shape (n_mels,)."""
        sr = self._rate("mel_frequencies")
        edges = tables.mel_edges(self.n_mels, self.fmin, self.fmax or sr / 2, self.htk)
        return edges[1:-1]

    @property
    def full_scale_db(self) -> float:
        """What ``db`` reads for a full-scale sine on a bin: ``db - full_scale_db`` is dBFS.

        A sine of amplitude 1 puts half the sum of the window into its bin.
        """
        total = tables.window(self.window, self.win_length or self.n_fft, self.n_fft).sum()
        return 20 * math.log10(max(abs(float(total)) / 2, 1e-5))

    def _rate(self, name: str) -> int:
        if self.sr is None:
            raise ValueError(f"{name} needs a sampling rate: Settings(sr=…)")
        return self.sr

    def to_json(self) -> str:
        """The settings as one JSON object; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Settings from what `to_json` wrote."""
        return cls(**json.loads(text))


def _as_tuple(value: Any) -> Any:
    """Lists as tuples and numpy's scalars as Python's, all the way down: to hash and to write."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_as_tuple, value)) if isinstance(value, (list, tuple)) else value


def _window_message(window: object, error: Exception) -> str:
    name = window[0] if isinstance(window, tuple) and window else window
    near = difflib.get_close_matches(str(name), _WINDOWS, n=1)
    if near and near[0] != name:
        return f"window={window!r} is not a window that scipy knows; did you mean {near[0]!r}?"
    reason = str(error).splitlines()[0].rstrip(".")
    return f"window={window!r} is not a window that scipy.signal.get_window takes: {reason}"


_WINDOWS = (
    *("barthann", "bartlett", "blackman", "blackmanharris", "bohman", "boxcar", "chebwin"),
    *("cosine", "dpss", "exponential", "flattop", "gaussian", "general_cosine"),
    *("general_gaussian", "general_hamming", "hamming", "hann", "kaiser"),
    *("lanczos", "nuttall", "parzen", "taylor", "triang", "tukey"),
)
