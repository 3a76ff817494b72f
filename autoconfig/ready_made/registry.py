"""The handler that keeps the current environments and filters; any thread may look them up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal, TypeVar

import attrs

from ..environments import EnvironmentParams, FilterParams
from ..exceptions import NotReadyError
from ..handler import MessageHandler, check_handler
from ..identifiers import EnvironmentID, FilterID
from ..receiver import Action
from ..safe_logger import SafeLogger
from ..validation import check_callable, check_seconds
from .base import AttachedStream, ReadyMadeHandler
from .expiry import ExpiredKey, ExpiryCallbacks
from .in_a_row import HandlersInARow
from .inner_calls import raise_first
from .key_index import NO_KEYS, KeyIndex, keys_of
from .snapshot_dict import SnapshotDict

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
"""A function that is called after each change."""


class EnvironmentRegistry(ReadyMadeHandler):
    """
    Keeps all current environments and payload filters, and finds an environment by any of its keys.

    It is a :class:`MessageHandler`: give it to a :class:`StreamManager`, or :meth:`wrap` your own handler in it. The
    manager calls its six methods, from one thread. Everything else may be called from any thread. Look-ups are O(1) and
    lock-free. A look-up sees an environment either before or after a change, and a key that is accepted before and
    after a change is found at every moment. While the stream is interrupted, the registry stays as it is.

    ``len(registry)`` is the number of environments, iteration yields them, and ``env_id in registry`` asks for an id.

    Two environments may share a key or a name for a while, for instance when one replaces the other. Then the look-up
    finds the one that was added or changed last. Keys that are limited to views of an environment are not found.

    A registry belongs to one manager at a time. It may be given to another one after the first was closed, or in a
    forked process. Then it is not ready until the new manager's first full configuration. At that moment it deletes
    everything that the configuration does not contain. While the first manager is running, ``start()`` of another one
    raises ``RuntimeError``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._environments: SnapshotDict[EnvironmentID, EnvironmentParams] = SnapshotDict()
        self._filters: SnapshotDict[FilterID, FilterParams] = SnapshotDict()
        self._names = KeyIndex()
        self._sdk_keys = KeyIndex()
        self._mobile_keys = KeyIndex()
        self._indexes = self._names, self._sdk_keys, self._mobile_keys  # in the order of keys_of()
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

        May be called before the manager is started. Do not call it inside a callback: it would wait for itself.

        Args:
            timeout: How many seconds to wait; ``None`` means for ever.

        Raises:
            NotReadyError: It has not come in time; also a :class:`TimeoutError`.
            AutoConfigError: It will not come. The manager's :meth:`StreamManager.wait_until_ready` raised this, such as
                :class:`KeyRejectedError` or :class:`ClosedError`.
        """
        if self.is_ready:
            return
        deadline = None if timeout is None else time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if not self._attached_or_ready.wait(timeout):
            raise NotReadyError(f"no full configuration within {timeout} s")
        if self._stream is not None:
            self._stream.wait_until_ready(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def get(self, env_id: EnvironmentID | str) -> EnvironmentParams | None:
        """Return the environment with this id, which is also its client-side id."""
        return self._environments.items.get(EnvironmentID(env_id))

    def find(self, proj_key: str, env_key: str) -> EnvironmentParams | None:
        """Return the environment with this key in the project with that key."""
        return self._names.find((proj_key, env_key))

    def find_by_sdk_key(self, key: str, at: datetime | None = None) -> EnvironmentParams | None:
        """
        Return the environment that accepts this SDK key, the current one or one that has not expired yet.

        Args:
            key: The key.
            at: The time at which the key has to be accepted; default is now.

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

        It is called in the dispatcher's thread, when look-ups see the change already. It should return soon, because
        further changes wait for it. What it raises is logged. It is not called for a message that changes nothing.

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

        Each key is reported once for each expiration time. It is not reported if it was withdrawn or got another time
        before. A key that has already expired when it becomes known is reported at once; the first function that is
        added also gets the expired keys that the registry has by then.

        The calls are made one at a time and in the order of the expirations, in a daemon thread named
        ``autoconfig-expiry-…`` that exists while a key is due to expire. The stream does not wait for them. What the
        function raises is logged. No call begins after the manager's ``close()``. If the clock of the machine is set
        forward, a report may be an hour late.

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
        Return a handler that hands each callback to the registry and then to other handlers, in their order.

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
        """Delete what only an earlier manager has added, and mark the registry as ready."""
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
        for index, keys in zip(self._indexes, keys_of(before), strict=True):
            index.remove(keys, id)
        self._environments.pop(id)
        self._expiry.environment_changed(id)
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
            # New objects, because threads of an earlier manager or of a parent process may use the old ones.
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
        # New keys are added first and lost keys removed last, so that a key that stays is found at every moment.
        new = keys_of(params)
        old = NO_KEYS if before is None else keys_of(before)
        for index, keys, old_keys in zip(self._indexes, new, old, strict=True):
            index.add(keys, params, old_keys)
        self._environments.set(env_id, params)
        if before is not None:
            for index, keys, old_keys in zip(self._indexes, new, old, strict=True):
                if lost := old_keys.keys() - keys.keys():
                    index.remove(lost, env_id)
        self._expiry.environment_changed(env_id)
        self._notify(before, params)

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
