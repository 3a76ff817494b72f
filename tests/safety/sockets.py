"""The plumbing of the proxy and the TLS front: a listener with a thread for each connection, and a two-way pump."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

CLOSING = 5.0  # seconds that close() gives the threads
HANDSHAKE = 5.0  # seconds for a client to begin, and for a TLS handshake
TLS_HANDSHAKE = b"\x16"  # the first byte of a connection that speaks TLS


class Listener:
    """
    Accepts connections on a loopback port and serves each in a thread of its own, over TLS where the client begins so.

    Args:
        serve: Serves one connection, which is closed after it; a network error in it ends the connection only.
        context: What TLS is spoken with; without it every connection is plain.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        failures: What each handshake that failed said.
    """

    def __init__(self, serve: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> None:
        self.failures: list[str] = []
        self._failed = threading.Event()
        self._serve = serve
        self._context = context
        self._lock = threading.Lock()  # guards _watched and _threads
        self._stopping = False
        self._watched: list[
            socket.socket
        ] = []  # duplicates: shutting down an SSLSocket itself would confuse its reader
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="safety-listener", daemon=True)]
        self._threads[0].start()

    def watch(self, connection: socket.socket) -> None:
        """Let close() end this connection."""
        duplicate = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            self._watched.append(duplicate)
            if self._stopping:
                shut_down(duplicate)

    def wait_for_failure(self, timeout: float = 30.0) -> None:
        """Wait until a handshake has failed; raises ``AssertionError`` at the timeout."""
        assert self._failed.wait(timeout), f"no handshake failed within {timeout} s"

    def close(self) -> None:
        """End every connection and thread; a thread that does not end in time is an ``AssertionError``."""
        deadline = time.monotonic() + CLOSING
        with self._lock:
            self._stopping = True
            for duplicate in self._watched:
                shut_down(duplicate)
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), CLOSING).close()  # wakes accept()
        self._threads[0].join(CLOSING)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        for duplicate in self._watched:
            duplicate.close()
        assert not any(thread.is_alive() for thread in self._threads), "the listener did not stop"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopping:
                connection.close()
                return
            self.watch(connection)
            thread = threading.Thread(target=self._run, args=(connection,), name="safety-connection", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), self._secured(connection) as secured:
            try:
                self._serve(secured)
            finally:
                shut_down(secured)

    def _secured(self, connection: socket.socket) -> socket.socket:
        connection.settimeout(HANDSHAKE)
        secured = connection
        try:
            if self._context and connection.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE:
                secured = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                secured.do_handshake()
        except OSError as error:
            self.failures.append(str(error))
            self._failed.set()
            shut_down(secured)
            secured.close()
            raise
        secured.settimeout(None)
        return secured


def shut_down(connection: socket.socket) -> None:
    """End a connection that is watched: close() alone leaves it open, because of the duplicate."""
    with contextlib.suppress(OSError):  # ended before
        connection.shutdown(socket.SHUT_RDWR)


def ready(*connections: socket.socket) -> list[socket.socket]:
    """Wait until at least one of the connections has something to read, and return those that have."""
    decrypted: list[socket.socket] = [one for one in connections if isinstance(one, ssl.SSLSocket) and one.pending()]
    return decrypted or select.select(connections, [], [])[0]


def pump(left: socket.socket, right: socket.socket) -> None:
    """Carry bytes both ways until one side ends, which ends the right one, too."""
    opposite = {left: right, right: left}
    try:
        while True:
            for source in ready(left, right):
                data = source.recv(65536)
                if not data:
                    return
                opposite[source].sendall(data)
    finally:
        shut_down(right)
