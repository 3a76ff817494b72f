"""
Connections that can be interrupted and give up at a deadline: a transport adapter for requests.

``requests`` has no way to interrupt a call from another thread, and ``Response.close()`` waits for the next byte. So a
cancel token has to know each socket as soon as it exists, before it connects. ``_new_conn`` is where urllib3 makes it:
a private name, the same in all versions of urllib3 2. A test fails if it goes; even then the connector would still
watch the socket of the response.

A socket's own timeout begins anew with each byte, so that a trickle of bytes, in a header or in the size of a chunk,
would keep a dead connection alive for ever. So a class of ours reads the responses and keeps a deadline, whatever the
socket below it is: plain, TLS, TLS within TLS, gevent's.
"""

from __future__ import annotations

import errno
import io
import math
import os
import queue
import socket
import ssl
import time
from contextlib import suppress
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from http.client import HTTPResponse
from typing import Any

import requests
import requests.adapters
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_write

from ..config import HTTPConfig
from .cancel import CancelToken
from .chunked import ChunkedBody
from .failures import ExplainedError

Paths = tuple[str, ...]
Cert = str | Paths | None

_TOLERANCE = 0.99  # a timeout may be longer than what is left by so much
_MOST_INTERIM_ANSWERS = 100
_BAD_HEADERS = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)


class Deadline:
    """
    When a connection counts as dead unless it has made progress by then.

    Args:
        seconds: How long it may be without progress.

    Attributes:
        at: When, in monotonic time.
    """

    def __init__(self, seconds: float) -> None:
        self.at = math.inf
        self._seconds = seconds

    def renew(self) -> None:
        """Start the time anew, because there was progress."""
        self.at = time.monotonic() + self._seconds

    @property
    def passed(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.at


class TLSContexts:
    """
    Makes TLS contexts when they are needed, and keeps them.

    One takes 20 ms, and a process that is forked while OpenSSL makes one may hang at its exit. A file that has changed
    since is read again.

    Args:
        config: Which certificates to trust and to show.
        token: Closes the TLS sockets that nobody else closes.
    """

    def __init__(self, config: HTTPConfig, token: CancelToken) -> None:
        self._config = config
        self._token = token
        self._kept: dict[tuple[Paths, Paths], tuple[list[object], ssl.SSLContext]] = {}

    def get(self, verify: bool | str, cert: Cert = None) -> ssl.SSLContext:
        """
        Return a context.

        Args:
            verify: What requests made of the options and the environment: whether to trust the usual authorities, or
                the path of others.
            cert: The client's certificate, if it is to be shown. A context that has once shown one is used for nobody
                else.

        Raises:
            ExplainedError: A file cannot be used.
        """
        trusted: Paths = ()
        if verify:
            usual = requests.adapters.DEFAULT_CA_BUNDLE_PATH  # type: ignore[attr-defined]  # as requests itself does
            trusted = self._config.ca_certs or (usual if verify is True else verify,)
        shown = (cert,) if isinstance(cert, str) else tuple(cert or ())
        versions = [_version(path) for path in (*trusted, *shown)]
        before, context = self._kept.get((trusted, shown), (None, None))
        if context is None or before != versions:
            context = self._make(trusted, shown)
            self._kept[trusted, shown] = versions, context
        return context

    def _make(self, trusted: Paths, cert: Paths) -> ssl.SSLContext:
        context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
        if not trusted:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in trusted:
            _trust(context, path)
        if cert:
            self._show(context, cert)
        context.sslsocket_class = _tracked(context.sslsocket_class, self._token)
        return context

    def _show(self, context: ssl.SSLContext, files: Paths) -> None:
        """Load the client's certificate. Without a password, OpenSSL would ask for one on the terminal."""
        password = self._config.client_key_password
        try:
            context.load_cert_chain(files[0], files[1] if files[1:] else None, password or _no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = "the client's key does not fit its certificate (OpenSSL: KEY_VALUES_MISMATCH)"
            else:
                wrong = "" if password is None else ", or client_key_password is wrong"
                reason = f"the client's certificate or key cannot be read{wrong}"
        except OSError as error:
            reason = f"the client's certificate or key cannot be read: {os.strerror(error.errno or 0)}"
        else:
            return
        raise ExplainedError(reason)


def _trust(context: ssl.SSLContext, path: str) -> None:
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
        return
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        pass
    except OSError as error:
        raise ExplainedError(f"a file of CA certificates cannot be read: {os.strerror(error.errno or 0)}") from None
    else:
        return
    raise ExplainedError("a file of CA certificates holds none that can be read")


def _no_password() -> str:
    raise ExplainedError("the client's key has a passphrase, and client_key_password is not given")


def _version(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _tracked(kind: type[ssl.SSLSocket], token: CancelToken) -> type[ssl.SSLSocket]:
    """Return a class of TLS sockets that the token closes: ``ssl`` leaves one open whose connection is gone already."""

    class TrackedSSLSocket(kind):  # type: ignore[misc, valid-type]
        def __new__(cls, *arguments: Any, **options: Any) -> TrackedSSLSocket:
            instance: TrackedSSLSocket = super().__new__(cls)  # gevent's takes no arguments, and Python's needs none
            token.own(instance)
            return instance

    return TrackedSSLSocket


class InterruptibleAdapter(HTTPAdapter):
    """
    Makes the connections of one attempt interruptible.

    Args:
        token: What interrupts them.
        deadline: When to give up reading.
        contexts: The TLS contexts.
        own_context: What to use instead of them for https targets, though not for proxies. It may have a client
            certificate, so it is taken away when a redirect leaves the service.
    """

    def __init__(
        self, token: CancelToken, deadline: Deadline, contexts: TLSContexts, own_context: ssl.SSLContext | None = None
    ) -> None:
        self.own_context = own_context
        self._token = token
        self._deadline = deadline
        self._contexts = contexts
        self._verify: bool | str = True
        self._pools = _pool_classes(token, deadline)
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the manager of direct connections; called by the constructor of the base class."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send the request; the TLS context for a proxy depends on what it is to verify."""
        self._verify = options.get("verify", True)
        return super().send(request, *arguments, **options)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> PoolManager:
        """Return the manager of connections through a proxy."""
        scheme = proxy.lower().partition(":")[0]
        if scheme == "https":
            context = self._contexts.get(self._verify)
            proxy_kwargs.update(ssl_context=context, proxy_ssl_context=context)
        manager: PoolManager = super().proxy_manager_for(proxy, **proxy_kwargs)
        socks = scheme.startswith("socks")
        manager.pool_classes_by_scheme = _socks_pool_classes(self._token, self._deadline) if socks else self._pools
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a connection is chosen by; requests' own way to bring a TLS context."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        return host, {"ssl_context": self.own_context or self._contexts.get(verify, cert)}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context has everything that the base class would set."""


class _IdleConnections(queue.LifoQueue[Any]):
    """
    The idle connections of a pool, without a lock.

    urllib3 closes them when the interpreter exits, in a forked child too. If the reader held their lock at the fork,
    that child would never exit.
    """

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if len(self.queue) >= self.maxsize:
            raise queue.Full
        self.queue.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None


# What takes urllib3's place may have another kind of queue.
_QUEUE = _IdleConnections if HTTPConnectionPool.QueueCls is queue.LifoQueue else HTTPConnectionPool.QueueCls


def _pool_classes(token: CancelToken, deadline: Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's classes of pools, with connections that the token knows and that mind the deadline."""
    read = _answer_class(deadline)

    class Connection(HTTPConnection):
        response_class = read

        def _new_conn(self) -> socket.socket:
            return _connect(self, token, deadline)

    class SecureConnection(HTTPSConnection):
        response_class = read

        def _new_conn(self) -> socket.socket:
            return _connect(self, token, deadline)

        def connect(self) -> None:
            super().connect()
            deadline.renew()

    class Pool(HTTPConnectionPool):
        QueueCls = _QUEUE
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        QueueCls = _QUEUE
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def _socks_pool_classes(token: CancelToken, deadline: Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """Return the same for connections through a SOCKS proxy. PySocks connects, so only the rest is interruptible."""
    from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

    read = _answer_class(deadline)

    class Connection(SOCKSConnection):
        response_class = read

        def _new_conn(self) -> socket.socket:
            return _watched(super()._new_conn(), token, deadline)

    class SecureConnection(SOCKSHTTPSConnection):
        response_class = read

        def _new_conn(self) -> socket.socket:
            return _watched(super()._new_conn(), token, deadline)

        def connect(self) -> None:
            super().connect()
            deadline.renew()

    class Pool(HTTPConnectionPool):
        QueueCls = _QUEUE
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        QueueCls = _QUEUE
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def _watched(sock: socket.socket, token: CancelToken, deadline: Deadline) -> socket.socket:
    token.watch(sock)
    deadline.renew()
    return sock


def _connect(connection: HTTPConnection, token: CancelToken, deadline: Deadline) -> socket.socket:
    """Connect to the first address that answers, and raise what urllib3 raises where it does the same."""
    host = getattr(connection, "_dns_host", connection.host)  # with the dot at the end that stops a search list
    try:
        sock = _first_that_answers(connection, host, token)
        deadline.renew()
        return sock
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except UnicodeError:  # what Python says of a label that is empty or too long
        raise ExplainedError("the URL is malformed: its host is no name that can be looked up") from None
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"no answer within {connection.timeout} s") from error
    except OSError as error:
        raise NewConnectionError(connection, f"cannot connect: {error}") from error


def _first_that_answers(connection: HTTPConnection, host: str, token: CancelToken) -> socket.socket:
    failure = OSError("the name has no address")
    addresses = socket.getaddrinfo(host.strip("[]"), connection.port, 0, socket.SOCK_STREAM)
    for family, kind, protocol, _, address in addresses:
        if token.cancelled:
            break
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            token.watch(sock)
            for option in connection.socket_options or ():
                sock.setsockopt(*option[:3])  # urllib3-future's have a fourth item, "tcp"
            wait_for_answer(sock, address, connection.timeout, token)
            return sock
        except OSError as error:
            failure = error
            if sock:
                sock.close()
    try:
        raise failure
    finally:
        del failure  # else it would keep itself alive through this frame


def wait_for_answer(sock: socket.socket, address: Any, timeout: Any, token: CancelToken) -> None:
    """Connect without blocking, because a blocking ``connect()`` would miss a token that was cancelled just before."""
    sock.setblocking(False)
    with suppress(BlockingIOError):  # it goes on
        sock.connect(address)  # not connect_ex(), because packages that forbid connections replace this one
    # From here on, shutting the socket down ends the wait; what was shut down before, the token knows.
    if token.cancelled:
        raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
    if not wait_for_write(sock, timeout):
        raise TimeoutError
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(code, os.strerror(code))
    sock.settimeout(timeout)


def _answer_class(deadline: Deadline) -> type[HTTPResponse]:
    """Return a class of answers that are read until the deadline."""

    class Answer(HTTPResponse):
        def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(_Readable(sock, deadline), *arguments, **options)  # type: ignore[arg-type]

        def begin(self) -> None:
            """Read the headers. Interim answers are skipped; ``http.client`` skips those of status 100 only."""
            super().begin()
            interim = 0
            while 100 <= self.status < 200 and self.status != 101:
                interim += 1
                if interim > _MOST_INTERIM_ANSWERS:
                    raise ExplainedError("there are interim answers without end")
                self.headers = None  # type: ignore[assignment]  # else it does nothing
                super().begin()
            if any(isinstance(defect, _BAD_HEADERS) for defect in self.headers.defects):
                raise ExplainedError("a line among the answer's headers is no header")
            if self.chunked:  # http.client's own method returns one chunk at a time
                self.read1 = ChunkedBody(self.fp).read1  # type: ignore[assignment, method-assign]

    return Answer


class _Readable:
    """A socket as far as ``http.client`` reads from it."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reads(self._sock, self._deadline))


class _Reads(io.RawIOBase):
    """The bytes of a socket until a deadline; :class:`TimeoutError` then."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._file = sock.makefile("rb", 0)  # keeps the descriptor open when http.client has closed the socket
        own = sock.gettimeout()
        self._own = self._timeout = math.inf if own is None else own

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read. The socket's timeout is changed only if it is longer than what is left, which is so in a trickle."""
        while True:
            allowed = min(self._deadline.at - time.monotonic(), self._own)
            if allowed <= 0:
                raise TimeoutError("the deadline has passed")
            if allowed < self._timeout * _TOLERANCE:
                self._set_timeout(allowed)
            try:
                return int(self._sock.recv_into(buffer))
            except TimeoutError:
                if allowed <= self._timeout:
                    raise
                self._set_timeout(allowed)  # it was shortened before there was progress

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _set_timeout(self, seconds: float) -> None:
        self._sock.settimeout(seconds)
        self._timeout = seconds
