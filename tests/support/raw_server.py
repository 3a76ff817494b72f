"""A loopback HTTP or HTTPS server that sends exactly the bytes it is told, when it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Sequence

from support.scripted_server import Request, head, read_request

Step = bytes | threading.Event | None
"""Bytes to send, a gate to wait at until the test sets it, or ``None``: the end of the connection."""

LIMIT = 10.0  # seconds that a gate stays closed at most, and that close() gives the threads
HANDSHAKE = b"\x16"  # the first byte of a TLS connection
EVENT_STREAM = {"Content-Type": "text/event-stream"}


def answer(status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """Return the head of an answer; that of an event stream unless told otherwise."""
    return head(status, EVENT_STREAM if headers is None else headers, "")


def redirect(location: str, status: int = 302) -> bytes:
    """Return a whole answer that leads elsewhere."""
    return answer(status, {"Location": location, "Content-Length": "0"})


def chunk(data: bytes) -> bytes:
    """Return the bytes as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class RawServer:
    """
    Plays ``answers[n]`` to the n-th request, the last one again and again, and records the requests.

    After an answer the connection stays open for another request, unless the answer ends with ``None``.

    Args:
        answers: What to send, step by step.
        context: Makes it an HTTPS server, which takes plain HTTP on the same port too.
    """

    def __init__(self, *answers: Sequence[Step], context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.client_certificates: list[bytes | None] = []
        self.connections = 0
        self.left = threading.Semaphore(0)  # released at the end of each connection
        self._answers = answers
        self._context = context
        self._stopping = False
        self._lock = threading.Lock()  # guards requests, connections, _sockets and _threads
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, name="raw-server", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def targets(self) -> list[str]:
        """The targets of the requests so far."""
        return [request.target for request in self.requests]

    def close(self) -> None:
        """End every connection and thread; one that does not end in time is an ``AssertionError``."""
        deadline = time.monotonic() + LIMIT
        self._stopping = True
        for step in [step for steps in self._answers for step in steps]:
            if isinstance(step, threading.Event):
                step.set()
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname(), LIMIT).close()  # wakes accept()
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        assert not any(thread.is_alive() for thread in threads), "the raw server did not stop"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with self._lock:
                if self._stopping:
                    connection.close()
                    return
                self.connections += 1
                self._sockets.add(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), name="raw-connection", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, plain: socket.socket) -> None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = plain
        try:
            if self._context and plain.recv(1, socket.MSG_PEEK) == HANDSHAKE:
                # A duplicate, so that close() can still shut the plain one down.
                connection = self._context.wrap_socket(plain.dup(), server_side=True)
                self.client_certificates.append(connection.getpeercert(binary_form=True))
            while (request := read_request(connection)) and self._play(connection, request):
                pass
        except OSError:  # the client left, refused the certificate, or close() was called
            pass
        finally:
            with self._lock:
                self._sockets.discard(plain)
                connection.close()
                plain.close()
            self.left.release()

    def _play(self, connection: socket.socket, request: Request) -> bool:
        """Send an answer; return whether the connection is still of use."""
        with self._lock:
            turn = min(len(self.requests), len(self._answers) - 1)
            self.requests.append(request)
        for step in self._answers[turn]:
            if step is None:
                return False
            if isinstance(step, bytes):
                connection.sendall(step)
            else:
                step.wait(LIMIT)
        return True
