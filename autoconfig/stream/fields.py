"""Reading one field of a JSON object, strictly: the right type, ``null`` or nothing."""

from __future__ import annotations

from typing import Any

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
_MAX_UNSIGNED = 2**64 - 1


class WrongError(Exception):
    """The data breaks the protocol; the text says where and how, and holds no value."""


class DoubtError(Exception):
    """The quick decoder cannot tell whether the data is right."""


class Zero(int):
    """A zero of which it is known how it was written, because ``-0`` is no unsigned integer."""


PLUS_ZERO, MINUS_ZERO = Zero(), Zero()


def object_of(value: Any, name: str) -> dict[str, Any]:
    """Return the value if it is an object; an empty one for ``null``."""
    if type(value) is dict:
        return value
    if value is None:
        return {}
    raise _wrong(name, "an object", value)


def array_of(value: Any, name: str) -> list[Any]:
    """Return the value if it is an array."""
    if type(value) is list:
        return value
    raise _wrong(name, "an array", value)


def make_plain(value: dict[str, Any]) -> None:
    """
    Leave nothing in an object, of any depth, but what JSON has.

    Raises:
        DoubtError: The quick decoder put something of its own into it.
    """
    left: list[Any] = [value]
    while left:
        container = left.pop()
        for place, inner in container.items() if type(container) is dict else enumerate(container):
            if type(inner) is Zero:
                container[place] = 0
            elif type(inner) in (dict, list):
                left.append(inner)
            elif type(inner) not in _KINDS:
                raise DoubtError


def string(fields: dict[str, Any], name: str) -> str:
    """Return a string field; ``""`` if it is missing."""
    value = fields.get(name)
    if type(value) is str:
        return value
    if value is None:
        return ""
    raise _wrong(name, "a string", value)


def boolean(fields: dict[str, Any], name: str) -> bool:
    """Return a field that is true or false; ``False`` if it is missing."""
    value = fields.get(name)
    if value is True or value is False:
        return value
    if value is None:
        return False
    raise _wrong(name, "true or false", value)


def integer(fields: dict[str, Any], name: str) -> int:
    """Return a signed 64-bit integer field; 0 if it is missing."""
    value = fields.get(name)
    if type(value) is int and MIN_INTEGER <= value <= MAX_INTEGER:
        return value
    if value is None or type(value) is Zero:
        return 0
    raise _wrong(name, "a 64-bit integer", value, number="a number out of range")


def unsigned(fields: dict[str, Any], name: str) -> int:
    """Return an unsigned 64-bit integer field; 0 if it is missing."""
    value = fields.get(name)
    if type(value) is int and 0 < value <= _MAX_UNSIGNED:
        return value
    if value is None or value is PLUS_ZERO:
        return 0
    if type(value) is int and value == 0:
        raise DoubtError  # 0 or -0?
    raise _wrong(name, "an unsigned 64-bit integer", value, number="a number out of range")


_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    float: "a fraction",
    int: "a number",
    Zero: "a number",
    type(None): "null",
}


def _wrong(name: str, rule: str, value: Any, *, number: str = "a number") -> Exception:
    kind = number if type(value) in (int, Zero) else _KINDS.get(type(value))
    if kind:
        return WrongError(f"{name} must be {rule}, not {kind}")
    return DoubtError()  # the quick decoder took it for something that it is not
