"""A SOCKS 5 proxy on plain sockets: no password or one, names or addresses."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from support.loopback import LoopbackServer, pump


class SocksProxy(LoopbackServer):
    """
    Passes bytes on to the servers that its clients name.

    Args:
        names: Which port of 127.0.0.1 a name means.
        silent: It takes connections and says nothing.
        refusal: What it says instead of connecting; "" for the end of the connection.
        knows: Whether it accepts the user and the password.

    Attributes:
        asked: What the clients named: names, or addresses.
        users: The users and passwords that came.
    """

    def __init__(
        self,
        names: Mapping[str, int] | None = None,
        *,
        silent: bool = False,
        refusal: bytes | None = None,
        knows: bool = True,
    ) -> None:
        self.asked: list[str] = []
        self.users: list[tuple[str, str]] = []
        self._names = names or {}
        self._silent = silent
        self._refusal = refusal
        self._knows = knows
        super().__init__()
        self.address = f"127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        if self._silent:
            while connection.recv(4096):
                pass
            return
        with contextlib.suppress(IndexError):  # the client left
            self._serve(connection)

    def _serve(self, client: socket.socket) -> None:
        methods = _read(client, _read(client, 2)[1])
        if 2 in methods:
            client.sendall(b"\x05\x02")
            user = _read(client, _read(client, 2)[1]).decode()
            self.users.append((user, _read(client, _read(client, 1)[0]).decode()))
            client.sendall(b"\x01\x00" if self._knows else b"\x01\x01")
        else:
            client.sendall(b"\x05\x00")
        kind = _read(client, 4)[3]
        host = _read(client, _read(client, 1)[0]).decode() if kind == 3 else socket.inet_ntoa(_read(client, 4))
        port = int.from_bytes(_read(client, 2), "big")
        self.asked.append(host)
        if self._refusal is not None:
            client.sendall(self._refusal)
            return
        with self.connected("127.0.0.1", self._names.get(host, port)) as server:
            client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            pump(client, server)


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data
