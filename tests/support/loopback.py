"""What servers and proxies of the tests have in common: a port of 127.0.0.1, a thread for each connection, an end."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

Server = TypeVar("Server", bound="LoopbackServer")

LIMIT = 60.0  # seconds for anything that a test waits for
CLOSING = 30.0  # seconds that close() gives the threads
HANDSHAKE = b"\x16"  # the first byte of a TLS connection


class Request(NamedTuple):
    """What a client asked: the target as it stood in the request line, and the headers by lower-cased name."""

    method: str
    target: str
    headers: dict[str, str]


class LoopbackServer:
    """
    Listens on a port of 127.0.0.1, and calls :meth:`serve` for each connection in a thread of its own.

    Args:
        context: With it, clients that begin a TLS handshake get one; those that do not can speak HTTP on the same port.

    Attributes:
        port: Where it listens.
        url: The same as a URL.
        connections: How many there have been.
        failures: What each handshake that failed said.
        stopping: Set when the server is to end.
        changed: Notified of whatever changes here; guards it, too.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self._context = context
        self._open: set[socket.socket] = set()  # duplicates: to shut down an SSLSocket would take its TLS object away
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, name=type(self).__name__, daemon=True)]
        self._threads[0].start()

    def __enter__(self: Server) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def serve(self, connection: socket.socket) -> None:
        """Serve one connection, which is closed afterwards; an ``OSError`` means that the client has left."""
        raise NotImplementedError

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = LIMIT) -> None:
        """Wait until something has happened here; raises ``AssertionError`` at the timeout."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), f"not within {timeout} s: {what}"

    def wait_for_failed_handshake(self) -> None:
        """Wait until there is one in ``failures``."""
        self.wait_for(lambda: bool(self.failures), "a handshake that failed")

    def wait_until_left(self) -> None:
        """Wait until every client has left and every connection is closed on this side, too."""
        self.wait_for(lambda: not self._open, "the end of all connections")

    def secure(self, connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Do the handshake of a connection, and return the socket that is used from then on."""
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            secured.do_handshake()
        except OSError as error:
            with self.changed:
                self.failures.append(str(error))
                self.changed.notify_all()
            with secured:
                _end_gently(secured)
            raise
        return secured

    @contextlib.contextmanager
    def connected(self, host: str, port: int) -> Iterator[socket.socket]:
        """Connect to another server for the length of a block; :meth:`close` ends this connection, too."""
        with socket.create_connection((host, port), CLOSING) as connection, connection.dup() as duplicate:
            connection.settimeout(None)
            self._watch(duplicate)
            try:
                yield connection
            finally:
                with self.changed:
                    self._open.discard(duplicate)

    def close(self) -> None:
        """End every connection and thread; a thread that does not end in time is an ``AssertionError``."""
        deadline = time.monotonic() + CLOSING
        self.stopping.set()
        with contextlib.suppress(OSError):  # a second close()
            socket.create_connection(self._listener.getsockname(), CLOSING).close()  # wakes accept() on every system
        with self.changed:
            for duplicate in self._open:
                shut_down(duplicate)
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        assert not any(thread.is_alive() for thread in threads), f"{type(self).__name__} did not stop"

    def _watch(self, duplicate: socket.socket) -> None:
        with self.changed:
            self._open.add(duplicate)
            if self.stopping.is_set():
                shut_down(duplicate)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with self.changed:
                # Under the lock, so that close() either sees the connection or is seen here.
                if self.stopping.is_set():
                    connection.close()
                    return
                name = f"{type(self).__name__}-{self.connections}"
                self.connections += 1
                self._watch(duplicate := connection.dup())
                thread = threading.Thread(target=self._run, args=(connection, duplicate), name=name, daemon=True)
                self._threads = [one for one in self._threads if one.is_alive()] + [thread]
                thread.start()
                self.changed.notify_all()

    def _run(self, connection: socket.socket, duplicate: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):  # the client left, refused the certificate, or close() was called
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context and connection.recv(1, socket.MSG_PEEK) == HANDSHAKE:
                    connection = self.secure(connection, self._context)
                self.serve(connection)
        finally:
            with self.changed:
                self._open.discard(duplicate)
                connection.close()
                duplicate.close()
                self.changed.notify_all()


def shut_down(connection: socket.socket) -> None:
    """End a connection of which there is a duplicate, so that ``close()`` alone leaves it open."""
    with contextlib.suppress(OSError):  # ended before
        connection.shutdown(socket.SHUT_RDWR)


def _end_gently(refused: ssl.SSLSocket) -> None:
    """Read until the client leaves: with unread bytes, the end would be a reset, which may overtake the alert."""
    with contextlib.suppress(OSError):  # the client left before
        socket.socket.shutdown(refused, socket.SHUT_WR)
        while socket.socket.recv(refused, 65536):
            pass


def wait_for_bytes(*connections: socket.socket) -> list[socket.socket]:
    """Wait until at least one of the connections has something to read, and return those that have."""
    decrypted = [one for one in connections if isinstance(one, ssl.SSLSocket) and one.pending()]
    return decrypted or select.select(connections, [], [])[0]


def pump(left: socket.socket, right: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    opposite = {left: right, right: left}
    while True:
        for source in wait_for_bytes(left, right):
            data = source.recv(65536)
            if not data:
                return
            opposite[source].sendall(data)


def head(status: int, headers: Mapping[str, str], base: str = "") -> bytes:
    """Return a status line and headers; of two headers that differ only in case the last one counts."""
    named = {name.lower(): f"{name}: {value}" for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Scripted", *named.values(), "", ""]
    return "\r\n".join(lines).replace("{BASE}", base).encode()


def chunk(data: bytes) -> bytes:
    """Return the bytes as one chunk of a chunked answer."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_request(connection: socket.socket) -> Request | None:
    """Read a request without a body; return ``None`` if the client leaves first."""
    received = bytearray()
    while not received.endswith(b"\r\n\r\n"):
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    first, *lines = received.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, target, headers)
