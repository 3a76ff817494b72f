"""``wait_until_ready()``, and what every wait refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.managing import NOWHERE, CallingBack, managed, manager_for
from support.recorder import Holding
from support.samples import put_item
from support.scripted_server import ScriptedServer

from autoconfig import AutoConfigError, ClosedError, KeyRejectedError, NotReadyError, StreamManager, StreamState

SECONDS = 30.0  # a deadline for what takes milliseconds
WAITS: dict[str, Callable[[StreamManager], object]] = {
    "wait_until_ready": lambda manager: manager.wait_until_ready(),
    "wait_for": lambda manager: manager.wait_for(StreamState.VALID),
    "join": lambda manager: manager.join(),
}


def test_ready_is_when_everything_was_handed_over() -> None:
    """Not when the stream is connected, nor when the put has come, but after ``received_all_environments``."""
    handler = Holding("received_all_environments")
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, handler) as manager:
        manager.start()
        assert handler.inside.wait(SECONDS)
        with pytest.raises(NotReadyError):
            manager.wait_until_ready(0)
        handler.released.set()
        manager.wait_until_ready(SECONDS)
        manager.wait_until_ready()


def test_it_stays_ready() -> None:
    """Also when the stream is off: what was handed over is there."""
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url) as manager:
        manager.start()
        manager.wait_until_ready(SECONDS)
        assert manager.close()
        manager.wait_until_ready(0)


def test_a_timeout_tells_the_last_error() -> None:
    """As the built-in TimeoutError, and as one of ours; on Python 3.10, too."""
    with ScriptedServer([[{"status": 503}]] * 10_000) as server, managed(server.url) as manager:
        manager.start()
        server.wait_for_requests(2)
        with pytest.raises(TimeoutError) as caught:
            manager.wait_until_ready(0.01)
        assert isinstance(caught.value, AutoConfigError)
        assert str(caught.value) == (
            "no full configuration within 0.01 s; the stream is INITIALIZING, "
            "the last error was: unexpected HTTP status 503"
        )


def test_a_timeout_without_an_error() -> None:
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        manager.start().result(SECONDS)
        with pytest.raises(NotReadyError, match=r"within 0 s; the stream is INITIALIZING, there was no error$"):
            manager.wait_until_ready(0)


def test_a_refused_key_ends_the_wait() -> None:
    with ScriptedServer([[{"status": 401}]]) as server, managed(server.url) as manager:
        manager.start()
        for _ in range(2):
            with pytest.raises(KeyRejectedError):
                manager.wait_until_ready(SECONDS)


def test_close_ends_the_wait() -> None:
    with ScriptedServer([[]]) as server, managed(server.url) as manager, ThreadPoolExecutor(1) as pool:
        manager.start().result(SECONDS)
        waiting = pool.submit(manager.wait_until_ready)
        assert manager.close()
        with pytest.raises(ClosedError, match="before the first full configuration"):
            waiting.result(SECONDS)


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_manager_that_was_not_started_is_not_waited_for(wait: Callable[[StreamManager], object]) -> None:
    """It would be for ever."""
    manager = manager_for()
    with pytest.raises(RuntimeError, match="not started"):
        wait(manager)


def test_a_manager_that_was_closed_before_its_start() -> None:
    manager = manager_for()
    assert manager.close()
    with pytest.raises(ClosedError):
        manager.wait_until_ready()
    assert manager.wait_for(StreamState.OFF)
    assert not manager.wait_for(StreamState.VALID)
    assert manager.join()


def test_waiting_inside_a_callback_is_an_error() -> None:
    handler = CallingBack("wait_until_ready")
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, handler) as manager:
        handler.manager = manager
        manager.start()
        error = handler.outcome.get(timeout=SECONDS)
        assert isinstance(error, RuntimeError)
        assert "inside a callback" in str(error)


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), (True, TypeError), (-1, ValueError)])
def test_a_timeout_has_to_be_a_number_of_seconds(timeout: Any, error: type[Exception]) -> None:
    with managed(NOWHERE) as manager, pytest.raises(error, match="timeout"):
        manager.wait_until_ready(timeout)


def test_many_may_wait_and_all_are_told() -> None:
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url) as manager, ThreadPoolExecutor(8) as pool:
        manager.start()
        waiting = [pool.submit(manager.wait_until_ready, SECONDS) for _ in range(8)]
        assert [one.result(SECONDS) for one in waiting] == [None] * 8


def test_an_idle_stream_is_closed_without_time_to_wait() -> None:
    """A timeout of zero is for a running callback; there is none."""
    for _ in range(10):
        with ScriptedServer([[put_item("e1")]]) as server, managed(server.url) as manager:
            manager.start()
            manager.wait_until_ready(SECONDS)
            begun = time.monotonic()
            assert manager.close(timeout=0) is True
            assert time.monotonic() - begun < 5


def test_the_future_is_there_from_the_start() -> None:
    with managed(NOWHERE) as manager:
        assert manager.connected is manager.connected
        assert manager.start() is manager.connected
