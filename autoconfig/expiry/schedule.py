"""Which keys expire, and when."""

from __future__ import annotations

import heapq
import itertools
from datetime import datetime
from typing import Literal

import attrs

from ..environments import AcceptedKey, EnvIdentifiers, EnvironmentParams
from ..identifiers import EnvironmentID

KeyKind = Literal["sdk", "mobile"]
_STALE = 64  # entries that a heap may always hold besides those that count; fewer are not worth the sorting


@attrs.frozen(weakref_slot=False)
class ExpiredKey:
    """
    A key that is not accepted any more, because its time has come.

    Attributes:
        env_id: The environment's id.
        identifiers: The names of the environment and its project.
        key: The key, with its expiration. Its value is masked in the repr.
        kind: ``"sdk"`` or ``"mobile"``.
    """

    env_id: EnvironmentID
    identifiers: EnvIdentifiers
    key: AcceptedKey
    kind: KeyKind


@attrs.define(eq=False)
class Watch:
    """A key under watch; ``pending`` until it was told or withdrawn."""

    expired: ExpiredKey
    pending: bool = True


class Schedule:
    """The keys that are to expire, by environment and in the order of their times. Not thread-safe."""

    def __init__(self) -> None:
        self._watches: dict[EnvironmentID, dict[tuple[KeyKind, str], Watch]] = {}
        self._heap: list[tuple[datetime, int, Watch]] = []  # holds some that are not pending any more
        self._pending = 0
        self._order = itertools.count()  # of the keys that expire at the same time

    def next_time(self) -> datetime | None:
        """Return when the next key expires."""
        while self._heap and not self._heap[0][2].pending:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self) -> ExpiredKey:
        """Return the key that :meth:`next_time` speaks of, and mark it as reported."""
        watch = heapq.heappop(self._heap)[2]
        self._drop(watch)
        return watch.expired

    def replace(self, params: EnvironmentParams) -> bool:
        """Watch the keys that an environment has now; return whether :meth:`next_time` is another one for it."""
        before = self.next_time()
        old = self._watches.pop(params.env_id, {})
        new: dict[tuple[KeyKind, str], Watch] = {}
        kinds: tuple[tuple[KeyKind, tuple[AcceptedKey, ...]], ...] = (
            ("sdk", params.accepted_sdk_keys),
            ("mobile", params.accepted_mobile_keys),
        )
        for kind, keys in kinds:
            for key in keys:
                if key.expiration is not None:
                    expired = ExpiredKey(params.env_id, params.identifiers, key, kind)
                    new[kind, key.value] = self._watch(expired, key.expiration, old.pop((kind, key.value), None))
        for watch in old.values():
            self._drop(watch)
        if new:
            self._watches[params.env_id] = new
        return self.next_time() != before

    def remove(self, env_id: EnvironmentID) -> None:
        """Forget an environment's keys."""
        for watch in self._watches.pop(env_id, {}).values():
            self._drop(watch)

    def _watch(self, expired: ExpiredKey, time: datetime, known: Watch | None) -> Watch:
        """Return the watch for a key: the known one, which may have been told, if the time is the same."""
        if known is not None:
            if known.expired.key.expiration == time:
                known.expired = expired  # the names may be new
                return known
            self._drop(known)
        watch = Watch(expired)
        self._pending += 1
        heapq.heappush(self._heap, (time, next(self._order), watch))
        return watch

    def _drop(self, watch: Watch) -> None:
        """Have a watch no longer pending; it stays in the heap until most of that is like it."""
        self._pending -= watch.pending
        watch.pending = False
        if len(self._heap) > 2 * self._pending + _STALE:
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
