"""Certificates made on the spot, and a front that gives a scripted server TLS with them."""

from __future__ import annotations

import datetime
import itertools
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trustme
from support.loopback import LoopbackServer, pump
from support.proxies import Proxy
from support.scripted_server import ScriptedServer

NAMES = ("127.0.0.1", "localhost")


class Authority:
    """
    A certificate authority of its own.

    Attributes:
        file: Its certificate, for clients to trust.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self._numbers = itertools.count()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def context(
        self, *names: str, expires: datetime.datetime | None = None, clients: Authority | None = None
    ) -> ssl.SSLContext:
        """
        Return a server's context with a new certificate.

        Args:
            names: What the certificate is for; default both names of the loopback interface.
            expires: When it ends; default far from now.
            clients: The authority whose certificates clients have to present.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or NAMES), not_after=expires).configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.file)
        return context

    def self_signed_context(self) -> ssl.SSLContext:
        """Return a server's context with the authority's own certificate."""
        key = self._folder / "authority-key.pem"
        self._authority.private_key_pem.write_to_path(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, key)
        return context

    def client_certificate(self) -> tuple[Path, Path, Path]:
        """Return the files of a client's certificate: the chain, the key, and one with both."""
        number = next(self._numbers)
        chain, key, both = (self._folder / f"client-{number}-{part}.pem" for part in ("chain", "key", "both"))
        issued = self._authority.issue_cert("client.example")
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        issued.private_key_and_cert_chain_pem.write_to_path(both)
        return chain, key, both


class Front(LoopbackServer):
    """
    Stands before a scripted server and speaks TLS, or plain HTTP to those who do, on one port.

    Args:
        server: What is behind it.
        context: What TLS is spoken with.
    """

    def __init__(self, server: ScriptedServer, context: ssl.SSLContext) -> None:
        self._behind = server.port
        super().__init__(context)

    def url_by(self, scheme: str, host: str = "127.0.0.1") -> str:
        """Return the server's URL by this scheme and name."""
        return f"{scheme}://{host}:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        with self.connected("127.0.0.1", self._behind) as upstream:
            pump(connection, upstream)


def proxied(route: str, authority: Authority, stack: ExitStack) -> dict[str, Any]:
    """Start a proxy where the way leads through one."""
    if route == "direct":
        return {}
    context = authority.context() if route == "secure-tunnel" else None
    return {"proxy_url": stack.enter_context(Proxy(context=context)).url}
