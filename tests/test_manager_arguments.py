"""Bad input is an error at the door, named, and never shown if it may be secret."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support.managing import KEY, NOWHERE
from support.recorder import Recorder

from autoconfig import HTTPConfig, MessageHandler, RetryPolicy, StreamManager

METHODS = [
    "add_environment",
    "update_environment",
    "received_all_environments",
    "delete_environment",
    "add_filter",
    "delete_filter",
]
SECRET = KEY.removeprefix("rel-")


def make(**changed: Any) -> StreamManager:
    """Return a manager whose arguments are right but for these."""
    return StreamManager(**{"key": KEY, "stream_uri": NOWHERE, "handler": Recorder(), **changed})


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", ValueError),
        (f"{KEY}\n", ValueError),
        (f"{KEY}\r\nX-Injected: 1", ValueError),
        (f" {KEY}", ValueError),
        (f"{KEY} ", ValueError),
        (f"\t{KEY}", ValueError),
        (f"{KEY}\0", ValueError),
        (f"{KEY}\x7f", ValueError),
        (f"{KEY}é", ValueError),
        (f"{KEY}\u00a0", ValueError),
        (f"{KEY}\u2028", ValueError),
        (f"{KEY}\ud800", ValueError),
        (None, TypeError),
        (KEY.encode(), TypeError),
        (1, TypeError),
        ([KEY], TypeError),
    ],
)
def test_a_key_that_no_header_can_carry(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"\bkey\b") as caught:
        make(key=key)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("key", ["rel-1", "x", "a b", KEY, "!~"])
def test_any_printable_key_will_do(key: str) -> None:
    make(key=key)


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("", ValueError),
        ("stream.example", ValueError),
        ("//stream.example", ValueError),
        ("ftp://stream.example", ValueError),
        ("file:///etc/passwd", ValueError),
        ("httpx://stream.example", ValueError),
        ("http://", ValueError),
        ("http:///path", ValueError),
        ("http://:8030", ValueError),
        ("http://user@", ValueError),
        ("http://stream.example:0", ValueError),
        ("http://stream.example:65536", ValueError),
        ("http://stream.example:-1", ValueError),
        ("http://stream.example:port", ValueError),
        ("http://[::1", ValueError),
        ("http://stream.example/a b", ValueError),
        ("http://stream.example\n", ValueError),
        (" http://stream.example", ValueError),
        ("http://stream.example\r\nX-Injected: 1", ValueError),
        (None, TypeError),
        (b"http://stream.example", TypeError),
        (80, TypeError),
    ],
)
def test_a_uri_that_leads_nowhere(uri: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="stream_uri") as caught:
        make(stream_uri=uri)
    assert SECRET not in str(caught.value)


def test_a_bad_uri_is_not_shown() -> None:
    """It may hold a password."""
    with pytest.raises(ValueError, match="stream_uri") as caught:
        make(stream_uri="ftp://someone:w0rd@stream.example")
    assert "w0rd" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "https://stream.launchdarkly.com",
        "HTTPS://stream.example",
        "http://stream.example:65535/base?x=1#part",
        "http://[::1]:8030",
        "http://someone:w0rd@stream.example",
    ],
)
def test_any_http_uri_will_do(uri: str) -> None:
    make(stream_uri=uri)


@pytest.mark.parametrize("missing", METHODS)
def test_a_handler_that_lacks_a_method(missing: str) -> None:
    methods = {name: lambda self, *_: None for name in METHODS if name != missing}
    with pytest.raises(TypeError, match=rf"handler.*lacks {missing}$"):
        make(handler=type("Handler", (), methods)())


@pytest.mark.parametrize("handler", [None, object(), "handler", Recorder.add_environment, dict.fromkeys(METHODS)])
def test_what_is_no_handler_at_all(handler: Any) -> None:
    with pytest.raises(TypeError, match="handler"):
        make(handler=handler)


def test_a_method_that_cannot_be_called() -> None:
    with pytest.raises(TypeError, match=r"handler.*lacks add_filter"):
        make(handler=type("Handler", (Recorder,), {"add_filter": "not a method"})())


def test_any_object_with_the_methods_will_do() -> None:
    """One that inherits from the protocol, and one that has never heard of it."""
    make(handler=type("Handler", (MessageHandler,), {})())
    make(handler=type("Handler", (), {name: lambda self, *_: None for name in METHODS})())


@pytest.mark.parametrize("delay", [0, -1, -0.5, 0.0, 1e-9, 1, 2.5])
def test_a_retry_delay_may_be_any_number(delay: float) -> None:
    make(initial_retry_delay=delay)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("initial_retry_delay", "1", TypeError),
        ("initial_retry_delay", None, TypeError),
        ("initial_retry_delay", True, TypeError),
        ("initial_retry_delay", math.nan, ValueError),
        ("initial_retry_delay", math.inf, ValueError),
        ("initial_retry_delay", -math.inf, ValueError),
        ("initial_retry_delay", 1e12, ValueError),
        ("protocol_version", True, TypeError),
        ("protocol_version", "2", TypeError),
        ("protocol_version", 2.0, TypeError),
        ("protocol_version", None, TypeError),
        ("http_config", {"read_timeout": 5}, TypeError),
        ("http_config", {}, TypeError),
        ("http_config", HTTPConfig, TypeError),
        ("http_config", RetryPolicy(), TypeError),
        ("http_config", "", TypeError),
        ("retry_policy", {"max_delay": 5}, TypeError),
        ("retry_policy", 0, TypeError),
        ("retry_policy", HTTPConfig(), TypeError),
    ],
)
def test_an_option_of_the_wrong_kind(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name) as caught:
        make(**{name: value})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("method", ["close", "join"])
@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ValueError),
        (-1e-9, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (1e12, ValueError),
        ("5", TypeError),
        (True, TypeError),
        ([], TypeError),
    ],
)
def test_a_timeout_that_is_none(method: str, timeout: Any, error: type[Exception]) -> None:
    """The call does nothing: the manager can still be started."""
    manager = make()
    with pytest.raises(error, match="timeout"):
        getattr(manager, method)(timeout)
    manager.start()
    assert manager.close()


def test_close_needs_a_number() -> None:
    """Unlike join(), it always has an end."""
    with pytest.raises(TypeError, match="timeout"):
        make().close(None)  # type: ignore[arg-type]


def test_the_repr_does_not_show_the_key() -> None:
    """Nor what else may be secret in the URI: user, password and query."""
    shown = repr(make(stream_uri="https://someone:w0rd@stream.example/base?token=t0ken"))
    assert "stream.example/base" in shown
    assert not [secret for secret in (SECRET, "someone", "w0rd", "t0ken") if secret in shown]


@pytest.mark.parametrize("logger", ["autoconfig", 1, print])
def test_a_logger_that_is_none(logger: Any) -> None:
    with pytest.raises(TypeError, match=r"^logger must be "):
        make(logger=logger)


def test_options_can_be_compared_and_kept_in_sets() -> None:
    """Headers and all."""
    assert len({HTTPConfig(), HTTPConfig(headers={"X-Tenant": "north"}), HTTPConfig()}) == 2
