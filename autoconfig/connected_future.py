"""The future that is done when a stream is connected: nobody can cancel it, and it survives a fork."""

from __future__ import annotations

import logging
from concurrent.futures import Future, InvalidStateError

from .exceptions import ForkedError
from .safe_logger import Logger, is_ctrl_c, log_aside


def make_future() -> Future[None]:
    """Return a future that nobody can cancel."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future


def settle(future: Future[None], error: BaseException | None, logger: Logger) -> None:
    """Give a future its outcome, unless it has one. What its callbacks raise is logged, except Ctrl-C."""
    try:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
    except InvalidStateError:
        return
    except BaseException as failure:  # concurrent.futures raises a callback's SystemExit and similar exceptions
        if is_ctrl_c(failure):
            raise
        log_aside(logger, logging.ERROR, "A callback of the future failed", exc_info=failure)


def abandon(future: Future[None]) -> None:
    """
    In a forked child: let a future raise :class:`ForkedError`, unless it has an outcome, and wake nobody.

    Each of its methods takes a lock, which a thread of the parent may have held. The threads that wait for it and its
    callbacks are the parent's. No public method renews a future that users hold, so its attributes are replaced.
    """
    forked: Future[None] = Future()
    forked.set_exception(ForkedError())
    renewed = vars(forked)
    if future._state == "FINISHED":
        renewed = {"_condition": renewed["_condition"]}
    vars(future).update(renewed)
