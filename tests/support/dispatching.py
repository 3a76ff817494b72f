"""A dispatcher called inline, and the calls that it is expected to make."""

from __future__ import annotations

import logging
import queue
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from support.samples import environment, payload_filter

from autoconfig import FilterID, HandlerErrors, MessageHandler
from autoconfig.dispatch import calls, delivery, dispatcher
from autoconfig.dispatch.calls import HandlerCalls
from autoconfig.dispatch.dispatcher import Dispatcher
from autoconfig.messages import Batch, Message
from autoconfig.safe_logger import Logger
from autoconfig.status_tracker import StatusTracker
from autoconfig.stream.cancel import CancelToken

Call = tuple[str, Any]
Outcome = Literal["succeed", "fail at once", "fail half-way", "fail at the end"]
HALF_DONE = "half done"
# By the last call for an item and whether it succeeded: which calls may be the next.
ALLOWED = {
    ("delete", True): {"add"},
    ("add", False): {"add", "delete"},
    ("add", True): {"update", "delete"},
    ("update", True): {"update", "delete"},
    ("update", False): {"update", "delete"},
    ("delete", False): {"delete"},
}
ALL: Call = ("received_all_environments", None)
QUIET = logging.getLogger("tests.quiet")
"""A logger for those who fail a thousand times."""
QUIET.disabled = True


class Clock:
    """Stands in for the module ``time`` of the dispatcher's side; goes on only when it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in calls, delivery, dispatcher:
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


class Inline:
    """
    A dispatcher that runs when there is something for it to do.

    Args:
        handler: Whom it calls.
        token: What stops it.
        log: What it logs to; default ``autoconfig``.
        errors: What happens after a call that failed.

    Attributes:
        status: What it has told of its failures.
        calls: What makes the handler's calls.
    """

    def __init__(
        self,
        handler: MessageHandler,
        token: CancelToken | None = None,
        log: Logger | None = None,
        errors: HandlerErrors | None = None,
    ) -> None:
        self._batches: queue.Queue[Batch] = queue.Queue()
        log = log or logging.getLogger("autoconfig")
        errors = errors or HandlerErrors()
        self.status = StatusTracker(log)
        self.calls = HandlerCalls(
            handler, token or CancelToken(), errors=errors, slow_after=60.0, status=self.status, logger=log
        )
        self.dispatcher = Dispatcher(self.calls, errors, self._batches, self.status, log)

    def deliver(self, *messages: Message, batch_size: int = 1000) -> None:
        """Let it handle these messages; returns when it has."""
        for start in range(0, len(messages), batch_size):
            self._batches.put(list(messages[start : start + batch_size]))
        self._batches.put([])
        self.dispatcher.run()


def dispatch(handler: MessageHandler, *messages: Message) -> None:
    """Let a dispatcher of its own handle the messages."""
    Inline(handler).deliver(*messages)


def added(id: str, version: int) -> Call:
    return "add_environment", environment(id, version).to_params()


def updated(id: str, version: int) -> Call:
    return "update_environment", environment(id, version).to_params()


def deleted(id: str) -> Call:
    return "delete_environment", id


def filter_added(id: str, version: int) -> Call:
    return "add_filter", payload_filter(id, version).to_params(FilterID(id))


def filter_deleted(id: str) -> Call:
    return "delete_filter", id
