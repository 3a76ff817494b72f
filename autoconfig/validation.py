"""Checks of arguments. Each error names the argument and the rule, and holds no value that may be secret."""

from __future__ import annotations

import inspect
import math
import re
import socket
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A call of one of these does nothing until somebody awaits its result or iterates over it.
_IDLE: dict[str, Callable[[Any], bool]] = {
    "a coroutine function": inspect.iscoroutinefunction,
    "a generator function": inspect.isgeneratorfunction,
    "an asynchronous generator function": inspect.isasyncgenfunction,
}
LONGEST = 86_400.0 * 366  # seconds; beyond some years select() and time_t overflow


def check_number(name: str, value: float) -> float:
    """
    Return the value if it is a finite number.

    Raises:
        TypeError: It is not a number.
        ValueError: It is infinite or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, not {number}")
    return number


def check_seconds(name: str, value: float, *, zero: bool = False) -> float:
    """
    Return the value if it is a usable number of seconds.

    Raises:
        TypeError: It is not a number.
        ValueError: It is infinite, NaN, negative, above 366 days, or zero where ``zero`` does not allow that.
    """
    check_number(name, value)
    if value > LONGEST:
        raise ValueError(f"{name} must be at most {LONGEST:.0f} seconds, not {value}")
    if value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {'zero or more' if zero else 'more than zero'} seconds, not {value}")
    return float(value)


def check_count(name: str, value: int, least: int = 1) -> int:
    """
    Return the value if it is an integer that is not below the least one.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below.
    """
    if check_instance(name, value, int) < least:
        raise ValueError(f"{name} must be {least} or more, not {value}")
    return value


def is_http_url(url: str) -> bool:
    """Return whether the text is an absolute http or https URL with a host."""
    try:
        parts = urlsplit(url)
        if "[" in parts.netloc:  # Python before 3.11.4 takes anything in brackets
            socket.inet_pton(socket.AF_INET6, (parts.hostname or "").partition("%")[0])
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, OSError):  # unmatched brackets, no address in them, a port that is not a number
        return False


def check_url(name: str, value: str, wanted: str = "an http:// or https://") -> None:
    """
    Check that the value is an absolute http or https URL with a host.

    The error's text names the kind that was wanted, and does not hold the URL, which may hold a password.

    Raises:
        TypeError: It is not a string.
        ValueError: It is not such a URL.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not is_http_url(value) or not value.isprintable() or " " in value:
        raise ValueError(f"{name} must be {wanted} URL with a host")


def is_header_name(text: str) -> bool:
    """Return whether a header may have this name (RFC 9110, 5.6.2: a token)."""
    return _TOKEN.fullmatch(text) is not None


def check_header_value(name: str, value: str) -> None:
    """
    Check that a header can carry the value: printable ASCII with no space at either end.

    The error's text does not hold the value.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty or has other characters.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ValueError(f"{name} must be printable ASCII, with no line break and no space at either end")


def check_callable(name: str, value: object) -> None:
    """
    Check that the value can be called, and does something then.

    Raises:
        TypeError: It cannot, or it is a coroutine function or a generator function.
    """
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    if kind := idle_kind(value):
        raise TypeError(f"{name} must be an ordinary function, not {kind}")


def idle_kind(function: Any) -> str | None:
    """Return the kind of a function that does nothing when it is only called; ``None`` for any other."""
    for kind, is_such in _IDLE.items():
        if is_such(function) or is_such(getattr(type(function), "__call__", None)):  # noqa: B004  # it is looked at
            return kind
    return None


def check_instance(name: str, value: object, kind: type[T]) -> T:
    """
    Return the value if it is of the class.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")
    return value


def instance_or_default(name: str, value: object, kind: type[T]) -> T:
    """
    Return the value if it is of the class, and a new object of the class if it is ``None``.

    Raises:
        TypeError: It is something else.
    """
    return kind() if value is None else check_instance(name, value, kind)


def field_check(check: Callable[..., object], **options: Any) -> Callable[[Any, Any, Any], None]:
    """Return an attrs validator that calls a check with the name and the value of the field."""

    def validator(_: Any, attribute: Any, value: Any) -> None:
        check(attribute.name, value, **options)

    return validator
