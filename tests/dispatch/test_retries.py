"""Failed calls in the order in which they are due, at a cost that does not grow with their number."""

from __future__ import annotations

import heapq
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dispatching import QUIET, Clock, Inline
from support.recorder import Failing
from support.samples import patch, put

from autoconfig import HandlerErrors, RetryPolicy
from autoconfig.dispatch import retries
from autoconfig.dispatch.calls import Callback
from autoconfig.dispatch.retries import FailedCall, Retries

CALLBACK = Callback("add_environment", print)


def failed(id: str = "a") -> FailedCall:
    return FailedCall(id, None, CALLBACK, None, None)


def test_nothing_is_due_at_first() -> None:
    waiting = Retries()
    assert waiting.next_due() is None
    assert list(waiting.take_due(math.inf)) == []


def test_calls_come_in_the_order_in_which_they_are_due() -> None:
    waiting = Retries()
    calls = {due: failed(str(due)) for due in (5.0, 1.0, 3.0)}
    for due, call in calls.items():
        waiting.schedule(call, due)
    assert waiting.next_due() == 1.0
    assert list(waiting.take_due(3.0)) == [calls[1.0], calls[3.0]]
    assert list(waiting.take_due(4.9)) == []
    assert list(waiting.take_due(5.0)) == [calls[5.0]]
    assert waiting.next_due() is None


def test_of_those_due_at_one_moment_the_first_comes_first() -> None:
    waiting = Retries()
    calls = [failed(str(number)) for number in range(5)]
    for call in calls:
        waiting.schedule(call, 1.0)
    assert list(waiting.take_due(1.0)) == calls


def test_only_the_last_time_counts() -> None:
    waiting = Retries()
    call = failed()
    for due in (1.0, 9.0, 4.0, 4.0):
        waiting.schedule(call, due)
    assert list(waiting.take_due(3.0)) == []
    assert list(waiting.take_due(10.0)) == [call]


def test_a_cancelled_one_never_comes() -> None:
    waiting = Retries()
    call, other = failed(), failed("b")
    waiting.schedule(call, 1.0)
    waiting.schedule(other, 2.0)
    waiting.cancel(call)
    waiting.cancel(call)
    assert waiting.next_due() == 2.0
    assert list(waiting.take_due(9.0)) == [other]


def test_what_is_scheduled_anew_meanwhile_waits_for_its_time() -> None:
    waiting = Retries()
    call = failed()
    waiting.schedule(call, 1.0)
    seen = []
    for one in waiting.take_due(5.0):
        seen.append(one)
        waiting.schedule(one, 6.0)
    assert seen == [call]
    assert waiting.next_due() == 6.0


STEPS = st.lists(st.tuples(st.sampled_from(["schedule", "cancel", "take"]), st.integers(0, 9), st.integers(0, 20)))


@given(STEPS)
def test_any_steps_do_what_a_plain_list_does(steps: list[tuple[str, int, int]]) -> None:
    waiting, calls = Retries(), [failed(str(number)) for number in range(10)]
    model: dict[int, int] = {}
    for step, number, time in steps:
        if step == "schedule":
            waiting.schedule(calls[number], time)
            model[number] = time
        elif step == "cancel":
            waiting.cancel(calls[number])
            model.pop(number, None)
        else:
            taken = {int(call.id) for call in waiting.take_due(time)}
            assert taken == {one for one, due in model.items() if due <= time}
            model = {one: due for one, due in model.items() if one not in taken}
        assert waiting.next_due() == (min(model.values()) if model else None)


def test_outdated_entries_do_not_pile_up() -> None:
    """However often calls are scheduled anew; after a clean-up the order is right."""
    waiting, calls = Retries(), [failed(str(number)) for number in range(100)]
    due = {call.id: 0.0 for call in calls}
    chance = random.Random(1)
    for _ in range(200):
        for call in calls:
            due[call.id] = chance.random()
            waiting.schedule(call, due[call.id])
            assert len(waiting._heap) <= 2 * len(calls) + retries._SPARE + 1
    assert [call.id for call in waiting.take_due(2.0)] == sorted(due, key=lambda id: due[id])


class CountingHeap:
    """Stands in for ``heapq`` and counts what is asked of it."""

    def __init__(self) -> None:
        self.operations = 0

    def heappush(self, heap: list[Any], entry: Any) -> None:
        self.operations += 1
        heapq.heappush(heap, entry)

    def heappop(self, heap: list[Any]) -> Any:
        self.operations += 1
        return heapq.heappop(heap)

    def heapify(self, heap: list[Any]) -> None:
        self.operations += len(heap)
        heapq.heapify(heap)


@pytest.mark.parametrize("pending", [10, 20_000])
def test_the_work_for_a_message_does_not_grow_with_what_is_pending(
    pending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted are the steps in the heap, and how often the table of failed calls is walked."""
    Clock(monkeypatch)
    heap = CountingHeap()
    monkeypatch.setattr(retries, "heapq", heap)
    handler = Failing(lambda _, argument: ValueError() if str(argument.env_id).startswith("bad") else None)
    line = Inline(handler, log=QUIET, errors=HandlerErrors(RetryPolicy(jitter=0.0)))
    line.deliver(put({f"bad-{number}": 1 for number in range(pending)}))
    assert line.status.pending_retries == pending
    walked = Walked(line.dispatcher._environments.failed)
    line.dispatcher._environments.failed = walked
    heap.operations = 0
    for version in range(1, 51):
        line.deliver(patch("good", version))
    assert (heap.operations, walked.walks) == (0, 0)
    line.deliver(patch("bad-7", 2))
    assert heap.operations <= 2
    assert walked.walks == 0


class Walked(dict[str, FailedCall]):
    """Counts how often it is walked."""

    walks = 0

    def __iter__(self) -> Any:
        self.walks += 1
        return super().__iter__()

    def items(self) -> Any:
        self.walks += 1
        return super().items()

    def values(self) -> Any:
        self.walks += 1
        return super().values()
