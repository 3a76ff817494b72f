"""The reader's thread: connect, receive, hand over, and again, until it is stopped or the key is refused."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterator

from ..exceptions import KeyRejectedError
from ..messages import Batch
from ..safe_logger import Logger
from ..status_tracker import StatusTracker
from .cancel import CancelToken
from .decoding import Received
from .failures import FailureLog, ReconnectRequestedError
from .retry import RetryPlan
from .source import Source


class StreamReader:
    """
    Follows a source and puts its messages into a queue.

    All messages of one read are one item of the queue, because a hand-over costs more than a message. A full queue
    makes the reader wait, and then the service.

    Args:
        source: Makes the connections.
        batches: The queue.
        token: Stops everything.
        plan: How long to wait between attempts.
        status: Records connections, events and errors.
        stop_on_rejection: Whether a refused key ends the stream; if not, it is retried slowly.
        on_connected: Called once each time there is a connection.
        logger: For one line when failures begin, and one when they end.
    """

    def __init__(
        self,
        source: Source,
        batches: queue.Queue[Batch],
        token: CancelToken,
        plan: RetryPlan,
        status: StatusTracker,
        *,
        stop_on_rejection: bool,
        on_connected: Callable[[], None],
        logger: Logger,
    ) -> None:
        self._source = source
        self._batches = batches
        self._token = token
        self._plan = plan
        self._status = status
        self._stop_on_rejection = stop_on_rejection
        self._on_connected = on_connected
        self._failures = FailureLog(logger)

    def run(self) -> None:
        """
        Follow the source until the token is cancelled.

        Raises:
            KeyRejectedError: The service refused the key; what came before was handed over.
        """
        while not self._token.cancelled:
            connected_at, failure = math.inf, None
            self._status.connecting()
            try:
                with self._source.connect() as stream:
                    connected_at = time.monotonic()
                    self._on_connected()
                    self._follow(stream)
            except BaseException as error:  # any error: the thread continues and retries
                if isinstance(error, KeyRejectedError) and self._stop_on_rejection:
                    raise
                failure = error.with_traceback(None)  # whose frames would keep the answer
            lasted = max(0.0, time.monotonic() - connected_at)
            delay = self._plan.next_delay(failure, lasted, self._source.retry)
            if failure and not self._token.cancelled:
                self._failures.failed(failure, delay, self._status.failed_attempts)
                self._status.disconnected(None if isinstance(failure, ReconnectRequestedError) else failure, delay)
            self._token.wait(delay)

    def _follow(self, stream: Iterator[Received]) -> None:
        self._status.connected()
        good = False  # once an event has come that can be used
        for received in stream:
            messages = received.messages
            if received.events and not good:
                good = True
                self._failures.recovered(self._status.failed_attempts)
                self._plan.delivered()
            self._status.received(received.events, bool(messages))
            if received.refusal:
                self._status.invalid_data(received.refusal)
            if messages and not self._token.cancelled:
                self._batches.put(messages)
            if received.ending:
                raise received.ending
            del received, messages  # a name would keep a large put until the next piece comes
