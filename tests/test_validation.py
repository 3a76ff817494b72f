"""Each check names the argument and the rule, and keeps what may be secret to itself."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable

import pytest
from support.idle import IDLE

from autoconfig.validation import (
    check_callable,
    check_header_value,
    check_instance,
    check_number,
    check_seconds,
    check_url,
)

SECRET = "hunter2-4d3e8c26a7d1"
YEAR = 366 * 86_400.0
NOT_NUMBERS = [None, "5", b"5", True, False, [1], 1j, object()]
GOOD_URLS = [
    "http://localhost",
    "https://stream.launchdarkly.com",
    "HTTPS://EXAMPLE.ORG:8443/base?a=b#c",
    "http://127.0.0.1:65535",
    "http://[::1]:8030/",
    "http://user:p%40ss@proxy:3128",
    "http://user:p@ss@proxy",
]
BAD_URLS = [
    "",
    "proxy",
    "proxy:3128",
    "//proxy",
    "http:proxy",
    "http://",
    "http://:80",
    "http://user@",
    "ftp://proxy",
    "socks5://proxy",
    "file:///etc/passwd",
    "http://proxy:0",
    "http://proxy:65536",
    "http://proxy:-1",
    "http://proxy:port",
    "http://[::1",
    "http://::1]",
    "http://pro xy",
    " http://proxy",
    "http://proxy\n",
    "http://pro\txy",
    "http://proxy/\x00",
    "http://proxy/\x7f",
    "http://pr℀xy",
]
BAD_HEADERS = ["", " ", " a", "a ", "\ta", "a\r\nX: y", "a\n", "a\x00", "a\x7f", "a\x1b", "ä", "a…", "\u2028"]


@pytest.mark.parametrize("value", [0, 1, -1, 1.5, -0.0, 2**62, 1e308])
def test_a_number_is_returned_as_a_float(value: float) -> None:
    """An int is fine wherever a float is."""
    checked = check_number("jitter", value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("check", [check_number, check_seconds])
def test_other_types_are_no_numbers(check: Callable[[str, object], float], value: object) -> None:
    """Booleans neither, and no text, whatever it says."""
    with pytest.raises(TypeError, match=rf"^jitter must be a number, not {type(value).__name__}$"):
        check("jitter", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("check", [check_number, check_seconds])
def test_a_number_is_finite(check: Callable[[str, float], float], value: float) -> None:
    """NaN would pass every comparison later on."""
    with pytest.raises(ValueError, match=r"^jitter must be a finite number"):
        check("jitter", value)


@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["+", "-"])
@pytest.mark.parametrize("check", [check_number, check_seconds])
def test_an_int_beyond_every_float_is_a_value_error(check: Callable[[str, float], float], value: int) -> None:
    """Not the ``OverflowError`` of the conversion."""
    with pytest.raises(ValueError, match=r"^jitter must be"):
        check("jitter", value)


@pytest.mark.parametrize("value", [1e-9, 1, 0.5, YEAR])
def test_seconds_are_more_than_zero_and_a_year_at_most(value: float) -> None:
    """Both ends of the range, and what lies between."""
    checked = check_seconds("read_timeout", value)
    assert type(checked) is float
    assert checked == value


@pytest.mark.parametrize("value", [0, 0.0, -0.0, -1, -1e-9])
def test_seconds_are_not_zero_or_less(value: float) -> None:
    """A timeout of zero would fail everything."""
    with pytest.raises(ValueError, match=r"^read_timeout must be more than zero seconds"):
        check_seconds("read_timeout", value)


def test_zero_seconds_are_fine_where_that_is_said() -> None:
    """But nothing below."""
    assert check_seconds("reset_after", 0, zero=True) == 0
    with pytest.raises(ValueError, match=r"^reset_after must be zero or more seconds"):
        check_seconds("reset_after", -0.1, zero=True)


@pytest.mark.parametrize("value", [YEAR + 1, 1e18, 2**70])
def test_seconds_beyond_a_year_are_a_mistake(value: float) -> None:
    """The operating system would overflow, in a thread."""
    with pytest.raises(ValueError, match=r"^read_timeout must be at most 31622400 seconds"):
        check_seconds("read_timeout", value)


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_good_url_passes(url: str) -> None:
    """With a port, a password, a query, in brackets."""
    check_url("proxy_url", url)


@pytest.mark.parametrize("url", BAD_URLS, ids=ascii)
def test_a_bad_url_is_a_value_error(url: str) -> None:
    """No other error, whatever ``urllib`` thinks of it."""
    with pytest.raises(ValueError, match=r"^proxy_url must be an http:// or https:// URL with a host$"):
        check_url("proxy_url", url)


@pytest.mark.parametrize("value", [None, 5, b"http://proxy", ["http://proxy"]], ids=repr)
def test_a_url_is_a_string(value: str) -> None:
    """Bytes are not."""
    with pytest.raises(TypeError, match=rf"^proxy_url must be a string, not {type(value).__name__}$"):
        check_url("proxy_url", value)


@pytest.mark.parametrize("value", ["a", "Bearer x y", "~!@#$%^&*()", "a" * 10_000], ids=lambda value: value[:20])
def test_a_good_header_value_passes(value: str) -> None:
    """Printable ASCII, with spaces inside."""
    check_header_value("user_agent", value)


@pytest.mark.parametrize("value", BAD_HEADERS, ids=ascii)
def test_a_bad_header_value_is_a_value_error(value: str) -> None:
    """A line break would let a value write headers of its own."""
    with pytest.raises(ValueError, match=r"^user_agent must"):
        check_header_value("user_agent", value)


@pytest.mark.parametrize("value", [None, 5, b"a"], ids=repr)
def test_a_header_value_is_a_string(value: str) -> None:
    """Bytes are not."""
    with pytest.raises(TypeError, match=rf"^user_agent must be a string, not {type(value).__name__}$"):
        check_header_value("user_agent", value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (check_url, f"ftp://user:{SECRET}@proxy"),
        (check_url, f"http://user:{SECRET}@[proxy"),
        (check_url, f"http://user:{SECRET}@pr℀xy"),
        (check_url, f"http://proxy:{SECRET}"),
        (check_header_value, f"{SECRET}\n"),
        (check_header_value, f"ä{SECRET}"),
    ],
)
def test_the_value_is_not_in_the_error(check: Callable[[str, str], None], value: str) -> None:
    """Nor in an error before it: urllib's own texts hold the URL."""
    with pytest.raises(ValueError, match=r"^field must be") as caught:
        check("field", value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("function", [print, "".join, dict, lambda: None], ids=["print", "join", "dict", "lambda"])
def test_what_can_be_called_passes(function: object) -> None:
    check_callable("listener", function)


@pytest.mark.parametrize("kind", IDLE)
def test_a_function_that_does_nothing_when_it_is_called_is_a_type_error(kind: str) -> None:
    for function in IDLE[kind]:
        with pytest.raises(TypeError, match=f"^listener must be an ordinary function, not {kind}$"):
            check_callable("listener", function)


def test_an_instance_is_returned() -> None:
    """A subclass will do."""
    text = type("Text", (str,), {})("a")
    assert check_instance("key", text, str) is text


@pytest.mark.parametrize(("value", "kind"), [("5", int), (5.0, int), (True, int), (5, str), (b"5", str), (None, str)])
def test_another_class_is_a_type_error(value: object, kind: type) -> None:
    """A boolean is no int here."""
    expected = rf"^max_event_bytes must be {kind.__name__}, not {type(value).__name__}$"
    with pytest.raises(TypeError, match=expected):
        check_instance("max_event_bytes", value, kind)
