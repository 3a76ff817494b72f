"""The reader's thread: connect, read, decode, hand over, and again, until it is stopped or the key is refused."""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..exceptions import EventTooLargeError, KeyRejectedError, MalformedMessageError, StreamError
from ..identifiers import show
from ..messages import (
    DELETE_EVENT,
    PATCH_EVENT,
    PUT_EVENT,
    RECONNECT_EVENT,
    Batch,
    PatchMessageData,
    PutContent,
)
from ..safe_logger import Logger
from ..tracking import StatusTracker
from .cancel import CancelToken
from .connection import Connector
from .decoding import UnknownPath, decode
from .events import EventParser, ServerSentEvent
from .retry import RetryPlan
from .trouble import ReconnectRequestedError, RefusedMessageError, TroubleLog

_MESSAGES = {name.encode(): name for name in (PUT_EVENT, PATCH_EVENT, DELETE_EVENT)}
_RECONNECT = RECONNECT_EVENT.encode()
_REFUSABLE = PatchMessageData, PutContent


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
        self._trouble = TroubleLog(logger)
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
            good_for = max(0.0, time.monotonic() - connected_at)
            delay = self._plan.next_delay(failure, good_for, parser.retry)
            if failure and not self._token.cancelled:
                self._trouble.failed(failure, delay)
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
        decoded = self._decode(events)
        batch, ending = decoded.batch, decoded.ending
        if decoded.good:
            self._status.delivered(decoded.good)
        if decoded.refusal:
            self._status.invalid_data(decoded.refusal)
        if len(batch) > isinstance(ending, RefusedMessageError):  # then there is one that can be used
            self._trouble.recovered()
            self._plan.delivered()
        if batch and not self._token.cancelled:
            self._status.handed_over()
            self._batches.put(batch)
        if ending:
            raise ending

    def _decode(self, events: Sequence[ServerSentEvent]) -> _Decoded:
        batch: Batch = []
        refusal: RefusedMessageError | None = None
        for good, (name, data) in enumerate(events):
            event = _MESSAGES.get(name)
            if event is None:
                if name == _RECONNECT:
                    return _Decoded(batch, good + 1, refusal, ReconnectRequestedError())
                self._log.warning("Ignored an event of unknown name %s", show(name.decode("utf-8", "replace")))
                continue
            try:
                message = decode(event, data or b"")
            except MalformedMessageError as error:
                return _Decoded(batch, good, refusal, error)
            if isinstance(message, UnknownPath):
                level = logging.INFO if event == PUT_EVENT else logging.DEBUG
                self._log.log(level, "Ignored a %s of the unknown path %s", event, show(message.path))
                continue
            batch.append(message)
            if isinstance(message, _REFUSABLE) and message.refused:
                refusal = _refusal(message)
                if isinstance(message, PatchMessageData) or not message.environments:
                    return _Decoded(batch, good, None, refusal)
        return _Decoded(batch, len(events), refusal, None)


class _Decoded(NamedTuple):
    """
    What some events came to.

    Attributes:
        batch: The messages, up to one that ends the connection.
        good: How many events prove that the link delivers.
        refusal: Says which environments of a put are refused, if others of it can be used.
        ending: Why the connection is to be made anew.
    """

    batch: Batch
    good: int
    refusal: RefusedMessageError | None
    ending: StreamError | None


def _refusal(message: PutContent | PatchMessageData) -> RefusedMessageError:
    if isinstance(message, PatchMessageData):
        return RefusedMessageError(PATCH_EVENT, f"environments[{show(message.id)}]: {message.refused}")
    id, reason = next(iter(message.refused.items()))
    others = f", and {len(message.refused) - 1} more" if len(message.refused) > 1 else ""
    return RefusedMessageError(PUT_EVENT, f"environments[{show(id)}]: {reason}{others}")
