"""A JACK client that delays what it hears by so many samples, and may add to it.

Its argument is a JSON object: ``samples``, the delay; ``gain``; ``noise``, the RMS of noise that is
added; ``echo``, how much of its output it hears again. Prints one JSON line with its ports when it
runs, and ends when its standard input does, or the server.
"""

import gc
import json
import os
import sys

import jack
import numpy as np

settings = {"samples": 0, "gain": 1.0, "noise": 0.0, "echo": 0.0, **json.loads(sys.argv[1])}
delay = settings["samples"]
client = jack.Client("delay", no_start_server=True)
heard = client.inports.register("in_1")
said = client.outports.register("out_1")
length = 1 << (delay + 2 * client.blocksize).bit_length()
line = np.zeros(length, np.float32)
noise = np.random.default_rng(0).normal(0, settings["noise"], 1 << 20).astype(np.float32)
at = 0


@client.set_process_callback
def _process(size):
    global at  # noqa: PLW0603 - an attribute would be no better, and slower
    index = np.arange(at, at + size)
    line[index % length] = heard.get_array()
    if settings["echo"]:  # its delay is longer than a period
        line[index % length] += settings["echo"] * line[(index - delay) % length]
    said.get_array()[:] = settings["gain"] * line[(index - delay) % length]
    if settings["noise"]:
        said.get_array()[:] += noise[index % len(noise)]
    at += size


client.set_shutdown_callback(lambda status, reason: os._exit(1))
gc.freeze()
gc.disable()
client.activate()
print(json.dumps({"in": heard.name, "out": said.name}), flush=True)
sys.stdin.read()
client.deactivate()
client.close()
