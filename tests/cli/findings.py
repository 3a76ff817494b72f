"""What the tests of ``autoconfig doctor`` share."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from autoconfig.testing import Emulator

NAMES = ["configuration", "proxy", "dns", "tcp", "tls", "http", "content type", "first put", "heartbeat"]
KEY = "rel-0123456789abcdef0123456789abcdef"
DEADLINE = 60.0  # seconds for anything; what is measured is much faster
PASSWORD = "a-proxys-pass-word"
Findings = dict[str, dict[str, Any]]
Examine = Callable[..., tuple[int, Findings]]


def at(service: Emulator) -> tuple[str, ...]:
    return "--uri", service.uri, "--key", service.key


def failed(found: Findings) -> tuple[str, str]:
    """Return the one check that failed, and what it says; those after it must be skipped because of it."""
    name = next(name for name in NAMES if found[name]["state"] == "fail")
    rest = NAMES[NAMES.index(name) + 1 :]
    assert [found[one]["text"] for one in rest] == [f"because {name} failed"] * len(rest)
    assert found[name]["fix"]
    return name, found[name]["text"]


def reset(server: socket.socket, *, after: bool = False) -> None:
    """Accept a connection and reset it, at once or after something was sent."""
    server.settimeout(30)
    client, _ = server.accept()
    if after:
        client.recv(4096)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
