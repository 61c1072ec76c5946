"""Sources deliver every sample once, in blocks, and say what is wrong."""

import io
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
from command import SONG
from sounds import SR, music

from rtaudio import ArraySource, FileSource, SignalSource, SourceError, analyze
from rtaudio.sources import open_source
from rtaudio.sources.raw import _FORMATS, RawFormat
from rtaudio.sources.signal import KINDS, signal


def read(source):
    """All samples, checking the absolute numbers on the way."""
    with source:
        parts, position = [], 0
        for block in source:
            assert block.first_sample == position
            assert block.samples.ndim == 2
            position += len(block.samples)
            parts.append(block.samples.copy())
    return np.concatenate(parts)


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "a.wav", SONG, SR, subtype="FLOAT")
    return tmp_path / "a.wav"


@pytest.mark.parametrize("blocksize", [None, 1000, 22050, 99999])
def test_a_file_is_read_whole(wav, blocksize):
    source = FileSource(wav, blocksize=blocksize)
    assert (source.sr, source.channels, source.realtime, source.duration_s) == (SR, 2, False, 1.0)
    samples = read(source)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, SONG)
    assert source.notes == []


@pytest.mark.parametrize(
    ("suffix", "options", "error"),
    [
        ("wav", {"subtype": "PCM_16"}, 2**-15),
        ("wav", {"subtype": "PCM_24"}, 2**-23),
        ("flac", {}, 2**-15),
        ("aiff", {"subtype": "PCM_16"}, 2**-15),
        ("ogg", {"format": "OGG", "subtype": "VORBIS"}, 0.05),
        ("opus", {"format": "OGG", "subtype": "OPUS"}, 0.2),
        ("mp3", {"format": "MP3"}, 0.05),
        ("w64", {"format": "W64"}, 2**-15),
        ("caf", {"format": "CAF", "subtype": "PCM_16"}, 2**-15),
    ],
)
def test_every_format_of_libsndfile(tmp_path, suffix, options, error):
    sr = 48000 if suffix == "opus" else SR
    y = np.stack([music(1.0, sr)] * 2, axis=1)
    soundfile.write(tmp_path / f"a.{suffix}", y, sr, **options)
    samples = read(FileSource(tmp_path / f"a.{suffix}"))
    n = min(len(samples), len(y))
    assert abs(len(samples) - len(y)) < 2500
    assert np.sqrt(np.mean((samples[:n] - y[:n]) ** 2)) <= error


def test_a_source_is_the_same_whatever_it_is(wav):
    whole = analyze(wav, features=("db", "mfcc"))
    array = analyze(SONG, sr=SR, features=("db", "mfcc"))
    np.testing.assert_array_equal(whole.db, array.db)
    np.testing.assert_array_equal(whole.mfcc, array.mfcc)


def test_real_pace_has_no_drift(wav):
    """Every block's deadline counts from the start, also behind a reader that was busy."""
    late, starts = [], []
    with FileSource(wav, realtime=True) as source:
        for block in source:
            due = block.captured + len(block.samples) / SR
            late.append(time.perf_counter() - due)
            starts.append(block.captured - block.first_sample / SR)
            if len(late) == 30:
                busy_until = time.perf_counter() + 0.15  # a reader that was busy catches up
                while time.perf_counter() < busy_until:
                    pass
    assert len(late) == 101
    assert min(late) >= 0
    assert late[30] > 0.1  # it came at once, and so did not wait another 10 ms
    np.testing.assert_allclose(starts, starts[0], atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_signals_are_exact_loops(kind):
    one = read(SignalSource(kind, 8000, duration_s=25, blocksize=777))
    assert len(one) == 200_000
    np.testing.assert_array_equal(one[:80000], signal(kind, 8000)[:, None])
    np.testing.assert_array_equal(one[80000:160000], one[:80000])
    assert np.abs(one).max() <= 1


def test_signals_are_what_they_say():
    def peak_frequency(y):
        return np.abs(np.fft.rfft(y * np.hanning(len(y)))).argmax() * 8000 / len(y)

    assert peak_frequency(signal("sine", 8000)) == pytest.approx(440, abs=0.2)
    sweep = signal("sweep", 8000)
    assert peak_frequency(sweep[:2000]) < 40
    assert peak_frequency(sweep[-400:]) == pytest.approx(3600, rel=0.03)
    assert np.sqrt(np.mean(signal("noise", 8000) ** 2)) == pytest.approx(0.1, rel=0.02)
    assert np.count_nonzero(signal("clicks", 8000) == 1) == 40
    assert not signal("silence", 8000).any()


def test_demo_by_name():
    assert open_source("demo:").duration_s == 10
    assert open_source("demo:", realtime=True).duration_s is None
    assert read(open_source("demo:sine")).shape == (220500, 1)
    with pytest.raises(SourceError, match="demo:sinus: no such signal: demo:, demo:sine"):
        open_source("demo:sinus")


# --- what cannot be read --------------------------------------------------------------------


def bad(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.wav", b"", "is empty (0 bytes)"),
        ("notes.wav", b"shopping list: milk, eggs\n" * 50, "not a recording"),
        ("half.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "not a recording"),
        ("x.raw", b"\0" * 100, "--raw"),
        ("x.m4a", b"\0\0\0\x20ftypM4A " * 30, "ffmpeg"),
    ],
)
def test_what_is_no_recording(tmp_path, name, data, words):
    path = bad(tmp_path, name, data)
    with pytest.raises(SourceError) as raised:
        FileSource(path)
    assert str(path) in str(raised.value)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_folder_and_forbidden(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        FileSource(tmp_path / "none.wav")
    with pytest.raises(SourceError, match="is a folder"):
        FileSource(tmp_path)
    with pytest.raises(SourceError, match="null"):
        FileSource("a\0b.wav")


def wav_bytes(n=1000, channels=1, claim=None):
    """A WAV of n samples whose header claims ``claim`` bytes of data."""
    out = io.BytesIO()
    soundfile.write(out, np.tile(SONG[:n, :1], (1, channels)), SR, format="WAV", subtype="PCM_16")
    data = bytearray(out.getvalue())
    if claim is not None:
        at = data.index(b"data") + 4
        data[at : at + 4] = claim.to_bytes(4, "little")
        data[4:8] = min(claim + at - 4, 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("claim", [200_000, 2_000_000_000])
def test_a_header_that_promises_more_than_there_is(tmp_path, claim):
    source = FileSource(bad(tmp_path, "lies.wav", wav_bytes(claim=claim)))
    samples = read(source)
    assert len(samples) == 1000
    assert len(source.notes) == 1
    assert f"promises {claim / 2 / SR:.2f} s, 0.05 s are there" in source.notes[0]


def test_a_header_of_a_program_that_wrote_to_a_pipe_is_no_lie(tmp_path):
    source = FileSource(bad(tmp_path, "pipe.wav", wav_bytes(claim=0xFFFFFFFF)))
    assert len(read(source)) == 1000
    assert source.notes == []


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_a_truncated_recording_is_read_as_far_as_it_goes_or_refused(tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    y = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000).astype(np.float32)
    soundfile.write(whole, y, SR)
    path = bad(tmp_path, f"cut.{suffix}", whole.read_bytes()[: whole.stat().st_size // 2])
    source = FileSource(path)
    try:
        samples = read(source)
    except SourceError as error:
        assert "damaged after" in str(error)
    else:
        assert 20_000 < len(samples) < 190_000
        assert suffix != "flac" or "ends early" in source.notes[0]


def test_sizes_that_make_no_sense():
    for call in (
        lambda: ArraySource(SONG, SR, blocksize=0),
        lambda: ArraySource(SONG[None], SR),
        lambda: SignalSource(duration_s=0),
    ):
        with pytest.raises(ValueError, match=r"blocksize=0|shape|duration_s=0"):
            call()


# --- standard input ---------------------------------------------------------------------------

READ_STDIN = """
import sys, numpy as np
from rtaudio.sources import open_source
with open_source("-", raw=sys.argv[1] or None) as source:
    parts = [block.samples.copy() for block in source]
    np.save(sys.argv[2], np.concatenate(parts))
    print(source.sr, source.channels, *source.notes, sep="|")
"""


def through_stdin(tmp_path, data, raw=""):
    done = subprocess.run(
        [sys.executable, "-c", READ_STDIN, raw, tmp_path / "out.npy"],
        input=data, capture_output=True, check=True,
    )  # fmt: skip
    return np.load(tmp_path / "out.npy"), done.stdout.decode().strip().split("|")


@pytest.mark.parametrize("claim", [None, 0xFFFFFFFF])
def test_wav_on_stdin_is_recognised(tmp_path, claim):
    samples, (sr, channels) = through_stdin(tmp_path, wav_bytes(channels=2, claim=claim))
    assert (sr, channels) == (str(SR), "2")
    np.testing.assert_allclose(samples[:, 0], SONG[:1000, 0], atol=2**-15)


@pytest.mark.parametrize("encoding", _FORMATS)
def test_raw_samples_on_stdin(tmp_path, encoding):
    bits = RawFormat(encoding, SR, 1).bytes_per_sample * 8
    order = "big" if encoding.endswith("be") else "little"
    y = np.array([[0, -1], [0.5, -0.25], [0.125, 0.75]])
    if encoding.startswith("f"):
        data = y.astype(f"{'>' if order == 'big' else '<'}f{bits // 8}").tobytes()
    else:
        levels = (y * 2 ** (bits - 1)).astype(int) + (128 if encoding == "u8" else 0)
        data = b"".join(
            int(v).to_bytes(bits // 8, order, signed=encoding != "u8") for v in levels.ravel()
        )
    samples, (sr, channels) = through_stdin(tmp_path, data * 30_000, f"{encoding}:48000:2")
    assert (sr, channels) == ("48000", "2")
    np.testing.assert_array_equal(samples, np.tile(y, (30_000, 1)))


def test_a_truncated_wav_on_stdin_is_told(tmp_path):
    samples, (*_, note) = through_stdin(tmp_path, wav_bytes(n=20_000)[:-10_000])
    assert len(samples) == 15_000
    assert "promises 0.91 s, 0.68 s are there" in note


def test_stdin_that_ends_in_mid_sample(tmp_path):
    samples, (*_, note) = through_stdin(tmp_path, b"\0" * 1003, "f32le:8000:2")
    assert len(samples) == 125
    assert "3 of 8 bytes" in note


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not one of u8"),
        ("f32", "'f32' is not one of"),
        ("f32le", "'' is not a rate"),
        ("f32le:0:1", "'0' is not a rate"),
        ("f32le:48k:1", "'48k' is not a rate"),
        ("f32le:48000", "'' is not a channel count"),
        ("f32le:48000:0", "'0' is not a channel count"),
    ],
)
def test_a_raw_format_that_makes_no_sense(text, words):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        RawFormat.parse(text)
    assert words in str(raised.value)


def test_a_pipe_by_name(tmp_path):
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(wav_bytes(n=20_000),))
    writer.start()
    samples = read(FileSource(fifo))
    writer.join()
    np.testing.assert_allclose(samples[:, 0], SONG[:20_000, 0], atol=2**-15)
