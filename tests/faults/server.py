"""A loopback server that answers its first connections with a fault, byte by byte, and is healthy afterwards."""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from faults.events import HEALTHY, Event
from support.loopback import LoopbackServer, Request, chunk, head, read_request

MOST_PIECES = 1_000_000  # of a flood: no test runs into it, but a client that reads for ever would


class Attempt(NamedTuple):
    """One TCP connection: when it was there (monotonic) and what it asked, if it got so far."""

    at: float
    request: Request | None


class Wire:
    """
    The server's end of one connection.

    Args:
        connection: The socket; its request has been read, unless the fault is an early one.
        turn: 0 for the server's first connection.
        chunked: The framing of :meth:`body`; else the answer ends with the connection.
        base: The server's URL.
        stopping: Ends :meth:`pause`.
    """

    def __init__(
        self, connection: socket.socket, turn: int, *, chunked: bool, base: str, stopping: threading.Event
    ) -> None:
        self.turn = turn
        self.base = base
        self.chunked = chunked
        self.request: Request | None = None
        self._connection = connection
        self._stopping = stopping

    def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a status line and headers: those of an event stream, changed by the given ones; "" leaves one out."""
        framing = {"Transfer-Encoding": "chunked"} if self.chunked else {}
        merged = {"Content-Type": "text/event-stream", "Connection": "close", **framing, **(headers or {})}
        self.raw(head(status, {name: value for name, value in merged.items() if value}, self.base))

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def body(self, data: bytes | Event) -> None:
        """Send bytes of the body in the framing."""
        data = data.wire if isinstance(data, Event) else data
        self.raw(chunk(data) if self.chunked else data)

    def flood(self, pieces: Iterable[bytes], every: float = 0.0, *, raw: bool = False) -> None:
        """Send pieces of the body until the client leaves; raw ones without framing."""
        for _, piece in zip(range(MOST_PIECES), pieces, strict=False):
            (self.raw if raw else self.body)(piece)
            self.pause(every)

    def pause(self, seconds: float) -> None:
        """Wait; raises ``OSError`` when the server is being closed."""
        if seconds and self._stopping.wait(seconds):
            raise OSError("the server is closing")

    def end(self) -> None:
        """End the answer as the framing has it."""
        if self.chunked:
            self.raw(b"0\r\n\r\n")
        self.fin()

    def fin(self) -> None:
        """Send nothing more, whatever the framing expects, and wait until the client leaves."""
        # Not SSLSocket.shutdown(): that would take the TLS object away.
        socket.socket.shutdown(self._connection, socket.SHUT_WR)
        self.stay()

    def reset(self) -> None:
        """Break the connection off."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def hear(self) -> None:
        """Wait for the client's first bytes."""
        self._connection.recv(4096)

    def stay(self) -> None:
        """Stay silent until the client leaves."""
        while self._connection.recv(4096):
            pass


Play = Callable[[Wire], None]
"""What the server does on one connection; the connection is closed afterwards."""


def stream(*parts: bytes | Event, then: Play, headers: Mapping[str, str] = {}) -> Play:
    """Return a play: an event stream's head, the parts of its body each in a packet, and an end."""

    def play(wire: Wire) -> None:
        wire.head(headers=headers)
        for part in parts:
            wire.body(part)
        then(wire)

    return play


def sending(data: bytes, then: Play) -> Play:
    """Return a play: bytes in place of an answer, and an end."""

    def play(wire: Wire) -> None:
        wire.raw(data)
        then(wire)

    return play


def healthy(wire: Wire) -> None:
    """Answer as the service does: everything, and then heartbeats, here often enough for the shortest read timeout."""
    wire.head()
    wire.body(HEALTHY)
    wire.flood(itertools.repeat(b":\n"), every=0.05)


class FaultServer(LoopbackServer):
    """
    Plays the fault on its first connections and :func:`healthy` on all later ones; one request a connection.

    Args:
        fault: What to do on the first connections.
        failing: On how many; or an event that ends the fault when it is set.
        chunked: The framing; else answers end with the connection.
        early: The fault is played before the TLS handshake and the request.
        context: For https.
        faulty_context: For https on the faulty connections; the same by default.
    """

    def __init__(
        self,
        fault: Play,
        failing: int | threading.Event,
        *,
        chunked: bool = True,
        early: bool = False,
        context: ssl.SSLContext | None = None,
        faulty_context: ssl.SSLContext | None = None,
    ) -> None:
        self.attempts: list[Attempt] = []
        self.requests: list[Request] = []
        self._fault = fault
        self._failing = failing
        self._chunked = chunked
        self._early = early
        self._contexts = {True: faulty_context or context, False: context}  # by whether the connection is a faulty one
        super().__init__()
        if context:
            self.url = self.url.replace("http://", "https://")

    def serve(self, connection: socket.socket) -> None:
        with self.changed:
            turn = len(self.attempts)
            self.attempts.append(Attempt(time.monotonic(), None))
        faulty = not self._failing.is_set() if isinstance(self._failing, threading.Event) else turn < self._failing
        if faulty and self._early:
            self._fault(self._wire(connection, turn))
            return
        context = self._contexts[faulty]
        with self.secure(connection, context) if context else connection as secured:
            wire = self._wire(secured, turn)
            wire.request = self._noted(turn, read_request(secured))
            (self._fault if faulty else healthy)(wire)

    def _wire(self, connection: socket.socket, turn: int) -> Wire:
        return Wire(connection, turn, chunked=self._chunked, base=self.url, stopping=self.stopping)

    def _noted(self, turn: int, request: Request | None) -> Request:
        if request is None:
            raise OSError("the client left")
        with self.changed:
            self.attempts[turn] = Attempt(self.attempts[turn].at, request)
            self.requests.append(request)
        return request
