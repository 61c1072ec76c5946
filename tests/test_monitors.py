"""What outputs play, heard by their monitors: of PulseAudio and PipeWire, the real servers."""

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitored import Heard, channel_map, load_sink, playing, set_rate, unload_sink
from servers import Jack, PipeWire, Pulse, private_env, wait_for

import rtaudio
from rtaudio import doctor
from rtaudio.capture import libpulse
from rtaudio.capture.devices import Device, DeviceError, choose_by, find_source, with_default
from rtaudio.capture.libpulse import Connection, NoServer
from rtaudio.capture.pulse import PulseStream, _Blocks
from rtaudio.capture.server import connect, source_devices, sources
from rtaudio.capture.wire import OTHER_DEFAULT, Request
from rtaudio.cli import main
from rtaudio.cli.devices import _line
from rtaudio.session import _offered
from rtaudio.sources import open_source

SERVERS = pytest.mark.parametrize("server", [Pulse, PipeWire])


@contextmanager
def hearing(device, **options):
    """A microphone that is listened to in a thread, as ``live`` does; yields what came of it."""
    run = SimpleNamespace(heard=Heard(), said=[], gaps=[], lengths=set(), samples=0, error=None)
    run.microphone = rtaudio.Microphone(device, tell=run.said.append, **options)
    opened = threading.Event()

    def listen():
        try:
            with run.microphone as microphone:
                opened.set()
                for block in microphone:
                    run.gaps += block.gaps
                    run.samples += len(block.samples)
                    if len(block.samples):
                        run.lengths.add(len(block.samples))
                        run.heard.take(block.samples)
        except rtaudio.SourceError as error:
            run.error = error
            opened.set()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert opened.wait(20)
        yield run
    finally:
        run.microphone.stop()
        thread.join()


def goes_on(run, seconds=1.0):
    """Wait until so much more has come."""
    until = run.samples + seconds * run.microphone.sr
    wait_for(lambda: run.samples >= until, "sound")


# --- the list ---------------------------------------------------------------------------------


@SERVERS
def test_the_sources_of_a_server_are_inputs(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        load_sink(running, "six", 44100, 6, description="Six")
        running.pactl("set-default-sink", "six")
        found = [device for device in rtaudio.devices() if device.description]
        every = rtaudio.devices()
    assert [device.name for device in found] == ["rt.monitor", "six.monitor"]
    assert [device.monitor_of for device in found] == ["rt", "six"]
    assert [(device.sr, device.channels) for device in found] == [(48000, 2), (44100, 6)]
    assert [device.server_default for device in found] == [False, True]
    assert [device.name for device in every if device.default] == ["default"]
    assert found[1].description == "Monitor of Six"
    assert {device.hostapi for device in found} == {server.__name__.replace("Pulse", "PulseAudio")}
    assert [device.index for device in every[-2:]] == [len(every) - 2, len(every) - 1]
    assert every[-2:] == found


def test_a_microphone_of_a_server_goes_by_its_name(tmp_path, use):
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        words = ("source_name=throat", "master=rt.monitor", "channels=1", "channel_map=mono")
        pulse.pactl("load-module", "module-remap-source", *words)
        device = next(device for device in rtaudio.devices() if device.name == "throat")
        assert (device.monitor_of, device.channels) == ("", 1)
        for wanted in ("throat", "THROAT, pulseaudio", device.index, device):
            with hearing(wanted) as run:
                assert run.microphone.opened.device == "throat"
                goes_on(run, 0.1)


# --- which one is meant -----------------------------------------------------------------------

USB = "alsa_output.usb-Focusrite_Scarlett-00.analog-stereo"
DEVICES = [
    Device(0, "Scarlett: USB Audio (hw:1,0)", "ALSA", 2, 48000),
    Device(1, "default", "ALSA", 32, 44100, default=True),
    Device(2, f"{USB}.monitor", "PipeWire", 2, 48000, (), False, "Monitor of Scarlett", USB),
    Device(3, "hdmi.monitor", "PipeWire", 2, 48000, (), False, "Monitor of HDMI", "hdmi", True),
    Device(4, "hdmi-2.monitor", "PipeWire", 2, 48000, (), False, "Monitor of HDMI 2", "hdmi-2"),
    Device(5, "alsa_input.usb-Rode", "PipeWire", 1, 48000, (), False, "Rode NT-USB", "", True),
]


@pytest.mark.parametrize(
    ("words", "index"),
    [
        ("monitor:", 3),
        (" monitor: ", 3),
        ("monitor:hdmi", 3),  # its whole name
        ("monitor:HDMI 2", 4),
        ("monitor:Monitor of HDMI", 3),
        ("monitor:scarlett", 2),
        ("monitor: focusrite stereo", 2),
        ("monitor:hdmi-2.monitor", 4),
        ("Monitor:", 3),
        ("MONITOR:scarlett", 2),
    ],
)
def test_the_output_that_is_meant(words, index):
    assert find_source(DEVICES, Request(words)).index == index


def test_an_outputs_name_comes_before_another_ones_description():
    other = Device(6, "x.monitor", "PipeWire", 2, 48000, (), False, "hdmi", "x")
    assert find_source([other, *DEVICES], Request("monitor:hdmi")).index == 3


def test_a_source_that_was_chosen_is_that_one_and_no_other():
    def chosen(name):
        return find_source(DEVICES, Request("usb", source=name)).index

    assert (chosen("alsa_input.usb-Rode"), chosen("monitor:")) == (5, 3)
    for name in ("alsa_input.usb", "ALSA_INPUT.USB-RODE", "3", "Rode NT-USB"):
        with pytest.raises(DeviceError, match=r" is not there$"):
            chosen(name)


@pytest.mark.parametrize(
    ("words", "index"),
    [
        ("scarlett", 0),  # PortAudio's, as ever
        ("scarlett, pipewire", 2),
        ("monitor scarlett", 2),
        ("usb", 0),
        ("nt-usb", 5),  # a microphone before a monitor
        ("usb pipewire", 5),
        (None, 1),
        (4, 4),
    ],
)
def test_a_name_means_a_monitor_where_nothing_else_has_it(words, index):
    assert choose_by(DEVICES, words).index == index


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "monitor:hd",
            "'hd' is more than one output; monitors are: monitor:hdmi (Monitor of HDMI); ",
        ),
        ("monitor:usb3", f"there is no output 'usb3'; monitors are: monitor:{USB} (Monitor of S"),
        ("monitor:rode", "there is no output 'rode'; monitors are: "),
    ],
)
def test_what_is_said_where_none_or_several_are_meant(words, said):
    with pytest.raises(DeviceError) as raised:
        find_source(DEVICES, Request(words))
    assert str(raised.value).startswith(said)


def test_where_nothing_is_the_default_or_there_is_no_output():
    with pytest.raises(DeviceError, match="no default output; monitors are: monitor:hdmi-2 "):
        find_source([DEVICES[4]], Request("monitor:"))
    with pytest.raises(DeviceError, match="there is no default output: the sound server has "):
        find_source([DEVICES[5]], Request("monitor:"))


def test_where_portaudio_has_no_default_input_the_servers_is_it_and_never_a_monitor():
    def default(devices):
        return [device.index for device in with_default(devices) if device.default]

    without = [device for device in DEVICES if device.hostapi == "PipeWire"]
    assert default(DEVICES) == [1]
    assert default(without) == [5]
    assert default(without[:3]) == []
    with pytest.raises(DeviceError, match="there is no default input: choose one; "):
        choose_by(with_default(without[:3]), None)


def test_thousands_of_sources_are_told_in_a_line():
    names = [f"sink-{n:04}" for n in range(5000)]
    many = [
        Device(n, f"{name}.monitor", "PipeWire", 2, 48000, (), False, f"Monitor of {name}", name)
        for n, name in enumerate(names)
    ]
    assert find_source(many, Request("monitor:sink-4711")).index == 4711
    for find, words in (
        (lambda words: find_source(many, Request(words)), ("monitor:sink", "monitor:none")),
        (lambda words: choose_by(many, words), ("sink", "none at all", None, 5000)),
    ):
        for wanted in words:
            with pytest.raises(DeviceError) as raised:
                find(wanted)
            assert len(str(raised.value)) < 2000
            assert str(raised.value).endswith("and 4980 more")


def test_dozens_of_real_sources(tmp_path, use, capsys):
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        for n in range(50):  # about as many as the server takes
            load_sink(pulse, f"sink-{n:02}")
        assert main(["devices"]) == 0
        out = capsys.readouterr().out
        assert sum("Null Output (sink-" in line for line in out.splitlines()) == 50
        with hearing("monitor:sink-42") as run:
            assert run.microphone.name == "Monitor of Null Output (sink-42.monitor, PulseAudio)"
            goes_on(run, 0.1)


# --- the samples ------------------------------------------------------------------------------


@SERVERS
@pytest.mark.parametrize("sr", [44100, 48000])
def test_what_is_played_is_heard_bit_for_bit(tmp_path, use, server, sr):
    with server(tmp_path, sr=sr) as running:
        use(running.env)
        set_rate(running, sr)
        for channels in (1, 2, 6):
            sink = f"sink{channels}"
            load_sink(running, sink, sr, channels)
            with (
                hearing(f"monitor:{sink}", blocksize=0) as odd,
                hearing(f"monitor:{sink}", blocksize=1024) as even,
                playing(running, sink, sr, channels, channel_map(running, sink)),
            ):
                for run in (odd, even):
                    run.heard.enough(sr)
            both = min(odd.heard.played, even.heard.played)
            breaks = [[b for b in run.heard.breaks if b[0] < both] for run in (odd, even)]
            assert breaks[0] == breaks[1], sink  # what PipeWire did not play, on a busy machine
            assert server is PipeWire or breaks[0] == []
            for run in (odd, even):
                assert (run.heard.samples >= sr, run.heard.inexact) == (True, 0), sink
                assert (run.microphone.sr, run.microphone.channels) == (sr, channels)
                assert (run.gaps, run.microphone.notes) == ([], [])
            assert even.lengths == {1024}


def test_the_first_channels_alone_and_another_rate(tmp_path, use):
    with Pulse(tmp_path, channels=6) as pulse:
        use(pulse.env)
        with (
            hearing("monitor:", channels=2) as two,
            hearing("monitor:", sr=8000) as slow,
            playing(pulse, "rt", 48000, 6, channel_map(pulse, "rt")),
        ):
            two.heard.enough(24000)
            goes_on(slow, 0.1)
        assert two.heard.whole
        assert two.microphone.notes == ["the first 2 of its 6 channels"]
        assert slow.microphone.notes == ["PulseAudio resamples its 48000 Hz to 8000"]
        with hearing("monitor:", channels=7) as run:
            pass
    assert str(run.error) == (
        "Monitor of Null Output (rt.monitor, PulseAudio) has 6 channel(s), not 7"
    )


@SERVERS
def test_an_idle_output_is_told_once_and_not_as_a_muted_microphone(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        with hearing("monitor:") as run:
            wait_for(lambda: run.said, "word")
            with playing(running, "rt", 48000, 2, channel_map(running, "rt")):
                run.heard.enough(4800)
            goes_on(run, 2.5)
    assert run.said == [f"{run.microphone.name} is idle: its output has been silent for 2 s"]
    assert run.gaps == []


# --- what changes meanwhile -------------------------------------------------------------------


@SERVERS
def test_the_default_output_is_followed(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        load_sink(running, "other", 48000, 6, description="Other")
        running.pactl("set-default-sink", "rt")
        positions = channel_map(running, "other")
        with hearing("monitor:") as run, playing(running, "other", 48000, 6, positions):
            goes_on(run)
            assert not run.heard.begun.is_set()
            running.pactl("set-default-sink", "other")
            wait_for(run.heard.begun.is_set, "counter")
            run.heard.enough(48000)
            changed = list(run.said), list(run.gaps), run.microphone.name
    said, gaps, name = changed
    assert len(said) == 1
    assert said[0].startswith(f"the default output changed: now {name}, after ")
    assert said[0].endswith(" s; the first 2 of its 6 channels")
    assert "Monitor of Other" in name
    assert [gap.cause for gap in gaps] == ["outage"]
    assert run.heard.begun.is_set()
    assert not run.heard.inexact
    stats = run.microphone.stats
    assert (stats.restarts, stats.lost) == (1, gaps[0].length)
    assert stats.processed + stats.dropped == stats.delivered


@SERVERS
def test_a_followed_output_may_have_another_rate_and_fewer_channels(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        load_sink(running, "other", 44100, 1, description="Other")
        running.pactl("set-default-sink", "rt")
        with hearing("monitor:") as run:
            wait_for(lambda: run.said, "word of the first one's silence")
            running.pactl("set-default-sink", "other")
            wait_for(lambda: len(run.said) == 3, "word of the other one's silence")
        hostapi = run.microphone.opened.hostapi
    assert run.said[1].endswith(
        f"; {hostapi} resamples its 44100 Hz to 48000; {hostapi} mixes its 1 channel to 2"
    )
    assert run.said[2] == f"{run.microphone.name} is idle: its output has been silent for 2 s"
    assert (run.microphone.sr, run.microphone.channels) == (48000, 2)


@SERVERS
def test_an_output_that_goes_is_not_replaced_and_comes_back_by_name(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        load_sink(running, "other")
        positions = channel_map(running, "other")
        with hearing("monitor:rt") as run, playing(running, "other", 48000, 2, positions):
            goes_on(run)
            unload_sink(running, "rt")
            wait_for(lambda: run.said, "word")
            wait_for(lambda: run.microphone.stats.outage > 48000, "outage")
            running.load_sink()
            wait_for(lambda: len(run.said) > 1, "device")
            goes_on(run)
    lost, back = run.said[:2]
    assert lost.endswith(" is lost (it was removed): trying to get it back")
    assert back.startswith(f"{run.microphone.name} is back after ")
    assert [gap.cause for gap in run.gaps] == ["outage"] * len(run.gaps)
    assert not run.heard.begun.is_set()  # not for a moment


@SERVERS
@pytest.mark.parametrize("device", ["monitor:", "monitor:rt"])
def test_a_server_that_is_killed_and_comes_back(tmp_path, use, server, device):
    with server(tmp_path) as running:
        use(running.env)
        with hearing(device) as run:
            goes_on(run)
            running.kill()
            wait_for(lambda: run.said, "word")
            running.start()
            wait_for(lambda: len(run.said) > 1, "device")
            with playing(running, "rt", 48000, 2, channel_map(running, "rt")):
                run.heard.enough(48000)
    lost, back = run.said[:2]
    assert lost.endswith(" is lost (the sound server ended): trying to get it back")
    assert back.startswith(f"{run.microphone.name} is back after ")
    assert run.heard.begun.is_set()
    assert not run.heard.inexact


def test_a_followed_output_that_goes_where_there_is_no_other(tmp_path, use):
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        with hearing("monitor:") as run:
            goes_on(run)
            pulse.unload_sink()
            wait_for(lambda: run.said, "word")
            pulse.load_sink()
            wait_for(lambda: len(run.said) > 1, "device")
    assert run.said[0].endswith(" is lost (it was removed): trying to get it back")
    assert run.said[1].startswith(f"{run.microphone.name} is back after ")


# --- bad input --------------------------------------------------------------------------------


def refused(env, device, capsys, use):
    """What the command says where it can't hear a monitor."""
    use(env)
    assert main(["live", "--headless", "-d", device, "--duration", "1"]) == 3
    out, err = capsys.readouterr()
    *before, said = err.splitlines()
    assert out == ""
    assert not before or "compiling" in before[0]  # the first run on a machine
    return said


def test_without_a_server(capsys, use):
    said = refused(private_env(PULSE_SERVER="unix:/nowhere"), "monitor:", capsys, use)
    assert said.startswith("rtaudio: monitor: needs PulseAudio or PipeWire, and neither answers (")


def test_where_jack_alone_runs(tmp_path, capsys, use):
    with Jack(tmp_path) as jack:
        env = jack.env | {"PULSE_SERVER": "unix:/nowhere"}
        said = refused(env, "monitor:", capsys, use)
    assert "monitor: needs PulseAudio or PipeWire, and neither answers (" in said


def test_a_server_that_refuses_us(tmp_path, capsys, use):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Pulse(tmp_path) as pulse:  # one who comes by TCP has to show a cookie
        words = ("listen=127.0.0.1", f"port={port}", f"auth-cookie={tmp_path}/of-another")
        pulse.pactl("load-module", "module-native-protocol-tcp", *words)
        env = pulse.env | {"PULSE_SERVER": f"tcp:127.0.0.1:{port}"}
        said = refused(env, "monitor:", capsys, use)
    assert "neither answers (Access denied)" in said


def test_a_server_that_hangs(tmp_path, capsys, use):
    with Pulse(tmp_path) as pulse:
        pulse.stop()
        said = refused(pulse.env, "monitor:", capsys, use)
        pulse.cont()
    assert "neither answers (no answer in 5 s)" in said


def test_a_name_that_matches_two_outputs(tmp_path, capsys, use):
    with Pulse(tmp_path) as pulse:
        load_sink(pulse, "rt2")
        said = refused(pulse.env, "monitor:null", capsys, use)
    assert said == (
        "rtaudio: 'null' is more than one output; monitors are: "
        "monitor:rt (Monitor of Null Output); monitor:rt2 (Monitor of Null Output)"
    )


@SERVERS
def test_an_output_that_goes_while_it_is_opened(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        with Connection() as connection:
            source = next(s for s in sources(connection) if s.device.monitor_of == "rt")
            load_sink(running, "other")  # which it might be given
            unload_sink(running, "rt")
            with pytest.raises(NoServer):
                PulseStream(connection, source, 48000, source.channel_map, 1024)


@SERVERS
def test_an_output_that_goes_before_it_is_begun(tmp_path, use, server):
    ended, blocks = threading.Event(), []
    with server(tmp_path) as running:
        use(running.env)
        with Connection() as connection:
            source = next(s for s in sources(connection) if s.device.monitor_of == "rt")
            stream = PulseStream(
                *(connection, source, 48000, source.channel_map, 1024, "rt"),
                lambda reason: ended.set(),
            )
            load_sink(running, "other")
            unload_sink(running, "rt")
            try:
                stream.start(0, lambda *block: blocks.append(block))
            except NoServer:
                ended.set()
            assert ended.wait(10)
    assert blocks == []


@SERVERS
def test_another_output_became_the_default_while_it_was_opened(tmp_path, use, server):
    reasons, ended = [], threading.Event()

    def finished(reason):
        reasons.append(reason)
        ended.set()

    with server(tmp_path) as running:
        use(running.env)
        with Connection() as connection:
            source = sources(connection)[0]
            about = (source, 48000, source.channel_map, 1024, "which was it", finished)
            PulseStream(connection, *about).start(0, lambda *block: None)
            assert ended.wait(10)
    assert reasons == [OTHER_DEFAULT]


@SERVERS
def test_a_name_that_begins_with_another_ones_number(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        number = running.pactl("list", "short", "sinks").split()[0]
        load_sink(running, f"{number}foo")
        load_sink(running, "5.1")
        with (
            hearing(f"monitor:{number}foo") as run,
            hearing("monitor:5.1") as other,
            playing(running, "rt", 48000, 2, channel_map(running, "rt")),
        ):
            goes_on(run)
            goes_on(other)
        assert run.microphone.opened.device == f"{number}foo.monitor"
        assert not run.heard.begun.is_set()
        assert not other.heard.begun.is_set()


@SERVERS
def test_hostile_names(tmp_path, use, server, capsys):
    names = ["a, b", " lead", "x" * 100, "ütf-8", "semi;colon"]
    with server(tmp_path) as running:
        use(running.env)
        for number, name in enumerate(names):
            load_sink(running, f"odd{number}", description=name)
        assert main(["devices"]) == 0
        listed = capsys.readouterr().out
        for number, name in enumerate(names):
            assert name.strip() in listed
            with hearing(f"monitor:odd{number}") as run:
                goes_on(run, 0.1)
                assert name.strip() in run.microphone.name


@SERVERS
def test_what_the_server_does_to_the_level_is_told(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        running.pactl("set-source-volume", "rt.monitor", "50%")
        running.pactl("set-sink-mute", "rt", "1")
        with hearing("monitor:") as run:
            assert run.microphone.notes == ["it is at a volume of 50 %, its output is muted"]


def test_no_playback_is_begun_and_nothing_of_the_server_is_changed(tmp_path, use):
    kinds = ("modules", "sinks", "sources", "sink-inputs")
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        before = [pulse.pactl("list", "short", kind) for kind in kinds]
        with hearing("monitor:") as run:
            goes_on(run, 0.2)
            during = [pulse.pactl("list", "short", kind) for kind in kinds]
    assert [text.replace("RUNNING", "IDLE") for text in during] == before


def test_libpulse_is_not_needed_where_it_is_not(tmp_path):
    code = """
import ctypes
real = ctypes.CDLL
def missing(name, *args, **more):
    if "libpulse" in str(name):
        raise OSError(name)
    return real(name, *args, **more)
ctypes.CDLL = missing
from rtaudio.capture.server import connect, source_devices, sound_server
from rtaudio.capture.devices import DeviceError
print(source_devices(0))
try:
    connect()
except DeviceError as error:
    print(error)
"""
    with Pulse(tmp_path) as pulse:
        done = subprocess.run(
            [sys.executable, "-c", code], env=pulse.env, capture_output=True, text=True
        )
    listed, said = done.stdout.splitlines()
    assert (listed, done.stderr) == ("[]", "")
    assert "neither answers (libpulse is missing)" in said


HIDDEN = """
import ctypes.util
find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None if name == "portaudio" else find(name)
"""


def test_without_portaudio_the_servers_inputs_are_there(tmp_path, use, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(HIDDEN)
    with Pulse(tmp_path) as pulse:
        use(pulse.env | {"PYTHONPATH": str(tmp_path)})
        assert [device.name for device in rtaudio.devices()] == ["rt.monitor"]
        for device in ("rt.monitor", 0):
            with hearing(device) as run:
                goes_on(run, 0.1)
        with hearing("nothing") as run:
            pass
        assert str(run.error).startswith("there is no input 'nothing'; inputs are: 0 Monitor of ")
        pulse.unload_sink()
        with pytest.raises(rtaudio.SourceError, match="the PortAudio library is missing"):
            rtaudio.devices()


class Library:
    """A library of that name without what is needed of it."""


@pytest.mark.parametrize("found", [OSError("not there"), Library()])
def test_where_libpulse_is_missing_or_another_library(monkeypatch, found):
    def load(name):
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(libpulse.ctypes, "CDLL", load)
    with pytest.raises(NoServer, match="libpulse is missing"):
        libpulse.library.__wrapped__()


def test_a_list_that_the_server_refuses(tmp_path, use, monkeypatch):
    with Pulse(tmp_path) as pulse:
        use(pulse.env)
        with Connection() as connection:
            refuse = lambda function, callback: callback(None, None, -1, None)  # noqa: E731
            monkeypatch.setattr(connection, "ask", refuse)
            with pytest.raises(NoServer):
                connection.entries("context_get_source_info_list", print)


@pytest.mark.parametrize(
    ("device", "end"),
    [
        (DEVICES[1], "* "),
        (DEVICES[3], "; what hdmi plays: -d monitor: or monitor:hdmi"),
        (DEVICES[4], "; what hdmi-2 plays: -d monitor:hdmi-2"),
        (DEVICES[5], "; PipeWire's default"),
        (replace(DEVICES[4], monitor_of="a b"), "; what a b plays: -d 'monitor:a b'"),
    ],
)
def test_a_line_of_the_list(device, end):
    line = _line(device)
    assert line.startswith("* ") == device.default
    assert line.endswith(end) or device.default


# --- pieces -----------------------------------------------------------------------------------


@given(
    size=st.sampled_from([0, 1, 7, 64]),
    pieces=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    channels=st.integers(1, 6),
)
def test_blocks_of_what_comes_in_pieces(size, pieces, channels):
    sr = 1000
    got, times = [], []

    def take(data, frames, time, status):
        assert len(data) == frames * channels * 4
        got.append(np.frombuffer(bytes(data), np.float32).reshape(frames, channels))
        times.append(time.inputBufferAdcTime)

    samples = np.arange(sum(pieces) * channels, dtype=np.float32).reshape(-1, channels)
    blocks = _Blocks(channels, sr, size, take)
    first = 0
    for count in pieces:
        piece = samples[first : first + count]
        blocks.take(piece.ctypes.data, piece.nbytes, 100 + first / sr)
        first += count
    lengths = [len(block) for block in got]
    assert lengths == ([size] * (len(samples) // size) if size else pieces)
    if got:
        whole = np.concatenate(got)
        assert np.array_equal(whole, samples[: len(whole)])
        begins = np.cumsum([0, *lengths[:-1]])
        np.testing.assert_allclose(times, 100 + begins / sr, atol=1e-9)


def test_a_block_whose_time_is_not_known_has_none_and_an_overflow_is_told_once():
    seen = []
    blocks = _Blocks(
        1, 1000, 0, lambda *about: seen.append((about[2].inputBufferAdcTime, bool(about[3])))
    )
    samples = np.ones(10, np.float32)
    blocks.overflow = True
    for captured in (None, 5.0):
        blocks.take(samples.ctypes.data, samples.nbytes, captured)
    assert seen == [(0.0, True), (5.0, False)]


@SERVERS
def test_wishes_for_much_and_for_no_latency_still_deliver(tmp_path, use, server):
    with server(tmp_path) as running:
        use(running.env)
        with hearing("monitor:", latency=600.0) as slow, hearing("monitor:", latency=1e-9) as fast:
            goes_on(slow, 2.5)
    assert slow.microphone.opened.latency_ms <= 1000
    assert fast.microphone.opened.latency_ms <= 50
    for run in (slow, fast):
        assert run.said == [f"{run.microphone.name} is idle: its output has been silent for 2 s"]


def test_the_windows_menu_offers_the_default_and_what_the_server_has_first():
    others = [Device(n, f"hw:{n}", "ALSA", 2, 48000) for n in range(10, 20)]
    offered = _offered([*others, *DEVICES])
    assert [device.index for device in offered] == [1, 3, 5, *range(10, 16)]
    assert [device.index for device in _offered(DEVICES)] == [1, 3, 5, 0, 2, 4]


def test_a_monitor_is_no_recording():
    with pytest.raises(rtaudio.SourceError, match="monitor:hdmi is an input: -d monitor:hdmi, or"):
        open_source("monitor:hdmi")


def test_where_there_are_no_monitors(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(
        DeviceError, match="monitors exist on Linux only; on macOS, install BlackHole"
    ):
        connect()
    assert source_devices(0) == []
    assert "BlackHole" in doctor.monitors().mend
