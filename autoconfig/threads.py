"""The two threads of a stream: how they start, how they are stopped, and what happens when one ends."""

from __future__ import annotations

import contextvars
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from . import forks
from .dispatch.calls import HandlerCalls
from .exceptions import ClosedError, ForkedError, KeyRejectedError
from .messages import Batch
from .safe_logger import SafeLogger, is_ctrl_c, log_aside
from .status_tracker import StatusTracker
from .stream.cancel import CancelToken
from .waiting import WaitingRoom

# Seconds that stop() waits for a thread that is in no callback. A few things cannot be interrupted and may take longer:
# the look-up of a name, decoding many megabytes, the application's functions that the reader calls, and a log handler.
_GRACE = 0.75
_LEAST_GRACE = 0.3  # even if the caller's timeout is shorter: a thread that nothing blocks ends in milliseconds
_numbers = itertools.count(1)


class StreamThreads:
    """
    Runs a reader and a dispatcher, each in a daemon thread.

    The threads hold this object but not the manager, so that a manager that is dropped can be collected.

    Args:
        batches: The queue from the reader to the dispatcher.
        token: Stops both threads.
        calls: Knows which method of the handler is running.
        status: Records the end.
        logger: For everything.

    Attributes:
        connected: Done when the service first answers with a stream, or when the stream has ended before.
        error: Why the stream ended by itself; ``None`` if it did not, or was closed.
    """

    def __init__(
        self,
        batches: queue.Queue[Batch],
        token: CancelToken,
        calls: HandlerCalls,
        status: StatusTracker,
        logger: SafeLogger,
    ) -> None:
        self.connected: Future[None] = Future()
        self.connected.set_running_or_notify_cancel()  # so that nobody can cancel it
        self.error: BaseException | None = None
        self._batches = batches
        self._token = token
        self._calls = calls
        self._status = status
        self._log = logger
        self._ended = False  # no callback will begin any more
        self._dropped = False  # so nobody will call stop(), which closes what the reader had to leave
        self._waiting = WaitingRoom()
        self._process: int | None = None  # in which the threads were started
        self._is_forked = False
        # Made by start(): on Python 3.13, a Thread that was made before a fork cannot be started after it.
        self._reader: threading.Thread | None = None
        self._dispatcher: threading.Thread | None = None
        self._inside: set[int] = set()  # the threads that are in start() or stop() at the moment
        self._cancelling: set[object] = set()  # one for each call of cancel() that has not returned

    def start(self, read: Callable[[], None], dispatch: Callable[[], None], name: str) -> None:
        """
        Start both threads.

        Args:
            read: What the reader does; raises :class:`KeyRejectedError` when the stream has ended.
            dispatch: What the dispatcher does.
            name: Of the stream, for the log.
        """
        number = next(_numbers)
        self._process = os.getpid()
        forks.add(self)
        self._log.begin_stream(f"{number} {name}")
        try:
            self._inside.add(threading.get_ident())
            self._reader = _thread(f"autoconfig-reader-{number}", self._run_reader, read)
            self._dispatcher = _thread(f"autoconfig-dispatcher-{number}", self._run_dispatcher, dispatch)
            self._dispatcher.start()
            self._reader.start()
        finally:
            self._inside.discard(threading.get_ident())

    def cancel(self) -> None:
        """End the stream: from here on no callback begins, and the threads end by themselves."""
        mine = object()
        try:
            self._cancelling.add(mine)
            self._token.cancel()
        finally:
            try:
                self._note_end()
            finally:
                self._cancelling.discard(mine)

    def stop(self, deadline: float) -> bool:
        """
        Stop both threads, and wait for those that are not the caller's own.

        Args:
            deadline: Until when to wait for a running callback, in monotonic time. Whatever else a thread does, it is
                given at most 0.75 s, and at least 0.3 s.

        Returns:
            Whether they have ended. If not, a WARNING says which has not and where it is; but for a call that comes
            from a signal handler in the middle of another one, which goes on and says it.
        """
        self.cancel()
        me = threading.get_ident()
        if me in self._inside:
            # This is a signal handler that has interrupted start() or stop(), in whichever of their locks. What it
            # would wait for may be waiting for them; they go on when it returns, and find the token cancelled.
            return False
        try:
            self._inside.add(me)
            self._wake()
            now = time.monotonic()
            grace = min(max(deadline, now + _LEAST_GRACE), now + _GRACE)
            ended = self._wait_for_reader(grace), self._wait_for_dispatcher(grace, deadline)
            self._token.close()
            self._end()
            return all(ended)
        finally:
            self._inside.discard(me)

    def drop(self) -> bool:
        """
        Let the threads end, because nobody can close the stream any more; return whether they were running.

        It takes no lock of the queue, because the garbage collector may call this in the middle of one.
        """
        running = self._process == os.getpid() and not self._ended
        if running:
            self._dropped = True
            self._token.cancel()
        return running

    def wait_for_end(self, timeout: float | None) -> bool:
        """Wait until no callback will begin any more; return whether that is so."""
        return self._waiting.wait(lambda: self._ended, timeout)

    @property
    def stopped(self) -> bool:
        """Whether no further callback may begin."""
        return self._token.cancelled or self._ended

    def is_current(self) -> bool:
        """Return whether one of the two threads is the caller's."""
        return threading.current_thread() in (self._reader, self._dispatcher)

    def has_forked(self) -> bool:
        """Return whether the threads run in the parent process, and not in this fork of it."""
        if not self._is_forked and self._process not in (None, os.getpid()) and not self._ended:
            self._abandon()
        return self._is_forked

    def note_connected(self) -> None:
        """Settle the future, the first time that there is an event stream."""
        if not self.connected.done() and not self._token.cancelled:  # which can look like the end of an answer's head
            self._log.info("Connected")
            self._settle(None)

    def _run_reader(self, read: Callable[[], None]) -> None:
        try:
            read()
        except KeyRejectedError as error:
            self._log.error("The stream has ended: %s", error)
            self._end_by(error)
        except BaseException as error:
            self._fail(error)
        finally:
            if self._dropped:
                self._token.close()
            if self._token.cancelled:  # several calls of stop() may have filled the queue
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
            if not self.has_forked():  # it was, inside a callback: then all this is the parent's
                if not self._cancelling:  # else it is done there, perhaps by what a signal handler has interrupted
                    self._note_end()
                self._wake()
                self._end()

    def _fail(self, error: BaseException) -> None:
        self._log.critical("The stream has ended, because its thread failed", exc_info=error)
        self._end_by(error)

    def _end_by(self, error: BaseException) -> None:
        self.error = error.with_traceback(None)  # whose frames would keep what they hold
        self._status.off(error)
        self._settle(error)

    def _note_end(self) -> None:
        try:
            self._status.off()
        finally:  # whatever a listener or a callback of the future raises
            self._settle(ClosedError("the manager was closed before it was connected"))

    def _end(self) -> None:
        self._status.handles_no_more()
        self._ended = True
        self._waiting.wake()
        self._log.end_stream()
        forks.discard(self)

    def _settle(self, error: BaseException | None) -> None:
        """Give the future its outcome, unless it has one."""
        try:
            if error is None:
                self.connected.set_result(None)
            else:
                self.connected.set_exception(error)
        except InvalidStateError:
            return
        except BaseException as failure:  # concurrent.futures lets SystemExit and the like of a callback through
            if is_ctrl_c(failure):
                raise
            log_aside(self._log, logging.ERROR, "A callback of the future failed", exc_info=failure)

    def _wake(self) -> None:
        """Wake a reader that waits for room in the queue and a dispatcher that waits for a message."""
        # The newest item stays: it may be the reader's last one, without which the dispatcher would wait for ever if
        # Ctrl-C came before the next line.
        with suppress(queue.Empty):
            while self._batches.qsize() > 1:
                self._batches.get_nowait()
        with suppress(queue.Full):
            self._batches.put_nowait([])

    def _wait_for_reader(self, grace: float) -> bool:
        places = "the look-up of a name, a large message, or a function of yours such as that for the key"
        return _ends(self._reader, grace) or self._give_up(self._reader, places)

    def _wait_for_dispatcher(self, grace: float, deadline: float) -> bool:
        if self._calls.running and _ends(self._dispatcher, deadline):
            return True
        callback = self._calls.running  # once, because the call may end at any moment
        if not callback and _ends(self._dispatcher, grace):
            return True
        return self._give_up(self._dispatcher, f"the handler's {callback}" if callback else "Python")

    def _give_up(self, thread: threading.Thread | None, place: str) -> bool:
        if thread is None or not thread.is_alive():
            return True
        place = "a log handler" if self._log.is_busy(thread) else place
        log_aside(
            self._log,
            logging.WARNING,
            "Gave up waiting for the thread %s; it is still in %s",
            thread.name,
            place,
        )
        return False

    def _abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, and wait for none of its locks."""
        if self._ended:
            return
        self._is_forked = True
        self._token.abandon()
        self._status.abandon(ForkedError())
        self._log.end_stream()
        self._replace_future()

    def _replace_future(self) -> None:
        """
        In a forked child: let the future raise, unless it has a result, and wake nobody.

        Each of its methods takes a lock that a thread of the parent may have held. Who waits for it, and its callbacks,
        are the parent's. There is no public way to renew a future that users hold, so its attributes are replaced.
        """
        forked: Future[None] = Future()
        forked.set_exception(ForkedError())
        renewed = vars(forked)
        if self.connected._state == "FINISHED":
            renewed = {"_condition": renewed["_condition"]}
        vars(self.connected).update(renewed)


def _thread(name: str, run: Callable[..., None], *arguments: object) -> threading.Thread:
    """Make a daemon thread that does not inherit the caller's context variables, such as those of one web request."""
    return threading.Thread(target=contextvars.Context().run, args=(run, *arguments), name=name, daemon=True)


def _ends(thread: threading.Thread | None, deadline: float) -> bool:
    """Wait for the end of a thread; return whether it has ended, was never started, or is the caller's own."""
    if thread is None or thread is threading.current_thread() or thread.ident is None:
        return True
    with suppress(RuntimeError):  # its start() is what was interrupted, by the signal handler that this is in
        thread.join(max(0.0, deadline - time.monotonic()))
    return not thread.is_alive()
