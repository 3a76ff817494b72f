"""
Any messages, any failures and any waits leave the handler with what the version rules say; no network, no real time.

The rules are those of ``rules.py``, which knows nothing of failures: a call that fails is only late.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from properties.line import RETRY, Line, Step, Wait
from properties.steps import CHANGES, FAILURES, NEW_FILTERS, ODDITIES, WAITS, several

from autoconfig import EnvironmentParams, FilterParams


def play(steps: Sequence[Step], failures: Sequence[bool]) -> None:
    """Play the steps; hypothesis shows them and the calls if that fails."""
    line = Line(failures)
    try:
        line.play(steps)
    finally:
        note(f"steps: {steps}")
        note(f"calls that returned: {line.handler.returned}")


@settings(max_examples=2000, deadline=None)
@given(several(*CHANGES, WAITS), FAILURES)
def test_a_handler_that_fails_ends_up_with_what_the_rules_say(steps: list[Step], failures: list[bool]) -> None:
    """Whatever failed, was superseded, forgotten or brought again meanwhile; and no call ever says what is outdated."""
    play(steps, failures)


@settings(max_examples=1000, deadline=None)
@given(several(*CHANGES, *ODDITIES, WAITS), FAILURES)
def test_odd_messages_change_nothing_of_that(steps: list[Step], failures: list[bool]) -> None:
    """Entries under another id, environments that contradict themselves, paths that lead nowhere."""
    play(steps, failures)


@settings(max_examples=500, deadline=None)
@given(several(*CHANGES, *ODDITIES))
def test_a_handler_that_never_fails_has_what_the_rules_say_at_once(steps: list[Step]) -> None:
    line = Line([])
    line.play(steps)
    assert line.status.failed_callbacks == 0


@settings(max_examples=500, deadline=None)
@given(several(*NEW_FILTERS, WAITS), FAILURES)
def test_a_filter_that_was_deleted_and_made_anew_is_the_new_one(steps: list[Step], failures: list[bool]) -> None:
    """
    Also if the deletion failed at first.

    There is no call for a filter's update, so a new filter under an old id needs the deletion and the addition.
    """
    play(steps, failures)


@settings(max_examples=300, deadline=None)
@given(several(*CHANGES), st.integers(1, 30))
def test_a_handler_that_always_fails_is_left_alone_between_the_attempts(steps: list[Step], count: int) -> None:
    """No item is tried again before its delay is over, and no delay is longer than the policy's."""
    line = Line([True] * 1000)
    with line.own_time():
        for step in steps:
            line.take(step)
        for _ in range(count):
            if (due := line.delivery.next_retry()) is None:
                return
            left = due - line.clock.now
            assert 0 < left <= RETRY.max_delay
            line.handler.attempted.clear()
            line.take(Wait(left * 0.99))
            assert line.handler.attempted == []
            line.take(Wait(left * 0.0101))
            assert line.handler.attempted != []
    assert line.handler.environments == {}
    assert line.handler.filters == {}


@pytest.mark.parametrize("kind", [EnvironmentParams, FilterParams])
def test_no_field_is_left_out_of_the_comparisons(kind: type[attrs.AttrsInstance]) -> None:
    """Which all of the above rests on."""
    assert all(field.eq for field in attrs.fields(kind))
