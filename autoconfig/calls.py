"""One call of the handler at a time, and what is said of those that fail or take long."""

from __future__ import annotations

import time

from .handler import MessageHandler
from .handler_errors import HandlerErrors, HandlerFailure
from .identifiers import show
from .safe_logger import Logger
from .status import StatusTracker
from .stream.cancel import CancelToken


class StoppedError(Exception):
    """The token was cancelled, so nothing more may be called."""


class HandlerCalls:
    """
    Calls the handler, in the dispatcher's thread.

    Args:
        handler: The application's side.
        token: When it is cancelled, no further call begins.
        errors: Who is told of a call that fails.
        slow_after: How many seconds a call may take before there is a WARNING.
        status: Counts the failures.
        logger: For failures and slow calls.

    Attributes:
        running: The name of the method that is being called at the moment, else ``None``; any thread may look.
    """

    def __init__(
        self,
        handler: MessageHandler,
        token: CancelToken,
        *,
        errors: HandlerErrors,
        slow_after: float,
        status: StatusTracker,
        logger: Logger,
    ) -> None:
        self.running: str | None = None
        self._handler = handler
        self._token = token
        self._errors = errors
        self._slow_after = slow_after
        self._status = status
        self._log = logger

    def call(self, callback: str, *arguments: object) -> BaseException | None:
        """
        Call one of the handler's methods.

        Returns:
            What it raised, ``SystemExit`` and the like included; it goes no further, because the thread has to live on.

        Raises:
            StoppedError: Nothing may be called any more.
        """
        # In this order, so that whoever cancels the token and then looks here sees each call that still begins.
        self.running = callback
        if self._token.cancelled:
            self.running = None
            raise StoppedError
        begin = time.monotonic()
        try:
            getattr(self._handler, callback)(*arguments)
        except BaseException as error:
            return error
        finally:
            self.running = None
            if (took := time.monotonic() - begin) > self._slow_after:
                self._log.warning("The handler's %s took %.1f s, and held up all that came after it", callback, took)
        return None

    def tell(self, failure: HandlerFailure) -> None:
        """Count and log a failure, and tell who asked to be told."""
        self._status.failed_callbacks += 1
        again = "" if failure.next_attempt_in is None else f"; next attempt in {failure.next_attempt_in:.1f} s"
        text = "The handler failed in %s %s%s"
        self._log.error(text, failure.callback, show(failure.id), again, exc_info=failure.error)
        if self._errors.on_error:
            try:
                self._errors.on_error(failure)
            except BaseException:
                self._log.exception("HandlerErrors.on_error failed")
