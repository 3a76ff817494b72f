"""What a manager can be told: where the key comes from, and what failing and slow calls of the handler lead to."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from support.managing import KEY, NOWHERE, QUICK, managed
from support.recorder import Failing, Recorder
from support.samples import environment, payload_filter
from support.scripted_server import ScriptedServer
from support.waiting import wait_until

from autoconfig import HandlerErrors, HTTPConfig, KeyRejectedError, RetryPolicy, StreamManager, StreamState
from autoconfig.dispatch import calls
from autoconfig.keys import KeySource
from autoconfig.testing import Emulator

OTHER = "rel-7d42a91c-3f0e-4d15-8b6a-c05e9f24d713"
SECONDS = 30.0  # a deadline for what takes milliseconds
SOON = RetryPolicy(max_delay=0.02, jitter=0.0)
SLOW_BUT_SOON = RetryPolicy(max_delay=1e-4, jitter=0.0)  # 300 and 120 times of it are milliseconds
RULE = "key must be printable ASCII, with no line break and no space at either end"
SLOW = ["add_environment", "add_filter"]
ENVIRONMENTS, FILTERS = [environment("e1")], {"f1": payload_filter("f1")}


class Source:
    """A key that a test changes: in a file, or asked for."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._path = folder / "key"
        self._key = ""
        sources: dict[str, KeySource] = {"file": self._path, "function": lambda: self._key}
        self.source = sources[kind]

    def set(self, key: str) -> None:
        self._key = key
        fresh = self._path.with_suffix(".new")
        fresh.write_text(key, "utf-8", newline="")
        os.replace(fresh, self._path)


@pytest.fixture(params=["file", "function"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return Source(request.param, tmp_path)


def manager_of(source: KeySource, url: str, **options: Any) -> StreamManager:
    return StreamManager(source, url, Recorder(), **{"retry_policy": QUICK, "initial_retry_delay": 0.01, **options})


def test_a_changed_key_is_used_from_the_next_connection_on(source: Source) -> None:
    source.set(KEY)
    with Emulator(key=KEY) as emulator, manager_of(source.source, emulator.uri) as manager:
        assert manager.wait_for(StreamState.VALID, SECONDS)
        emulator.key = OTHER
        source.set(OTHER)
        emulator.drop_connections()
        wait_until(lambda: manager.status.events_received == 2)
        assert [request.headers["authorization"] for request in emulator.requests] == [KEY, OTHER]


def test_white_space_around_the_key_in_a_file_is_not_sent(tmp_path: Path) -> None:
    (path := tmp_path / "key").write_text(f"{KEY}\n")
    with Emulator(key=KEY) as emulator, manager_of(path, emulator.uri) as manager:
        assert manager.wait_for(StreamState.VALID, SECONDS)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("function", ["key", "session"])
def test_a_function_may_raise_anything(function: str, error: type[BaseException]) -> None:
    """The reader's thread lives on, and the reason names what was being done."""
    calls: list[None] = []

    def fail_once() -> None:
        calls.append(None)
        if len(calls) == 1:
            raise error

    def key() -> str:
        if function == "key":
            fail_once()
        return KEY

    def session() -> requests.Session:
        if function == "session":
            fail_once()
        return requests.Session()

    config = HTTPConfig(session_factory=session)
    with Emulator(key=KEY) as emulator, manager_of(key, emulator.uri, http_config=config) as manager:
        assert manager.wait_for(StreamState.VALID, SECONDS)
        status = manager.status
    doing = {"key": "read the key", "session": "make a session"}[function]
    assert status.last_error
    assert status.last_error.message == f"cannot {doing}: unexpected error ({error.__name__})"


@pytest.mark.parametrize(
    ("bad", "text"),
    [("", "key must not be empty"), (f"{KEY}\n{OTHER}", RULE), (f"{KEY}\r\nX: 1", RULE), ("ключ", RULE)],
)
def test_a_bad_key_is_tried_again_and_the_line_names_the_rule(
    bad: str, text: str, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing of the key. No request is made with it."""
    source.set(bad)
    with Emulator(key=KEY) as emulator, manager_of(source.source, emulator.uri) as manager:
        wait_until(lambda: manager.status.failed_attempts)
        assert emulator.requests == []
        source.set(KEY)
        assert manager.wait_for(StreamState.VALID, SECONDS)
        status = manager.status
    assert f"The stream failed: cannot read the key: {text}; next attempt" in caplog.text
    assert status.last_error
    assert status.last_error.message == f"cannot read the key: {text}"
    assert not any(part in caplog.text for part in (KEY, OTHER, "ключ"))


@pytest.mark.parametrize("error", [LookupError(KEY), ValueError(KEY), SystemExit(KEY)], ids=lambda e: type(e).__name__)
def test_a_function_that_raises_is_asked_again(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """The line has the error's kind, and none of its text, which could hold the key."""
    errors = [error]

    def ask() -> str:
        if errors:
            raise errors.pop()
        return KEY

    with Emulator(key=KEY) as emulator, manager_of(ask, emulator.uri) as manager:
        assert manager.wait_for(StreamState.VALID, SECONDS)
    assert type(error).__name__ in next(text for text in caplog.messages if "The stream failed" in text)
    assert KEY not in caplog.text


def test_a_file_that_is_not_there_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(key=KEY) as emulator, manager_of(path := tmp_path / "key", emulator.uri) as manager:
        wait_until(lambda: manager.status.failed_attempts)
        path.write_text(KEY)
        assert manager.wait_for(StreamState.VALID, SECONDS)
    assert "cannot read the key: No such file or directory" in caplog.text


def test_a_function_is_asked_in_the_readers_thread_before_each_attempt() -> None:
    threads: list[str] = []

    def ask() -> str:
        threads.append(threading.current_thread().name)
        return KEY

    with ScriptedServer([[{"status": 503}]] * 3) as server, manager_of(ask, server.url):
        server.wait_for_requests(4)
    assert len(threads) == 4
    assert all(name.startswith("autoconfig-reader-") for name in threads)


def test_a_manager_shows_where_its_key_comes_from(tmp_path: Path) -> None:
    shown = [repr(manager_of(source, NOWHERE)) for source in (KEY, tmp_path / "key", lambda: KEY)]
    end = f"at {NOWHERE}/relay_auto_config>"
    kinds = ["rel-…9f2a", f"the key in {str(tmp_path / 'key')!r}", "a key that is asked for"]
    assert shown == [f"<StreamManager {kind} {end}" for kind in kinds]


@pytest.mark.parametrize("options", [{}, {"on_rejected_key": "stop"}])
def test_a_refused_key_ends_the_stream(options: dict[str, Any]) -> None:
    with ScriptedServer([[{"status": 401}]]) as server, managed(server.url, **options) as manager:
        with pytest.raises(KeyRejectedError):
            manager.start().result(SECONDS)
        assert manager.wait_for(StreamState.OFF, SECONDS)
        assert len(server.requests) == 1


def test_a_refused_key_is_tried_again_if_so_told(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """Which is for keys that are replaced: the stream begins when the right one is there."""
    source.set(OTHER)
    options: dict[str, Any] = {"on_rejected_key": "retry", "retry_policy": SLOW_BUT_SOON, "initial_retry_delay": 1e-5}
    with Emulator(key=KEY) as emulator, manager_of(source.source, emulator.uri, **options) as manager:
        wait_until(lambda: manager.status.failed_attempts >= 3)
        assert (manager.status.state, manager.connected.done()) == (StreamState.INITIALIZING, False)
        source.set(KEY)
        assert manager.connected.result(SECONDS) is None
        assert manager.wait_for(StreamState.VALID, SECONDS)
    assert "the service rejected the auto-configuration key (HTTP status 401); next attempt in" in caplog.text


@pytest.mark.parametrize("value", ["", "Stop", "ignore", None, True, ["stop"]])
def test_another_way_to_take_a_refusal_is_an_error(value: Any) -> None:
    with pytest.raises(ValueError, match="on_rejected_key must be 'stop' or 'retry'"):
        manager_of(KEY, NOWHERE, on_rejected_key=value)


def test_an_idle_dispatcher_waits_without_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never wakes up to look; with a change pending it waits until that is due."""
    timeouts: list[float | None] = []
    get = queue.Queue.get

    def note(self: queue.Queue[Any], block: bool = True, timeout: float | None = None) -> Any:
        if block and threading.current_thread().name.startswith("autoconfig-dispatcher-"):
            timeouts.append(timeout)
        return get(self, block, timeout)

    monkeypatch.setattr(queue.Queue, "get", note)
    failing: list[ValueError] = []
    handler = Failing(lambda *_: failing[0] if failing else None)
    errors = HandlerErrors(initial_delay=60.0)
    with (
        Emulator(ENVIRONMENTS, FILTERS, key=KEY) as emulator,
        managed(emulator.uri, handler, handler_errors=errors) as manager,
    ):
        manager.start()
        wait_until(lambda: len(timeouts) == 2)
        failing.append(ValueError("no room"))
        emulator.delete_environment("e1")
        wait_until(lambda: len(timeouts) == 3)
        failing.clear()
        emulator.set_environment(environment("e1", 5))
        wait_until(lambda: len(timeouts) == 4)
    assert [*timeouts[:2], timeouts[3]] == [None, None, None]
    assert timeouts[2]
    assert 0 < timeouts[2] <= 60


@pytest.mark.parametrize(
    ("options", "slow"), [({}, SLOW), ({"slow_callback": 6.5}, SLOW), ({"slow_callback": 7.5}, [])]
)
def test_a_slow_call_is_a_warning_with_the_methods_name(
    options: dict[str, Any],
    slow: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One for each that takes longer than ``slow_callback``, which is 5 s if nothing is said."""
    now = [1000.0]
    monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def work(name: str, _: object) -> None:
        now[0] += 7.0 if name.startswith("add_") else 1.0

    handler = Failing(work)
    with Emulator(ENVIRONMENTS, FILTERS, key=KEY) as emulator, managed(emulator.uri, handler, **options) as manager:
        manager.start()
        handler.wait_for("received_all_environments")
    warned = [record for record in caplog.records if "later calls waited" in record.getMessage()]
    assert [record.args[0] for record in warned if record.args] == slow  # type: ignore[index]
    assert all(record.levelno == logging.WARNING for record in warned)


@pytest.mark.parametrize(
    ("call", "named", "error"),
    [
        (lambda: manager_of(KEY, NOWHERE, slow_callback=0), "slow_callback", ValueError),
        (lambda: manager_of(KEY, NOWHERE, slow_callback="5"), "slow_callback", TypeError),
        (lambda: manager_of(KEY, NOWHERE, handler_errors=SOON), "handler_errors", TypeError),
        (lambda: manager_of(KEY, NOWHERE).wait_for("VALID", 1), "state", TypeError),  # type: ignore[arg-type]
        (lambda: manager_of(KEY, NOWHERE).wait_for(StreamState.VALID, -1), "timeout", ValueError),
        (lambda: manager_of(KEY, NOWHERE).wait_for(StreamState.VALID, True), "timeout", TypeError),
    ],
)
def test_other_bad_arguments_are_errors_that_name_them(
    call: Callable[[], object], named: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=named):
        call()
