"""A real forward and CONNECT proxy that records what it sees and can demand Basic authentication."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from urllib.parse import urlsplit

from safety.sockets import CLOSING, Listener, pump, ready, shut_down
from support.scripted_server import Request, read_request

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
UNAUTHENTICATED = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="loopback"\r\nContent-Length: 0\r\n\r\n'
)


class RecordingProxy:
    """
    Forwards plain requests, opens tunnels for ``CONNECT``, and records every request that it reads itself.

    Args:
        credentials: User and password to demand; without them everyone may pass.
        context: Makes it an https proxy.

    Attributes:
        requests: What clients asked of the proxy, refused requests included; what goes through a tunnel is not here.
        listener: Its port, and the TLS handshakes that failed.
    """

    def __init__(self, credentials: tuple[str, str] | None = None, *, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._expected = basic(*credentials) if credentials else None
        self._changed = threading.Condition()  # guards requests
        self.listener = Listener(self._serve, context)
        self._scheme = "https" if context else "http"
        self.url = self.url_for("")

    def __enter__(self) -> RecordingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def url_for(self, userinfo: str) -> str:
        """Return the proxy's URL with a user and a password, percent-encoded as they stand here."""
        return f"{self._scheme}://{userinfo}{'@' if userinfo else ''}127.0.0.1:{self.listener.port}"

    def wait_for_requests(self, count: int, timeout: float = 30.0) -> None:
        """Wait until so many requests have come; raises ``AssertionError`` at the timeout."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.requests) >= count, timeout)
        assert arrived, f"{len(self.requests)} requests within {timeout} s, not {count}"

    def _serve(self, client: socket.socket) -> None:
        while request := read_request(client):
            with self._changed:
                self.requests.append(request)
                self._changed.notify_all()
            if self._expected and request.headers.get("proxy-authorization") != self._expected:
                client.sendall(UNAUTHENTICATED)
            elif not self._pass_on(client, request):
                return

    def _pass_on(self, client: socket.socket, request: Request) -> bool:
        """Carry out a request; return whether another may come on the same connection."""
        tunnel = request.method == "CONNECT"
        parts = urlsplit(f"//{request.target}" if tunnel else request.target)
        try:
            upstream = socket.create_connection((parts.hostname or "", parts.port or 80), CLOSING)
        except OSError:
            client.sendall(BAD_GATEWAY)
            return True
        with upstream:
            self.listener.watch(upstream)
            upstream.settimeout(None)
            if tunnel:
                client.sendall(ESTABLISHED)
                pump(client, upstream)
                return False
            upstream.sendall(forwarded(request, f"{parts.path}?{parts.query}".rstrip("?")))
            return relay(upstream, client)


def relay(upstream: socket.socket, client: socket.socket) -> bool:
    """Carry an answer until the client has another request, or leaves; return ``False`` if the answer ends before."""
    try:
        while client not in ready(client, upstream):
            data = upstream.recv(65536)
            if not data:
                return False
            client.sendall(data)
        return True
    finally:
        shut_down(upstream)


def basic(user: str, password: str) -> str:
    """Return the header value that Basic authentication makes of a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def forwarded(request: Request, target: str) -> bytes:
    """Return a request as the origin gets it: without what was meant for the proxy."""
    headers = [f"{name}: {value}" for name, value in request.headers.items() if not name.startswith("proxy-")]
    return "\r\n".join([f"{request.method} {target} HTTP/1.1", *headers, "", ""]).encode("latin-1")
