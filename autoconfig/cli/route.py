"""The way to the service as requests takes it: directly or through a proxy, and which certificates are trusted."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

import attrs
import requests
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_auth_from_url,
    select_proxy,
    should_bypass_proxies,
)
from urllib3.util import make_headers

from ..validation import check_url
from .output import host_port, shown_uri

_PORTS = {"http": 80, "https": 443}
_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # in the order in which requests looks at them


@attrs.frozen
class Route:
    """
    The way to a host.

    Attributes:
        scheme: That of the service's URL.
        host: The service's host.
        port: The service's port.
        proxy: The proxy's URL; ``""`` without one. May hold a password.
        why: Who said so, in words.
    """

    scheme: str
    host: str
    port: int
    proxy: str = attrs.field(repr=False)
    why: str

    @property
    def proxy_scheme(self) -> str:
        """The scheme of the proxy's URL; ``""`` without a proxy."""
        return urlsplit(self.proxy).scheme

    @property
    def first_hop(self) -> tuple[str, int]:
        """The host and port that this machine itself connects to."""
        if not self.proxy:
            return self.host, self.port
        parts = urlsplit(self.proxy)
        default = 1080 if parts.scheme.startswith("socks") else _PORTS.get(parts.scheme, 80)
        return parts.hostname or "", parts.port or default

    @property
    def shown_proxy(self) -> str:
        """The proxy's URL without its password."""
        return shown_uri(self.proxy)

    @property
    def proxy_user(self) -> tuple[str, str]:
        """The user and password for the proxy; empty if its URL has none."""
        user, password = get_auth_from_url(self.proxy)
        return user or "", password or ""

    def tunnel_request(self) -> bytes:
        """Return the request that asks the proxy for a connection to the service."""
        target = host_port(self.host, self.port)
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if any(self.proxy_user):
            headers = make_headers(proxy_basic_auth=":".join(self.proxy_user))
            lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def route_to(url: str, proxy_option: str | None) -> Route:
    """
    Return the way to a URL.

    Args:
        url: The URL.
        proxy_option: What ``--proxy`` says, which wins over the environment.

    Raises:
        ValueError: What the option or the environment names as a proxy is no URL. The text does not hold it.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    if proxy_option:
        return Route(parts.scheme, host, port, _checked(proxy_option, "--proxy"), "from --proxy")
    with requests.Session() as session:
        settings = session.merge_environment_settings(url, {}, True, None, None)
    proxy = select_proxy(url, settings["proxies"])
    if proxy:
        proxy = proxy if "://" in proxy else f"http://{proxy}"  # as requests does
        named = _variable(parts.scheme)
        return Route(parts.scheme, host, port, _checked(proxy, named), f"from {named}")
    named = _variable(parts.scheme, "")
    if named and should_bypass_proxies(url, no_proxy=None):
        return Route(parts.scheme, host, port, "", f"NO_PROXY exempts the host from {named}")
    return Route(parts.scheme, host, port, "", "neither --proxy nor the environment names one")


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
        raise ValueError(f"what {named} holds is not the URL of a proxy") from None
    return proxy


def ca_bundle(ca_file: str | None) -> tuple[str, str]:
    """Return the path of the trusted certificates, and who named it."""
    if ca_file:
        return ca_file, "--ca-file"
    for name in _BUNDLES:
        if path := os.environ.get(name):
            return path, name
    return DEFAULT_CA_BUNDLE_PATH, "the default list"


def _variable(scheme: str, otherwise: str = "the system's settings") -> str:
    """Return the variable that names the proxy for a scheme."""
    names = [f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"]
    return next((name for name in names if os.environ.get(name)), otherwise)
