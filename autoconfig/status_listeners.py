"""Calls the status listeners of a stream, one at a time and in order, without waiting for a lock."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import suppress

from .safe_logger import Logger, is_ctrl_c, log_aside
from .status import StatusListener, StreamState, StreamStatus
from .validation import check_callable


class StatusListeners:
    """
    Functions that are called with each new status, one call at a time and in order.

    The thread that reports a status makes the calls. It never waits for a lock, because a signal handler may report a
    status in the middle of a call. Then the thread that is already making calls makes those for the new status too.

    Args:
        logger: For listeners that raise.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self._listeners: list[StatusListener] = []
        self._statuses: deque[StreamStatus] = deque()  # those that the listeners still have to get
        self._calling = threading.Lock()  # held by the thread that calls the listeners; never waited for
        self._called_with_off = False

    def add(self, listener: StatusListener) -> None:
        """
        Call a function with each new status from now on.

        Raises:
            TypeError: It cannot be called.
        """
        check_callable("listener", listener)
        self._listeners.append(listener)

    def remove(self, listener: StatusListener) -> None:
        """Remove a listener; nothing happens if it was not added."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    def call(self, status: StreamStatus) -> None:
        """
        Call the listeners with a status, unless they were called with OFF before.

        Exceptions of a listener are logged, because this may be the reader's thread. Only Ctrl-C in the main thread is
        raised, when all calls are made.
        """
        self._statuses.append(status)
        ctrl_c: BaseException | None = None
        while self._statuses and self._calling.acquire(blocking=False):
            try:
                ctrl_c = self._call_next() or ctrl_c
            finally:
                self._calling.release()
        if ctrl_c:
            raise ctrl_c

    def _call_next(self) -> BaseException | None:
        """Call the listeners with the next status; return the Ctrl-C that came meanwhile."""
        try:
            status = self._statuses.popleft()
        except IndexError:  # another thread has taken it before this one got the lock
            return None
        if self._called_with_off:  # the reader reported this one at the same moment
            return None
        self._called_with_off = status.state is StreamState.OFF
        ctrl_c: BaseException | None = None
        for listener in tuple(self._listeners):
            try:
                listener(status)
            except BaseException as error:
                if is_ctrl_c(error):
                    ctrl_c = error
                else:
                    log_aside(self.logger, logging.ERROR, "A status listener failed", exc_info=error)
        return ctrl_c
