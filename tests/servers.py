"""Real sound servers without a sound card: each on private paths, and ended by process id.

`.env` of each is the environment in which a program finds it. Open their devices in a process of
its own: a JACK server that died takes every process with it that had it open.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

COUNTS = 1 << 24  # of the counter that jack_counter.py plays
PULSE_COUNTS = 1 << 22  # and pulse_counter.py
_ALSA = "</usr/share/alsa/alsa.conf>\n"  # libasound aborts where the defaults are missing
_ASOUND_CONF = (
    _ALSA
    + """
pcm.rtsink { type pulse device rt         hint { show on description "null sink" } }
pcm.rtmon  { type pulse device rt.monitor hint { show on description "monitor" } }
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
)
_numbers = itertools.count()


def wait_for(condition, what, seconds=10):
    """The first true result of ``condition()``; `TimeoutError` where there is none in time."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s still no {what}")
        time.sleep(0.01)
    return result


def end(process, seconds=5):
    """Let a process end, stopped or not; kill it where it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def private_env(**changes):
    """This process's environment without any way to the sound servers of the machine."""
    names = (
        "ALSA_CONFIG_PATH",
        "DBUS_SESSION_BUS_ADDRESS",
        "JACK_DEFAULT_SERVER",
        "PIPEWIRE_REMOTE",
        "PULSE_SERVER",
        "PULSE_SINK",
        "PULSE_SOURCE",
    )
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {"JACK_NO_START_SERVER": "1", "JACK_NO_AUDIO_RESERVATION": "1"}
    return env | {name: str(value) for name, value in changes.items()}


class _Server:
    """One process, that is started, killed, stopped, continued and started again."""

    def __init__(self, log, env):
        self.env = env
        self.process = None
        self._log = log

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        if self.process:
            end(self.process)

    def start(self):
        """Start it (again, under the same name), and wait until it answers."""
        assert self.process is None or self.process.poll() is not None, "still running"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._server_env(), stdout=log, stderr=log
            )
        try:
            wait_for(lambda: self.process.poll() is not None or self._answers(), "answer")
        except TimeoutError:
            self.kill()
        if self.process.poll() is not None:
            said = self._log.read_text(errors="replace")
            raise RuntimeError(f"{self._command[0]} does not run: {said}")

    def _server_env(self):
        return self.env

    def kill(self):
        """SIGKILL, as a crash is."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGSTOP: it is there and answers nobody."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def _ask(self, *command):
        """What a client program prints. Raises where it fails, or the server does not answer.

        A busy jackd may refuse one at first, and so does any while a client of another one ends.
        """
        for _ in range(3):
            done = subprocess.run(
                command, env=self.env, capture_output=True, text=True, timeout=10, check=False
            )
            said = done.stdout + done.stderr
            if "cannot activate client" not in said and "status = 0x21" not in said:
                break
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout


class Jack(_Server):
    """jackd on its dummy driver, in real-time mode where the system grants that.

    With ``sync`` it waits for its clients, so that no stall of the machine loses a sample.
    Its device for sounddevice: "system" of the host API "JACK Audio Connection Kit".
    """

    def __init__(self, folder, period=128, sr=48000, sync=True, channels_in=2, channels_out=2):
        self.name = f"rtaudio-{os.getpid()}-{next(_numbers)}"
        super().__init__(
            Path(folder) / f"{self.name}.log", private_env(JACK_DEFAULT_SERVER=self.name)
        )
        realtime = ["--realtime", "-P70"] if _realtime_granted() else ["--no-realtime"]
        # Few ports: else its shared memory is larger than what containers get.
        self._command = ["jackd", *realtime, *(["-S"] if sync else []), "--no-mlock"]
        self._command += ["--port-max", "64", "-n", self.name, "-d", "dummy"]
        self._command += ["-C", str(channels_in), "-P", str(channels_out), "-p", str(period)]
        self._rate = ["-r", str(sr)]
        self._command += self._rate

    def start(self, sr=None):
        """Start it (again, under the same name), at another rate if that is given."""
        self._command[-2:] = self._rate if sr is None else ["-r", str(sr)]
        super().start()

    def __exit__(self, *error):
        super().__exit__()
        if self.process and self.process.returncode < 0:
            # A killed one keeps its place, one of eight on a machine: an heir gives it back. So
            # does one that is ended while clients die: its words to them end it (SIGPIPE).
            # ("Too many servers already active": with no jackd running, rm /dev/shm/jack*.)
            self.start()
            end(self.process)
            for left in Path("/dev/shm").glob(f"jack*_{self.name}_*"):
                left.unlink(missing_ok=True)

    def _answers(self):
        done = subprocess.run(
            ["jack_wait", "-s", self.name, "-c"], env=self.env, capture_output=True, timeout=10
        )
        return done.stdout.startswith(b"running")

    def ports(self):
        """The full names of all ports."""
        return self._ask("jack_lsp", "-s", self.name).split()

    def connect(self, source, target):
        """Connect an output to an input."""
        self._ask("jack_connect", "-s", self.name, source, target)

    def disconnect(self, source, target):
        """Disconnect them."""
        self._ask("jack_disconnect", "-s", self.name, source, target)

    def listeners(self, source="system:capture_1"):
        """The inputs that an output is connected to."""
        lines = self._ask("jack_lsp", "-s", self.name, "-c", source).splitlines()
        return [line.strip() for line in lines if line.startswith(" ")]

    def input_port(self, seconds=10):
        """Wait until a client listens to the first microphone; the name of its input."""
        return wait_for(self.listeners, "client that listens to system:capture_1", seconds)[0]

    def play_into(self, source, target):
        """Connect ``source`` to an input in place of the silent microphone."""
        self.disconnect("system:capture_1", target)
        self.connect(source, target)


def _realtime_granted():
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(70))
    except PermissionError:
        return False
    os.sched_setscheduler(0, policy, parameter)
    return True


class Counter:
    """A player of an exact counter that tells when each sample of it is rendered."""

    def __init__(self, process, port=None):
        self.process = process
        self.port = port
        """Its output's name, of a JACK client."""
        self._due = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            about = json.loads(line)
            self._due.append((about["count"], about["due_ns"]))

    def due(self):
        """[(count, when it is rendered in ns of CLOCK_MONOTONIC), …] so far, some each second."""
        return list(self._due)

    def end(self):
        """End it, and take all it said."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # where the server is stopped
            self.process.wait(2)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()


@contextmanager
def jack_client(jack, script, *arguments, whole=False):
    """A client of this folder, in a process of its own; yields the line it prints, as JSON has it.

    It ends with the server. A busy jackd may refuse one at first. ``whole``: yields the process,
    too.
    """
    for _ in range(3):
        client = subprocess.Popen(
            [sys.executable, Path(__file__).with_name(script), *arguments],
            env=jack.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        line = client.stdout.readline()
        if line:
            break
        end(client)
    assert line, f"{script} did not start: its message is above"
    try:
        yield (client, json.loads(line)) if whole else json.loads(line)
    finally:
        client.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # where the server is stopped
            client.wait(2)
        end(client)


@contextmanager
def jack_counter(jack):
    """A player of an exact counter; yields its output port's name.

    It counts from its start on, connected or not.
    """
    with jack_client(jack, "jack_counter.py") as about:
        yield about["port"]


@contextmanager
def jack_due_counter(jack):
    """The same as a `Counter`, whose ``.due()`` tells when a count was captured."""
    with jack_client(jack, "jack_counter.py", "due", whole=True) as (process, about):
        counter = Counter(process, about["port"])
        try:
            yield counter
        finally:
            counter.end()


class Player:
    """A client that plays samples (float32, at the server's rate) once, when it is told to."""

    def __init__(self, jack, samples, folder):
        self._jack, self._file = jack, Path(folder) / "played.npy"
        np.save(self._file, samples.astype(np.float32))

    def __enter__(self):
        self._client = jack_client(self._jack, "jack_player.py", self._file, whole=True)
        self._process, about = self._client.__enter__()
        self.port = about["port"]
        return self

    def play(self):
        """Begin; returns when the first sample is due, in s of `time.perf_counter`."""
        self._process.stdin.write(b"play\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())["first"]

    def __exit__(self, *error):
        self._client.__exit__(*error)


@contextmanager
def jack_delay(jack, samples, **settings):
    """A client that delays; yields its input's and its output's name. See jack_delay.py."""
    about = json.dumps({"samples": samples, **settings})
    with jack_client(jack, "jack_delay.py", about) as ports:
        yield ports["in"], ports["out"]


def iodelay(jack, *, through=None):
    """What jack_iodelay measures, in samples, directly or ``through`` a delay's two ports."""
    command = ["stdbuf", "-oL", "jack_iodelay"]
    process = subprocess.Popen(command, env=jack.env, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: "jack_delay:in" in jack.ports(), "jack_iodelay")
        if through is None:
            jack.connect("jack_delay:out", "jack_delay:in")
        else:
            jack.connect("jack_delay:out", through[0])
            jack.connect(through[1], "jack_delay:in")
        found = []
        for line in process.stdout:
            words = line.split()
            if words[1:2] == ["frames"]:
                found.append(float(words[0]))
            if len(found) > 6 and np.ptp(found[-3:]) < 0.01:  # it has settled
                return found[-1]
        raise RuntimeError("jack_iodelay has ended")
    finally:
        end(process)


def counts(samples):
    """Which counts, 0 … 2**24 - 1, the samples are, as int64; `ValueError` where one is none."""
    values = np.asarray(samples, np.float64) * (COUNTS // 2) + COUNTS // 2
    whole = (values == np.floor(values)) & (values >= 0) & (values < COUNTS)
    if not whole.all():
        index = int(np.argmin(whole))
        raise ValueError(f"sample {index} is {samples[index]!r}: no count")
    return values.astype(np.int64)


def counter_errors(samples):
    """Where the counter does not go on by one: [(index, how many counts are missing before it), …].

    Modulo 2**24, so one sample twice is 2**24 - 1. Silence before the counter is passed over: its
    own 0.0 comes 175 s after the player's start.
    """
    samples = np.asarray(samples)
    begin = int(np.argmax(samples != 0)) if samples.any() else len(samples)
    missing = (np.diff(counts(samples[begin:])) - 1) % COUNTS
    return [(begin + 1 + int(i), int(missing[i])) for i in np.flatnonzero(missing)]


class _PulseProtocol(_Server):
    """A server that PulseAudio's clients talk to, with one null sink.

    Its ALSA devices are "rtsink", and "rtmon" that hears it. What is played as float32 at ``sr``
    in all ``channels`` comes out of "rtmon" bit for bit.
    """

    def __init__(self, home, socket, sr, channels, **env):
        self._home = home
        self._home.mkdir(mode=0o700)
        (self._home / "asound.conf").write_text(_ASOUND_CONF)
        assert len(str(socket)) < 108, "a folder with a shorter name: longer ones are cut"
        env = private_env(
            ALSA_CONFIG_PATH=self._home / "asound.conf",
            PULSE_SERVER=f"unix:{socket}",
            PULSE_COOKIE=self._home / "cookie",
            **env,
        )
        super().__init__(self._home / "log", env)
        self._sink = ["module-null-sink", "sink_name=rt", f"rate={sr}", f"channels={channels}"]
        self._sink += ["format=float32le"]
        self._clients = []

    def __exit__(self, *error):
        for client in self._clients:
            end(client, seconds=0)
        super().__exit__()

    def _answers(self):
        done = subprocess.run(["pactl", "info"], env=self.env, capture_output=True, timeout=10)
        return done.returncode == 0

    def ask(self, *command):
        """Run a client program of the server; what it prints."""
        return self._ask(*command)

    def pactl(self, *words):
        """Ask the server for something; what it answers."""
        return self._ask("pactl", *map(str, words))

    def load_sink(self):
        """Plug the sink in."""
        self.pactl("load-module", *self._sink)
        wait_for(lambda: "\trt.monitor\t" in self.pactl("list", "short", "sources"), "monitor")

    def unload_sink(self):
        """Unplug the sink, and its monitor with it."""
        self.pactl("unload-module", "module-null-sink")

    def _client(self, *command, stdout=None):
        with self._log.open("ab") as log:
            client = subprocess.Popen(command, env=self.env, stdout=stdout or log, stderr=log)
        self._clients.append(client)
        return client

    def play(self, path):
        """Play a sound file into the sink; returns the player's process."""
        return self._client("paplay", "-d", "rt", str(path))

    @contextmanager
    def listen(self, latency_ms, monitor="rt.monitor"):
        """Another client that hears the monitor, and wants so small a latency."""
        client = self._client(
            *("parec", "-d", monitor, f"--latency-msec={latency_ms}", "--raw"),
            stdout=subprocess.DEVNULL,
        )
        try:
            yield client
        finally:
            end(client)

    @contextmanager
    def record(self, path):
        """A second recorder: raw float32, 48 kHz, 2 channels; yields once samples have come."""
        command = ["parec", "-d", "rt.monitor", "--format=float32le", "--rate=48000"]
        with Path(path).open("wb") as file:
            client = self._client(*command, "--channels=2", "--raw", stdout=file)
        try:
            wait_for(lambda: Path(path).stat().st_size, "sound")
            yield client
        finally:
            end(client)


class Pulse(_PulseProtocol):
    """PulseAudio."""

    def __init__(self, folder, sr=48000, channels=2):
        home = Path(folder) / f"pulse-{next(_numbers)}"
        socket = home / "socket"
        super().__init__(home, socket, sr, channels)
        # Without norewinds the monitor misses the first second of what is played.
        self._sink += ["norewinds=1"]
        self._command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
        self._command += ["--use-pid-file=no", "--disable-shm=yes", "--realtime=no"]
        self._command += ["--high-priority=no", "-L"]
        self._command += [f"module-native-protocol-unix socket={socket} auth-anonymous=1"]

    def start(self):
        """Start it with its sink, and wait until it answers."""
        super().start()
        self.load_sink()

    def suspend(self):
        """Suspend the sink, as for idleness: nothing is rendered, and nothing comes to be heard."""
        self.pactl("suspend-sink", "rt", 1)

    def resume(self):
        """Render again."""
        self.pactl("suspend-sink", "rt", 0)

    def _server_env(self):
        home = {"HOME": str(self._home), "XDG_RUNTIME_DIR": str(self._home)}
        return self.env | home | {"PULSE_RUNTIME_PATH": str(self._home / "run")}


class PipeWire(_PulseProtocol):
    """PipeWire, with what desktops have beside it: wireplumber and pipewire-pulse, and a D-Bus.

    Without the bus wireplumber links no streams, and a capture never begins.
    """

    def __init__(self, folder, sr=48000, channels=2):
        home = Path(folder) / f"pipewire-{next(_numbers)}"
        self._bus, self._socket = home / "bus", home / "pipewire-0"
        super().__init__(
            *(home, home / "pulse" / "native", sr, channels),
            XDG_RUNTIME_DIR=home,
            DBUS_SESSION_BUS_ADDRESS=f"unix:path={home / 'bus'}",
        )
        self._command = ["pipewire"]
        self._others = []

    def start(self):
        """Start all of it with its sink, and wait until it answers."""
        for left in (self._bus, self._socket, self._home / "pulse" / "native"):
            left.unlink(missing_ok=True)  # by those that were killed
        bus = f"--address={self.env['DBUS_SESSION_BUS_ADDRESS']}"
        self._others = [self._start_other("dbus-daemon", "--session", "--nofork", bus)]
        wait_for(self._bus.exists, "bus")
        super().start()
        self._others += [self._start_other("wireplumber"), self._start_other("pipewire-pulse")]
        wait_for(super()._answers, "answer")
        self.load_sink()

    def _start_other(self, *command):
        with self._log.open("ab") as log:
            return subprocess.Popen(command, env=self._server_env(), stdout=log, stderr=log)

    def _answers(self):
        return self._socket.exists()

    def _server_env(self):
        return self.env | {"HOME": str(self._home)}

    def __exit__(self, *error):
        for other in reversed(self._others):
            end(other)
        super().__exit__()

    def kill(self):
        """SIGKILL to all of it."""
        super().kill()
        for other in self._others:
            other.kill()
            other.wait()

    def stop(self):
        """SIGSTOP to all of it: it is there and answers nobody."""
        super().stop()
        for other in self._others:
            other.send_signal(signal.SIGSTOP)

    def cont(self):
        """SIGCONT to all of it."""
        super().cont()
        for other in self._others:
            other.send_signal(signal.SIGCONT)


@contextmanager
def pulse_counter(server, latency_ms=50):
    """A `Counter` that plays into the sink "rt"; yields once it plays. It ends with the server.

    Sample i is ``(i % 2**22 + 1) / 2**23``, never 0; `pulse_counts` tells i again.
    """
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("pulse_counter.py"), str(latency_ms)],
        env=server.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    counter = Counter(process)
    try:
        wait_for(lambda: counter.due() or process.poll() is not None, "counter")
        assert counter.due(), "pulse_counter.py did not start: its message is above"
        yield counter
    finally:
        counter.end()
        end(process)


def pulse_counts(samples):
    """Which counts, 0 … 2**22 - 1, the samples of `pulse_counter` are; -1 for silence.

    `ValueError` where one is neither.
    """
    values = np.asarray(samples, np.float64) * (2 * PULSE_COUNTS)
    whole = (values == np.floor(values)) & (values >= 0) & (values <= PULSE_COUNTS)
    if not whole.all():
        index = int(np.argmin(whole))
        raise ValueError(f"sample {index} is {samples[index]!r}: no count")
    return values.astype(np.int64) - 1


def discarding(env, folder, plan):
    """The environment in which a capture by ALSA loses samples, and the path of the log of them.

    ``plan`` is [(how many frames were read before, how many are thrown away then), …]. The log
    (discard.c) has a line "at,n" for each one, once it has happened.
    """
    source, library = Path(__file__).with_name("discard.c"), Path(folder) / "discard.so"
    if not library.exists():
        made = library.with_name(f"discard-{os.getpid()}-{next(_numbers)}.so")
        command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", made, source]
        subprocess.run([*command, "-ldl"], check=True)
        made.rename(library)
    log = Path(folder) / f"discards-{os.getpid()}-{next(_numbers)}.log"
    log.touch()
    words = {"DISCARD": " ".join(f"{at}:{n}" for at, n in plan), "DISCARD_LOG": str(log)}
    return env | words | {"LD_PRELOAD": str(library)}, log


class Screen(_Server):
    """An X server without a monitor (Xvfb), its keys and its mouse (xdotool)."""

    def __init__(self, folder, size=(1400, 900), dpi=None):
        number = next(_numbers)
        self._folder = Path(folder) / f"screen-{os.getpid()}-{number}"
        self._folder.mkdir()
        self.size = size
        super().__init__(self._folder / "log", private_env())
        self._command = ["Xvfb", "-displayfd", "1", "-nolisten", "tcp", "-fbdir", self._folder]
        self._command += ["-noreset", "-screen", "0", f"{size[0]}x{size[1]}x24"]
        self._dpi = dpi
        self.env.pop("WAYLAND_DISPLAY", None)

    def _answers(self):
        numbers = [line for line in self._log.read_text().splitlines() if line.isdecimal()]
        if numbers:
            self.env["DISPLAY"] = f":{numbers[-1]}"
        return bool(numbers)

    def start(self):
        """Start it; a desktop tells the pixels of an inch, where they are other than 96."""
        super().start()
        if self._dpi:
            resources = self._folder / "resources"
            resources.write_text(f"Xft.dpi: {self._dpi}\n")
            self._ask("xrdb", "-nocpp", "-load", str(resources))

    def xdotool(self, *words):
        """Do something with keyboard, mouse or windows."""
        return self._ask("xdotool", *map(str, words))

    def window(self, seconds=60):
        """Wait for the window of rtaudio; its number."""

        def found():
            with suppress(RuntimeError):  # none there yet
                return self.xdotool("search", "--onlyvisible", "--name", "^rtaudio: ").split()
            return None

        return wait_for(found, "window", seconds)[0]

    def press(self, *keys):
        """Press keys, one after the other."""
        self.xdotool("key", "--delay", "30", *keys)

    def pixels(self):
        """What is on the screen, (height, width, 3)."""
        raw = next(self._folder.glob("Xvfb_screen*")).read_bytes()  # XWD, which X11 describes
        header = np.frombuffer(raw, ">u4", 25)
        width, height, line, colors = header[[4, 5, 12, 19]].tolist()
        begin = int(header[0]) + 12 * colors
        rows = np.frombuffer(raw, np.uint8, line * height, begin).reshape(height, line)
        depth = line // width
        return rows[:, : width * depth].reshape(height, width, depth)[:, :, 2::-1]


def alsa_file(folder, samples):
    """The environment in which ALSA's device "filemic" plays samples, as fast as they are taken.

    ``samples``: an array (n,) or (n, channels), or the path of raw samples. The stream must have
    their dtype and channels. After the end the last ones come again: make it longer than the test.
    """
    folder = Path(folder)
    if isinstance(samples, np.ndarray):
        raw = folder / "filemic.raw"
        samples.tofile(raw)
    else:
        raw = Path(samples).absolute()
    device = f'type file slave.pcm null file /dev/null infile "{raw}" format raw'
    conf = folder / "filemic.conf"
    conf.write_text(
        f'{_ALSA}pcm.filemic {{ {device} hint {{ show on description "file mic" }} }}\n'
    )
    return private_env(ALSA_CONFIG_PATH=conf)
