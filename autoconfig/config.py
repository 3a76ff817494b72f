"""``HTTPConfig`` and ``RetryPolicy``: frozen options that check their values when they are made."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import attrs
import requests

from .frozen import FrozenDict
from .validation import (
    check_callable,
    check_header_value,
    check_instance,
    check_number,
    check_seconds,
    check_url,
    is_header_name,
)

Path = str | os.PathLike[str]

_SOCKS = frozenset({"socks5", "socks5h"})
# What the protocol itself sets; overriding these could only break the stream or replace the key.
_RESERVED_HEADERS = frozenset({"accept", "accept-encoding", "authorization", "cache-control", "host", "last-event-id"})


def _positive(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
    check_seconds(attribute.name, value)


def _not_negative(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
    check_seconds(attribute.name, value, zero=True)


def _ratio(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= check_number(attribute.name, value) <= 1:
        raise ValueError(f"{attribute.name} must be from 0 to 1, not {value}")


@attrs.frozen
class RetryPolicy:
    """
    How long to wait before the next attempt to connect.

    The first delay is the manager's ``initial_retry_delay`` (or ``HandlerErrors.initial_delay``), or what the service's
    last ``retry:`` line said, but not less than half a second unless the manager's own first delay is. It doubles with
    each attempt. After an answer that a retry is unlikely to change (4xx except 400, 408 and 429), the first delay is
    300 times as long, and the longest is 120 times ``max_delay``.

    Attributes:
        max_delay: The longest delay, in seconds.
        jitter: The largest part of a delay that is taken off at random, from 0 (none) to 1 (all), so that many clients
            do not return at the same moment.
        reset_after: For how many seconds the stream must have been good before the delay starts again at the first
            one. The time of each connection that delivered at least one message counts, and is added up, so that a
            proxy that cuts each after 55 s does no harm. One that ends right after its first message adds next to
            nothing.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is out of its range; the text names the field.
    """

    max_delay: float = attrs.field(default=30.0, validator=_positive)
    jitter: float = attrs.field(default=0.5, validator=_ratio)
    reset_after: float = attrs.field(default=60.0, validator=_not_negative)


def _to_paths(name: str, value: Path | Iterable[Path] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str | os.PathLike):
        value = (value,)
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a path or several, not {type(value).__name__}")
    return tuple(_to_path(name, one) for one in value)


def _to_path(name: str, value: Path) -> str:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path or several, not {type(value).__name__}")
    return os.fspath(value)


def _to_ca_certs(value: Path | Iterable[Path] | None) -> tuple[str, ...] | None:
    return _to_paths("ca_certs", value)


def _to_client_cert(value: Path | tuple[Path, Path] | None) -> str | tuple[str, ...] | None:
    paths = _to_paths("client_cert", value)
    return paths[0] if paths and len(paths) == 1 else paths


def _existing(_: Any, attribute: attrs.Attribute[Any], value: str | tuple[str, ...] | None) -> None:
    if value is None:
        return
    paths = (value,) if isinstance(value, str) else value
    if not paths or not all(paths):
        raise ValueError(f"{attribute.name} must name at least one file and no empty path")
    if attribute.name == "client_cert" and len(paths) > 2:
        raise ValueError("client_cert must be a path or a pair of certificate and key")
    for path in paths:
        if not os.path.exists(path):
            # A value of several lines is a certificate or a key in place of its path.
            shown = "of that name" if "\n" in path else repr(path)
            raise ValueError(f"{attribute.name}: there is no file {shown}")


def _proxy_url(_: Any, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is None:
        return
    scheme = str(value).partition("://")[0].lower()
    if scheme not in _SOCKS:
        check_url(attribute.name, value, "an http://, https://, socks5:// or socks5h://")
        return
    check_url(attribute.name, f"http{value[len(scheme) :]}", f"a {scheme}://")
    if not find_spec("socks"):
        raise ValueError(f"{attribute.name}: a SOCKS proxy needs PySocks: pip install 'ld-autoconfig[socks]'")


def _tls_context(config: HTTPConfig, attribute: attrs.Attribute[Any], value: ssl.SSLContext | None) -> None:
    if value is None:
        return
    check_instance(attribute.name, value, ssl.SSLContext)
    if config.ca_certs or config.client_cert:
        raise ValueError("ssl_context is used as it is: load ca_certs and client_cert into it instead of giving both")


def _key_password(config: HTTPConfig, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is None:
        return
    if not check_instance(attribute.name, value, str):
        raise ValueError(f"{attribute.name} must not be empty")
    if not config.client_cert:
        raise ValueError(f"{attribute.name} is for the key in client_cert, which is not given")


def _to_headers(value: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"headers must be a mapping, not {type(value).__name__}")
    return FrozenDict(value)


def _headers(_: Any, attribute: attrs.Attribute[Any], value: Mapping[str, str]) -> None:
    for name, text in value.items():
        if not is_header_name(check_instance("the name of a header", name, str)):
            raise ValueError(f"headers: {name!r} is not the name of a header")
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f"headers: {name} is set by the protocol and cannot be replaced")
        check_header_value(f"headers[{name!r}]", text)


def _header_value(_: Any, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None:
        check_header_value(attribute.name, value)


def _size(_: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if check_instance(attribute.name, value, int) <= 0:
        raise ValueError(f"{attribute.name} must be more than zero, not {value}")


def _mask_url(url: str | None) -> str:
    if url is None:
        return "None"
    parts = urlsplit(url)
    userinfo = "…@" if "@" in parts.netloc else ""
    return repr(f"{parts.scheme}://{userinfo}{parts.netloc.rpartition('@')[2]}")


def _mask_headers(headers: Mapping[str, str]) -> str:
    return repr(dict.fromkeys(headers, "…"))


def _mask_text(text: str | None) -> str:
    return "None" if text is None else "'…'"


def _callable(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        check_callable(attribute.name, value)


@attrs.frozen
class HTTPConfig:
    """
    How to reach the service.

    Anything that is not set here comes from the environment: ``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE`` and
    so on.

    Attributes:
        proxy_url: The ``http://`` or ``https://`` URL of a proxy for everything, whatever the environment says; may
            hold a user and a password (percent-encoded). Masked in the repr. Or that of a SOCKS proxy, ``socks5://``,
            or ``socks5h://`` if the proxy is to look up the name; this needs the extra ``socks``.
        ca_certs: A file of CA certificates (PEM) or a directory of them, or several; trusted instead of the default
            ones.
        client_cert: A file with the client's certificate and key, or a pair of files. It is shown to the service only,
            never to a proxy or to where a redirect leads.
        connect_timeout: Seconds for a TCP connection to one address, a TLS handshake, and a proxy's answer, each.
        read_timeout: Seconds without a complete line after which the stream counts as dead. The service sends a
            heartbeat every three minutes.
        headers: Further headers of each request; they go to the service's own origin only. Their values are masked in
            the repr.
        user_agent: What to send as ``User-Agent`` instead of the library's own name and version.
        max_event_bytes: The largest event that is accepted. It bounds the memory that a stream can take: about
            three times this number until an event is complete, and then what its JSON becomes.
        session_factory: Called in the reader's thread before each attempt for a new ``requests.Session``, which the
            library closes; :meth:`StreamManager.close` cannot interrupt it. For proxies or sign-on schemes that need
            adapters or ``session.auth`` of their own.
        ssl_context: A TLS context that is used as it is for https to the service, instead of ``ca_certs`` and
            ``client_cert``. For hardware keys, or authorities that the default flags refuse. Proxies, and other hosts
            that a redirect leads to, do not get it.
        client_key_password: The passphrase of the key in ``client_cert``. Masked in the repr. Without it, a key that
            has a passphrase is a failed attempt; nobody is asked on a terminal.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of its range, or a file does not exist; the text names the field.
    """

    proxy_url: str | None = attrs.field(default=None, validator=_proxy_url, repr=_mask_url)
    ca_certs: tuple[str, ...] | None = attrs.field(default=None, converter=_to_ca_certs, validator=_existing)
    client_cert: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=_to_client_cert, validator=_existing
    )
    connect_timeout: float = attrs.field(default=10.0, validator=_positive)
    read_timeout: float = attrs.field(default=300.0, validator=_positive)
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=_to_headers, validator=_headers, repr=_mask_headers, hash=False
    )
    user_agent: str | None = attrs.field(default=None, validator=_header_value)
    max_event_bytes: int = attrs.field(default=64 * 2**20, validator=_size)
    session_factory: Callable[[], requests.Session] | None = attrs.field(
        default=None, validator=_callable, repr=lambda factory: type(factory).__name__
    )
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=_tls_context, repr=lambda context: type(context).__name__
    )
    client_key_password: str | None = attrs.field(default=None, validator=_key_password, repr=_mask_text)
