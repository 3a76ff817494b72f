"""
The rule for calls that raise holds for each handler of a row, and for each call that an expander makes.

Through the dispatcher, with handlers that half-do their work before they raise; no network, no real time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from msgspec.structs import replace
from properties.line import RETRY, Line, Step
from properties.promises import Unlucky
from properties.steps import CHANGES, ODDITIES, OUTCOMES, WAITS, several
from support.dispatching import Outcome
from support.random_data import examples

from autoconfig import (
    EnvironmentID,
    EnvironmentParams,
    EnvironmentRegistry,
    FilteredHandler,
    FilterExpander,
    FilterKey,
    MessageHandler,
    RetryPolicy,
)
from autoconfig.messages import EnvironmentRep, PatchMessageData, PutContent

POLICIES = pytest.mark.parametrize("retry", [RETRY, None], ids=["retry", "no-retry"])
STEPS: st.SearchStrategy[list[Step]] = several(*CHANGES, *ODDITIES, WAITS)


def play(line: Line, steps: Sequence[Step]) -> None:
    try:
        line.play(steps)
    finally:
        note(f"steps: {steps}")


@POLICIES
@examples(300)
@given(STEPS, OUTCOMES, OUTCOMES)
def test_each_handler_of_a_row_ends_up_with_what_the_service_has(
    retry: RetryPolicy | None, steps: list[Step], outcomes: list[Outcome], more: list[Outcome]
) -> None:
    """And so does the registry in front of them, though nobody ever fails in it."""
    registry = EnvironmentRegistry()
    plan = iter(more)
    second = Unlucky(lambda: next(plan, "succeed"))
    line = Line(outcomes, retry, lambda first: registry.wrap(first, second))
    play(line, steps)
    assert line.handler.broken == second.broken == []
    for handler in (line.handler, second):
        assert handler.environments == line.rules.environments
        assert handler.filters.keys() == line.rules.filters.keys()
    assert registry.environments == line.rules.environments
    assert registry.filters.keys() == line.rules.filters.keys()


class Seen(FilteredHandler):
    """Hands each environment on under an id that has the filter's key in it."""

    def __init__(self, handler: Unlucky) -> None:
        self._handler = handler

    def add_environment(self, params: EnvironmentParams) -> None:
        self._handler.add_environment(self._named(params))

    def update_environment(self, params: EnvironmentParams) -> None:
        self._handler.update_environment(self._named(params))

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey) -> None:
        self._handler.delete_environment(f"{id}|{filter_key}")

    def received_all_environments(self) -> None:
        self._handler.received_all_environments()

    def _named(self, params: EnvironmentParams) -> EnvironmentParams:
        return replace(params, env_id=EnvironmentID(f"{params.env_id}|{params.identifiers.filter_key}"))


class Expanded(Line):
    """A line whose handler sees each environment once for each filter."""

    def __init__(self, outcomes: Sequence[Outcome], retry: RetryPolicy | None) -> None:
        super().__init__(outcomes, retry, self._expander)

    def _expander(self, handler: Unlucky) -> MessageHandler:
        return FilterExpander(Seen(handler))

    def check(self) -> None:
        """Check the rule, and the outcome if nothing is pending."""
        assert self.handler.broken == []
        assert self.status.pending_retries == len(self.failed)
        if not self.failed:
            self.check_outcome()

    def check_outcome(self) -> None:
        """Check that the handler has each environment once for each filter, and nothing half done."""
        wanted: dict[Any, EnvironmentParams] = {}
        for params in self.rules.environments.values():
            for key in ["", *{states[-1].key for states in self.rules.filters.values()}]:
                filtered = params.with_filter(FilterKey(key))
                wanted[f"{params.env_id}|{key}"] = replace(filtered, env_id=EnvironmentID(f"{params.env_id}|{key}"))
        assert self.handler.environments == wanted


def in_one_project(step: Step) -> Step:
    """Return a step whose environments are in the project of the filters."""
    if isinstance(step, PutContent):
        reps = {id: replace(rep, proj_key="shop") for id, rep in step.environments.items()}
        return replace(step, environments=reps)
    if isinstance(step, PatchMessageData) and isinstance(step.data, EnvironmentRep):
        return replace(step, data=replace(step.data, proj_key="shop"))
    return step


@POLICIES
@examples(300)
@given(STEPS, OUTCOMES)
def test_a_handler_behind_an_expander_ends_up_with_what_the_service_has(
    retry: RetryPolicy | None, steps: list[Step], outcomes: list[Outcome]
) -> None:
    """Through each filter, filters that come and go included."""
    play(Expanded(outcomes, retry), [in_one_project(step) for step in steps])
