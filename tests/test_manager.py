"""The life of a manager: start, close, join, and what it does in between."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from typing import Any

import pytest
import requests
from support.managing import NOWHERE, CallingBack, library_threads, managed, manager_for
from support.recorder import Recorder
from support.samples import patch_item, put_item
from support.scripted_server import ScriptedServer

from autoconfig import ClosedError, HTTPConfig, KeyRejectedError, StreamManager

NAME = re.compile(r"autoconfig-(reader|dispatcher)-(\d+)")


def test_the_handler_is_kept_in_step(recorder: Recorder) -> None:
    script = [[put_item("e1", "e2"), patch_item("e1", 2), {"close": "eof"}], [put_item("e1", version=2)]]
    with ScriptedServer(script) as server, managed(server.url, recorder) as manager:
        manager.start()
        recorder.wait_for("delete_environment")
        recorder.wait_for("received_all_environments")
    assert recorder.names == [
        "add_environment",
        "add_environment",
        "received_all_environments",
        "update_environment",
        "delete_environment",
        "received_all_environments",
    ]


def test_nothing_is_started_at_import_or_in_the_constructor() -> None:
    """No thread, no socket: seen in an interpreter that has done nothing else."""
    program = f"""
import os, socket, sys, threading

def forbidden(event, arguments):
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo", "_thread.start_new_thread", "os.fork"):
        raise AssertionError(event)

sys.addaudithook(forbidden)
import autoconfig
autoconfig.StreamManager("rel-1", {NOWHERE!r}, type("Handler", (autoconfig.MessageHandler,), {{}})())
assert threading.enumerate() == [threading.main_thread()]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_daemon_threads_of_one_number_are_started() -> None:
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        manager.start()
        found = library_threads()
        names = [NAME.fullmatch(name) for name in sorted(found)]
        assert [name and name[1] for name in names] == ["dispatcher", "reader"]
        assert len({name and name[2] for name in names}) == 1
        assert all(thread.daemon for thread in found.values())


def test_every_callback_comes_from_the_dispatchers_thread() -> None:
    seen: set[str] = set()

    class Looking(Recorder):
        def _record(self, name: str, argument: Any) -> None:
            seen.add(threading.current_thread().name)
            super()._record(name, argument)

    recorder = Looking()
    with (
        ScriptedServer([[put_item("e1"), patch_item("e1", 2), put_item()]]) as server,
        managed(server.url, recorder) as manager,
    ):
        manager.start()
        recorder.wait_for("delete_environment")
    (name,) = seen
    assert name.startswith("autoconfig-dispatcher-")


def test_starting_twice_is_an_error() -> None:
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        ready = manager.start()
        with pytest.raises(RuntimeError, match="started"):
            manager.start()
        assert len(library_threads()) == 2
        assert ready.result(30) is None


def test_a_closed_manager_cannot_be_started() -> None:
    with managed() as manager:
        assert manager.close()
        with pytest.raises(ClosedError):
            manager.start()
    assert library_threads() == {}


def test_a_thread_that_cannot_be_started_is_an_error_that_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have no more threads to give. close() ends what there is."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "reader" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with managed() as manager, pytest.raises(RuntimeError, match="can't start new thread"):
        manager.start()
    assert library_threads() == {}


@pytest.mark.parametrize("delay", [0, -3])
def test_a_retry_delay_of_nothing_means_a_second(delay: float, caplog: pytest.LogCaptureFixture) -> None:
    """Told by the reader when it says when it tries again."""
    with (
        ScriptedServer([[{"status": 503}]] * 2) as server,
        managed(server.url, initial_retry_delay=delay, retry_policy=None) as manager,
    ):
        manager.start()
        server.wait_for_requests(2)
    delays = [float(text) for text in re.findall(r"in (\d\.\d+) s", caplog.text)]
    assert 0.5 <= delays[0] <= 1.0


@pytest.mark.parametrize("error", [LookupError("no session"), SystemExit(1)], ids=repr)
def test_a_session_factory_that_raises_is_asked_again(error: BaseException) -> None:
    """It runs in the reader's thread, which has to live on whatever is raised there."""
    left = [error]

    def factory() -> requests.Session:
        if left:
            raise left.pop()
        return requests.Session()

    with (
        ScriptedServer([[]]) as server,
        managed(server.url, http_config=HTTPConfig(session_factory=factory)) as manager,
    ):
        assert manager.start().result(30) is None


# Join


def test_join_before_start_is_an_error() -> None:
    with managed() as manager, pytest.raises(RuntimeError, match="not started"):
        manager.join(0)


def test_join_returns_at_its_timeout() -> None:
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        manager.start()
        assert manager.join(0) is False
        assert manager.join(0.01) is False


def test_everyone_who_waits_is_woken_by_close() -> None:
    outcomes: list[bool] = []
    with ScriptedServer([[]]) as server, managed(server.url) as manager:
        manager.start()
        waiting = [threading.Thread(target=lambda: outcomes.append(manager.join())) for _ in range(3)]
        for thread in waiting:
            thread.start()
        assert manager.close()
        for thread in waiting:
            thread.join(30)
    assert outcomes == [True] * 3


def test_join_inside_a_callback_is_an_error() -> None:
    """It would wait for itself."""
    handler = CallingBack("join")
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, handler) as manager:
        handler.manager = manager
        manager.start()
        assert isinstance(handler.outcome.get(timeout=30), RuntimeError)


# Loggers and neighbours


def test_everything_is_logged_to_the_given_logger(caplog: pytest.LogCaptureFixture) -> None:
    """Also what the reader, the dispatcher and the version logic say."""
    log = logging.getLogger("application.stream")
    caplog.set_level(logging.DEBUG)
    malformed = {"event": "patch", "data": "{"}
    script = [[{"status": 503}], [put_item("e1"), patch_item("e1"), malformed], [{"status": 401}]]
    with ScriptedServer(script) as server, managed(server.url, logger=log) as manager:
        manager.start()
        with pytest.raises(KeyRejectedError):
            manager.join(30)
    names = {record.name for record in caplog.records if record.name.partition(".")[0] != "urllib3"}
    assert names == {"application.stream"}
    for part in "HTTP status 503", "Connected", "Received all", "Ignored", "malformed", "rejected":
        assert part in caplog.text


def test_the_default_logger_is_the_librarys(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, recorder := Recorder()) as manager:
        manager.start()
        recorder.wait_for("received_all_environments")
    assert {record.name for record in caplog.records if record.name.partition(".")[0] != "urllib3"} == {"autoconfig"}


def test_several_managers_do_not_know_of_each_other() -> None:
    """Each has its handler, its threads and its end."""
    recorders = [Recorder(), Recorder(), Recorder()]
    with ScriptedServer([[put_item(f"e{number}")] for number in range(3)]) as server:
        managers: list[StreamManager] = []
        try:
            for number, recorder in enumerate(recorders):
                managers.append(manager_for(server.url, recorder))
                managers[-1].start()
                assert recorder.wait_for("add_environment").env_id == f"e{number}"
            assert len({(found := NAME.fullmatch(name)) and found[2] for name in library_threads()}) == 3
            assert managers[0].close()
            assert managers[1].join(0) is False
            assert len(library_threads()) == 4
        finally:
            assert all(manager.close() for manager in managers)


def test_when_there_is_no_second_thread_the_first_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """``with`` would not close what it could not enter."""
    start = threading.Thread.start

    def start_one(thread: threading.Thread) -> None:
        if "reader" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    manager = manager_for()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        manager.start()
    assert isinstance(manager.connected.exception(0), ClosedError)
    assert manager.join(30)
    assert library_threads() == {}
