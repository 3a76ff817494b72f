"""
A server that shares no code with the library and writes what the service writes.

The service's spelling is ``envId``, its JSON is compact, and each environment has both lists of keys.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


def environment(id: str, name: str, version: int = 1, **changes: Any) -> dict[str, Any]:
    """Return an environment as the service writes it."""
    return {
        "envId": id, "envKey": name.lower(), "envName": name, "mobKey": f"mob-{id}-0123456789abcdef",
        "projName": "Quay", "projKey": "quay", "sdkKey": {"value": f"sdk-{id}-0123456789abcdef"},
        "sdkKeys": [
            {"key": "default", "value": f"sdk-{id}-0123456789abcdef"},
            {"key": "second", "value": f"sdk-{id}-second-0123456789ab"},
        ],
        "mobileKeys": [{"key": "default", "value": f"mob-{id}-0123456789abcdef"}],
        "defaultTtl": 0, "secureMode": False, "version": version,
    } | changes  # fmt: skip


def event(name: str, data: Any) -> bytes:
    """Return an event."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()


def put(*environments: dict[str, Any], filters: Any = None) -> bytes:
    """Return the put of some environments."""
    content: dict[str, Any] = {"environments": {one["envId"]: one for one in environments}}
    if filters is not None:
        content["filters"] = filters
    return event("put", {"path": "/", "data": content})


def patch(one: dict[str, Any]) -> bytes:
    """Return the patch of an environment."""
    return event("patch", {"path": f"/environments/{one['envId']}", "data": one})


class PlainService:
    """
    Answers each connection with the next of the answers, the last of them again and again, and then keeps it open.

    Args:
        answers: Bytes of events, after a usual head; or whole answers, which begin with ``HTTP/``.
    """

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self._answers = list(answers)
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()  # guards _clients
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="plain-service")

    def __enter__(self) -> PlainService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            while self._clients:
                self._clients.pop().close()

    def send(self, events: bytes) -> None:
        """Send events to all clients."""
        with self._lock:
            for client in self._clients:
                client.sendall(b"%x\r\n%s\r\n" % (len(events), events))

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            try:
                self._answer(client)
            except OSError:  # the client left
                client.close()

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(30)
        request = b""
        while b"\r\n\r\n" not in request and (piece := client.recv(4096)):
            request += piece
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer.startswith(b"HTTP/"):
            client.sendall(answer)
            client.close()
            return
        client.sendall(HEAD + b"%x\r\n%s\r\n" % (len(answer), answer))
        with self._lock:
            self._clients.append(client)
