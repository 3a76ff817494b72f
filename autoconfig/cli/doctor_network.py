"""What the doctor's checks return, and its checks of the way to the service, up to TLS. Nothing shows a password."""

from __future__ import annotations

import concurrent.futures
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import attrs
from requests.adapters import HTTPAdapter
from requests.utils import get_auth_from_url, get_environ_proxies, select_proxy, should_bypass_proxies

from ..config import HTTPConfig
from ..daemon_threads import daemon_thread
from ..identifiers import mask
from ..stream.cancel import CancelToken
from ..stream.failures import ExplainedError, describe
from ..stream.transport import TLSContexts
from ..validation import check_url
from . import FAILURE
from .output import CommandError, harmless, host_port, printable, shown_uri
from .sources import Connection

PROXY_LOGIN = "Give a user and a password in the proxy's URL: http://USER:PASSWORD@HOST:PORT (percent-encoded)."
_PROXY_URL = "Give one such as http://proxy.example.com:3128, with a user and a password percent-encoded."
_NO_PROXY = "Is this the address of an HTTP proxy?"
_TUNNEL_FIXES = {"407": PROXY_LOGIN, "403": "Ask those who run the proxy to allow connections to {target}."}
_OTHER_TUNNEL_FIX = "Ask those who run the proxy; it has to reach {target}."
_WRONG_KIND = "The key of an auto-configuration profile begins with rel-; no SDK key or API token will do."
_SILENT = "Each connection tries the silent addresses first: repair the route to them, or take them out of the DNS."
_FIREWALL = "Is a firewall in the way? Does this network need a proxy (--proxy, HTTPS_PROXY)?"
_NO_TLS = "The server, or something before it, ended the handshake. Does this port speak https, and TLS 1.2 or newer?"
_CLOCK = "Is this machine's clock right? If it is, the server needs a new certificate."
_WRONG_HOST = "Is the name of the host right ({uri_name})?"
_SELF_SIGNED = "If this is the right server, trust its certificate, which no CA has signed: --ca-file FILE."
_UNKNOWN_CA = (
    "Only the CAs in {named} are trusted. If your company's proxy intercepts TLS, give the proxy's CA certificate: "
    "--ca-file FILE, or REQUESTS_CA_BUNDLE."
)
_STRICT = (
    "A CA in the chain breaks RFC 5280, which Python 3.13 and newer insist on; older Pythons and browsers do not. Have "
    "it reissued, with critical basicConstraints, keyUsage and key identifiers. Giving the same CA again does not "
    "help; a program may give HTTPConfig an ssl_context without VERIFY_X509_STRICT."
)
_NO_CA = (
    "A certificate that is not marked as a CA's has issued another one. Have it reissued, with critical "
    "basicConstraints; Python 3.13 and newer insist on the mark in old root certificates too."
)
# By OpenSSL's numbers. 80 to 94: the certificate breaks a rule of RFC 5280 that only strict verification checks.
_DISTRUST_FIXES = {9: _CLOCK, 10: _CLOCK, 18: _SELF_SIGNED, 62: _WRONG_HOST, 64: _WRONG_HOST, 79: _NO_CA}
_DISTRUST_FIXES |= dict.fromkeys(range(80, 95), _STRICT)
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order in which requests looks at them
_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")  # http.client's words
_TIMEOUTS = (TimeoutError, concurrent.futures.TimeoutError)  # one and the same since Python 3.11
_PROBE = 2.0  # seconds for finding out whether a port speaks the other protocol
_SOON = 14  # days: a certificate that expires sooner is worth a warning


@attrs.frozen
class Finding:
    """What a check found, for people and for programs."""

    text: str = attrs.field(converter=printable)
    fix: str = attrs.field(default="", converter=printable)  # what to do about it
    details: Mapping[str, object] = attrs.field(factory=dict)
    # A check that succeeds, but has a fix, is a warning.
    state: str = attrs.field(default=attrs.Factory(lambda self: "warn" if self.fix else "ok", takes_self=True))
    code: int = FAILURE  # the exit code that a failure leads to


class CheckFailedError(Exception):
    """A check failed, so the remaining checks are pointless."""

    def __init__(self, text: str, fix: str, details: Mapping[str, object] | None = None, code: int = FAILURE) -> None:
        super().__init__(text)
        self.finding = Finding(text, fix, details or {}, "fail", code)


Check = tuple[str, Callable[[], Finding]]
"""The name of a check, and the function that makes it."""


def findings(checks: Iterable[Check]) -> Iterator[tuple[str, Finding, float]]:
    """Make each check; yield its name, what it found, and how many seconds it took. After a failure, skip the rest."""
    failed = ""
    for name, check in checks:
        began = time.monotonic()
        try:
            finding = Finding(f"because {failed} failed", state="skip") if failed else check()
        except CheckFailedError as trouble:
            finding, failed = trouble.finding, name
        except CommandError as error:
            finding, failed = Finding(harmless(str(error)), harmless(error.fix), {}, "fail", error.code), name
        yield name, finding, time.monotonic() - began


class NetworkChecks:
    """
    The checks from the options to TLS, which connect as the client does. Each uses what the earlier ones found.

    Attributes:
        source: What the options name.
        target: The service's host and port.
        through: ``", through the proxy …"``, without its password; ``""`` without a proxy.
    """

    def __init__(self, options: Callable[[], Any], timeout: float) -> None:
        self._options = options
        self._timeout = timeout

    def checks(self) -> Iterator[Check]:
        """Yield the name of each check and the function that makes it."""
        yield "configuration", self._configuration
        yield "proxy", self._proxy
        yield "dns", self._dns
        yield "tcp", self._tcp
        yield "tls", self._tls

    def _configuration(self) -> Finding:
        self.source: Connection = self._options()
        uri, uri_name, key, key_name = self.source.name, self.source.uri_name, self.source.key, self.source.key_name
        details = {"uri": uri, "uri_from": uri_name, "key": mask(key), "key_from": key_name}
        fix = "" if key.startswith("rel-") else _WRONG_KIND
        return Finding(f"{uri} ({uri_name}), key {mask(key)} ({key_name})", fix, details)

    def _proxy(self) -> Finding:
        service = urlsplit(self.source.uri)
        self._host, self._port = service.hostname or "", service.port or _PORTS[service.scheme]
        self._is_plain = service.scheme == "http"
        self.target = host_port(self._host, self._port)
        self._proxy_url, self._why = _proxy_for(self.source.uri, self.source.proxy)
        if not self._proxy_url:
            self._first_hop, self._has_tunnel, self.through = (self._host, self._port), False, ""
            return Finding(f"none: {self._why}", details={"proxy": None})
        proxy, shown = urlsplit(self._proxy_url), shown_uri(self._proxy_url)
        self._first_hop = proxy.hostname or "", proxy.port or _PORTS[proxy.scheme]
        self._has_tunnel = proxy.scheme == "http" and not self._is_plain  # it passes TLS on unchanged
        self._proxy_words = f"the proxy {shown} ({self._why})"
        self.through = f", through {self._proxy_words}"
        user = ", with a user and a password" if any(get_auth_from_url(self._proxy_url)) else ""
        return Finding(f"{shown} {self._why}{user}", details={"proxy": shown, "why": self._why})

    def _dns(self) -> Finding:
        host, port = self._first_hop
        try:
            self._addresses = _look_up(host, port, self._timeout)
        except (OSError, UnicodeError, *_TIMEOUTS) as error:
            whose = f"the proxy's name ({self._why})" if self._proxy_url else f"the name ({self.source.uri_name})"
            fix = f"Check {whose}, and the name servers of this machine."
            raise CheckFailedError(f"{host}: {self._reason(error)}", fix) from None
        details = {"host": host, "addresses": self._addresses}
        if self._addresses == [host]:
            return Finding(f"{host} is an address", details=details)
        whose = " (the proxy, which looks up the service)" if self._proxy_url else ""
        return Finding(f"{host}{whose}: {', '.join(self._addresses)}", details=details)

    def _tcp(self) -> Finding:
        self._connect().close()
        silent, address, port = self._silent, self._addresses[len(self._silent)], self._first_hop[1]
        text = host_port(address, port)
        if self._has_tunnel:
            text += f" (the proxy), and through it {self.target}"
        if silent:
            text += f"; not {', '.join(silent)}"
        return Finding(text, _SILENT if silent else "", {"address": address, "port": port, "silent": silent})

    def _connect(self, timeout: float | None = None) -> socket.socket:
        """Connect to the first address that answers, and through a proxy to the service; note the silent addresses."""
        port = self._first_hop[1]
        timeout = timeout or self._timeout
        deadline = time.monotonic() + timeout
        failure: Exception = TimeoutError()
        for number, address in enumerate(self._addresses):
            connection = http.client.HTTPConnection(address, port, timeout=max(0.01, deadline - time.monotonic()))
            if self._has_tunnel:
                connection.set_tunnel(self._host, self._port, HTTPAdapter().proxy_headers(self._proxy_url))
            try:
                connection.connect()
            except (OSError, http.client.HTTPException) as error:
                if connection.sock or _REFUSED.search(str(error)):  # the proxy was reached
                    connection.close()
                    raise self._no_tunnel(error) from None
                failure = error
                continue
            self._silent = self._addresses[:number]
            connection.sock.settimeout(timeout)
            return connection.sock
        raise self._no_connection(failure)

    def _no_connection(self, failure: Exception) -> CheckFailedError:
        port = self._first_hop[1]
        where = ", ".join(host_port(address, port) for address in self._addresses)
        fix = f"Is port {port} the right one ({self.source.uri_name}), and does the service run there?"
        if self._proxy_url:
            where += f" ({self._proxy_words})"
            fix = f"Is the proxy's port right, and does it run? It comes {self._why}."
        refused = isinstance(failure, ConnectionRefusedError)
        return CheckFailedError(f"{where}: {self._reason(failure)}", fix if refused else _FIREWALL)

    def _no_tunnel(self, error: Exception) -> CheckFailedError:
        fix, details = _NO_PROXY, {}
        if found := _REFUSED.search(str(error)):
            details["status"] = int(found[1])
            fix = _TUNNEL_FIXES.get(found[1], _OTHER_TUNNEL_FIX).format(target=self.target)
        return CheckFailedError(f"{self._proxy_words}: {self._reason(error)}", fix, details)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, _TIMEOUTS):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, ConnectionRefusedError):
            return "nothing listens on this port (connection refused)"
        if isinstance(error, UnicodeError):  # IDNA cannot encode it
            return "this is not the name of a host"
        return describe(error)

    def _tls(self) -> Finding:
        if self._is_plain and not self._proxy_url and all(ip_address(one).is_loopback for one in self._addresses):
            return Finding("not needed: the service is on this machine", state="skip")
        if self._is_plain:
            return Finding("none: anyone on the path can read the keys", "Use an https URI.")
        if self._proxy_url and not self._has_tunnel:
            return Finding("part of the next check, with this kind of proxy", state="skip")
        context, named = _trusting(self.source.ca_file)
        try:
            certificate, _, version = self._handshake(context)
        except ssl.SSLCertVerificationError as error:
            raise self._distrust(error, named) from None
        except OSError as error:
            raise self._no_tls(error) from None
        days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // 86400)
        details = {"issuer": _issuer(certificate), "days": days, "version": version}
        fix = "The server needs a new certificate soon." if days < _SOON else ""
        return Finding(f"{version}, issued by {_issuer(certificate)}, valid for {days} days", fix, details)

    def _handshake(self, context: ssl.SSLContext, timeout: float | None = None) -> tuple[Any, bytes, Any]:
        """Make a handshake; return the certificate, which is empty if it is not verified, its bytes and the version."""
        with self._connect(timeout) as sock, context.wrap_socket(sock, server_hostname=self._host) as tls:
            return tls.getpeercert(), tls.getpeercert(binary_form=True) or b"", tls.version()

    def _no_tls(self, error: OSError) -> CheckFailedError:
        if self._speaks_http():
            fix = f"Change the URI ({self.source.uri_name}): http:// instead of https://, or another port."
            return CheckFailedError(f"{self.target} does not speak TLS: it answers in plain HTTP", fix)
        fix = _FIREWALL if isinstance(error, TimeoutError) else _NO_TLS
        return CheckFailedError(f"{self.target}: {self._reason(error)}", fix)

    def _speaks_http(self) -> bool:
        with suppress(OSError, CheckFailedError), self._connect(_PROBE) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return sock.recv(5) == b"HTTP/"
        return False

    def needs_tls(self) -> bool:
        """Return whether the service's port takes a TLS handshake, though the URI asks for plain HTTP."""
        if self._is_plain and not self._proxy_url:
            with suppress(OSError, CheckFailedError):
                return bool(self._handshake(_contexts().get(False), _PROBE))
        return False

    def _distrust(self, error: ssl.SSLCertVerificationError, named: str) -> CheckFailedError:
        issuer = self._unknown_issuer()
        text = f"not trusted: {error.verify_message}{issuer and f'; issued by {issuer}'}"
        fix = _DISTRUST_FIXES.get(error.verify_code, _UNKNOWN_CA).format(uri_name=self.source.uri_name, named=named)
        return CheckFailedError(text, fix, {"issuer": issuer or None})

    def _unknown_issuer(self) -> str:
        """
        Return who issued a certificate that is not trusted; ``""`` if that cannot be learnt.

        Python shows the content of a certificate only if it trusts that certificate. So the certificate is fetched
        unverified, and then trusted for one handshake in which nothing is sent.
        """
        context = _contexts().get(False)
        with suppress(OSError, CheckFailedError, ValueError):
            context.load_verify_locations(cadata=self._handshake(context)[1])
            context.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN
            context.verify_mode = ssl.CERT_REQUIRED
            return _issuer(self._handshake(context)[0])
        return ""


def _proxy_for(url: str, option: str | None) -> tuple[str, str]:
    """Return the proxy that requests takes for a URL, or ``""``, and why."""
    scheme = urlsplit(url).scheme
    variables = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    named = "--proxy" if option else next((name for name in variables if os.environ.get(name)), "")
    if proxy := option or select_proxy(url, get_environ_proxies(url)):
        named = named or "the system's settings"
        proxy = proxy if "://" in proxy else f"http://{proxy}"  # as requests does
        _check_proxy(proxy, named)
        return proxy, f"from {named}"
    if named and should_bypass_proxies(url, no_proxy=None):
        return "", f"NO_PROXY exempts the host from {named}"
    return "", "neither --proxy nor the environment names one"


def _check_proxy(proxy: str, named: str) -> None:
    """Check that a proxy's URL is one; otherwise parts of a password might later be taken for a host, and shown."""
    scheme, _, rest = proxy.partition("://")
    try:
        if scheme.lower() not in _PORTS or shown_uri(proxy).endswith("…"):
            raise ValueError
        check_url(named, f"http://{rest}")
        "".join(get_auth_from_url(proxy)).encode("latin-1")  # as the header that carries it has to be
    except ValueError:
        raise CheckFailedError(f"what {named} holds is not the URL of a proxy", _PROXY_URL) from None


def _look_up(host: str, port: int, timeout: float) -> list[str]:
    """Return the addresses of a host; of an address, itself."""
    answer: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)

    # In a thread, because nothing else can limit its time; a look-up that hangs ends with the process.
    daemon_thread("autoconfig-doctor-dns", ask).start()
    return list(dict.fromkeys(str(entry[4][0]) for entry in answer.result(timeout)))


def _trusting(ca_file: str | None) -> tuple[ssl.SSLContext, str]:
    """Return the client's TLS context, and what names the CAs that it trusts."""
    places = {"--ca-file": ca_file, **{name: os.environ.get(name) for name in _BUNDLES}}
    named, bundle = next(((name, path) for name, path in places.items() if path), ("the default list", True))
    try:
        return _contexts().get(bundle), named
    except ExplainedError as error:
        fix = f"Give a file of CA certificates in PEM format: correct {named}."
        raise CheckFailedError(f"{named}: {error}", fix) from None


def _contexts() -> TLSContexts:
    return TLSContexts(HTTPConfig(), CancelToken())


def _issuer(certificate: dict[str, Any]) -> str:
    names = dict(pair for part in certificate.get("issuer", ()) for pair in part)
    shown = [names.get(name) for name in ("organizationName", "commonName", "organizationalUnitName")]
    return printable(", ".join(filter(None, shown)))
