"""A round trip measured by the program in a JACK graph."""

import json
import subprocess

from command import COMMAND
from servers import wait_for


class Measurement:
    """`rtaudio latency --loopback`, whose two ends are to be connected.

    Several may run at once, begun one after the other. A busy jackd may refuse one at first.
    """

    def __init__(self, jack, *words, seconds=2.7, blocksize=128):
        self._jack = jack
        command = [*COMMAND, "latency", "--loopback", "system:system", "--json"]
        command += ["--duration", str(seconds), "--blocksize", str(blocksize), *words]
        for _ in range(3):
            self.process = subprocess.Popen(
                command, env=jack.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            wait_for(lambda: jack.listeners() or self._ended, "stream that is opened", 30)
            if not self._ended:
                break
            said = self.process.communicate()
        assert not self._ended, said
        self.input = jack.input_port()
        self.output = self.input.replace(":in_", ":out_")
        wait_for(lambda: self.output in jack.ports(), "output")
        jack.disconnect("system:capture_1", self.input)

    @property
    def _ended(self):
        return self.process.poll() is not None

    def directly(self):
        """Connect the two ends."""
        self._jack.connect(self.output, self.input)
        return self

    def through(self, ports):
        """Connect them through a client's two ports."""
        self._jack.connect(self.output, ports[0])
        self._jack.connect(ports[1], self.input)
        return self

    def result(self):
        """Wait until it is over; its ``round_trip``. Sets ``said`` and ``status``."""
        out, said = self.process.communicate(timeout=60)
        assert out, said
        self.said, self.status = said, self.process.returncode
        return json.loads(out)["round_trip"]
