"""The check of the service's certificate, and what is wrong with one that is not trusted."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from typing import Any

import attrs
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from ..stream.failures import describe
from .doctor_network import FIREWALL, PROBE, CheckFailedError, Finding, NetworkChecks
from .output import printable
from .sources import Connection

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order in which requests looks at them
_WRONG_HOST = (62, 64)  # OpenSSL's numbers for a certificate of another name or address
_SOON = 14  # days before a certificate's end from which on that is worth a warning
_NO_TLS = "The server, or something before it, ended the handshake. Does this port speak https, and TLS 1.2 or newer?"
_STRICT = (
    "A CA in the chain breaks RFC 5280, which Python 3.13 and newer insist on; older Pythons and browsers do not. Have "
    "it issued anew, with critical basicConstraints, keyUsage and key identifiers. Giving the same CA again does not "
    "help; a program may give HTTPConfig an ssl_context without VERIFY_X509_STRICT."
)


class TLSCheck:
    """Looks at the certificate, through the same proxy as the client."""

    def __init__(self, source: Connection, network: NetworkChecks) -> None:
        self._source = source
        self._network = network

    def certificate(self) -> Finding:
        """Begin TLS as the client does."""
        route = self._network.route
        if route.scheme == "http":
            if not route.proxy and all(map(_is_loopback, self._network.addresses)):
                return Finding("not needed: the service is on this machine", state="skip")
            return Finding("none: anyone on the path can read the keys", "Use an https URI.", "warn")
        if route.proxy and not route.has_tunnel:
            return Finding("part of the next check, with this kind of proxy", state="skip")
        bundle, named = _ca_bundle(self._source.ca_file)
        context = _trusting(bundle, named)
        try:
            return self._handshake(context).finding()
        except ssl.SSLCertVerificationError as error:
            raise self._distrust(error, context, named) from None
        except OSError as error:
            raise self._no_tls(error) from None

    def is_spoken(self) -> bool:
        """Return whether the service's port takes a TLS handshake, which the URI does not ask for."""
        try:
            with socket.create_connection((self._network.addresses[0], self._network.route.port), PROBE) as sock:
                _careless().wrap_socket(sock, server_hostname=self._network.route.host).close()
        except (OSError, ValueError):
            return False
        return True

    def _handshake(self, context: ssl.SSLContext) -> _Certificate:
        """Make a handshake and end the connection."""
        host = self._network.route.host
        with self._network.connect() as sock, context.wrap_socket(sock, server_hostname=host) as secure:
            content: Any = secure.getpeercert() or {}
            return _Certificate(secure.getpeercert(binary_form=True) or b"", content, secure.version() or "")

    def _no_tls(self, error: OSError) -> CheckFailedError:
        if isinstance(error, TimeoutError):
            return CheckFailedError(f"the handshake was not done within {self._network.timeout:g} s", FIREWALL)
        if self._speaks_http():
            fix = f"Change the URI ({self._source.uri_name}): http:// instead of https://, or another port."
            return CheckFailedError(f"{self._network.route.target} does not speak TLS: it answers in plain HTTP", fix)
        return CheckFailedError(describe(error), _NO_TLS)

    def _speaks_http(self) -> bool:
        try:
            with self._network.connect() as sock:
                sock.settimeout(PROBE)
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return sock.recv(5) == b"HTTP/"
        except (OSError, CheckFailedError):
            return False

    def _distrust(self, error: ssl.SSLCertVerificationError, context: ssl.SSLContext, named: str) -> CheckFailedError:
        issuer = printable(self._issuer())
        if error.verify_code in _WRONG_HOST:
            fix = f"Is the name of the host right ({self._source.uri_name})?"
        elif "expired" in error.verify_message or "not yet valid" in error.verify_message:
            fix = "Is this machine's clock right? Else the server needs a new certificate."
        elif self._is_lax(context):
            fix = _STRICT
        else:
            fix = (
                f"Only the CAs in {named} are trusted. If your company's proxy intercepts TLS, give the proxy's CA "
                "certificate: --ca-file FILE, or REQUESTS_CA_BUNDLE."
            )
        by = f"; issued by {issuer}" if issuer else ""
        return CheckFailedError(f"not trusted: {printable(error.verify_message)}{by}", fix, {"issuer": issuer or None})

    def _is_lax(self, context: ssl.SSLContext) -> bool:
        """Return whether the certificate would be trusted without the strictness of Python 3.13."""
        if not context.verify_flags & ssl.VERIFY_X509_STRICT:
            return False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        try:
            self._handshake(context)
        except (OSError, CheckFailedError):
            return False
        return True

    def _issuer(self) -> str:
        """
        Return who issued a certificate that is not trusted; ``""`` if that cannot be learnt.

        Python shows the content of a certificate only if it trusts it. So it is fetched unverified, then trusted, for
        one handshake in which nothing is sent.
        """
        try:
            credulous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            credulous.check_hostname = False
            credulous.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            credulous.load_verify_locations(cadata=self._handshake(_careless()).binary)
            return self._handshake(credulous).issuer
        except (OSError, CheckFailedError, ValueError):
            return ""


@attrs.frozen
class _Certificate:
    """The server's certificate, and the version of TLS."""

    binary: bytes
    content: dict[str, Any]
    version: str

    @property
    def issuer(self) -> str:
        issuer = {name: value for part in self.content.get("issuer", ()) for name, value in part}
        names = [issuer.get(name) for name in ("organizationName", "commonName", "organizationalUnitName")]
        return ", ".join(filter(None, names))

    def finding(self) -> Finding:
        days = int((ssl.cert_time_to_seconds(self.content["notAfter"]) - time.time()) // 86400)
        text = f"{self.version}, issued by {printable(self.issuer)}, valid for {days} days"
        details = {"issuer": self.issuer, "days": days, "version": self.version}
        if days < _SOON:
            return Finding(text, "The server needs a new certificate soon.", "warn", details)
        return Finding(text, details=details)


def _ca_bundle(ca_file: str | None) -> tuple[str, str]:
    """Return the path of the trusted certificates, and who named it."""
    places = [(ca_file, "--ca-file"), *((os.environ.get(name), name) for name in _BUNDLES)]
    return next(((path, name) for path, name in places if path), (DEFAULT_CA_BUNDLE_PATH, "the default list"))


def _trusting(bundle: str, named: str) -> ssl.SSLContext:
    """Return a context like the client's; made before the connection, so that its errors are not the server's."""
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.check_hostname = True
    try:
        context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
    except FileNotFoundError:
        raise CheckFailedError(f"there is no file of the name in {named}", f"Correct {named}.") from None
    except OSError:
        fix = f"Give a file of CA certificates in PEM format: correct {named}."
        raise CheckFailedError(f"{named} holds no usable certificates", fix) from None
    return context


def _careless() -> ssl.SSLContext:
    """Return a context that trusts anybody, for handshakes in which nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
