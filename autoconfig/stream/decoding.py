"""
From a stream's bytes to messages; strict, as the relay's Go decoder is.

A field of the wrong type anywhere drops the whole event. ``null`` and a missing field leave the zero value; names match
without regard to case. msgspec decodes exactly what the service sends. What it refuses is read again in the loose way
(:mod:`autoconfig.loose_json`), the one environment or the envelope of the message alone: an environment with an unknown
field costs itself, and not the whole put.
"""

from __future__ import annotations

import hashlib
import logging
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ..environments import Int64
from ..exceptions import EventTooLargeError, MalformedMessageError, StreamError
from ..identifiers import show
from ..loose_json import convert, freeze, load
from ..messages import (
    DELETE_EVENT,
    PATCH_EVENT,
    PUT_EVENT,
    RECONNECT_EVENT,
    Batch,
    DeleteMessageData,
    EnvironmentRep,
    FilterRep,
    ItemKind,
    Message,
    PatchMessageData,
    PutContent,
    RepeatedPut,
)
from ..safe_logger import Logger
from .events import EventParser
from .failures import ReconnectRequestedError, RefusedMessageError

Buffer = bytes | memoryview

# What msgspec raises for what it does not take: its own errors and those of UTF-8 are ValueErrors, nesting is a
# RecursionError.
_REFUSALS = (ValueError, RecursionError)
_RECONNECT = RECONNECT_EVENT.encode()
_REFUSABLE = PatchMessageData, PutContent
_PUT_PATH = "/"
_ENVIRONMENTS = "/environments"
_ITEMS: dict[str, tuple[ItemKind, type[EnvironmentRep | FilterRep]]] = {
    _ENVIRONMENTS: (ItemKind.ENVIRONMENT, EnvironmentRep),
    "/filters": (ItemKind.FILTER, FilterRep),
}


class UnknownPath(NamedTuple):
    """
    What is decoded from a message of a path that this library does not know, which is ignored.

    Attributes:
        event: The event's name.
        path: The path.
    """

    event: str
    path: str


class Received(NamedTuple):
    """
    What came in one read.

    Attributes:
        events: The names of the events; they prove that the connection delivers.
        messages: The messages.
        refusal: The error that names the refused environments, if others of the put can be used.
        ending: Why the connection must end now.
    """

    events: Sequence[str]
    messages: Batch
    refusal: RefusedMessageError | None = None
    ending: StreamError | None = None


class Decoder:
    """
    Turns the bytes of a stream into messages, connection after connection. The reader's thread alone uses it.

    The service sends the same put at each connection, unless something has changed. A put whose bytes are those of the
    message before it is not decoded again.

    Args:
        max_event_bytes: The largest event.
        logger: For what is ignored.

    Attributes:
        parser: Finds the events of the present connection.
    """

    def __init__(self, max_event_bytes: int, logger: Logger) -> None:
        self.parser = EventParser(max_event_bytes=max_event_bytes)
        self._max_event_bytes = max_event_bytes
        self._log = logger
        self._digest = b""  # of the last message, if that was a put which can be used as a whole
        self._repeated = RepeatedPut(0, 0)

    def begin(self) -> None:
        """Begin a connection: forget the event that the last one left incomplete."""
        self.parser = EventParser(max_event_bytes=self._max_event_bytes, last_event_id=self.parser.last_event_id)

    def forget_put(self) -> None:
        """Decode the next put, whatever it is, because the last one may not have been handed over."""
        self._digest = b""

    def feed(self, piece: bytes) -> Received:
        """Take the next bytes; return what they bring, up to an event that ends the connection."""
        names: list[str] = []
        messages: Batch = []
        refusal: RefusedMessageError | None = None
        for name, data in self.parser.feed(piece):
            known = _KNOWN.get(name)
            if known is None:
                names.append(self._other_event(name))
                if name == _RECONNECT:
                    return Received(names, messages, refusal, ReconnectRequestedError())
                continue
            event, read = known
            try:
                if event is PUT_EVENT:
                    message = self._put(data or b"")
                else:
                    message = read(data or b"")
                    self._digest = b""
            except _REFUSALS as error:
                return Received(names, messages, refusal, _malformed(event, error))
            if isinstance(message, UnknownPath):
                self._note_ignored(message)
            else:
                messages.append(message)
                if isinstance(message, _REFUSABLE) and message.refused:
                    refusal = refusal_of(message)
                    if not (isinstance(message, PutContent) and message.environments):  # nothing of it can be used
                        return Received(names, messages, None, refusal)
            names.append(event)
        ending = EventTooLargeError(self._max_event_bytes) if self.parser.oversized else None
        return Received(names, messages, refusal, ending)

    def _put(self, data: Buffer) -> Message | UnknownPath:
        digest = hashlib.sha256(data, usedforsecurity=False).digest()
        if digest == self._digest:
            return self._repeated
        content = _put(data)
        if isinstance(content, PutContent):
            usable = not content.refused and not content.foreign
            self._digest = digest if usable else b""
            self._repeated = RepeatedPut(len(content.environments), len(content.filters))
        return content

    def _other_event(self, name: bytes) -> str:
        event = name.decode("utf-8", "replace")
        if event != RECONNECT_EVENT:
            self._log.warning("Ignored an event of unknown name %s", show(event))
        return event

    def _note_ignored(self, message: UnknownPath) -> None:
        level = logging.INFO if message.event == PUT_EVENT else logging.DEBUG
        self._log.log(level, "Ignored a %s of the unknown path %s", message.event, show(message.path))


def refusal_of(message: PutContent | PatchMessageData) -> RefusedMessageError:
    """Return what names the environments of a message that are refused."""
    if isinstance(message, PatchMessageData):
        return RefusedMessageError(PATCH_EVENT, f"environments[{show(message.id)}]: {message.refused}")
    id, reason = next(iter(message.refused.items()))
    others = f", and {len(message.refused) - 1} more" if len(message.refused) > 1 else ""
    return RefusedMessageError(PUT_EVENT, f"environments[{show(id)}]: {reason}{others}")


def decode(event: str, data: Buffer) -> Message | UnknownPath:
    """
    Return the message of a ``put``, ``patch`` or ``delete`` event.

    Raises:
        MalformedMessageError: The data is not JSON, or a field has the wrong type. The error's text holds no value.
        KeyError: The event has another name.
    """
    try:
        return _DECODERS[event](data)
    except _REFUSALS as error:
        malformed = _malformed(event, error)
    # Raised here, outside of the except block: the error caught there holds the data in its frames.
    raise malformed


def _malformed(event: str, error: Exception) -> MalformedMessageError:
    return MalformedMessageError(event, str(error) if isinstance(error, ValueError) else "nested too deeply")


class _Items(msgspec.Struct, forbid_unknown_fields=True):
    environments: dict[str, msgspec.Raw] | None = None
    filters: dict[str, FilterRep] | None = None


class _Put(msgspec.Struct, forbid_unknown_fields=True):
    path: str = ""
    data: _Items = msgspec.field(default_factory=_Items)


class _EnvironmentPatch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    path: str
    data: EnvironmentRep


class _Delete(msgspec.Struct, forbid_unknown_fields=True):
    path: str = ""
    version: Int64 = 0


class _Loose(msgspec.Struct):
    path: str = ""
    data: Any = msgspec.UNSET


class _KnownFields(EnvironmentRep, frozen=True, gc=False, rename="camel", forbid_unknown_fields=False):
    pass


_NAMES = frozenset(_KnownFields.__struct_encode_fields__) - {"extra"}
_NAMES_IN_LOWER_CASE = frozenset(map(str.lower, _NAMES))
_values: Callable[[EnvironmentRep], Any] = operator.attrgetter(
    *(name for name in _KnownFields.__struct_fields__ if name != "extra")
)

_exact_put = msgspec.json.Decoder(_Put).decode
_exact_environment_patch = msgspec.json.Decoder(_EnvironmentPatch).decode
_exact_delete = msgspec.json.Decoder(_Delete).decode
_exact_environment = msgspec.json.Decoder(EnvironmentRep).decode
_known_fields = msgspec.json.Decoder(_KnownFields).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode


def _put(data: Buffer) -> PutContent | UnknownPath:
    try:
        put = _exact_put(data)
    except _REFUSALS:
        return _loose_put(data)
    content = PutContent.sorted(_environments(put.data.environments or {}), put.data.filters or {})
    return content if put.path == _PUT_PATH else UnknownPath(PUT_EVENT, put.path)


def _loose_put(data: Buffer) -> PutContent | UnknownPath:
    put = convert(load(data), _Loose)
    content = PutContent.from_json({} if put.data is msgspec.UNSET else put.data)
    return content if put.path == _PUT_PATH else UnknownPath(PUT_EVENT, put.path)


def _environments(entries: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, EnvironmentRep]]:
    read: Callable[[msgspec.Raw], EnvironmentRep] = _exact_environment
    for id, entry in entries.items():
        try:
            rep = read(entry)
        except _REFUSALS:
            try:
                rep = _inexact_environment(entry)
            except ValueError as error:
                raise ValueError(f"environments[{show(id)}]: {error}") from None
        # If one has fields that are not known, so has the next.
        read = _inexact_environment if rep.extra else _exact_environment
        yield id, rep


def _inexact_environment(entry: msgspec.Raw) -> EnvironmentRep:
    """
    Return an environment from text that may deviate from the exact form.

    One with unknown fields, and nothing else that is odd, is what a newer service would send. So that is quick, too:
    the loose way takes four times as long.
    """
    try:
        members = _members(entry)
        unknown = [name for name in members if name not in _NAMES]
        if _NAMES_IN_LOWER_CASE.isdisjoint(map(str.lower, unknown)):
            rep = EnvironmentRep(*_values(_known_fields(entry)))
            msgspec.structs.force_setattr(rep, "extra", freeze({name: _any(members[name]) for name in unknown}))
            return rep
    except _REFUSALS:
        pass
    return convert(load(entry), EnvironmentRep)


def _patch(data: Buffer) -> PatchMessageData | UnknownPath:
    try:
        patch = _exact_environment_patch(data)
    except _REFUSALS:
        return _loose_patch(data)
    parent, _, id = patch.path.rpartition("/")  # split at the last slash, neither cleaned nor unescaped
    if parent != _ENVIRONMENTS:
        return _loose_patch(data)
    rep = patch.data
    return PatchMessageData(id, rep, rep.contradiction() if rep.env_id == id else None)


def _loose_patch(data: Buffer) -> PatchMessageData | UnknownPath:
    patch = convert(load(data), _Loose)
    parent, _, id = patch.path.rpartition("/")
    if parent not in _ITEMS:
        return UnknownPath(PATCH_EVENT, patch.path)
    if patch.data is msgspec.UNSET:
        raise ValueError("data is missing")
    _, cls = _ITEMS[parent]
    rep = convert(patch.data, cls)
    refused = rep.contradiction() if isinstance(rep, EnvironmentRep) and rep.env_id == id else None
    return PatchMessageData(id, rep, refused)


def _delete(data: Buffer) -> DeleteMessageData | UnknownPath:
    try:
        delete = _exact_delete(data)
    except _REFUSALS:
        delete = convert(load(data), _Delete)
    parent, _, id = delete.path.rpartition("/")
    if parent not in _ITEMS:
        return UnknownPath(DELETE_EVENT, delete.path)
    kind, _ = _ITEMS[parent]
    return DeleteMessageData(kind, id, delete.version)


_DECODERS: dict[str, Callable[[Buffer], Message | UnknownPath]] = {
    PUT_EVENT: _put,
    PATCH_EVENT: _patch,
    DELETE_EVENT: _delete,
}
_KNOWN = {event.encode(): (event, read) for event, read in _DECODERS.items()}
