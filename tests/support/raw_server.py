"""A loopback HTTP or HTTPS server that sends exactly the bytes it is told, when it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence

from support.loopback import LIMIT, LoopbackServer, Request, head, read_request

Step = bytes | threading.Event | None
"""Bytes to send, a gate to wait at until the test sets it, or ``None``: the end of the connection."""

EVENT_STREAM = {"Content-Type": "text/event-stream"}


def answer(status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    """Return the head of an answer; that of an event stream unless told otherwise."""
    return head(status, EVENT_STREAM if headers is None else headers)


def redirect(location: str, status: int = 302) -> bytes:
    """Return a whole answer that leads elsewhere."""
    return answer(status, {"Location": location, "Content-Length": "0"})


class RawServer(LoopbackServer):
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
        self._answers = answers
        super().__init__(context)

    @property
    def targets(self) -> list[str]:
        """The targets of the requests so far."""
        return [request.target for request in self.requests]

    def close(self) -> None:
        """Open all gates, and end every connection and thread."""
        for step in [step for steps in self._answers for step in steps]:
            if isinstance(step, threading.Event):
                step.set()
        super().close()

    def serve(self, connection: socket.socket) -> None:
        if isinstance(connection, ssl.SSLSocket):
            self.client_certificates.append(connection.getpeercert(binary_form=True))
        while (request := read_request(connection)) and self._play(connection, request):
            pass

    def _play(self, connection: socket.socket, request: Request) -> bool:
        """Send an answer; return whether the connection is still of use."""
        with self.changed:
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
