"""One request of a client and its answer: bytes that any thread may queue, and the thread of the connection sends."""

from __future__ import annotations

import contextlib
import http
import logging
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import parse_qs

import attrs

from ..identifiers import mask

logger = logging.getLogger("autoconfig.testing")

End = Literal["eof", "abrupt", "reset"]
"""How a stream ends: as HTTP says, with a FIN in the middle of the answer, or with a RST."""

HEARTBEAT = b":\n"
_SECRET_HEADERS = {"authorization", "proxy-authorization"}
_BODILESS = {204, 304}  # statuses whose answers have no body
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: close() sends a RST
_GRACE = 0.1  # seconds for a send to end when the client can send no more


def event_bytes(name: str, data: str) -> bytes:
    """
    Return an event as it is sent, with a ``data:`` line for each line of the data.

    Raises:
        ValueError: The name has a line break in it.
    """
    if "\n" in name or "\r" in name:
        raise ValueError("an event's name must be one line")
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join([f"event: {name}", *(f"data: {line}" for line in lines), "", ""]).encode("utf-8", "replace")


def check_stream(heartbeat_interval: float, framing: str) -> None:
    """Raise a ``ValueError`` if a stream cannot have these heartbeats or this framing."""
    if not heartbeat_interval > 0:
        raise ValueError("heartbeat_interval: must be above zero")
    if framing not in ("chunked", "close"):
        raise ValueError(f"framing: must be 'chunked' or 'close', not {framing!r}")


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """Return a status line and headers."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def shut_down(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    """End a connection at once, and wake the threads that wait for it."""
    with contextlib.suppress(OSError):  # the client left first
        # Not SSLSocket.shutdown(), which takes the TLS object away from the thread that is using it.
        socket.socket.shutdown(connection, how)


def _masked(headers: Mapping[str, str]) -> str:
    return repr({name: mask(value) if name in _SECRET_HEADERS else value for name, value in headers.items()})


@attrs.define(eq=False)
class RecordedRequest:
    """
    A request that the emulator received.

    Attributes:
        method: The method.
        target: The path and query, as in the request line.
        headers: The headers by lower-case name. The repr masks the key.
        status: The status of the answer; ``None`` until the answer begins, which is after a stall.
    """

    method: str
    target: str
    headers: dict[str, str] = attrs.field(repr=_masked)
    status: int | None = None


class _Piece(NamedTuple):
    data: bytes
    last: bool = False


class Exchange:
    """
    A request and its answer.

    Any thread may call the methods, and none of them waits for the client: what the client does not read is queued,
    without limit. Only the thread of the connection calls :meth:`run`.

    Args:
        client: The client's socket, plain or TLS.
        request: The request.
        body: The request's body.
        persistent: Whether the client may use the connection for another request afterwards.
        http11: Whether the client knows HTTP/1.1, and with it chunks.

    Attributes:
        request: The request.
        request_body: Its body.
        path: The path of its target.
        query: The parameters of its target.
    """

    def __init__(
        self, client: socket.socket, request: RecordedRequest, body: bytes, *, persistent: bool, http11: bool
    ) -> None:
        self.request = request
        self.request_body = body
        self.path, _, query = request.target.partition("?")
        self.query = parse_qs(query)
        self._client = client
        self._persistent = persistent
        self._http11 = http11
        self._lock = threading.Lock()  # guards the next two
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()  # None: the connection has ended
        self._held: list[_Piece] | None = None  # what is queued after a pause; None if there is none
        self._chunked = False
        self._interval = 0.0
        self._due: float | None = None  # the next heartbeat, in monotonic time
        self._dropped = False
        self._strayed = False  # the client sent something during the answer
        self._ended = False  # the answer has ended, and the client may send its next request
        self._left = threading.Event()  # run() has sent all that it will send

    def begin_stream(self, *, chunked: bool = True, heartbeat_interval: float = 180.0) -> None:
        """
        Begin an event stream.

        Args:
            chunked: Whether to send in chunks, if the client knows them. If not, the stream ends with the connection.
            heartbeat_interval: Seconds between two heartbeats.
        """
        self._chunked = chunked and self._http11
        self._persistent = self._persistent and self._chunked
        self._interval = heartbeat_interval
        self._due = time.monotonic() + heartbeat_interval
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        self._put(_Piece(self._head(200, headers)))

    def send(self, data: bytes) -> None:
        """Send a part of the stream."""
        if data:  # an empty chunk would end the answer
            self._put(_Piece(self._framed(data)))

    def end(self) -> None:
        """End a stream as HTTP says, after what was sent before."""
        self._put(_Piece(b"0\r\n\r\n" if self._chunked else b"", last=True))

    def respond(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send an answer that is not a stream; without a body, a line of text that says the status."""
        if status in _BODILESS:
            own, body = {}, b""
        else:
            body = body or b"status %d\n" % status
            own = {"Content-Type": "text/plain", "Content-Length": str(len(body))}
        head = self._head(status, own | dict(headers or {}))
        self._put(_Piece(head if self.request.method == "HEAD" else head + body, last=True))

    def drop(self, how: Literal["abrupt", "reset"]) -> None:
        """End the connection at once, without the rest of the answer."""
        self._dropped = True
        if how == "abrupt":
            shut_down(self._client)
            return
        with contextlib.suppress(OSError):  # the client left first
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # A FIN must not come before the RST, so only our reading ends here; that makes _watch() wake run().
        shut_down(self._client, socket.SHUT_RD)

    def pause(self) -> None:
        """Hold back what is sent from now on, and heartbeats."""
        with self._lock:
            if self._held is None:
                self._held = []

    def resume(self) -> None:
        """Send what :meth:`pause` held back, and go on."""
        with self._lock:
            for piece in self._held or ():
                self._queue.put(piece)
            self._held = None

    def run(self) -> bool:
        """
        Send to the client until the answer has ended or the client has left.

        Returns:
            Whether the client can send another request.

        Raises:
            OSError: The client left.
        """
        name = f"{threading.current_thread().name}-watch"
        watch = threading.Thread(target=self._watch, name=name, daemon=True)
        watch.start()
        try:
            self._send_all()
        finally:
            self._left.set()
            if not self._ended and not self._dropped:
                shut_down(self._client)  # also wakes _watch()
            watch.join()  # until the client's next request if the connection goes on
        return self._ended

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Return the head of the answer, which begins with it."""
        self.request.status = status
        # Without the query, in which a user may have put anything.
        logger.debug("%s %s: %s", self.request.method, self.path, status)
        return head_bytes(status, headers if self._persistent else {**headers, "Connection": "close"})

    def _put(self, piece: _Piece) -> None:
        with self._lock:
            if self._held is None:
                self._queue.put(piece)
            else:
                self._held.append(piece)

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def _send_all(self) -> None:
        while piece := self._next():
            if self._dropped:
                return
            if piece.last:
                # Before the last byte: the client may send its next request as soon as it has that.
                self._ended = self._persistent and not self._strayed
            if piece.data:
                self._client.sendall(piece.data)
            if piece.last:
                if not self._ended:
                    self._say_goodbye()
                return

    def _next(self) -> _Piece | None:
        """Wait for what is queued, or for the time of a heartbeat."""
        while True:
            wait = None if self._due is None else min(max(0.0, self._due - time.monotonic()), threading.TIMEOUT_MAX)
            try:
                return self._queue.get(timeout=wait)
            except queue.Empty:
                self._due = time.monotonic() + self._interval
                if self._held is None:
                    return _Piece(self._framed(HEARTBEAT))

    def _say_goodbye(self) -> None:
        """End TLS as it should end; without that, a client cannot tell the end of a stream from an attack."""
        if isinstance(self._client, ssl.SSLSocket):
            self._client.settimeout(0)
            with contextlib.suppress(OSError):  # the client's own goodbye is not waited for
                self._client.unwrap()

    def _watch(self) -> None:
        """
        Wait until the client has left, or sends its next request.

        Looks at the socket below TLS, because a TLS object must not be used in two threads at once.
        """
        receive = socket.socket.recv
        with contextlib.suppress(OSError):  # a reset
            while sent := receive(self._client, 4096, socket.MSG_PEEK):
                if self._ended:
                    return
                self._strayed = True
                if isinstance(self._client, ssl.SSLSocket):
                    break  # a goodbye: nothing else is to be expected
                receive(self._client, len(sent))
        self._queue.put(None)
        if not self._left.wait(_GRACE):  # a send is blocked by a client that does not read
            shut_down(self._client)
