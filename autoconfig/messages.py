"""
The protocol's messages: names of events, their data as classes, and strict decoding.

Strict means what the relay's Go decoder means by it: a field of the wrong type anywhere drops the whole event. ``null``
and a missing field leave the zero value; unknown fields are ignored. Python's ``json`` alone is more lenient (``True``
is an ``int``, ``1.0 == 1``, ``NaN``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from .environments import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
from .exceptions import MalformedMessageError
from .identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey

PUT_EVENT = "put"
"""Name of the event that brings everything."""

PATCH_EVENT = "patch"
"""Name of the event that brings one item, new or changed."""

DELETE_EVENT = "delete"
"""Name of the event that takes one item away."""

RECONNECT_EVENT = "reconnect"
"""Name of the event that asks for a new connection. Its data is not looked at."""

PUT_PATH = "/"
"""The only path of a put that counts."""

_ENVIRONMENTS = "/environments"
_FILTERS = "/filters"


@attrs.frozen(weakref_slot=False)
class PutContent:
    """
    All items, by id.

    Attributes:
        environments: The environments. An entry whose ``env_id`` is not its key is not applied, but counts as listed.
        filters: The payload filters.
    """

    environments: dict[EnvironmentID, EnvironmentRep] = attrs.field(factory=dict)
    filters: dict[FilterID, FilterRep] = attrs.field(factory=dict)


@attrs.frozen(weakref_slot=False)
class PutMessageData:
    """
    A put: the full configuration.

    Attributes:
        path: ``"/"``; a put of any other path is ignored.
        data: All items.
    """

    path: str = ""
    data: PutContent = attrs.field(factory=PutContent)


@attrs.frozen(weakref_slot=False)
class PatchMessageData:
    """
    A patch: one item, new or changed.

    Attributes:
        path: ``"/environments/ID"`` or ``"/filters/ID"``.
        data: The item; ``None`` if the path is of another kind, which is ignored.
    """

    path: str = ""
    data: EnvironmentRep | FilterRep | None = None


@attrs.frozen(weakref_slot=False)
class DeleteMessageData:
    """
    A deletion of one item.

    Attributes:
        path: ``"/environments/ID"`` or ``"/filters/ID"``; any other is ignored.
        version: The version of the deletion.
    """

    path: str = ""
    version: int = 0


Message = PutMessageData | PatchMessageData | DeleteMessageData

Batch = list[Message]
"""What one read of the stream brought: one item of the queue between the threads. An empty one is the last."""


def environment_id(path: str) -> EnvironmentID | None:
    """Return the id if the path is one of an environment: split at the last slash, neither cleaned nor unescaped."""
    kind, slash, id = path.rpartition("/")
    return EnvironmentID(id) if slash and kind == _ENVIRONMENTS else None


def filter_id(path: str) -> FilterID | None:
    """Return the id if the path is one of a filter."""
    kind, slash, id = path.rpartition("/")
    return FilterID(id) if slash and kind == _FILTERS else None


def decode(event: str, data: str) -> Message:
    """
    Return the message of a ``put``, ``patch`` or ``delete`` event.

    Raises:
        MalformedMessageError: The data is not JSON, or a field has the wrong type. The error's text holds no value.
        KeyError: The event has another name.
    """
    build = _BUILDERS[event]
    try:
        return build(_load(data, _DECODER))
    except _DoubtError:
        reason = ""
    except _WrongError as error:
        reason = str(error)
    if not reason:
        try:
            return build(_load(data, _CAREFUL_DECODER))
        except _WrongError as error:
            reason = str(error)
    # Raised here, outside of the except blocks: the errors caught there hold the data in their frames.
    raise MalformedMessageError(event, reason)


class _WrongError(Exception):
    """The data breaks the protocol; the text says where and how, without values."""


class _DoubtError(Exception):
    """The quick decoder cannot tell whether the data is right."""


class _Zero(int):
    """A zero of which it is known how it was written: ``-0`` is no unsigned integer."""


_PLUS_ZERO, _MINUS_ZERO = _Zero(), _Zero()
_ZEROS = {"0": _PLUS_ZERO, "-0": _MINUS_ZERO}


def _reject_constant(name: str) -> None:
    raise _WrongError(f"not JSON: {name}")


def _parse_int(digits: str) -> int:
    return _ZEROS[digits] if digits in _ZEROS else int(digits)


_DECODER = json.JSONDecoder(parse_constant=_reject_constant)
_CAREFUL_DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_int=_parse_int)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"({_HIGH}{_LOW})|{_HIGH}|{_LOW}|(\\.)")


def _load(data: str, decoder: json.JSONDecoder) -> Any:
    if _SURROGATE.search(data):
        # Before decoding, so that ids are compared as the text that they become. Pairs and other escapes stay.
        data = _ESCAPE.sub(lambda escape: escape[0] if escape[1] or escape[2] else "\ufffd", data)
    try:
        return decoder.decode(data)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} at character {error.pos}"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:  # int() refuses more than some thousand digits
        reason = "a number has too many digits"
    raise _WrongError(reason)


T = TypeVar("T", EnvironmentRep, FilterRep)


def _put(document: Any) -> PutMessageData:
    fields = _object(document, "the message")
    path = _string(fields, "path")
    content = _object(fields.get("data"), "data")
    environments = _items(content, "environments", _environment)
    filters = _items(content, "filters", _filter)
    return PutMessageData(path, PutContent(environments, filters))  # type: ignore[arg-type]  # ids are strings


def _items(content: dict[str, Any], name: str, build: Callable[[Any], T]) -> dict[str, T]:
    items: dict[str, T] = {}
    id = ""
    try:
        for id, value in _object(content.get(name), name).items():
            items[id] = build(value)
    except _WrongError as error:
        if not id:
            raise
        raise _WrongError(f"{name}[{id[:100]!a}]: {error}") from None
    return items


def _patch(document: Any) -> PatchMessageData:
    fields = _object(document, "the message")
    path = _string(fields, "path")
    kind = path.rpartition("/")[0]
    build = _environment if kind == _ENVIRONMENTS else _filter if kind == _FILTERS else None
    if build is None:
        return PatchMessageData(path)
    if "data" not in fields:
        raise _WrongError("data is missing")
    return PatchMessageData(path, build(fields["data"]))


def _delete(document: Any) -> DeleteMessageData:
    fields = _object(document, "the message")
    return DeleteMessageData(_string(fields, "path"), _integer(fields, "version"))


def _environment(document: Any) -> EnvironmentRep:
    fields = _object(document, "data")
    return EnvironmentRep(
        EnvironmentID(_string(fields, "envID")),
        _string(fields, "envKey"),
        _string(fields, "envName"),
        MobileKey(_string(fields, "mobKey")),
        _string(fields, "projKey"),
        _string(fields, "projName"),
        _sdk_key(_object(fields.get("sdkKey"), "sdkKey")),
        _integer(fields, "defaultTtl"),
        _boolean(fields, "secureMode"),
        _integer(fields, "version"),
    )


def _sdk_key(fields: dict[str, Any]) -> SDKKeyRep:
    value = SDKKey(_string(fields, "value"))
    expiring = fields.get("expiring")
    if expiring is None:
        return SDKKeyRep(value)
    expiring = _object(expiring, "sdkKey.expiring")
    return SDKKeyRep(value, ExpiringKeyRep(SDKKey(_string(expiring, "value")), _timestamp(expiring)))


def _filter(document: Any) -> FilterRep:
    fields = _object(document, "data")
    return FilterRep(_string(fields, "projKey"), FilterKey(_string(fields, "key")), _integer(fields, "version"))


def _object(value: Any, name: str) -> dict[str, Any]:
    if type(value) is dict:
        return value
    if value is None:
        return {}
    raise _WrongError(f"{name} must be an object, not {_kind(value)}")


def _string(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is str:
        return value
    if value is None:
        return ""
    raise _WrongError(f"{name} must be a string, not {_kind(value)}")


def _boolean(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is True or value is False:
        return value
    if value is None:
        return False
    raise _WrongError(f"{name} must be true or false, not {_kind(value)}")


def _integer(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if value is None or type(value) is _Zero:
        return 0
    raise _WrongError(f"{name} must be a 64-bit integer, not {_kind(value)}")


def _timestamp(fields: dict[str, Any]) -> int:
    value = fields.get("timestamp")
    if type(value) is int and 0 <= value < 2**64:
        if value == 0:
            raise _DoubtError  # 0 or -0?
        return value
    if value is None or value is _PLUS_ZERO:
        return 0
    raise _WrongError(f"timestamp must be an unsigned 64-bit integer, not {_kind(value)}")


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        float: "a fraction",
        int: "a number out of range",
    }
    return kinds.get(type(value), "a negative zero")


_BUILDERS: dict[str, Callable[[Any], Message]] = {PUT_EVENT: _put, PATCH_EVENT: _patch, DELETE_EVENT: _delete}
