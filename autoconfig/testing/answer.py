"""The answer to one request: bytes that any thread may queue, and the thread of the connection sends."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import struct
import threading
import time
from typing import Literal, NamedTuple

End = Literal["eof", "abrupt", "reset"]
"""How a stream ends: as HTTP says, with a FIN in the middle of the answer, or with a RST."""

HEARTBEAT = b":\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: close() sends a RST
_GRACE = 0.1  # seconds for a send to end when the client can send no more


class _Piece(NamedTuple):
    data: bytes
    last: bool = False


class Answer:
    """
    What one client is sent in answer to one request.

    Any thread may call the methods, and none of them waits for the client: what it does not read is queued, without
    limit. Only the thread of the connection calls :meth:`run`.

    Args:
        client: The client's socket, plain or TLS.
        persistent: Whether the client may use the connection for another request afterwards.
        http11: Whether the client knows HTTP/1.1, and with it chunks.
    """

    def __init__(self, client: socket.socket, *, persistent: bool, http11: bool) -> None:
        self.persistent = persistent
        self.http11 = http11
        self._client = client
        self._lock = threading.Lock()  # guards the next two
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()  # None: the connection has ended
        self._held: list[_Piece] | None = None  # what is queued after a pause; None if there is none
        self._chunked = False
        self._interval = 0.0
        self._due: float | None = None  # the next heartbeat, in monotonic time
        self._dropped = False
        self._strayed = False  # the client sent something during the answer
        self._ended = False  # and the client may send its next request
        self._left = threading.Event()  # run() has sent all that it will send

    def begin(self, head: bytes, *, chunked: bool, heartbeat_interval: float) -> None:
        """
        Begin a stream.

        Args:
            head: Status and headers.
            chunked: Whether :meth:`send` sends chunks.
            heartbeat_interval: Seconds between two heartbeats.
        """
        self._chunked = chunked
        self._interval = heartbeat_interval
        self._due = time.monotonic() + heartbeat_interval
        self.persistent = self.persistent and chunked
        self._put(_Piece(head))

    def send(self, data: bytes) -> None:
        """Send a part of the stream."""
        if data:  # an empty chunk would end the answer
            self._put(_Piece(self._framed(data)))

    def end(self) -> None:
        """End a stream as HTTP says, after what was sent before."""
        self._put(_Piece(b"0\r\n\r\n" if self._chunked else b"", last=True))

    def answer(self, whole: bytes) -> None:
        """Send an answer that is no stream, from its head to its end."""
        self._put(_Piece(whole, last=True))

    def drop(self, how: Literal["abrupt", "reset"]) -> None:
        """End the connection at once, without the rest of the answer."""
        self._dropped = True
        with contextlib.suppress(OSError):  # the client left first
            # Not SSLSocket.shutdown(), which takes the TLS object away from the thread that is using it.
            if how == "reset":
                # A FIN must not come before the RST, so only our reading ends here; that makes _watch() wake run().
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                socket.socket.shutdown(self._client, socket.SHUT_RD)
            else:
                socket.socket.shutdown(self._client, socket.SHUT_RDWR)

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
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self._client, socket.SHUT_RDWR)  # also wakes _watch()
            watch.join()  # until the client's next request if the connection goes on
        return self._ended

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
                self._ended = self.persistent and not self._strayed
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
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._client, socket.SHUT_RDWR)
