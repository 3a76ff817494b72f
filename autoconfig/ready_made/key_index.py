"""Finds environments by their keys; several environments may share a key for a while."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from datetime import datetime, timezone

from ..environments import EnvironmentParams
from ..identifiers import EnvironmentID
from ..validation import check_instance

Keys = dict[Hashable, datetime | None]
"""Keys of an environment, and when each of them expires."""

NO_KEYS: tuple[Keys, Keys, Keys] = ({}, {}, {})


def keys_of(params: EnvironmentParams) -> tuple[Keys, Keys, Keys]:
    """Return the names, SDK keys and mobile keys by which an environment is found. An empty string is not a key."""
    identifiers = params.identifiers
    return (
        {(identifiers.proj_key, identifiers.env_key): None} if identifiers.env_key else {},
        {key.value: key.expiration for key in params.accepted_sdk_keys if key.value},
        {key.value: key.expiration for key in params.accepted_mobile_keys if key.value},
    )


_Entry = tuple[EnvironmentParams, datetime | None, "_Entry | None"]
"""An environment that has the key, when the key expires, and the entry of an environment that had it before."""


class KeyIndex:
    """Finds environments by their keys. One thread changes it; any may read: an entry is replaced in one step."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}

    def find(self, key: Hashable, at: datetime | None = None) -> EnvironmentParams | None:
        """Return the newest environment that has the key at that time, by default now."""
        if at is not None and check_instance("at", at, datetime).utcoffset() is None:
            raise ValueError("at must be an aware datetime, not a naive one")
        entry = self._entries.get(key)
        while entry is not None:
            params, expiration, entry = entry
            if expiration is None or (at or datetime.now(timezone.utc)) < expiration:
                return params
        return None

    def add(self, keys: Keys, params: EnvironmentParams, old_keys: Container[Hashable]) -> None:
        """Add an environment under these keys; ``old_keys`` has those under which it was added before."""
        entries = self._entries
        for key, expiration in keys.items():
            entry = entries.get(key)
            entries[key] = (params, expiration, _without(entry, params.env_id) if key in old_keys else entry)

    def remove(self, keys: Iterable[Hashable], env_id: EnvironmentID) -> None:
        """Remove an environment from under these keys; other environments that have them are still found."""
        for key in keys:
            entry = _without(self._entries.get(key), env_id)
            if entry is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry


def _without(entry: _Entry | None, env_id: EnvironmentID) -> _Entry | None:
    """Return a key's entries without that of an environment."""
    newer = []
    while entry is not None and entry[0].env_id != env_id:
        newer.append(entry)
        entry = entry[2]
    rest = entry[2] if entry else None
    for params, expiration, _ in reversed(newer):
        rest = (params, expiration, rest)
    return rest
