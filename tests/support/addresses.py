"""Addresses with nobody behind them: a free port, and one that neither accepts connections nor refuses them."""

from __future__ import annotations

import contextlib
import random
import select
import socket
from collections.abc import Iterator

CLIENTS = 16  # more than any system takes for a backlog of zero
FULL = 0.5  # seconds without another connection after which the backlog counts as full
WAITING = 30.0  # seconds until there has to be one
_random = random.SystemRandom()  # which nothing seeds: two processes would get the same ports


def free_port() -> int:
    """Return a port below those that the system gives out by itself, so that nobody else has got it meanwhile."""
    while True:
        port = _random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Yield the URL of a listener whose backlog is full, so that nobody can connect to it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [stack.enter_context(socket.socket()) for _ in range(CLIENTS)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        while connected := select.select([], waiting, [], FULL if len(waiting) < CLIENTS else WAITING)[1]:
            waiting = [client for client in waiting if client not in connected]
        assert 0 < len(waiting) < CLIENTS, "the backlog is not full"
        for client in waiting:
            client.close()
        yield f"http://127.0.0.1:{port}"


def connecting_to(url: str) -> bool:
    """Return whether a socket of this machine waits for an answer from this address (Linux only)."""
    port = int(url.rpartition(":")[2])
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(line.split()[2:4] == [f"0100007F:{port:04X}", "02"] for line in table)  # 02: SYN_SENT
