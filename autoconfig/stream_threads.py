"""The threads of a stream: how they start, how they are stopped, and what happens when one ends."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from . import connected_future, forks
from .cache_thread import CacheThread
from .daemon_threads import LEAST_GRACE, daemon_thread, join_thread
from .dispatch.calls import HandlerCalls
from .exceptions import ClosedError, ForkedError, KeyRejectedError
from .messages import Batch
from .safe_logger import SafeLogger, log_aside
from .status_tracker import StatusTracker
from .stream.cancel import CancelToken
from .waiting import SignalSafeCondition

# Seconds that stop() waits for a thread that is in no callback. Some things cannot be interrupted and may take longer:
# the look-up of a name, decoding many megabytes, the application's functions that the reader calls, and log handlers.
_GRACE = 0.75
_numbers = itertools.count(1)


class StreamThreads:
    """
    Runs a reader and a dispatcher, each in a daemon thread, and a cache's thread if there is one.

    The threads hold this object but not the manager, so that a manager that is dropped can be collected.

    Args:
        batches: The queue from the reader to the dispatcher.
        token: Stops the threads.
        calls: Knows which method of the handler is running.
        cache: Loads and saves the configuration in a separate thread.
        status: Records the end.
        logger: For everything.

    Attributes:
        connected: Done when the service first answers with a stream, or when the stream has ended before.
        error: What ended the stream; ``None`` if it runs or was closed.
    """

    def __init__(
        self,
        batches: queue.Queue[Batch],
        token: CancelToken,
        calls: HandlerCalls,
        cache: CacheThread | None,
        status: StatusTracker,
        logger: SafeLogger,
    ) -> None:
        self.connected = connected_future.make_future()
        self.error: BaseException | None = None
        self._batches = batches
        self._token = token
        self._calls = calls
        self._cache = cache
        self._status = status
        self._log = logger
        self._ended = False  # whether no further callback will begin
        self._dropped = False  # whether the manager was dropped: nobody calls stop(), so the reader closes its sockets
        self._changed = SignalSafeCondition()
        self._process: int | None = None  # the id of the process that started the threads
        self._is_forked = False
        # Created in start(): on Python 3.13, a Thread object that was made before a fork cannot be started after it.
        self._reader: threading.Thread | None = None
        self._dispatcher: threading.Thread | None = None
        self._inside: set[int] = set()  # the threads that are running start() or stop()
        self._cancelling: set[object] = set()  # one for each call of cancel() that has not returned

    def start(self, read: Callable[[], None], dispatch: Callable[[], None], name: str) -> None:
        """
        Start the threads.

        Args:
            read: What the reader does; raises :class:`KeyRejectedError` when the stream has ended.
            dispatch: What the dispatcher does.
            name: The stream's name, for the log.
        """
        number = next(_numbers)
        self._process = os.getpid()
        forks.add(self)
        self._log.begin_stream(f"{number} {name}")
        try:
            self._inside.add(threading.get_ident())
            if self._cache:
                self._cache.start()
            self._reader = daemon_thread(f"autoconfig-reader-{number}", self._run_reader, read)
            self._dispatcher = daemon_thread(f"autoconfig-dispatcher-{number}", self._run_dispatcher, dispatch)
            self._dispatcher.start()
            self._reader.start()
        finally:
            self._inside.discard(threading.get_ident())

    def cancel(self) -> None:
        """End the stream: no further callback begins, and the threads end by themselves."""
        mine = object()
        try:
            self._cancelling.add(mine)
            self._token.cancel()
        finally:
            try:
                self._report_off()
            finally:
                self._cancelling.discard(mine)

    def stop(self, deadline: float) -> bool:
        """
        Stop the threads, and wait for those that are not the caller's own.

        Args:
            deadline: Until when to wait for a running callback and for the cache to be saved, in monotonic time.
                For everything else a thread gets at most 0.75 s, and at least 0.3 s.

        Returns:
            Whether they have ended, and the cache is saved. If not, a WARNING says which has not and where it is. A
            signal handler that interrupts another call logs nothing: that call continues, and logs it.
        """
        self.cancel()
        me = threading.get_ident()
        if me in self._inside:
            # This is a signal handler that has interrupted start() or stop(), which may hold any lock. A thread that it
            # waited for might wait for that lock. The interrupted call continues, and finds the token cancelled.
            return False
        try:
            self._inside.add(me)
            self._wake()
            now = time.monotonic()
            grace = min(max(deadline, now + LEAST_GRACE), now + _GRACE)
            ended = [self._wait_for_reader(grace), self._wait_for_dispatcher(grace, deadline)]
            self._token.close()
            self._mark_ended()
            ended.append(self._wait_for_cache(deadline))
            return all(ended)
        finally:
            self._inside.discard(me)

    def drop(self) -> bool:
        """
        Let the threads end, because the manager was dropped; return whether they were running.

        The garbage collector may call this while the thread holds the queue's lock, so the queue is not used.
        """
        running = self._process == os.getpid() and not self._ended
        if running:
            self._dropped = True
            self._token.cancel()
        return running

    def wait_for_end(self, timeout: float | None) -> bool:
        """Wait until no further callback will begin; return whether that is so."""
        return self._changed.wait_for(lambda: self._ended, timeout)

    @property
    def stopped(self) -> bool:
        """Whether no further callback may begin."""
        return self._token.cancelled or self._ended

    def is_current(self) -> bool:
        """Return whether one of the two threads is the caller's."""
        return threading.current_thread() in (self._reader, self._dispatcher)

    def has_forked(self) -> bool:
        """Return whether the threads run in the parent process, of which this one is a fork."""
        if not self._is_forked and self._process not in (None, os.getpid()) and not self._ended:
            self._abandon()
        return self._is_forked

    def note_connected(self) -> None:
        """Settle the future when the service first answers with a stream."""
        # A socket that was shut down can look like the end of an answer's head.
        if not self.connected.done() and not self._token.cancelled:
            self._log.info("Connected")
            self._settle(None)

    def _run_reader(self, read: Callable[[], None]) -> None:
        try:
            read()
        except KeyRejectedError as error:
            if self._cache:
                self._cache.wait_until_loaded()
            self._log.error("The stream has ended: %s", error)
            self._end_by(error)
        except BaseException as error:
            self._fail(error)
        finally:
            if self._dropped:
                self._token.close()
            if self._token.cancelled:  # then put() might block: several calls of stop() may have filled the queue
                self._wake()
            else:
                self._batches.put([])

    def _run_dispatcher(self, dispatch: Callable[[], None]) -> None:
        try:
            dispatch()
        except BaseException as error:
            self._token.cancel()
            self._fail(error)
        finally:
            if not self.has_forked():  # a callback may have forked: in the child, all this is the parent's
                if self._cache:
                    self._cache.finish()
                if not self._cancelling:  # else cancel() reports it, perhaps after a signal handler that interrupts it
                    self._report_off()
                self._wake()
                self._mark_ended()

    def _fail(self, error: BaseException) -> None:
        self._log.critical("The stream has ended, because its thread failed", exc_info=error)
        self._end_by(error)

    def _end_by(self, error: BaseException) -> None:
        self.error = error.with_traceback(None)  # the frames of a traceback would keep large objects alive
        self._status.off(error)
        self._settle(error)

    def _report_off(self) -> None:
        try:
            self._status.off()
        finally:  # whatever a listener or a callback of the future raises
            self._settle(ClosedError("the manager was closed before it was connected"))

    def _mark_ended(self) -> None:
        self._status.handles_no_more()
        self._ended = True
        self._changed.notify_all()
        self._log.end_stream()
        forks.discard(self)

    def _settle(self, error: BaseException | None) -> None:
        connected_future.settle(self.connected, error, self._log)

    def _wake(self) -> None:
        """Wake a reader that waits for room in the queue and a dispatcher that waits for a message."""
        # The newest item stays: it may be the one that ends the dispatcher, and Ctrl-C may come before the next line.
        with suppress(queue.Empty):
            while self._batches.qsize() > 1:
                self._batches.get_nowait()
        with suppress(queue.Full):
            self._batches.put_nowait([])

    def _wait_for_reader(self, grace: float) -> bool:
        places = "the look-up of a name, a large message, or a function of yours, such as the one for the key"
        return join_thread(self._reader, grace) or self._give_up(self._reader, places)

    def _wait_for_dispatcher(self, grace: float, deadline: float) -> bool:
        if self._calls.running and join_thread(self._dispatcher, deadline):
            return True
        callback = self._calls.running  # once, because the call may end at any moment
        if not callback and join_thread(self._dispatcher, grace):
            return True
        return self._give_up(self._dispatcher, f"the handler's {callback}" if callback else "Python")

    def _wait_for_cache(self, deadline: float) -> bool:
        """Wait until the cache has the handler's last changes; return whether it has."""
        saved = self._cache is None or self._cache.wait_until_saved(deadline)
        if not saved:
            log_aside(self._log, logging.WARNING, "Gave up waiting for the cache; it does not have the last changes")
        return saved

    def _give_up(self, thread: threading.Thread | None, place: str) -> bool:
        if thread is None or not thread.is_alive():
            return True
        place = "a log handler" if self._log.is_busy(thread) else place
        text = "Gave up waiting for the thread %s; it is still in %s"
        log_aside(self._log, logging.WARNING, text, thread.name, place)
        return False

    def _abandon(self) -> None:
        """In a forked child: release what belongs to the parent, without waiting for any of its locks."""
        if self._ended:
            return
        self._is_forked = True
        self._token.abandon()
        self._status.abandon(ForkedError())
        self._log.end_stream()
        connected_future.abandon(self.connected)
