"""The checks of the way to the service: proxy, DNS, TCP, TLS. Nothing of it shows a password."""

from __future__ import annotations

import ipaddress
import ssl

import attrs

from ..stream.connection import endpoint
from ..stream.failures import describe
from .connection import Connection
from .findings import Finding, TroubleError
from .handshake import Certificate, is_for_another_host, shake_hands, trusting, untrusted_issuer
from .hop import Hop
from .output import host_port, printable
from .route import ca_bundle, route_to
from .sockets import is_address, look_up

_SOON = 14  # days before a certificate's end from which on that is worth a warning


class NetworkChecks:
    """
    Looks at one step after the other; each relies on what the ones before it have found.

    Args:
        way: What was asked for.
        timeout: Seconds that each check may take.
    """

    def __init__(self, way: Connection, timeout: float) -> None:
        self._way = way
        self._timeout = timeout

    def proxy(self) -> Finding:
        """Say which proxy is used, and why."""
        try:
            self._route = route_to(endpoint(self._way.uri, 2), self._way.http_config.proxy_url)
        except ValueError as error:
            fix = "Give one such as http://proxy.example.com:3128, with a user and a password percent-encoded."
            raise TroubleError(str(error), fix) from None
        if not self._route.proxy:
            return Finding(f"none: {self._route.why}", details={"proxy": None})
        user = ", with a user and a password" if any(self._route.proxy_user) else ""
        text = f"{self._route.shown_proxy} {self._route.why}{user}"
        return Finding(text, details={"proxy": self._route.shown_proxy, "why": self._route.why})

    def dns(self) -> Finding:
        """Look up the first host on the way."""
        host, port = self._route.first_hop
        try:
            addresses = look_up(host, port, self._timeout)
        except OSError as error:
            reason = f"no answer within {self._timeout:g} s" if isinstance(error, TimeoutError) else describe(error)
            whose = f"the proxy's name ({self._route.why})" if self._route.proxy else f"the name ({self._way.uri_from})"
            fix = f"Check {whose}, and the name servers of this machine."
            raise TroubleError(f"{printable(host)}: {reason}", fix) from None
        self._hop = Hop(self._route, addresses, self._timeout)
        details = {"host": host, "addresses": addresses}
        if is_address(host):
            return Finding(f"{host} is an address", details=details)
        whose = " (the proxy, which looks up the service)" if self._route.proxy else ""
        return Finding(f"{printable(host)}{whose}: {', '.join(addresses)}", details=details)

    def tcp(self) -> Finding:
        """Connect to the first host on the way, and through it if it is a proxy."""
        with self._hop.connected() as (_, address, silent):
            pass
        port = self._route.first_hop[1]
        text = host_port(address, port)
        details = {"address": address, "port": port, "silent": silent}
        if self._hop.has_tunnel:
            text += f" (the proxy), and through it {printable(host_port(self._route.host, self._route.port))}"
        if silent:
            fix = "Each connection tries those first: repair the route to them, or take them out of the DNS."
            return Finding(f"{text}; not {', '.join(silent)}", fix, "warn", details)
        return Finding(text, details=details)

    def tls(self) -> Finding:
        """Look at the certificate."""
        if self._route.scheme == "http":
            return self._unencrypted()
        if self._route.proxy and not self._hop.has_tunnel:
            return Finding("part of the next check, with this kind of proxy", state="skip")
        ca_certs = self._way.http_config.ca_certs
        bundle, named = ca_bundle(ca_certs[0] if ca_certs else None)
        context = _trusting(bundle, named)
        try:
            with self._hop.connected() as (sock, *_):
                return _judged(shake_hands(sock, self._route.host, context))
        except ssl.SSLCertVerificationError as error:
            raise self._distrust(error, named) from None
        except ssl.SSLError as error:
            fix = "Does this port speak https, and TLS 1.2 or newer? Is the scheme of the URI right?"
            raise TroubleError(describe(error), fix) from None
        except OSError as error:
            fix = "The server, or something before it, ended the handshake. Does this port speak https?"
            raise TroubleError(describe(error), fix) from None

    def _unencrypted(self) -> Finding:
        if not self._route.proxy and all(map(_is_loopback, self._hop.addresses)):
            return Finding("not needed: the service is on this machine", state="skip")
        return Finding("none: anyone on the path can read the keys", "Use an https URI.", "warn")

    def _distrust(self, error: ssl.SSLCertVerificationError, named: str) -> TroubleError:
        issuer = printable(untrusted_issuer(self._hop.open, self._route.host))
        fix = (
            f"Only the CAs in {named} are trusted. If your company's proxy intercepts TLS, give the "
            "proxy's CA certificate: --ca-file FILE, or REQUESTS_CA_BUNDLE."
        )
        if is_for_another_host(error):
            fix = f"Is the name of the host right ({self._way.uri_from})?"
        elif "expired" in error.verify_message or "not yet valid" in error.verify_message:
            fix = "Is this machine's clock right? Else the server needs a new certificate."
        by = f"; issued by {issuer}" if issuer else ""
        return TroubleError(f"not trusted: {printable(error.verify_message)}{by}", fix, {"issuer": issuer or None})


def _trusting(bundle: str, named: str) -> ssl.SSLContext:
    # Before a connection is made, so that what is wrong with the file is not taken for the server's doing.
    try:
        return trusting(bundle)
    except FileNotFoundError:
        raise TroubleError(f"there is no file of the name in {named}", f"Correct {named}.") from None
    except OSError:
        fix = f"Give a file of CA certificates in PEM format: correct {named}."
        raise TroubleError(f"{named} holds no usable certificates", fix) from None


def _judged(certificate: Certificate) -> Finding:
    details = attrs.asdict(certificate)
    text = f"{certificate.version}, issued by {printable(certificate.issuer)}, valid for {certificate.days} days"
    if certificate.days < _SOON:
        return Finding(text, "The server needs a new certificate soon.", "warn", details)
    return Finding(text, details=details)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
