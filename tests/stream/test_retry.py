"""How long to wait: doubling, capped, shortened at random, started anew after good service, slow where that is due."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import MALFORMED, PUT, patch_bytes
from support.stubs import Clock, Run, steady_plan

from autoconfig import KeyRejectedError, RetryPolicy
from autoconfig.exceptions import (
    ConnectionFailedError,
    EventTooLargeError,
    MalformedMessageError,
    StreamEndedError,
    UnexpectedStatusError,
)
from autoconfig.stream.failures import ReconnectRequestedError
from autoconfig.stream.retry import Backoff, RetryPlan

POLICY = RetryPolicy(max_delay=30.0, jitter=0.5, reset_after=60.0)
POLICIES = st.builds(
    RetryPolicy,
    max_delay=st.floats(1e-6, 86_400, exclude_min=True),
    jitter=st.floats(0, 1),
    reset_after=st.floats(0, 86_400),
)
CHANCE = st.floats(0, 1)
RETRIES = st.none() | st.integers() | st.integers(0, 10**40)
ENDS = st.lists(st.tuples(st.booleans(), st.floats(0, 1e9), RETRIES), max_size=30)

REFUSED = ConnectionFailedError("refused")
ENDED = StreamEndedError("the service ended the stream")
BROKEN = MalformedMessageError("put", "not JSON")
REJECTED = KeyRejectedError(401)
NOT_FOUND = UnexpectedStatusError(404)
DELIVERED = None
"""In a list of failures: here the stream delivers something."""


def backoff(initial_delay: float = 1.0, policy: RetryPolicy = POLICY, *chances: float) -> Backoff:
    """Return one whose chance is known; without any, nothing is taken off."""
    return Backoff(initial_delay, policy, itertools.cycle(chances or [0.0]).__next__)


def next_delays(one: Backoff, count: int) -> list[float]:
    return [one.next_delay() for _ in range(count)]


def delays(plan: RetryPlan, failures: Sequence[BaseException | None]) -> list[float]:
    """Return the delay after each failure."""
    found = []
    for failure in failures:
        if failure is DELIVERED:
            plan.delivered()
        else:
            found.append(plan.next_delay(failure, 0.0, None))
    return found


def cut(plan: RetryPlan, *lengths: float, retry: int | None = None) -> list[float]:
    """Return the delay after each connection that delivered something and then lasted so many seconds."""
    found = []
    for length in lengths:
        plan.delivered()
        found.append(plan.next_delay(ENDED, length, retry))
    return found


class TestBackoff:
    """Delays that double."""

    def test_a_delay_doubles_up_to_the_maximum(self) -> None:
        """As promised: from 1 s to 30 s."""
        assert next_delays(backoff(), 8) == [1, 2, 4, 8, 16, 30, 30, 30]

    @pytest.mark.parametrize(
        ("initial_delay", "expected"), [(0.25, [0.25, 0.5, 1.0]), (29.0, [29, 30]), (100.0, [30, 30])]
    )
    def test_it_begins_with_the_initial_delay(self, initial_delay: float, expected: list[float]) -> None:
        """Or with the maximum, if that is less."""
        assert next_delays(backoff(initial_delay), len(expected)) == expected

    def test_it_begins_again_when_told_to(self) -> None:
        one = backoff()
        next_delays(one, 3)
        one.restart()
        assert next_delays(one, 2) == [1, 2]
        one.restart(3.0)
        assert next_delays(one, 2) == [3, 6]
        one.restart()
        assert next_delays(one, 1) == [3]

    @pytest.mark.parametrize(
        ("jitter", "chance", "expected"),
        [(0.5, 0.0, 4), (0.5, 1.0, 2), (0.5, 0.5, 3), (0, 1.0, 4), (1, 1.0, 0), (1, 0.25, 3)],
    )
    def test_a_part_is_taken_off_at_random(self, jitter: float, chance: float, expected: float) -> None:
        """Nothing, at the least, and the jitter's part, at the most."""
        assert backoff(4.0, RetryPolicy(jitter=jitter), chance).next_delay() == expected

    def test_what_is_taken_off_does_not_add_up(self) -> None:
        """The doubling goes on from the whole delay."""
        assert next_delays(backoff(1.0, POLICY, 1.0), 7) == [0.5, 1, 2, 4, 8, 15, 15]

    def test_chance_is_asked_for_every_delay(self) -> None:
        """Many clients would return together otherwise."""
        assert next_delays(backoff(1.0, RetryPolicy(jitter=1), 0.0, 0.5, 0.75), 3) == [1, 1, 1]
        assert len(set(next_delays(Backoff(1000.0, POLICY), 20))) > 1

    @given(st.floats(1e-9, 1e6), POLICIES)
    def test_a_delay_doubles_whatever_the_policy(self, initial_delay: float, policy: RetryPolicy) -> None:
        """The n-th one is the initial one times two to the power of n, or the maximum."""
        whole = next_delays(backoff(initial_delay, policy), 20)
        assert whole == pytest.approx([min(initial_delay * 2**n, policy.max_delay) for n in range(20)])

    @pytest.mark.parametrize("initial_delay", [5e-324, 1e-9, 1.0, 1e300])
    def test_ten_thousand_attempts_do_not_overflow(self, initial_delay: float) -> None:
        """A service may be away for days."""
        whole = next_delays(backoff(initial_delay), 10_000)
        assert all(0 <= delay <= 30 and math.isfinite(delay) for delay in whole)


FIRST_DELAYS = """
import os
from autoconfig import RetryPolicy
from autoconfig.stream.retry import Backoff
for _ in range(4):
    if not os.fork():
        print([Backoff(1000.0, RetryPolicy(max_delay=1e6)).next_delay() for _ in range(3)], flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("forked", [True, False], ids=["forks of one process", "processes of their own"])
def test_every_process_has_a_chance_of_its_own(forked: bool) -> None:
    """Workers that all shorten their delays alike return at the same moments."""
    runs = [
        subprocess.run([sys.executable, "-c", FIRST_DELAYS], capture_output=True, text=True, check=True).stdout
        for _ in range(1 if forked else 2)
    ]
    lines = "".join(runs).splitlines()
    assert len(lines) == len(set(lines)) == 4 * len(runs)


class TestGoodService:
    """What starts the delays anew."""

    @pytest.mark.parametrize(("lasted", "expected"), [(60.0, 1), (1e9, 1), (59.999, 8), (0.0, 8)])
    def test_a_minute_of_it_does(self, lasted: float, expected: float) -> None:
        """Below that a server that accepts and drops would be asked too often."""
        plan = steady_plan()
        delays(plan, [REFUSED] * 3)
        assert cut(plan, lasted) == [expected]
        assert delays(plan, [REFUSED]) == [2 * expected]

    @pytest.mark.parametrize("length", [55.0, 30.0, 20.0])
    def test_a_proxy_that_cuts_each_connection_does_no_harm(self, length: float) -> None:
        """The time is added up: the delays do not grow to the longest one and stay there."""
        assert max(cut(steady_plan(), *[length] * 50)) <= 4

    def test_a_refused_connection_in_between_does_not_forget_it(self) -> None:
        plan = steady_plan()
        found = [delay for _ in range(20) for delay in (*cut(plan, 55.0), *delays(plan, [REFUSED]))]
        assert max(found) <= 8

    @pytest.mark.parametrize("length", [0.0, 0.1, 1.0])
    def test_a_server_that_ends_each_connection_after_its_put_is_not_good(self, length: float) -> None:
        assert cut(steady_plan(), *[length] * 12)[5:] == [30] * 7

    def test_a_connection_that_delivers_nothing_does_not_count(self) -> None:
        plan = steady_plan()
        assert [plan.next_delay(ENDED, 3600.0, None) for _ in range(4)] == [1, 2, 4, 8]

    def test_what_one_connection_delivered_does_not_count_for_the_next(self) -> None:
        plan = steady_plan()
        assert cut(plan, 0.0) == [1]
        assert [plan.next_delay(ENDED, 3600.0, None) for _ in range(2)] == [2, 4]

    def test_an_attempt_that_failed_is_none(self) -> None:
        """However little of it the policy asks for: a service that is away would be asked without end."""
        assert delays(steady_plan(policy=RetryPolicy(reset_after=0)), [REFUSED] * 4) == [1, 2, 4, 8]


class TestRetryLine:
    """What the service asks for."""

    def test_a_new_value_is_the_new_base_and_starts_the_doubling_anew(self) -> None:
        """Milliseconds; the base stays, also after good service."""
        plan = steady_plan()
        delays(plan, [REFUSED] * 4)
        assert plan.next_delay(ENDED, 0.0, 750) == 0.75
        assert delays(plan, [REFUSED] * 3) == [1.5, 3, 6]
        assert cut(plan, 60.0) == [0.75]

    def test_the_same_value_again_changes_nothing(self) -> None:
        """Else a service that sends it on each connection would be asked at the same pace for ever."""
        plan = steady_plan()
        assert [plan.next_delay(ENDED, 0.0, 3000) for _ in range(4)] == [3, 6, 12, 24]
        assert plan.next_delay(ENDED, 0.0, 2000) == 2

    def test_it_is_told_from_the_value_before_also_when_both_are_below_the_floor(self) -> None:
        plan = steady_plan()
        assert [plan.next_delay(ENDED, 0.0, retry) for retry in (1, 1, 1, 2, 2)] == [0.5, 1, 2, 0.5, 1]

    @pytest.mark.parametrize(
        ("initial_delay", "floor"), [(1.0, 0.5), (30.0, 0.5), (0.5, 0.5), (0.2, 0.2), (0.01, 0.01)]
    )
    def test_it_is_not_below_half_a_second_unless_the_callers_own_delay_is(
        self, initial_delay: float, floor: float
    ) -> None:
        assert steady_plan(initial_delay).next_delay(ENDED, 0.0, 1) == floor

    def test_a_storm_of_them_is_none(self) -> None:
        """With the most jitter of the default policy: how many attempts there are in a minute."""
        plan = RetryPlan(1.0, RetryPolicy(), lambda: 1.0)
        now, attempts = 0.0, 0
        while now < 60:
            now += cut(plan, 0.001, retry=1)[0]
            attempts += 1
        assert attempts < 12

    @pytest.mark.parametrize("retry", [None, 0, -1, -(10**40)])
    def test_a_value_of_nothing_is_ignored(self, retry: int | None) -> None:
        """Neither the base nor the doubling changes."""
        plan = steady_plan()
        assert [plan.next_delay(ENDED, 0.0, retry) for _ in range(4)] == [1, 2, 4, 8]

    @pytest.mark.parametrize("retry", [30_001, 10**9, 2**63, 10**400], ids=["30001", "1e9", "2**63", "1e400"])
    def test_a_huge_one_is_capped(self, retry: int) -> None:
        """The relay crashes there; a float would overflow."""
        plan = steady_plan()
        assert plan.next_delay(ENDED, 0.0, retry) == 30
        assert delays(plan, [REFUSED] * 2) == [30, 30]


@given(st.floats(1e-9, 1e6), POLICIES, ENDS, st.lists(CHANCE, min_size=1, max_size=5))
def test_a_delay_is_never_negative_and_never_above_the_maximum(
    initial_delay: float, policy: RetryPolicy, ends: list[tuple[bool, float, int | None]], chances: list[float]
) -> None:
    """Whatever happens; and no more than the jitter's part is ever taken off."""
    one = RetryPlan(initial_delay, policy, itertools.cycle(chances).__next__)
    whole = RetryPlan(initial_delay, policy, lambda: 0.0)
    for delivered, lasted, retry in ends:
        if delivered:
            one.delivered()
            whole.delivered()
        delay, most = one.next_delay(ENDED, lasted, retry), whole.next_delay(ENDED, lasted, retry)
        assert 0 <= delay <= most <= policy.max_delay
        assert delay >= most * (1 - policy.jitter) * (1 - 1e-9)


class TestSlowProfile:
    """Answers that are unlikely to mend themselves."""

    @pytest.mark.parametrize(
        "failure",
        [
            REFUSED,
            ENDED,
            BROKEN,
            EventTooLargeError(5),
            ReconnectRequestedError(),
            RuntimeError("bug"),
            *map(UnexpectedStatusError, (101, 204, 301, 304, 400, 401, 403, 408, 429, 500, 502, 503, 599)),
        ],
        ids=lambda failure: f"{type(failure).__name__}{getattr(failure, 'status', '')}",
    )
    def test_what_may_mend_itself_is_tried_again_at_the_usual_pace(self, failure: BaseException) -> None:
        assert delays(steady_plan(), [failure] * 7) == [1, 2, 4, 8, 16, 30, 30]

    @pytest.mark.parametrize(
        "failure",
        [REJECTED, KeyRejectedError(403), *map(UnexpectedStatusError, (402, 404, 405, 410, 418, 451, 499))],
        ids=lambda failure: f"{type(failure).__name__}{failure.status}",
    )
    def test_what_is_unlikely_to_is_tried_again_slowly(self, failure: BaseException) -> None:
        """From 5 minutes to 1 hour."""
        assert delays(steady_plan(), [failure] * 6) == [300, 600, 1200, 2400, 3600, 3600]

    @pytest.mark.parametrize(
        ("initial_delay", "max_delay", "expected"),
        [
            (0.01, 0.05, [3, 6, 6]),
            (2.0, 30.0, [600, 1200, 2400]),
            (60.0, 30.0, [3600, 3600, 3600]),
            (1.0, 1.0, [120, 120]),
        ],
    )
    def test_it_is_in_proportion_to_the_policy(
        self, initial_delay: float, max_delay: float, expected: list[float]
    ) -> None:
        plan = steady_plan(initial_delay, RetryPolicy(max_delay=max_delay))
        assert delays(plan, [REJECTED] * len(expected)) == pytest.approx(expected)

    def test_it_is_shortened_at_random_too(self) -> None:
        plan = RetryPlan(1.0, RetryPolicy(jitter=0.5), lambda: 1.0)
        assert delays(plan, [NOT_FOUND, NOT_FOUND]) == [150, 300]

    def test_a_message_ends_it(self) -> None:
        assert delays(steady_plan(), [REJECTED, NOT_FOUND, DELIVERED, REJECTED]) == [300, 600, 300]

    def test_a_network_failure_in_between_has_the_usual_pace(self) -> None:
        """And the slow delays go on where they were."""
        assert delays(steady_plan(), [REJECTED, REFUSED, REJECTED]) == [300, 2, 600]

    def test_no_retry_line_shortens_it(self) -> None:
        plan = steady_plan()
        assert plan.next_delay(ENDED, 0.0, 600) == 0.6
        assert [plan.next_delay(NOT_FOUND, 0.0, 600 + number) for number in range(3)] == [300, 600, 1200]

    def test_a_long_maximum_is_within_what_waiting_allows(self) -> None:
        """A hundred times a week would be more seconds than the system can wait."""
        plan = RetryPlan(1.0, RetryPolicy(max_delay=7 * 86400.0, jitter=0.0))
        assert [plan.next_delay(REJECTED, 0.0, None) for _ in range(40)][-1] == 366 * 86400.0


class TestReader:
    """The reader asks the plan the right questions."""

    def test_one_that_may_go_on_after_a_refusal_does_so_slowly(self) -> None:
        assert Run(*[REJECTED] * 3, stop_on_rejection=False).delays == [300, 600, 1200]

    def test_one_that_gets_404_slows_down(self) -> None:
        assert Run(NOT_FOUND, NOT_FOUND, [PUT], NOT_FOUND).delays == [300, 600, 4, 300]

    @pytest.mark.parametrize("piece", [b":\n", b"retry: 600\n", b"id: 7\n\n"], ids=["comment", "retry", "id"])
    def test_what_is_no_message_does_not_end_the_slow_delays(self, piece: bytes) -> None:
        assert Run(NOT_FOUND, [piece], NOT_FOUND).delays[::2] == [300, 600]

    def test_one_that_meets_malformed_data_again_does_not(self) -> None:
        assert Run(*[[MALFORMED]] * 4).delays == [1, 2, 4, 8]

    def test_nor_does_one_that_meets_too_large_an_event_again(self) -> None:
        assert Run(*[[patch_bytes("e" * 500)]] * 3, max_event_bytes=100).delays == [1, 2, 4]

    def test_one_that_is_cut_does_not_wait_longer_and_longer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        assert max(Run(*[[PUT, clock.goes_on(55.0)] for _ in range(20)]).delays) == 2
