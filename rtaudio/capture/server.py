"""Which sound server a stream goes through: PortAudio calls them all "ALSA".

It matters, for servers err in ways of their own about when a sample was captured (`host_model`).
"""

from __future__ import annotations

import sys
from pathlib import Path

SERVERS = ("jack", "pulseaudio", "pipewire")


def sound_server(hostapi: str) -> str:
    """One of `SERVERS` if an open stream of ``hostapi`` goes through it; "" if none is known to."""
    if sys.platform != "linux" or "ALSA" not in hostapi or _opens_hardware():
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
    except pulsectl.PulseError:  # there is none
        return ""
    return "pipewire" if "pipewire" in name else "pulseaudio"


def _opens_hardware() -> bool:
    """Whether this process has a device of ALSA's open itself: then no server is between."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # closed meanwhile
            continue
        if target.startswith("/dev/snd/pcm"):
            return True
    return False
