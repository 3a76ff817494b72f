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
from attrs.validators import optional

from .frozen import FrozenDict
from .validation import (
    check_callable,
    check_count,
    check_header_value,
    check_instance,
    check_number,
    check_seconds,
    check_url,
    field_check,
    is_header_name,
)

Path = str | os.PathLike[str]

_SOCKS = frozenset({"socks5", "socks5h"})
_LONGEST_PASSWORD = 1024  # bytes; OpenSSL refuses a longer passphrase
# The protocol sets these; other values would break the stream or replace the key.
_RESERVED_HEADERS = frozenset({"accept", "accept-encoding", "authorization", "cache-control", "host", "last-event-id"})


def _check_ratio(name: str, value: float) -> None:
    if not 0 <= check_number(name, value) <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {value}")


@attrs.frozen
class RetryPolicy:
    """
    How long to wait before the next attempt to connect.

    The first delay is the manager's ``initial_retry_delay`` (or ``HandlerErrors.initial_delay``), or that of the
    service's last ``retry:`` line. The latter is at least half a second, unless ``initial_retry_delay`` is shorter. The
    delay doubles with each attempt. After an answer that a retry is unlikely to change (4xx except 400, 408 and 429),
    the first delay is 300 times as long, and the longest is 120 times ``max_delay``.

    Attributes:
        max_delay: The longest delay, in seconds.
        jitter: The largest part of a delay that is taken off at random, from 0 (none) to 1 (all), so that many clients
            do not reconnect at the same moment.
        reset_after: After how many seconds of working connections the delay starts again at the first one. The times of
            all connections that delivered at least one message are added up, so that a proxy that cuts each connection
            after 55 s does no harm. A connection that ends right after its first message adds next to nothing.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is out of its range; the text names the field.
    """

    max_delay: float = attrs.field(default=30.0, validator=field_check(check_seconds))
    jitter: float = attrs.field(default=0.5, validator=field_check(_check_ratio))
    reset_after: float = attrs.field(default=60.0, validator=field_check(check_seconds, zero=True))


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


def _check_files(name: str, value: str | tuple[str, ...]) -> None:
    paths = (value,) if isinstance(value, str) else value
    if not paths or not all(paths):
        raise ValueError(f"{name} must name at least one file and no empty path")
    if name == "client_cert" and len(paths) > 2:
        raise ValueError("client_cert must be a path or a pair of certificate and key")
    for path in paths:
        if not os.path.exists(path):
            # A value of several lines is a certificate or a key in place of its path.
            shown = "of that name" if "\n" in path else repr(path)
            raise ValueError(f"{name}: there is no file {shown}")


def _check_proxy_url(name: str, value: str) -> None:
    scheme = str(value).partition("://")[0].lower()
    if scheme not in _SOCKS:
        check_url(name, value, "an http://, https://, socks5:// or socks5h://")
        return
    check_url(name, f"http{value[len(scheme) :]}", f"a {scheme}://")
    if not find_spec("socks"):
        raise ValueError(f"{name}: a SOCKS proxy needs PySocks: pip install 'ld-autoconfig[socks]'")


def _tls_context(config: HTTPConfig, attribute: attrs.Attribute[Any], value: ssl.SSLContext) -> None:
    check_instance(attribute.name, value, ssl.SSLContext)
    if config.ca_certs or config.client_cert:
        raise ValueError("ssl_context is used as it is: load ca_certs and client_cert into it instead of giving both")


def _key_password(config: HTTPConfig, attribute: attrs.Attribute[Any], value: str) -> None:
    if not check_instance(attribute.name, value, str):
        raise ValueError(f"{attribute.name} must not be empty")
    if not config.client_cert:
        raise ValueError(f"{attribute.name} is for the key in client_cert, which is not given")
    if len(value.encode("utf-8", "replace")) > _LONGEST_PASSWORD:
        raise ValueError(f"{attribute.name} must not be longer than {_LONGEST_PASSWORD:,} bytes")


def _to_headers(value: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"headers must be a mapping, not {type(value).__name__}")
    return FrozenDict(value)


def _check_headers(field: str, value: Mapping[str, str]) -> None:
    for name, text in value.items():
        if not is_header_name(check_instance("the name of a header", name, str)):
            raise ValueError(f"{field}: {name!r} is not the name of a header")
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f"{field}: {name} is set by the protocol and cannot be replaced")
        check_header_value(f"{field}[{name!r}]", text)


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


@attrs.frozen
class HTTPConfig:
    """
    How to reach the service.

    What is not set here comes from the environment: ``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE`` and so on.

    Attributes:
        proxy_url: The URL of a proxy, ``http://`` or ``https://``. It overrides the environment. It may hold
            a user and a password (percent-encoded), and is masked in the repr. A SOCKS proxy needs the extra
            ``socks``: ``socks5://``, or ``socks5h://`` if the proxy has to look up the name.
        ca_certs: A file of CA certificates (PEM) or a directory of them, or several. They are trusted instead of the
            default ones.
        client_cert: A file with the client's certificate and key, or a pair of files. Only the service gets it, never a
            proxy or another host that a redirect leads to.
        connect_timeout: Seconds for each of these: a TCP connection to one address, a TLS handshake, a proxy's answer.
        read_timeout: Seconds without a complete line after which the stream counts as dead. The service sends a
            heartbeat every three minutes.
        headers: Further headers of each request; sent to the service's own origin only. Their values are masked in the
            repr.
        user_agent: Sent as ``User-Agent`` instead of the library's name and version.
        max_event_bytes: The size of the largest event that is accepted. This limits the memory of a stream: about three
            times this size until an event is complete, and then what its JSON becomes.
        session_factory: Called in the reader's thread before each attempt. Returns a new ``requests.Session``, which
            the library closes. :meth:`StreamManager.close` cannot interrupt the call. For proxies or sign-on schemes
            that need adapters or a ``session.auth``.
        ssl_context: A TLS context that is used as it is for https to the service, instead of ``ca_certs`` and
            ``client_cert``. For hardware keys, or authorities that the default flags refuse. Proxies, and other hosts
            that a redirect leads to, do not get it.
        client_key_password: The passphrase of the key in ``client_cert``; masked in the repr. Without it, the attempt
            fails if the key has a passphrase; nobody is asked on a terminal.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A value is out of its range, or a file does not exist; the text names the field.
    """

    proxy_url: str | None = attrs.field(default=None, validator=optional(field_check(_check_proxy_url)), repr=_mask_url)
    ca_certs: tuple[str, ...] | None = attrs.field(
        default=None, converter=_to_ca_certs, validator=optional(field_check(_check_files))
    )
    client_cert: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=_to_client_cert, validator=optional(field_check(_check_files))
    )
    connect_timeout: float = attrs.field(default=10.0, validator=field_check(check_seconds))
    read_timeout: float = attrs.field(default=300.0, validator=field_check(check_seconds))
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=_to_headers, validator=field_check(_check_headers), repr=_mask_headers, hash=False
    )
    user_agent: str | None = attrs.field(default=None, validator=optional(field_check(check_header_value)))
    max_event_bytes: int = attrs.field(default=64 * 2**20, validator=field_check(check_count))
    session_factory: Callable[[], requests.Session] | None = attrs.field(
        default=None, validator=optional(field_check(check_callable)), repr=lambda factory: type(factory).__name__
    )
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=optional(_tls_context), repr=lambda context: type(context).__name__
    )
    client_key_password: str | None = attrs.field(default=None, validator=optional(_key_password), repr=_mask_text)
