"""Addresses with nobody behind them: a free port, and one that neither accepts connections nor refuses them."""

from __future__ import annotations

import contextlib
import random
import select
import socket
from collections.abc import Iterator

FULL = 0.1  # seconds without an answer after which the backlog counts as full


def free_port() -> int:
    """Return a port below those that the system gives out by itself, so that nobody else has got it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
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
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            if not select.select([], [filler], [], FULL)[1]:
                filler.close()
                break
        yield f"http://127.0.0.1:{port}"


def connecting_to(url: str) -> bool:
    """Return whether a socket of this machine waits for an answer from this address (Linux only)."""
    port = int(url.rpartition(":")[2])
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(line.split()[2:4] == [f"0100007F:{port:04X}", "02"] for line in table)  # 02: SYN_SENT
