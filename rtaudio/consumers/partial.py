"""A file that is whole or not there."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Partial:
    """A file in the making, ``name``, in the folder of ``path``, where it goes when it is whole.

    Raises `OSError` where the folder can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.parent / f".{secrets.token_hex(8)}.part"  # any name of ``path`` fits
        try:
            os.close(os.open(self.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:  # in the user's words
            raise OSError(error.errno, error.strerror, str(path)) from None
        self._ended = False

    def commit(self) -> None:
        """Give it its name."""
        self.name.replace(self.path)
        self._ended = True

    def discard(self) -> None:
        """Leave nothing behind. Does nothing after `commit`."""
        if not self._ended:
            self.name.unlink(missing_ok=True)
            self._ended = True
