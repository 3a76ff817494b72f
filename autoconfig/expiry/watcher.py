"""Watching the clock for keys that are being rotated out: the service does not say when the time of one has come."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from types import TracebackType

from .. import forks
from ..environments import EnvironmentParams
from ..exceptions import ClosedError
from ..handler import MessageHandler
from ..identifiers import EnvironmentID
from ..safe_logger import SafeLogger
from ..validation import check_callable, check_seconds
from .schedule import ExpiredKey, Schedule

_LONGEST_WAIT = 3600.0  # seconds; the wall clock may be set, and a wait does not notice
_numbers = itertools.count(1)


def _now() -> datetime:
    return datetime.now(timezone.utc)


class ExpiryWatcher(MessageHandler):
    """
    Calls a function when a key of an environment expires.

    It is a :class:`MessageHandler`, so that it sees every environment from the first on. Give it to a
    :class:`StreamManager`, or along with other handlers to :meth:`EnvironmentRegistry.wrap`, there as the last one, so
    that it is told only of what the others have taken.

    Each key is told once for each time at which it is to expire: not if it was withdrawn before or given another time,
    nor again while the service goes on listing it. A key that has expired already when it becomes known is told at
    once. All this begins with :meth:`start`, or with ``with``; what was heard of before is not lost.

    Args:
        on_expired: Called with an :class:`ExpiredKey`, one call at a time and in the order of the expirations, in a
            daemon thread named ``autoconfig-expiry-…``. The manager does not wait for it. What it raises is logged.
        clock: Returns what time it is, as an aware datetime. It is asked when something changes, when the next key is
            due, and at least once in an hour, which is how late a clock that was set forward is noticed.

    Raises:
        TypeError: An argument is not callable.
        ValueError: The clock returns something other than an aware datetime.
    """

    def __init__(self, on_expired: Callable[[ExpiredKey], object], *, clock: Callable[[], datetime] = _now) -> None:
        check_callable("on_expired", on_expired)
        check_callable("clock", clock)
        now: object = clock()
        if not isinstance(now, datetime) or now.utcoffset() is None:  # later it would be the thread that fails
            raise ValueError("clock must return an aware datetime")
        self._log = SafeLogger(logging.getLogger("autoconfig"))
        self._on_expired = on_expired
        self._clock = clock
        self._changed = threading.Condition()  # guards the rest; notified of a new next key and of the end
        self._schedule = Schedule()
        self._closed = False
        self._thread: threading.Thread | None = None  # made by start(): Python 3.13 lets none of before a fork start

    def start(self) -> None:
        """
        Start the thread; returns at once.

        Raises:
            RuntimeError: It was called before.
            ClosedError: The watcher is closed; make a new one.
        """
        with self._changed:
            if self._closed:
                raise ClosedError("a closed watcher cannot be started; make a new one")
            if self._thread is not None:
                raise RuntimeError("the watcher was started before")
            name = f"autoconfig-expiry-{next(_numbers)}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()
            forks.add(self)

    def close(self, timeout: float = 5.0) -> bool:
        """
        Stop; after the return the function is not called any more. In a forked child it does nothing.

        May be called from any thread, from inside the function (that call then is the last), before :meth:`start`, and
        again. Only a running call of the function is waited for, when this call comes from another thread.

        Args:
            timeout: How many seconds to wait for a running call.

        Returns:
            Whether the thread has ended. If not, a WARNING says so, and it ends by itself after that call.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        forks.discard(self)
        with self._changed:
            self._closed = True
            self._schedule = Schedule()
            self._changed.notify_all()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._log.warning("Gave up waiting for the thread %s; it is still in on_expired", self._thread.name)
        return not self._thread.is_alive()

    def __enter__(self) -> ExpiryWatcher:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add_environment(self, params: EnvironmentParams) -> None:
        """Watch the environment's keys."""
        self.update_environment(params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Watch the keys that the environment has now, and no others of it."""
        with self._changed:
            if not self._closed and self._schedule.replace(params):
                self._changed.notify()

    def delete_environment(self, id: EnvironmentID) -> None:
        """Watch the environment's keys no more."""
        with self._changed:
            self._schedule.remove(id)

    def _abandon(self) -> None:
        """In a forked child: be closed, without the lock and the thread, which are the parent's."""
        self._changed = threading.Condition()
        self._closed = True
        self._thread = None

    def _run(self) -> None:
        while expired := self._next():
            try:
                self._on_expired(expired)
            except BaseException:  # SystemExit too: there are other keys
                self._log.exception("ExpiryWatcher.on_expired failed")

    def _next(self) -> ExpiredKey | None:
        """Wait for the next key that expires; ``None`` means that there will be none, because of the end."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                due = self._schedule.next_time()
                if due is not None and due <= now:
                    return self._schedule.pop()
                self._changed.wait(None if due is None else min((due - now).total_seconds(), _LONGEST_WAIT))
            return None
