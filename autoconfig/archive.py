"""The archive of the Relay Proxy's offline mode as a source of environments, for machines without a connection."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from .archive_reader import MAX_BYTES, BadArchiveError, read_archive
from .cache import replacement
from .config import HTTPConfig, RetryPolicy
from .exceptions import ConnectionFailedError
from .handler import MessageHandler
from .handler_errors import HandlerErrors
from .identifiers import AutoConfigKey
from .keys import KeySource, key_reader
from .manager import StreamManager
from .messages import PUT_EVENT, EnvironmentRep, PutContent
from .safe_logger import Logger
from .stream.cancel import CancelToken
from .stream.connection import Connector
from .stream.decoding import Received, refusal_of
from .stream.retry import RetryPlan
from .validation import check_seconds, check_url

SERVICE = "https://sdk.launchdarkly.com"


class ArchiveSource(StreamManager):
    """
    Follows the archive of the Relay Proxy's offline mode and keeps a handler in step with it.

    It is a :class:`StreamManager` with a file instead of a service: the same methods, the same status, and the same
    rules for a handler that fails. The file, a ``.tar.gz`` or ``.tar``, is checked every ``poll`` seconds. An
    environment is updated when its version or the id of its flag data has changed. An environment that is no longer in
    the archive is deleted. An archive has no payload filters. If the file is missing or damaged, that is logged and
    changes nothing, and the status is INTERRUPTED until the file is replaced. The archive is unpacked in memory, or
    into a temporary file without a name.

    Replace the file in one step (``mv``). Otherwise the library may read a half-written file, which fails, and read it
    again when it is complete.

    Args:
        path: The archive.
        handler: An object with the six methods of :class:`MessageHandler`.
        poll: Seconds between two checks of the file.
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
        self._build(
            _Archive(Path(path).absolute(), poll),  # servers change their directory
            handler,
            RetryPlan(poll, RetryPolicy(max_delay=poll, jitter=0.0)),
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
    Download the archive, verify its checksum, and replace a file with it; blocks until this is done.

    Args:
        key: The auto-configuration key, a file that holds it, or a function that returns it.
        path: The file; only its owner can read it, because it holds SDK keys.
        uri: The base URI of LaunchDarkly's SDK endpoint; ``https://sdk.launchdarkly.us`` for the federal instance.
        http_config: Proxies, certificates, timeouts.

    Returns:
        How many environments are in it.

    Raises:
        KeyRejectedError: The service refused the key.
        StreamError: The archive cannot be downloaded.
        BadArchiveError: What was downloaded cannot be used; a ``StreamError``.
        OSError: The file or a temporary file cannot be written.
    """
    check_url("uri", uri)
    token = CancelToken()
    url = f"{uri.rstrip('/')}/relay/latest-all"
    connector = Connector(key_reader(key), url, http_config or HTTPConfig(), token, endless=False)
    try:
        with connector.connect() as pieces, replacement(Path(path)) as file:
            for piece in pieces:
                if file.write(piece) and file.tell() > MAX_BYTES:
                    raise BadArchiveError(f"it has more than {MAX_BYTES} bytes")
            file.seek(0)
            return len(read_archive(file)[0])
    finally:
        token.close()


class _Archive:
    """The archive to follow; a :class:`autoconfig.stream.source.SourceMaker`."""

    def __init__(self, path: Path, poll: float) -> None:
        self._path = path
        self._poll = poll
        self.name = path.name

    def __str__(self) -> str:
        return str(self._path)

    def make(self, token: CancelToken, logger: Logger) -> _ArchiveStream:
        """Make the source of one manager."""
        return _ArchiveStream(self._path, self._poll, token)


class _Known(NamedTuple):
    """An environment when it was last handed over: its version and data id in the archive, and the version it got."""

    version: int
    data_id: str
    given: int


class _ArchiveStream:
    """The archive as the reader's source; see :class:`autoconfig.stream.source.Source`."""

    retry: int | None = None

    def __init__(self, path: Path, poll: float, token: CancelToken) -> None:
        self._path = path
        self._poll = poll
        self._token = token
        # The file's signature when it was last read; the errno if it was missing.
        self._signature_read: object = None
        self._known: dict[str, _Known] = {}

    @contextmanager
    def connect(self) -> Iterator[Iterator[Received]]:
        """Read the archive; the iterator continues with each file that replaces it."""
        # After a failure, the same file would only fail again.
        while self._signature() == self._signature_read and not self._token.wait(self._poll):
            pass
        yield self._follow(self._read())

    def _follow(self, content: PutContent) -> Iterator[Received]:
        yield _received(content)
        del content  # the variable would keep it in memory
        while not self._token.wait(self._poll):
            if self._signature() != self._signature_read:
                yield _received(self._read())

    def _signature(self) -> object:
        """Return a value that is different when the file was replaced or changed."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> PutContent:
        self._signature_read = self._signature()  # before it is read, so that a change meanwhile is noticed
        try:
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise ConnectionFailedError(f"the archive {self._path} is not a regular file")
            with open(self._path, "rb") as file:
                environments, data_ids = read_archive(file, lambda: self._token.cancelled)
        except OSError as error:
            if not isinstance(self._signature_read, int):  # the file exists, and may be readable the next time
                self._signature_read = None
            reason = error.strerror or type(error).__name__
            raise ConnectionFailedError(f"cannot read the archive {self._path}: {reason}") from None
        return self._with_versions(PutContent.sorted(environments.items(), {}), data_ids)

    def _with_versions(self, content: PutContent, data_ids: dict[str, str]) -> PutContent:
        """Give an environment a higher version if its version or data id in the archive has changed."""
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
        for id in (*content.refused, *content.foreign):  # the handler keeps what it has of these
            if id in self._known:
                known[id] = self._known[id]
        self._known = known
        return msgspec.structs.replace(content, environments=environments)


def _received(content: PutContent) -> Received:
    return Received((PUT_EVENT,), [content], refusal_of(content) if content.refused else None)
