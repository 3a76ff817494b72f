"""The TLS handshake of ``autoconfig doctor``, and what it tells of the server's certificate."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import attrs
from urllib3.util.ssl_ import create_urllib3_context

from .sockets import TunnelError

_HOST_IS_WRONG = (62, 64)  # OpenSSL's numbers for a certificate of another name or address


@attrs.frozen
class Certificate:
    """
    What is said of a server's certificate.

    Attributes:
        issuer: Who issued it.
        days: For how many days it is still valid.
        version: The version of TLS.
    """

    issuer: str
    days: int
    version: str


def trusting(bundle: str) -> ssl.SSLContext:
    """
    Return a context as the client has it, which trusts the certificates in a file or directory.

    Raises:
        OSError: The file is not there, or cannot be read; :class:`ssl.SSLError` if there is no certificate in it.
    """
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.check_hostname = True
    context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
    return context


def shake_hands(sock: socket.socket, host: str, context: ssl.SSLContext) -> Certificate:
    """
    Begin TLS as the client does, and end it again.

    Raises:
        ssl.SSLError: The certificate is not trusted, or there is no TLS.
        OSError: The connection broke.
    """
    with context.wrap_socket(sock, server_hostname=host) as secure:
        return _certificate(secure)


def untrusted_issuer(connect_again: Callable[[], socket.socket], host: str) -> str:
    """
    Return who issued a certificate that is not trusted; ``""`` if that cannot be learnt.

    Python tells what is in a certificate only if it trusts it. So it is fetched unverified, and then trusted, for one
    handshake in which nothing is sent.
    """
    try:
        careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        careless.check_hostname = False
        careless.verify_mode = ssl.CERT_NONE
        with careless.wrap_socket(connect_again(), server_hostname=host) as secure:
            certificate = secure.getpeercert(binary_form=True) or b""
        credulous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        credulous.check_hostname = False
        credulous.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        credulous.load_verify_locations(cadata=certificate)
        with credulous.wrap_socket(connect_again(), server_hostname=host) as secure:
            return _certificate(secure).issuer
    except (OSError, TunnelError, ValueError):
        return ""


def is_for_another_host(error: ssl.SSLCertVerificationError) -> bool:
    """Return whether a certificate is not trusted because it has other names."""
    return error.verify_code in _HOST_IS_WRONG


def _certificate(secure: ssl.SSLSocket) -> Certificate:
    content: Any = secure.getpeercert() or {}
    issuer = {name: value for part in content.get("issuer", ()) for name, value in part}
    names = [issuer.get(name) for name in ("organizationName", "commonName", "organizationalUnitName")]
    left = ssl.cert_time_to_seconds(content["notAfter"]) - time.time()
    return Certificate(", ".join(filter(None, names)), int(left // 86400), secure.version() or "")
