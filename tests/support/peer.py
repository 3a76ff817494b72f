"""A server on plain sockets that plays a script on each connection, and says when the client is where it is wanted."""

from __future__ import annotations

import json
import select
import socket
import ssl
from collections.abc import Callable

from support.loopback import LIMIT, LoopbackServer

WAITING = LIMIT
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


class Peer(LoopbackServer):
    """
    Plays one script for each connection and counts them.

    Args:
        script: What to do with a connection; at its end the connection is closed.
        tls: With it the URL is https, and the script's ``request()`` does the handshake.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self._script = script
        self._reached = self._stalled = 0
        super().__init__()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # inherited by what it accepts
        if tls:
            self.url = self.url.replace("http://", "https://")

    def note(self, *, reached: int = 0, stalled: int = 0) -> None:
        """Count what has happened and wake those who wait for it."""
        with self.changed:
            self._reached += reached
            self._stalled += stalled
            self.changed.notify_all()

    def wait_until_reached(self, times: int = 1) -> None:
        """Wait until scripts have said so often that the client is where it is wanted."""
        self.wait_for(lambda: self._reached >= times, f"{times} times reached")

    def wait_until_stalled(self) -> None:
        """Wait until a client does not read what it is sent."""
        self.wait_for(lambda: self._stalled > 0, "a client that does not read")

    def serve(self, connection: socket.socket) -> None:
        line = Line(self, connection)
        try:
            self._script(line)
        finally:
            line.connection.close()


def stream_head(**headers: str) -> bytes:
    """Return the head of an event stream that ends with the connection."""
    named = {"Content-Type": "text/event-stream", **{name.replace("_", "-"): text for name, text in headers.items()}}
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {text}" for name, text in named.items()), "", ""]
    return "\r\n".join(lines).encode()


def event(name: str, path: str, **fields: object) -> bytes:
    """Return an event whose data has a path and these fields."""
    return f"event: {name}\ndata: {json.dumps({'path': path, **fields})}\n\n".encode()


HEAD = stream_head(Connection="close")


def flood(line: Line) -> None:
    """Events without end."""
    line.request()
    line.send(HEAD)
    line.flood(PUT * 10)


def accepted_and_silent(line: Line) -> None:
    """Over https the handshake stalls, over http the request is not even read."""
    line.stall()
