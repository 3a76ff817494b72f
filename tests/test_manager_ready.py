"""The future that ``start()`` returns, and what ``join()`` says later."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest
from support.managing import KEY, managed, manager_for
from support.recorder import Recorder
from support.samples import put_item
from support.scripted_server import Item, ScriptedServer

from autoconfig import ClosedError, KeyRejectedError, StreamManager

REJECTED = [401, 403]


def test_it_is_done_when_the_service_answers_with_a_stream() -> None:
    """Before any event."""
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        assert manager.start().result(30) is None


def test_it_waits_for_the_first_answer_that_is_a_stream() -> None:
    script: list[list[Item]] = [
        [{"status": 500}],
        [{"status": 200, "headers": {"Content-Type": "text/html"}}],
        [{"status": 404}],
        [],
    ]
    # The delay after a 404 is 300 times the first one.
    with ScriptedServer(script) as server, managed(server.url, initial_retry_delay=0.001) as manager:
        assert manager.start().result(30) is None
        assert len(server.requests) == 4


def test_it_stays_as_it_was_when_the_connection_is_lost() -> None:
    with ScriptedServer([[{"close": "eof"}], [{"status": 503}], []]) as server, managed(server.url) as manager:
        ready = manager.start()
        server.wait_for_requests(3)
        assert ready.result(0) is None


@pytest.mark.parametrize("status", REJECTED)
def test_a_refused_key_is_its_exception(status: int) -> None:
    with ScriptedServer([[{"status": status}]]) as server, managed(server.url) as manager:
        error = manager.start().exception(30)
        assert isinstance(error, KeyRejectedError)
        assert error.status == status
        assert KEY not in str(error)


@pytest.mark.parametrize("status", REJECTED)
def test_join_says_each_time_that_the_key_was_refused(status: int) -> None:
    """Also after close(), and with an exception of its own: a traceback grows each time its exception is raised."""
    with ScriptedServer([[{"status": status}]]) as server, managed(server.url) as manager:
        manager.start()
        errors = []
        for _ in range(3):
            with pytest.raises(KeyRejectedError) as caught:
                manager.join(30)
            errors.append(caught.value)
        assert manager.close()
        with pytest.raises(KeyRejectedError):
            manager.join()
        assert {error.status for error in errors} == {status}
        assert len({id(error) for error in errors}) == 3
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", REJECTED)
def test_a_key_that_is_refused_later_ends_the_stream(status: int) -> None:
    """The future was done; join() tells, once all that came before has been handed over."""
    script = [[put_item("e1"), {"close": "eof"}], [{"status": status}]]
    with ScriptedServer(script) as server, managed(server.url) as manager:
        ready = manager.start()
        with pytest.raises(KeyRejectedError):
            manager.join(30)
        assert ready.result(0) is None


def test_no_thread_is_left_after_a_refused_key() -> None:
    """Without close(): the test's own guard against threads that are left would find them."""
    with ScriptedServer([[{"status": 401}]]) as server:
        manager = manager_for(server.url)
        manager.start()
        with pytest.raises(KeyRejectedError):
            manager.join(30)


def test_closing_first_is_its_exception() -> None:
    with ScriptedServer([[{"status": 503}]] * 10_000) as server, managed(server.url) as manager:
        ready = manager.start()
        server.wait_for_requests(2)
        assert not ready.done()
        assert manager.close()
        assert isinstance(ready.exception(0), ClosedError)


def test_closing_later_does_not_change_it() -> None:
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        ready = manager.start()
        ready.result(30)
        assert manager.close()
        assert ready.result(0) is None


def test_it_cannot_be_cancelled() -> None:
    """It is the manager's to settle: a cancelled one would be an error in the reader."""
    with ScriptedServer([[{"status": 503}]] * 3) as server, managed(server.url) as manager:
        ready = manager.start()
        assert ready.cancel() is False
        assert ready.result(30) is None


@pytest.mark.parametrize("script", [[[]], [[{"status": 401}]], []], ids=["connected", "refused", "closed-first"])
def test_a_done_callback_may_close_the_manager(script: list[list[Item]]) -> None:
    """In whichever thread it runs; for the last case, in that of another close()."""
    outcomes: list[bool] = []
    done = threading.Event()

    def close(manager: StreamManager) -> None:
        outcomes.append(manager.close())
        done.set()

    with ScriptedServer(script or [[{"status": 503}]] * 10_000) as server, managed(server.url) as manager:
        ready = manager.start()
        ready.add_done_callback(lambda _: close(manager))
        if not script:
            manager.close()
        assert done.wait(30)
        assert outcomes == [True]
        try:
            assert manager.join(30)
        except KeyRejectedError:
            assert script[0] == [{"status": 401}]


@pytest.mark.parametrize("error", [LookupError("a bug"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_a_done_callback_that_raises_does_not_stop_the_stream(error: BaseException) -> None:
    """It runs in the reader's thread, which has to live on whatever is raised there."""

    def fail(_: Future[None]) -> None:
        raise error

    recorder = Recorder()
    with ScriptedServer([[put_item("e1")], [put_item("e1")]]) as server, managed(server.url, recorder) as manager:
        manager.connected.add_done_callback(fail)
        manager.start()
        recorder.wait_for("add_environment")
        assert manager.join(0) is False
