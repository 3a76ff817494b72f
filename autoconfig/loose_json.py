"""
JSON as the relay's Go decoder takes it: names of fields in any case, nulls, lone surrogates, broken UTF-8.

msgspec's typed decoding is strict in all of that. What it refuses is read here: :func:`load` reads any JSON and keeps
the order of names, of which the last counts, and :func:`convert` makes a class of it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec.inspect import AnyType, DictType, StructType, Type, UnionType, VarTupleType, type_info

from .frozen import FrozenDict, FrozenList

T = TypeVar("T", bound=msgspec.Struct)
Buffer = bytes | bytearray | memoryview | msgspec.Raw

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"({_HIGH}{_LOW})|{_HIGH}|{_LOW}|(\\.)")
_MISMATCH = re.compile(r"Expected `(\w+)[^`]*`(?:, got `(\w+)`)?")
_PLACE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_WORDS = {
    "object": "an object",
    "array": "an array",
    "str": "a string",
    "bool": "true or false",
    "int": "a 64-bit integer",
    "float": "a fraction",
    "null": "null",
}


class Members(list[tuple[str, Any]]):
    """The members of a JSON object in their order, those of one name included."""


_OBJECTS = dict, Members
_CONTAINERS = dict, list, tuple  # Members is a list
_TYPES_WITH_PARTS = StructType, VarTupleType, DictType


def load(data: Buffer) -> Any:
    """
    Return a JSON document, objects as :class:`Members`.

    Broken UTF-8 and lone surrogates become U+FFFD, in ids too, so that ids are compared as the text that they become.

    Raises:
        ValueError: The data is not JSON; the text says where and holds nothing of it.
    """
    text = str(data, "utf-8", "replace")
    if _SURROGATE.search(text):
        text = _ESCAPE.sub(lambda escape: escape[0] if escape[1] or escape[2] else "\ufffd", text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} at character {error.pos}"
    except RecursionError:
        reason = "nested too deeply"
    except _ConstantError as error:
        reason = f"not JSON: {error}"
    except ValueError:  # int() refuses numbers of several thousand digits
        reason = "a number has too many digits"
    # Raised here, outside of the except blocks: the errors caught there hold the data.
    raise ValueError(reason)


class _ConstantError(ValueError):
    """``NaN`` or an infinity, which Python's json takes and JSON does not have."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(name)


def _finite(digits: str) -> float:
    """Return the number, or the nearest that is finite: JSON has larger ones, but ``json`` would write an infinity."""
    return max(-sys.float_info.max, min(float(digits), sys.float_info.max))


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=Members)


def convert(document: Any, cls: type[T]) -> T:
    """
    Return a JSON document as an instance of the class.

    Names of fields match without regard to ASCII case; of several the last counts. A null counts as a missing field.
    Unknown fields are left out, except in a class with a field ``extra``, which has them.

    Args:
        document: What :func:`load` returned, or any document as Python has it.
        cls: The class.

    Raises:
        ValueError: A field has the wrong type; the text names it and holds no value.
    """
    extra: dict[str, Any] = {}
    fields = _exact(document, _type_of(cls), extra)
    try:
        instance = msgspec.convert(fields, cls)
    except msgspec.ValidationError as error:
        reason = _in_words(str(error))
    else:
        if extra and hasattr(cls, "extra"):
            msgspec.structs.force_setattr(instance, "extra", freeze(extra))
        return instance
    raise ValueError(reason)


_type_of = cache(type_info)


@cache
def _fields(cls: type[msgspec.Struct]) -> dict[str, tuple[str, Type, bool]]:
    """
    Return the fields of a class by their names on the wire, as they are and in lower case.

    Of each: the exact name, the type, and whether values of that type have parts.
    """
    found = {}
    for field in getattr(_type_of(cls), "fields", ()):
        if field.name != "extra":
            kind = field.type.types[0] if isinstance(field.type, UnionType) else field.type  # the rest is null
            entry = field.encode_name, kind, isinstance(kind, _TYPES_WITH_PARTS)
            found[field.encode_name] = found[field.encode_name.lower()] = entry
    return found


def _exact(value: Any, kind: Type, extra: dict[str, Any] | None = None) -> Any:
    """Return a value with the names that msgspec expects in a value of this type; put unknown fields into ``extra``."""
    if isinstance(kind, StructType) and (value is None or isinstance(value, _OBJECTS)):
        fields = _fields(kind.cls)
        found: dict[str, Any] = {}
        for name, member in _items(value or {}):
            field = fields.get(name) or (fields.get(name.lower()) if name.isascii() else None)
            if field is None:
                if extra is not None:
                    extra[name] = member
                continue
            exact_name, member_kind, has_parts = field
            if member is None and not isinstance(member_kind, AnyType):
                found.pop(exact_name, None)
            else:
                found[exact_name] = _exact(member, member_kind) if has_parts else member
        return found
    if isinstance(kind, VarTupleType) and isinstance(value, list | tuple):
        # An object is not an array, even without members.
        return dict(value) if isinstance(value, Members) else [_exact(one, kind.item_type) for one in value]
    if isinstance(kind, DictType) and isinstance(value, _OBJECTS):
        return {name: _exact(one, kind.value_type) for name, one in _items(value)}
    return value  # if it is of the wrong type, msgspec will say so


def _items(document: dict[str, Any] | Members) -> Iterable[tuple[str, Any]]:
    return document.items() if isinstance(document, dict) else document


def freeze(members: dict[str, Any]) -> FrozenDict:
    """Return a copy of an object of JSON in which no object and no array, at any depth, can be changed."""
    root = FrozenDict(members)
    left: list[Any] = [root]
    while left:  # not by recursion, because a document may be nested as deeply as the interpreter allows
        container = left.pop()
        base: Any = dict if isinstance(container, dict) else list  # its methods still change what is frozen
        for place, value in container.items() if base is dict else enumerate(container):
            if isinstance(value, _CONTAINERS):
                frozen = FrozenDict(value) if isinstance(value, _OBJECTS) else FrozenList(value)
                base.__setitem__(container, place, frozen)
                left.append(frozen)
    return root


def _in_words(error: str) -> str:
    """Return msgspec's error in the words of this library's other errors."""
    parts = _PLACE.fullmatch(error)
    text, place = parts.groups() if parts else (error, None)
    if text.endswith(">= 0"):
        text = "must be an unsigned 64-bit integer"
    elif wrong := _MISMATCH.match(text):
        found = {"int": "a number", "bool": "a boolean"}.get(wrong[2]) or _WORDS.get(wrong[2])
        text = f"must be {_WORDS.get(wrong[1], wrong[1])}{f', not {found}' if found else ''}"
    elif text == "Integer value out of range":
        text = "must be a 64-bit integer"
    return f"{place or 'the message'} {text}"
