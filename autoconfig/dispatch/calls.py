"""Calls the handler, one call at a time, and logs calls that fail or take long."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from ..handler import MessageHandler
from ..handler_errors import HandlerErrors, HandlerFailure
from ..identifiers import show
from ..safe_logger import Logger
from ..status_tracker import StatusTracker
from ..stream.cancel import CancelToken

_SLOW = "The handler's %s took %.1f s; later calls waited"


class StoppedError(Exception):
    """The stream is being closed, so nothing more may be called."""

    def __init__(self) -> None:
        super().__init__("the manager that this handler was given to is closed")


@attrs.frozen
class Callback:
    """A method of the handler, and its name."""

    name: str
    method: Callable[..., object]


class HandlerCalls:
    """
    Calls the handler, in the dispatcher's thread.

    Args:
        handler: The application's side.
        token: No further call begins after it is cancelled.
        errors: Has the function to call after a call that failed.
        slow_after: How many seconds a call may take before there is a WARNING.
        status: Counts the failures.
        logger: For failures and slow calls.

    Attributes:
        running: The name of the method that is being called at the moment, else ``None``; any thread may read it.
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
        self._returned_at = 0.0  # monotonic; when the last call returned, which is when the next one begins

    def method(self, name: str) -> Callback:
        """Return one of the handler's methods."""
        return Callback(name, getattr(self._handler, name))

    def optional_method(self, name: str) -> Callback | None:
        """Return one of the handler's methods, if it has that."""
        return self.method(name) if callable(getattr(self._handler, name, None)) else None

    @property
    def stopped(self) -> bool:
        """Whether no further call begins."""
        return self._token.cancelled

    def begin(self) -> None:
        """Note that calls begin after a pause. Between two calls the clock is read only once."""
        self._returned_at = time.monotonic()

    def call(self, callback: Callback, *arguments: object) -> BaseException | None:
        """
        Call one of the handler's methods.

        Returns:
            What it raised, even ``SystemExit``, because nothing may end the thread.

        Raises:
            StoppedError: Nothing may be called any more.
        """
        # In this order, so that a thread that cancels the token and then reads `running` sees each call that begins.
        self.running = callback.name
        try:
            if self._token.cancelled:
                raise StoppedError
            callback.method(*arguments)
        except BaseException as error:
            if isinstance(error, StoppedError) and self._token.cancelled:
                raise
            return error
        finally:
            self.running = None
            now = time.monotonic()
            took = now - self._returned_at
            self._returned_at = now
            if took > self._slow_after:
                self._log.warning(_SLOW, callback.name, took)
        return None

    def failed(self, failure: HandlerFailure) -> None:
        """Count and log a failure, and tell the application's ``on_error``."""
        self._status.failed_callbacks += 1
        again = "" if failure.next_attempt_in is None else f"; next attempt in {failure.next_attempt_in:.1f} s"
        text = "The handler failed in %s %s%s"
        error = failure.error
        exc_info = type(error), error, error.__traceback__  # not the error alone, which may be false as a condition
        self._log.error(text, failure.callback, show(failure.id), again, exc_info=exc_info)
        if self._errors.on_error:
            self.running = "on_error"  # close() waits for it, too
            try:
                self._errors.on_error(failure)
            except BaseException:
                self._log.exception("HandlerErrors.on_error failed")
            finally:
                self.running = None
        self.begin()  # the next call does not include the time of the log and of on_error
