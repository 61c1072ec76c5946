"""A JACK client that plays a counter, one count a sample, so that every lost one is seen.

Sample k is ((k mod 2**24) - 2**23) / 2**23, exact in float32; k runs from 0 at the activation.
Prints one JSON line when it plays, and ends when its standard input does, or the server.
"""

import gc
import json
import os
import sys

import jack
import numpy as np

COUNTS = 1 << 24
LONGEST = 8192  # no JACK period is longer

table = (np.arange(COUNTS + LONGEST) % COUNTS - COUNTS // 2).astype(np.float32) / (COUNTS // 2)
played = 0

client = jack.Client("counter", no_start_server=True)
port = client.outports.register("out_1")


@client.set_process_callback
def _process(length):
    global played  # noqa: PLW0603 - an attribute would be no better, and slower
    start = played % COUNTS
    port.get_array()[:] = table[start : start + length]
    played += length


client.set_shutdown_callback(lambda status, reason: os._exit(1))
gc.freeze()
gc.disable()
client.activate()
print(json.dumps({"port": port.name, "sr": client.samplerate}), flush=True)
sys.stdin.read()
client.deactivate()
client.close()
