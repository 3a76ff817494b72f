"""One connection to a Redis server, made by redis-py, which a cancel token interrupts in every state."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import redis
from redis import exceptions
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url

from ..exceptions import ConnectionFailedError, StreamEndedError, StreamError
from ..stream.cancel import CancelToken
from ..stream.failures import describe
from ..stream.transport import connect, connect_to

_parse: Any = parse_url  # it has no types
_SENTINEL = "+sentinel"
_SENTINEL_PORT = 26379
_OF_SENTINELS = "sentinel_"  # begins the names of their options in a query
_SOCKET_OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
_MOVED = re.compile(r"(?:MOVED )?\d+ (.+):(\d+)")
# Texts for the server's errors, whose own texts may repeat a command's arguments.
_REFUSALS: dict[type[Exception], str] = {
    exceptions.AuthenticationError: "Redis does not accept the user name or password",
    exceptions.NoPermissionError: "Redis does not permit the command; see its ACL",
    exceptions.ReadOnlyError: "this Redis is a replica, which cannot be written to",
    exceptions.OutOfMemoryError: "Redis has no memory left; see its maxmemory",
    exceptions.BusyLoadingError: "Redis is still loading its data",
}


class Link:
    """
    One connection. It belongs to one thread.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py takes them, with ``redis+sentinel://`` and
            ``rediss+sentinel://`` in addition: ``redis+sentinel://user:password@host1:26379,host2/service/0`` asks the
            sentinels for the master. User and password are those of the master; those of the sentinels, if they have
            any, are in the query: ``?sentinel_username=…&sentinel_password=…``. In a cluster, any node will do.
        token: Interrupts the connection.
        timeout: How many seconds connecting, and each answer, may take.
    """

    def __init__(self, url: str, token: CancelToken, timeout: float) -> None:
        self._token = token
        self._timeout = timeout
        self._options: dict[str, Any] = _parse(_master_url(url, token, timeout))
        self._connection = self._open()

    def call(self, *command: Any) -> Any:
        """
        Send a command and return the answer, as bytes, numbers and lists.

        Raises:
            ConnectionFailedError: The server refuses the command.
            StreamEndedError: The connection is broken, or no answer comes in time.
        """
        with _explained():
            try:
                return self._ask(command)
            except exceptions.ResponseError as error:
                address = _moved_to(error)
                if not address:
                    raise
        self.close()
        self._options |= address
        self._connection = self._open()
        with _explained():
            return self._ask(command)

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    def _ask(self, command: tuple[Any, ...]) -> Any:
        self._connection.send_command(*command)
        return self._connection.read_response()

    def _open(self) -> Any:
        options = dict(self._options)
        kind = options.pop("connection_class", Connection)
        options |= {"socket_timeout": self._timeout, "socket_connect_timeout": self._timeout, "protocol": 2}
        connection = _watched(kind, self._token)(**options)
        with _explained():
            try:
                connection.connect()
            except BaseException:
                connection.disconnect()
                raise
        return connection


@contextmanager
def linked(url: str, token: CancelToken, timeout: float) -> Iterator[Link]:
    """Connect; close everything that was opened at the end of the ``with`` block. See :class:`Link`."""
    try:
        link = Link(url, token, timeout)
        try:
            yield link
        finally:
            link.close()
    finally:
        token.release()


def check_redis_url(url: str) -> None:
    """
    Check a URL.

    Raises:
        TypeError: It is not a string.
        ValueError: :class:`Link` does not take such a URL. The text does not hold it.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        if parts.scheme.endswith(_SENTINEL):
            if not _service(url) or not _sentinels(url):
                raise ValueError
            _parse(_with_address(url, "127.0.0.1", 6379))
        else:
            _parse(url)
        good = bool(parts.path) if parts.scheme == "unix" else bool(parts.hostname) and not _is_split_in_password(url)
    except (ValueError, redis.RedisError):
        good = False
    if not good:
        forms = "redis://host:port/db, rediss://, unix:// or redis+sentinel://hosts/service"
        raise ValueError(f"url must be {forms}, with user and password percent-encoded")


def _is_split_in_password(url: str) -> bool:
    """Return whether a password seems to end the host's part, with a ``/``, ``?`` or ``#``; the rest would be shown."""
    parts = urlsplit(url)
    return bool(parts.fragment) or "@" in parts.path or ("@" in parts.query and "@" not in parts.netloc)


def show_url(url: str) -> str:
    """Return a URL without user, password and query, for log lines."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _master_url(url: str, token: CancelToken, timeout: float) -> str:
    """Return the URL of the server to connect to; if there are sentinels, they are asked for it."""
    if not urlsplit(url).scheme.endswith(_SENTINEL):
        return url
    reason = "none of them has this name"
    for host, port in _sentinels(url):
        try:
            sentinel = Link(_sentinel_url(url, host, port), token, timeout)
            try:
                found = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _service(url))
            finally:
                sentinel.close()
        except StreamError as error:
            reason = str(error)
            continue
        if found:
            return _with_address(url, found[0].decode(), int(found[1]))
    raise ConnectionFailedError(f"no sentinel knows the master: {reason}")


def _sentinel_url(url: str, host: str, port: int) -> str:
    """Return the URL of a sentinel, which has a user and a password of its own, and the TLS options of the master."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    user, password = (quote(query.get(f"{_OF_SENTINELS}{name}", ""), safe="") for name in ("username", "password"))
    credentials = f"{user}:{password}@" if user or password else ""
    options = urlencode({name: value for name, value in query.items() if name.startswith("ssl_")})
    return f"{parts.scheme.removesuffix(_SENTINEL)}://{credentials}{_bracketed(host)}:{port}?{options}"


def _sentinels(url: str) -> list[tuple[str, int]]:
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    parts = [urlsplit(f"//{host}") for host in hosts if host]
    return [(part.hostname, part.port or _SENTINEL_PORT) for part in parts if part.hostname]


def _service(url: str) -> str:
    return urlsplit(url).path.strip("/").partition("/")[0]


def _with_address(url: str, host: str, port: int) -> str:
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    database = parts.path.strip("/").partition("/")[2]
    address = f"{credentials}@{_bracketed(host)}:{port}" if credentials else f"{_bracketed(host)}:{port}"
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if not name.startswith(_OF_SENTINELS)])
    scheme = parts.scheme.removesuffix(_SENTINEL)
    return parts._replace(scheme=scheme, netloc=address, path=f"/{database}", query=query).geturl()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _watched(kind: type[Any], token: CancelToken) -> Any:
    """Return a class of connections whose sockets the token watches before they connect."""
    if issubclass(kind, UnixDomainSocketConnection):

        class Local(UnixDomainSocketConnection):
            def _connect(self) -> socket.socket:
                return connect_to((socket.AF_UNIX,), self.path, float(self.socket_connect_timeout or 0), token)

        return Local

    class Remote(Connection):
        def _connect(self) -> socket.socket:
            return connect(self.host, self.port, float(self.socket_connect_timeout or 0), token, _SOCKET_OPTIONS)

    if not issubclass(kind, SSLConnection):
        return Remote
    return type("RemoteTLS", (kind, Remote), {})


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what redis-py raises into an error of this library, whose text holds nothing of the server's."""
    try:
        yield
    except exceptions.TimeoutError:
        raise StreamEndedError("Redis did not answer in time") from None
    except (exceptions.ResponseError, exceptions.AuthenticationError, exceptions.BusyLoadingError) as error:
        raise ConnectionFailedError(_refusal(error)) from None
    except (exceptions.RedisError, OSError) as error:
        words = describe(error)
        reason = "the connection was closed" if words.startswith("unexpected error") else words
        raise StreamEndedError(f"no connection to Redis: {reason}") from None


def _moved_to(error: exceptions.ResponseError) -> dict[str, Any] | None:
    """Return the address of the node of a cluster that has the keys, if the error names it."""
    if not isinstance(error, exceptions.MovedError) and not str(error).startswith("MOVED "):  # as old redis-py has it
        return None
    found = _MOVED.fullmatch(str(error))
    return {"host": found[1], "port": int(found[2])} if found else None


def _refusal(error: Exception) -> str:
    known = next((words for kind, words in _REFUSALS.items() if isinstance(error, kind)), None)
    if known:
        return known
    code = str(error).partition(" ")[0]
    return f"Redis answered with the error {code}" if code.isupper() and code.isalpha() else "Redis answered an error"
