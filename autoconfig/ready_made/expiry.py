"""Calls functions when keys expire. The service sends no message at that time."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Literal

import attrs

from ..daemon_threads import daemon_thread
from ..environments import AcceptedKey, EnvIdentifiers, EnvironmentParams
from ..identifiers import EnvironmentID
from ..safe_logger import SafeLogger, log_aside

KeyKind = Literal["sdk", "mobile"]
_STALE = 64  # outdated entries that the heap may always hold; removing fewer costs more than it saves
_LONGEST_WAIT = 3600.0  # seconds, because a wait does not notice when the wall clock is set
_PAUSE = 60.0  # seconds before the thread continues after an unexpected error
_log = SafeLogger(logging.getLogger("autoconfig"))
_numbers = itertools.count(1)


@attrs.frozen(weakref_slot=False)
class ExpiredKey:
    """
    A key that has expired, so that it is no longer accepted.

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
class _ExpiringKey:
    """A key with an expiration; ``pending`` until it is reported or withdrawn."""

    expired: ExpiredKey
    pending: bool = True


class Schedule:
    """The keys that will expire, by environment and in the order of their expirations. Not thread-safe."""

    def __init__(self) -> None:
        self._keys: dict[EnvironmentID, dict[tuple[KeyKind, str], _ExpiringKey]] = {}
        self._heap: list[tuple[datetime, int, _ExpiringKey]] = []  # may hold some that are no longer pending
        self._pending = 0
        self._order = itertools.count()  # of keys that expire at the same time

    def next_time(self) -> datetime | None:
        """Return when the next key expires."""
        while self._heap and not self._heap[0][2].pending:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self) -> ExpiredKey:
        """Return the key that expires next, and mark it as reported."""
        key = heapq.heappop(self._heap)[2]
        self._drop(key)
        return key.expired

    def replace(self, params: EnvironmentParams) -> None:
        """Replace the keys of an environment by those that it has now."""
        old = self._keys.pop(params.env_id, {})
        new: dict[tuple[KeyKind, str], _ExpiringKey] = {}
        for expired in _expiring_keys(params):
            slot = expired.kind, expired.key.value
            new[slot] = self._add(expired, old.pop(slot, None))
        for key in old.values():
            self._drop(key)
        if new:
            self._keys[params.env_id] = new

    def remove(self, env_id: EnvironmentID) -> None:
        """Forget an environment's keys."""
        for key in self._keys.pop(env_id, {}).values():
            self._drop(key)

    def _add(self, expired: ExpiredKey, known: _ExpiringKey | None) -> _ExpiringKey:
        """Return the entry for a key: the known one, even if it was reported, if the expiration is the same."""
        expiration = expired.key.expiration
        assert expiration is not None
        if known is not None:
            if known.expired.key.expiration == expiration:
                known.expired = expired  # the names of the environment may be new
                return known
            self._drop(known)
        key = _ExpiringKey(expired)
        self._pending += 1
        heapq.heappush(self._heap, (expiration, next(self._order), key))
        return key

    def _drop(self, key: _ExpiringKey) -> None:
        """Mark a key as no longer pending. The heap keeps such entries until most of its entries are not pending."""
        self._pending -= key.pending
        key.pending = False
        if len(self._heap) > 2 * self._pending + _STALE:
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)


def _expiring_keys(params: EnvironmentParams) -> Iterable[ExpiredKey]:
    kinds: tuple[tuple[KeyKind, tuple[AcceptedKey, ...]], ...] = (
        ("sdk", params.accepted_sdk_keys),
        ("mobile", params.accepted_mobile_keys),
    )
    for kind, keys in kinds:
        for key in keys:
            if key.expiration is not None:
                yield ExpiredKey(params.env_id, params.identifiers, key, kind)


class ExpiryCallbacks:
    """
    Calls functions when keys expire, in a daemon thread that exists while a key will expire.

    The thread ends when no such key is left, or after :meth:`stop`. If it cannot be started, the next change retries. A
    forked process gets a thread of its own at its first change.

    Args:
        environments: The current environments. Call :meth:`environment_changed` after each change of this dict.
        clock: Returns the current time, as an aware datetime.
    """

    def __init__(
        self,
        environments: Mapping[EnvironmentID, EnvironmentParams],
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._environments = environments
        self._clock = clock
        self._callbacks: tuple[Callable[[ExpiredKey], object], ...] = ()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()  # guards the rest, and is notified of each change of it
        self._schedule = Schedule()
        self._thread: threading.Thread | None = None
        self._calling = False  # whether the thread is calling callbacks
        self._stopped = False

    def _begin_anew_after_fork(self) -> None:
        """In a forked process, replace the lock, which a thread of the parent may have held, and the schedule."""
        if self._process != os.getpid():
            self._begin()
            self._schedule_all()

    def add(self, callback: Callable[[ExpiredKey], object]) -> None:
        """Call a function with each key that expires from now on."""
        self._begin_anew_after_fork()
        with self._changed:
            first = not self._callbacks
            self._callbacks += (callback,)
        if first:
            self._schedule_all()

    def start(self) -> None:
        """Continue after :meth:`stop`."""
        if self._callbacks:
            self._begin_anew_after_fork()
            with self._changed:
                self._stopped = False
            self._start_thread()

    def stop(self, deadline: float) -> bool:
        """
        End the thread, and make no further call.

        Waits for a running call until the deadline, in monotonic time, unless that call is the caller.

        Returns:
            Whether no call is running. If one is, a WARNING says so.
        """
        if not self._callbacks or self._process != os.getpid():
            return True
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            if self._thread is threading.current_thread():
                return True
            ended = self._changed.wait_for(lambda: not self._calling, max(0.0, deadline - time.monotonic()))
        if not ended:
            log_aside(_log, logging.WARNING, "Gave up waiting for a callback for expired keys; it is still running")
        return ended

    def environment_changed(self, env_id: EnvironmentID) -> None:
        """Schedule the keys that an environment has now; called after it was added, changed or deleted."""
        if not self._callbacks:
            return
        self._begin_anew_after_fork()
        with self._changed:
            before = self._schedule.next_time()
            # Looked up under the lock, so that of two threads the later one schedules the newest keys.
            params = self._environments.get(env_id)
            if params is None:
                self._schedule.remove(env_id)
            else:
                self._schedule.replace(params)
            if self._schedule.next_time() != before:
                self._changed.notify_all()
        self._start_thread()

    def _schedule_all(self) -> None:
        for env_id in list(self._environments):
            self.environment_changed(env_id)

    def _start_thread(self) -> None:
        """Start the thread, if it is needed and does not run."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            with self._changed:
                if self._thread is not None or self._stopped or self._schedule.next_time() is None:
                    return
                self._thread = daemon_thread(f"autoconfig-expiry-{next(_numbers)}", self._run)
                self._thread.start()
        except Exception:  # the system has no thread left
            self._thread = None
            # Without the lock, because a log handler may block, and stop() needs the lock.
            _log.warning("Cannot start the thread for expiring keys; the next change tries again", exc_info=True)

    def _run(self) -> None:
        while True:
            try:
                expired = self._next()
                if expired is None:
                    return
                self._report(expired)
            except BaseException:  # most likely the clock's; the thread continues, because each key needs it
                _log.exception("Cannot tell which keys have expired; trying again in %.0f s", _PAUSE)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, _PAUSE)

    def _next(self) -> ExpiredKey | None:
        """Wait until the next key expires, and return it; ``None`` if the thread has to end."""
        if self._process != os.getpid():  # a callback has forked, and this is the child
            return None
        with self._changed:
            while not self._stopped and (due := self._schedule.next_time()) is not None:
                now = self._clock()
                if due <= now:
                    self._calling = True
                    return self._schedule.pop()
                self._changed.wait(min((due - now).total_seconds(), _LONGEST_WAIT))
            self._thread = None
            return None

    def _report(self, expired: ExpiredKey) -> None:
        try:
            for callback in self._callbacks:
                if self._stopped:
                    return
                try:
                    callback(expired)
                except BaseException:  # SystemExit too: there are other keys
                    _log.exception("A callback for expired keys failed")
        finally:
            with self._changed:
                self._calling = False
                self._changed.notify_all()
