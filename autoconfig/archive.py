"""The archive of the Relay Proxy's offline mode as a source of environments, for places without a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from .cache import replacement
from .config import HTTPConfig, RetryPolicy
from .exceptions import ConnectionFailedError, MalformedMessageError
from .handler import MessageHandler, check_handler
from .handler_errors import HandlerErrors
from .identifiers import AutoConfigKey
from .keys import KeySource, key_reader
from .loose_json import convert, load
from .manager import StreamManager
from .messages import PUT_EVENT, EnvironmentRep, PutContent
from .safe_logger import Logger
from .stream.cancel import CancelToken
from .stream.connection import Connector
from .stream.retry import RetryPlan
from .stream.source import Received, refusal_of
from .validation import check_seconds, check_url

SERVICE = "https://sdk.launchdarkly.com"
_CHECKSUM = "checksum.md5"
_MAX_FILE = 200 * 2**20  # bytes; the relay's limit
_MAX_ENVIRONMENT = 2**20  # bytes of the file of one environment, which is read into memory; the service's have 1 KiB
_MAX_TOTAL = 4 * 2**30  # bytes of the archive when it is unpacked
_MAX_FILES = 250_000
_MAX_HEADER = 2**20  # bytes that tarfile may want at a time
_CHUNK = 2**16  # bytes
_IN_MEMORY = 2**23  # bytes; what is larger goes to a temporary file that has no name


class BadArchiveError(MalformedMessageError):
    """
    The archive cannot be used, so that nothing has changed.

    Attributes:
        reason: What is wrong with it; holds no content.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(PUT_EVENT, reason)
        self.args = (f"cannot use the archive: {reason}",)

    def __reduce__(self) -> tuple[type[BadArchiveError], tuple[str]]:  # type: ignore[override]
        return type(self), (self.reason,)


class ArchiveSource(StreamManager):
    """
    Follows the archive of the Relay Proxy's offline mode and keeps a handler in step with it.

    It is a :class:`StreamManager` with a file instead of a service: the same methods, the same status, and the same
    rules for a handler that fails. The file, a ``.tar.gz`` or ``.tar``, is looked at every ``poll`` seconds. An
    environment is updated when its version or the id of its flag data is another; one that is no longer in the archive
    is deleted. There are no payload filters in it. A file that is missing, cut, or has a wrong checksum is logged, and
    changes nothing; the status is INTERRUPTED until it is replaced. Nothing is unpacked under a name.

    Replace the file in one step (``mv``), or it is read half-written, and once more when it is whole.

    Args:
        path: The archive.
        handler: An object with the six methods of :class:`MessageHandler`.
        poll: Seconds between two looks at the file.
        logger: As for the manager.
        handler_errors: As for the manager.
        slow_callback: As for the manager.

    Raises:
        TypeError: An argument has the wrong type, or the handler lacks a method.
        ValueError: A number is invalid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        handler: MessageHandler,
        *,
        poll: float = 1.0,
        logger: Logger | None = None,
        handler_errors: HandlerErrors | None = None,
        slow_callback: float | None = 5.0,
    ) -> None:
        check_seconds("poll", poll)
        archive = Path(path)
        check_handler(handler)
        self._set_up(
            handler,
            lambda token, _: _Archive(archive, poll, token),
            RetryPlan(poll, RetryPolicy(max_delay=poll, jitter=0.0)),
            name=archive.name,
            shown=str(archive),
            logger=logger,
            handler_errors=handler_errors,
            slow_callback=slow_callback,
        )


def fetch_archive(
    key: AutoConfigKey | KeySource,
    path: str | os.PathLike[str],
    *,
    uri: str = SERVICE,
    http_config: HTTPConfig | None = None,
) -> int:
    """
    Download the archive, and put it in the place of a file once its checksum is right; blocks until then.

    Args:
        key: The auto-configuration key, a file that holds it, or a function that returns it.
        path: The file; only its owner can read it, because it holds SDK keys.
        uri: The base URI of LaunchDarkly's SDK endpoint; ``https://sdk.launchdarkly.us`` for the federal instance.
        http_config: Proxies, certificates, timeouts.

    Returns:
        How many environments are in it.

    Raises:
        KeyRejectedError: The service refused the key.
        StreamError: It cannot be downloaded; or :class:`BadArchiveError`: what came cannot be used.
        OSError: The file cannot be written.
    """
    check_url("uri", uri)
    token = CancelToken()
    url = f"{uri.rstrip('/')}/relay/latest-all"
    connector = Connector(key_reader(key), url, http_config or HTTPConfig(), token, "*/*")
    try:
        with connector.download() as pieces, replacement(Path(path)) as file:
            for piece in pieces:
                if file.write(piece) and file.tell() > _MAX_TOTAL:
                    raise BadArchiveError(f"it has more than {_MAX_TOTAL} bytes")
            file.seek(0)
            return len(read_archive(file)[0])
    finally:
        token.close()


class _Known(NamedTuple):
    """An environment as it was last handed over: what the archive said, and the version that was made of it."""

    version: int
    data_id: str
    given: int


class _Archive:
    """The archive as the reader's source; see :class:`autoconfig.stream.source.Source`."""

    retry: int | None = None

    def __init__(self, path: Path, poll: float, token: CancelToken) -> None:
        self._path = path
        self._poll = poll
        self._token = token
        self._seen: object = None  # the file's signature when it was last read, or found missing
        self._known: dict[str, _Known] = {}

    @contextmanager
    def connect(self) -> Iterator[Iterator[Received]]:
        """Read the archive; the iterator goes on with each one that replaces it."""
        # After a failure the same file would only fail again.
        while self._signature() == self._seen and not self._token.wait(self._poll):
            pass
        first = self._read()
        yield self._follow(first)

    def _follow(self, content: PutContent) -> Iterator[Received]:
        yield _received(content)
        del content  # a name would keep it
        while not self._token.wait(self._poll):
            if self._signature() != self._seen:
                yield _received(self._read())

    def _signature(self) -> object:
        """Return what is another when the file was replaced or changed."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> PutContent:
        self._seen = self._signature()  # before it is read, so that a change while it is read is another
        try:
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise ConnectionFailedError(f"the archive {self._path} is no regular file")
            file = open(self._path, "rb")  # noqa: SIM115  # an error of the open is not one of the content
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise ConnectionFailedError(f"cannot read the archive {self._path}: {reason}") from None
        with file:
            environments, data_ids = read_archive(file, lambda: self._token.cancelled)
        return self._with_versions(PutContent.sorted(environments.items(), {}), data_ids)

    def _with_versions(self, content: PutContent, data_ids: dict[str, str]) -> PutContent:
        """Give an environment a higher version if the archive's version or data id is another than before."""
        known: dict[str, _Known] = {}
        environments: dict[str, EnvironmentRep] = {}
        for id, rep in content.environments.items():
            before = self._known.get(id)
            given = rep.version
            if before is not None:
                same = (before.version, before.data_id) == (rep.version, data_ids[id])
                given = before.given if same else max(before.given + 1, rep.version)
            known[id] = _Known(rep.version, data_ids[id], given)
            environments[id] = msgspec.structs.replace(rep, version=given)
        for id in (*content.refused, *content.foreign):  # which stay as they are
            if id in self._known:
                known[id] = self._known[id]
        self._known = known
        return msgspec.structs.replace(content, environments=environments)


def _received(content: PutContent) -> Received:
    return Received((PUT_EVENT,), [content], refusal_of(content) if content.refused else None)


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
        cancelled: Looked at in between, because an archive may be large.

    Returns:
        The environments by the ids in their files' names, and the ids of their flag data.

    Raises:
        BadArchiveError: It cannot be used.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        try:
            files = _unpack(file, spool, cancelled)
            _check_sum(files, spool, cancelled)
            return _environments(files, spool)
        except BadArchiveError:
            raise
        except Exception as error:
            # Whatever tarfile, gzip or zlib raise for what they do not understand. Its text may hold content.
            reason = type(error).__name__
    raise BadArchiveError(f"it is damaged or cut ({reason})")


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
    # The handle is for tarfile only, which reads from it and looks where it is.
    with tarfile.open(fileobj=_Bounded(unpacked), mode="r:") as tar:  # type: ignore[call-overload]
        while (member := tar.next()) is not None:
            tar.members.clear()  # else it would remember them all
            if member.isdir():
                continue
            name = _checked_name(member)
            if name in places:
                raise BadArchiveError("it has two files of one name")
            if len(places) >= _MAX_FILES:
                raise BadArchiveError(f"it has more than {_MAX_FILES} files")
            places[name] = _copy(tar, member, spool, cancelled)
    return places


def _checked_name(member: tarfile.TarInfo) -> str:
    """Return the name of a file that lies in the archive's only directory."""
    name = member.name.removeprefix("./")
    if not member.isreg() or member.issparse():
        raise BadArchiveError("it has something in it that is no file")
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise BadArchiveError("it has a file in another directory")
    if member.size > _MAX_FILE:
        raise BadArchiveError(f"it has a file of more than {_MAX_FILE} bytes")
    return name


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, spool: IO[bytes], cancelled: Callable[[], bool]) -> _Place:
    source = tar.extractfile(member)
    place = _Place(spool.tell(), member.size)
    left = member.size
    while left and source:
        if cancelled():
            raise BadArchiveError("reading it was interrupted")
        chunk = source.read(min(_CHUNK, left))
        if not chunk:
            raise BadArchiveError("it is cut")
        left -= len(chunk)
        spool.write(chunk)
    return place


class _Bounded:
    """The unpacked archive as tarfile reads it; refuses headers that want much memory, and more than there may be."""

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
        if position > _MAX_TOTAL:
            raise BadArchiveError(f"it has more than {_MAX_TOTAL} bytes")


def _check_sum(files: dict[str, _Place], spool: IO[bytes], cancelled: Callable[[], bool]) -> None:
    """Compare the checksum with that of all JSON files, one after the other in the order of their names."""
    if _CHECKSUM not in files:
        raise BadArchiveError(f"it has no {_CHECKSUM}")
    found = hashlib.md5(usedforsecurity=False)
    for name in sorted(files):
        if name.endswith(".json"):
            left = files[name].size
            spool.seek(files[name].offset)
            while left:
                if cancelled():
                    raise BadArchiveError("reading it was interrupted")
                chunk = spool.read(min(_CHUNK, left))
                left -= len(chunk)
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
