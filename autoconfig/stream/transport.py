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
from contextlib import suppress
from functools import cache, partial
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
from .body import Answer, Deadline
from .cancel import CancelToken
from .failures import ExplainedError

Paths = tuple[str, ...]
Cert = str | Paths | None


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
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the manager of direct connections; called by the constructor of the base class."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = self._guarded(_POOLS)

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
        manager.pool_classes_by_scheme = self._guarded(_socks_pools() if scheme.startswith("socks") else _POOLS)
        return manager

    def _guarded(self, pools: dict[str, type[HTTPConnectionPool]]) -> dict[str, Any]:
        """Return what makes pools of these classes, whose connections get what else is given to a pool."""
        return {one: partial(pool, token=self._token, deadline=self._deadline) for one, pool in pools.items()}

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


class _Guarded:
    """
    Mix-in: a connection whose socket the token knows from the start, and which is read until a deadline.

    Args:
        arguments: As for the base class.
        token: Interrupts it.
        deadline: When to give up reading.
        options: As for the base class.
    """

    def __init__(self, *arguments: Any, token: CancelToken, deadline: Deadline, **options: Any) -> None:
        self._token = token
        self._deadline = deadline
        super().__init__(*arguments, **options)
        self.response_class: Any = partial(Answer, deadline=deadline)

    def _new_conn(self: Any) -> socket.socket:
        return _connect(self, self._token, self._deadline)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._deadline.renew()


class _Connection(_Guarded, HTTPConnection):
    pass


class _SecureConnection(_Guarded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    QueueCls = _QUEUE
    ConnectionCls: Any = _Connection


class _SecurePool(HTTPSConnectionPool):
    QueueCls = _QUEUE
    ConnectionCls: Any = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


@cache
def _socks_pools() -> dict[str, type[HTTPConnectionPool]]:
    """Return the same for connections through a SOCKS proxy. PySocks connects, so only the rest is interruptible."""
    from urllib3.contrib.socks import SOCKSConnection, SOCKSHTTPSConnection

    class Guarded(_Guarded):
        def _new_conn(self: Any) -> socket.socket:
            sock: socket.socket = super(_Guarded, self)._new_conn()  # type: ignore[misc]
            self._token.watch(sock)
            self._deadline.renew()
            return sock

    class Connection(Guarded, SOCKSConnection):
        pass

    class SecureConnection(Guarded, SOCKSHTTPSConnection):
        pass

    class Pool(_Pool):
        ConnectionCls = Connection

    class SecurePool(_SecurePool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


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
