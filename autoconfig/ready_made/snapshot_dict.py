"""A dict with snapshots that never change."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class SnapshotDict(Generic[K, V]):
    """
    A dict that one thread changes, and any thread may read.

    Attributes:
        items: The dict as it is now; changed by the methods only.
    """

    def __init__(self) -> None:
        self.items: dict[K, V] = {}
        # Holds the snapshot once it was made; replaced after each change. It is a dict, because setdefault() is atomic:
        # when several threads make a copy at the same time, all of them get the first.
        self._snapshot_slot: dict[None, Mapping[K, V]] = {}

    def set(self, key: K, value: V) -> None:
        """Set an item."""
        self.items[key] = value
        self._snapshot_slot = {}

    def pop(self, key: K) -> None:
        """Delete an item; ``KeyError`` if it is not there."""
        del self.items[key]
        self._snapshot_slot = {}

    def snapshot(self) -> Mapping[K, V]:
        """Return a copy that never changes; the same one until the next change."""
        # Read before the copy is made, so that a copy from before a change is not kept after it.
        slot = self._snapshot_slot
        if (found := slot.get(None)) is not None:
            return found
        return slot.setdefault(None, MappingProxyType(self.items.copy()))
