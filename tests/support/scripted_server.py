"""A loopback HTTP server that plays a script: what to send on the first request, on the second, and so on."""

from __future__ import annotations

import base64
import http
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from support.loopback import LIMIT, LoopbackServer, Request, chunk, head, read_request

Item = Mapping[str, Any]
"""One thing that the server does; the keys are those of the recorded vectors."""

# Bytes in an item above which "byte" sends pieces of PIECE bytes: single ones of 300 KB would take many seconds.
FEW_BYTES = 50_000
PIECE = 97


class ScriptedServer(LoopbackServer):
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
        super().__init__()

    def wait_for_requests(self, count: int, timeout: float = LIMIT) -> None:
        """Wait until so many requests have come; raises ``AssertionError`` at the timeout."""
        self.wait_for(lambda: len(self.requests) >= count, f"{count} requests", timeout)

    def serve(self, connection: socket.socket) -> None:
        while (request := read_request(connection)) and not self.stopping.is_set():
            if not self._answer(connection, self._take(request)):
                return

    def _take(self, request: Request) -> Sequence[Item]:
        with self.changed:
            turn = len(self.requests)
            self.requests.append(request)
            self.changed.notify_all()
        return self._script[turn] if turn < len(self._script) else []

    def _answer(self, connection: socket.socket, items: Sequence[Item]) -> bool:
        """Play one answer; return whether another request may come on the same connection."""
        if items and "status" in items[0]:
            connection.sendall(refusal(items[0], self.url))
            return True
        connection.sendall(self._head(items))
        for item in items:
            if "sleep_ms" in item:
                self.stopping.wait(item["sleep_ms"] / 1000)
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
            connection.sendall(b"".join(map(chunk, pieces)))
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
