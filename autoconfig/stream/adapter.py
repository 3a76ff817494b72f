"""
A transport adapter for requests whose sockets can be interrupted.

``requests`` has no way to interrupt a call from another thread, and ``Response.close()`` waits for the next byte. So a
cancel token has to know each socket as soon as it exists, before it connects. ``_new_conn`` is where urllib3 makes it:
a private name, the same in all versions of urllib3 2. A test notices if that ends; the connector would
then still watch the socket of the answer.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_write

from .cancel import CancelToken
from .sockets import Deadline, GuardedSocket, guarded_tls


class InterruptibleAdapter(HTTPAdapter):
    """
    Makes the connections of a session interruptible and holds it to TLS 1.2 or newer.

    Args:
        token: What interrupts them.
        deadline: When to give up reading.
        ca_certs: Files and directories of CA certificates to trust instead of the default ones.
    """

    def __init__(self, token: CancelToken, deadline: Deadline, ca_certs: Iterable[str] | None = None) -> None:
        self._pools = _pool_classes(token, deadline)
        self._context = _trusting(ca_certs or ())
        self._context.sslsocket_class = guarded_tls(deadline, token.own)
        self._own_trust = bool(ca_certs)
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the manager of direct connections; called by the constructor of the base class."""
        pool_kwargs["ssl_minimum_version"] = ssl.TLSVersion.TLSv1_2
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> PoolManager:
        """Return the manager of connections through a proxy."""
        proxy_kwargs["ssl_minimum_version"] = ssl.TLSVersion.TLSv1_2
        if self._own_trust and proxy.lower().startswith("https"):
            proxy_kwargs["proxy_ssl_context"] = self._context
        manager: PoolManager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):  # those have pools of their own, from PySocks
            manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """
        Set what a pool of connections verifies.

        The base class decides by the target's URL, and would verify nothing on the way to an https proxy of an http
        target.
        """
        super().cert_verify(conn, "https://" if isinstance(conn, HTTPSConnectionPool) else url, verify, cert)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a connection is chosen by; requests' own way to bring a TLS context."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if verify:
            pool["ssl_context"] = self._context
        return host, pool


def _trusting(ca_certs: Iterable[str]) -> ssl.SSLContext:
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    for path in ca_certs:
        try:
            context.load_verify_locations(cafile=path)
        except IsADirectoryError:
            context.load_verify_locations(capath=path)
    return context


def _pool_classes(token: CancelToken, deadline: Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's classes of pools, with connections that the token knows."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, token, deadline)

    class SecureConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, token, deadline)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def _connect(connection: HTTPConnection, token: CancelToken, deadline: Deadline) -> socket.socket:
    """Connect to the first address that answers, and raise what urllib3 raises where it does the same."""
    host = getattr(connection, "_dns_host", connection.host)  # with the dot at the end that stops a search list
    try:
        return _first_that_answers(connection, host, token, deadline)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"no answer within {connection.timeout} s") from error
    except OSError as error:
        raise NewConnectionError(connection, f"cannot connect: {error}") from error


def _first_that_answers(connection: HTTPConnection, host: str, token: CancelToken, deadline: Deadline) -> socket.socket:
    failure = OSError("the name has no address")
    addresses = socket.getaddrinfo(host.strip("[]"), connection.port, 0, socket.SOCK_STREAM)
    for family, kind, protocol, _, address in addresses:
        if token.cancelled:
            break
        sock = None
        try:
            sock = GuardedSocket(family, kind, protocol)
            sock.deadline = deadline
            token.watch(sock)
            for option in connection.socket_options or ():
                sock.setsockopt(*option)
            _wait_for_answer(sock, address, connection.timeout, token)
            deadline.renew()
            return sock
        except OSError as error:
            failure = error
            if sock:
                sock.close()
    try:
        raise failure
    finally:
        del failure  # else it would keep itself alive through this frame


def _wait_for_answer(sock: socket.socket, address: Any, timeout: Any, token: CancelToken) -> None:
    """Connect. A call of ``connect()`` that blocks would miss a token that is cancelled just before it."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        # From here on, shutting the socket down ends the wait; what was shut down before, the token knows.
        if token.cancelled:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        if not wait_for_write(sock, timeout):
            raise TimeoutError
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
    sock.settimeout(timeout)
