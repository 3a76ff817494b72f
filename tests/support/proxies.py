"""A real HTTP proxy: it forwards requests to http URLs, tunnels CONNECT, and can demand a password or refuse all."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from urllib.parse import urlsplit

from support.loopback import LIMIT, LoopbackServer, Request, head, pump, read_request, wait_for_bytes

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
NO_BODY = {"Content-Length": "0"}
UNAUTHENTICATED = head(407, {"Proxy-Authenticate": 'Basic realm="loopback"', **NO_BODY})


class Proxy(LoopbackServer):
    """
    Passes bytes on between its clients and the servers that they ask for, and records the requests made to itself.

    Args:
        credentials: User and password to demand; without them everyone may pass.
        refusal: A status to answer every request with, instead of passing it on.
        context: Makes it a proxy that is itself spoken to over TLS.

    Attributes:
        requests: What clients asked of the proxy, refused requests included; what goes through a tunnel is not here.
    """

    def __init__(
        self,
        credentials: tuple[str, str] | None = None,
        *,
        refusal: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self._expected = basic(*credentials) if credentials else None
        self._refusal = refusal
        super().__init__(context)

    def url_for(self, userinfo: str) -> str:
        """Return the proxy's URL with a user and a password, percent-encoded as they stand here."""
        return self.url.replace("://", f"://{userinfo}@")

    def wait_for_requests(self, count: int, timeout: float = LIMIT) -> None:
        """Wait until so many requests have come; raises ``AssertionError`` at the timeout."""
        self.wait_for(lambda: len(self.requests) >= count, f"{count} requests", timeout)

    def serve(self, connection: socket.socket) -> None:
        while request := read_request(connection):
            with self.changed:
                self.requests.append(request)
                self.changed.notify_all()
            if self._refusal:
                connection.sendall(head(self._refusal, {**NO_BODY, "Connection": "close"}))
                return
            if self._expected and request.headers.get("proxy-authorization") != self._expected:
                connection.sendall(UNAUTHENTICATED)
            elif not self._pass_on(connection, request):
                return

    def _pass_on(self, client: socket.socket, request: Request) -> bool:
        """Carry out a request; return whether another may come on the same connection."""
        tunnel = request.method == "CONNECT"
        parts = urlsplit(f"//{request.target}" if tunnel else request.target)
        with contextlib.ExitStack() as stack:
            try:
                server = stack.enter_context(self.connected(parts.hostname or "", parts.port or 80))
            except OSError:
                client.sendall(head(502, NO_BODY))
                return True
            if tunnel:
                client.sendall(ESTABLISHED)
                pump(client, server)
                return False
            server.sendall(forwarded(request, f"{parts.path}?{parts.query}".rstrip("?")))
            return relay(server, client)


def relay(server: socket.socket, client: socket.socket) -> bool:
    """Carry an answer until the client has another request, or leaves; return ``False`` if the answer ends before."""
    while client not in wait_for_bytes(client, server):
        data = server.recv(65536)
        if not data:
            return False
        client.sendall(data)
    return True


def basic(user: str, password: str) -> str:
    """Return the header value that Basic authentication makes of a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def forwarded(request: Request, target: str) -> bytes:
    """Return a request as the origin gets it: without what was meant for the proxy."""
    headers = [f"{name}: {value}" for name, value in request.headers.items() if not name.startswith("proxy-")]
    return "\r\n".join([f"{request.method} {target} HTTP/1.1", *headers, "", ""]).encode("latin-1")
