"""Waiting for another thread; safe from signal handlers and Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress


class WaitingRoom:
    """
    Threads that wait until something is true.

    It differs from ``threading.Condition`` in that there is no lock that all of them share. So a signal handler may
    call :meth:`wake` whatever it has interrupted; a KeyboardInterrupt in one waiting thread does not concern the
    others; and a fork does not inherit a lock that nobody will release.
    """

    def __init__(self) -> None:
        self._locks: list[threading.Lock] = []  # one for each waiting thread, which holds it

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """
        Wait until the condition holds; return whether it does.

        Args:
            condition: Looked at first, and after each :meth:`wake`.
            timeout: In seconds; ``None`` means for ever.
        """
        if condition():
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        mine = threading.Lock()
        mine.acquire()
        self._locks.append(mine)
        try:
            while not condition():  # first after the append: whoever changes something later wakes this thread
                left = -1 if deadline is None else deadline - time.monotonic()
                if (deadline is not None and left <= 0) or not mine.acquire(timeout=left):
                    return condition()
            return True
        finally:
            self._locks.remove(mine)

    def wake(self) -> None:
        """Make every waiting thread look at its condition; called after each change."""
        for lock in tuple(self._locks):
            with suppress(RuntimeError):  # it is awake already
                lock.release()
