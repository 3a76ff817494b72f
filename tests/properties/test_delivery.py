"""
Any messages, any failures and any waits leave the handler with what the version rules say; no network, no real time.

The rules are those of ``rules.py``, which knows nothing of failures: a call that fails is only late.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from properties.line import RETRY, Line, Step, Wait
from properties.steps import CHANGES, NEW_FILTERS, ODDITIES, OUTCOMES, WAITS, several
from support.dispatching import Outcome
from support.random_data import examples

from autoconfig import RetryPolicy

POLICIES = pytest.mark.parametrize("retry", [RETRY, None], ids=["retry", "no-retry"])


def play(steps: Sequence[Step], outcomes: Sequence[Outcome], retry: RetryPolicy | None = RETRY) -> None:
    """Play the steps; hypothesis shows them and the calls if that fails."""
    line = Line(outcomes, retry)
    try:
        line.play(steps)
    finally:
        note(f"steps: {steps}")
        note(f"calls that returned: {line.handler.returned}")


@POLICIES
@examples(1200)
@given(several(*CHANGES, WAITS), OUTCOMES)
def test_a_handler_that_fails_ends_up_with_what_the_rules_say(
    retry: RetryPolicy | None, steps: list[Step], outcomes: list[Outcome]
) -> None:
    """
    Whatever failed half-way, was superseded, forgotten or brought again meanwhile.

    Each call on the way is one that the rule for calls that raised allows, and none says what is outdated.
    """
    play(steps, outcomes, retry)


@POLICIES
@examples(800)
@given(several(*CHANGES, *ODDITIES, WAITS), OUTCOMES)
def test_odd_messages_change_nothing_of_that(
    retry: RetryPolicy | None, steps: list[Step], outcomes: list[Outcome]
) -> None:
    """Entries under another id, environments that contradict themselves."""
    play(steps, outcomes, retry)


@examples(500)
@given(several(*CHANGES, *ODDITIES))
def test_a_handler_that_never_fails_has_what_the_rules_say_at_once(steps: list[Step]) -> None:
    line = Line([])
    line.play(steps)
    assert line.status.failed_callbacks == 0


@examples(500)
@given(several(*NEW_FILTERS, WAITS), OUTCOMES)
def test_a_filter_that_was_deleted_and_made_anew_is_the_new_one(steps: list[Step], outcomes: list[Outcome]) -> None:
    """
    Also if the deletion failed at first.

    There is no call for a filter's update, so a new filter under an old id needs the deletion and the addition.
    """
    play(steps, outcomes)


@examples(300)
@given(several(*CHANGES), st.integers(1, 30))
def test_a_handler_that_always_fails_is_left_alone_between_the_attempts(steps: list[Step], count: int) -> None:
    """No item is tried again before its delay is over, and no delay is longer than the policy's."""
    line = Line(["fail at once"] * 1000)
    with line.own_time():
        for step in steps:
            line.take(step)
        for _ in range(count):
            if (due := line.next_retry) is None:
                return
            left = due - line.clock.now
            assert 0 < left <= RETRY.max_delay
            line.take(Wait(left * 0.99))
            assert line.handler.attempted == []
            line.take(Wait(left * 0.0101))
            assert line.handler.attempted != []
    assert line.handler.environments == {}
    assert line.handler.filters == {}
