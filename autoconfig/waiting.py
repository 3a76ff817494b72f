"""A condition variable that signal handlers, Ctrl-C and forks cannot break."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

# Seconds that one system call waits. A signal that comes right before the call, or that another thread gets, does not
# interrupt it, and Python calls the signal's handler only afterwards.
_SLICE = 1.0


class SignalSafeCondition:
    """
    Lets threads wait until something is true, as ``threading.Condition`` does, but without a lock that they share.

    So a signal handler may call :meth:`notify_all` in every situation, a KeyboardInterrupt in one waiting
    thread does not disturb the others, and a fork does not inherit a lock that nobody will release.
    """

    def __init__(self) -> None:
        self._locks: list[threading.Lock] = []  # one for each waiting thread, which holds it

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """
        Wait until the predicate is true; return whether it is.

        Args:
            predicate: Called first, and after each :meth:`notify_all`.
            timeout: In seconds; ``None`` means for ever.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        mine = threading.Lock()
        mine.acquire()
        self._locks.append(mine)
        try:
            while not predicate():  # first after the append, so that a later change wakes this thread
                left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
                if left <= 0:
                    return False
                mine.acquire(timeout=left)
            return True
        finally:
            self._locks.remove(mine)

    def notify_all(self) -> None:
        """Let every waiting thread check its predicate; called after each change. Never blocks."""
        for lock in tuple(self._locks):
            with suppress(RuntimeError):  # it is awake already
                lock.release()
