"""What no client can go below: the bytes from a socket, without HTTP chunks, and json.loads of them."""

from __future__ import annotations

import json
import socket
import time
from typing import cast
from urllib.parse import urlsplit

from .peers import TIMEOUT, Follow
from .sinks import Sink


def receive() -> Follow:
    """Read the bytes and do nothing with them."""

    def follow(url: str, sink: Sink) -> dict[str, float]:
        _body(url)
        sink.finish()
        return {}

    return follow


def receive_json() -> Follow:
    """Read the bytes, and give those of each event to json.loads as they are."""

    def follow(url: str, sink: Sink) -> dict[str, float]:
        documents = [line.removeprefix(b"data: ") for line in _body(url).split(b"\n") if line.startswith(b"data")]
        before = time.process_time()
        put = json.loads(documents[0])
        cpu = time.process_time() - before
        for environment in put["data"]["environments"].values():
            sink.added(environment)
        sink.put_ended()
        for document in documents[1:]:
            sink.changed(json.loads(document)["data"])
        return {"json_cpu": cpu}

    return follow


def _body(url: str) -> bytearray:
    """Request the plain form of a stream and return its body, whose length the server gives."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), cast(int, parts.port)), timeout=TIMEOUT) as connection:
        connection.sendall(f"GET /plain{parts.path} HTTP/1.1\r\nHost: {parts.hostname}\r\n\r\n".encode())
        head, body = b"", bytearray()
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        head, _, first = head.partition(b"\r\n\r\n")
        body += first
        length = int(head.rpartition(b"X-Bytes: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            if not (piece := connection.recv(262144)):
                raise ConnectionError("the server ended the stream")
            body += piece
    return body
