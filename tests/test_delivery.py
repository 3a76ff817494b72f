"""Changes that the handler fails to take: when they are tried again, and what takes their place; no real time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from support.dispatching import ALL, Call, Inline, added, deleted, filter_added, filter_deleted, updated
from support.misbehaving import Failing
from support.samples import delete, delete_filter, patch, patch_filter, put

from autoconfig import EnvironmentID, HandlerErrors, HandlerFailure, PatchMessageData, PutContent, RetryPolicy
from autoconfig import delivery as delivery_module
from autoconfig import dispatcher as dispatcher_module
from autoconfig.messages import Message, PutMessageData
from autoconfig.safe_logger import Logger, SafeLogger

STEADY = RetryPolicy(max_delay=60.0, jitter=0.0)
NUDGE = PatchMessageData("/elsewhere")  # ignored; after each message the dispatcher looks for what is due
FLAWED = PutMessageData("/", PutContent(flawed={EnvironmentID("e1"): "sdkKeys"}))


class Bench:
    """A dispatcher called inline, with a clock that goes on only when it is told to; ``told`` are the failures."""

    def __init__(self, patch: pytest.MonkeyPatch, log: Logger | None = None) -> None:
        self.now = 1000.0
        self.failing: list[Call] = []
        self.told: list[HandlerFailure] = []
        for module in delivery_module, dispatcher_module:
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.handler = Failing(lambda *call: ValueError("no room") if call in self.failing else None)
        self.line = Inline(self.handler, None, log, HandlerErrors(STEADY, self.told.append))

    def take(self, *messages: Message) -> list[Call]:
        """Handle the messages; return the calls, those that failed too."""
        self.handler.calls.clear()
        self.line.deliver(*messages)
        return list(self.handler.calls)

    def later(self, seconds: float = 1e6) -> list[Call]:
        """Let so much time go by; return the calls."""
        self.now += seconds
        return self.take(NUDGE)

    def fail(self, *calls: Call) -> None:
        self.failing = list(calls)

    @property
    def pending(self) -> int:
        return self.line.status.pending_retries


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


# For each kind of change: what comes first, the message in whose handling the call fails, and the call.
FAILURES: dict[str, tuple[list[Message], Message, Call]] = {
    "add": ([], patch("e1", 1), added("e1", 1)),
    "update": ([patch("e1", 1)], patch("e1", 2), updated("e1", 2)),
    "delete": ([patch("e1", 1)], delete("e1", 2), deleted("e1")),
    "delete-by-put": ([patch("e1", 1)], put(), deleted("e1")),
    "add-filter": ([], patch_filter("f1", 1), filter_added("f1", 1)),
    "delete-filter": ([patch_filter("f1", 1)], delete_filter("f1", 2), filter_deleted("f1")),
    "delete-filter-by-put": ([patch_filter("f1", 1)], put(), filter_deleted("f1")),
}
EACH = pytest.mark.parametrize(("before", "message", "call"), FAILURES.values(), ids=FAILURES.keys())


@EACH
def test_it_is_tried_again_with_growing_delays_until_it_succeeds(
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
def test_the_same_message_again_tries_at_once(
    before: list[Message], message: Message, call: Call, bench: Bench
) -> None:
    bench.take(*before)
    bench.fail(call)
    bench.take(message)
    bench.fail()
    assert bench.take(message)[:1] == [call]
    assert bench.pending == 0
    assert bench.later() == []


@pytest.mark.parametrize("version", [2, 2000])
@pytest.mark.parametrize("kind", ["update", "delete", "delete-by-put"])
def test_attempts_of_the_same_change_are_counted_whatever_brought_them(kind: str, version: int, bench: Bench) -> None:
    """``attempts`` says how often this change was tried; it may not depend on how Python stores a number."""
    repeated: dict[str, tuple[Call, Callable[[], Message]]] = {
        "update": (updated("e1", version), lambda: patch("e1", version)),
        "delete": (deleted("e1"), lambda: delete("e1", int(str(version)))),
        "delete-by-put": (deleted("e1"), put),
    }
    call, message = repeated[kind]
    bench.take(patch("e1", 1))
    bench.fail(call)
    bench.take(message(), message())
    assert [failure.attempts for failure in bench.told] == [1, 2]


def test_received_all_is_called_though_calls_failed_and_not_tried_again(bench: Bench) -> None:
    """One item that always fails must not keep a service from becoming ready (docs/explanation/reliability.md)."""
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
    assert bench.later(0.75) == [added("e2", 1), filter_added("f1", 1)]
    assert bench.pending == 1


@pytest.mark.parametrize(
    ("before", "message", "failed", "newer", "calls"),
    [
        ([], patch("e1", 1), added("e1", 1), patch("e1", 2), [added("e1", 2)]),
        ([], patch("e1", 1), added("e1", 1), put({"e1": 2}), [added("e1", 2), ALL]),
        ([], patch("e1", 1), added("e1", 1), delete("e1", 2), []),
        ([], patch("e1", 1), added("e1", 1), put(), [ALL]),
        ([delete("e1", 1)], patch("e1", 2), added("e1", 2), delete("e1", 3), []),
        ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), patch("e1", 3), [updated("e1", 3)]),
        ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), delete("e1", 3), [deleted("e1")]),
        ([patch("e1", 1)], patch("e1", 2), updated("e1", 2), put(), [deleted("e1"), ALL]),
        ([patch("e1", 1)], delete("e1", 2), deleted("e1"), patch("e1", 3), [updated("e1", 3)]),
        ([patch("e1", 1)], delete("e1", 2), deleted("e1"), put({"e1": 3}), [updated("e1", 3), ALL]),
        ([patch("e1", 5)], put(), deleted("e1"), patch("e1", 6), [updated("e1", 6)]),
        ([patch("e1", 5)], put(), deleted("e1"), patch("e1", 2), [updated("e1", 2)]),
        ([patch("e1", 5)], put(), deleted("e1"), delete("e1", 2), [deleted("e1")]),
        ([], patch_filter("f1", 1), filter_added("f1", 1), delete_filter("f1", 2), []),
        ([], patch_filter("f1", 1), filter_added("f1", 1), put(), [ALL]),
        ([], patch_filter("f1", 1), filter_added("f1", 1), patch_filter("f1", 2), [filter_added("f1", 2)]),
    ],
)  # fmt: skip
def test_what_is_newer_takes_its_place(
    before: list[Message], message: Message, failed: Call, newer: Message, calls: list[Call], bench: Bench
) -> None:
    """At once, and what was pending is never tried again: no old data comes after new, and what is listed stays."""
    bench.take(*before)
    bench.fail(failed)
    bench.take(message)
    bench.fail()
    assert bench.take(newer) == calls
    assert bench.pending == 0
    assert bench.later() == []


@pytest.mark.parametrize("newer", [patch("e1", 5), put({"e1": 5})])
def test_what_is_listed_again_is_not_deleted(newer: Message, bench: Bench) -> None:
    """Also in the very version that a put without it was to take away."""
    bench.fail(deleted("e1"))
    bench.take(patch("e1", 5), put())
    bench.fail()
    assert deleted("e1") not in bench.take(newer)
    assert bench.pending == 0
    assert bench.later() == []


@pytest.mark.parametrize("version", [2, 5, 8])
def test_what_is_to_be_forgotten_and_then_deleted_is_gone(version: int, bench: Bench) -> None:
    bench.fail(deleted("e1"))
    bench.take(patch("e1", 5), put())
    bench.fail()
    assert [*bench.take(delete("e1", version)), *bench.later()] == [deleted("e1")]


@pytest.mark.parametrize(
    ("before", "message", "failed", "older"),
    [
        ([], patch("e1", 5), added("e1", 5), [patch("e1", 4), delete("e1", 4), delete("e1", 5), FLAWED]),
        ([patch("e1", 1)], patch("e1", 5), updated("e1", 5), [patch("e1", 4), delete("e1", 4), delete("e1", 5)]),
        ([patch("e1", 1)], delete("e1", 5), deleted("e1"), [patch("e1", 4), patch("e1", 5), put({"e1": 5})]),
        ([], patch_filter("f1", 5), filter_added("f1", 5), [patch_filter("f1", 4), delete_filter("f1", 5)]),
        ([patch_filter("f1", 1)], delete_filter("f1", 5), filter_deleted("f1"), [patch_filter("f1", 5)]),
    ],
)
def test_what_is_older_or_equal_and_of_another_kind_does_not(
    before: list[Message], message: Message, failed: Call, older: list[Message], bench: Bench
) -> None:
    bench.take(*before)
    bench.fail(failed)
    bench.take(message)
    bench.fail()
    assert [call for call in bench.take(*older) if call != ALL] == []
    assert bench.pending == 1
    assert bench.later(1.0) == [failed]
    assert bench.pending == 0


def test_a_newer_change_that_fails_too_begins_with_the_first_delay(bench: Bench) -> None:
    bench.fail(added("e1", 1), added("e1", 2))
    for version in 1, 2:
        bench.take(patch("e1", version))
        bench.later(1.0)
    attempts = [(failure.attempts, failure.next_attempt_in) for failure in bench.told]
    assert attempts == [(1, 1.0), (2, 2.0)] * 2


def test_a_logger_that_raises_does_not_end_the_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor while a change is tried again; the change stays pending."""
    log = logging.getLogger("tests.delivery")
    log.addFilter(lambda record: 1 // 0 if record.exc_info else True)  # type: ignore[arg-type, return-value]
    bench = Bench(monkeypatch, SafeLogger(log))
    bench.fail(added("e1", 1))
    bench.take(patch("e1", 1))
    assert bench.later(1.0) == [added("e1", 1)]
    bench.fail()
    assert bench.later(2.0) == [added("e1", 1)]
