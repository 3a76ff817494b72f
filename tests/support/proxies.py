"""A real HTTP proxy on plain sockets: it forwards requests to http URLs and tunnels CONNECT."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from support.scripted_server import Request, head, read_request

LIMIT = 10.0  # seconds that close() gives the threads


class Proxy:
    """
    Passes bytes on between its clients and the servers that they ask for, and records the requests made to itself.

    Args:
        refusal: A status to answer every request with, instead of passing it on.
        context: Makes it a proxy that is itself spoken to over TLS.
    """

    def __init__(self, *, refusal: int | None = None, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._refusal = refusal
        self._context = context
        self._stopping = False
        self._lock = threading.Lock()  # guards requests, _sockets and _threads
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.scheme = "https" if context else "http"
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def url(self, userinfo: str = "") -> str:
        """Return the proxy's URL, with credentials as they stand there."""
        return f"{self.scheme}://{userinfo and userinfo + '@'}{self.address}"

    def close(self) -> None:
        """End every connection and thread; one that does not end in time is an ``AssertionError``."""
        deadline = time.monotonic() + LIMIT
        self._stopping = True
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname(), LIMIT).close()  # wakes accept()
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        assert not any(thread.is_alive() for thread in threads), "the proxy did not stop"

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with self._lock:
                if self._stopping:
                    client.close()
                    return
                self._sockets.add(client)
                thread = threading.Thread(target=self._serve, args=(client,), name="proxy-connection", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, plain: socket.socket) -> None:
        client = plain
        with contextlib.suppress(OSError):  # the client left, refused the certificate, or close() was called
            if self._context:
                client = self._context.wrap_socket(plain.dup(), server_side=True)
            if request := read_request(client):
                self._pass_on(client, request)
        with self._lock:
            self._sockets.discard(plain)
            client.close()
            plain.close()

    def _pass_on(self, client: socket.socket, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
        if self._refusal:
            client.sendall(head(self._refusal, {"Content-Length": "0", "Connection": "close"}, ""))
            return
        tunnel = request.method == "CONNECT"
        parts = urlsplit(f"//{request.target}" if tunnel else request.target)
        assert parts.hostname
        with socket.create_connection((parts.hostname, parts.port or 80), LIMIT) as server:
            if tunnel:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(origin_form(request))
            relay(client, server)


def origin_form(request: Request) -> bytes:
    """Return a request as a proxy sends it on to the server: without what was meant for the proxy alone."""
    parts = urlsplit(request.target)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    own = {name: value for name, value in request.headers.items() if not name.startswith("proxy-")}
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in own.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def relay(client: socket.socket, server: socket.socket) -> None:
    """Pass bytes on in both directions until one side ends."""
    ends = {client: server, server: client}
    while True:
        for source in select.select(list(ends), [], [])[0]:
            piece = source.recv(65536)
            if isinstance(source, ssl.SSLSocket) and source.pending():
                piece += source.recv(source.pending())
            if not piece:
                return
            ends[source].sendall(piece)
