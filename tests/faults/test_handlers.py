"""Handlers that raise: nothing stops, and the call comes again, or the one that takes its place."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from faults.events import ALL, HEALTHY, Call, Event, ExpectedCalls, canonical, delete, left, patch, put, short
from faults.server import FaultServer, Wire, stream
from faults.table import ATTEMPTS, DEADLINE, Lines, manager_of, wait_until_healthy
from support.recorder import Recorder

from autoconfig import HandlerErrors, RetryPolicy

STREAM = [
    put({"oak": 1, "ash": 1, "elm": 1}, {"f1": 1}),
    patch("oak", 2),
    delete("ash", 2),
    delete("f1", 2, "filters"),
    put({"oak": 2, "yew": 1}, {"f2": 1}),
]
"""Every connection's events; the last put deletes elm."""


class UnspeakableError(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def endless(depth: int = 0) -> int:
    return endless(depth + 1) + 1


def raising(error: BaseException | type[BaseException]) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


ACTIONS: dict[str, Callable[[], object]] = {
    "exception": raising(ValueError("bad\nnews %s {}")),
    "unspeakable": raising(UnspeakableError),
    "system_exit": raising(SystemExit(1)),
    "keyboard_interrupt": raising(KeyboardInterrupt),
    "generator_exit": raising(GeneratorExit),
    "stop_iteration": raising(StopIteration),
    "recursion": endless,
    "memory": raising(MemoryError),
    "base": raising(BaseException("x" * 100_000)),
}
CALLS: dict[str, Call] = {
    "add": ("add_environment", "oak", "oak v1"),
    "add_by_the_last_put": ("add_environment", "yew", "yew v1"),
    "update": ("update_environment", "oak", "oak v2"),
    "delete": ("delete_environment", "ash", ""),
    "delete_by_a_put": ("delete_environment", "elm", ""),
    "received_all": ALL,
    "add_filter": ("add_filter", "f1", ""),
    "delete_filter": ("delete_filter", "f1", ""),
    "delete_filter_by_the_next_put": ("delete_filter", "f2", ""),
}


class Failing(Recorder):
    """
    A recorder that fails in some calls.

    Attributes:
        tried: All calls, those that failed too; ``calls`` has those that returned.
        failed_additions: The ids of what it did not add.
    """

    def __init__(self, fails: Callable[[Call], bool], act: Callable[[], object]) -> None:
        super().__init__()
        self.tried: list[Call] = []
        self.failed_additions: set[str] = set()
        self._fails = fails
        self._act = act

    def _record(self, name: str, argument: Any) -> None:
        call = short(name, argument)
        self.tried.append(call)
        if self._fails(call):
            if name.startswith("add"):
                self.failed_additions.add(call[1])
            self._act()
        super()._record(name, argument)


def times(call: Call, count: int) -> Callable[[Call], bool]:
    """Return a test that is true for a call the first so many times."""
    left_over = [call] * count

    def fails(one: Call) -> bool:
        if one not in left_over:
            return False
        left_over.remove(one)
        return True

    return fails


NEVER = HandlerErrors(retry=None)
LATER = HandlerErrors(initial_delay=60.0)  # after the test
SOON = HandlerErrors(retry=RetryPolicy(max_delay=0.05, jitter=0.0))


def follow(handler: Recorder, events: list[Event], errors: HandlerErrors = NEVER) -> Lines:
    """Let a client of the handler follow faulty connections with the events, and a healthy one."""
    lines = Lines()
    with FaultServer(stream(*events, then=Wire.end), ATTEMPTS) as server:
        manager = manager_of(server.url, handler, lines, {}, handler_errors=errors)
        manager.start()
        try:
            wait_until_healthy(handler, lines)
        finally:
            assert manager.close(DEADLINE)
        assert len(server.attempts) == ATTEMPTS + 1, "the handler's failure ended a connection"
    return lines


def check(handler: Failing, lines: Lines, failed: int) -> None:
    """Check what the handler has in the end, that no call came which did not fit what it had, and the log."""
    held = left((short(*call) for call in handler.calls), handler.failed_additions)
    assert held == {"oak": "oak v9", "well": "well v1", "f9": ""}
    errors = [text for level, text in lines.lines if level >= logging.ERROR]
    assert len(errors) == failed
    for text in errors:
        first, traceback, *_ = text.split("\n")
        assert first.startswith("The handler failed in ")
        assert traceback == "Traceback (most recent call last):"


# The second failure of that deletion would be in the healthy connection.
@pytest.mark.parametrize(("name", "count"), [*[(name, 1) for name in CALLS], *[(name, 2) for name in [*CALLS][:-1]]])
def test_a_call_that_raises(name: str, count: int) -> None:
    """The next put, or the next message for the item, brings the call again, or the one that takes its place."""
    call = CALLS[name]
    handler = Failing(times(call, count), ACTIONS["exception"])
    lines = follow(handler, STREAM)
    expected = ExpectedCalls(times(call, count)).calls([*STREAM * ATTEMPTS, HEALTHY])
    assert canonical(handler.tried) == canonical(expected)
    check(handler, lines, min(count, expected.count(call)))


@pytest.mark.parametrize("name", CALLS)
def test_a_change_that_waits_and_a_newer_one(name: str) -> None:
    """Messages bring the handler to the right state although a failed call is still to be tried again."""
    handler = Failing(times(CALLS[name], 1), ACTIONS["exception"])
    check(handler, follow(handler, STREAM, LATER), 1)


@pytest.mark.parametrize(
    "name", [name for name in CALLS if name not in ("received_all", "delete_filter_by_the_next_put")]
)
def test_a_call_is_tried_again(name: str) -> None:
    """Without any further message too, after delays that grow, until it succeeds."""
    call, times_failed = CALLS[name], 5
    place = next(n for n in range(len(STREAM)) if call in ExpectedCalls().calls(STREAM[: n + 1]))
    handler, lines = Failing(times(call, times_failed), ACTIONS["exception"]), Lines()
    with FaultServer(stream(*STREAM[: place + 1], then=Wire.stay), 1) as server:
        manager = manager_of(server.url, handler, lines, {}, handler_errors=SOON)
        started = time.monotonic()
        manager.start()
        try:
            handler.wait_for(call[0], DEADLINE, lambda argument: short(call[0], argument) == call)
        finally:
            assert manager.close(DEADLINE)
        assert len(server.attempts) == 1
    assert time.monotonic() - started >= 0.01 + 0.02 + 0.04 + 0.05 + 0.05
    assert handler.tried.count(call) == times_failed + 1
    assert left(short(*call) for call in handler.calls) == left(ExpectedCalls().calls(STREAM[: place + 1]))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", ["add", "received_all"])
def test_whatever_is_raised(name: str, action: str) -> None:
    """Not even what is meant to end a thread or a process ends the dispatcher."""
    call = CALLS[name]
    handler = Failing(times(call, 1), ACTIONS[action])
    lines = follow(handler, STREAM)
    assert canonical(handler.tried) == canonical(ExpectedCalls(times(call, 1)).calls([*STREAM * ATTEMPTS, HEALTHY]))
    check(handler, lines, 1)


def test_all_calls_raise_until_the_last_connection() -> None:
    """A handler that fails altogether for a while has everything as soon as it does not."""

    def fails(call: Call) -> bool:
        return not call[2].startswith(("well", "oak v9")) and call[1] != "f9" and "well v1" not in seen

    seen: list[str] = []

    class Slow(Failing):
        def _record(self, name: str, argument: Any) -> None:
            seen.append(short(name, argument)[2])
            super()._record(name, argument)

    handler = Slow(fails, ACTIONS["exception"])
    follow(handler, STREAM)
    assert canonical(short(*call) for call in handler.calls) == [
        ("add_environment", "oak", "oak v9"),
        ("add_environment", "well", "well v1"),
        *[("delete_environment", id, "") for id in ("ash", "elm", "yew")],
        ("add_filter", "f9", ""),
        *[("delete_filter", id, "") for id in ("f1", "f2")],
        ALL,
    ]
