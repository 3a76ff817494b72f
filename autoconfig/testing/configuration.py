"""What the emulated service knows: environments, filters, and the versions of both, those of deleted ones too."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Generic, TypeVar

import attrs

from ..identifiers import EnvironmentID, FilterID, SDKKey
from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
from .wire import put_event

Id = TypeVar("Id", EnvironmentID, FilterID)
Rep = TypeVar("Rep", EnvironmentRep, FilterRep)


class VersionTable(Generic[Id, Rep]):
    """
    Items by their id; an item's version only ever grows, also while the item is deleted.

    Attributes:
        items: The items that exist.
    """

    def __init__(self) -> None:
        self.items: dict[Id, Rep] = {}
        self._deleted: dict[Id, int] = {}

    def set(self, id: Id, rep: Rep) -> Rep:
        """Add or replace an item; return it with the version that it has now."""
        known = self.items[id].version if id in self.items else self._deleted.pop(id, None)
        if known is not None and rep.version <= known:
            rep = attrs.evolve(rep, version=known + 1)
        self.items[id] = rep
        return rep

    def delete(self, id: Id) -> int:
        """Delete an item; return the version of its deletion. An unknown id is a ``KeyError``."""
        version = self.items.pop(id).version + 1
        self._deleted[id] = version
        return version

    def replace(self, items: Mapping[Id, Rep]) -> None:
        """Have exactly the given items; one that is as before keeps its version."""
        for id in self.items.keys() - items.keys():
            self.delete(id)
        for id, rep in items.items():
            known = self.items.get(id)
            if known is None or rep.version > known.version or attrs.evolve(rep, version=known.version) != known:
                self.set(id, rep)


class Configuration:
    """
    The environments and filters of an auto-configuration profile. Not thread-safe.

    Attributes:
        environments: The environments.
        filters: The payload filters.
    """

    def __init__(self) -> None:
        self.environments: VersionTable[EnvironmentID, EnvironmentRep] = VersionTable()
        self.filters: VersionTable[FilterID, FilterRep] = VersionTable()

    def replace(self, environments: Iterable[EnvironmentRep], filters: Mapping[FilterID, FilterRep] | None) -> None:
        """Become exactly what is given."""
        self.environments.replace({rep.env_id: rep for rep in environments})
        self.filters.replace(filters or {})

    def rotate_sdk_key(self, id: EnvironmentID, new_key: SDKKey, grace: timedelta) -> EnvironmentRep:
        """Give an environment a new SDK key; the old one expires after the grace period."""
        rep = self.environments.items[id]
        expiry = time.time_ns() // 1_000_000 + grace // timedelta(milliseconds=1)
        sdk_key = SDKKeyRep(new_key, ExpiringKeyRep(rep.sdk_key.value, expiry))
        return self.environments.set(id, attrs.evolve(rep, sdk_key=sdk_key))

    def put_event(self, with_filters: bool) -> bytes:
        """Return the ``put`` event of everything; clients of the first protocol version get no filters."""
        return put_event(self.environments.items, self.filters.items if with_filters else None)
