"""The rule for a call that raised: what is called next, and when; no real time."""

from __future__ import annotations

import gc
import logging
import sys
import weakref
from collections.abc import Iterator

import pytest
from support.dispatching import ALL, Call, Clock, Inline, added, deleted, filter_added, filter_deleted, updated
from support.recorder import Failing
from support.samples import delete, delete_filter, patch, patch_filter, put

from autoconfig import HandlerErrors, HandlerFailure, MessageHandler, RetryPolicy
from autoconfig.messages import Message
from autoconfig.safe_logger import Logger, SafeLogger

STEADY = RetryPolicy(max_delay=60.0, jitter=0.0)
REFUSED = put(refused={"e1": "contradiction"})
FOREIGN = put(foreign={"e1": "e9"})
NUDGE = delete_filter("nudge", 1)  # leads to no call; after each batch the dispatcher looks for what is due


class Bench:
    """A dispatcher called inline, with a clock that goes on only when it is told to; ``told`` are the failures."""

    def __init__(
        self, patch: pytest.MonkeyPatch, retry: RetryPolicy | None = STEADY, log: Logger | None = None
    ) -> None:
        self.clock = Clock(patch)
        self.failing: list[Call] = []
        self.told: list[HandlerFailure] = []
        self.handler = Failing(lambda *call: ValueError("no room") if call in self.failing else None)
        self.line = Inline(self.handler, None, log, HandlerErrors(retry, self.told.append))

    def take(self, *messages: Message) -> list[Call]:
        """Handle the messages; return the calls, those that failed too."""
        self.handler.calls.clear()
        self.line.deliver(*messages)
        return list(self.handler.calls)

    def later(self, seconds: float = 1e6) -> list[Call]:
        """Let so much time go by; return the calls."""
        self.clock.now += seconds
        return self.take(NUDGE)

    def fail(self, *calls: Call) -> None:
        self.failing = list(calls)

    @property
    def pending(self) -> int:
        return self.line.status.pending_retries


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One with ``HandlerErrors(retry=None)``."""
    return Bench(monkeypatch, None)


# For each kind of change: what comes first, the message in whose handling the call fails, and the call.
FAILURES: dict[str, tuple[list[Message], Message, Call]] = {
    "add": ([], patch("e1", 1), added("e1", 1)),
    "add-by-put": ([], put({"e1": 1}), added("e1", 1)),
    "update": ([patch("e1", 1)], patch("e1", 2), updated("e1", 2)),
    "update-by-put": ([patch("e1", 1)], put({"e1": 2}), updated("e1", 2)),
    "delete": ([patch("e1", 1)], delete("e1", 2), deleted("e1")),
    "delete-by-put": ([patch("e1", 1)], put(), deleted("e1")),
    "add-filter": ([], patch_filter("f1", 1), filter_added("f1", 1)),
    "add-filter-by-put": ([], put(filters={"f1": 1}), filter_added("f1", 1)),
    "delete-filter": ([patch_filter("f1", 1)], delete_filter("f1", 2), filter_deleted("f1")),
    "delete-filter-by-put": ([patch_filter("f1", 1)], put(), filter_deleted("f1")),
}
EACH = pytest.mark.parametrize(("before", "message", "call"), FAILURES.values(), ids=FAILURES.keys())


@EACH
def test_the_same_call_is_made_again_with_growing_delays_until_it_succeeds(
    before: list[Message], message: Message, call: Call, bench: Bench
) -> None:
    bench.take(*before)
    bench.fail(call)
    assert call in bench.take(message)
    for delay in [1, 2, 4, 8, 16, 32, 60]:
        assert bench.pending == 1
        assert bench.later(delay - 0.5) == []
        assert bench.later(0.5) == [call]
    bench.fail()
    assert bench.later(60) == [call]
    assert bench.pending == 0
    assert bench.later() == []
    assert [failure.attempts for failure in bench.told] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [failure.next_attempt_in for failure in bench.told] == [1, 2, 4, 8, 16, 32, 60, 60]


@EACH
def test_the_same_message_again_changes_nothing(
    before: list[Message], message: Message, call: Call, bench: Bench
) -> None:
    """It brings nothing newer, and the attempt has its time."""
    bench.take(*before)
    bench.fail(call)
    bench.take(message)
    bench.fail()
    assert [one for one in bench.take(message) if one != ALL] == []
    assert bench.later(1.0) == [call]
    assert bench.pending == 0


@EACH
def test_without_a_policy_the_next_message_is_the_next_attempt(
    before: list[Message], message: Message, call: Call, patient: Bench
) -> None:
    """And nothing else is: no time, no message for another item."""
    patient.take(*before)
    patient.fail(call)
    patient.take(message)
    assert patient.later() == []
    assert patient.take(patch("e2", 1), patch_filter("f2", 1))[2:] == []
    assert [one for one in patient.take(message) if one != ALL and one[1] not in ("e2", "f2")] == [call]
    assert patient.pending == 1
    patient.fail()
    patient.take(message)
    assert call in patient.handler.calls
    assert patient.pending == 0
    assert call not in patient.take(message)
    assert {(failure.attempts, failure.next_attempt_in) for failure in patient.told} == {(1, None)}


@EACH
def test_without_a_policy_any_put_is_an_attempt_and_only_one(
    before: list[Message], message: Message, call: Call, patient: Bench
) -> None:
    listed: dict[str, tuple[dict[str, int], dict[str, int]]] = {
        "add_environment": ({"e1": 1}, {}),
        "update_environment": ({"e1": 2}, {}),
        "add_filter": ({}, {"f1": 1}),
    }
    content = put(*listed.get(call[0], ({}, {})))
    patient.take(*before)
    patient.fail(call)
    patient.take(message)
    assert patient.take(content) == [call, ALL]
    patient.fail()
    assert patient.take(content) == [call, ALL]
    assert patient.take(content) == [ALL]


# What comes first; the message in whose handling a call fails; that call; something newer; the calls that it leads to.
NEWER: list[tuple[list[Message], Message, Call, Message, list[Call]]] = [
    # After a failed addition: an addition of what is newest, or a deletion.
    ([], patch("e1", 1), added("e1", 1), patch("e1", 2), [added("e1", 2)]),
    ([], patch("e1", 1), added("e1", 1), put({"e1": 2}), [added("e1", 2), ALL]),
    ([], patch("e1", 1), added("e1", 1), delete("e1", 2), [deleted("e1")]),
    ([], patch("e1", 1), added("e1", 1), put(), [deleted("e1"), ALL]),
    ([delete("e1", 1)], patch("e1", 2), added("e1", 2), delete("e1", 3), [deleted("e1")]),
    # After a failed update: the newest update, or a deletion.
    ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), patch("e1", 3), [updated("e1", 3)]),
    ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), put({"e1": 3}), [updated("e1", 3), ALL]),
    ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), delete("e1", 3), [deleted("e1")]),
    ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), put(), [deleted("e1"), ALL]),
    # After a failed deletion: a deletion, and only then an addition.
    ([patch("e1", 1)], delete("e1", 2), deleted("e1"), patch("e1", 3), [deleted("e1"), added("e1", 3)]),
    ([patch("e1", 1)], delete("e1", 2), deleted("e1"), put({"e1": 3}), [deleted("e1"), added("e1", 3), ALL]),
    ([patch("e1", 5)], put(), deleted("e1"), patch("e1", 5), [deleted("e1"), added("e1", 5)]),
    ([patch("e1", 5)], put(), deleted("e1"), put({"e1": 2}), [deleted("e1"), added("e1", 2), ALL]),
    # The same for filters, which have no update.
    ([], patch_filter("f1", 1), filter_added("f1", 1), patch_filter("f1", 2), [filter_added("f1", 2)]),
    ([], patch_filter("f1", 1), filter_added("f1", 1), put(filters={"f1": 3}), [filter_added("f1", 3), ALL]),
    ([], patch_filter("f1", 1), filter_added("f1", 1), delete_filter("f1", 2), [filter_deleted("f1")]),
    ([], patch_filter("f1", 1), filter_added("f1", 1), put(), [filter_deleted("f1"), ALL]),
    (
        [patch_filter("f1", 1)],
        delete_filter("f1", 2),
        filter_deleted("f1"),
        patch_filter("f1", 3),
        [filter_deleted("f1"), filter_added("f1", 3)],
    ),
]
EACH_NEWER = pytest.mark.parametrize(("before", "message", "failed", "newer", "calls"), NEWER)


@pytest.mark.parametrize("retry", [STEADY, None], ids=["retry", "no-retry"])
@EACH_NEWER
def test_what_is_newer_takes_its_place(
    before: list[Message],
    message: Message,
    failed: Call,
    newer: Message,
    calls: list[Call],
    retry: RetryPolicy | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At once, and what was pending is never tried again: no old data comes after new."""
    bench = Bench(monkeypatch, retry)
    bench.take(*before)
    bench.fail(failed)
    bench.take(message)
    bench.fail()
    assert bench.take(newer) == calls
    assert bench.pending == 0
    assert bench.later() == []
    assert bench.take(newer) == [call for call in calls if call == ALL]


@EACH_NEWER
def test_what_is_newer_and_fails_too_is_tried_again_from_there(
    before: list[Message], message: Message, failed: Call, newer: Message, calls: list[Call], bench: Bench
) -> None:
    """The first of its calls, with the first delay; those after it only when that has succeeded."""
    bench.take(*before)
    bench.fail(failed)
    bench.take(message)
    bench.later(1.0)
    first = calls[0]
    bench.fail(first)
    assert [call for call in bench.take(newer) if call != ALL] == [first]
    assert bench.later(0.5 if first != failed else 3.5) == []
    bench.fail()
    rest = [call for call in calls if call != ALL]
    assert bench.later(0.5) == rest
    assert bench.pending == 0


def test_an_addition_after_a_deletion_that_had_failed_may_fail_as_well(bench: Bench) -> None:
    bench.take(patch("e1", 1))
    bench.fail(deleted("e1"), added("e1", 3))
    assert bench.take(delete("e1", 2), patch("e1", 3)) == [deleted("e1"), deleted("e1")]
    bench.fail(added("e1", 3))
    assert bench.later() == [deleted("e1"), added("e1", 3)]
    assert bench.told[-1].attempts == 1
    assert bench.told[-1].next_attempt_in == 1.0
    assert bench.take(delete("e1", 4)) == [deleted("e1")]
    assert bench.pending == 0


def test_a_filter_that_returns_under_another_key_is_told(patient: Bench) -> None:
    """Also with ``retry=None``, and by a put (its deletion failed before)."""
    patient.take(put(filters={"f1": 1}))
    patient.fail(filter_deleted("f1"))
    patient.take(put())
    patient.fail()
    assert patient.take(put(filters={"f1": 2})) == [filter_deleted("f1"), filter_added("f1", 2), ALL]


@pytest.mark.parametrize("unusable", [REFUSED, FOREIGN], ids=["refused", "foreign"])
@pytest.mark.parametrize("retry", [STEADY, None], ids=["retry", "no-retry"])
def test_what_a_put_lists_in_an_unusable_form_is_not_deleted(
    unusable: Message, retry: RetryPolicy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though an earlier put lacked it and its deletion failed. Once a put lacks it again, or has it, it goes on."""
    for newer, calls in [
        (put(), [deleted("e1"), ALL]),
        (put({"e1": 1}), [deleted("e1"), added("e1", 1), ALL]),
        (patch("e1", 1), [deleted("e1"), added("e1", 1)]),
        (delete("e1", 1), [deleted("e1")]),
    ]:
        bench = Bench(monkeypatch, retry)
        bench.take(patch("e1", 5))
        bench.fail(deleted("e1"))
        bench.take(put())
        bench.fail()
        assert deleted("e1") not in bench.take(unusable)
        assert bench.later() == []
        assert deleted("e1") not in bench.take(unusable)
        assert bench.take(newer) == calls
        assert bench.pending == 0
        assert bench.later() == []


@pytest.mark.parametrize("unusable", [REFUSED, FOREIGN], ids=["refused", "foreign"])
@pytest.mark.parametrize("kind", ["add", "update"])
def test_what_failed_of_an_item_that_is_unusable_now_goes_on(kind: str, unusable: Message, bench: Bench) -> None:
    """It is still the newest that is known."""
    before, message, call = FAILURES[kind]
    bench.take(*before)
    bench.fail(call)
    bench.take(message)
    bench.fail()
    assert call not in bench.take(unusable)
    assert bench.later(1.0) == [call]


def test_received_all_is_called_though_calls_failed_and_not_tried_again(bench: Bench) -> None:
    """One item that always fails must not keep a service from becoming ready."""
    bench.fail(added("e1", 1), ALL)
    assert bench.take(put({"e1": 1})) == [added("e1", 1), ALL]
    assert bench.later() == [added("e1", 1)]
    assert bench.pending == 1


def test_other_items_are_not_delayed_and_keep_their_order(bench: Bench) -> None:
    bench.fail(added("e2", 1))
    first = bench.take(put({"e1": 1, "e2": 1, "e3": 1}, {"f1": 1}))
    assert first == [added("e1", 1), added("e2", 1), added("e3", 1), filter_added("f1", 1), ALL]
    assert bench.take(patch("e3", 2), delete("e1", 2), patch("e4", 1)) == [
        updated("e3", 2),
        deleted("e1"),
        added("e4", 1),
    ]


def test_items_are_tried_again_each_in_its_time(bench: Bench) -> None:
    bench.fail(added("e1", 1), added("e2", 1), filter_added("f1", 1))
    bench.take(patch("e1", 1))
    bench.later(0.75)
    bench.take(patch_filter("f1", 1), patch("e2", 1))
    assert bench.pending == 3
    bench.fail(added("e2", 1))
    assert bench.later(0.25) == [added("e1", 1)]
    assert bench.pending == 2
    assert bench.later(0.75) == [filter_added("f1", 1), added("e2", 1)]
    assert bench.pending == 1


class FalseError(Exception):
    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("retry", [STEADY, None], ids=["retry", "no-retry"])
@pytest.mark.parametrize(
    "error", [ValueError("no room"), FalseError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr
)
@EACH
def test_whatever_is_raised_is_a_failure(
    before: list[Message],
    message: Message,
    call: Call,
    error: BaseException,
    retry: RetryPolicy | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logged with its traceback; one that is false as a condition too."""
    armed: list[bool] = []
    line = Inline(Failing(lambda *made: error if armed and made == call else None), errors=HandlerErrors(retry))
    line.deliver(*before)
    armed.append(True)
    line.deliver(message)
    assert line.status.pending_retries == line.status.failed_callbacks == 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert call[0] in record.getMessage()
    assert record.exc_info
    assert record.exc_info[1] is error


def test_a_logger_that_raises_does_not_end_the_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor while a change is tried again; the change stays pending."""
    log = logging.getLogger("tests.delivery")
    log.addFilter(lambda record: 1 // 0 if record.exc_info else True)  # type: ignore[arg-type, return-value]
    bench = Bench(monkeypatch, log=SafeLogger(log))
    bench.fail(added("e1", 1))
    bench.take(patch("e1", 1))
    assert bench.later(1.0) == [added("e1", 1)]
    bench.fail()
    assert bench.later(2.0) == [added("e1", 1)]


# What a failed call leaves in memory


class Kept:
    """Something in the handler's frame."""


class Keeping(MessageHandler):
    """Fails in one method and has something in that frame at the time."""

    def __init__(self, name: str) -> None:
        self.frames: list[weakref.ref[Kept]] = []
        self.failing = True

        def fail(*_: object) -> None:
            if self.failing:
                kept = Kept()
                self.frames.append(weakref.ref(kept))
                raise ValueError("no room")

        setattr(self, name, fail)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


NAMES = ["add_environment", "update_environment", "delete_environment", "add_filter", "delete_filter"]
MESSAGES: list[Message] = [put({"e1": 1}, {"f1": 1}), put({"e1": 2}), put(), patch("e1", 1), delete("e1", 2)]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("retry", [STEADY, None], ids=["retry", "no-retry"])
@pytest.mark.parametrize("name", [*NAMES, "received_all_environments", "environment_refused"])
def test_a_failed_call_keeps_nothing_of_the_handlers_frame(
    name: str, retry: RetryPolicy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not until the collector comes: neither while the call is pending nor when it has succeeded."""
    clock = Clock(monkeypatch)
    handler = Keeping(name)
    # Of its own, because pytest keeps the records of all others.
    log = logging.Logger("forgetful")  # noqa: LOG001
    log.addHandler(logging.NullHandler())
    line = Inline(handler, log=log, errors=HandlerErrors(retry, on_error=lambda failure: None))
    for message in [*MESSAGES, put({"e2": 1}, refused={"e1": "x"})]:
        line.deliver(message)
        clock.now += 100.0
        line.deliver(NUDGE)
    assert handler.frames
    assert [frame for frame in handler.frames if frame() is not None] == []
    handler.failing = False
    for message in MESSAGES:
        line.deliver(message)
    assert line.status.pending_retries == 0
    assert sys.exc_info() == (None, None, None)
