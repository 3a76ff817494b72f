"""
The protocol's messages, as the wire has them, and the way from there to what handlers get.

Every field of a ``…Rep`` class has the zero value as its default, because the wire may omit any. ``to_json()`` and
``from_json()`` lose nothing: lists of keys, keys limited to views and unknown fields of an environment included.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import msgspec

from .environments import (
    NO_EXTRA,
    EnvIdentifiers,
    EnvironmentParams,
    ExpiringSDKKey,
    FilterParams,
    Int64,
    instant,
)
from .environments import KeyRep as KeyRep  # for those who import the wire from here
from .frozen import FrozenDict, Record
from .identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey, show
from .loose_json import convert

PUT_EVENT = "put"
"""Name of the event that brings everything."""

PATCH_EVENT = "patch"
"""Name of the event that brings one item, new or changed."""

DELETE_EVENT = "delete"
"""Name of the event that takes one item away."""

RECONNECT_EVENT = "reconnect"
"""Name of the event that asks for a new connection. Its data is ignored."""

_MAX_UNSIGNED = 2**64 - 1
_LISTS_OF_KEYS = ("sdkKeys", "sdkKey.value"), ("mobileKeys", "mobKey")  # each with the key that it has to hold

_UNFILTERED = FilterKey("")


class ItemKind(str, enum.Enum):
    """The kinds of items. Each item has an id and a version."""

    ENVIRONMENT = "environment"
    FILTER = "filter"


class ExpiringKeyRep(Record, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """
    ``sdkKey.expiring`` on the wire.

    Attributes:
        value: The key; ``""`` means that there is none. Masked in the repr.
        timestamp: When it expires, in milliseconds since 1970-01-01 UTC.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"value"})

    value: SDKKey = SDKKey("")
    timestamp: Annotated[int, msgspec.Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.timestamp > _MAX_UNSIGNED:  # more than msgspec's own bounds can say
            raise ValueError("must be an unsigned 64-bit integer")


class SDKKeyRep(Record, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """
    ``sdkKey`` on the wire: the current key and, during a rotation, the previous one.

    Attributes:
        value: The current key. Masked in the repr.
        expiring: The previous key; ``None``, or a ``value`` of ``""``, when there is none.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"value"})

    value: SDKKey = SDKKey("")
    expiring: ExpiringKeyRep | None = None


class EnvironmentRep(Record, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """
    An environment on the wire. The fields stand in the order in which the service sends them.

    Attributes:
        env_id: ``envId``.
        env_key: ``envKey``.
        env_name: ``envName``.
        mob_key: ``mobKey``. Masked in the repr.
        proj_name: ``projName``.
        proj_key: ``projKey``.
        sdk_key: ``sdkKey``.
        default_ttl: ``defaultTtl``, in minutes.
        secure_mode: ``secureMode``.
        version: ``version``. Only a higher one replaces what is known.
        sdk_keys: ``sdkKeys``; ``None`` or empty if the service does not list them.
        mobile_keys: ``mobileKeys``; ``None`` or empty if the service does not list them.
        extra: The fields that this library does not know. The repr has their names only.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"mob_key"})

    env_id: EnvironmentID = EnvironmentID("")
    env_key: str = ""
    env_name: str = ""
    mob_key: MobileKey = MobileKey("")
    proj_name: str = ""
    proj_key: str = ""
    sdk_key: SDKKeyRep = SDKKeyRep()
    default_ttl: Int64 = 0
    secure_mode: bool = False
    version: Int64 = 0
    sdk_keys: tuple[KeyRep, ...] | None = None
    mobile_keys: tuple[KeyRep, ...] | None = None
    extra: FrozenDict = NO_EXTRA  # no field of the wire: msgspec cannot decode this class, so it refuses that name

    def describe(self) -> str:
        """Return the environment in words for a log line: its id and its names, no key."""
        return f"environment {show(self.env_id)} ({show(self.proj_name)} {show(self.env_name)})"

    def contradiction(self) -> str | None:
        """Return what is contradictory in the lists of keys, for which the environment is refused; else ``None``."""
        anchor: str
        keys, anchor = self.sdk_keys, self.sdk_key.value
        for names in _LISTS_OF_KEYS:
            if keys:
                found = False
                for key in keys:
                    value = key.value
                    if not value:
                        return f"{names[0]} has an entry without a value"
                    if value == anchor:
                        found = True
                if not found:
                    return f"{names[0]} does not hold the key of {names[1]}"
            keys, anchor = self.mobile_keys, self.mob_key
        return None

    def to_params(self, id: str = "", shared: dict[str, str] | None = None) -> EnvironmentParams:
        """
        Return the environment as handlers get it.

        Times beyond what :mod:`datetime` can hold become the nearest that it can.

        Args:
            id: Not used; a filter needs it, whose id is not part of it.
            shared: The strings of other environments of a put, of which those of one project can be shared.
        """
        expiring = self.sdk_key.expiring
        proj_key, proj_name = self.proj_key, self.proj_name
        if shared is not None:
            proj_key, proj_name = shared.setdefault(proj_key, proj_key), shared.setdefault(proj_name, proj_name)
        return EnvironmentParams(
            self.env_id,
            EnvIdentifiers(self.env_key, self.env_name, proj_key, proj_name, _UNFILTERED),
            self.sdk_key.value,
            self.mob_key,
            ExpiringSDKKey(expiring.value, instant(expiring.timestamp)) if expiring and expiring.value else None,
            _minutes(self.default_ttl),
            self.secure_mode,
            self.sdk_keys,
            self.mobile_keys,
            self.extra,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the environment as the service sends it, whole keys in it: a dict to give to ``json``."""
        return {**_to_json(self), **self.extra}

    @classmethod
    def from_json(cls, document: object) -> EnvironmentRep:
        """
        Return the environment that a JSON document holds.

        Raises:
            ValueError: A field has the wrong type; the text names it and holds no value.
        """
        return convert(document, cls)


class FilterRep(
    Record, frozen=True, gc=False, rename={"proj_key": "projKey", "filter_key": "key"}, forbid_unknown_fields=True
):
    """
    A payload filter on the wire. Its id is not part of it: the wire has that in the path or the map's key.

    Attributes:
        proj_key: ``projKey``.
        filter_key: ``key``.
        version: ``version``. Only a higher one replaces what is known.
    """

    proj_key: str = ""
    filter_key: FilterKey = FilterKey("")
    version: Int64 = 0

    def describe(self) -> str:
        """Return the filter in words for a log line."""
        return f"filter {show(self.filter_key)} (project {show(self.proj_key)})"

    def to_params(self, id: str, shared: dict[str, str] | None = None) -> FilterParams:
        """Return the filter as handlers get it, under the given id."""
        return FilterParams(self.proj_key, FilterID(id), self.filter_key)

    def to_json(self) -> dict[str, Any]:
        """Return the filter as the service sends it: a dict to give to ``json``."""
        return _to_json(self)

    @classmethod
    def from_json(cls, document: object) -> FilterRep:
        """Return the filter that a JSON document holds; ``ValueError`` as for an environment."""
        return convert(document, cls)


class PutContent(Record, frozen=True):
    """
    A put: the full configuration.

    Attributes:
        environments: The environments by id.
        filters: The payload filters by id.
        refused: Why an environment whose keys contradict each other is not among the others, by id. What is known of
            it stays.
        foreign: The ids of entries that hold another id than the one they are listed under. They are not applied, and
            what is known of them stays.
    """

    environments: Mapping[str, EnvironmentRep] = {}
    filters: Mapping[str, FilterRep] = {}
    refused: Mapping[str, str] = {}
    foreign: Mapping[str, str] = {}

    def to_json(self) -> dict[str, Any]:
        """Return the ``data`` of a put as the service sends it, whole keys in it: a dict to give to ``json``."""
        return {
            "environments": {id: rep.to_json() for id, rep in self.environments.items()},
            "filters": {id: rep.to_json() for id, rep in self.filters.items()},
        }

    @classmethod
    def from_json(cls, document: object) -> PutContent:
        """
        Return the content that the ``data`` of a put holds.

        Raises:
            ValueError: A field has the wrong type; the text names it and holds no value.
        """
        items = convert(document, _PutItems)
        return cls.sorted(_converted(items.environments), items.filters)

    @classmethod
    def sorted(cls, environments: Iterable[tuple[str, EnvironmentRep]], filters: Mapping[str, FilterRep]) -> PutContent:
        """Return the content of a put, with each environment where it belongs: usable, refused or foreign."""
        usable: dict[str, EnvironmentRep] = {}
        refused: dict[str, str] = {}
        foreign: dict[str, str] = {}
        for id, rep in environments:
            if rep.env_id != id:
                foreign[id] = rep.env_id
            elif (rep.sdk_keys or rep.mobile_keys) and (reason := rep.contradiction()):
                refused[id] = reason
            else:
                usable[id] = rep
        return cls(usable, filters, refused, foreign)


class _PutItems(msgspec.Struct, frozen=True):
    environments: dict[str, Any] = {}
    filters: dict[str, FilterRep] = {}


def _converted(entries: Mapping[str, Any]) -> Iterator[tuple[str, EnvironmentRep]]:
    for id, entry in entries.items():
        try:
            yield id, EnvironmentRep.from_json(entry)
        except ValueError as error:
            raise ValueError(f"environments[{show(id)}]: {error}") from None


class RepeatedPut(Record, frozen=True, gc=False):
    """
    A put of the same bytes as the message before it, and so a full configuration in which nothing is new.

    Attributes:
        environments: How many environments it has; all of them can be used.
        filters: How many filters it has.
    """

    environments: int
    filters: int


class PatchMessageData(Record, frozen=True, gc=False):
    """
    A patch: one item, new or changed.

    Attributes:
        id: The item's id, from the path.
        data: The item.
        refused: Why an environment is refused; ``None`` if it is not.
    """

    id: str
    data: EnvironmentRep | FilterRep
    refused: str | None = None


class DeleteMessageData(Record, frozen=True, gc=False):
    """
    A deletion of one item.

    Attributes:
        kind: What kind of item.
        id: Its id, from the path.
        version: The version of the deletion.
    """

    kind: ItemKind
    id: str
    version: int


class CachedContent(Record, frozen=True):
    """
    The content of a cache, saved by an earlier process. It comes before all other messages, or not at all.

    Attributes:
        content: The configuration.
        saved_at: When it was saved; ``None`` if that is unknown.
    """

    content: PutContent
    saved_at: datetime | None = None


Message = PutContent | RepeatedPut | PatchMessageData | DeleteMessageData | CachedContent

Batch = list[Message]
"""The messages of one read of the stream: one item of the queue between the threads. An empty one is the last."""


def _to_json(record: Record) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, wire_name in zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True):
        value = getattr(record, name)
        if value is None or name == "extra" or (name == "has_views" and not value):
            continue
        if isinstance(value, Record):
            value = _to_json(value)
        elif isinstance(value, tuple | list):
            value = [_to_json(key) if isinstance(key, Record) else key for key in value]
        document[wire_name] = value
    return document


@lru_cache(maxsize=256)  # environments share a few values, so most of them share one timedelta
def _minutes(number: int) -> timedelta:
    try:
        return timedelta(minutes=number)
    except OverflowError:
        return timedelta.max if number > 0 else timedelta.min
