"""A file that is whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class Partial:
    """A file in the making, ``name``, in the folder of ``path``, where it goes when it is whole.

    Raises `OSError` where the folder can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        self.name = Path(name)
        self._ended = False

    def commit(self) -> None:
        """Give it its name."""
        mask = os.umask(0)
        os.umask(mask)
        self.name.chmod(0o666 & ~mask)  # mkstemp made it private
        self.name.replace(self.path)
        self._ended = True

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `commit`."""
        if not self._ended:
            self.name.unlink(missing_ok=True)
            self._ended = True
