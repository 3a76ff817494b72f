"""The reader's thread: connect, read, decode, hand over, and again, until it is stopped or the key is refused."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeGuard

from ..exceptions import EventTooLargeError, KeyRejectedError, MalformedMessageError, StreamError
from ..identifiers import EnvironmentID, show
from ..messages import DELETE_EVENT, PATCH_EVENT, PUT_EVENT, RECONNECT_EVENT, Batch, Message, PutMessageData
from ..safe_logger import Logger
from ..tracking import StatusTracker
from .cancel import CancelToken
from .connection import Connector
from .decoding import decode
from .events import EventParser, ServerSentEvent
from .failures import FailureLog, ReconnectRequestedError
from .retry import RetryPlan

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
        plan: How long to wait between attempts.
        status: Is told of all that happens.
        max_event_bytes: The largest event.
        stop_on_rejection: Whether a refused key ends the stream; else it is tried again, slowly.
        on_connected: Called once each time there is an event stream.
        logger: For one line when trouble begins, one when it ends.
    """

    def __init__(
        self,
        connector: Connector,
        batches: queue.Queue[Batch],
        token: CancelToken,
        plan: RetryPlan,
        status: StatusTracker,
        *,
        max_event_bytes: int,
        stop_on_rejection: bool,
        on_connected: Callable[[], None],
        logger: Logger,
    ) -> None:
        self._connector = connector
        self._batches = batches
        self._token = token
        self._plan = plan
        self._status = status
        self._max_event_bytes = max_event_bytes
        self._stop_on_rejection = stop_on_rejection
        self._on_connected = on_connected
        self._log = logger
        self._failures = FailureLog(logger)
        self._last_event_id = ""

    def run(self) -> None:
        """
        Follow the stream until the token is cancelled.

        Raises:
            KeyRejectedError: The service refused the key; what came before was handed over.
        """
        while not self._token.cancelled:
            parser = EventParser(max_event_bytes=self._max_event_bytes, last_event_id=self._last_event_id)
            connected_at, failure = math.inf, None
            self._status.connecting()
            try:
                with self._connector.connect(parser.last_event_id) as pieces:
                    connected_at = time.monotonic()
                    self._on_connected()
                    self._follow(parser, pieces)
            except BaseException as error:  # whatever it is, the thread lives on and tries again
                if isinstance(error, KeyRejectedError) and self._stop_on_rejection:
                    raise
                failure = error.with_traceback(None)  # whose frames would keep the answer
            self._last_event_id = parser.last_event_id
            lasted = max(0.0, time.monotonic() - connected_at)
            delay = self._plan.next_delay(failure, lasted, parser.retry)
            if failure and not self._token.cancelled:
                self._failures.failed(failure, delay)
                self._status.disconnected(None if isinstance(failure, ReconnectRequestedError) else failure, delay)
            self._token.wait(delay)

    def _follow(self, parser: EventParser, pieces: Iterator[bytes]) -> None:
        self._status.connected()
        for piece in pieces:
            self._status.received_bytes()
            # Without a name, because that would keep a large put until the next piece comes.
            self._hand_over(parser.feed(piece))
            if parser.oversized:
                raise EventTooLargeError(self._max_event_bytes)

    def _hand_over(self, events: Sequence[ServerSentEvent]) -> None:
        """Put the messages of the events into the queue; those before one that ends the connection count."""
        if not events:
            return
        batch, ending = self._decode(events)
        malformed = isinstance(ending, MalformedMessageError)
        if batch or not malformed:
            self._status.delivered(len(batch) if malformed else len(events))
        if batch and not _is_flawed(batch[0]):  # a put with flaws ends its batch, so what comes before it has none
            self._failures.recovered()
            self._plan.delivered()
        if batch and not self._token.cancelled:
            self._status.handed_over()
            self._batches.put(batch)
        if ending:
            raise ending

    def _decode(self, events: Sequence[ServerSentEvent]) -> tuple[Batch, StreamError | None]:
        """Return the messages up to what ends the connection, and that."""
        batch: Batch = []
        try:
            for name, data in events:
                if name in _MESSAGES:
                    batch.append(message := decode(name, data or ""))
                    if _is_flawed(message):
                        return batch, _malformed(message.data.flawed)
                elif name == RECONNECT_EVENT:
                    return batch, ReconnectRequestedError()
                else:
                    self._log.warning("Ignored an event of unknown name %s", show(name))
        except MalformedMessageError as error:
            return batch, error
        return batch, None


def _is_flawed(message: Message) -> TypeGuard[PutMessageData]:
    return isinstance(message, PutMessageData) and bool(message.data.flawed)


def _malformed(flawed: Mapping[EnvironmentID, str]) -> MalformedMessageError:
    id, reason = next(iter(flawed.items()))
    others = f", and {len(flawed) - 1} more" if len(flawed) > 1 else ""
    return MalformedMessageError(PUT_EVENT, f"environments[{show(id)}]: {reason}{others}")
