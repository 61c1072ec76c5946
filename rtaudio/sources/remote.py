"""Recordings at a URL, s3://, gcs://, https:// …, read where they are, by fsspec."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from typing import IO, TYPE_CHECKING, Any

from rtaudio.sources.block import SourceError
from rtaudio.sources.clock import HEAD
from rtaudio.sources.file import FileSource
from rtaudio.sources.gaps_file import Listed, parse_listed

if TYPE_CHECKING:
    from collections.abc import Iterator


MOST_GAPS = 64 << 20  # bytes of a list of gaps


class RemoteSource(FileSource):
    """A recording at a URL; no more of it is fetched than is read.

    Raises `SourceError` where it can't be read, and says what the storage says.
    """

    _mend = "copy it anew"

    def __init__(self, url: str) -> None:
        self.name = url
        with told(url):
            self._fs, path = filesystem(url)
            self._remote = _Watched(_opened(self._fs, path))
        try:
            self._open(self._remote, realtime=False, blocksize=None)  # type: ignore[arg-type]
            listed = self._read_listed(path.rpartition(".")[0] + ".gaps.csv")
            self._take_listed(listed, url.rpartition(".")[0] + ".gaps.csv")
        except SourceError:
            self._remote.close()
            self._raise()  # what the storage says explains more than what libsndfile makes of it
            raise

    def _read_listed(self, gaps: str) -> Listed:
        with told(gaps):
            try:
                with self._fs.open(gaps, "rb") as file:
                    listed = file.read(MOST_GAPS)
            except FileNotFoundError:
                return Listed([], [])
            return parse_listed(io.BytesIO(listed), gaps, self._total)

    def _head(self) -> bytes:
        at = self._remote.tell()
        self._remote.seek(0)
        head = self._remote.read(HEAD)
        self._remote.seek(at)
        return head

    def _read(self, out: Any, position: int) -> Any:
        try:
            return super()._read(out, position)
        finally:
            self._raise()

    def _seek(self, position: int) -> int:
        try:
            return super()._seek(position)
        finally:
            self._raise()

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
        self.error: BaseException | None = None
        self._file = file

    def _do(self, call: Any, otherwise: Any, *args: Any) -> Any:
        if self.error is None:
            try:
                return call(*args)
            except BaseException as error:  # noqa: BLE001 - also a signal's; raised by `_raise`
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


def _opened(fs: Any, path: str) -> IO[bytes]:
    """A file to read anywhere in; copied here where its server sends from the beginning alone."""
    file: IO[bytes] = fs.open(path, "rb")
    if "http" not in fs.protocol:
        return file
    try:
        file.seek(-1, 2)
        file.read(1)
        file.seek(0)
    except ValueError:  # so fsspec says it
        file.close()
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - it is handed on
        try:
            with fs.open(path, "rb", block_size=0) as stream:
                shutil.copyfileobj(stream, copy, 1 << 20)
        except BaseException:
            copy.close()
            raise
        copy.seek(0)
        return copy
    return file


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises `SourceError`."""
    from importlib.util import find_spec

    if find_spec("fsspec") is None:
        raise SourceError(f"{url}: a URL needs fsspec: pip install 'rtaudio[cluster]'")
    import fsspec

    if "::" in url:
        raise SourceError(f"{url}: files in archives can't be read there: unpack it first")
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
