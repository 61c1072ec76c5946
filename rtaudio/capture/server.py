"""Which sound server a stream goes through: PortAudio calls them all "ALSA".

It matters, for each errs in a way of its own about when a sample was captured (`host_kinds`). The
servers are asked whether they record for this process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

SERVERS = ("jack", "pulseaudio", "pipewire")


def sound_server(hostapi: str) -> str:
    """One of `SERVERS` if this process has a stream of ``hostapi`` through it; "" if of none."""
    if sys.platform != "linux" or "ALSA" not in hostapi:
        return ""
    if "libasound_module_pcm_pipewire" in Path("/proc/self/maps").read_text():
        return "pipewire"  # by a plug-in of its own
    try:
        import pulsectl
    except (ImportError, OSError):  # not installed, or without its library
        return ""
    try:
        with pulsectl.Pulse("rtaudio", connect=False) as pulse:
            pulse.connect(autospawn=False)
            name = pulse.server_info().server_name.lower()
            recorded = [stream.proplist for stream in pulse.source_output_list()]
    except pulsectl.PulseError:  # there is none
        return ""
    if str(os.getpid()) not in (about.get("application.process.id") for about in recorded):
        return ""
    return "pipewire" if "pipewire" in name else "pulseaudio"
