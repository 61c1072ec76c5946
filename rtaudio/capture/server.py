"""Which sound server a stream goes through: PortAudio calls them all "ALSA".

It matters, for each errs in a way of its own about when a sample was captured (`host_kinds`). The
servers are asked whether they record for this process; PipeWire answers PulseAudio's clients, and
knows those of its own plug-in, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PLUGINS = (b"libasound_module_pcm_pulse", b"libasound_module_pcm_pipewire")


def sound_server(hostapi: str) -> str:
    """Return what records for this process by ``hostapi``: "pulseaudio", "pipewire" or ""."""
    if sys.platform != "linux" or "ALSA" not in hostapi:
        return ""
    loaded = Path("/proc/self/maps").read_bytes()
    if not any(plugin in loaded for plugin in PLUGINS):
        return ""
    try:
        import pulsectl
    except (ImportError, OSError):  # not installed, or without its library
        return ""
    try:
        with pulsectl.Pulse("rtaudio", connect=False) as pulse:
            pulse.connect(autospawn=False)
            name = pulse.server_info().server_name.lower()
            recorded = [stream.proplist for stream in pulse.source_output_list()]
    except Exception:  # noqa: BLE001 - there is none, or it dies: no reason not to capture
        return ""
    if str(os.getpid()) not in (about.get("application.process.id") for about in recorded):
        return ""
    return "pipewire" if "pipewire" in name else "pulseaudio"
