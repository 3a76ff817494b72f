"""The checks of the way to the service: proxy, DNS, TCP, TLS. Nothing of it shows a password."""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_auth_from_url, select_proxy, should_bypass_proxies
from urllib3.util import make_headers
from urllib3.util.ssl_ import create_urllib3_context

from ..stream.failures import describe
from ..validation import check_url
from . import FAILURE
from .output import host_port, printable, shown_uri
from .sources import Connection

PROXY_LOGIN = "Give a user and a password in the proxy's URL: http://USER:PASSWORD@HOST:PORT (percent-encoded)."
_PORTS = {"http": 80, "https": 443}
_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order in which requests looks at them
_FIREWALL = "Is a firewall in the way? Does this network need a proxy (--proxy, HTTPS_PROXY)?"
_NO_PROXY = "Is this the address of an HTTP proxy?"
_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")  # http.client's words
_WRONG_HOST = (62, 64)  # OpenSSL's numbers for a certificate of another name or address
_SOON = 14  # days before a certificate's end from which on that is worth a warning
_PROBE = 2.0  # seconds for finding out whether a port speaks the other protocol


@attrs.frozen
class Finding:
    """
    What a check found.

    Attributes:
        text: What there is.
        fix: What to do about it; ``""`` if nothing has to be done.
        state: ``ok``; ``warn`` for what works and should be looked at; ``fail``; ``skip`` if nothing was checked.
        details: The same for programs.
        code: The exit code that a failure leads to.
    """

    text: str
    fix: str = ""
    state: Literal["ok", "warn", "fail", "skip"] = "ok"
    details: Mapping[str, object] = attrs.field(factory=dict)
    code: int = FAILURE


class CheckFailedError(Exception):
    """A check failed, so the remaining checks are pointless."""

    def __init__(self, text: str, fix: str, details: Mapping[str, object] | None = None, code: int = FAILURE) -> None:
        super().__init__(text)
        self.finding = Finding(text, fix, "fail", details or {}, code)


def findings(checks: Iterable[tuple[str, Callable[[], Finding]]]) -> Iterator[tuple[str, Finding, float]]:
    """Make each check, and yield its name, what it found, and how many seconds it took; skip the rest after trouble."""
    failed = ""
    for name, check in checks:
        began = time.monotonic()
        if failed:
            finding = Finding(f"because {failed} failed", state="skip")
        else:
            try:
                finding = check()
            except CheckFailedError as trouble:
                finding, failed = trouble.finding, name
        yield name, finding, time.monotonic() - began


@attrs.frozen
class Route:
    """
    The way to a host.

    Attributes:
        scheme: That of the service's URL.
        host: The service's host.
        port: The service's port.
        proxy: The proxy's URL; ``""`` without one. May hold a password.
        why: What names the proxy, in words.
    """

    scheme: str
    host: str
    port: int
    proxy: str = attrs.field(repr=False)
    why: str

    @property
    def first_hop(self) -> tuple[str, int]:
        """The host and port that this machine itself connects to."""
        if not self.proxy:
            return self.host, self.port
        parts = urlsplit(self.proxy)
        default = 1080 if parts.scheme.startswith("socks") else _PORTS.get(parts.scheme, 80)
        return parts.hostname or "", parts.port or default

    @property
    def has_tunnel(self) -> bool:
        """Whether a proxy is asked to connect to the service, and passes on what it does not understand."""
        return urlsplit(self.proxy).scheme == "http" and self.scheme == "https"

    @property
    def target(self) -> str:
        """The service's host and port."""
        return printable(host_port(self.host, self.port))

    @property
    def shown_proxy(self) -> str:
        """The proxy in words, without its password; ``""`` without one."""
        return f"the proxy {shown_uri(self.proxy)} ({self.why})" if self.proxy else ""


def route_to(url: str, option: str | None) -> Route:
    """
    Return the way to a URL as requests takes it.

    Raises:
        CheckFailedError: What the option or the environment names as a proxy is no URL. The text does not hold it.
    """
    parts = urlsplit(url)
    to = parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]
    if option:
        return Route(*to, _checked(option, "--proxy"), "from --proxy")
    with requests.Session() as session:
        proxy = select_proxy(url, session.merge_environment_settings(url, {}, True, None, None)["proxies"])
    names = [f"{to[0]}_proxy", f"{to[0].upper()}_PROXY", "all_proxy", "ALL_PROXY"]
    named = next((name for name in names if os.environ.get(name)), "")
    if proxy:
        proxy = proxy if "://" in proxy else f"http://{proxy}"  # as requests does
        named = named or "the system's settings"
        return Route(*to, _checked(proxy, named), f"from {named}")
    if named and should_bypass_proxies(url, no_proxy=None):
        return Route(*to, "", f"NO_PROXY exempts the host from {named}")
    return Route(*to, "", "neither --proxy nor the environment names one")


def _checked(proxy: str, named: str) -> str:
    """Return a proxy's URL if it is one; otherwise parts of a password might later be taken for a host, and shown."""
    scheme, _, rest = proxy.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    try:
        if scheme.lower() not in _PROXY_SCHEMES or "@" in rest[len(authority) :]:
            raise ValueError
        check_url(named, f"http://{rest}")
        "".join(get_auth_from_url(proxy)).encode("latin-1")  # as the header that carries it has to be
    except ValueError:
        fix = "Give one such as http://proxy.example.com:3128, with a user and a password percent-encoded."
        raise CheckFailedError(f"what {named} holds is not the URL of a proxy", fix) from None
    return proxy


class NetworkChecks:
    """Makes the checks of the network in their order; each uses what the earlier ones found."""

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    def proxy(self) -> Finding:
        """Say which proxy is used, and why."""
        self.route = route_to(self._connection.uri, self._connection.proxy)
        if not self.route.proxy:
            return Finding(f"none: {self.route.why}", details={"proxy": None})
        user = ", with a user and a password" if any(get_auth_from_url(self.route.proxy)) else ""
        shown = shown_uri(self.route.proxy)
        return Finding(f"{shown} {self.route.why}{user}", details={"proxy": shown, "why": self.route.why})

    def dns(self) -> Finding:
        """Look up the first host on the way."""
        host, port = self.route.first_hop
        try:
            self._addresses = look_up(host, port, self._timeout)
        except OSError as error:
            whose = (
                f"the proxy's name ({self.route.why})"
                if self.route.proxy
                else f"the name ({self._connection.uri_name})"
            )
            fix = f"Check {whose}, and the name servers of this machine."
            raise CheckFailedError(f"{printable(host)}: {self._reason(error)}", fix) from None
        details = {"host": host, "addresses": self._addresses}
        if self._addresses == [host]:
            return Finding(f"{host} is an address", details=details)
        whose = " (the proxy, which looks up the service)" if self.route.proxy else ""
        return Finding(f"{printable(host)}{whose}: {', '.join(self._addresses)}", details=details)

    def tcp(self) -> Finding:
        """Connect to the first host on the way, and through it if it is a proxy."""
        sock, address, silent = self._connect()
        sock.close()
        port = self.route.first_hop[1]
        text = host_port(address, port)
        details = {"address": address, "port": port, "silent": silent}
        if self.route.has_tunnel:
            text += f" (the proxy), and through it {self.route.target}"
        if silent:
            fix = "Each connection tries those first: repair the route to them, or take them out of the DNS."
            return Finding(f"{text}; not {', '.join(silent)}", fix, "warn", details)
        return Finding(text, details=details)

    def tls(self) -> Finding:
        """Look at the certificate."""
        if self.route.scheme == "http":
            if not self.route.proxy and all(map(_is_loopback, self._addresses)):
                return Finding("not needed: the service is on this machine", state="skip")
            return Finding("none: anyone on the path can read the keys", "Use an https URI.", "warn")
        if self.route.proxy and not self.route.has_tunnel:
            return Finding("part of the next check, with this kind of proxy", state="skip")
        bundle, named = _ca_bundle(self._connection.ca_file)
        context = _trusting(bundle, named)
        try:
            return _judged(self._handshake(context))
        except ssl.SSLCertVerificationError as error:
            raise self._distrust(error, context, named) from None
        except OSError as error:
            raise self._no_tls(error) from None

    def speaks_tls(self) -> bool:
        """Return whether the service's port takes a TLS handshake, which the URI does not ask for."""
        context = _careless()
        try:
            with socket.create_connection((self._addresses[0], self.route.first_hop[1]), _PROBE) as sock:
                context.wrap_socket(sock, server_hostname=self.route.host).close()
        except (OSError, ValueError):
            return False
        return True

    def _speaks_http(self) -> bool:
        try:
            with self._connect()[0] as sock:
                sock.settimeout(_PROBE)
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return sock.recv(5) == b"HTTP/"
        except (OSError, CheckFailedError):
            return False

    def _reason(self, error: OSError) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, ConnectionRefusedError):
            return "nothing listens on this port (connection refused)"
        return describe(error)

    def _connect(self) -> tuple[socket.socket, str, list[str]]:
        """Return a connection to the service, the address that it leads to, and those that did not answer."""
        port = self.route.first_hop[1]
        deadline = time.monotonic() + self._timeout
        silent: list[str] = []
        failure: OSError = TimeoutError()
        for address in self._addresses:
            try:
                left = max(0.01, deadline - time.monotonic())
                sock = socket.create_connection((address, port), left)
            except OSError as error:
                failure = error
                silent.append(address)
                continue
            return (self._tunnel(sock) if self.route.has_tunnel else sock), address, silent
        shown = ", ".join(host_port(address, port) for address in self._addresses)
        whose = f" ({self.route.shown_proxy})" if self.route.proxy else ""
        raise CheckFailedError(f"{shown}{whose}: {self._reason(failure)}", self._no_connection(failure))

    def _no_connection(self, failure: OSError) -> str:
        if not isinstance(failure, ConnectionRefusedError):
            return _FIREWALL
        if self.route.proxy:
            return f"Is the proxy's port right, and does it run? It comes {self.route.why}."
        where = self._connection.uri_name
        return f"Is port {self.route.port} the right one ({where}), and does the service run there?"

    def _tunnel(self, sock: socket.socket) -> socket.socket:
        """Ask the proxy to connect to the service."""
        user, password = get_auth_from_url(self.route.proxy)
        headers = make_headers(proxy_basic_auth=f"{user}:{password}") if user or password else {}
        connection = http.client.HTTPConnection(*self.route.first_hop, timeout=self._timeout)
        connection.set_tunnel(self.route.host, self.route.port, headers)
        connection._create_connection = lambda *_: sock  # type: ignore[attr-defined]
        sock.settimeout(self._timeout)
        try:
            connection.connect()
            return connection.sock
        except (OSError, http.client.HTTPException) as error:
            sock.close()
            raise self._no_tunnel(error) from None

    def _no_tunnel(self, error: Exception) -> CheckFailedError:
        proxy, target = self.route.shown_proxy, self.route.target
        if found := _REFUSED.search(str(error)):
            status = int(found[1])
            fix = {
                407: PROXY_LOGIN, 403: f"Ask those who run the proxy to allow connections to {target}."
            }.get(status, f"Ask those who run the proxy; it has to reach {target}.")  # fmt: skip
            text = f"{proxy} refused a connection to {target} with status {status}"
            return CheckFailedError(text, fix, {"status": status})
        if isinstance(error, TimeoutError):
            return CheckFailedError(f"{proxy} did not answer within {self._timeout:g} s", _NO_PROXY)
        if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
            return CheckFailedError(f"what {proxy} answered is not HTTP", _NO_PROXY)
        return CheckFailedError(f"{proxy} broke the connection off: {describe(error)}", _NO_PROXY)

    def _handshake(self, context: ssl.SSLContext) -> _Told:
        """Begin TLS as the client does, and end it again."""
        sock = self._connect()[0]
        sock.settimeout(self._timeout)
        try:
            return _Told.of(context.wrap_socket(sock, server_hostname=self.route.host))
        finally:
            sock.close()

    def _no_tls(self, error: OSError) -> CheckFailedError:
        if isinstance(error, TimeoutError):
            return CheckFailedError(f"the handshake was not done within {self._timeout:g} s", _FIREWALL)
        if self._speaks_http():
            text = f"{self.route.target} does not speak TLS: it answers in plain HTTP"
            return CheckFailedError(
                text, f"Change the URI ({self._connection.uri_name}): http:// instead of https://, or another port."
            )
        fix = (
            "The server, or something before it, ended the handshake. Does this port speak https, and TLS 1.2 or newer?"
        )
        return CheckFailedError(describe(error), fix)

    def _distrust(self, error: ssl.SSLCertVerificationError, context: ssl.SSLContext, named: str) -> CheckFailedError:
        issuer = printable(self._issuer())
        fix = (
            f"Only the CAs in {named} are trusted. If your company's proxy intercepts TLS, give the proxy's CA "
            "certificate: --ca-file FILE, or REQUESTS_CA_BUNDLE."
        )
        if error.verify_code in _WRONG_HOST:
            fix = f"Is the name of the host right ({self._connection.uri_name})?"
        elif "expired" in error.verify_message or "not yet valid" in error.verify_message:
            fix = "Is this machine's clock right? Else the server needs a new certificate."
        elif self._is_lax(context):
            fix = (
                "A CA in the chain breaks RFC 5280, which Python 3.13 and newer insist on; older Pythons and browsers "
                "do not. Have it issued anew, with critical basicConstraints, keyUsage and key identifiers. Giving the "
                "same CA again does not help; a program may give HTTPConfig an ssl_context without VERIFY_X509_STRICT."
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
            certificate = self._handshake(_careless()).binary
            credulous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            credulous.check_hostname = False
            credulous.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            credulous.load_verify_locations(cadata=certificate)
            return self._handshake(credulous).issuer
        except (OSError, CheckFailedError, ValueError):
            return ""


@attrs.frozen
class _Told:
    """The server's certificate, as a TLS connection shows it."""

    binary: bytes
    content: dict[str, Any]
    version: str

    @classmethod
    def of(cls, secure: ssl.SSLSocket) -> _Told:
        with secure:
            content: Any = secure.getpeercert() or {}
            return cls(secure.getpeercert(binary_form=True) or b"", content, secure.version() or "")

    @property
    def issuer(self) -> str:
        issuer = {name: value for part in self.content.get("issuer", ()) for name, value in part}
        names = [issuer.get(name) for name in ("organizationName", "commonName", "organizationalUnitName")]
        return ", ".join(filter(None, names))

    @property
    def days(self) -> int:
        return int((ssl.cert_time_to_seconds(self.content["notAfter"]) - time.time()) // 86400)


def look_up(host: str, port: int, timeout: float) -> list[str]:
    """
    Return the addresses of a host; an address is its own.

    Raises:
        OSError: There are none. ``TimeoutError``, which is one, if it takes too long.
    """
    try:
        return [str(ipaddress.ip_address(host)) and host]
    except ValueError:
        pass
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)
        except UnicodeError:  # a name that IDNA cannot encode
            found.append(OSError("not the name of a host"))

    # In a thread, because nothing else can limit its time; a look-up that hangs ends with the process.
    thread = threading.Thread(target=ask, name="autoconfig-doctor-dns", daemon=True)
    thread.start()
    thread.join(timeout)
    if not found:
        raise TimeoutError
    if isinstance(found[0], OSError):
        raise found[0]
    return list(dict.fromkeys(str(entry[4][0]) for entry in found[0]))


def _ca_bundle(ca_file: str | None) -> tuple[str, str]:
    """Return the path of the trusted certificates, and who named it."""
    if ca_file:
        return ca_file, "--ca-file"
    for name in _BUNDLES:
        if path := os.environ.get(name):
            return path, name
    return DEFAULT_CA_BUNDLE_PATH, "the default list"


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


def _judged(told: _Told) -> Finding:
    details = {"issuer": told.issuer, "days": told.days, "version": told.version}
    text = f"{told.version}, issued by {printable(told.issuer)}, valid for {told.days} days"
    if told.days < _SOON:
        return Finding(text, "The server needs a new certificate soon.", "warn", details)
    return Finding(text, details=details)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
