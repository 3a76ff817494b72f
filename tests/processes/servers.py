"""Services that are not what they should be: one that sends without end, one that is silent, one that is not there."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator

from processes.control import WAITING

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
PUT = b'event: put\ndata: {"path": "/", "data": {"environments": {}, "filters": {}}}\n\n'
NO_ROOM = 0.1  # seconds without an answer after which a listener's backlog counts as full


class RawServer:
    """
    Accepts connections and treats them all alike.

    Args:
        context: For https; the handshake is a part of the flood, so a silent server never does it.
        floods: Whether to answer with a stream of puts as fast as the client reads; else nothing is ever said.

    Attributes:
        url: Where it listens.
        accepted: Set when there has been a connection.
    """

    def __init__(self, context: ssl.SSLContext | None, *, floods: bool) -> None:
        self.accepted = threading.Event()
        self._context = context
        self._floods = floods
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._stopping = False
        self._threads = [threading.Thread(target=self._accept, name="raw-server", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        """End every connection and thread."""
        self._stopping = True
        socket.create_connection(self._listener.getsockname(), WAITING).close()  # wakes accept()
        self._threads[0].join(WAITING)
        for connection in self._connections:
            with contextlib.suppress(OSError):  # the client went first
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAITING)
        for opened in (self._listener, *self._connections):
            opened.close()
        assert not any(thread.is_alive() for thread in self._threads), "the server did not stop"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopping:
                connection.close()
                return
            self._connections.append(connection.dup())  # a dup, because a handshake takes the socket itself away
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()
            self.accepted.set()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError))  # the client left
            stack.enter_context(connection)
            if not self._floods:
                while connection.recv(4096):
                    pass
                return
            if self._context:
                connection = stack.enter_context(self._context.wrap_socket(connection, server_side=True))
            connection.recv(4096)  # the request, which is short
            connection.sendall(HEAD)
            while True:
                connection.sendall(PUT * 10)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Yield the URL of a listener that has no room for one more connection, so that clients wait."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        full = False
        while not full:
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            full = not select.select([], [filler], [], NO_ROOM)[1]
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def is_connecting_to(url: str) -> bool:
    """Return whether a socket of this machine, the filler left out, waits for an answer from there (Linux only)."""
    port = int(url.rpartition(":")[2])
    with open("/proc/net/tcp", encoding="ascii") as table:
        waiting = [line for line in table if line.split()[2:4] == [f"0100007F:{port:04X}", "02"]]  # 02: SYN_SENT
    return len(waiting) > 1
