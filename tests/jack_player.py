"""A JACK client that plays samples once, from when standard input has a line on.

Its argument is a .npy file of float32 at the server's rate. Prints one JSON line when it is
connected to nothing yet, and when it has begun when its first sample was due, in s of
`time.perf_counter`. Ends when its standard input does, or the server.
"""

import gc
import json
import os
import sys
import threading
import time

import jack
import numpy as np

sound = np.load(sys.argv[1], allow_pickle=False)
client = jack.Client("player", no_start_server=True)
port = client.outports.register("out_1")
asked, begun = threading.Event(), threading.Event()
at, first = -1, 0.0


@client.set_process_callback
def _process(length):
    global at, first  # noqa: PLW0603 - an attribute would be no better, and slower
    out = port.get_array()
    if at < 0:
        out[:] = 0
        if asked.is_set():
            first, at = time.perf_counter() + length / client.samplerate, 0
            begun.set()
        return
    piece = sound[at : at + length]
    out[: len(piece)] = piece
    out[len(piece) :] = 0
    at += len(piece)


client.set_shutdown_callback(lambda status, reason: os._exit(1))
gc.freeze()
gc.disable()
client.activate()
print(json.dumps({"port": port.name, "sr": client.samplerate}), flush=True)
sys.stdin.readline()
asked.set()
begun.wait()
print(json.dumps({"first": first}), flush=True)
sys.stdin.read()
client.deactivate()
client.close()
