"""What the application says of failing calls, and what it is told of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from support.dispatching import ALL, Call, Inline, added, deleted, filter_added, filter_deleted, updated
from support.managing import KEY, managed
from support.recorder import Failing
from support.samples import delete, delete_filter, environment, patch, patch_filter, payload_filter, put
from support.waiting import wait_until

from autoconfig import HandlerErrors, HandlerFailure, KeyRejectedError, RetryPolicy
from autoconfig.messages import Message
from autoconfig.testing import Emulator

ERROR = ValueError("no room")
SOON = RetryPolicy(max_delay=0.02, jitter=0.0)
CONTENT: Any = ([environment("e1")], {"f1": payload_filter("f1")})
STEADY = RetryPolicy(max_delay=60.0, jitter=0.0)
# For each method: what comes first, the message in whose handling it fails, and the id that is told.
FAILURES: list[tuple[list[Message], Message, Call, str]] = [
    ([], patch("e1", 1), added("e1", 1), "e1"),
    ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), "e1"),
    ([patch("e1", 1)], delete("e1", 2), deleted("e1"), "e1"),
    ([put({"e1": 1})], put(), deleted("e1"), "e1"),
    ([], patch_filter("f1", 1), filter_added("f1", 1), "f1"),
    ([patch_filter("f1", 1)], delete_filter("f1", 2), filter_deleted("f1"), "f1"),
    ([put(filters={"f1": 1})], put(), filter_deleted("f1"), "f1"),
    ([], put(), ALL, ""),
]
EACH = pytest.mark.parametrize(("before", "message", "call", "id"), FAILURES)


def failing(call: Call, told: list[HandlerFailure], **options: Any) -> tuple[Failing, Inline]:
    """Return a handler to which one call fails, and a dispatcher that tells its failures."""
    handler = Failing(lambda name, argument: ERROR if (name, argument) == call else None)
    return handler, Inline(handler, errors=HandlerErrors(on_error=told.append, **options))


def test_without_a_word_calls_are_tried_again_for_a_minute_at_most() -> None:
    errors = HandlerErrors()
    assert errors == HandlerErrors(retry=RetryPolicy(max_delay=60.0), on_error=None)
    assert errors.retry
    assert (errors.retry.max_delay, errors.retry.jitter, errors.initial_delay) == (60.0, 0.5, 1.0)


def test_the_first_delay_is_a_second() -> None:
    """Shortened at random by up to half, as every other."""
    told: list[HandlerFailure] = []
    _, line = failing(added("e1", 1), told)
    line.deliver(patch("e1", 1))
    assert told[0].next_attempt_in
    assert 0.5 <= told[0].next_attempt_in <= 1.0


def test_the_first_delay_is_never_above_the_longest() -> None:
    told: list[HandlerFailure] = []
    _, line = failing(added("e1", 1), told, retry=RetryPolicy(max_delay=0.75, jitter=0.0))
    line.deliver(patch("e1", 1))
    assert told[0].next_attempt_in == 0.75


@pytest.mark.parametrize("retry", [5, 1.5, "1 s", True, RetryPolicy, {"max_delay": 5}])
def test_retry_has_to_be_a_policy(retry: Any) -> None:
    with pytest.raises(TypeError, match=f"retry must be RetryPolicy, not {type(retry).__name__}"):
        HandlerErrors(retry=retry)


@pytest.mark.parametrize("on_error", [5, "print", [print]])
def test_on_error_has_to_be_callable(on_error: Any) -> None:
    with pytest.raises(TypeError, match=f"on_error must be callable, not {type(on_error).__name__}"):
        HandlerErrors(on_error=on_error)


@pytest.mark.parametrize("on_error", [print, [].append, HandlerFailure, None])
def test_on_error_may_be_anything_that_can_be_called(on_error: Callable[[HandlerFailure], object] | None) -> None:
    assert HandlerErrors(on_error=on_error).on_error is on_error


@pytest.mark.parametrize("one", [HandlerErrors(), HandlerFailure("add_filter", "f1", ERROR, 1, None)])
def test_neither_class_can_be_changed(one: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.retry = None


@EACH
def test_each_failure_is_told(before: list[Message], message: Message, call: Call, id: str) -> None:
    """With what failed, why, how often it was tried, and when it is tried again, if it is."""
    told: list[HandlerFailure] = []
    _, line = failing(call, told, retry=STEADY, initial_delay=3.0)
    line.deliver(*before)
    told.clear()
    line.deliver(message)
    assert told == [HandlerFailure(call[0], id, ERROR, 1, None if call == ALL else 3.0)]


@EACH
def test_without_a_policy_only_a_message_brings_the_change_again(
    before: list[Message], message: Message, call: Call, id: str
) -> None:
    """Each time it is the first attempt; what waits for a message is pending too."""
    told: list[HandlerFailure] = []
    handler, line = failing(call, told, retry=None)
    line.deliver(*before)
    told.clear()
    handler.calls.clear()
    line.deliver(message)
    assert line.status.pending_retries == (call != ALL)
    line.deliver(message)
    assert handler.calls.count(call) == 2
    assert told == [HandlerFailure(call[0], id, ERROR, 1, None)] * 2


def test_without_a_policy_the_next_put_brings_what_failed_and_nothing_else() -> None:
    told: list[HandlerFailure] = []
    handler, line = failing(added("e2", 1), told, retry=None)
    everything = put({"e1": 1, "e2": 1}, {"f1": 1})
    line.deliver(everything)
    handler.calls.clear()
    line.deliver(everything)
    assert handler.calls == [added("e2", 1), ALL]


def test_a_failure_that_nobody_asked_for_is_not_told() -> None:
    handler = Failing(lambda *_: ERROR)
    line = Inline(handler, errors=HandlerErrors(retry=STEADY, initial_delay=3.0))
    line.deliver(put({"e1": 1}))
    assert line.status.failed_callbacks == 2


# With a real manager


CHANGES: list[tuple[str, Callable[[Emulator], object]]] = [
    ("add_environment", lambda emulator: emulator.set_environment(environment("e2"))),
    ("update_environment", lambda emulator: emulator.set_environment(environment("e1", 2))),
    ("delete_environment", lambda emulator: emulator.delete_environment("e1")),
    ("delete_environment", lambda emulator: emulator.replace([])),
    ("add_filter", lambda emulator: emulator.set_filter("f2", payload_filter("f2"))),
    ("delete_filter", lambda emulator: emulator.delete_filter("f1")),
]


@pytest.mark.parametrize(("callback", "change"), CHANGES)
def test_a_failed_call_is_made_again_until_it_succeeds(callback: str, change: Callable[[Emulator], object]) -> None:
    """By a dispatcher that nothing else wakes, in its own thread, without a message."""
    told: list[tuple[HandlerFailure, str]] = []
    left: list[ValueError] = []
    handler = Failing(lambda name, _: left.pop() if name == callback and left else None)
    errors = HandlerErrors(SOON, lambda one: told.append((one, threading.current_thread().name)), 0.005)
    with Emulator(*CONTENT, key=KEY) as emulator, managed(emulator.uri, handler, handler_errors=errors) as manager:
        manager.start()
        handler.wait_for("received_all_environments")
        left += [ERROR] * 4
        change(emulator)
        for _ in range(5):
            handler.wait_for(callback)
    assert (manager.status.failed_callbacks, manager.status.pending_retries) == (4, 0)
    failures = [(failure.callback, failure.attempts, failure.next_attempt_in) for failure, _ in told]
    assert failures == [(callback, 1, 0.005), (callback, 2, 0.01), (callback, 3, 0.02), (callback, 4, 0.02)]
    assert all(thread.startswith("autoconfig-dispatcher-") for _, thread in told)


def test_a_call_that_fails_after_it_has_closed_the_stream_is_not_to_be_made_again() -> None:
    """So nothing says that it will be."""
    told: list[HandlerFailure] = []

    def close(name: str, _: object) -> ValueError:
        manager.close()
        return ERROR

    errors = HandlerErrors(on_error=told.append)
    with (
        Emulator(*CONTENT, key=KEY) as emulator,
        managed(emulator.uri, Failing(close), handler_errors=errors) as manager,
    ):
        manager.start()
        assert manager.join(30)
        assert manager.close()
    assert [failure.next_attempt_in for failure in told] == [None]
    assert manager.status.pending_retries == 0


@pytest.mark.parametrize("ending", ["close", "refusal"])
def test_what_is_pending_does_not_hold_up_the_end(ending: str) -> None:
    handler = Failing(lambda name, _: ERROR if name == "add_environment" else None)
    errors = HandlerErrors(initial_delay=60.0)
    with Emulator(*CONTENT, key=KEY) as emulator, managed(emulator.uri, handler, handler_errors=errors) as manager:
        manager.start()
        handler.wait_for("received_all_environments")
        wait_until(lambda: manager.status.pending_retries == 1)
        begin = time.monotonic()
        if ending == "close":
            assert manager.close()
        else:
            emulator.key = "rel-another"
            emulator.drop_connections()
            with pytest.raises(KeyRejectedError):
                manager.join(30)
        assert time.monotonic() - begin < 30
        assert handler.names.count("add_environment") == 1
        assert manager.status.pending_retries == 0
