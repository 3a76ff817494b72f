"""A loopback HTTP server that plays a script: what to send on the first request, on the second, and so on."""

from __future__ import annotations

import base64
import contextlib
import http
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Item = Mapping[str, Any]
"""One thing that the server does; the keys are those of the recorded vectors."""

CLOSING = 5.0  # seconds that close() gives the threads
# Bytes in an item above which "byte" sends pieces of PIECE bytes: single ones of 300 KB would take many seconds.
FEW_BYTES = 50_000
PIECE = 97


class Request(NamedTuple):
    """What a client asked: the target as it stood in the request line, and the headers by lower-cased name."""

    method: str
    target: str
    headers: dict[str, str]


class ScriptedServer:
    """
    Serves ``connections[n]`` to the n-th request, whatever TCP connection it comes on, and records the requests.

    Items of a connection: ``{"event", "data", "id"?}`` · ``{"raw"}`` · ``{"raw_b64"}`` · ``{"sleep_ms"}`` · ``{"close":
    "eof" | "abrupt" | "reset"}`` · ``{"headers"}`` for the 200 · ``{"status", "headers"?, "body"?}`` instead of a 200.
    Without a close the answer stays open until the client leaves. A request after the last one of the script gets a
    stream that stays empty.

    Args:
        connections: The script.
        framing: ``"chunked"``, or ``"close"`` for answers that end with the connection.
        chunking: ``"event"`` sends each item in one piece, ``"byte"`` each byte in a chunk or a ``send()`` of its own.
    """

    def __init__(
        self, connections: Sequence[Sequence[Item]], *, framing: str = "chunked", chunking: str = "event"
    ) -> None:
        self.requests: list[Request] = []
        self._script = connections
        self._chunked = framing == "chunked"
        self._bytewise = chunking == "byte"
        self._stopping = threading.Event()  # set by close(); wakes sleep_ms
        self._changed = threading.Condition()  # guards requests, _sockets and _threads
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="scripted-server", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for_requests(self, count: int, timeout: float = 30.0) -> None:
        """Wait until so many requests have come; raises ``AssertionError`` at the timeout."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.requests) >= count, timeout)
        assert arrived, f"{len(self.requests)} requests within {timeout} s, not {count}"

    def close(self) -> None:
        """End every connection and thread; a thread that does not end in time is an ``AssertionError``."""
        deadline = time.monotonic() + CLOSING
        self._stopping.set()
        with contextlib.suppress(OSError):  # a second close()
            socket.create_connection(self._listener.getsockname(), CLOSING).close()  # wakes accept() on every system
        with self._changed:
            for connection in self._sockets:
                with contextlib.suppress(OSError):  # the client went first
                    connection.shutdown(socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        assert not any(thread.is_alive() for thread in threads), "the scripted server did not stop"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with self._changed:
                # Under the lock, so that close() either sees the socket or is seen here.
                if self._stopping.is_set():
                    connection.close()
                    return
                self._sockets.add(connection)
                name = f"scripted-connection-{len(self._threads)}"
                thread = threading.Thread(target=self._serve, args=(connection,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # the client left, or close() was called
            while (request := read_request(connection)) and not self._stopping.is_set():
                if not self._answer(connection, self._take(request)):
                    break
        with self._changed:
            self._sockets.discard(connection)
            connection.close()

    def _take(self, request: Request) -> Sequence[Item]:
        with self._changed:
            turn = len(self.requests)
            self.requests.append(request)
            self._changed.notify_all()
        return self._script[turn] if turn < len(self._script) else []

    def _answer(self, connection: socket.socket, items: Sequence[Item]) -> bool:
        """Play one answer; return whether another request may come on the same connection."""
        if items and "status" in items[0]:
            connection.sendall(refusal(items[0], self.url))
            return True
        connection.sendall(self._head(items))
        for item in items:
            if "sleep_ms" in item:
                self._stopping.wait(item["sleep_ms"] / 1000)
            elif "close" in item:
                return self._end(connection, item["close"])
            else:
                self._send(connection, payload(item, self.url))
        while connection.recv(4096):  # returns when the client leaves
            pass
        return False

    def _head(self, items: Sequence[Item]) -> bytes:
        headers = {"Content-Type": "text/event-stream"}
        headers |= {"Transfer-Encoding": "chunked"} if self._chunked else {"Connection": "close"}
        for item in items:
            headers |= item.get("headers", {})
        return head(200, headers, self.url)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        if not data:
            return  # an empty chunk would end the answer
        size = (1 if len(data) <= FEW_BYTES else PIECE) if self._bytewise else len(data)
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        if self._chunked:
            connection.sendall(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
            return
        for piece in pieces:
            connection.sendall(piece)

    def _end(self, connection: socket.socket, how: str) -> bool:
        if how == "eof" and self._chunked:
            connection.sendall(b"0\r\n\r\n")
            return True
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def payload(item: Item, base: str) -> bytes:
    """Return the bytes of an item's body: the event in the format of the wire, or what stands there raw."""
    if "raw_b64" in item:
        return base64.b64decode(item["raw_b64"])
    if "raw" in item:
        text = item["raw"]
    elif "event" in item:
        lines = [f"id: {item['id']}"] if "id" in item else []
        lines += [f"event: {item['event']}", *(f"data: {line}" for line in item["data"].split("\n")), "", ""]
        text = "\n".join(lines)
    else:
        text = ""
    return text.replace("{BASE}", base).encode()


def refusal(item: Item, base: str) -> bytes:
    """Return a whole answer with another status than 200."""
    status = item["status"]
    body = item.get("body", "").replace("{BASE}", base).encode()
    bodiless = status < 200 or status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED)
    length = {} if bodiless else {"Content-Length": str(len(body))}
    return head(status, {**length, **item.get("headers", {})}, base) + body


def head(status: int, headers: Mapping[str, str], base: str) -> bytes:
    """Return a status line and headers; of two headers that differ only in case the last one counts."""
    named = {name.lower(): f"{name}: {value}" for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Scripted", *named.values(), "", ""]
    return "\r\n".join(lines).replace("{BASE}", base).encode()


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
