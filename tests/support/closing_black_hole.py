"""An address that nobody can connect to and that does not refuse either."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

FULL = 0.1  # seconds without an answer after which the backlog counts as full


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
