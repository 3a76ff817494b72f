"""
Connections that can be interrupted: a transport adapter for requests.

``requests`` has no way to interrupt a call from another thread, and ``Response.close()`` waits for the next byte. So a
cancel token has to know each socket as soon as it exists, before it connects. ``_new_conn`` is where urllib3 makes it:
a private name, the same in all versions of urllib3 2. A test fails if it goes; even then the connector would still
watch the socket of the response.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, partial
from typing import Any

import requests
import requests.adapters
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_write

from ..config import HTTPConfig
from .body import Answer, Deadline
from .cancel import CancelToken
from .failures import ExplainedError

Paths = tuple[str, ...]


class TLSContexts:
    """
    Makes TLS contexts when they are needed, and keeps them.

    Making one takes 20 ms, and a process that is forked meanwhile may hang at its exit. A file that has changed is read
    again.

    Args:
        config: Which certificates to trust and to show.
        token: Closes the TLS sockets that nobody else closes.

    Attributes:
        own: The application's context for https to the service, instead of one that is made here; not for proxies. It
            may hold a client certificate, so it is removed when a redirect leads to another origin.
    """

    def __init__(self, config: HTTPConfig, token: CancelToken) -> None:
        self.own = config.ssl_context
        self._config = config
        self._make = lru_cache(maxsize=4)(partial(_make_context, token, config.client_key_password))

    def get(self, verify: bool | str, cert: str | Paths | None = None) -> ssl.SSLContext:
        """
        Return a context.

        Args:
            verify: As requests derives it from the options and the environment: whether to trust the usual authorities,
                or the path of others.
            cert: The client's certificate, if the server gets one. A context with a certificate is used for nothing
                else.

        Raises:
            ExplainedError: A file cannot be used.
        """
        trusted: Paths = ()
        if verify:
            usual = requests.adapters.DEFAULT_CA_BUNDLE_PATH  # type: ignore[attr-defined]  # as requests itself does
            trusted = self._config.ca_certs or (usual if verify is True else verify,)
        shown = (cert,) if isinstance(cert, str) else tuple(cert or ())
        return self._make(trusted, shown, tuple(map(_version, (*trusted, *shown))))


def _version(path: str) -> object:
    with suppress(OSError):
        found = os.stat(path)
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
    return None


def _make_context(
    token: CancelToken, password: str | None, trusted: Paths, shown: Paths, _versions: object
) -> ssl.SSLContext:
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for path in trusted:
        with _explained("a file of CA certificates", "holds none that can be read"):
            context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
    if shown:
        wrong = ", or client_key_password is wrong" if password else ""
        with _explained("the client's certificate or key", f"cannot be read{wrong}"):
            context.load_cert_chain(shown[0], shown[1] if shown[1:] else None, password or _no_password)
    context.sslsocket_class = _tracked(context.sslsocket_class, token)
    return context


@contextmanager
def _explained(subject: str, broken: str) -> Iterator[None]:
    """Say what is wrong with a file, which the errors of OpenSSL do not."""
    try:
        yield
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            subject, broken = "the client's key", "does not fit its certificate (OpenSSL: KEY_VALUES_MISMATCH)"
        raise ExplainedError(f"{subject} {broken}") from None
    except OSError as error:
        raise ExplainedError(f"{subject} cannot be read: {os.strerror(error.errno or 0)}") from None


def _no_password() -> str:
    """Fail, because without a password OpenSSL would ask for one on the terminal."""
    raise ExplainedError("the client's key has a passphrase, and client_key_password is not given")


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
    """

    def __init__(self, token: CancelToken, deadline: Deadline, contexts: TLSContexts) -> None:
        self._token = token
        self._deadline = deadline
        self._contexts = contexts
        self._verify: bool | str = True
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._guard(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> PoolManager:
        """Return the manager of connections through a proxy."""
        manager: PoolManager | None = self.proxy_manager.get(proxy)
        if manager is None:
            scheme = proxy.lower().partition(":")[0]
            if scheme == "https":
                context = self._contexts.get(self._verify)
                proxy_kwargs.update(ssl_context=context, proxy_ssl_context=context)
            manager = self._guard(super().proxy_manager_for(proxy, **proxy_kwargs), scheme.startswith("socks"))
        return manager

    def _guard(self, manager: PoolManager, socks: bool = False) -> PoolManager:
        """Let a manager make pools of our classes, which pass the token and the deadline on to their connections."""
        manager.pool_classes_by_scheme = {
            scheme: partial(_guarded(pool, socks), token=self._token, deadline=self._deadline)  # type: ignore[misc]
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the attributes by which a pool is chosen; requests takes the TLS context from them."""
        self._verify = verify
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        return host, {"ssl_context": self._contexts.own or self._contexts.get(verify, cert)}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context has everything that the base class would set."""


class _Guarded:
    """
    Mix-in: a connection whose socket the token knows from the start, and whose answers are read until a deadline.

    Args:
        arguments: As for the base class.
        token: Interrupts it.
        deadline: When to give up reading.
        options: As for the base class.
    """

    def __init__(self, *arguments: Any, token: CancelToken, deadline: Deadline, **options: Any) -> None:
        self._token = token
        super().__init__(*arguments, **options)
        self.response_class: Any = partial(Answer, deadline=deadline)

    def _new_conn(self: Any) -> socket.socket:
        """Connect to the first address that answers; raise the errors that urllib3 would raise."""
        host = getattr(self, "_dns_host", self.host).strip("[]")  # with the dot at the end that stops a search list
        try:
            return connect(host, self.port, self.timeout, self._token, self.socket_options or ())
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no answer within {self.timeout} s") from error
        except OSError as error:
            raise NewConnectionError(self, f"cannot connect: {error}") from error


class _ThroughSocks(_Guarded):
    """The same for connections through a SOCKS proxy. PySocks connects, so only the rest is interruptible."""

    def _new_conn(self: Any) -> socket.socket:
        sock: socket.socket = super(_Guarded, self)._new_conn()  # type: ignore[misc]
        self._token.watch(sock)
        return sock


def _no_lock(maxsize: int) -> queue.SimpleQueue[Any]:
    """
    Return a queue for the idle connections of a pool, which never waits for a lock.

    urllib3 closes them when the interpreter exits, in a forked child too. If the reader held their lock at the fork,
    that child would never exit.
    """
    return queue.SimpleQueue()


@cache
def _guarded(pool: type[HTTPConnectionPool], socks: bool) -> type[HTTPConnectionPool]:
    """Return a class of pools that makes guarded connections."""
    mixin = _ThroughSocks if socks else _Guarded

    class Connection(mixin, pool.ConnectionCls):  # type: ignore[misc, valid-type, name-defined]
        pass

    class Pool(pool):  # type: ignore[misc, valid-type]
        ConnectionCls = Connection
        # A package that replaces urllib3 may have another kind of queue.
        QueueCls = staticmethod(_no_lock) if pool.QueueCls is queue.LifoQueue else pool.QueueCls

    return Pool


def connect(host: str, port: int, timeout: Any, token: CancelToken, options: Iterable[Any]) -> socket.socket:
    """Return a socket that is connected to the first address of a host that answers, and has these options."""
    try:
        addresses = list(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    except UnicodeError:  # what Python says of a label that is empty or too long
        raise ExplainedError("the URL is malformed: its host is not a name that can be looked up") from None
    while addresses and not token.cancelled:
        *kind, _, address = addresses.pop(0)
        try:
            return connect_to(kind, address, timeout, token, options)
        except OSError:
            if not addresses:
                raise
    raise OSError("the name has no address")


def connect_to(
    kind: Iterable[int], address: Any, timeout: Any, token: CancelToken, options: Iterable[Any] = ()
) -> socket.socket:
    """Connect without blocking, because a blocking ``connect()`` would miss a token that was cancelled just before."""
    sock = socket.socket(*kind)
    try:
        token.watch(sock)
        for option in options:
            sock.setsockopt(*option[:3])  # urllib3-future's have a fourth item, "tcp"
        sock.setblocking(False)
        with suppress(BlockingIOError):  # it connects in the background
            sock.connect(address)  # not connect_ex(), because packages that forbid connections replace this one
        # From here on, shutting the socket down ends the wait; if it was shut down before, the token is cancelled.
        if token.cancelled:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        if not wait_for_write(sock, timeout):
            raise TimeoutError
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
        sock.settimeout(timeout)
        return sock
    except BaseException:
        sock.close()
        raise
