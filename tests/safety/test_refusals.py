"""An argument that is refused is named, and its value is not in the error: it may be a key in the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safety.log import chain
from safety.story import KEY, SDK, seen
from support.recorder import Recorder

from autoconfig import HTTPConfig, RetryPolicy, StreamManager

URI = "https://stream.example"
PEM = f"-----BEGIN PRIVATE KEY-----\n{SDK}\n-----END PRIVATE KEY-----\n"
BAD = ["\n", "\r\n", "\r", "\t", "\0", "\x7f", "\x0b", "é", "\u2028", "ключ", "\ud800"]


def manager(**arguments: Any) -> StreamManager:
    """Make a manager with these arguments and good ones for the rest."""
    good: dict[str, Any] = {"key": "rel-good", "stream_uri": URI, "handler": Recorder()}
    return StreamManager(**good | arguments)


REFUSED: dict[str, Callable[[], object]] = {
    "key as bytes": lambda: manager(key=KEY.encode()),
    "key in a list": lambda: manager(key=[KEY]),
    "key in an exception": lambda: manager(key=ValueError(KEY)),
    "key as the URI": lambda: manager(stream_uri=KEY),
    "key as the URI's scheme": lambda: manager(stream_uri=f"{KEY}://host"),
    "key as the URI's port": lambda: manager(stream_uri=f"https://host:{KEY}"),
    "key in the URI's brackets": lambda: manager(stream_uri=f"https://[{KEY}]/"),
    "key in a URI with a space": lambda: manager(stream_uri=f"https://user:{KEY} @host/"),
    "key as the handler": lambda: manager(handler=KEY),
    "key as the options": lambda: manager(http_config=KEY),
    "key as the delay": lambda: manager(initial_retry_delay=KEY),
    "key as the version": lambda: manager(protocol_version=KEY),
    "key as the policy": lambda: manager(retry_policy=KEY),
    "key as a delay": lambda: RetryPolicy(max_delay=KEY),  # type: ignore[arg-type]
    "key as a ratio": lambda: RetryPolicy(jitter=KEY),  # type: ignore[arg-type]
    "key as a timeout": lambda: HTTPConfig(read_timeout=KEY),  # type: ignore[arg-type]
    "key as the headers": lambda: HTTPConfig(headers=KEY),  # type: ignore[arg-type]
    "key as a header of its own": lambda: HTTPConfig(headers={"Authorization": KEY}),
    "key as bytes in a header": lambda: HTTPConfig(headers={"X-Api-Key": KEY.encode()}),  # type: ignore[dict-item]
    "key as a session factory": lambda: HTTPConfig(session_factory=KEY),  # type: ignore[arg-type]
    "key as a size": lambda: HTTPConfig(max_event_bytes=KEY),  # type: ignore[arg-type]
    "password of a proxy of another scheme": lambda: HTTPConfig(proxy_url=f"ftp://user:{KEY}@host"),
    "password of a proxy with a bad port": lambda: HTTPConfig(proxy_url=f"http://user:{KEY}@host:port"),
    "password of a proxy without a host": lambda: HTTPConfig(proxy_url=f"http://user:{KEY}@"),
    "private key as the certificate": lambda: HTTPConfig(client_cert=PEM),
    "private key beside the certificate": lambda: HTTPConfig(client_cert=(__file__, PEM)),
    "private key among the authorities": lambda: HTTPConfig(ca_certs=[PEM]),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_a_secret_in_the_wrong_place_is_not_in_the_error(make: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        make()
    check(refused.value)


@pytest.mark.parametrize("bad", BAD, ids=ascii)
@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_a_key_that_no_header_can_carry_is_not_in_the_error(bad: str, place: str) -> None:
    """As requests would have it: its own error holds the value."""
    at = {"start": 0, "middle": len(KEY) // 2, "end": len(KEY)}[place]
    key = KEY[:at] + bad + KEY[at:]
    for make in (lambda: manager(key=key), lambda: HTTPConfig(headers={"X-Api-Key": key})):
        with pytest.raises(ValueError, match="printable ASCII") as refused:
            make()
        check(refused.value)


@given(st.text(min_size=1), st.integers(0, len(KEY)))
def test_no_error_holds_the_key_whatever_stands_around_it(text: str, at: int) -> None:
    key = KEY[:at] + text + KEY[at:]
    for make in (lambda: manager(key=key), lambda: manager(stream_uri=key), lambda: HTTPConfig(proxy_url=key)):
        try:
            made = make()
        except ValueError as error:
            check(error)
        else:
            assert seen(repr(made)) == []


def check(error: BaseException) -> None:
    """Look for the secrets in an error and all behind it, except in the frames, which are the caller's own."""
    error.__traceback__ = None
    assert error.__cause__ is None
    assert error.__context__ is None
    assert seen(chain(error)) == []
