"""Sources of messages for the reader; the usual one is the service's event stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from ..exceptions import AutoConfigError
from ..safe_logger import Logger
from .cancel import CancelToken
from .connection import Connector
from .decoding import Decoder, Received


class Source(Protocol):
    """A source of messages. Only the reader's thread uses it."""

    @property
    def retry(self) -> int | None:
        """The delay before the next connection that the last one asked for, in milliseconds; ``None`` if it did not."""

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
        """A short name for log lines; not secret."""

    def make(self, token: CancelToken, logger: Logger) -> Source:
        """
        Make the source of one manager.

        Args:
            token: Interrupts the source. The source must let the token watch each socket before it connects, and wait
                with ``token.wait()`` only. So closing the manager ends every wait of the source.
            logger: For the source's log lines.
        """


class EventStream:
    """
    The service's event stream as a source.

    Args:
        connector: Makes the connections.
        max_event_bytes: The largest event.
        logger: For what is ignored.
    """

    def __init__(self, connector: Connector, max_event_bytes: int, logger: Logger) -> None:
        self._connector = connector
        self._decoder = Decoder(max_event_bytes, logger)

    @property
    def retry(self) -> int | None:
        """The last valid ``retry:`` line; see :attr:`Source.retry`."""
        return self._decoder.parser.retry

    @contextmanager
    def connect(self) -> Iterator[Iterator[Received]]:
        """Connect; see :meth:`Source.connect`."""
        decoder = self._decoder
        decoder.begin()
        try:
            with self._connector.connect(decoder.parser.last_event_id) as pieces:
                yield map(decoder.feed, pieces)
        except BaseException as error:
            if not isinstance(error, AutoConfigError):  # unexpected, so that what came may not have been handed over
                decoder.forget_put()
            raise
