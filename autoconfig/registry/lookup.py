"""What the registry is asked for: dicts that one thread changes and any thread may read."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from ..environments import AcceptedKey, EnvironmentParams
from ..identifiers import EnvironmentID
from ..validation import check_instance

K = TypeVar("K")
V = TypeVar("V")

Ends = dict[Hashable, datetime | None]
"""What an environment goes by, and until when."""


class Table(Generic[K, V]):
    """A dict that one thread changes, through the methods, and any thread may read."""

    def __init__(self) -> None:
        self.items: dict[K, V] = {}
        # Holds the snapshot once that was made; a new one after each change. A dict, because setdefault() is atomic: of
        # the copies that several threads make at the same time, all get the first.
        self._snapshot_slot: dict[None, Mapping[K, V]] = {}

    def set(self, key: K, value: V) -> None:
        """Set an item."""
        self.items[key] = value
        self._snapshot_slot = {}

    def pop(self, key: K) -> None:
        """Drop an item; ``KeyError`` if it is not there."""
        del self.items[key]
        self._snapshot_slot = {}

    def snapshot(self) -> Mapping[K, V]:
        """Return a copy that never changes; the same one until the next change."""
        slot = self._snapshot_slot  # before the copy: one from before a change must not be kept as one from after it
        if (found := slot.get(None)) is not None:
            return found
        return slot.setdefault(None, MappingProxyType(self.items.copy()))


class _Entry(NamedTuple):
    """An environment that goes by a key until ``end``, and the entry of one that came by the same key before it."""

    params: EnvironmentParams
    end: datetime | None
    older: _Entry | None


class Index:
    """Leads from keys to environments. One thread changes it; any may read, as an entry is replaced in one step."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}

    def find(self, key: Hashable, at: datetime | None = None) -> EnvironmentParams | None:
        """Return the newest environment that goes by the key at that time, by default now."""
        if at is not None and check_instance("at", at, datetime).utcoffset() is None:
            raise ValueError("at must be an aware datetime, not a naive one")
        entry = self._entries.get(key)
        while entry is not None:
            if entry.end is None or (at or datetime.now(timezone.utc)) < entry.end:
                return entry.params
            entry = entry.older
        return None

    def claim(self, params: EnvironmentParams, keys: Ends, held: Container[Hashable]) -> None:
        """Let the environment go by the keys, some of which it may hold already."""
        for key, end in keys.items():
            top = self._entries.get(key)
            self._entries[key] = _Entry(params, end, _without(top, params.env_id) if key in held else top)

    def release(self, env_id: EnvironmentID, keys: Iterable[Hashable]) -> None:
        """Let the environment no longer go by these keys of its; others that go by them still do."""
        for key in keys:
            top = _without(self._entries.get(key), env_id)
            if top is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = top


def _without(entry: _Entry | None, env_id: EnvironmentID) -> _Entry | None:
    """Return the entries without the one of an environment."""
    newer = []
    while entry is not None and entry.params.env_id != env_id:
        newer.append(entry)
        entry = entry.older
    rest = entry.older if entry else None
    for one in reversed(newer):
        rest = one._replace(older=rest)
    return rest


def ends(keys: Iterable[AcceptedKey]) -> Ends:
    """Return until when each key is accepted; the empty string is none."""
    return {key.value: key.expiration for key in keys if key.value}
