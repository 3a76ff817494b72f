"""
From an event's data to a message; strict, as the relay's Go decoder is.

A field of the wrong type anywhere drops the whole event. ``null`` and a missing field leave the zero value; unknown
fields are ignored. Python's ``json`` alone is more lenient (``True`` is an ``int``, ``1.0 == 1``, ``NaN``).

There are two decoders. The quick one turns each JSON object into its class as soon as it is read, which saves memory
and lets other threads run meanwhile. It does so only with objects that are exactly what LaunchDarkly sends; whenever
that leaves anything unclear, the careful one starts again from the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from sys import intern
from typing import Any

from ..construction import ReadOnlyMapping, quick_constructor
from ..environments import NO_EXTRA, EnvironmentRep, ExpiringKeyRep, FilterRep, KeyRep, SDKKeyRep
from ..exceptions import MalformedMessageError
from ..identifiers import EnvironmentID, FilterKey, MobileKey, SDKKey, show
from ..messages import (
    DELETE_EVENT,
    PATCH_EVENT,
    PUT_EVENT,
    DeleteMessageData,
    Message,
    PatchMessageData,
    PutContent,
    PutMessageData,
    environment_id,
    filter_id,
)
from .fields import (
    MAX_INTEGER,
    MIN_INTEGER,
    MINUS_ZERO,
    PLUS_ZERO,
    DoubtError,
    WrongError,
    array_of,
    boolean,
    integer,
    make_plain,
    object_of,
    string,
    unsigned,
)


def decode(event: str, data: str) -> Message:
    """
    Return the message of a ``put``, ``patch`` or ``delete`` event.

    Raises:
        MalformedMessageError: The data is not JSON, or a field has the wrong type. The error's text holds no value.
        KeyError: The event has another name.
    """
    build = _BUILDERS[event]
    try:
        return build(_load(data, _QUICK))
    except DoubtError:
        reason = ""
    except WrongError as error:
        reason = str(error)
    if not reason:
        try:
            return build(_load(data, _CAREFUL))
        except WrongError as error:
            reason = str(error)
    # Raised here, outside of the except blocks: the errors caught there hold the data in their frames.
    raise MalformedMessageError(event, reason)


def _load(data: str, decoder: json.JSONDecoder) -> Any:
    # Looking for one character is nearly free, and there is hardly ever one: Go escapes little but <, > and &.
    if "\\" in data and _SURROGATE.search(data):
        # Before decoding, so that ids are compared as the text that they become. Pairs and other escapes stay.
        data = _ESCAPE.sub(lambda escape: escape[0] if escape[1] or escape[2] else "\ufffd", data)
    try:
        # raw_decode() is quicker than decode() by what that does for white space around the document.
        document, end = decoder.raw_decode(data) if data[:1] == "{" else (None, -1)
        return document if end == len(data) else decoder.decode(data)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} at character {error.pos}"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:  # int() refuses more than some thousand digits
        reason = "a number has too many digits"
    raise WrongError(reason)


def _reject_constant(name: str) -> None:
    raise WrongError(f"not JSON: {name}")


def _parse_int(digits: str) -> int:
    return _ZEROS[digits] if digits in _ZEROS else int(digits)


def _quick_object(fields: dict[str, Any]) -> Any:
    """Return the object's class filled, if it is one of the wire's with all fields there and right; else the object."""
    count = len(fields)
    if count == 1:
        value = fields.get("value")
        return _quick_sdk_key(value) if type(value) is str else fields
    if count == len(_FIELDS):
        try:
            id, key, name, mobile, proj, proj_name, sdk, ttl, secure, version = _environment_fields(fields)
        except KeyError:
            return fields
        if (
            # Written out, because this takes half of the time of a put.
            (type(id) is str and type(key) is str and type(name) is str and type(mobile) is str)
            and (type(proj) is str and type(proj_name) is str and type(sdk) is SDKKeyRep)
            and (type(ttl) is int and MIN_INTEGER <= ttl <= MAX_INTEGER and (secure is True or secure is False))
            and (type(version) is int and MIN_INTEGER <= version <= MAX_INTEGER)
        ):
            # Projects have many environments, which can share the strings.
            return _quick_environment(id, key, name, mobile, intern(proj), intern(proj_name), sdk, ttl, secure, version)
    return fields


_ZEROS = {"0": PLUS_ZERO, "-0": MINUS_ZERO}
_QUICK = json.JSONDecoder(parse_constant=_reject_constant, object_hook=_quick_object)
_CAREFUL = json.JSONDecoder(parse_constant=_reject_constant, parse_int=_parse_int)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"({_HIGH}{_LOW})|{_HIGH}|{_LOW}|(\\.)")

_quick_patch = quick_constructor(PatchMessageData)
_quick_sdk_key = quick_constructor(SDKKeyRep)
_quick_environment = quick_constructor(EnvironmentRep)
_FIELDS = "envID", "envKey", "envName", "mobKey", "projKey", "projName", "sdkKey", "defaultTtl", "secureMode", "version"
_environment_fields = itemgetter(*_FIELDS)
_KNOWN = frozenset({*_FIELDS, "sdkKeys", "mobileKeys"})


def _put(document: Any) -> PutMessageData:
    fields = object_of(document, "the message")
    path = string(fields, "path")
    content = object_of(fields.get("data"), "data")
    environments = object_of(content.get("environments"), "environments")
    built = _build_items(environments, "environments", _environment)
    flawed = {id: flaw for id in built if (flaw := environments[id].flaw())}  # what is built quickly has no lists
    for id in flawed:
        del environments[id]
    filters = object_of(content.get("filters"), "filters")
    _build_items(filters, "filters", _filter)
    return PutMessageData(path, PutContent(environments, filters, flawed))  # type: ignore[arg-type]  # ids are strings


def _build_items(items: dict[str, Any], name: str, build: Callable[[Any], EnvironmentRep | FilterRep]) -> Iterable[str]:
    """Replace each value by what is built from it, unless the quick decoder has; return whose values were replaced."""
    if build is _environment and set(map(type, items.values())) == {EnvironmentRep}:
        return ()
    id = ""
    try:
        for id, value in items.items():
            items[id] = build(value)  # the keys stay, so the dictionary may be changed on the way
    except WrongError as error:
        raise WrongError(f"{name}[{show(id)}]: {error}") from None
    return items


def _patch(document: Any) -> PatchMessageData:
    fields = object_of(document, "the message")
    path = string(fields, "path")
    item = fields.get("data")
    if type(item) is EnvironmentRep and environment_id(path) is not None:
        return _quick_patch(path, item)
    if environment_id(path) is None and filter_id(path) is None:
        return PatchMessageData(path)
    if "data" not in fields:
        raise WrongError("data is missing")
    if environment_id(path) is None:
        return PatchMessageData(path, _filter(item))
    environment = _environment(item)
    if flaw := environment.flaw():
        raise WrongError(flaw)
    return PatchMessageData(path, environment)


def _delete(document: Any) -> DeleteMessageData:
    fields = object_of(document, "the message")
    return DeleteMessageData(string(fields, "path"), integer(fields, "version"))


def _environment(document: Any) -> EnvironmentRep:
    if type(document) is EnvironmentRep:
        return document
    fields = object_of(document, "data")
    return EnvironmentRep(
        EnvironmentID(string(fields, "envID")),
        string(fields, "envKey"),
        string(fields, "envName"),
        MobileKey(string(fields, "mobKey")),
        string(fields, "projKey"),
        string(fields, "projName"),
        _sdk_key(fields.get("sdkKey")),
        integer(fields, "defaultTtl"),
        boolean(fields, "secureMode"),
        integer(fields, "version"),
        _keys(fields, "sdkKeys"),
        _keys(fields, "mobileKeys"),
        _extra(fields),
    )


def _sdk_key(document: Any) -> SDKKeyRep:
    if type(document) is SDKKeyRep:
        return document
    fields = object_of(document, "sdkKey")
    value = SDKKey(string(fields, "value"))
    expiring = object_of(fields.get("expiring"), "sdkKey.expiring")
    if not expiring:
        return SDKKeyRep(value)
    return SDKKeyRep(value, ExpiringKeyRep(SDKKey(string(expiring, "value")), unsigned(expiring, "timestamp")))


def _keys(fields: dict[str, Any], name: str) -> tuple[KeyRep, ...] | None:
    entries = fields.get(name)
    if entries is None:
        return None
    return tuple(_key(object_of(entry, name)) for entry in array_of(entries, name))


def _key(fields: dict[str, Any]) -> KeyRep:
    expiry = None if fields.get("expiry") is None else unsigned(fields, "expiry")
    return KeyRep(string(fields, "key"), string(fields, "value"), expiry, boolean(fields, "hasViews"))


def _extra(fields: dict[str, Any]) -> Mapping[str, Any]:
    unknown = {name: value for name, value in fields.items() if name not in _KNOWN}
    if not unknown:
        return NO_EXTRA
    make_plain(unknown)
    return ReadOnlyMapping(unknown)


def _filter(document: Any) -> FilterRep:
    fields = object_of(document, "data")
    return FilterRep(string(fields, "projKey"), FilterKey(string(fields, "key")), integer(fields, "version"))


_BUILDERS: dict[str, Callable[[Any], Message]] = {PUT_EVENT: _put, PATCH_EVENT: _patch, DELETE_EVENT: _delete}
