"""
Sockets that give up at a deadline.

A socket's own timeout begins anew with each byte, so that a trickle of bytes, in a header or in the size of a chunk,
would keep a dead connection alive for ever.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any


class Deadline:
    """
    When a connection counts as dead unless it has made progress by then.

    Args:
        seconds: How long it may be without progress.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = math.inf

    def renew(self) -> None:
        """Note that there was progress."""
        self._at = time.monotonic() + self._seconds

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() > self._at

    def timeout(self, own: float | None) -> float | None:
        """
        Return how long a read may take, for a socket with this timeout of its own.

        Raises:
            TimeoutError: The deadline has passed.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return own if left == math.inf else left if own is None else min(own, left)


class GuardedSocket(socket.socket):
    """A plain socket whose reads end at a deadline; it has to be set before the first one."""

    deadline: Deadline

    def recv_into(self, *arguments: Any) -> int:
        """Read; :class:`TimeoutError` at the deadline or at the socket's own timeout."""
        own = self.gettimeout()
        self.settimeout(self.deadline.timeout(own))
        try:
            return super().recv_into(*arguments)
        finally:
            self.settimeout(own)


def guarded_tls(deadline: Deadline, created: Callable[[socket.socket], None]) -> type[ssl.SSLSocket]:
    """
    Return a class of TLS sockets whose reads end at the deadline, for ``SSLContext.sslsocket_class``.

    Args:
        deadline: The deadline.
        created: Called with each one. One that finds its connection gone before the handshake is left open by ``ssl``.
    """

    class GuardedSSLSocket(ssl.SSLSocket):
        def __new__(cls, *arguments: Any, **options: Any) -> GuardedSSLSocket:
            instance = super().__new__(cls, *arguments, **options)
            created(instance)
            return instance

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            deadline.renew()

        def recv_into(self, *arguments: Any) -> int:
            own = self.gettimeout()
            self.settimeout(deadline.timeout(own))
            try:
                return super().recv_into(*arguments)
            finally:
                self.settimeout(own)

    return GuardedSSLSocket
