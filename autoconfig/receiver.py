"""The version logic: which messages count, decided from ids and version numbers alone."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Protocol

from .identifiers import show
from .safe_logger import Logger


class Action(enum.Enum):
    """What a message means for its item. The values are those of LaunchDarkly's Go package."""

    INSERT = "insert"
    UPDATE = "updated"
    DELETE = "delete"
    NOOP = "noop"


class Item(Protocol):
    """Something with versions: an environment or a filter."""

    def describe(self) -> str:
        """Return the item in words for a log line, without secrets."""


class MessageReceiver:
    """
    Decides what each message about an item means, however late, repeated or out of order it arrives.

    It holds the highest version seen for every id, also for deleted ones (a *tombstone*), so that an older message
    cannot undo a newer one. For each id the actions other than ``NOOP`` keep three promises: the first is an
    ``INSERT``; an ``UPDATE`` or ``DELETE`` comes only while the item is inserted; an ``INSERT`` comes only while it is
    not.

    Not thread-safe: one thread, the dispatcher, owns it.

    Args:
        logger: For DEBUG lines about what was done and what was ignored; default ``autoconfig``.
    """

    __slots__ = ("_dead", "_log", "_undo", "_versions")

    def __init__(self, logger: Logger | None = None) -> None:
        self._log = logger or logging.getLogger("autoconfig")
        # An int for each id and a set of the dead ones take 94 bytes an id; a tuple or the item itself would take 150
        # to 877.
        self._versions: dict[str, int] = {}
        self._dead: set[str] = set()
        self._undo: tuple[str, int | None, bool] | None = None  # the record that the last change replaced

    def upsert(self, id: str, item: Item, version: int) -> Action:
        """
        Record that the item exists in the given version.

        Returns:
            ``INSERT`` if the id is unknown, whatever the version, or a tombstone of a lower version; ``UPDATE`` if it
            is known in a lower version; else ``NOOP``.
        """
        known = self._versions.get(id)
        if known is not None and version <= known:
            self._note_ignored("change", id, version, known)
            return Action.NOOP
        dead = id in self._dead
        self._undo = (id, known, dead)
        self._versions[id] = version
        if dead:
            self._dead.discard(id)
        return Action.INSERT if known is None or dead else Action.UPDATE

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
            return Action.NOOP
        dead = id in self._dead
        self._undo = (id, known, dead)
        self._versions[id] = version
        self._dead.add(id)
        return Action.NOOP if known is None or dead else Action.DELETE

    def forget(self, id: str) -> Action:
        """
        Drop all knowledge of the id, its tombstone too, so that any version of it is new again.

        Returns:
            ``DELETE`` if the item was inserted; else ``NOOP``.
        """
        known = self._versions.pop(id, None)
        if known is None:
            return Action.NOOP
        dead = id in self._dead
        self._undo = (id, known, dead)
        if dead:
            self._dead.discard(id)
        return Action.NOOP if dead else Action.DELETE

    def purge(self, predicate: Callable[[str], bool]) -> list[str]:
        """
        Forget every id for which the predicate is true.

        Returns:
            Those of them that were inserted and should now be deleted, in the order of their insertion.
        """
        return [id for id in list(filter(predicate, self._versions)) if self.forget(id) is Action.DELETE]

    def retain(self, predicate: Callable[[str], bool]) -> list[str]:
        """
        Forget every id for which the predicate is false: the inverse of :meth:`purge`.

        Returns:
            Those of them that were inserted and should now be deleted, in the order of their insertion.
        """
        return self.purge(lambda id: not predicate(id))

    def ids(self) -> list[str]:
        """Return every id that has a record, tombstones included."""
        return list(self._versions)

    def reopen(self, id: str, version: int) -> None:
        """Let this version count for a known id, even one that is not above what was seen."""
        if version <= self._versions.get(id, version - 1):
            self._versions[id] = version - 1

    def undo(self) -> None:
        """
        Take back the last change, because the handler failed to carry it out.

        Afterwards the same message, or a newer one, means again what it meant before. Calling it twice has no effect.
        """
        if self._undo is None:
            return
        id, version, dead = self._undo
        self._undo = None
        if version is None:
            self._versions.pop(id, None)
        else:
            self._versions[id] = version
        if dead:
            self._dead.add(id)
        else:
            self._dead.discard(id)

    def _note_ignored(self, what: str, id: str, version: int, known: int) -> None:
        if self._log.isEnabledFor(logging.DEBUG):
            self._log.debug("Ignored a %s of %s: version %d <= %d", what, show(id), version, known)
