"""The reader's thread: connect, read, decode, hand over, and again, until it is stopped or the key is refused."""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from ..exceptions import EventTooLargeError, KeyRejectedError, MalformedMessageError, StreamError
from ..identifiers import EnvironmentID
from ..messages import DELETE_EVENT, PATCH_EVENT, PUT_EVENT, RECONNECT_EVENT, Batch, PutMessageData
from .cancel import CancelToken
from .connection import Connector
from .decoding import decode
from .events import EventParser, ServerSentEvent
from .failures import describe
from .retry import Backoff

_MESSAGES = frozenset({PUT_EVENT, PATCH_EVENT, DELETE_EVENT})


class StreamReader:
    """
    Follows the stream and puts what it brings into a queue.

    One read is one item of the queue, because the hand-over costs more than a message. A full queue makes the reader
    wait, and through it the service.

    Args:
        connector: Makes the connections.
        batches: Where the messages go, and an empty batch at the end.
        token: Stops everything.
        backoff: How long to wait between attempts.
        max_event_bytes: The largest event.
        on_connected: Called once each time there is an event stream.
        logger: For one line when trouble begins, one when it ends.
    """

    def __init__(
        self,
        connector: Connector,
        batches: queue.Queue[Batch],
        token: CancelToken,
        backoff: Backoff,
        *,
        max_event_bytes: int,
        on_connected: Callable[[], None],
        logger: logging.Logger,
    ) -> None:
        self._connector = connector
        self._batches = batches
        self._token = token
        self._backoff = backoff
        self._max_event_bytes = max_event_bytes
        self._on_connected = on_connected
        self._log = logger
        self._last_event_id = ""
        self._failures = 0  # since the last event
        self._failing_since = 0.0  # monotonic

    def run(self) -> None:
        """
        Follow the stream until the token is cancelled.

        Raises:
            KeyRejectedError: The service refused the key; what came before was handed over.
        """
        while not self._token.cancelled:
            parser = EventParser(max_event_bytes=self._max_event_bytes, last_event_id=self._last_event_id)
            connected_at, failure = math.inf, None
            try:
                with self._connector.connect(parser.last_event_id) as pieces:
                    connected_at = time.monotonic()
                    self._on_connected()
                    self._follow(parser, pieces)
            except KeyRejectedError:
                raise
            except Exception as error:  # whatever it is, the thread lives on and tries again
                failure = error.with_traceback(None)  # whose frames would keep the answer
            self._last_event_id = parser.last_event_id
            good_for = max(0.0, time.monotonic() - connected_at)
            delay = self._backoff.next_delay(good_for, parser.retry)
            if failure and not self._token.cancelled:
                with suppress(Exception):  # a logger of the application's may raise, too
                    self._note(failure, delay)
            self._token.wait(delay)

    def _follow(self, parser: EventParser, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            if events := parser.feed(piece):
                self._hand_over(events)
            if parser.oversized:
                raise EventTooLargeError(self._max_event_bytes)

    def _hand_over(self, events: Sequence[ServerSentEvent]) -> None:
        """Decode the events and put them into the queue; those before one that ends the connection count."""
        batch: Batch = []
        try:
            for name, data in events:
                if name in _MESSAGES:
                    message = decode(name, data or "")
                    batch.append(message)
                    if isinstance(message, PutMessageData) and message.data.flawed:
                        raise _malformed(message.data.flawed)
                elif name == RECONNECT_EVENT:
                    raise _ReconnectRequestedError
                else:
                    self._log.warning("Ignored an event of unknown name %.100a", name)
        finally:
            if batch:
                self._recovered()
                if not self._token.cancelled:
                    self._batches.put(batch)

    def _note(self, error: Exception, delay: float) -> None:
        """Log why the connection ended: the first failure of a series as a WARNING, the others at DEBUG."""
        if isinstance(error, _ReconnectRequestedError):
            self._log.info("The service asked for a new connection")
            return
        level = logging.DEBUG if self._failures else logging.WARNING
        if isinstance(error, MalformedMessageError | EventTooLargeError):
            level = logging.ERROR
        text = str(error) if isinstance(error, StreamError) else f"unexpected {describe(error)}"
        self._log.log(level, "The stream failed: %s; next attempt in %.1f s", text, delay)
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1

    def _recovered(self) -> None:
        if self._failures:
            lasted = time.monotonic() - self._failing_since
            self._log.info("The stream is back after %.1f s and %d failed attempts", lasted, self._failures)
            self._failures = 0


def _malformed(flawed: Mapping[EnvironmentID, str]) -> MalformedMessageError:
    id, reason = next(iter(flawed.items()))
    others = f", and {len(flawed) - 1} more" if len(flawed) > 1 else ""
    return MalformedMessageError(PUT_EVENT, f"environments[{id[:100]!a}]: {reason}{others}")


class _ReconnectRequestedError(StreamError):
    """The service sent a ``reconnect`` event."""
