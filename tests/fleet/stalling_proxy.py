"""A TCP forwarder that can cut its connections, or stop forwarding as a network does that has come apart."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

LIMIT = 30.0  # seconds that close() gives the thread
POLL = 0.05  # seconds


class StallingProxy:
    """
    Forwards each connection to a port of 127.0.0.1, in one thread.

    Attributes:
        port: Where it listens.
        stalled: Whether it takes and forwards nothing; the kernel still accepts connections.
    """

    def __init__(self, target: int) -> None:
        self.stalled = False
        self._target = target
        self._ends: dict[socket.socket, socket.socket] = {}
        self._commands: list[str] = []
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._reading, self._waking = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="stalling-proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> StallingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._waking.send(b"!")
        self._thread.join(LIMIT)
        for one in (*self._ends, self._listener, self._reading, self._waking):
            one.close()
        assert not self._thread.is_alive(), "the proxy did not stop"

    def cut(self) -> None:
        """End all connections, soon."""
        self._commands.append("cut")
        self._waking.send(b"!")

    def _run(self) -> None:
        while not self._stopping:
            watched = [self._reading] if self.stalled else [self._reading, self._listener, *self._ends]
            for ready in select.select(watched, [], [], POLL)[0]:
                if ready is self._reading:
                    ready.recv(100)
                    while self._commands:
                        self._commands.pop()
                        self._cut_all()
                    break
                if ready is self._listener:
                    self._accept()
                elif ready in self._ends:
                    self._forward(ready)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target), LIMIT)
        except OSError:
            client.close()
            return
        self._ends |= {client: server, server: client}

    def _forward(self, source: socket.socket) -> None:
        other = self._ends[source]
        with contextlib.suppress(OSError):
            if piece := source.recv(65536):
                other.sendall(piece)
                return
        for end in (source, other):
            self._ends.pop(end).close()

    def _cut_all(self) -> None:
        for end in self._ends:
            end.close()
        self._ends.clear()
