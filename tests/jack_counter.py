"""A JACK client that plays a counter, one count a sample, so that every lost one is seen.

Sample k is ((k mod 2**24) - 2**23) / 2**23, exact in float32; k is the frame of the graph since the
activation, so that a cycle which this client misses, too, is seen to be missing.
Prints one JSON line when it plays, and ends when its standard input does, or the server. With the
argument ``due`` it prints others, twenty a second: {"count": k, "due_ns": when sample k passed the
server's input or output, in ns of CLOCK_MONOTONIC}, as `pulse_counter.py` does.
"""

import gc
import json
import os
import sys
import threading
import time

import jack
import numpy as np

COUNTS = 1 << 24
LONGEST = 8192  # no JACK period is longer

table = (np.arange(COUNTS + LONGEST) % COUNTS - COUNTS // 2).astype(np.float32) / (COUNTS // 2)
begun = None  # the graph's frame at the activation
cycle = (0, 0)  # frames before this cycle, and when those were captured in ns

client = jack.Client("counter", no_start_server=True)
port = client.outports.register("out_1")


@client.set_process_callback
def _process(length):
    global begun, cycle  # noqa: PLW0603 - an attribute would be no better, and slower
    frame = client.last_frame_time
    begun = frame if begun is None else begun
    played = (frame - begun) & 0xFFFFFFFF
    since = client.frames_since_cycle_start + length
    cycle = (played, time.monotonic_ns() - since * 1_000_000_000 // client.samplerate)
    start = played % COUNTS
    port.get_array()[:] = table[start : start + length]


def _tell_due():
    while True:
        time.sleep(0.05)
        count, due_ns = cycle
        print(json.dumps({"count": count, "due_ns": due_ns}), flush=True)


client.set_shutdown_callback(lambda status, reason: os._exit(1))
gc.freeze()
gc.disable()
client.activate()
print(json.dumps({"port": port.name, "sr": client.samplerate}), flush=True)
if "due" in sys.argv:
    threading.Thread(target=_tell_due, daemon=True).start()
sys.stdin.read()
client.deactivate()
client.close()
