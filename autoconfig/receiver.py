"""The version logic: decides from ids and versions alone which messages count and which are stale."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from .identifiers import show
from .safe_logger import Logger


class Action(str, enum.Enum):
    """What a message means for its item."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    NOOP = "noop"


class Item(Protocol):
    """Something with versions: an environment or a filter."""

    @property
    def version(self) -> int:
        """The version; only a higher one replaces what is known."""


T = TypeVar("T", bound=Item)

# A look-up of a member of an enum costs more than the comparison of two versions.
_INSERT, _UPDATE, _DELETE, _NOOP = Action


class MessageReceiver(Generic[T]):
    """
    Decides what each message about an item means, however late, repeated or out of order it arrives.

    It holds the highest version seen for every id, also for deleted ones (a *tombstone*), so that an older message
    cannot undo a newer one. For each id the actions other than ``NOOP`` keep three promises: the first is an
    ``INSERT``; an ``UPDATE`` or ``DELETE`` comes only while the item is inserted; an ``INSERT`` comes only while it is
    not.

    Not thread-safe: one thread, the dispatcher, owns it.

    Args:
        logger: For DEBUG lines about what was ignored, and why; default ``autoconfig``.
    """

    __slots__ = ("_dead", "_log", "_versions")

    def __init__(self, logger: Logger | None = None) -> None:
        self._log = logger or logging.getLogger("autoconfig")
        # An int for each id and a set of the dead ones take 94 bytes an id; a tuple or the item itself would take 150
        # to 877.
        self._versions: dict[str, int] = {}
        self._dead: set[str] = set()

    def upsert(self, id: str, item: T, version: int) -> Action:
        """
        Record that the item exists in the given version.

        Returns:
            ``INSERT`` if the id is unknown, or a tombstone of a lower version; ``UPDATE`` if it
            is known in a lower version; else ``NOOP``.
        """
        known = self._versions.get(id)
        if known is not None and version <= known:
            self._note_ignored("change", id, version, known)
            return _NOOP
        self._versions[id] = version
        if known is None:
            return _INSERT
        if id in self._dead:
            self._dead.discard(id)
            return _INSERT
        return _UPDATE

    def _upsert_all(self, items: Mapping[str, T]) -> Iterator[tuple[str, T, Action]]:
        """Upsert items one by one and yield those that count: the same as :meth:`upsert`, for a whole put."""
        versions, dead = self._versions, self._dead
        get = versions.get
        noted = self._log.isEnabledFor(logging.DEBUG)
        for id, item in items.items():
            known = get(id)
            version = item.version
            if known is None or version > known:
                versions[id] = version
                if known is not None and id not in dead:
                    yield id, item, _UPDATE
                else:
                    dead.discard(id)
                    yield id, item, _INSERT
            elif noted:
                self._note_ignored("change", id, version, known)

    def delete(self, id: str, version: int) -> Action:
        """
        Record that the item was deleted in the given version, and keep a tombstone of it.

        Returns:
            ``DELETE`` if the id is known in a lower version and not yet deleted; else ``NOOP`` (which may still raise
            the tombstone's version, or leave a tombstone for an unknown id).
        """
        known = self._versions.get(id)
        if known is not None and version <= known:
            self._note_ignored("deletion", id, version, known)
            return _NOOP
        dead = id in self._dead
        self._versions[id] = version
        self._dead.add(id)
        return _NOOP if known is None or dead else _DELETE

    def forget(self, id: str) -> Action:
        """
        Drop all knowledge of the id, its tombstone too, so that any version of it is new again.

        Returns:
            ``DELETE`` if the item was inserted; else ``NOOP``.
        """
        known = self._versions.pop(id, None)
        if known is None:
            return _NOOP
        if id in self._dead:
            self._dead.discard(id)
            return _NOOP
        return _DELETE

    def purge(self, predicate: Callable[[str], bool]) -> list[str]:
        """
        Forget every id for which the predicate is true.

        Returns:
            Those of them that were inserted and should now be deleted, in the order of their insertion.
        """
        return [id for id in list(filter(predicate, self._versions)) if self.forget(id) is _DELETE]

    def retain(self, predicate: Callable[[str], bool]) -> list[str]:
        """
        Forget every id for which the predicate is false: the inverse of :meth:`purge`.

        Returns:
            Those of them that were inserted and should now be deleted, in the order of their insertion.
        """
        return self.purge(lambda id: not predicate(id))

    def _expect(self, id: str, version: int) -> None:
        """Let this version of a known item count next, whatever was seen before."""
        self._versions[id] = version - 1

    def _knows(self, id: str) -> bool:
        """Return whether the id has a record, be it a tombstone."""
        return id in self._versions

    def _is_inserted(self, id: str) -> bool:
        """Return whether the item exists, as far as its messages say."""
        return id in self._versions and id not in self._dead

    def _any_inserted(self) -> bool:
        """Return whether there is any item, as far as its messages say."""
        return len(self._versions) > len(self._dead)

    def _all_among(self, ids: Mapping[str, object]) -> bool:
        """Return whether all that have a record are among these ids."""
        return self._versions.keys() <= ids.keys()

    def _note_ignored(self, what: str, id: str, version: int, known: int) -> None:
        if self._log.isEnabledFor(logging.DEBUG):
            self._log.debug("Ignored a %s of %s: version %d <= %d", what, show(id), version, known)
