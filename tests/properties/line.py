"""A dispatcher without threads, in a time of its own, beside the rules that say what it has to bring about."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

from properties.promises import Unlucky
from properties.rules import Rules
from support.dispatching import QUIET

from autoconfig import HandlerErrors, RetryPolicy
from autoconfig import delivery as delivery_module
from autoconfig import dispatcher as dispatcher_module
from autoconfig.calls import HandlerCalls
from autoconfig.delivery import Delivery
from autoconfig.dispatcher import Dispatcher
from autoconfig.messages import Batch, Message
from autoconfig.status import StatusTracker
from autoconfig.stream.cancel import CancelToken

RETRY = RetryPolicy(max_delay=8.0)
LONGEST = 10.0  # seconds; more than any delay


class Wait(NamedTuple):
    """Time that passes between two messages."""

    seconds: float


Step = Message | Wait


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Line:
    """
    A dispatcher that is handed one message at a time, and the rules that are told the same.

    Args:
        failures: Which of the handler's calls raise; those after the last one do not.
    """

    def __init__(self, failures: Sequence[bool]) -> None:
        plan = iter(failures)
        self.handler = Unlucky(lambda: next(plan, False))
        self.rules = Rules()
        self.status = StatusTracker(QUIET)
        self.clock = Clock()
        errors = HandlerErrors(RETRY)
        calls = HandlerCalls(
            self.handler, CancelToken(), errors=errors, slow_after=60.0, status=self.status, logger=QUIET
        )
        self.delivery = Delivery(calls, errors, self.status, QUIET)
        self._batches: queue.Queue[Batch] = queue.Queue()
        self._dispatcher = Dispatcher(self.delivery, self._batches, self.status, QUIET)

    @contextmanager
    def own_time(self) -> Iterator[None]:
        """Have the library look at this line's clock."""
        with (
            mock.patch.object(delivery_module, "time", self.clock),
            mock.patch.object(dispatcher_module, "time", self.clock),
        ):
            yield

    def play(self, steps: Sequence[Step]) -> None:
        """Take all steps, and then all the time that what failed needs; check everything after each."""
        with self.own_time():
            for step in steps:
                self.take(step)
                self.check()
            while self.delivery.next_retry() is not None:
                self.take(Wait(LONGEST))
                self.check()

    def take(self, step: Step) -> None:
        """Handle a message, or let time pass."""
        if isinstance(step, Wait):
            self.clock.now += step.seconds
            self.delivery.retry()
            return
        self.rules.take(step)
        self._batches.put([step])
        self._batches.put([])
        self._dispatcher.run()

    def check(self) -> None:
        """Check the promises, that no call since the last check was outdated, and the outcome if nothing is pending."""
        handler, rules = self.handler, self.rules
        assert handler.broken == []
        for name, argument in handler.attempted:
            match name:
                case "add_environment" | "update_environment":
                    assert rules.environments.get(argument.env_id) == argument
                case "delete_environment":
                    assert argument not in rules.environments
                case "add_filter":
                    assert argument in rules.filters.get(argument.id, [])
        handler.attempted.clear()
        pending = len(self.delivery.environments.pending) + len(self.delivery.filters.pending)
        assert self.status.pending_retries == pending
        assert (self.delivery.next_retry() is not None) == bool(pending)
        if not pending:
            assert handler.environments == rules.environments
            assert handler.filters.keys() == rules.filters.keys()
            assert all(params in rules.filters[id] for id, params in handler.filters.items())
