"""The checks of the way to the service: proxy, DNS, TCP. Nothing of it shows a password."""

from __future__ import annotations

import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import requests
from requests.utils import get_auth_from_url, select_proxy, should_bypass_proxies
from urllib3.util import make_headers

from ..stream.failures import describe
from ..validation import check_url
from . import FAILURE
from .output import CommandError, harmless, host_port, printable, shown_uri
from .sources import Connection, Source

FIREWALL = "Is a firewall in the way? Does this network need a proxy (--proxy, HTTPS_PROXY)?"
PROXY_LOGIN = "Give a user and a password in the proxy's URL: http://USER:PASSWORD@HOST:PORT (percent-encoded)."
PROBE = 2.0  # seconds for finding out whether a port speaks the other protocol
_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_NO_PROXY = "Is this the address of an HTTP proxy?"
_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")  # http.client's words


@attrs.frozen
class Finding:
    """What a check found, for people and for programs."""

    text: str
    fix: str = ""  # what to do about it
    state: Literal["ok", "warn", "fail", "skip"] = "ok"  # "warn" is for what works and should be looked at
    details: Mapping[str, object] = attrs.field(factory=dict)
    code: int = FAILURE  # the exit code that a failure leads to


class CheckFailedError(Exception):
    """A check failed, so the remaining checks are pointless."""

    def __init__(self, text: str, fix: str, details: Mapping[str, object] | None = None, code: int = FAILURE) -> None:
        super().__init__(text)
        self.finding = Finding(text, fix, "fail", details or {}, code)


Check = tuple[str, Callable[[], Finding]]
"""The name of a check, and the function that makes it."""


def findings(checks: Iterable[Check]) -> Iterator[tuple[str, Finding, float]]:
    """Make each check, and yield its name, what it found, and how many seconds it took; skip the rest after trouble."""
    failed = ""
    for name, check in checks:
        began = time.monotonic()
        try:
            finding = Finding(f"because {failed} failed", state="skip") if failed else check()
        except CheckFailedError as trouble:
            finding, failed = trouble.finding, name
        yield name, finding, time.monotonic() - began


def checked_source(source: Callable[[], Source]) -> Any:
    """Return the source; fail if the options do not name one."""
    try:
        return source()
    except CommandError as error:
        raise CheckFailedError(harmless(str(error)), harmless(error.fix), code=error.code) from None


@attrs.frozen
class Route:
    """The way to the service: its scheme, host and port, and the proxy."""

    scheme: str
    host: str
    port: int
    proxy: str = attrs.field(repr=False)  # its URL, which may hold a password; "" without one
    why: str  # what names the proxy, in words

    @property
    def first_hop(self) -> tuple[str, int]:
        """The host and port that this machine itself connects to."""
        parts = urlsplit(self.proxy)
        return (parts.hostname or "", parts.port or _PORTS[parts.scheme]) if self.proxy else (self.host, self.port)

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
        if scheme.lower() not in _PORTS or "@" in rest[len(authority) :]:
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
        self.timeout = timeout

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
        proxy = self.route.proxy
        try:
            self.addresses = look_up(host, port, self.timeout)
        except OSError as error:
            whose = f"the proxy's name ({self.route.why})" if proxy else f"the name ({self._connection.uri_name})"
            fix = f"Check {whose}, and the name servers of this machine."
            raise CheckFailedError(f"{printable(host)}: {self._reason(error)}", fix) from None
        details = {"host": host, "addresses": self.addresses}
        if self.addresses == [host]:
            return Finding(f"{host} is an address", details=details)
        whose = " (the proxy, which looks up the service)" if proxy else ""
        return Finding(f"{printable(host)}{whose}: {', '.join(self.addresses)}", details=details)

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

    def connect(self) -> socket.socket:
        """Return a connection to the service, through the proxy if there is one."""
        return self._connect()[0]

    def _connect(self) -> tuple[socket.socket, str, list[str]]:
        """Return a connection to the service, the address that it leads to, and those that did not answer."""
        port = self.route.first_hop[1]
        deadline = time.monotonic() + self.timeout
        failure: OSError = TimeoutError()
        for number, address in enumerate(self.addresses):
            try:
                sock = socket.create_connection((address, port), max(0.01, deadline - time.monotonic()))
            except OSError as error:
                failure = error
                continue
            sock.settimeout(self.timeout)
            return (self._tunnel(sock) if self.route.has_tunnel else sock), address, self.addresses[:number]
        shown = ", ".join(host_port(address, port) for address in self.addresses)
        whose = f" ({self.route.shown_proxy})" if self.route.proxy else ""
        raise CheckFailedError(f"{shown}{whose}: {self._reason(failure)}", self._no_connection(failure))

    def _reason(self, error: OSError) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self.timeout:g} s"
        if isinstance(error, ConnectionRefusedError):
            return "nothing listens on this port (connection refused)"
        return describe(error)

    def _no_connection(self, failure: OSError) -> str:
        if not isinstance(failure, ConnectionRefusedError):
            return FIREWALL
        if self.route.proxy:
            return f"Is the proxy's port right, and does it run? It comes {self.route.why}."
        where = self._connection.uri_name
        return f"Is port {self.route.port} the right one ({where}), and does the service run there?"

    def _tunnel(self, sock: socket.socket) -> socket.socket:
        """Ask the proxy to connect to the service."""
        user, password = get_auth_from_url(self.route.proxy)
        headers = make_headers(proxy_basic_auth=f"{user}:{password}") if user or password else {}
        connection = http.client.HTTPConnection(*self.route.first_hop)
        connection.set_tunnel(self.route.host, self.route.port, headers)
        connection._create_connection = lambda *_: sock  # type: ignore[attr-defined]
        try:
            connection.connect()
            return connection.sock
        except (OSError, http.client.HTTPException) as error:
            sock.close()
            raise self._no_tunnel(error) from None

    def _no_tunnel(self, error: Exception) -> CheckFailedError:
        proxy, target = self.route.shown_proxy, self.route.target
        if found := _REFUSED.search(str(error)):
            fixes = {"407": PROXY_LOGIN, "403": f"Ask those who run the proxy to allow connections to {target}."}
            fix = fixes.get(found[1], f"Ask those who run the proxy; it has to reach {target}.")
            text = f"{proxy} refused a connection to {target} with status {found[1]}"
            return CheckFailedError(text, fix, {"status": int(found[1])})
        if isinstance(error, TimeoutError):
            return CheckFailedError(f"{proxy} did not answer within {self.timeout:g} s", _NO_PROXY)
        if isinstance(error, OSError):
            return CheckFailedError(f"{proxy} broke the connection off: {describe(error)}", _NO_PROXY)
        return CheckFailedError(f"what {proxy} answered is not HTTP", _NO_PROXY)


def look_up(host: str, port: int, timeout: float) -> list[str]:
    """
    Return the addresses of a host; an address is its own.

    Raises:
        OSError: There are none. ``TimeoutError``, which is one, if it takes too long.
    """
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
