"""A dispatcher without threads, in a time of its own, beside the rules that say what it has to bring about."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from properties.promises import Unlucky
from properties.rules import Rules
from support.dispatching import QUIET, Outcome
from support.samples import delete_filter

from autoconfig import HandlerErrors, MessageHandler, RetryPolicy
from autoconfig.dispatch import calls, delivery, dispatcher
from autoconfig.dispatch.calls import HandlerCalls
from autoconfig.dispatch.dispatcher import Dispatcher
from autoconfig.dispatch.retries import FailedCall
from autoconfig.messages import Batch, Message
from autoconfig.status_tracker import StatusTracker
from autoconfig.stream.cancel import CancelToken

RETRY = RetryPolicy(max_delay=8.0)
LONGEST = 10.0  # seconds; more than any delay
ROUNDS = 100  # after the last step, until nothing may be pending; there are fewer calls that fail
NUDGE = delete_filter("nudge", 1)  # leads to no call; after each batch the dispatcher looks for what is due


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
        outcomes: What becomes of the handler's calls; those after the last one succeed.
        retry: How long to wait before a failed call is made again.
        behind: Returns the handler that is called instead and that calls this one.
    """

    def __init__(
        self,
        outcomes: Sequence[Outcome],
        retry: RetryPolicy | None = RETRY,
        behind: Callable[[Unlucky], MessageHandler] = lambda handler: handler,
    ) -> None:
        plan = iter(outcomes)
        self.handler = Unlucky(lambda: next(plan, "succeed"))
        self.rules = Rules()
        self.status = StatusTracker(QUIET)
        self.clock = Clock()
        self._retry = retry
        self._before: dict[str, tuple[str, bool]] = {}  # each environment's last call before this step
        made = HandlerCalls(
            behind(self.handler),
            CancelToken(),
            errors=HandlerErrors(retry),
            slow_after=60.0,
            status=self.status,
            logger=QUIET,
        )
        self._batches: queue.Queue[Batch] = queue.Queue()
        self._dispatcher = Dispatcher(made, HandlerErrors(retry), self._batches, self.status, QUIET)

    @contextmanager
    def own_time(self) -> Iterator[None]:
        """Have the library look at this line's clock."""
        with ExitStack() as stack:
            for module in calls, delivery, dispatcher:
                stack.enter_context(mock.patch.object(module, "time", self.clock))
            yield

    @property
    def failed(self) -> list[FailedCall]:
        """The failed calls that are pending."""
        return [*self._dispatcher._environments.failed.values(), *self._dispatcher._filters.failed.values()]

    @property
    def next_retry(self) -> float | None:
        """When the next attempt is due."""
        return self._dispatcher._retries.next_due()

    def play(self, steps: Sequence[Step]) -> None:
        """
        Take all steps, and then all the time that what failed needs; check everything after each.

        Without a policy, a put of everything takes the place of time: that is what a failed call waits for.
        """
        with self.own_time():
            for step in steps:
                self.take(step)
                self.check()
            for _ in range(ROUNDS):
                self.take(Wait(LONGEST) if self.next_retry is not None else self.rules.everything())
                self.check()
                if not self.failed:
                    return
            raise AssertionError("something is pending for ever")

    def take(self, step: Step) -> None:
        """Handle a message, or let time pass."""
        if isinstance(step, Wait):
            self.clock.now += step.seconds
        else:
            self.rules.take(step)
        self._batches.put([NUDGE if isinstance(step, Wait) else step])
        self._batches.put([])
        self.handler.attempted.clear()
        self._before = {id: self.handler.last("environment", id) for id in ("a", "b", "")}
        self._dispatcher.run()

    def check(self) -> None:
        """Check the rule, that no call of this step was outdated, and the outcome if nothing is pending."""
        assert self.handler.broken == []
        for name, argument in self.handler.attempted:
            self._check_call(name, argument)
        assert self.status.pending_retries == len(self.failed)
        waiting = [one for one in self.failed if not one.held]
        assert (self.next_retry is not None) == bool(waiting and self._retry)
        assert all(one.id in self.rules.unusable for one in self.failed if one.held)
        if not self.failed:
            self.check_outcome()

    def _check_call(self, name: str, argument: Any) -> None:
        rules = self.rules
        match name:
            case "add_environment" | "update_environment":
                assert rules.environments.get(argument.env_id) == argument, "outdated"
            case "delete_environment":
                assert argument not in rules.unusable or argument in rules.environments, "deleted though a put lists it"
                # What is there is deleted only because its last deletion has failed.
                assert argument not in rules.environments or self._before[argument] == ("delete", False)
            case "add_filter":
                assert argument in rules.filters.get(argument.id, []), "outdated"

    def check_outcome(self) -> None:
        """Check that the handler has what the service has, and nothing half done."""
        handler, rules = self.handler, self.rules
        assert handler.environments == rules.environments
        assert handler.filters.keys() == rules.filters.keys()
        assert all(params in rules.filters[id] for id, params in handler.filters.items())
