"""`rtaudio latency`: each delay measured, on the fake host and on real JACK."""

import argparse
import json
import math
import os
import re
import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from command import COMMAND
from loopback import Measurement
from servers import Jack, Screen, iodelay, jack_client, jack_delay, private_env, wait_for

import rtaudio
from rtaudio import Gap, cli
from rtaudio.capture.fake import FakeHost, Script, VirtualClock
from rtaudio.cli import delays
from rtaudio.latency import ONSET_DB, Loopback, algorithmic

LATENCY = [*COMMAND, "latency"]


def latency(*words, env=None, timeout=60):
    """Run it; returns the finished process."""
    return subprocess.run(
        [*LATENCY, *words], env=env, capture_output=True, text=True, timeout=timeout
    )


# --- the algorithmic delay --------------------------------------------------------------------


def tone_onset(settings, sr, db):
    """When a row's newest sample is so far behind a tone's onset that its bin reads ``db``."""
    onset, hz = 3 * settings.n_fft, 16 * sr / settings.n_fft
    y = np.sin(2 * np.pi * hz * np.arange(6 * settings.n_fft) / sr)
    y[:onset] = 0
    features = rtaudio.analyze(y, sr=sr, settings=settings, features=("db",))
    level = features.db[:, 16]
    newest = np.arange(len(level)) * settings.hop_length + settings.n_fft - 1
    return newest[np.argmax(level >= level.max() + db)] - onset + 1


@pytest.mark.parametrize("window", ["hann", "hamming", "boxcar", "blackmanharris"])
@pytest.mark.parametrize("win_length", [None, 256])
def test_a_tone_that_sets_in_is_seen_when_it_is_told(window, win_length):
    sr = 8000
    settings = rtaudio.Settings(
        n_fft=512, hop_length=1, window=window, win_length=win_length, center=False, sr=sr
    )
    delay = algorithmic(settings, sr)
    for db in ONSET_DB:
        seen = tone_onset(settings, sr, db)
        assert delay.onset_ms[db] * sr / 1e3 == pytest.approx(seen, abs=8)  # a half period of it


@pytest.mark.parametrize(("source_sr", "sr"), [(48000, 22050), (48000, 16000), (44100, 48000)])
def test_the_resampler_keeps_samples_back_as_long_as_is_told(source_sr, sr):
    told_ms = algorithmic(rtaudio.Settings(sr=sr, n_fft=64, hop_length=1), source_sr).resampler_ms
    settings = rtaudio.Settings(sr=sr, n_fft=64, hop_length=1, center=False)
    analyzer = rtaudio.Analyzer(settings, source_sr)
    waits, fed = [], 0
    for _ in range(1500):
        fed += 48
        for frames in analyzer.feed(np.zeros(48, np.float32)):
            newest = frames.first + len(frames) - 1 + 64
        if fed > source_sr:
            waits.append(fed / source_sr - newest / sr)
    # A sample may just have missed a delivery: it waits until the next one.
    assert max(waits) <= told_ms / 1e3 <= max(waits) + 0.003
    assert algorithmic(settings, sr).resampler_ms == 0


def test_the_middle_of_a_frame_is_half_of_it_behind():
    delay = algorithmic(rtaudio.Settings(sr=48000), 48000)
    assert delay.center_ms == pytest.approx(1024 / 48)
    assert delay.total_ms == pytest.approx(1024 / 48)
    assert delay.hop_ms == pytest.approx(512 / 48)


# --- the command, on the fake host ------------------------------------------------------------


def test_one_object_holds_all_that_was_measured():
    done = latency("fake:", "--duration", "6.5", "--json", "--hop-length", "128", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    stages = told["stages"]
    assert list(stages) == [
        *("adc_to_callback", "callback_jitter", "callback_to_read", "read_to_frame"),
        *("frame_to_consumer", "callback_to_frame", "captured_to_frame"),
    ]
    for stage in stages.values():
        assert set(stage) == {"p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms", "n"}
        assert 0 <= stage["p50_ms"] <= stage["p95_ms"] <= stage["p99_ms"] <= stage["max_ms"]
        assert stage["n"] > 1000
    assert told["algorithmic_ms"] == pytest.approx(1024 / 48)
    assert told["xruns"] == told["lost"] == 0
    assert abs(told["drift_ppm"]) <= 3 * told["drift_uncertainty_ppm"] + 1
    assert told["claimed_ms"] == 5
    assert "round_trip" not in told


def test_the_table_has_a_line_a_stage_and_the_kinds_of_delay_their_own_words():
    done = latency("fake:", "--duration", "2", "--sr", "16000", "--window", "kaiser:8")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ms", "p50", "p95", "p99", "p99.9", "max", "n"]
    assert lines[1].startswith("capture → callback ")
    assert "–" in lines[1]  # p99.9 takes 1,000 values
    assert max(map(len, lines)) <= 100
    text = " ".join(done.stdout.split())
    assert "By the settings alone, on any machine: " in text
    assert "Resampling 48000 → 16000 Hz keeps samples back up to" in text
    assert "The driver claims 5.0 ms from capture to callback; that is no measurement." in text
    assert "('kaiser', 8.0) window" in text
    assert "Its true rate is not known yet" in text


def test_the_latency_that_changed_and_losses_that_did_not_happen_are_said():
    class Changed(rtaudio.Microphone):
        @property
        def stats(self):
            changes = {"latency_changes": 3, "latency_change_ms": 12.4}
            return replace(super().stats, **changes, largest_latency_change_ms=18.0)

        def __iter__(self):
            for number, block in enumerate(super().__iter__()):
                if number == 10:
                    block.remarks = (Gap(0, 87397, "unplaced", 4800), Gap(0, 240, "refuted", 0))
                yield block

    host = FakeHost(Script(), VirtualClock())
    with rtaudio.live(Changed(host=host), duration_s=1) as run:
        run.wait()
    stats, delay = run.stats, algorithmic(run.settings, run.source.sr)
    args = argparse.Namespace(load=[])
    about = delays._about(run, stats, args, delay, None, None)
    told = {"unplaced": 87397, "refuted": 240, "latency_changes": 3, "latency_change_ms": 12.4}
    assert told.items() <= about.items()
    assert about["largest_latency_change_ms"] == 18.0
    said = delays._words(run, stats, about, delay, None)
    assert "Latency changed 3 times, last by +12.4 ms, at most by +18.0 ms." in said
    assert any(
        "240 of them turned out not to be lost; about 87397 " in line.lower() for line in said
    )
    unchanged = replace(stats, latency_changes=0)
    unsaid = [line for line in said if not line.startswith("Latency changed")]
    assert delays._words(run, unchanged, about, delay, None) == unsaid


def test_a_file_stands_in_for_the_microphone(here):
    done = latency("song.wav", "--json", "--duration", "5")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "adc_to_callback" not in told["stages"]
    assert told["stages"]["callback_to_frame"]["n"] > 30
    assert told["drift_ppm"] is None
    assert "callback_jitter" not in told["stages"]
    assert "Nobody calls back with a recording" in latency("song.wav").stdout


def test_each_row_has_its_age_also_where_a_block_completes_many():
    done = latency("fake:", "--duration", "3", "--blocksize", "4096", "--json", "-q")
    told = json.loads(done.stdout)
    age, block_ms = told["stages"]["captured_to_frame"], 4096 / 48
    assert told["blocksize"] == 4096
    assert abs(age["n"] - told["frames"]) <= 4  # but for what is completed at the end
    assert age["p50_ms"] > block_ms / 3
    assert age["max_ms"] > block_ms - 512 / 48
    words = latency("fake:", "--duration", "0.5", "--blocksize", "4096").stdout
    assert "in blocks of 4096: the first waits 85.3 ms for the last" in " ".join(words.split())


def test_a_run_too_short_to_know_the_devices_time_says_so():
    assert "own time is not known well yet" in latency("fake:", "--duration", "0.3").stdout


def test_an_output_that_can_not_write_every_letter_gets_what_it_can():
    done = latency("fake:", "--duration", "0.3", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "callback ? frame" in done.stdout


def test_a_closed_input_is_not_taken_by_a_pipe():
    line = f"{' '.join(LATENCY)} fake: --duration 0.3 --json -q <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["frames"] > 10


def test_a_closed_output_is_one_line():
    line = f"{' '.join(LATENCY)} fake: --duration 0.3 >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "rtaudio: standard output is closed: there is nowhere to write to\n"


def test_the_gate_lets_pass_what_is_early_enough():
    words = ("fake:", "--duration", "1", "--hop-length", "128")
    assert latency(*words, "--max-p99-ms", "1000").returncode == 0
    late = latency(*words, "--max-p99-ms", "0.0001", "--json")
    assert late.returncode == 1
    assert json.loads(late.stdout)["stages"]
    assert late.stderr.splitlines()[-1].startswith("rtaudio: p99 of callback → frame is ")
    short = latency("fake:", "--duration", "0.2", "--max-p99-ms", "1000")
    assert short.returncode == 1
    assert "takes 100 values, and there are" in short.stderr


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_drawn(tmp_path, suffix):
    path = tmp_path / f"delays.{suffix}"
    done = latency("fake:", "--duration", "1", "--plot", path)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size > 10_000
    assert f"picture: {path}" in done.stderr


@pytest.mark.parametrize("load", ["gil", "cpu", "gil,cpu"])
def test_it_is_measured_beside_a_load(load):
    done = latency("fake:", "--duration", "1.5", "--load", load, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["load"] == load.split(",")
    assert told["stages"]["callback_to_frame"]["n"] > 100
    left = subprocess.run(["pgrep", "-f", "parent = os.getppid"], capture_output=True, text=True)
    assert left.stdout == ""


def test_it_is_measured_beside_the_window_and_beside_pictures_without_one(tmp_path):
    with Screen(tmp_path) as screen:
        on_screen = latency(
            *("fake:", "--duration", "3", "--load", "render", "--json"),
            env={**screen.env, "LIBGL_ALWAYS_SOFTWARE": "1"},
        )
    assert on_screen.returncode == 0, on_screen.stderr
    told = json.loads(on_screen.stdout)
    assert told["drawn"] == "in a window"
    assert told["drawn_per_s"] > 5
    stages = told["stages"]
    assert stages["frame_to_screen"]["n"] > 10
    assert stages["captured_to_screen"]["p50_ms"] > stages["captured_to_frame"]["p50_ms"]
    env = private_env()
    env.pop("DISPLAY", None)
    env.pop("WAYLAND_DISPLAY", None)
    without = latency("fake:", "--duration", "2", "--load", "render", env=env)
    assert without.returncode == 0, without.stderr
    assert "Drawn in memory, where nobody sees it: " in without.stdout
    assert "on screen" not in without.stdout


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_what_was_measured_is_told_where_it_is_interrupted(number, status):
    process = subprocess.Popen(
        [*LATENCY, "fake:", "--duration", "1h", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "for 3600 s" in process.stderr.readline()
    time.sleep(1.5)  # of sound
    process.send_signal(number)
    out, said = process.communicate(timeout=20)
    assert process.returncode == status, said
    told = json.loads(out)
    assert told["stages"]["callback_to_frame"]["n"] > 10
    assert f"ended after {told['duration_s']:.1f} s: this is what was measured until then" in said


WRONG = {
    ("--load", "gpu"): "--load gpu: not one of none, gil, cpu, render",
    ("--loopback", "0:0", "song.wav"): "--loopback OUT:IN names both devices",
    ("--loopback", "0:0", "-d", "usb"): "--loopback OUT:IN names both devices",
    ("--level", "-10"): "--level is of the sweeps",
    ("--loopback", "0:0", "--level", "0"): "level 0 dBFS is not in -80 … -6",
    ("--loopback", "0:0", "--duration", "1"): "too short for a round trip: 3 s at least",
    ("-",): "standard input has no pace",
    ("song.wav", "--blocksize", "64"): "--blocksize is for a microphone, and song.wav is none",
    ("--max-p99-ms", "0"): "--max-p99-ms 0 is not above 0",
    ("--plot", "delays.txt"): "--plot delays.txt: not one of .png, .svg, .pdf",
    ("--plot", "no/where.png"): "no file can be written there",
    ("--duration", "soon"): "'soon' is not a time",
    ("--lopback", "0:0"): "did you mean --loopback?",
    ("--top-db", "80"): "--top-db needs the whole recording",
    ("a.wav", "b.wav"): "unrecognized arguments: b.wav",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_are_one_line(words, capsys):
    assert cli.main(["latency", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert WRONG[words] in line


@pytest.mark.parametrize("words", [("no such.wav",), ("-d", "nosuch"), ("--loopback", "nosuch:0")])
def test_what_can_not_be_opened_is_one_line(words, capsys):
    assert cli.main(["latency", *words]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1


# --- the round trip, on real JACK -------------------------------------------------------------


@pytest.fixture(scope="module")
def jack(tmp_path_factory):
    with Jack(tmp_path_factory.mktemp("jack")) as server:
        yield server


@pytest.fixture(scope="module")
def direct(jack):
    """The loop without a delay line: PortAudio's two buffers."""
    trip = Measurement(jack).directly().result()
    assert trip["samples"] == pytest.approx(256, abs=0.01)
    assert trip["ms"] == pytest.approx(256 / 48)
    assert trip["confidence"] == 1
    assert trip["spread_samples"] < 0.01
    assert trip["n"] >= 5
    assert trip["claimed_ms"] > 0
    assert trip["gain_db"] == pytest.approx(0, abs=0.1)
    return trip["samples"]


def test_delay_lines_are_measured_to_the_sample(jack, direct):
    with ExitStack() as stack:
        runs = {}
        for delay in (0, 1, 7, 480, 4801, 48000):
            ports = stack.enter_context(jack_delay(jack, delay))
            runs[delay] = Measurement(jack, seconds=2.7 + delay / 48000).through(ports)
        found = {delay: run.result()["samples"] - direct for delay, run in runs.items()}
    assert found == {delay: pytest.approx(delay, abs=0.01) for delay in runs}


@pytest.mark.parametrize(("blocksize", "samples"), [(256, 384), (1024, 1152)])
def test_the_direct_loop_is_what_the_blocks_make_of_it(jack, blocksize, samples):
    trip = Measurement(jack, blocksize=blocksize).directly().result()
    assert trip["samples"] == pytest.approx(samples, abs=0.01)


def test_jack_iodelay_agrees(jack, direct):
    without = iodelay(jack)
    with jack_delay(jack, 1234) as ports:
        theirs = iodelay(jack, through=ports) - without
        ours = Measurement(jack).through(ports).result()["samples"] - direct
    assert ours == pytest.approx(theirs, abs=1)
    assert ours == pytest.approx(1234, abs=0.01)


def test_noise_in_the_loop_does_no_harm(jack, direct):
    rms = 0.1 * math.sqrt(0.5)  # of the sweeps
    with (
        jack_delay(jack, 321, noise=rms / 100) as soft,
        jack_delay(jack, 321, noise=rms * 10) as loud,
    ):
        quiet, noisy = Measurement(jack).through(soft), Measurement(jack).through(loud)
        assert quiet.result()["samples"] - direct == pytest.approx(321, abs=0.01)
        assert noisy.result()["samples"] - direct == pytest.approx(321, abs=1)
    assert quiet.status == noisy.status == 0, noisy.said


def test_silence_and_what_is_no_loop_are_refused(jack):
    silent = Measurement(jack)  # connected to nothing
    with jack_client(jack, "jack_counter.py") as about:
        wrong = Measurement(jack)
        jack.connect(about["port"], wrong.input)
        assert wrong.result()["samples"] is None
    assert wrong.status == 1
    trip = silent.result()
    assert silent.status == 1
    assert trip["samples"] is trip["ms"] is trip["spread_samples"] is None
    assert trip["confidence"] == trip["n"] == 0
    assert "rtaudio: no round trip: too few sweeps come back (0 of" in silent.said
    assert "digital silence" in silent.said


def test_feedback_and_clipping_are_said(jack, direct):
    with jack_delay(jack, 4000, echo=0.5) as fed, jack_delay(jack, 0, gain=20.0) as driven:
        measured, loud = Measurement(jack).through(fed), Measurement(jack).through(driven)
        trip = measured.result()
        loud.result()
    assert trip["samples"] - direct == pytest.approx(4000, abs=1)
    again = r"\(4000 samples\) later, at -[4-7] dB: feedback, or a second path"
    assert re.search(again, measured.said), measured.said
    assert "the input clips" in loud.said


def test_the_words_tell_what_was_measured_and_what_was_claimed(jack):
    command = [*LATENCY, "--loopback", "system:system", "--duration", "3", "--level", "-30"]
    process = subprocess.Popen(
        command, env=jack.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    source = wait_for(lambda: [p for p in jack.ports() if p.endswith("out_0")], "output")[0]
    jack.play_into(source, jack.input_port(30))
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    text = " ".join(out.split())
    assert "Round trip: " in text
    assert "it comes back at +0.0 dB). The driver claims " in text


WRONG_LOOPS = {
    "system:nosuch": "there is no input 'nosuch'; inputs are: ",
    "nosuch:system": "there is no output 'nosuch'; outputs are: ",
    "system": "'system' is not OUT:IN",
    "99:99": "there is no output 99; outputs are: ",
}


@pytest.mark.parametrize("words", WRONG_LOOPS)
def test_ends_that_are_not_there_are_one_line(jack, words):
    done = latency("--loopback", words, env=jack.env)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert WRONG_LOOPS[words] in line


def test_a_rate_that_the_loop_does_not_run_at_is_one_line(jack):
    done = latency("--loopback", "system:system", "--device-rate", "44100", env=jack.env)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "does not take 44100 Hz; it takes 48000" in line


@pytest.mark.parametrize("again", [True, False])
def test_a_server_that_dies_meanwhile_leaves_no_figure(tmp_path, again):
    with Jack(tmp_path) as server:
        measured = Measurement(server, seconds=5).directly()
        time.sleep(1.5)
        server.kill()
        if again:
            server.start()
        trip = measured.result()
    assert measured.status == 1
    assert trip["samples"] is None
    assert "the device was lost meanwhile" in measured.said


def test_levels_are_safe_for_ears():
    with pytest.raises(ValueError, match="heard on loudspeakers"):
        Loopback("0:0", 10, level_db=-3)
    with pytest.raises(ValueError, match="3 s at least"):
        Loopback("0:0", 1)


# --- which devices are meant ------------------------------------------------------------------


def devices(*names):
    from rtaudio.capture.devices import Device

    return [Device(i, name, "ALSA", 2, 48000, (), i == 0) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("words", "out", "source"),
    [
        ("0:1", 0, 1),
        (":", 0, 0),
        ("1:", 1, 0),
        ("usb:usb", 1, 1),
        ("hw:1,0:hw:1,0", 1, 1),
        ("PCH:hw:1,0", 0, 1),
    ],
)
def test_a_loopback_is_two_devices_whose_names_may_hold_colons(words, out, source):
    from rtaudio.capture.devices import choose_loopback

    both = devices("HDA PCH (hw:0,0)", "USB Audio (hw:1,0)")
    found = choose_loopback(both, both, words)
    assert (found[0].index, found[1].index) == (source, out)
