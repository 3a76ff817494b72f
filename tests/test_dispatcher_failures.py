"""A handler that fails: nothing stops, and the next message brings again what it failed in."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dispatching import (
    ALL,
    QUIET,
    Call,
    Inline,
    added,
    deleted,
    filter_added,
    filter_deleted,
    updated,
)
from support.misbehaving import Failing, Following, once
from support.recorder import Recorder
from support.samples import delete, delete_filter, patch, patch_filter, put

from autoconfig import HandlerErrors, RetryPolicy
from autoconfig.messages import Message
from autoconfig.stream.cancel import CancelToken

UNTRIED = HandlerErrors(retry=None)  # so that only messages bring a change again, whatever time a test takes
ERRORS = [ValueError("no room"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
# For each method: what comes first, the message in whose handling it fails, and the call.
FAILURES: dict[str, tuple[list[Message], Message, Call]] = {
    "add_environment": ([], put({"e1": 1}), added("e1", 1)),
    "update_environment": ([put({"e1": 1})], put({"e1": 2}), updated("e1", 2)),
    "delete_environment": ([put({"e1": 1})], put(), deleted("e1")),
    "add_filter": ([], put(filters={"f1": 1}), filter_added("f1", 1)),
    "delete_filter": ([put(filters={"f1": 1})], put(), filter_deleted("f1")),
    "received_all_environments": ([put()], put(), ALL),
}
# The same by single items.
SINGLE_FAILURES: dict[str, tuple[list[Message], Message, Call]] = {
    "add_environment": ([], patch("e1", 1), added("e1", 1)),
    "update_environment": ([patch("e1", 1)], patch("e1", 2), updated("e1", 2)),
    "delete_environment": ([patch("e1", 1)], delete("e1", 2), deleted("e1")),
    "add_filter": ([], patch_filter("f1", 1), filter_added("f1", 1)),
    "delete_filter": ([patch_filter("f1", 1)], delete_filter("f1", 2), filter_deleted("f1")),
}
BOTH = [*[(name, *one) for name, one in FAILURES.items()], *[(name, *one) for name, one in SINGLE_FAILURES.items()]]


def armed(callback: str, error: BaseException) -> tuple[Failing, list[bool]]:
    """Return a handler that fails in a method once the list is not empty."""
    arming: list[bool] = []
    return Failing(lambda name, _: error if name == callback and arming else None), arming


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("callback", "before", "message", "call"), BOTH)
def test_the_next_message_brings_the_change_again_exactly_once(
    callback: str, before: list[Message], message: Message, call: Call, error: BaseException
) -> None:
    handler, arming = armed(callback, error)
    line = Inline(handler, errors=UNTRIED)
    line.deliver(*before)
    arming.append(True)
    handler.calls.clear()
    line.deliver(message, message)
    assert handler.calls.count(call) == 2, "not brought again while it fails"
    arming.clear()
    handler.calls.clear()
    line.deliver(message, message)
    assert handler.calls.count(call) == (2 if call == ALL else 1)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("callback", "before", "message", "call"), BOTH)
def test_a_failure_is_logged_with_its_traceback(
    callback: str,
    before: list[Message],
    message: Message,
    call: Call,
    error: BaseException,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler, arming = armed(callback, error)
    line = Inline(handler, errors=UNTRIED)
    line.deliver(*before)
    arming.append(True)
    line.deliver(message)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert callback in record.getMessage()
    assert record.exc_info
    assert record.exc_info[1] is error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_other_items_of_a_put_are_not_held_up(error: BaseException) -> None:
    handler = Failing(lambda _, argument: error if getattr(argument, "env_id", None) == "e2" else None)
    Inline(handler, errors=UNTRIED).deliver(put({"e1": 1, "e2": 1, "e3": 1}, {"f1": 1}))
    assert handler.returned == [added("e1", 1), added("e3", 1), filter_added("f1", 1), ALL]


def test_a_failed_addition_leaves_nothing_to_update_or_delete() -> None:
    handler = Failing(once("add_environment", ValueError()))
    Inline(handler, errors=UNTRIED).deliver(patch("e1", 1), delete("e1", 2), put({}))
    assert handler.calls == [added("e1", 1), ALL]


def test_a_failed_addition_above_a_tombstone_leaves_the_tombstone() -> None:
    handler = Failing(once("add_environment", ValueError()))
    Inline(handler, errors=UNTRIED).deliver(delete("e1", 5), patch("e1", 9), patch("e1", 5), patch("e1", 6))
    assert handler.calls == [added("e1", 9), added("e1", 6)]


def test_a_failed_update_leaves_the_version_before_it() -> None:
    handler = Failing(once("update_environment", ValueError()))
    Inline(handler, errors=UNTRIED).deliver(patch("e1", 3), patch("e1", 9), patch("e1", 3), patch("e1", 4))
    assert handler.calls == [added("e1", 3), updated("e1", 9), updated("e1", 4)]


def test_a_failed_deletion_leaves_what_can_be_updated() -> None:
    handler = Failing(once("delete_environment", ValueError()))
    Inline(handler, errors=UNTRIED).deliver(patch("e1", 3), delete("e1", 9), patch("e1", 4), delete("e1", 5))
    assert handler.calls == [added("e1", 3), deleted("e1"), updated("e1", 4), deleted("e1")]


def test_a_failed_deletion_by_a_put_leaves_the_version() -> None:
    handler = Failing(once("delete_environment", ValueError()))
    Inline(handler, errors=UNTRIED).deliver(patch("e1", 3), put(), patch("e1", 3), patch("e1", 4), put())
    assert handler.calls == [added("e1", 3), deleted("e1"), ALL, updated("e1", 4), deleted("e1"), ALL]


@pytest.mark.parametrize("place", range(6))
def test_no_call_begins_after_cancel(place: int) -> None:
    """In the middle of a put, whichever call it is that cancels."""
    token = CancelToken()

    class Cancelling(Recorder):
        def _record(self, name: str, argument: Any) -> None:
            super()._record(name, argument)
            if len(self.calls) == place + 4:
                token.cancel()

    handler = Cancelling()
    Inline(handler, token).deliver(
        put({"e1": 1, "e2": 1}, {"f1": 1}), put({"e2": 2, "e3": 1}, {"f2": 1}), put(), patch("e9", 1)
    )
    assert len(handler.calls) == place + 4


def test_no_call_begins_after_a_call_that_cancels_and_fails() -> None:
    token = CancelToken()

    def fail(*_: object) -> BaseException:
        token.cancel()
        return ValueError("no room")

    handler = Failing(fail)
    Inline(handler, token).deliver(put({"e1": 1, "e2": 1}))
    assert handler.calls == [added("e1", 1)]


def test_a_cancelled_dispatcher_calls_nothing_at_all(recorder: Recorder) -> None:
    token = CancelToken()
    token.cancel()
    Inline(recorder, token).deliver(put({"e1": 1}))
    assert recorder.calls == []


AT_ONCE = RetryPolicy(max_delay=1e-6)
IDS = st.sampled_from(["a", "b", "c"])
VERSIONS = st.integers(-1, 5)
CONTENT = st.dictionaries(IDS, VERSIONS)
CHANCE = st.randoms(use_true_random=False)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(patch, IDS, VERSIONS),
    st.builds(delete, IDS, VERSIONS),
    st.builds(patch_filter, IDS, VERSIONS),
    st.builds(delete_filter, IDS, VERSIONS),
    st.builds(put, CONTENT, CONTENT),
)


@pytest.mark.parametrize("retry", [None, AT_ONCE], ids=["with-the-next-message", "at-once"])
@settings(max_examples=150, deadline=None)
@given(
    st.lists(MESSAGES, max_size=25), st.randoms(use_true_random=False), st.dictionaries(IDS, st.integers(6, 9)), CONTENT
)
def test_any_messages_and_any_failures_keep_the_promises(
    retry: RetryPolicy | None,
    messages: list[Message],
    chance: Any,
    environments: dict[str, int],
    filters: dict[str, int],
) -> None:
    """
    The calls that returned kept the promises, and a last put that does not fail leaves exactly what it lists.

    Its versions are above all others, because a put too is only believed where it is newer.
    """
    failing = True
    handler = Following(lambda *_: ERRORS[chance.randrange(4)] if failing and chance.random() < 0.4 else None)
    line = Inline(handler, log=QUIET, errors=HandlerErrors(retry))
    line.deliver(*messages, batch_size=3)
    failing = False
    filters = {id: version + 10 for id, version in filters.items()}
    line.deliver(put(environments, filters))
    assert handler.broken == []
    assert handler.environments == {id: f"{id} v{version}" for id, version in environments.items()}
    assert handler.filters.keys() == filters.keys()


@settings(max_examples=100, deadline=None)
@given(st.lists(MESSAGES, max_size=15), CHANCE)
def test_failures_leave_no_trace_once_everything_was_brought_again(messages: list[Message], chance: Any) -> None:
    """A handler that failed, and one that did not, end up with the same after a put of everything in new versions."""
    everything = put({"a": 9, "b": 9}, {"a": 9, "c": 9})
    failing = True
    unlucky = Following(lambda *_: ValueError() if failing and chance.random() < 0.4 else None)
    lucky = Following(lambda *_: None)
    for line in Inline(unlucky, log=QUIET, errors=UNTRIED), Inline(lucky, log=QUIET, errors=UNTRIED):
        failing = True
        line.deliver(*messages)
        failing = False
        line.deliver(everything, patch("a", 9), delete("b", 9), delete_filter("a", 10), patch_filter("c", 10))
    assert unlucky.broken == lucky.broken == []
    assert (unlucky.environments, unlucky.filters.keys()) == (lucky.environments, lucky.filters.keys())
