"""Collects the changes of the leader's stream until they are written to Redis."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import NamedTuple

from ..handler import MessageHandler
from ..messages import DELETE_EVENT, PATCH_EVENT, EnvironmentRep, FilterRep, PutContent
from .form import (
    UNUSABLE,
    Change,
    Fields,
    apply,
    difference,
    environment_field,
    fields_of,
    filter_field,
    item_json,
    unusable_json,
)

_MOST_CHANGES = 1000  # that may wait for Redis; beyond that, only the names of the changed fields are kept


class Pending(NamedTuple):
    """
    The changes that Redis lacks.

    Attributes:
        changes: The changes, in order.
        is_put: Whether followers have to apply them as one put; then their order has no meaning.
    """

    changes: list[Change]
    is_put: bool


class Mirror(MessageHandler):
    """
    Keeps the current picture, and the changes that Redis lacks; handler and observer of the leader's manager.

    The dispatcher's thread fills it and never waits for Redis; the leader's thread empties it.

    Args:
        wake: Called after each change.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()  # guards all below
        self._fields: Fields | None = None  # the picture; None before the first put
        self._changes: list[Change] = []
        self._stale: set[bytes] | None = None  # the names of the changed fields, instead of the changes

    @property
    def has_picture(self) -> bool:
        """Whether there was a put."""
        return self._fields is not None

    @property
    def is_pending(self) -> bool:
        """Whether Redis lacks something."""
        return bool(self._changes) or self._stale is not None

    def put(self, content: PutContent) -> None:
        """Take a put; see :class:`autoconfig.dispatch.dispatcher.Observer`."""
        fields = fields_of(content)
        with self._lock:
            self._forget_order({change.field for change in difference(self._fields or {}, fields)})
            self._fields = fields
        self._wake()

    def environment(self, id: str, rep: EnvironmentRep | None, version: int) -> None:
        """Take a patch of an environment or its deletion, after which it is no longer refused."""
        with self._lock:
            self._note(environment_field(id), rep, version)
            unusable = json.loads((self._fields or {}).get(UNUSABLE, b"{}"))
            if any(ids.pop(id, None) is not None for ids in unusable.values()):
                self._add(Change("", UNUSABLE, unusable_json(**unusable)))
        self._wake()

    def filter(self, id: str, rep: FilterRep | None, version: int) -> None:
        """Take a patch of a filter or its deletion."""
        with self._lock:
            self._note(filter_field(id), rep, version)
        self._wake()

    def take(self) -> Pending:
        """Return the changes that Redis lacks, which count as written from now on."""
        with self._lock:
            fields, changes, stale = self._fields or {}, self._changes, self._stale
            self._changes, self._stale = [], None
            if stale is None:
                return Pending(changes, False)
            return Pending([_now(field, fields) for field in stale], True)

    def take_all(self) -> Fields:
        """Return the whole picture, all of which counts as written from now on."""
        with self._lock:
            self._changes, self._stale = [], None
            return dict(self._fields or {})

    def _note(self, field: bytes, rep: EnvironmentRep | FilterRep | None, version: int) -> None:
        if rep is None:
            self._add(Change(DELETE_EVENT, field, b"%d" % version))
        else:
            self._add(Change(PATCH_EVENT, field, item_json(rep)))

    def _add(self, change: Change) -> None:
        if self._fields is None:  # from a cache, before the first put
            return
        apply(change, self._fields)
        if self._stale is not None:
            self._stale.add(change.field)
            return
        self._changes.append(change)
        if len(self._changes) > _MOST_CHANGES:
            self._forget_order(set())

    def _forget_order(self, more: set[bytes]) -> None:
        self._stale = (self._stale or set()) | {change.field for change in self._changes} | more
        self._changes = []


def _now(field: bytes, fields: Fields) -> Change:
    value = fields.get(field)
    return Change(DELETE_EVENT, field, b"0") if value is None else Change(PATCH_EVENT, field, value)
