"""The answer to one request: bytes that any thread may add, and the loop that sends them to the client."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import threading
import time
from typing import Literal

End = Literal["eof", "abrupt", "reset"]
"""How an answer ends: as HTTP has it, with a FIN in the middle of it, or with a RST."""

HEARTBEAT = b":\n"
_PIECE = 256 * 1024  # bytes in one send(), so that the lock is not held for a whole backlog
_LONGEST_WAIT = 3600.0  # seconds; selectors cannot wait for `math.inf`
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: close() sends a RST
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Answer:
    """
    What one client is sent in answer to one request.

    Any thread may call the methods, none of which waits for the client: what it does not read is kept, without limit.
    Only the thread that serves the client calls :meth:`run` and :meth:`close`, and only it touches the socket.

    Args:
        client: The client's socket, plain or TLS.
        persistent: Whether the client lets the connection be used for another request afterwards.
        http11: Whether the client knows HTTP/1.1, and with it chunks.
    """

    def __init__(self, client: socket.socket, *, persistent: bool, http11: bool) -> None:
        self.persistent = persistent
        self.http11 = http11
        self._client = client
        self._lock = threading.Lock()  # guards all that follows but for the sockets
        self._outgoing = bytearray()
        self._chunked = False
        self._reusable = False
        self._paused = False
        self._end: End | None = None
        self._interval: float | None = None
        self._due = 0.0  # the next heartbeat, in monotonic time
        self._strayed = False  # the client sent something during the answer
        self._woken, self._waker = socket.socketpair()  # a byte in it ends the wait of run()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def begin(
        self, head: bytes, *, chunked: bool = False, reusable: bool = False, heartbeat_interval: float | None = None
    ) -> None:
        """
        Send the head of the answer, or all of it.

        Args:
            head: The bytes.
            chunked: Whether what :meth:`send` is given goes out as chunks.
            reusable: Whether the connection can be used again after a regular end.
            heartbeat_interval: Seconds between two heartbeats; ``None`` for none.
        """
        with self._lock:
            self._outgoing += head
            self._chunked = chunked
            self._reusable = reusable and self.persistent
            self._interval = heartbeat_interval
            self._schedule_heartbeat()
        self._wake()

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        with self._lock:
            self._append(data)
        self._wake()

    def end(self, how: End) -> None:
        """End the answer: ``"eof"`` once everything before is sent, the others at once."""
        with self._lock:
            if how == "eof" and self._chunked:
                self._outgoing += b"0\r\n\r\n"
            self._end = how
        self._wake()

    def pause(self) -> None:
        """Send nothing more until :meth:`resume`; nothing goes out after this call has returned."""
        with self._lock:
            self._paused = True

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        with self._lock:
            self._paused = False
            self._schedule_heartbeat()
        self._wake()

    def run(self) -> bool:
        """
        Serve the client until the answer has ended or the client has left.

        Returns:
            Whether another request may come on the connection.
        """
        self._client.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._client, selectors.EVENT_READ)
            while self._client_is_there():
                waiting = self._write()
                if self._is_over():
                    return self._conclude()
                also = selectors.EVENT_WRITE if waiting else 0
                selector.modify(self._client, selectors.EVENT_READ | also)
                selector.select(self._until_heartbeat())
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
                self._add_heartbeat()
        return False

    def close(self) -> None:
        """Give back what the answer holds, the client's socket left out. No other method may be called afterwards."""
        self._woken.close()
        self._waker.close()

    def _client_is_there(self) -> bool:
        """Take what the client sent, which it has no reason to, and return whether it is still connected."""
        try:
            while self._client.recv(4096):
                self._strayed = True
        except _NOT_NOW:
            return True
        except OSError:  # reset by the client
            pass
        return False

    def _write(self) -> bool:
        """Send as much as goes at once; return whether there is more that could be sent."""
        with self._lock:
            if self._paused or not self._outgoing or self._end in ("abrupt", "reset"):
                return False
            with contextlib.suppress(*_NOT_NOW):
                # After a send() that was put off, TLS insists on the same bytes: they stay until they are sent.
                sent = self._client.send(bytes(self._outgoing[:_PIECE]))
                del self._outgoing[:sent]
            return bool(self._outgoing)

    def _is_over(self) -> bool:
        with self._lock:
            return self._end in ("abrupt", "reset") or (self._end == "eof" and not self._outgoing and not self._paused)

    def _conclude(self) -> bool:
        """End the connection in the way that was asked for, or make it ready for the next request."""
        if self._end == "reset":
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            return False
        if self._end == "eof" and self._reusable and not self._strayed:
            self._client.setblocking(True)
            return True
        with contextlib.suppress(OSError):
            if self._end == "eof" and isinstance(self._client, ssl.SSLSocket):
                self._client.unwrap()  # sends close_notify; the client's own is not waited for
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._client, socket.SHUT_WR)
        return False

    def _append(self, data: bytes) -> None:
        if data and self._chunked:  # an empty chunk would end the answer
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._outgoing += data

    def _schedule_heartbeat(self) -> None:
        if self._interval is not None:
            self._due = time.monotonic() + self._interval

    def _until_heartbeat(self) -> float | None:
        with self._lock:
            if self._interval is None or self._paused:
                return None
            return min(max(0.0, self._due - time.monotonic()), _LONGEST_WAIT)

    def _add_heartbeat(self) -> None:
        with self._lock:
            if self._interval is None or self._paused or time.monotonic() < self._due:
                return
            if not self._outgoing:  # a client that does not read needs none
                self._append(HEARTBEAT)
            self._schedule_heartbeat()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it will wake up all the same
            self._waker.send(b"\0")
