"""Recordings at a URL, s3://, gcs://, https:// …, read where they are, by fsspec."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from typing import IO, TYPE_CHECKING, Any

from rtaudio.sources.block import SourceError
from rtaudio.sources.clock import HEAD
from rtaudio.sources.file import FileSource
from rtaudio.sources.gaps_file import parse_gaps

if TYPE_CHECKING:
    from collections.abc import Iterator


class RemoteSource(FileSource):
    """A recording at a URL; no more of it is fetched than is read.

    Raises `SourceError` where it can't be read, and says what the storage says.
    """

    _mend = "copy it anew"

    def __init__(self, url: str) -> None:
        self.name = url
        with told(url):
            self._fs, path = filesystem(url)
            self._remote = _Watched(self._fs.open(path, "rb"))
        try:
            self._open(self._remote, realtime=False, blocksize=None)  # type: ignore[arg-type]
            self._gaps = tuple(self._read_gaps(path))
        except SourceError:
            self._remote.close()
            self._raise()  # what the storage says explains more than what libsndfile makes of it
            raise

    def _read_gaps(self, path: str) -> list[Any]:
        gaps = path.rpartition(".")[0] + ".gaps.csv"
        with told(gaps):
            try:
                file = self._fs.open(gaps, "rb")
                with file:
                    return parse_gaps(file, gaps, self._total)
            except FileNotFoundError:
                return []

    def _head(self) -> bytes:
        at = self._remote.tell()
        self._remote.seek(0)
        head = self._remote.read(HEAD)
        self._remote.seek(at)
        return head

    def _read(self, out: Any, position: int) -> Any:
        samples = super()._read(out, position)
        self._raise()
        return samples

    def _raise(self) -> None:
        """Raise what went wrong in a call of libsndfile, which took it for the file's end."""
        if self._remote.error is not None:
            with told(self.name):
                raise self._remote.error

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        super().__exit__(*error)
        self._remote.close()


class _Watched:
    """A file for libsndfile to read: what it raises in there would be printed and forgotten."""

    def __init__(self, file: IO[bytes]) -> None:
        self.error: Exception | None = None
        self._file = file
        try:
            file.seek(0, 2)
            file.seek(0)
        except (ValueError, OSError):  # a server that sends from the beginning alone
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            with file:
                shutil.copyfileobj(file, self._file, 1 << 20)
            self._file.seek(0)

    def _do(self, call: Any, otherwise: Any, *args: Any) -> Any:
        if self.error is None:
            try:
                return call(*args)
            except Exception as error:  # noqa: BLE001 - each storage has its own; raised later
                self.error = error
        return otherwise

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._do(self._file.read, b"", size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._do(self._file.seek, 0, offset, whence))

    def tell(self) -> int:
        return int(self._do(self._file.tell, 0))

    def close(self) -> None:
        self._file.close()


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises `SourceError`."""
    from importlib.util import find_spec

    if find_spec("fsspec") is None:
        raise SourceError(f"{url}: a URL needs fsspec: pip install 'rtaudio[cluster]'")
    import fsspec

    with told(url):
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        return found


@contextlib.contextmanager
def told(url: str) -> Iterator[None]:
    """Turn what a storage raises into a `SourceError` that says what to do."""
    try:
        yield
    except SourceError:
        raise
    except FileNotFoundError as error:
        why = f" ({error.__cause__})" if error.__cause__ else ""  # as where there is no server
        raise SourceError(f"{url}: no such file{why}: check the name") from None
    except ImportError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise SourceError(f"{url}: {reason}, with pip") from None
    except Exception as error:  # noqa: BLE001 - each storage has errors of its own
        kind = type(error).__name__
        reason = " ".join(str(error).split())[:300] or kind
        if isinstance(error, PermissionError) or "redential" in kind + reason:
            reason = f"{reason}: set up your credentials for it (environment or config file)"
        raise SourceError(f"{url}: {reason}") from None
