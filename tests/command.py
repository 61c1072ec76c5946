"""What tests of the command line share."""

import contextlib
import resource
import sys

import numpy as np
from sounds import music

COMMAND = [sys.executable, "-m", "rtaudio"]
SONG = np.stack([music(1.0), np.roll(music(1.0), 50)], axis=1)


def names(folder):
    """All that is in it, and in its folders."""
    return sorted(path.name for path in folder.rglob("*"))


@contextlib.contextmanager
def no_file_above(size):
    """As on a full disk: no file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
