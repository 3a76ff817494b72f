"""Servers on plain sockets that stop at the point where ``close()`` is to be tried."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

WAITING = 30.0  # seconds for anything that a test waits for
TRICKLE = 0.05  # seconds between two bytes of a server that trickles
STALLED = 0.1  # seconds without room for a byte after which a client counts as one that does not read
BUFFER = 32 * 1024  # bytes the kernel may hold for a client that does not read

PUT = b'event: put\ndata: {"path": "/", "data": {"environments": {}, "filters": {}}}\n\n'
"""An event that leads to a call of the handler every time: ``received_all_environments``."""


class Line:
    """
    One connection of a :class:`Peer`, as its script sees it: every method raises ``OSError`` once the client has left.

    Args:
        peer: Whose connection it is.
        connection: The socket.
    """

    def __init__(self, peer: Peer, connection: socket.socket) -> None:
        self.connection = connection
        self._peer = peer

    def encrypt(self) -> None:
        """Do the handshake, if the peer has a certificate."""
        if self._peer.tls:
            self.connection = self._peer.tls.wrap_socket(self.connection, server_side=True)

    def request(self) -> bytes:
        """Do the handshake, read the head of one request and return it."""
        self.encrypt()
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += self._received()
        return received

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def trickle(self, data: bytes) -> None:
        """Send one byte after the other for ever, with a pause after each."""
        while True:
            for byte in data:
                self.connection.sendall(bytes([byte]))
                self.reached()
                if self._peer.stopping.wait(TRICKLE):
                    raise ConnectionError

    def flood(self, data: bytes) -> None:
        """Send the same for ever; the state is reached when something was sent and when the client does not keep up."""
        for count in range(1_000_000_000):
            if not select.select([], [self.connection], [], STALLED)[1]:
                self._peer.note(stalled=1)
            self.connection.sendall(data)
            if count == 1:
                self.reached()

    def reached(self) -> None:
        """Say that the client is now where it is wanted, as far as can be seen from here."""
        self._peer.note(reached=1)

    def stall(self) -> None:
        """Do nothing any more, until the client leaves."""
        self.reached()
        while True:
            self._received()

    def _received(self) -> bytes:
        if piece := self.connection.recv(65536):
            return piece
        raise ConnectionError("the client left")


Script = Callable[[Line], None]


class Peer:
    """
    Plays one script for each connection and counts them.

    Args:
        script: What to do with a connection; at its end the connection is closed.
        tls: With it the URL is https, and the script's ``request()`` does the handshake.

    Attributes:
        url: Where it listens.
        stopping: Set when the peer is to end.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.stopping = threading.Event()
        self._script = script
        self._changed = threading.Condition()  # guards _counts, _open and _threads
        self._counts = {"accepted": 0, "reached": 0, "stalled": 0}
        self._open: set[socket.socket] = set()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # inherited by what it accepts
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(256)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="closing-peer", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def accepted(self) -> int:
        """How many connections there have been."""
        return self._counts["accepted"]

    def note(self, **counted: int) -> None:
        """Count what has happened and wake those who wait for it."""
        with self._changed:
            for name, more in counted.items():
                self._counts[name] += more
            self._changed.notify_all()

    def wait_for(self, name: str, count: int = 1) -> None:
        """Wait until something was counted so often."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: self._counts[name] >= count, WAITING)
        assert arrived, f"not {count} times {name} within {WAITING} s: {self._counts}"

    def wait_until_left(self) -> None:
        """Wait until every client has left and every connection is closed on this side too."""
        with self._changed:
            left = self._changed.wait_for(lambda: not self._open, WAITING)
        assert left, f"{len(self._open)} clients have not left within {WAITING} s"

    def close(self) -> None:
        """End every connection and thread."""
        self.stopping.set()
        with contextlib.suppress(OSError):  # closed before
            socket.create_connection(self._listener.getsockname(), WAITING).close()  # wakes accept()
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):  # the client went first
                    connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + WAITING
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads), "the peer did not stop"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with self._changed:
                if self.stopping.is_set():
                    connection.close()
                    return
                raw = connection.dup()  # for close(): a handshake takes the socket itself away
                self._open.add(raw)
                thread = threading.Thread(target=self._serve, args=(connection, raw), name="closing-line", daemon=True)
                self._threads = [one for one in self._threads if one.is_alive()] + [thread]
                thread.start()
            self.note(accepted=1)

    def _serve(self, connection: socket.socket, raw: socket.socket) -> None:
        line = Line(self, connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, ValueError):  # the client left, or close() was called
            self._script(line)
        line.connection.close()
        connection.close()
        with self._changed:
            self._open.discard(raw)
            raw.close()
            self._changed.notify_all()


def stream_head(**headers: str) -> bytes:
    """Return the head of an event stream that ends with the connection."""
    named = {"Content-Type": "text/event-stream", **{name.replace("_", "-"): text for name, text in headers.items()}}
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {text}" for name, text in named.items()), "", ""]
    return "\r\n".join(lines).encode()


def chunk(data: bytes) -> bytes:
    """Return the data as one chunk of a chunked answer."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(name: str, path: str, **fields: object) -> bytes:
    """Return an event whose data has a path and these fields."""
    return f"event: {name}\ndata: {json.dumps({'path': path, **fields})}\n\n".encode()
