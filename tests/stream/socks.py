"""A SOCKS 5 proxy on plain sockets: no password or one, names or addresses."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping


class SocksProxy:
    """
    Passes bytes on to the servers that its clients name.

    Args:
        names: Which port of 127.0.0.1 a name means.
        silent: It takes connections and says nothing.

    Attributes:
        asked: What the clients named: names, or addresses.
        users: The users and passwords that came.
    """

    def __init__(self, names: Mapping[str, int] | None = None, *, silent: bool = False) -> None:
        self.asked: list[str] = []
        self.users: list[tuple[str, str]] = []
        self._names = names or {}
        self._silent = silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> SocksProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if not self._silent:
                    self._start(self._serve, client)

    def _start(self, target: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError):
            methods = _read(client, _read(client, 2)[1])
            if 2 in methods:
                client.sendall(b"\x05\x02")
                user = _read(client, _read(client, 2)[1]).decode()
                self.users.append((user, _read(client, _read(client, 1)[0]).decode()))
                client.sendall(b"\x01\x00")
            else:
                client.sendall(b"\x05\x00")
            kind = _read(client, 4)[3]
            host = _read(client, _read(client, 1)[0]).decode() if kind == 3 else socket.inet_ntoa(_read(client, 4))
            port = int.from_bytes(_read(client, 2), "big")
            self.asked.append(host)
            server = socket.create_connection(("127.0.0.1", self._names.get(host, port)), 5)
            server.settimeout(None)
            self._sockets.append(server)
            client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            self._start(_pump, server, client)
            _pump(client, server)


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for sock in source, target:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
