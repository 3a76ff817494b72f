"""What is logged of a stream's trouble: where a series of failures begins and where it ends, not each one."""

from __future__ import annotations

import logging
import time

from ..exceptions import EventTooLargeError, KeyRejectedError, MalformedMessageError, StreamError
from ..safe_logger import Logger
from .failures import describe


class ReconnectRequestedError(StreamError):
    """The service sent a ``reconnect`` event."""


class RefusedMessageError(MalformedMessageError):
    """A message whose environments contradict themselves; the dispatcher logs which, at ERROR."""


class TroubleLog:
    """
    Logs failures of one stream.

    Args:
        logger: Where to.
    """

    def __init__(self, logger: Logger) -> None:
        self._log = logger
        self._failures = 0  # since the last event
        self._since = 0.0  # monotonic
        self._kinds: set[type[BaseException]] = set()  # of these failures

    def failed(self, error: BaseException, delay: float) -> None:
        """
        Log why a connection ended.

        The first failure of each kind in a series is an ERROR if it is the data's or the key's fault, else a WARNING.
        Further ones are DEBUG lines: they come as often as there are attempts.
        """
        if isinstance(error, ReconnectRequestedError):
            self._log.info("The service asked for a new connection")
            return
        loud = isinstance(error, MalformedMessageError | EventTooLargeError | KeyRejectedError)
        if loud and not isinstance(error, RefusedMessageError) and type(error) not in self._kinds:
            level = logging.ERROR
        else:
            level = logging.DEBUG if self._failures else logging.WARNING
        self._kinds.add(type(error))
        text = str(error) if isinstance(error, StreamError | KeyRejectedError) else f"unexpected {describe(error)}"
        self._log.log(level, "The stream failed: %s; next attempt in %.1f s", text, delay)
        if not self._failures:
            self._since = time.monotonic()
        self._failures += 1

    def recovered(self) -> None:
        """Log that the stream delivers again, if it had failed."""
        if self._failures:
            lasted = time.monotonic() - self._since
            self._log.info("The stream is back after %.1f s and %d failed attempts", lasted, self._failures)
            self._failures = 0
            self._kinds.clear()
