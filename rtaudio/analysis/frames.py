"""What an analysis yields: `Frames`, a few rows at a time, and `Features`, a whole recording."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray

    from rtaudio.analysis.settings import Settings

    Floats = NDArray[np.float32]

#: The features that can be asked for, in the order they are written in.
FEATURES = ("rms", "peak", "mfcc", "mel_db", "db", "power", "captured")
DEFAULT_FEATURES = ("mfcc", "rms", "peak")


@dataclass(slots=True, eq=False, repr=False)
class Frames:
    """k rows, one for each hop; every array is C-contiguous, its first axis the row.

    What `Analyzer` yields is borrowed: read-only, and overwritten at the next step. `copy` keeps.
    """

    first: int
    """Number of the first row since the start. Rows wholly lost are left out, so it may jump."""
    time: NDArray[np.float64]
    """(k,) s: the middle of each frame, or with ``center=False`` likewise, as librosa's
    `frames_to_time` has it (which is given ``n_fft`` then)."""
    power: Floats
    """(k, 1 + n_fft // 2): squared magnitude of the Fourier transform, as ``abs(stft) ** 2``."""
    db: Floats
    """(k, 1 + n_fft // 2) dB: 10 log10(max(power, 1e-10))."""
    mel_db: Floats
    """(k, n_mels) dB: the same of the power in each mel band."""
    mfcc: Floats
    """(k, n_mfcc): orthonormal DCT-II of ``mel_db``, which is not clipped at the bottom."""
    rms: Floats
    """(k,): root mean square of the frame's n_fft samples, without the window."""
    peak: Floats
    """(k,): largest absolute value of the frame's n_fft samples."""
    lost: NDArray[np.int64]
    """(k,): how many of the frame's n_fft samples were lost and stand as zeros."""
    captured: NDArray[np.float64]
    """(k,) s: when the frame's last sample was captured, on the clock of `Block.captured`; NaN
    where that is not known, as in a recording."""

    def __len__(self) -> int:
        """Return the number of rows, k."""
        return len(self.time)

    def __repr__(self) -> str:
        """Which rows these are, and not the numbers in them."""
        shown = f"{self.time[0]:.3f} … {self.time[-1]:.3f} s" if len(self) else "none"
        return f"Frames({len(self)} rows from {self.first}: {shown}, {int(self.lost.sum())} lost)"

    def since(self, first: int) -> Frames:
        """The rows from the number ``first`` on, as a view of these."""
        start = max(0, first - self.first)
        arrays = (getattr(self, field.name)[start:] for field in fields(self)[1:])
        return Frames(self.first + start, *arrays)

    def before(self, stop: int) -> Frames:
        """The rows before the number ``stop``, as a view of these."""
        count = max(0, stop - self.first)
        arrays = (getattr(self, field.name)[:count] for field in fields(self)[1:])
        return Frames(self.first, *arrays)

    def newest(self) -> Frames:
        """The last row, as a row of one's own."""
        arrays = (getattr(self, field.name)[-1:].copy() for field in fields(self)[1:])
        return Frames(self.first + len(self) - 1, *arrays)

    def copy(self) -> Frames:
        """Rows of one's own, that stay."""
        arrays = (getattr(self, field.name).copy() for field in fields(self)[1:])
        return Frames(self.first, *arrays)


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a whole recording: arrays named as in `Frames`, n_frames rows each.

    Holds ``time``, ``lost`` and the features that were asked for.
    """

    settings: Settings
    arrays: dict[str, NDArray[Any]]
    about: dict[str, Any]
    """How they came about, as it stands in an output: ``rtaudio``'s version, ``settings``,
    ``top_db``, ``samples``, ``invalid`` (samples that were NaN, Inf or beyond 1e12, and were
    taken as 0), ``notes``."""

    def __getattr__(self, name: str) -> NDArray[Any]:
        """Look up an array by its name."""
        arrays = self.__dict__.get("arrays", {})
        if name in arrays:
            return arrays[name]  # type: ignore[no-any-return]
        if name in FEATURES:
            raise AttributeError(f"{name} was not asked for: analyze(…, features=({name!r}, …))")
        raise AttributeError(f"Features have no {name!r}: {', '.join(arrays)}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.arrays["time"])

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Centre of each bin of ``power`` and ``db`` in Hz."""
        return self.settings.frequencies

    def save(self, path: str | PathLike[str]) -> None:
        """Write to ``path``: .csv (settings beside it in .json), .npz or .parquet, by its suffix.

        The file is whole or not there: it is written under another name and then renamed.
        """
        from rtaudio.consumers.writers import save

        save(self, path)


def check_features(names: object) -> tuple[str, ...]:
    """``names`` as a tuple in the order of `FEATURES`; `ValueError` names what is not one."""
    wanted = (names,) if isinstance(names, str) else tuple(names)  # type: ignore[arg-type]
    for name in wanted:
        if name not in (*FEATURES, "time", "lost"):  # these two are always there
            raise ValueError(f"{name!r} is not a feature: {', '.join(FEATURES)}")
    if not wanted:
        raise ValueError(f"no feature named: {', '.join(FEATURES)}")
    return tuple(name for name in FEATURES if name in wanted)
