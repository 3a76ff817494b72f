"""How Redis keeps a configuration: the picture in a hash, the changes in a stream, values encrypted or not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from ..exceptions import MalformedMessageError
from ..messages import DELETE_EVENT, PATCH_EVENT, PUT_EVENT, EnvironmentRep, FilterRep, Message, PutContent
from ..stream.decoding import decode

Fields = dict[bytes, bytes]
"""The JSON of each item by its field in the hash: ``e:ID`` an environment, ``f:ID`` a filter, ``!`` unusable ones."""

UNUSABLE = b"!"
META = b"#"  # the first character of the fields about the picture itself
_KINDS = {b"e:": "environments", b"f:": "filters"}
_PURPOSE = b"autoconfig fleet"
_changes = msgspec.json.Decoder(list[tuple[str, str, msgspec.Raw]]).decode
_lists = msgspec.json.Decoder(dict[str, dict[str, str]]).decode


class Change(NamedTuple):
    """
    One change of the picture.

    Attributes:
        event: ``patch`` or ``delete``; ``""`` if followers only note the change.
        field: The item's field.
        data: The item; for a deletion, its version.
    """

    event: str
    field: bytes
    data: bytes


class Picture(NamedTuple):
    """
    The content of the hash at one moment.

    Attributes:
        sequence: The position in the log; 0 if there is no picture.
        birth: A random value; a new one each time that the whole picture is written, and not a difference.
        owner: Who leads; ``""`` if nobody does.
        term: The term of the last leader.
        beat: A number that the leader changes as long as it lives.
        fields: The items.
    """

    sequence: int
    birth: bytes
    owner: str
    term: int
    beat: bytes
    fields: Fields


class Form:
    """
    Encodes items for Redis, and decodes them.

    Args:
        name: The fleet's name.
        secret: Encrypts and authenticates each value together with its place; ``None`` for plain JSON.

    Raises:
        TypeError: An argument is not a string.
        ValueError: The name or the secret is empty, or the name has a brace.
        ImportError: There is a secret, and the package ``cryptography`` is not installed.
    """

    def __init__(self, name: str, secret: str | None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, not {type(name).__name__}")
        if not name or "{" in name or "}" in name:
            raise ValueError("name must not be empty, and have no braces")
        self._name = name.encode()
        # The braces keep both keys on one node of a cluster.
        self.state, self.log = f"{{autoconfig:{name}}}:state", f"{{autoconfig:{name}}}:log"
        self._cipher = None
        if secret is not None:
            from ..encryption import Cipher

            self._cipher = Cipher(secret, _PURPOSE)

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Return the data as Redis keeps it in this place."""
        return self._cipher.encrypt(data, self._bound(place)) if self._cipher else data

    def open(self, data: bytes, place: bytes) -> bytes:
        """
        Return the data.

        Raises:
            MalformedMessageError: It is damaged, from another place, or encrypted with another secret.
        """
        if self._cipher is None:
            return data
        try:
            return self._cipher.decrypt(data, self._bound(place))
        except ValueError:
            pass
        raise MalformedMessageError(PUT_EVENT, "it cannot be decrypted: another secret, or damaged")

    def picture(self, answer: list[bytes]) -> Picture:
        """Return the picture in the answer to ``HGETALL``; its items are still as Redis keeps them."""
        found = dict(zip(answer[::2], answer[1::2], strict=True))
        fields = {field: value for field, value in found.items() if not field.startswith(META)}
        return _picture([found.get(name) for name in META_FIELDS], fields)

    def open_all(self, fields: Fields) -> Fields:
        """Return the decrypted items of a picture; see :meth:`open`."""
        return {field: self.open(value, field) for field, value in fields.items()}

    def _bound(self, place: bytes) -> bytes:
        return self._name + b"\n" + place


META_FIELDS = (b"#seq", b"#born", b"#owner", b"#term", b"#beat")


def summary(answer: list[bytes | None]) -> Picture:
    """Return the picture, without its items, in the answer to ``HMGET`` of :data:`META_FIELDS`."""
    return _picture(answer, {})


def _picture(values: list[bytes | None], fields: Fields) -> Picture:
    sequence, birth, owner, term, beat = values
    shown = (owner or b"").decode("utf-8", "replace")
    try:
        return Picture(int(sequence or 0), birth or b"", shown, int(term or 0), beat or b"", fields)
    except ValueError:
        pass
    raise MalformedMessageError(PUT_EVENT, "its position or its term is not a number")


def fields_of(content: PutContent) -> Fields:
    """Return the fields of a full configuration."""
    fields = {environment_field(id): item_json(rep) for id, rep in content.environments.items()}
    fields.update((filter_field(id), item_json(rep)) for id, rep in content.filters.items())
    fields[UNUSABLE] = unusable_json(content.refused, content.foreign)
    return fields


def environment_field(id: str) -> bytes:
    """Return the field of an environment."""
    return b"e:" + id.encode("utf-8", "surrogatepass")


def filter_field(id: str) -> bytes:
    """Return the field of a filter."""
    return b"f:" + id.encode("utf-8", "surrogatepass")


def item_json(rep: EnvironmentRep | FilterRep) -> bytes:
    """Return an item as the service sends it."""
    return _json(rep.to_json())


def unusable_json(refused: Mapping[str, str], foreign: Mapping[str, str]) -> bytes:
    """Return the list of a put's unusable entries; followers keep what they know of these."""
    return _json({"refused": dict(refused), "foreign": dict(foreign)})


def put_of(fields: Fields) -> PutContent:
    """
    Return the put of a whole picture, decoded as one of the service's.

    Raises:
        MalformedMessageError: The picture is malformed.
    """
    members: dict[str, list[bytes]] = {"environments": [], "filters": []}
    for field, value in fields.items():
        if kind := _KINDS.get(field[:2]):
            members[kind].append(_id(field) + b":" + value)
    data = b",".join(b'"%s":{%s}' % (kind.encode(), b",".join(items)) for kind, items in members.items())
    content = decode(PUT_EVENT, b'{"path":"/","data":{%s}}' % data)
    assert isinstance(content, PutContent)
    if UNUSABLE not in fields:
        return content
    try:
        unusable = _lists(fields[UNUSABLE])
    except ValueError:
        raise MalformedMessageError(PUT_EVENT, "the list of unusable entries is malformed") from None
    refused = {**content.refused, **unusable.get("refused", {})}
    return replace(content, refused=refused, foreign={**content.foreign, **unusable.get("foreign", {})})


def message_of(change: Change) -> Message:
    """
    Return the message of a patch or a deletion, decoded as one of the service's.

    Raises:
        MalformedMessageError: The change is malformed.
    """
    path = b'"/%s/%s' % (_KINDS.get(change.field[:2], "").encode(), _id(change.field)[1:])
    name = b"version" if change.event == DELETE_EVENT else b"data"
    message = decode(change.event, b'{"path":%s,"%s":%s}' % (path, name, change.data))
    if isinstance(message, tuple):
        raise MalformedMessageError(change.event, "its field is of no known kind")
    return message


def apply(change: Change, fields: Fields) -> None:
    """Apply a change to a picture."""
    if change.event == DELETE_EVENT:
        fields.pop(change.field, None)
    else:
        fields[change.field] = change.data


def encode_changes(changes: Iterable[Change]) -> bytes:
    """Return changes as one JSON text, in order."""
    parts = (
        b"[%s,%s,%s]" % (_json(event), _json(field.decode("utf-8", "surrogatepass")), data)
        for event, field, data in changes
    )
    return b"[%s]" % b",".join(parts)


def decode_changes(data: bytes) -> list[Change]:
    """
    Return what :func:`encode_changes` was given.

    Raises:
        MalformedMessageError: The text is something else.
    """
    try:
        return [
            Change(event, field.encode("utf-8", "surrogatepass"), bytes(value))
            for event, field, value in _changes(data)
        ]
    except ValueError:
        pass
    raise MalformedMessageError(PATCH_EVENT, "it is not a list of changes; it may be encrypted, and there is no secret")


def difference(old: Fields, new: Fields) -> list[Change]:
    """Return the changes between two pictures, as those of a put, in which a deletion has no version."""
    changes = [Change(DELETE_EVENT, field, b"0") for field in old if field not in new]
    return changes + [Change(PATCH_EVENT, field, value) for field, value in new.items() if old.get(field) != value]


def _id(field: bytes) -> bytes:
    return _json(field[2:].decode("utf-8", "surrogatepass"))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
