"""One hop, computed by others: the numpy control, librosa, and the peers that are installed.

Each takes the newest ``hop`` samples and leaves an MFCC row and a dB row (MFCC alone where the
library has no way to both), with n_fft 2048, 128 mel bands and 13 coefficients.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
import scipy.fft
import scipy.sparse

from rtaudio import Analyzer, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Hop = Callable[[Floats], Any]

SR, N_FFT, HOP, N_MELS, N_MFCC = 22050, 2048, 512, 128, 13
SETTINGS = Settings(sr=SR, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, n_mfcc=N_MFCC)
MEL = librosa.filters.mel(sr=SR, n_fft=N_FFT, n_mels=N_MELS)
DCT = scipy.fft.dct(np.eye(N_MELS), axis=0, norm="ortho")[:N_MFCC].astype(np.float32)
HANN = librosa.filters.get_window("hann", N_FFT).astype(np.float32)


def _rolling() -> tuple[Floats, Callable[[Floats], None]]:
    """A frame, and what pushes a hop into it."""
    frame = np.zeros(N_FFT, np.float32)

    def push(samples: Floats) -> None:
        frame[:-HOP] = frame[HOP:]
        frame[-HOP:] = samples

    return frame, push


def numpy_control(sparse: bool = False) -> Hop:
    """Plain numpy with arrays made once: FFT in double, a dense mel product."""
    frame, push = _rolling()
    windowed = np.empty(N_FFT, np.float32)
    spectrum = np.empty(N_FFT // 2 + 1, np.complex128)
    power, square, db = (np.empty(N_FFT // 2 + 1, np.float32) for _ in range(3))
    mel, mfcc = np.empty(N_MELS, np.float32), np.empty(N_MFCC, np.float32)
    csr = scipy.sparse.csr_array(MEL)

    def hop(samples: Floats) -> tuple[Floats, Floats]:
        push(samples)
        np.multiply(frame, HANN, out=windowed)
        np.fft.rfft(windowed, out=spectrum)
        np.square(spectrum.real, out=power, casting="same_kind")
        np.square(spectrum.imag, out=square, casting="same_kind")
        np.add(power, square, out=power)
        if sparse:
            mel[:] = csr @ power
        else:
            np.dot(MEL, power, out=mel)
        for values, out in ((power, db), (mel, mel)):
            np.maximum(values, 1e-10, out=out)
            np.log10(out, out=out)
            np.multiply(out, 10, out=out)
        np.dot(DCT, mel, out=mfcc)
        return mfcc, db

    return hop


def rtaudio_feed() -> Hop:
    """The public call, MFCC and dB both read."""
    analyzer = Analyzer(SETTINGS)

    def hop(samples: Floats) -> tuple[Floats, Floats] | None:
        row = None
        for frames in analyzer.feed(samples):
            row = frames.mfcc, frames.db
        return row

    return hop


def rtaudio_kernel() -> Hop:
    """The kernel alone: one compiled call for the newest frame."""
    analyzer = Analyzer(SETTINGS)
    list(analyzer.feed(np.zeros(4 * N_FFT, np.float32)))
    analyzer._start = analyzer._end - N_FFT
    return lambda samples: analyzer._compute(1)


def librosa_public() -> Hop:
    """The calls that users write, on one frame."""
    frame, push = _rolling()

    def hop(samples: Floats) -> tuple[Floats, Floats]:
        push(samples)
        power = np.abs(librosa.stft(frame, n_fft=N_FFT, hop_length=HOP, center=False)) ** 2
        mel = librosa.feature.melspectrogram(S=power, sr=SR)
        mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=N_MFCC)
        return mfcc, librosa.power_to_db(power, top_db=None)

    return hop


def librosa_kept_basis() -> Hop:
    """The same with the mel basis kept: what a careful user comes to."""
    frame, push = _rolling()

    def hop(samples: Floats) -> tuple[Floats, Floats]:
        push(samples)
        power = np.abs(librosa.stft(frame, n_fft=N_FFT, hop_length=HOP, center=False)) ** 2
        mel_db = librosa.power_to_db(MEL @ power, top_db=None)
        mfcc = scipy.fft.dct(mel_db, axis=0, norm="ortho")[:N_MFCC]
        return mfcc, librosa.power_to_db(power, top_db=None)

    return hop


def kaldi() -> Hop:
    """kaldi-native-fbank's online MFCC (no dB spectrum)."""
    import kaldi_native_fbank as knf

    options = knf.MfccOptions()
    options.frame_opts.samp_freq = SR
    options.frame_opts.frame_length_ms = 1000 * N_FFT / SR
    options.frame_opts.frame_shift_ms = 1000 * HOP / SR
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hann"
    options.mel_opts.num_bins = N_MELS
    options.num_ceps = N_MFCC
    online = knf.OnlineMfcc(options)
    taken = 0

    def hop(samples: Floats) -> Any:
        nonlocal taken
        online.accept_waveform(SR, samples)
        row = None
        while taken < online.num_frames_ready:
            row = online.get_frame(taken)
            taken += 1
        return row

    return hop


def essentia() -> Hop:
    """Essentia's standard algorithms."""
    from essentia import standard

    frame, push = _rolling()
    window = standard.Windowing(type="hann", normalized=False, zeroPhase=False)
    spectrum = standard.Spectrum(size=N_FFT)
    mfcc = standard.MFCC(
        inputSize=N_FFT // 2 + 1, sampleRate=SR, numberBands=N_MELS, numberCoefficients=N_MFCC,
        highFrequencyBound=SR / 2, logType="dbpow",
    )  # fmt: skip

    def hop(samples: Floats) -> tuple[Any, Floats]:
        push(samples)
        magnitude = spectrum(window(frame))
        return mfcc(magnitude), 20 * np.log10(np.maximum(magnitude, 1e-5))

    return hop


def torch_by_hand() -> Hop:
    """The same steps in torch, tables kept, one thread."""
    import torch

    torch.set_num_threads(1)
    frame, push = _rolling()
    shared = torch.from_numpy(frame)
    window, mel, dct = (torch.from_numpy(table) for table in (HANN, MEL, DCT))

    def hop(samples: Floats) -> tuple[Any, Any]:
        push(samples)
        with torch.inference_mode():
            power = torch.fft.rfft(shared * window).abs().square()
            mel_db = 10 * torch.log10(torch.clamp(mel @ power, min=1e-10))
            return dct @ mel_db, 10 * torch.log10(torch.clamp(power, min=1e-10))

    return hop


CONTROL = "numpy, arrays made once (control)"


def contenders() -> dict[str, Hop]:
    """Every contender that can run here, by name; the control first."""
    found = {
        CONTROL: numpy_control(),
        "rtaudio, Analyzer.feed": rtaudio_feed(),
        "rtaudio, the kernel's call alone": rtaudio_kernel(),
        "numpy + sparse mel": numpy_control(sparse=True),
        "librosa, mel basis kept": librosa_kept_basis(),
        "librosa, public calls": librosa_public(),
    }
    peers = {
        "kaldi_native_fbank": ("kaldi-native-fbank (MFCC only)", kaldi),
        "essentia": ("essentia", essentia),
        "torch": ("torch by hand", torch_by_hand),
    }
    for module, (name, make) in peers.items():
        if importlib.util.find_spec(module) is not None:
            found[name] = make()
    return found
