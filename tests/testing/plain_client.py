"""A client that knows nothing of this library: a socket, HTTP's framing and the grammar of event streams."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from autoconfig.testing import DEMO_KEY

PATH = "/relay_auto_config"
TIMEOUT = 30.0  # seconds for anything that a test waits for
SILENCE = 0.05  # seconds after which something that was held back would have come
EVENT = re.compile(rb"event: ([^\r\n]+)\n((?:data: [^\r\n]*\n)+)\n|:\n")


class PlainClient:
    """Sends one request and reads what comes. ``head`` and ``body`` hold what has been read so far."""

    def __init__(
        self,
        uri: str,
        *,
        key: str | None = DEMO_KEY,
        target: str = f"{PATH}?rpacProtocolVersion=2",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        version: str = "HTTP/1.1",
        trust: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.received = b""
        self._request = f"{method} {target} {version}\r\nHost: {urlsplit(uri).netloc}\r\n"
        for name, value in {**({"Authorization": key} if key is not None else {}), **(headers or {})}.items():
            self._request += f"{name}: {value}\r\n"
        self.socket = connected_socket(uri, trust, receive_buffer)
        self.ask()

    def __enter__(self) -> PlainClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self) -> None:
        """Send the request, again too."""
        self.received = b""
        self.socket.sendall(f"{self._request}\r\n".encode())

    def read_until(self, marker: bytes) -> bytes:
        """Read until these bytes have come; return everything since the request."""
        while marker not in self.received:
            self._receive(repr(marker))
        return self.received

    def read_stream(self, marker: bytes) -> bytes:
        """Read a chunked stream up to the event that holds a marker; return it from its beginning, without chunks."""
        self.read_until(marker)
        while not self.received.endswith(b"\n\n\r\n"):
            self._receive("the end of the event")
        return dechunk(self.body)[0]

    def read_rest(self) -> bytes:
        """Read to the end of the connection; return everything since the request."""
        while piece := self.socket.recv(65536):
            self.received += piece
        return self.received

    def read_answer(self) -> bytes:
        """Read an answer that has a Content-Length; return it all."""
        head = self.read_until(b"\r\n\r\n").partition(b"\r\n\r\n")[0]
        length = int(re.search(rb"\r\nContent-Length: (\d+)", head).group(1))
        while len(self.received) < len(head) + 4 + length:
            self._receive("the end of the answer")
        return self.received

    def assert_silent(self) -> None:
        """Wait a moment, in which nothing may come."""
        self.socket.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            self.socket.recv(1)
        self.socket.settimeout(TIMEOUT)

    def _receive(self, what: str) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"the end came before {what}")
        self.received += piece

    @property
    def head(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]


def connected_socket(uri: str, trust: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> socket.socket:
    """Return a connected socket; over TLS if there is a context for it."""
    address = urlsplit(uri)
    plain = socket.socket()
    try:
        plain.settimeout(TIMEOUT)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.connect((address.hostname, address.port))
        return plain if trust is None else trust.wrap_socket(plain, server_hostname=address.hostname)
    except OSError:
        plain.close()
        raise


def dechunk(body: bytes) -> tuple[bytes, bool]:
    """Return the contents of chunks, and whether the last one has come. Anything but whole chunks is an error."""
    content = b""
    while body:
        size, end, body = body.partition(b"\r\n")
        length = int(size, 16)
        assert end
        assert body[length : length + 2] == b"\r\n", "a chunk is longer or shorter than it says"
        content += body[:length]
        body = body[length + 2 :]
        if length == 0:
            assert not body
            return content, True
    return content, False


def events(stream: bytes) -> list[tuple[str, str]]:
    """Return names and data of the events; a heartbeat is ``(":", "")``. Anything else in the stream is an error."""
    found = []
    position = 0
    while position < len(stream):
        match = EVENT.match(stream, position)
        assert match, f"no event: {stream[position:]!r}"
        lines = (match[2] or b"").decode().splitlines()
        found.append(((match[1] or b":").decode(), "\n".join(line.removeprefix("data: ") for line in lines)))
        position = match.end()
    return found


def read_event(response: requests.Response) -> bytes:
    """Read a stream, however it comes in pieces, to the end of an event."""
    read = b""
    while not read.endswith(b"\n\n"):
        piece = response.raw.read1(65536)
        assert piece, f"the end came in {read!r}"
        read += piece
    return read


def names(stream: bytes) -> list[str]:
    """Return the names of the events; that of a heartbeat is ``":"``."""
    return [name for name, _ in events(stream)]


def messages(stream: bytes) -> list[tuple[str, Any]]:
    """Return names and decoded data of the events, heartbeats left out."""
    return [(name, json.loads(data)) for name, data in events(stream) if name != ":"]
