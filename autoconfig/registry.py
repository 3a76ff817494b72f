"""The handler that keeps the current environments and filters, to be asked from any thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

import attrs

from .environments import EnvironmentParams, FilterParams
from .exceptions import NotReadyError
from .expiry import ExpiredKey, ExpiryCallbacks
from .handler import MessageHandler, check_handler
from .handlers_in_a_row import HandlersInARow
from .identifiers import EnvironmentID, FilterID
from .inner_calls import raise_first
from .ready_made_handler import AttachedStream, ReadyMadeHandler
from .receiver import Action
from .safe_logger import SafeLogger
from .validation import check_callable, check_instance, check_seconds

K = TypeVar("K")
V = TypeVar("V")
ExpiryCallback = TypeVar("ExpiryCallback", bound=Callable[[ExpiredKey], object])

_log = SafeLogger(logging.getLogger("autoconfig"))


@attrs.frozen(weakref_slot=False)
class RegistryChange:
    """
    A change of one environment or filter.

    Attributes:
        action: ``INSERT``, ``UPDATE`` or ``DELETE``.
        before: What was known; ``None`` for an ``INSERT``.
        after: What is known now; ``None`` for a ``DELETE``.
    """

    action: Action
    before: EnvironmentParams | FilterParams | None
    after: EnvironmentParams | FilterParams | None

    @property
    def kind(self) -> Literal["environment", "filter"]:
        """Whether an ``"environment"`` or a ``"filter"`` has changed."""
        return "filter" if isinstance(self.after or self.before, FilterParams) else "environment"


RegistryListener = Callable[[RegistryChange], object]
"""What is called after each change."""


class EnvironmentRegistry(ReadyMadeHandler):
    """
    Keeps all environments and payload filters as they are now, and finds an environment by any of its keys.

    It is a :class:`MessageHandler`: give it to a :class:`StreamManager`, or give that :meth:`wrap` of your own handler.
    The manager calls its six methods, from one thread. Everything else may be called from any thread. Look-ups are O(1)
    and lock-free. Each sees an environment as it was before a change or after it, and a key that is accepted before and
    after a change is found at every moment in between. While the stream is interrupted, the registry stays as it is.

    ``len(registry)`` is the number of environments, iteration yields them, and ``env_id in registry`` asks for an id.

    Two environments may share a key or a name for a while, for instance when one replaces the other. Then the look-up
    finds the one that was added or changed last. Keys that are limited to views of an environment are not found.

    A registry belongs to one manager at a time. It may be given to another one when the first is closed, or in a forked
    process. It is not ready then, until the first full configuration of the new manager, and drops at that moment what
    this did not contain. As long as the first manager is running, ``start()`` of another raises ``RuntimeError``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._environments: SnapshotDict[EnvironmentID, EnvironmentParams] = SnapshotDict()
        self._filters: SnapshotDict[FilterID, FilterParams] = SnapshotDict()
        self._names = KeyIndex()
        self._sdk_keys = KeyIndex()
        self._mobile_keys = KeyIndex()
        self._ready = threading.Event()  # set by the first received_all_environments()
        self._attached_or_ready = threading.Event()  # for those who wait before the manager is started
        self._listeners: tuple[RegistryListener, ...] = ()
        self._adding = threading.RLock()  # guards replacing _listeners; reading it needs no lock
        self._expiry = ExpiryCallbacks(self._environments.items)

    def __repr__(self) -> str:
        counts = f"{len(self)} environments, {len(self._filters.items)} filters"
        return f"<{type(self).__name__}: {counts}, {'ready' if self.is_ready else 'not ready'}>"

    def __len__(self) -> int:
        return len(self._environments.items)

    def __bool__(self) -> bool:
        return True  # also when empty, so that `handler or default` keeps the registry

    def __iter__(self) -> Iterator[EnvironmentParams]:
        return iter(self.environments.values())

    def __contains__(self, env_id: object) -> bool:
        return env_id in self._environments.items

    @property
    def environments(self) -> Mapping[EnvironmentID, EnvironmentParams]:
        """All environments by id, in a snapshot that never changes. It is made on the first access after a change."""
        return self._environments.snapshot()

    @property
    def filters(self) -> Mapping[FilterID, FilterParams]:
        """All payload filters by id, in a snapshot like :attr:`environments`."""
        return self._filters.snapshot()

    @property
    def is_ready(self) -> bool:
        """Whether a full configuration has been received from the manager that the registry belongs to."""
        return self._ready.is_set() and (self._stream is None or not self._stream.forked)

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """
        Wait for the first full configuration.

        May be called before the manager is started. Not to be called inside a callback, which would hold up what it
        waits for.

        Args:
            timeout: How many seconds to wait; ``None`` means for ever.

        Raises:
            NotReadyError: It has not come in time; also a :class:`TimeoutError`.
            AutoConfigError: It will not come. The error is that of :meth:`StreamManager.wait_until_ready`, such as
                :class:`KeyRejectedError` or :class:`ClosedError`.
        """
        if self.is_ready:
            return
        deadline = None if timeout is None else time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if self._attached_or_ready.is_set() or self._attached_or_ready.wait(timeout):
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if (self._stream is not None and self._stream.wait_until_ready(remaining)) or self._ready.wait(remaining):
                return
        raise NotReadyError(f"no full configuration within {timeout} s")

    def get(self, env_id: EnvironmentID | str) -> EnvironmentParams | None:
        """Return the environment with this id, which is also its client-side id."""
        return self._environments.items.get(EnvironmentID(env_id))

    def find(self, proj_key: str, env_key: str) -> EnvironmentParams | None:
        """Return the environment with this key in the project with that key."""
        return self._names.find((proj_key, env_key))

    def find_by_sdk_key(self, key: str, at: datetime | None = None) -> EnvironmentParams | None:
        """
        Return the environment that accepts this SDK key, be it the current one or one that has not expired yet.

        Args:
            key: The key.
            at: When it has to be accepted, given what is known now; default is now.

        Raises:
            ValueError: The time is naive.
        """
        return self._sdk_keys.find(key, at)

    def find_by_mobile_key(self, key: str, at: datetime | None = None) -> EnvironmentParams | None:
        """Return the environment that accepts this mobile key; see :meth:`find_by_sdk_key`."""
        return self._mobile_keys.find(key, at)

    def add_listener(self, listener: RegistryListener) -> None:
        """
        Call a function with a :class:`RegistryChange` after each change from now on.

        It is called in the manager's thread, when look-ups see the change already, and should return soon, because
        further changes wait. What it raises is logged. A message that changes nothing is no change.

        Raises:
            TypeError: It cannot be called.
        """
        check_callable("listener", listener)
        with self._adding:
            self._listeners += (listener,)

    def remove_listener(self, listener: RegistryListener) -> None:
        """Remove a listener; nothing happens if it was not added."""
        with self._adding:
            kept = list(self._listeners)
            with suppress(ValueError):
                kept.remove(listener)
            self._listeners = tuple(kept)

    def on_key_expired(self, callback: ExpiryCallback) -> ExpiryCallback:
        """
        Call a function with an :class:`ExpiredKey` when a key of an environment expires.

        Each key is reported once for each time at which it is to expire. It is not reported if it was withdrawn or
        given another time before. A key that has expired already when it becomes known is reported at once; the first
        callback also gets those that the registry has by now.

        The calls are made one at a time and in the order of the expirations, in a daemon thread named
        ``autoconfig-expiry-…`` that exists while a key is to expire. The stream does not wait for it. What the function
        raises is logged. No call begins after the manager's ``close()``. When the clock of the machine is set forward,
        a report may be an hour late.

        Returns:
            The function, so that this can be used as a decorator.

        Raises:
            TypeError: It cannot be called.
        """
        check_callable("callback", callback)
        self._expiry.add(callback)
        return callback

    def wrap(self, handler: MessageHandler, *more: MessageHandler) -> MessageHandler:
        """
        Return a handler that feeds the registry and then hands on to other ones, in their order.

        The handlers may use the registry, which already has each change. If one of them raises, the others are still
        called. The manager logs the error and retries the call; only the calls that failed are repeated.

        Raises:
            TypeError: A handler lacks a method; the text names it.
        """
        for one in (handler, *more):
            check_handler(one)
        return HandlersInARow(self, handler, *more)

    def add_environment(self, params: EnvironmentParams) -> None:
        """Add an environment; one with the same id is replaced."""
        self._set_environment(params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Replace an environment; one that is not known is added."""
        self._set_environment(params)

    def received_all_environments(self) -> None:
        """Delete what an earlier manager has left, and mark the registry as ready."""
        errors: list[BaseException] = []
        self._delete_old_items(errors)
        self._ready.set()
        self._attached_or_ready.set()
        self._expiry.start()
        raise_first(errors)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment; nothing happens if it is not known."""
        self._old_environments.discard(id)
        before = self._environments.items.get(id)
        if before is None:
            return
        for index, keys in zip(self._indexes(), _keys_of(before), strict=True):
            index.remove(keys, id)
        self._environments.pop(id)
        self._expiry.look_at(id)
        self._notify(before, None)

    def add_filter(self, params: FilterParams) -> None:
        """Add a filter; one with the same id is replaced."""
        self._old_filters.discard(params.id)
        before = self._filters.items.get(params.id)
        if params != before:
            self._filters.set(params.id, params)
            self._notify(before, params)

    def delete_filter(self, id: FilterID) -> None:
        """Delete a filter; nothing happens if it is not known."""
        self._old_filters.discard(id)
        before = self._filters.items.get(id)
        if before is not None:
            self._filters.pop(id)
            self._notify(before, None)

    def _attach_to_stream(self, stream: AttachedStream) -> None:
        if self._stream is not stream:
            super()._attach_to_stream(stream)
            # New ones, which no thread of an earlier manager or of a parent process uses.
            self._ready = threading.Event()
            self._adding = threading.RLock()
            attached_or_ready, self._attached_or_ready = self._attached_or_ready, threading.Event()
            self._attached_or_ready.set()
            attached_or_ready.set()
            self._expiry.start()

    def _detach_from_stream(self, stream: AttachedStream, deadline: float) -> bool:
        return stream is not self._stream or self._expiry.stop(deadline)

    def _known_ids(self) -> tuple[Iterable[EnvironmentID], Iterable[FilterID]]:
        return self._environments.items, self._filters.items

    def _set_environment(self, params: EnvironmentParams) -> None:
        env_id = params.env_id
        if self._old_environments:
            self._old_environments.discard(env_id)
        before = self._environments.items.get(env_id)
        if params == before:
            return
        # The order leaves no gap: the keys that the environment has now, the environment, the keys that it has lost.
        indexes, new = self._indexes(), _keys_of(params)
        old = _NO_KEYS if before is None else _keys_of(before)
        for index, keys, old_keys in zip(indexes, new, old, strict=True):
            index.add(keys, params, old_keys)
        self._environments.set(env_id, params)
        if before is not None:
            for index, keys, old_keys in zip(indexes, new, old, strict=True):
                if lost := old_keys.keys() - keys.keys():
                    index.remove(lost, env_id)
        self._expiry.look_at(env_id)
        self._notify(before, params)

    def _indexes(self) -> tuple[KeyIndex, KeyIndex, KeyIndex]:
        return self._names, self._sdk_keys, self._mobile_keys

    def _notify(
        self, before: EnvironmentParams | FilterParams | None, after: EnvironmentParams | FilterParams | None
    ) -> None:
        if not (listeners := self._listeners):
            return
        action = Action.INSERT if before is None else Action.DELETE if after is None else Action.UPDATE
        change = RegistryChange(action, before, after)
        for listener in listeners:
            if self._is_stopped():
                return
            try:
                listener(change)
            except BaseException:  # SystemExit too: the thread is the manager's
                _log.exception("A registry listener failed")


class SnapshotDict(Generic[K, V]):
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
        """Delete an item; ``KeyError`` if it is not there."""
        del self.items[key]
        self._snapshot_slot = {}

    def snapshot(self) -> Mapping[K, V]:
        """Return a copy that never changes; the same one until the next change."""
        slot = self._snapshot_slot  # before the copy: one from before a change must not be kept as one from after it
        if (found := slot.get(None)) is not None:
            return found
        return slot.setdefault(None, MappingProxyType(self.items.copy()))


_Keys = dict[Hashable, datetime | None]
"""Keys of an environment, and when each of them expires."""

_NO_KEYS: tuple[_Keys, _Keys, _Keys] = ({}, {}, {})


def _keys_of(params: EnvironmentParams) -> tuple[_Keys, _Keys, _Keys]:
    """Return by which name, SDK keys and mobile keys an environment is found; the empty string is none."""
    identifiers = params.identifiers
    return (
        {(identifiers.proj_key, identifiers.env_key): None} if identifiers.env_key else {},
        {key.value: key.expiration for key in params.accepted_sdk_keys if key.value},
        {key.value: key.expiration for key in params.accepted_mobile_keys if key.value},
    )


_Entry = tuple[EnvironmentParams, datetime | None, "_Entry | None"]
"""An environment that a key leads to, when the key expires, and the entry of one that had the same key before it."""


class KeyIndex:
    """Leads from keys to environments. One thread changes it; any may read, as an entry is replaced in one step."""

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

    def add(self, keys: _Keys, params: EnvironmentParams, old_keys: Container[Hashable]) -> None:
        """Let keys lead to an environment; to some of them, the old ones, it may have been added before."""
        entries = self._entries
        for key, expiration in keys.items():
            entry = entries.get(key)
            entries[key] = (params, expiration, _without(entry, params.env_id) if key in old_keys else entry)

    def remove(self, keys: Iterable[Hashable], env_id: EnvironmentID) -> None:
        """Let these keys of an environment no longer lead to it; others that have them are still found."""
        for key in keys:
            entry = _without(self._entries.get(key), env_id)
            if entry is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry


def _without(entry: _Entry | None, env_id: EnvironmentID) -> _Entry | None:
    """Return the entries without the one of an environment."""
    newer = []
    while entry is not None and entry[0].env_id != env_id:
        newer.append(entry)
        entry = entry[2]
    rest = entry[2] if entry else None
    for params, expiration, _ in reversed(newer):
        rest = (params, expiration, rest)
    return rest
