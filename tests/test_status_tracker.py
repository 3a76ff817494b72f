"""The status tracker: in which order and thread it calls the listeners, and how to wait for a state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from autoconfig import KeyRejectedError, StreamState, StreamStatus, status_tracker
from autoconfig.exceptions import ConnectionFailedError
from autoconfig.safe_logger import SafeLogger
from autoconfig.status import StatusListener
from autoconfig.status_tracker import StatusTracker

INITIALIZING, VALID, INTERRUPTED, OFF = StreamState
REFUSED = ConnectionFailedError("refused")
SECONDS = 30.0  # a deadline for what takes no time


@pytest.fixture
def tracker() -> StatusTracker:
    return StatusTracker(logging.getLogger("autoconfig"))


def listen(tracker: StatusTracker, then: StatusListener = lambda _: None) -> list[StreamState]:
    """Return a list to which a listener adds each state that it is told of, before it does something else."""
    told: list[StreamState] = []

    def listener(status: StreamStatus) -> None:
        told.append(status.state)
        then(status)

    tracker.listeners.add(listener)
    return told


def in_thread(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def check_ended(thread: threading.Thread) -> None:
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_a_listener_is_told_of_states_and_errors_and_of_nothing_else(tracker: StatusTracker) -> None:
    told = listen(tracker)
    tracker.connected()
    tracker.received([], False)
    tracker.received([], True)
    assert told == []
    tracker.received(["patch"], False)
    tracker.received(["patch"], False)
    tracker.disconnected(None, 1.0)
    assert told == [VALID]
    tracker.disconnected(REFUSED, 1.0)
    tracker.disconnected(REFUSED, 2.0)
    tracker.off()
    assert told == [VALID, INTERRUPTED, INTERRUPTED, OFF]


def test_listeners_are_given_the_status_in_the_order_in_which_they_were_added(tracker: StatusTracker) -> None:
    told: list[tuple[str, StreamStatus]] = []
    tracker.listeners.add(lambda status: told.append(("first", status)))
    tracker.listeners.add(lambda status: told.append(("second", status)))
    tracker.off(KeyRejectedError(401))
    assert told == [("first", tracker.status), ("second", tracker.status)]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=repr)
def test_a_listener_that_raises_is_logged_and_the_others_are_called(
    error: BaseException, tracker: StatusTracker, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises: it would end the stream's thread, or close() before it has stopped anything."""

    def fail(_: StreamStatus) -> None:
        raise error

    tracker.listeners.add(fail)
    told = listen(tracker)
    tracker.received(["patch"], False)
    tracker.off()
    assert told == [VALID, OFF]
    assert [record.getMessage() for record in caplog.records] == ["A status listener failed"] * 2
    assert all(record.exc_info and record.exc_info[1] is error for record in caplog.records)


def test_a_logger_that_raises_too_does_no_harm() -> None:
    logger = logging.getLogger("tests.status_tracker")
    logger.addFilter(lambda _: bool(1 // 0))
    tracker = StatusTracker(SafeLogger(logger))
    tracker.listeners.add(lambda _: 1 // 0)
    told = listen(tracker)
    tracker.off()
    assert told == [OFF]


def test_a_listener_is_called_in_the_thread_that_made_the_change(tracker: StatusTracker) -> None:
    threads: list[threading.Thread] = []
    tracker.listeners.add(lambda _: threads.append(threading.current_thread()))
    other = in_thread(lambda: tracker.received(["patch"], False))
    check_ended(other)
    tracker.off()
    assert threads == [other, threading.current_thread()]


def test_a_change_during_a_call_is_told_after_it_and_nobody_waits(tracker: StatusTracker) -> None:
    inside, go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def linger(status: StreamStatus) -> None:
        threads.append(threading.current_thread())
        if status.state is VALID:
            inside.set()
            assert go_on.wait(SECONDS)

    told = listen(tracker, linger)
    first = in_thread(lambda: tracker.received(["patch"], False))
    assert inside.wait(SECONDS)
    check_ended(in_thread(tracker.off))
    assert told == [VALID]
    assert tracker.status.state is OFF
    go_on.set()
    check_ended(first)
    assert told == [VALID, OFF]
    assert threads == [first, first]


def test_a_status_that_another_thread_takes_first_is_no_error(tracker: StatusTracker) -> None:
    """Between a thread's look at what is left and its getting the lock, another one may have made the last call."""
    told = listen(tracker)
    listeners: Any = tracker.listeners
    calling = threading.Lock()

    def acquire(blocking: bool) -> bool:
        listeners._call_next()  # as the other thread does
        return calling.acquire(blocking=blocking)

    listeners._calling = SimpleNamespace(acquire=acquire, release=calling.release)
    tracker.received(["patch"], False)
    tracker.off()
    assert told == [VALID, OFF]


@pytest.mark.parametrize("_", range(20))
def test_two_threads_that_change_at_once_are_told_of_in_order(_: int, tracker: StatusTracker) -> None:
    """One call at a time, each state after the one before it, and the last one last."""
    calling, barrier = threading.Lock(), threading.Barrier(2)
    told: list[StreamState] = []

    def listener(status: StreamStatus) -> None:
        assert calling.acquire(blocking=False)
        told.append(status.state)
        calling.release()

    def flap() -> None:
        barrier.wait(SECONDS)
        for _ in range(20):
            tracker.received(["patch"], False)
            tracker.disconnected(REFUSED, 0.0)

    tracker.listeners.add(listener)
    flapping = in_thread(flap)
    barrier.wait(SECONDS)
    tracker.off()
    check_ended(flapping)
    assert told == [*([VALID, INTERRUPTED] * 20)[: len(told) - 1], OFF]


def test_a_listener_may_add_another(tracker: StatusTracker) -> None:
    """Which is told from the next change on."""
    added: list[list[StreamState]] = []
    listen(tracker, lambda _: added.append(listen(tracker)))
    tracker.received(["patch"], False)
    tracker.off()
    assert added[0] == [OFF]


def test_a_listener_may_remove_itself(tracker: StatusTracker) -> None:
    """To remove one that is not there does nothing."""
    told: list[StreamStatus] = []

    def once(status: StreamStatus) -> None:
        told.append(status)
        tracker.listeners.remove(once)

    tracker.listeners.remove(once)  # which does nothing yet
    tracker.listeners.add(once)
    others = listen(tracker)
    tracker.received(["patch"], False)
    tracker.off()
    assert len(told) == 1
    assert others == [VALID, OFF]


def test_a_change_inside_a_listener_is_told_after_it(tracker: StatusTracker) -> None:
    """To everyone, and not inside the first call."""
    first = listen(tracker, lambda _: tracker.off())
    second = listen(tracker)
    tracker.received(["patch"], False)
    assert first == second == [VALID, OFF]


def test_a_state_that_is_there_is_not_waited_for(tracker: StatusTracker) -> None:
    assert tracker.wait_for(INITIALIZING, 0)
    tracker.off()
    assert tracker.wait_for(OFF, None)


def test_waiting_ends_when_the_state_is_reached(tracker: StatusTracker) -> None:
    outcomes: list[bool] = []
    waiting = [in_thread(lambda: outcomes.append(tracker.wait_for(VALID, SECONDS))) for _ in range(3)]
    tracker.received(["patch"], False)
    for thread in waiting:
        check_ended(thread)
    assert outcomes == [True] * 3


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_waiting_ends_at_its_timeout(timeout: float, tracker: StatusTracker) -> None:
    assert not tracker.wait_for(VALID, timeout)


def test_waiting_for_another_state_ends_when_it_is_off(tracker: StatusTracker) -> None:
    outcomes: list[bool] = []
    waiting = in_thread(lambda: outcomes.append(tracker.wait_for(VALID, None)))
    tracker.off()
    check_ended(waiting)
    assert outcomes == [False]


def test_nothing_comes_after_off(tracker: StatusTracker) -> None:
    told = listen(tracker)
    tracker.off(KeyRejectedError(401))
    status = tracker.status
    tracker.connected()
    tracker.disconnected(REFUSED, 1.0)
    tracker.off(REFUSED)
    assert tracker.status == status
    assert told == [OFF]


def test_off_keeps_the_last_error_unless_it_has_one(tracker: StatusTracker) -> None:
    tracker.disconnected(REFUSED, 1.0)
    before = tracker.status.last_error
    tracker.off()
    assert tracker.status.last_error is before
    assert tracker.status.next_retry_at is None


def test_the_oldest_waiting_batch_is_the_lag(tracker: StatusTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(status_tracker, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    for waited in 4.0, 8.0:
        tracker.received([], True)
        now[0] += waited
    assert (tracker.status.queued_batches, tracker.status.lag) == (2, 12.0)
    tracker.handled()
    assert (tracker.status.queued_batches, tracker.status.lag) == (1, 8.0)
    tracker.handled()
    tracker.handled()
    assert (tracker.status.queued_batches, tracker.status.lag) == (0, 0.0)


@pytest.mark.parametrize("listener", [None, "print", []], ids=str)
def test_a_listener_that_cannot_be_called_is_refused(listener: Any, tracker: StatusTracker) -> None:
    with pytest.raises(TypeError, match=r"^listener must be callable, not "):
        tracker.listeners.add(listener)
