"""
The load server: a process of its own, ``python -m benchmarks.server PATH...``.

It renders the paths, prints its port, and ends with its standard input, so that it cannot outlive its parent. A path
``paced/RATE/N/KNOWN`` sends a put of so many environments and N patches, RATE a second, each with the instant of its
sending in the environment's name.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from .payloads import KNOWN, Stream, chunk, chunks, patch, put, render

_LIFETIME = 1800  # seconds; the server is gone by then whatever happens
_PATIENCE = 300.0  # seconds that a client may take
_PAUSE = 1.0  # seconds between two parts of a stream
_WORK_OFF = 1e-4  # seconds that a client is given for each environment of a put, before more is sent
_HEADERS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"


def main() -> None:
    """Serve until the standard input ends."""
    signal.alarm(_LIFETIME)  # its default action ends the process
    streams = {path: render(path) for path in sys.argv[1:] if not path.startswith("paced/")}
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_accept, args=(listener, streams), daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        sys.stdin.read()
        os._exit(0)  # connections that are still served are of no use to anybody


def _accept(listener: socket.socket, streams: dict[str, Stream]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, streams), daemon=True).start()


def _serve(connection: socket.socket, streams: dict[str, Stream]) -> None:
    with connection, suppress(OSError):
        connection.settimeout(_PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        path = _requested(connection)
        if path.startswith("plain/"):
            body = streams[path.removeprefix("plain/")].plain
            connection.sendall(f"{_HEADERS}X-Bytes: {len(body)}\r\n\r\n".encode() + body)
        else:
            connection.sendall(f"{_HEADERS}Transfer-Encoding: chunked\r\n\r\n".encode())
            if path.startswith("paced/"):
                _send_paced(connection, *map(int, path.split("/")[1:]))
            else:
                _send_parts(connection, streams[path].chunked)
        connection.recv(1)  # keeps the stream open and silent until the client goes away


def _requested(connection: socket.socket) -> str:
    request = b""
    while b"\r\n\r\n" not in request:
        if not (piece := connection.recv(65536)):
            raise ConnectionError("no request")
        request += piece
    target = request.split(b" ", 2)[1].decode().partition("?")[0]
    return target.removesuffix("/relay_auto_config").strip("/")


def _send_parts(connection: socket.socket, parts: list[bytes]) -> None:
    connection.sendall(parts[0])
    for part in parts[1:]:
        time.sleep(_PAUSE)
        connection.sendall(part)


def _send_paced(connection: socket.socket, rate: int, count: int, known: int = KNOWN) -> None:
    connection.sendall(chunks(put(known)))
    time.sleep(0.1 + known * _WORK_OFF)
    start = time.monotonic()
    for number in range(count):
        if (early := start + number / rate - time.monotonic()) > 0:
            time.sleep(early)
        # monotonic: the same clock in every process of a machine
        connection.sendall(chunk(patch(number, name=str(time.monotonic_ns()))))


if __name__ == "__main__":
    main()
