"""The two threads of a stream and the queue between them: started and stopped here, and nowhere else."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import attrs

from .config import RetryPolicy
from .dispatch.calls import HandlerCalls
from .dispatch.dispatcher import Dispatcher
from .exceptions import KeyRejectedError
from .handler import MessageHandler
from .handler_errors import HandlerErrors
from .messages import Batch
from .safe_logger import Logger
from .stream.cancel import CancelToken, Latch
from .stream.connection import Connector
from .stream.reader import StreamReader
from .stream.retry import RetryPlan
from .stream.source import EventStream
from .tracking import StatusTracker

_QUEUED_BATCHES = 8  # enough to keep both threads busy; more would only use memory while the handler is slow
# Seconds that stop() gives the reader. What nothing interrupts can take longer: the look-up of a name, decoding many
# megabytes, and the application's own functions that the reader calls.
_INTERRUPTION = 0.75
_numbers = itertools.count(1)


@attrs.frozen
class StreamOptions:
    """What a :class:`StreamManager` was told of how to follow its stream."""

    initial_retry_delay: float
    retry_policy: RetryPolicy
    stop_on_rejection: bool
    max_event_bytes: int
    handler_errors: HandlerErrors
    slow_callback: float


class StreamThreads:
    """
    Runs a reader and a dispatcher, each in a daemon thread.

    Args:
        connector: Makes the connections.
        handler: The application's side.
        token: Stops both threads; it is the connector's own.
        options: How to follow the stream.
        status: Is told of all that happens.
        on_connected: Called in the reader's thread each time there is an event stream.
        on_rejected: Called in the reader's thread if the key is refused for good, with the HTTP status.
        logger: For everything.

    Attributes:
        off: Set when no callback will begin any more.
    """

    def __init__(
        self,
        connector: Connector,
        handler: MessageHandler,
        token: CancelToken,
        options: StreamOptions,
        status: StatusTracker,
        *,
        on_connected: Callable[[], None],
        on_rejected: Callable[[int], None],
        logger: Logger,
    ) -> None:
        self.off = Latch()
        self._token = token
        self._status = status
        self._on_rejected = on_rejected
        self._log = logger
        self._batches: queue.Queue[Batch] = queue.Queue(_QUEUED_BATCHES)
        self._reader = StreamReader(
            EventStream(connector, options.max_event_bytes, logger),
            self._batches,
            token,
            RetryPlan(options.initial_retry_delay, options.retry_policy),
            status,
            stop_on_rejection=options.stop_on_rejection,
            on_connected=on_connected,
            logger=logger,
        )
        errors, slow_after = options.handler_errors, options.slow_callback
        self._calls = HandlerCalls(handler, token, errors=errors, slow_after=slow_after, status=status, logger=logger)
        self._dispatcher = Dispatcher(self._calls, errors.retry, self._batches, status, logger)
        self._threads: dict[str, threading.Thread] = {}  # made by start(): Python 3.13 lets none of before a fork start
        self._waking = threading.Lock()  # held while the threads are woken; never waited for
        self._inside: set[int] = set()  # the threads that are in start() or stop() at the moment

    def start(self) -> None:
        """Start both threads."""
        number = next(_numbers)
        self._inside.add(threading.get_ident())
        try:
            self._threads = {
                name: threading.Thread(target=target, name=f"autoconfig-{name}-{number}", daemon=True)
                for name, target in (("dispatcher", self._dispatch), ("reader", self._read))
            }
            for thread in self._threads.values():
                thread.start()
        finally:
            self._inside.discard(threading.get_ident())

    def stop(self, deadline: float) -> bool:
        """
        Stop both threads, and wait for those that are not the caller's own.

        Args:
            deadline: Until when to wait for a running callback, in monotonic time. The reader is given less.

        Returns:
            Whether they have ended. If not, a WARNING says which has not and where it is; but for a call that comes
            from a signal handler in the middle of another one, which goes on and says it.
        """
        self._token.cancel()
        me = threading.get_ident()
        if me in self._inside:
            # This is a signal handler that has interrupted start() or stop(), in whichever of their locks. What it
            # would wait for may be waiting for them; they go on when it returns, and find the token cancelled.
            return False
        self._inside.add(me)
        try:
            self._wake()
            reader_deadline = min(deadline, time.monotonic() + _INTERRUPTION)
            ended = self._join("reader", reader_deadline), self._join("dispatcher", deadline)
            self._token.close()
            self._end()
            return all(ended)
        finally:
            self._inside.discard(me)

    def is_one(self, thread: threading.Thread) -> bool:
        """Return whether it is one of the two."""
        return thread in self._threads.values()

    def _read(self) -> None:
        try:
            self._reader.run()
        except KeyRejectedError as error:
            self._on_rejected(error.status)
        finally:
            self._batches.put([])

    def _dispatch(self) -> None:
        try:
            self._dispatcher.run()
        finally:
            self._end()

    def _end(self) -> None:
        self._status.handles_no_more()
        self.off.set()

    def _wake(self) -> None:
        """Wake a reader that waits for room in the queue and a dispatcher that waits for a message."""
        if not self._waking.acquire(blocking=False):  # another thread is doing it
            return
        try:
            with suppress(queue.Empty):
                while True:
                    self._batches.get_nowait()
            with suppress(queue.Full):  # then the dispatcher is not waiting
                self._batches.put_nowait([])
        finally:
            self._waking.release()

    def _join(self, name: str, deadline: float) -> bool:
        thread = self._threads.get(name)
        if thread is None or thread is threading.current_thread() or thread.ident is None:  # never started, or itself
            return True
        with suppress(RuntimeError):  # its start() is what was interrupted, by the signal handler that this is in
            thread.join(max(0.0, deadline - time.monotonic()))
        if not thread.is_alive():
            return True
        if name == "reader":
            place = "the look-up of a name, a large message, or a function of yours such as that for the key"
        else:
            callback = self._calls.running  # once, because the call may end at any moment
            place = f"the handler's {callback}" if callback else "Python"
        self._log.warning("Gave up waiting for the thread %s; it is still in %s", thread.name, place)
        return False
