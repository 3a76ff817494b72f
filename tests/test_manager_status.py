"""The status of a real manager, from its first attempt to its end, and who is told of it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.managing import KEY, NOWHERE, CallingBack, managed
from support.recorder import Failing, Holding, Recorder
from support.samples import environment, put_item
from support.scripted_server import Item, ScriptedServer
from support.waiting import wait_until

from autoconfig import (
    ErrorKind,
    HandlerErrors,
    KeyRejectedError,
    StreamManager,
    StreamState,
    StreamStatus,
)
from autoconfig.testing import Emulator

INITIALIZING, VALID, INTERRUPTED, OFF = StreamState
SECONDS = 30.0  # a deadline for what takes milliseconds
MUCH_LATER = HandlerErrors(initial_delay=60.0)


class Told:
    """A listener that keeps what it is told, and in which thread."""

    def __init__(self, manager: StreamManager) -> None:
        self.threads: list[str] = []
        self._statuses: queue.Queue[StreamStatus] = queue.Queue()
        manager.add_status_listener(self)

    def __call__(self, status: StreamStatus) -> None:
        self.threads.append(threading.current_thread().name)
        self._statuses.put(status)

    def next(self) -> StreamStatus:
        return self._statuses.get(timeout=SECONDS)

    def left(self) -> list[StreamState]:
        return [self._statuses.get_nowait().state for _ in range(self._statuses.qsize())]


@contextmanager
def emulated(handler: Recorder | None = None, **options: Any) -> Iterator[tuple[Emulator, StreamManager]]:
    """Run an emulator that accepts the tests' key and has an environment, and a manager that was not started."""
    with Emulator([environment("e1")], key=KEY) as emulator, managed(emulator.uri, handler, **options) as manager:
        yield emulator, manager


def test_a_life_is_told_in_order() -> None:
    """By the reader's thread, but for the end, which is told by the thread that closes."""
    with emulated() as (emulator, manager):
        assert manager.status.state is INITIALIZING
        told = Told(manager)
        manager.start()
        assert told.next().state is VALID
        emulator.drop_connections("reset")
        lost = told.next()
        assert (lost.state, lost.connected_since, lost.failed_attempts) == (INTERRUPTED, None, 1)
        assert lost.last_error
        assert lost.last_error.kind is ErrorKind.NETWORK_ERROR
        back = told.next()
        assert (back.state, back.last_error, back.failed_attempts) == (VALID, lost.last_error, 0)
        assert manager.close()
        assert (told.next().state, told.left()) == (OFF, [])
    *reader, closer = told.threads
    assert all(name.startswith("autoconfig-reader-") for name in reader)
    assert closer == threading.current_thread().name


@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        ([{"status": 503}], ErrorKind.ERROR_RESPONSE, 503),
        ([{"headers": {"Content-Type": "text/html"}}], ErrorKind.NETWORK_ERROR, None),
        ([{"event": "put", "data": json.dumps({"path": KEY, "data": KEY})}], ErrorKind.INVALID_DATA, None),
        ([{"raw": ":\n"}, {"close": "reset"}], ErrorKind.NETWORK_ERROR, None),
        ([{"status": 302, "headers": {"Location": f"{{BASE}}/{KEY}"}}], ErrorKind.NETWORK_ERROR, None),
    ],
    ids=["status", "content-type", "malformed", "reset", "redirect"],
)
def test_a_failure_before_the_first_event_is_an_error_and_no_interruption(
    script: list[Item], kind: ErrorKind, code: int | None
) -> None:
    """And nothing that is secret is in the status."""
    begin = datetime.now(timezone.utc)
    with ScriptedServer([script, script]) as server, managed(server.url) as manager:
        told = Told(manager)
        manager.start()
        status = told.next()
        assert status.state is INITIALIZING
        assert status.last_error
        assert (status.last_error.kind, status.last_error.status_code) == (kind, code)
        assert begin <= status.last_error.time <= datetime.now(timezone.utc)
        assert KEY not in repr(status)


def test_a_request_to_reconnect_is_told_to_nobody() -> None:
    with emulated() as (emulator, manager):
        told = Told(manager)
        manager.start()
        assert told.next().state is VALID
        emulator.send_reconnect()
        emulator.wait_for_requests(2)
        wait_until(lambda: manager.status.events_received == 3)  # put, reconnect, put
        assert (told.left(), manager.status.last_error) == ([], None)


def test_a_heartbeat_is_a_sign_of_life() -> None:
    with emulated() as (emulator, manager):
        manager.start()
        assert manager.wait_for(VALID, SECONDS)
        before = manager.status
        assert before.last_byte_at
        assert before.last_byte_at.utcoffset() == timedelta(0)
        emulator.send_heartbeat()
        wait_until(lambda: manager.status.last_byte_at != before.last_byte_at)
        assert manager.status.events_received == before.events_received


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("before", [[], [[put_item("e1"), {"close": "eof"}]]], ids=["at-first", "later"])
def test_a_refused_key_is_the_end_and_its_reason(before: list[list[Item]], code: int) -> None:
    """Whoever waits for another state learns of it at once; close() changes nothing of it."""
    with ScriptedServer([*before, [{"status": code}]]) as server, managed(server.url) as manager:
        manager.start()
        assert manager.wait_for(OFF, SECONDS)
        assert not manager.wait_for(INTERRUPTED, None)
        with pytest.raises(KeyRejectedError):
            manager.join(SECONDS)
        status = manager.status
        assert manager.close()
        assert manager.status == status
        assert status.last_error
        assert (status.last_error.kind, status.last_error.status_code) == (ErrorKind.ERROR_RESPONSE, code)
        assert status.last_error.message == str(KeyRejectedError(code))
        assert (status.connected_since, status.next_retry_at) == (None, None)


def test_a_slow_handler_is_seen_in_the_queue_and_the_lag() -> None:
    handler = Holding("add_environment")
    with emulated(handler) as (emulator, manager):
        manager.start()
        handler.wait_for("add_environment")
        for number in range(3):
            emulator.send_put()
            wait_until(lambda number=number: manager.status.queued_batches == number + 2)  # type: ignore[misc]
        lag = manager.status.lag
        wait_until(lambda: manager.status.lag > lag > 0)
        handler.released.set()
        wait_until(lambda: not manager.status.queued_batches)
        assert manager.status.lag == 0.0


def test_nothing_waits_for_the_handler_once_it_is_off() -> None:
    """What was not handled never will be, so there is no lag that could grow."""
    handler = CallingBack("close")
    with emulated(handler) as (_, manager):
        handler.manager = manager
        manager.start()
        assert handler.outcome.get(timeout=SECONDS) is True
        assert manager.close()
        assert (manager.status.queued_batches, manager.status.lag) == (0, 0.0)


def test_failed_calls_are_counted_and_pending_until_something_newer_comes() -> None:
    handler = Failing(lambda name, _: ValueError("no room") if name == "add_environment" else None)
    with emulated(handler, handler_errors=MUCH_LATER) as (emulator, manager):
        manager.start()
        handler.wait_for("received_all_environments")
        wait_until(lambda: (manager.status.failed_callbacks, manager.status.pending_retries) == (1, 1))
        emulator.delete_environment("e1")
        wait_until(lambda: not manager.status.pending_retries)
        assert manager.status.failed_callbacks == 1


@pytest.mark.parametrize("state", [VALID, INTERRUPTED, OFF])
def test_a_listener_may_close(state: StreamState) -> None:
    """In the reader's thread, or inside another close(); the end is told after it."""
    outcomes: list[bool] = []
    with emulated() as (emulator, manager):
        manager.add_status_listener(lambda status: outcomes.append(manager.close()) if status.state is state else None)
        told = Told(manager)
        manager.start()
        assert told.next().state is VALID
        if state is not VALID:
            emulator.drop_connections()
        if state is OFF:
            assert manager.close()
        assert manager.wait_for(OFF, SECONDS)
        assert manager.join(SECONDS)
        wait_until(lambda: OFF in told.left())
    assert outcomes == [True]


def test_waiting_inside_a_listener_is_an_error_unless_there_is_nothing_to_wait_for() -> None:
    """The listener's thread is the one that would bring the state about."""
    outcomes: queue.Queue[object] = queue.Queue()

    def wait(status: StreamStatus) -> None:
        for state in (status.state, OFF):
            try:
                outcomes.put(manager.wait_for(state))
            except RuntimeError as error:
                outcomes.put(error)

    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url) as manager:
        manager.add_status_listener(wait)
        manager.start()
        assert outcomes.get(timeout=SECONDS) is True
        assert isinstance(outcomes.get(timeout=SECONDS), RuntimeError)
        manager.remove_status_listener(wait)


def test_what_is_still_to_be_handled_counts_also_when_the_key_is_refused() -> None:
    """The stream is off then, but its changes come to the handler all the same."""
    handler = Holding("add_environment")
    with (
        ScriptedServer([[put_item("e1"), {"close": "eof"}], [{"status": 401}]]) as server,
        managed(server.url, handler) as manager,
    ):
        manager.start()
        assert manager.wait_for(OFF, SECONDS)
        assert manager.status.queued_batches == 1
        assert manager.status.lag > 0
        handler.released.set()
        with pytest.raises(KeyRejectedError):
            manager.join(SECONDS)
        assert (manager.status.queued_batches, manager.status.lag) == (0, 0.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")
def test_in_a_fork_it_is_off_and_says_why() -> None:
    """Although another thread is in the middle of telling a listener; the parent's own goes on."""
    program = f"""
import logging, os, sys, threading
from autoconfig import MessageHandler, StreamManager, StreamState
logging.disable()
inside, go_on = threading.Event(), threading.Event()
manager = StreamManager({KEY!r}, {NOWHERE!r}, type("Handler", (MessageHandler,), {{}})())
told = []
manager.add_status_listener(lambda status: (told.append(status.state.value), inside.set(), go_on.wait(30)))
manager.start()
assert inside.wait(30)
child = os.fork()
status = manager.status
if not child:
    print(status.state.value, status.last_error.kind.value, status.last_error.message, told,
          manager.close(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
go_on.set()
print(manager.status.state.value, manager.close(), manager.status.state.value)
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    why = "what was started before a fork runs in the parent process only; make and start a new one"
    assert done.stdout == f"OFF UNKNOWN {why} ['INITIALIZING'] True\nINITIALIZING True OFF\n"
    assert done.stderr == ""
