"""Calls functions when keys expire. The service sends no message at that time."""

from __future__ import annotations

import contextvars
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

from .environments import AcceptedKey, EnvIdentifiers, EnvironmentParams
from .identifiers import EnvironmentID
from .safe_logger import SafeLogger

KeyKind = Literal["sdk", "mobile"]
_STALE = 64  # outdated entries that the heap may always hold; removing fewer is not worth the work
_LONGEST_WAIT = 3600.0  # seconds; a wait does not notice that the wall clock was set
_PAUSE = 60.0  # seconds before the thread goes on after an unexpected error
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
    """A key that is to expire; ``pending`` until it was reported or withdrawn."""

    expired: ExpiredKey
    pending: bool = True


class Schedule:
    """The keys that are to expire, by environment and in the order of their times. Not thread-safe."""

    def __init__(self) -> None:
        self._keys: dict[EnvironmentID, dict[tuple[KeyKind, str], _ExpiringKey]] = {}
        self._heap: list[tuple[datetime, int, _ExpiringKey]] = []  # holds some that are not pending any more
        self._pending = 0
        self._order = itertools.count()  # of the keys that expire at the same time

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
        """Take the keys that an environment has now, and no others of it."""
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
        """Return the entry for a key: the known one, which may have been reported, if the time is the same."""
        expiration = expired.key.expiration
        assert expiration is not None
        if known is not None:
            if known.expired.key.expiration == expiration:
                known.expired = expired  # the names may be new
                return known
            self._drop(known)
        key = _ExpiringKey(expired)
        self._pending += 1
        heapq.heappush(self._heap, (expiration, next(self._order), key))
        return key

    def _drop(self, key: _ExpiringKey) -> None:
        """Have a key no longer pending; it stays in the heap until most of that is like it."""
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
    Calls functions when keys expire, in a daemon thread that exists while a key is to expire.

    The thread is started when there is such a key, and ends when there is none or after :meth:`stop`. If it cannot be
    started, the next change tries again. A forked process gets a thread of its own at its first change.

    Args:
        environments: The current environments; after each change of this dict, :meth:`look_at` has to be called.
        clock: Returns what time it is, as an aware datetime.
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
        self._calling = False  # whether the thread is calling the callbacks
        self._stopped = False

    def _begin_anew_after_fork(self) -> None:
        """In a forked process, replace the lock, which a thread of the parent may have held, and the schedule."""
        if self._process != os.getpid():
            self._begin()
            self._look_at_all()

    def add(self, callback: Callable[[ExpiredKey], object]) -> None:
        """Call one more function from now on."""
        self._begin_anew_after_fork()
        with self._changed:
            first = not self._callbacks
            self._callbacks += (callback,)
        if first:
            self._look_at_all()

    def start(self) -> None:
        """Go on after :meth:`stop`."""
        if self._callbacks:
            self._begin_anew_after_fork()
            with self._changed:
                self._stopped = False
            self._start_thread()

    def stop(self, deadline: float) -> bool:
        """
        Make no further call, and end the thread.

        Waits for a running call until the deadline, in monotonic time, unless the call comes from inside it.

        Returns:
            Whether no call is running.
        """
        if not self._callbacks or self._process != os.getpid():
            return True
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            if self._thread is threading.current_thread():
                return True
            return self._changed.wait_for(lambda: not self._calling, max(0.0, deadline - time.monotonic()))

    def look_at(self, env_id: EnvironmentID) -> None:
        """Take the keys that an environment has now; called when it has changed."""
        if not self._callbacks:
            return
        self._begin_anew_after_fork()
        with self._changed:
            before = self._schedule.next_time()
            # Looked up under the lock: of two threads that do this at the same time the later one has the newest.
            params = self._environments.get(env_id)
            if params is None:
                self._schedule.remove(env_id)
            else:
                self._schedule.replace(params)
            if self._schedule.next_time() != before:
                self._changed.notify_all()
        self._start_thread()

    def _look_at_all(self) -> None:
        for env_id in list(self._environments):
            self.look_at(env_id)

    def _start_thread(self) -> None:
        """Start the thread, if it is needed and not there."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            with self._changed:
                if self._thread is not None or self._stopped or self._schedule.next_time() is None:
                    return
                # In an empty context: what the caller's says of a request, for instance, is not about the callbacks.
                self._thread = threading.Thread(
                    target=contextvars.Context().run,
                    args=(self._run,),
                    name=f"autoconfig-expiry-{next(_numbers)}",
                    daemon=True,
                )
                self._thread.start()
        except Exception:  # the system has no thread left
            self._thread = None
            # Without the lock, which stop() needs: a log handler may take its time.
            _log.warning("Cannot start the thread for expiring keys; the next change tries again", exc_info=True)

    def _run(self) -> None:
        while True:
            try:
                expired = self._next()
                if expired is None:
                    return
                self._report(expired)
            except BaseException:  # the clock's, most likely; without the thread no key would be reported any more
                _log.exception("Cannot tell which keys have expired; trying again in %.0f s", _PAUSE)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, _PAUSE)

    def _next(self) -> ExpiredKey | None:
        """Wait for the next key that expires; ``None`` means that the thread has to end."""
        if self._process != os.getpid():  # a callback has forked, and returned in the child
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
