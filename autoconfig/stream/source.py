"""Sources of messages for the reader; the usual one is the service's event stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

from ..exceptions import EventTooLargeError, MalformedMessageError
from ..identifiers import show
from ..messages import DELETE_EVENT, PATCH_EVENT, PUT_EVENT, RECONNECT_EVENT, Batch, PatchMessageData, PutContent
from ..safe_logger import Logger
from .cancel import CancelToken
from .connection import Connector
from .decoding import UnknownPath, decode
from .events import EventParser, ServerSentEvent
from .failures import ReconnectRequestedError, RefusedMessageError

_MESSAGES = {name.encode(): name for name in (PUT_EVENT, PATCH_EVENT, DELETE_EVENT)}
_RECONNECT = RECONNECT_EVENT.encode()
_REFUSABLE = PatchMessageData, PutContent


class Received(NamedTuple):
    """
    What a source received in one read.

    Attributes:
        events: The names of the events; they prove that the connection delivers.
        messages: The messages.
        refusal: Names the refused environments of a put of which others can be used.
    """

    events: Sequence[str]
    messages: Batch
    refusal: MalformedMessageError | None = None


class Source(Protocol):
    """
    Where messages come from. The reader's thread alone uses it.

    Attributes:
        retry: The delay before the next connection that the service asked for last, in milliseconds.
    """

    retry: int | None

    def connect(self) -> AbstractContextManager[Iterator[Received]]:
        """
        Connect; the value is an iterator over what is received, which blocks and never ends by itself.

        The first message is a put. Closing the stream interrupts the iterator's waits, which ends it.

        Raises:
            KeyRejectedError: The service does not accept the key.
            StreamError: There is no connection. The iterator raises this too: the connection has ended.
        """


class SourceMaker(Protocol):
    """Describes a source other than the service's stream, such as :class:`autoconfig.redis.RedisSource`."""

    @property
    def name(self) -> str:
        """A short name for log lines; no secret."""

    def make(self, token: CancelToken, logger: Logger) -> Source:
        """
        Make the source of one manager.

        Args:
            token: Interrupts it: the source has it watch each socket before that connects, and waits by it alone. So
                closing the manager ends whatever the source is doing.
            logger: For what is worth a line.
        """


class EventStream:
    """
    The service's event stream as a source.

    Args:
        connector: Makes the connections.
        max_event_bytes: The largest event.
        logger: For what is ignored.

    Attributes:
        retry: The last valid ``retry:`` line of the last connection, in milliseconds; ``None`` without one.
    """

    def __init__(self, connector: Connector, max_event_bytes: int, logger: Logger) -> None:
        self.retry: int | None = None
        self._connector = connector
        self._max_event_bytes = max_event_bytes
        self._log = logger
        self._last_event_id = ""
        self._ending: Exception | None = None  # why to reconnect

    @contextmanager
    def connect(self) -> Iterator[Iterator[Received]]:
        """Connect; see :meth:`Source.connect`."""
        parser = EventParser(max_event_bytes=self._max_event_bytes, last_event_id=self._last_event_id)
        try:
            with self._connector.connect(parser.last_event_id) as pieces:
                yield self._receive(parser, pieces)
        finally:
            self._last_event_id, self.retry = parser.last_event_id, parser.retry

    def _receive(self, parser: EventParser, pieces: Iterator[bytes]) -> Iterator[Received]:
        self._ending = None
        for piece in pieces:
            yield self._decode(parser.feed(piece))  # without a name, which would keep a large put until the next piece
            if self._ending:
                raise self._ending
            if parser.oversized:
                raise EventTooLargeError(self._max_event_bytes)

    def _decode(self, events: Sequence[ServerSentEvent]) -> Received:
        """Return the messages up to one that ends the connection."""
        if not events:
            return _NOTHING
        names: list[str] = []
        messages: Batch = []
        refusal: RefusedMessageError | None = None
        for name, data in events:
            event = _MESSAGES.get(name)
            if event is None:
                names.append(RECONNECT_EVENT if name == _RECONNECT else name.decode("utf-8", "replace"))
                if name == _RECONNECT:
                    self._ending = ReconnectRequestedError()
                    break
                self._log.warning("Ignored an event of unknown name %s", show(names[-1]))
                continue
            try:
                message = decode(event, data or b"")
            except MalformedMessageError as error:
                self._ending = error
                break
            if isinstance(message, UnknownPath):
                level = logging.INFO if event == PUT_EVENT else logging.DEBUG
                self._log.log(level, "Ignored a %s of the unknown path %s", event, show(message.path))
            else:
                messages.append(message)
                if isinstance(message, _REFUSABLE) and message.refused:
                    refusal = refusal_of(message)
                    if isinstance(message, PatchMessageData) or not message.environments:
                        self._ending = refusal
                        return Received(names, messages)
            names.append(event)
        return Received(names, messages, refusal)


_NOTHING = Received((), [])


def refusal_of(message: PutContent | PatchMessageData) -> RefusedMessageError:
    """Return what names the environments of a message that are refused."""
    if isinstance(message, PatchMessageData):
        return RefusedMessageError(PATCH_EVENT, f"environments[{show(message.id)}]: {message.refused}")
    id, reason = next(iter(message.refused.items()))
    others = f", and {len(message.refused) - 1} more" if len(message.refused) > 1 else ""
    return RefusedMessageError(PUT_EVENT, f"environments[{show(id)}]: {reason}{others}")
