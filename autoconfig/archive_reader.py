"""Reads the archive of the Relay Proxy's offline mode, within limits: nothing is unpacked under a name."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import msgspec

from .exceptions import MalformedMessageError
from .loose_json import convert, load
from .messages import PUT_EVENT, EnvironmentRep

_CHECKSUM = "checksum.md5"
_MAX_FILE = 200 * 2**20  # bytes; the relay's limit
_MAX_ENVIRONMENT = 2**20  # bytes of the file of one environment, which is read into memory; the usual size is 1 KiB
MAX_BYTES = 4 * 2**30  # bytes of the archive when it is unpacked
_MAX_FILES = 250_000
_MAX_HEADER = 2**20  # bytes that tarfile may want at a time
_CHUNK = 2**16  # bytes
_IN_MEMORY = 2**23  # bytes; a larger archive is unpacked into a temporary file that has no name


class BadArchiveError(MalformedMessageError):
    """
    The archive cannot be used, and nothing was changed.

    Attributes:
        reason: What is wrong with it; holds no content.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(PUT_EVENT, reason)
        self.args = (f"cannot use the archive: {reason}",)

    def __reduce__(self) -> tuple[type[BadArchiveError], tuple[str]]:  # type: ignore[override]  # a narrower type
        return type(self), (self.reason,)


class _EnvironmentFile(msgspec.Struct, frozen=True, rename={"data_id": "dataId"}):
    env: Any = None
    data_id: str = ""


def read_archive(
    file: IO[bytes], cancelled: Callable[[], bool] = lambda: False
) -> tuple[dict[str, EnvironmentRep], dict[str, str]]:
    """
    Read an archive whose checksum is right.

    Args:
        file: The archive, opened for reading bytes.
        cancelled: Ends the reading when it returns true, because an archive may be large.

    Returns:
        The environments by the ids in their files' names, and the ids of their flag data.

    Raises:
        BadArchiveError: It cannot be used.
        OSError: It cannot be read, or the directory for temporary files has no room for it.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        try:
            files = _unpack(file, spool, cancelled)
            _check_sum(files, spool, cancelled)
            return _environments(files, spool)
        except BadArchiveError:
            raise
        except Exception as error:  # what tarfile, gzip and zlib raise, whose text may hold content
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                raise
            reason = type(error).__name__
    raise BadArchiveError(f"it is damaged or truncated ({reason})")


class _Place(NamedTuple):
    """Where the content of a file is in the spool."""

    offset: int
    size: int


def _unpack(file: IO[bytes], spool: IO[bytes], cancelled: Callable[[], bool]) -> dict[str, _Place]:
    """Copy the files of an archive to the spool, and return where each is."""
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    unpacked = gzip.GzipFile(fileobj=file) if compressed else file
    places: dict[str, _Place] = {}
    # tarfile only calls read(), seek() and tell().
    with tarfile.open(fileobj=_Bounded(unpacked), mode="r:") as tar:  # type: ignore[call-overload]  # it only reads
        for number, member in enumerate(iter(tar.next, None)):
            tar.members.clear()  # else tarfile would keep them all
            _check_cancelled(cancelled)
            if number >= _MAX_FILES:  # directories too: a small file may have millions of them
                raise BadArchiveError(f"it has more than {_MAX_FILES} files")
            if member.isdir():
                continue
            name = _checked_name(member)
            if name in places:
                raise BadArchiveError("it has two files with the same name")
            places[name] = _copy(tar, member, spool, cancelled)
    return places


def _checked_name(member: tarfile.TarInfo) -> str:
    """Return the name of a file that lies in the archive's only directory."""
    name = member.name.removeprefix("./")
    if not member.isreg() or member.issparse():
        raise BadArchiveError("it has an entry that is not a regular file")
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise BadArchiveError("it has a file in another directory")
    if member.size > _MAX_FILE:
        raise BadArchiveError(f"it has a file of more than {_MAX_FILE} bytes")
    return name


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, spool: IO[bytes], cancelled: Callable[[], bool]) -> _Place:
    place = _Place(spool.tell(), member.size)
    source = tar.extractfile(member)
    assert source is not None  # _checked_name() has checked that it is a regular file
    for chunk in _chunks(source, member.size, cancelled):
        spool.write(chunk)
    return place


def _chunks(file: IO[bytes], size: int, cancelled: Callable[[], bool]) -> Iterator[bytes]:
    """Yield this many bytes of a file, in pieces."""
    while size:
        _check_cancelled(cancelled)
        chunk = file.read(min(_CHUNK, size))
        if not chunk:
            raise BadArchiveError("it is truncated")
        size -= len(chunk)
        yield chunk


def _check_cancelled(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise BadArchiveError("reading it was interrupted")


class _Bounded:
    """The unpacked archive as tarfile reads it, with a limit for each read and for the total."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise BadArchiveError("it has a header of absurd size")
        self._check(self.tell() + size)
        return self._file.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        self._check(position)
        return self._file.seek(position, whence)

    def _check(self, position: int) -> None:
        if position > MAX_BYTES:
            raise BadArchiveError(f"it has more than {MAX_BYTES} bytes")


def _check_sum(files: dict[str, _Place], spool: IO[bytes], cancelled: Callable[[], bool]) -> None:
    """Compare the checksum with that of all JSON files, joined in the order of their names."""
    if _CHECKSUM not in files:
        raise BadArchiveError(f"it has no {_CHECKSUM}")
    found = hashlib.md5(usedforsecurity=False)
    for name in sorted(files):
        if name.endswith(".json"):
            spool.seek(files[name].offset)
            for chunk in _chunks(spool, files[name].size, cancelled):
                found.update(chunk)
    if found.digest() != _content(files[_CHECKSUM], spool):
        raise BadArchiveError("its checksum is wrong")


def _environments(files: dict[str, _Place], spool: IO[bytes]) -> tuple[dict[str, EnvironmentRep], dict[str, str]]:
    environments: dict[str, EnvironmentRep] = {}
    data_ids: dict[str, str] = {}
    for name in sorted(files):
        if name.endswith(".json") and not name.endswith("-data.json"):
            id = name.removesuffix(".json")
            try:
                document = convert(load(_content(files[name], spool)), _EnvironmentFile)
                if document.env is None:
                    raise ValueError("there is no environment in it")
                environments[id] = EnvironmentRep.from_json(document.env)
            except ValueError as error:  # whose text holds no content
                raise BadArchiveError(f"the file of an environment cannot be used: {error}") from None
            data_ids[id] = document.data_id
    return environments, data_ids


def _content(place: _Place, spool: IO[bytes]) -> bytes:
    if place.size > _MAX_ENVIRONMENT:
        raise BadArchiveError(f"it has the file of an environment with more than {_MAX_ENVIRONMENT} bytes")
    spool.seek(place.offset)
    return spool.read(place.size)
