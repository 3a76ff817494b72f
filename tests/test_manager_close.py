"""The end of a manager, whoever asks for it; what the network is doing meanwhile is for ``tests/closing``."""

from __future__ import annotations

import logging
import threading

import pytest
from support.managing import CallingBack, library_threads, managed, manager_for
from support.recorder import LIMIT, Holding, Recorder
from support.samples import patch_item, put_item
from support.scripted_server import ScriptedServer
from support.waiting import wait_until

from autoconfig import ClosedError


def test_the_with_block_starts_and_closes() -> None:
    with ScriptedServer([[]]) as server:
        with manager_for(server.url) as manager:
            assert len(library_threads()) == 2
        assert library_threads() == {}
        with pytest.raises(ClosedError), manager:
            pass


def test_the_with_block_closes_when_it_is_left_by_an_error() -> None:
    with ScriptedServer([[]]) as server, pytest.raises(LookupError), manager_for(server.url):
        raise LookupError
    assert library_threads() == {}


def test_closing_before_start_is_fine() -> None:
    manager = manager_for()
    assert manager.close()
    assert manager.join()


def test_closing_again_is_fine() -> None:
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        manager.start()
        assert [manager.close(), manager.close(0), manager.close()] == [True, True, True]


def test_closing_from_two_threads_at_once() -> None:
    """Both return when everything has ended."""
    outcomes: list[tuple[bool, dict[str, threading.Thread]]] = []
    together = threading.Barrier(2)
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, recorder := Recorder()) as manager:
        manager.start()
        recorder.wait_for("received_all_environments")

        def close() -> None:
            together.wait(30)
            outcomes.append((manager.close(), library_threads()))

        closers = [threading.Thread(target=close) for _ in range(2)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(30)
    assert outcomes == [(True, {}), (True, {})]


def test_a_callback_that_closes_is_the_last() -> None:
    """In the middle of a put, with more waiting behind it."""
    handler = CallingBack("close")
    with (
        ScriptedServer([[put_item("e1", "e2", "e3"), patch_item("e4")]]) as server,
        managed(server.url, handler) as manager,
    ):
        handler.manager = manager
        manager.start()
        assert handler.outcome.get(timeout=30) is True
        assert manager.join(30)
    assert handler.names == ["add_environment"]


def test_closing_waits_for_a_running_callback_until_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    """It says which method it was; after the callback has returned, another close() succeeds."""
    handler = Holding()
    with ScriptedServer([[put_item()]]) as server, managed(server.url, handler) as manager:
        manager.start()
        assert handler.inside.wait(LIMIT)
        try:
            assert manager.close(0.05) is False
            (warning,) = wait_until(lambda: [one for one in caplog.records if "dispatcher" in one.getMessage()])
            assert warning.levelno == logging.WARNING
            assert "received_all_environments" in warning.getMessage()
        finally:
            handler.released.set()
        assert manager.close() is True
