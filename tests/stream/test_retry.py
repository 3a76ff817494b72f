"""How long to wait: doubling, capped, shortened at random, started anew after good service."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoconfig import RetryPolicy
from autoconfig.stream.retry import Backoff

POLICY = RetryPolicy(max_delay=30.0, jitter=0.5, reset_after=60.0)
NO_TIME = 0.0
POLICIES = st.builds(
    RetryPolicy,
    max_delay=st.floats(1e-6, 86_400, exclude_min=True),
    jitter=st.floats(0, 1),
    reset_after=st.floats(0, 86_400),
)
RETRIES = st.none() | st.integers() | st.integers(0, 10**40)
ENDS = st.lists(st.tuples(st.floats(0, 1e9), RETRIES), max_size=30)
CHANCE = st.floats(0, 1)


def backoff(initial_delay: float = 1.0, policy: RetryPolicy = POLICY, *chances: float) -> Backoff:
    """Return one whose chance is known; without any, nothing is taken off."""
    return Backoff(initial_delay, policy, itertools.cycle(chances or [0.0]).__next__)


def delays(one: Backoff, count: int) -> list[float]:
    """Return the delays of so many attempts that all fail at once."""
    return [one.next_delay(NO_TIME, None) for _ in range(count)]


def test_a_delay_doubles_up_to_the_maximum() -> None:
    """As promised: from 1 s to 30 s."""
    assert delays(backoff(), 8) == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(("initial_delay", "expected"), [(0.25, [0.25, 0.5, 1.0]), (29.0, [29, 30]), (100.0, [30, 30])])
def test_it_begins_with_the_initial_delay(initial_delay: float, expected: list[float]) -> None:
    """Or with the maximum, if that is less."""
    assert delays(backoff(initial_delay), len(expected)) == expected


@pytest.mark.parametrize(
    ("jitter", "chance", "expected"),
    [(0.5, 0.0, 4), (0.5, 1.0, 2), (0.5, 0.5, 3), (0, 1.0, 4), (1, 1.0, 0), (1, 0.25, 3)],
)
def test_a_part_is_taken_off_at_random(jitter: float, chance: float, expected: float) -> None:
    """Nothing, at the least, and the jitter's part, at the most."""
    assert backoff(4.0, RetryPolicy(jitter=jitter), chance).next_delay(NO_TIME, None) == expected


def test_what_is_taken_off_does_not_add_up() -> None:
    """The doubling goes on from the whole delay."""
    assert delays(backoff(1.0, POLICY, 1.0), 7) == [0.5, 1, 2, 4, 8, 15, 15]


def test_chance_is_asked_for_every_delay() -> None:
    """Many clients would return together otherwise."""
    assert delays(backoff(1.0, RetryPolicy(jitter=1), 0.0, 0.5, 0.75), 3) == [1, 1, 1]
    different = Backoff(1000.0, POLICY)
    assert len(set(delays(different, 20))) > 1


@pytest.mark.parametrize(("good_for", "expected"), [(60.0, 1), (1e9, 1), (59.999, 8), (0.0, 8)])
def test_good_service_starts_it_anew(good_for: float, expected: float) -> None:
    """From a minute on; below that a server that accepts and drops would be asked too often."""
    one = backoff()
    delays(one, 3)
    assert one.next_delay(good_for, None) == expected
    assert one.next_delay(NO_TIME, None) == 2 * expected


def test_a_retry_line_is_the_new_base_and_starts_the_doubling_anew() -> None:
    """Milliseconds; the base stays, also after good service."""
    one = backoff()
    delays(one, 4)
    assert one.next_delay(NO_TIME, 250) == 0.25
    assert delays(one, 3) == [0.5, 1, 2]
    assert one.next_delay(60.0, None) == 0.25


def test_every_connections_retry_line_starts_the_doubling_anew() -> None:
    """That is the relay's way."""
    one = backoff()
    assert [one.next_delay(NO_TIME, 3000) for _ in range(3)] == [3, 3, 3]


@pytest.mark.parametrize("retry", [None, 0, -1, -(10**40)])
def test_a_retry_line_of_nothing_is_ignored(retry: int | None) -> None:
    """Neither the base nor the doubling changes."""
    one = backoff()
    assert [one.next_delay(NO_TIME, retry) for _ in range(4)] == [1, 2, 4, 8]


@pytest.mark.parametrize("retry", [30_001, 10**9, 2**63, 10**400])
def test_a_huge_retry_line_is_capped(retry: int) -> None:
    """The relay crashes there; a float would overflow."""
    one = backoff()
    assert one.next_delay(NO_TIME, retry) == 30
    assert delays(one, 2) == [30, 30]


@given(st.floats(1e-9, 1e6), POLICIES, ENDS, st.lists(CHANCE, min_size=1, max_size=5))
def test_a_delay_is_never_negative_and_never_above_the_maximum(
    initial_delay: float, policy: RetryPolicy, ends: list[tuple[float, int | None]], chances: list[float]
) -> None:
    """Whatever happens; and no more than the jitter's part is ever taken off."""
    one, whole = backoff(initial_delay, policy, *chances), backoff(initial_delay, policy, 0.0)
    for good_for, retry in ends:
        delay, most = one.next_delay(good_for, retry), whole.next_delay(good_for, retry)
        assert 0 <= delay <= most <= policy.max_delay
        assert delay >= most * (1 - policy.jitter) * (1 - 1e-9)


@given(st.floats(1e-9, 1e6), POLICIES)
def test_a_delay_doubles_whatever_the_policy(initial_delay: float, policy: RetryPolicy) -> None:
    """The n-th one is the initial one times two to the power of n, or the maximum."""
    whole = delays(backoff(initial_delay, policy), 20)
    if policy.reset_after:
        assert whole == pytest.approx([min(initial_delay * 2**n, policy.max_delay) for n in range(20)])


@pytest.mark.parametrize("initial_delay", [5e-324, 1e-9, 1.0, 1e300])
def test_ten_thousand_attempts_do_not_overflow(initial_delay: float) -> None:
    """A service may be away for days."""
    assert all(0 <= delay <= 30 and math.isfinite(delay) for delay in delays(backoff(initial_delay), 10_000))


def test_an_attempt_that_failed_is_no_good_service() -> None:
    """However little of it the policy asks for: a service that is away would be asked without end."""
    assert delays(backoff(1.0, RetryPolicy(reset_after=0)), 4) == [1, 2, 4, 8]
