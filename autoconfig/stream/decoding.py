"""
From an event's data to a message; strict, as the relay's Go decoder is.

A field of the wrong type anywhere drops the whole event. ``null`` and a missing field leave the zero value; names match
without regard to case. msgspec decodes exactly what the service sends. What it refuses is read again in the loose way
(:mod:`autoconfig.loose_json`), the one environment or the envelope of the message alone: an environment with an unknown
field costs itself, and not the whole put.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..environments import NO_EXTRA, Int64
from ..exceptions import MalformedMessageError
from ..identifiers import show
from ..loose_json import convert, freeze, load
from ..messages import (
    DELETE_EVENT,
    PATCH_EVENT,
    PUT_EVENT,
    DeleteMessageData,
    EnvironmentRep,
    FilterRep,
    ItemKind,
    Message,
    PatchMessageData,
    PutContent,
)

T = TypeVar("T", bound=msgspec.Struct)

# What msgspec raises for what it does not take: its own errors and those of UTF-8 are ValueErrors, nesting is a
# RecursionError.
_REFUSALS = (ValueError, RecursionError)
_PUT_PATH = "/"
_ENVIRONMENTS = "/environments"
_KINDS = {_ENVIRONMENTS: ItemKind.ENVIRONMENT, "/filters": ItemKind.FILTER}


class UnknownPath(NamedTuple):
    """
    What is decoded from a message of a path that this library does not know, which is ignored.

    Attributes:
        event: The event's name.
        path: The path.
    """

    event: str
    path: str


def decode(event: str, data: bytes) -> Message | UnknownPath:
    """
    Return the message of a ``put``, ``patch`` or ``delete`` event.

    Raises:
        MalformedMessageError: The data is not JSON, or a field has the wrong type. The error's text holds no value.
        KeyError: The event has another name.
    """
    try:
        return _DECODERS[event](data)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
    # Raised here, outside of the except block: the error caught there holds the data in its frames.
    raise MalformedMessageError(event, reason)


class _Items(msgspec.Struct, forbid_unknown_fields=True):
    environments: dict[str, msgspec.Raw] | None = None
    filters: dict[str, FilterRep] | None = None


class _Put(msgspec.Struct, forbid_unknown_fields=True):
    path: str = ""
    data: _Items = msgspec.field(default_factory=_Items)


class _LooseItems(msgspec.Struct):
    environments: dict[str, Any] = {}
    filters: dict[str, FilterRep] = {}


class _LoosePut(msgspec.Struct):
    path: str = ""
    data: _LooseItems = msgspec.field(default_factory=_LooseItems)


class _EnvironmentPatch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    path: str
    data: EnvironmentRep


class _Patch(msgspec.Struct, forbid_unknown_fields=True):
    path: str = ""
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _LoosePatch(msgspec.Struct):
    path: str = ""
    data: Any = msgspec.UNSET


class _Delete(msgspec.Struct, forbid_unknown_fields=True):
    path: str = ""
    version: Int64 = 0


class _KnownFields(EnvironmentRep, frozen=True, gc=False, rename="camel", forbid_unknown_fields=False):
    pass


_NAMES = frozenset(_KnownFields.__struct_encode_fields__) - {"extra"}
_NAMES_IN_LOWER_CASE = frozenset(map(str.lower, _NAMES))
_values: Callable[[EnvironmentRep], Any] = operator.attrgetter(
    *(name for name in _KnownFields.__struct_fields__ if name != "extra")
)

_exact_put = msgspec.json.Decoder(_Put).decode
_exact_environment_patch = msgspec.json.Decoder(_EnvironmentPatch).decode
_exact_patch = msgspec.json.Decoder(_Patch).decode
_exact_delete = msgspec.json.Decoder(_Delete).decode
_exact_environment = msgspec.json.Decoder(EnvironmentRep).decode
_known_fields = msgspec.json.Decoder(_KnownFields).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode
_exact_filter = msgspec.json.Decoder(FilterRep).decode


def _put(data: bytes) -> PutContent | UnknownPath:
    put: _Put | _LoosePut
    try:
        put = _exact_put(data)
    except _REFUSALS:
        put = convert(load(data), _LoosePut)
    content = PutContent.sorted(_environments(put.data.environments or {}), put.data.filters or {})
    return content if put.path == _PUT_PATH else UnknownPath(PUT_EVENT, put.path)


def _environments(entries: Mapping[str, Any]) -> Iterator[tuple[str, EnvironmentRep]]:
    extra: Mapping[str, Any] = NO_EXTRA
    for id, entry in entries.items():
        try:
            rep = _environment(entry, extra)
            extra = rep.extra
            yield id, rep
        except ValueError as error:
            raise ValueError(f"environments[{show(id)}]: {error}") from None


def _environment(entry: Any, extra_before: Mapping[str, Any] = NO_EXTRA) -> EnvironmentRep:
    """
    Return an environment, from its text or, if the envelope was read in the loose way, from what that has made of it.

    One with unknown fields, and nothing else that is odd, is what a newer service would send. So that is quick, too:
    the loose way takes four times as long.

    Args:
        entry: The text, or what was made of it.
        extra_before: The unknown fields of the environment before it in a put. If there are some, this one will have
            some, too.
    """
    if type(entry) is not msgspec.Raw:  # perhaps a string, which must not be read as JSON
        return convert(entry, EnvironmentRep)
    if not extra_before:
        try:
            return _exact_environment(entry)
        except _REFUSALS:
            pass
    try:
        members = _members(entry)
        unknown = [name for name in members if name not in _NAMES]
        if _NAMES_IN_LOWER_CASE.isdisjoint(map(str.lower, unknown)):
            rep = EnvironmentRep(*_values(_known_fields(entry)))
            msgspec.structs.force_setattr(rep, "extra", freeze({name: _any(members[name]) for name in unknown}))
            return rep
    except _REFUSALS:
        pass
    return convert(load(bytes(entry)), EnvironmentRep)


def _patch(data: bytes) -> PatchMessageData | UnknownPath:
    try:
        patch = _exact_environment_patch(data)
    except _REFUSALS:
        return _other_patch(data)
    parent, _, id = patch.path.rpartition("/")
    if parent != _ENVIRONMENTS:
        return _other_patch(data)
    rep = patch.data
    return PatchMessageData(id, rep, rep.contradiction() if rep.env_id == id else None)


def _other_patch(data: bytes) -> PatchMessageData | UnknownPath:
    """Return the message of a patch that is not one of an environment in exactly the form that is known."""
    patch: _Patch | _LoosePatch
    try:
        patch = _exact_patch(data)
    except _REFUSALS:
        patch = convert(load(data), _LoosePatch)
    kind, id = _item_of(patch.path)
    if kind is None:
        return UnknownPath(PATCH_EVENT, patch.path)
    if patch.data is msgspec.UNSET:
        raise ValueError("data is missing")
    if kind is ItemKind.FILTER:
        return PatchMessageData(id, _item(patch.data, FilterRep, _exact_filter))
    rep = _environment(patch.data)
    return PatchMessageData(id, rep, rep.contradiction() if rep.env_id == id else None)


def _delete(data: bytes) -> DeleteMessageData | UnknownPath:
    delete = _item(data, _Delete, _exact_delete)
    kind, id = _item_of(delete.path)
    return UnknownPath(DELETE_EVENT, delete.path) if kind is None else DeleteMessageData(kind, id, delete.version)


def _item_of(path: str) -> tuple[ItemKind | None, str]:
    """Return kind and id of the item at a path, which is split at the last slash, neither cleaned nor unescaped."""
    parent, _, id = path.rpartition("/")
    return _KINDS.get(parent), id


def _item(entry: Any, cls: type[T], exact: Callable[[Any], T]) -> T:
    if not isinstance(entry, bytes | msgspec.Raw):
        return convert(entry, cls)
    try:
        return exact(entry)
    except _REFUSALS:
        return convert(load(bytes(entry)), cls)


_DECODERS: dict[str, Callable[[bytes], Message | UnknownPath]] = {
    PUT_EVENT: _put,
    PATCH_EVENT: _patch,
    DELETE_EVENT: _delete,
}
