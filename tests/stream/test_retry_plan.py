"""Which delay comes after which failure: the usual ones, and the slow ones for what repeating does not fix."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from support.samples import MALFORMED, PUT, environment_json, patch_bytes
from support.scripted_server import payload
from support.stubs import Run, steady_plan

from autoconfig import (
    ConnectionFailedError,
    EventTooLargeError,
    KeyRejectedError,
    MalformedMessageError,
    RetryPolicy,
    StreamEndedError,
    UnexpectedStatusError,
)
from autoconfig.stream.retry import RetryPlan
from autoconfig.stream.trouble import ReconnectRequestedError

REFUSED = ConnectionFailedError("refused")
BROKEN = MalformedMessageError("put", "not JSON")
LARGE = EventTooLargeError(5)
REJECTED = KeyRejectedError(401)
DELIVERED = None
"""In a list of failures: here the stream delivers something."""


def delays(plan: RetryPlan, failures: Sequence[BaseException | None]) -> list[float]:
    """Return the delay after each failure."""
    found = []
    for failure in failures:
        if failure is DELIVERED:
            plan.delivered()
        else:
            found.append(plan.next_delay(failure, 0.0, None))
    return found


def flawed_put() -> bytes:
    """Return a put whose only environment contradicts itself: the default key is not among its keys."""
    environment = {**environment_json("e1", 1), "sdkKeys": [{"value": "sdk-another"}]}
    return payload(
        {"event": "put", "data": json.dumps({"path": "/", "data": {"environments": {"e1": environment}}})}, ""
    )


@pytest.mark.parametrize(
    "failure",
    [REFUSED, UnexpectedStatusError(500), StreamEndedError("reset"), ReconnectRequestedError(), RuntimeError("bug")],
    ids=lambda failure: type(failure).__name__,
)
def test_what_may_mend_itself_is_tried_again_at_the_usual_pace(failure: BaseException) -> None:
    assert delays(steady_plan(), [failure] * 7) == [1, 2, 4, 8, 16, 30, 30]


def test_a_refused_key_is_tried_again_slowly() -> None:
    """From 5 minutes to 1 hour."""
    assert delays(steady_plan(), [REJECTED] * 6) == [300, 600, 1200, 2400, 3600, 3600]


@pytest.mark.parametrize("second", [BROKEN, LARGE])
@pytest.mark.parametrize("first", [BROKEN, LARGE])
def test_malformed_data_is_tried_again_slowly_from_the_second_time_on(
    first: BaseException, second: BaseException
) -> None:
    """The first may have been damaged on the way. What is too large counts as malformed."""
    assert delays(steady_plan(), [first, second, first, second, first, second]) == [1, 300, 600, 1200, 2400, 3600]


@pytest.mark.parametrize(
    ("initial_delay", "max_delay", "expected"),
    [(0.01, 0.05, [3, 6, 6]), (2.0, 30.0, [600, 1200, 2400]), (60.0, 30.0, [3600, 3600, 3600]), (1.0, 1.0, [120, 120])],
)
def test_the_slow_delays_are_in_proportion_to_the_policy(
    initial_delay: float, max_delay: float, expected: list[float]
) -> None:
    plan = steady_plan(initial_delay, RetryPolicy(max_delay=max_delay))
    assert delays(plan, [REJECTED] * len(expected)) == pytest.approx(expected)


def test_the_slow_delays_are_shortened_at_random_too() -> None:
    plan = RetryPlan(1.0, RetryPolicy(jitter=0.5), lambda: 1.0)
    assert delays(plan, [REJECTED, REJECTED]) == [150, 300]


def test_what_is_right_ends_the_slow_delays() -> None:
    assert delays(steady_plan(), [BROKEN, BROKEN, BROKEN, DELIVERED, BROKEN, BROKEN]) == [1, 300, 600, 8, 300]


def test_what_is_right_makes_the_next_refusal_a_first_one() -> None:
    assert delays(steady_plan(), [REJECTED, REJECTED, DELIVERED, REJECTED]) == [300, 600, 300]


def test_another_failure_in_between_is_no_message_that_is_right() -> None:
    """The data has not been seen to be mended."""
    assert delays(steady_plan(), [BROKEN, REFUSED, BROKEN, REFUSED]) == [1, 2, 300, 600]


def test_a_network_failure_between_refusals_is_tried_again_at_the_usual_pace() -> None:
    """And the refusals' delays go on where they were."""
    assert delays(steady_plan(), [REJECTED, REFUSED, REJECTED]) == [300, 2, 600]


def test_the_slow_delays_do_not_listen_to_the_stream() -> None:
    """A retry line, or a connection that was good for long, does not make bad data come faster."""
    plan = steady_plan()
    assert [plan.next_delay(BROKEN, 3600.0, 50) for _ in range(3)] == [0.05, 300, 600]


def test_the_usual_delays_listen_to_the_stream() -> None:
    plan = steady_plan()
    assert [plan.next_delay(REFUSED, good_for, retry) for good_for, retry in [(0.0, 250), (0.0, None)]] == [0.25, 0.5]
    assert plan.next_delay(REFUSED, 60.0, None) == 0.25


def test_a_reader_that_may_go_on_after_a_refusal_does_so_slowly() -> None:
    assert Run(*[REJECTED] * 3, stop_on_rejection=False).delays == [300, 600, 1200]


def test_a_reader_that_meets_malformed_data_again_slows_down() -> None:
    assert Run(*[[MALFORMED]] * 4).delays == [1, 300, 600, 1200]


def test_a_reader_that_meets_too_large_an_event_again_slows_down() -> None:
    assert Run(*[[patch_bytes("e" * 500)]] * 3, max_event_bytes=100).delays == [1, 300, 600]


def test_a_reader_that_meets_a_contradiction_again_slows_down() -> None:
    """What is right in the put is applied, but the put is not: else a bad payload is a storm of reconnections."""
    assert Run(*[[flawed_put()]] * 3).delays == [1, 300, 600]


def test_a_message_ends_a_readers_slow_delays() -> None:
    assert Run([MALFORMED], [MALFORMED], [PUT], [MALFORMED]).delays == [1, 300, 4, 8]


@pytest.mark.parametrize("piece", [b":\n", b"retry: 1\n", b"id: 7\n\n"])
def test_what_is_no_event_does_not(piece: bytes) -> None:
    assert Run([MALFORMED], [MALFORMED], [piece, MALFORMED]).delays == [1, 300, 600]


def test_the_slow_profile_of_a_long_maximum_is_within_what_waiting_allows() -> None:
    """A hundred times a week would be more seconds than the system can wait."""
    policy = RetryPolicy(max_delay=7 * 86400.0, jitter=0.0)
    plan = RetryPlan(1.0, policy)
    delays = [plan.next_delay(REJECTED, 0.0, None) for _ in range(40)]
    assert delays[-1] == 366 * 86400.0
