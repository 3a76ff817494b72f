"""The two threads: what ends them is noticed, what they keep, and what becomes of them without their manager."""

from __future__ import annotations

import contextvars
import gc
import logging
import queue
import threading
import weakref

import pytest
from support.managing import KEY, NOWHERE, library_threads, managed, manager_for
from support.recorder import Recorder
from support.samples import patch_item, put_item
from support.scripted_server import ScriptedServer

from autoconfig import ErrorKind, NotReadyError, StreamManager, StreamState
from autoconfig.dispatch.dispatcher import Dispatcher
from autoconfig.environments import EnvironmentParams
from autoconfig.stream.reader import StreamReader

SECONDS = 30.0  # a deadline for what takes milliseconds
ERRORS = [LookupError("a bug"), SystemExit(3), KeyboardInterrupt("no key")]


class Falling(logging.Handler):
    """Raises for each line what is no ``Exception``."""

    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit(9)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("owner", "method"), [(StreamReader, "_follow"), (StreamReader, "run"), (Dispatcher, "run")])
def test_a_thread_that_fails_is_critical_and_ends_the_stream(
    owner: type,
    method: str,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the error in the status and in ``join()``; what the reader can survive, it survives."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(owner, method, fail)
    with ScriptedServer([[put_item("e1")]] * 3) as server, managed(server.url) as manager:
        future = manager.start()
        if method == "_follow":
            assert server.wait_for_requests(2) is None
            assert manager.join(0) is False
            return
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                manager.join(SECONDS)
            assert caught.value is error
        with pytest.raises(type(error)):
            manager.wait_until_ready(SECONDS)
        status = manager.status
        assert (status.state, future.done()) == (StreamState.OFF, True)
        assert status.last_error
        assert (status.last_error.kind, status.errors[ErrorKind.UNKNOWN]) == (ErrorKind.UNKNOWN, 1)
        (line,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
        assert line.getMessage() == "The stream has ended, because its thread failed"
        assert line.exc_info
        assert line.exc_info[1] is error


def test_a_log_handler_that_leaves_the_thread_is_not_heard() -> None:
    """``SystemExit`` is no ``Exception``; the stream goes on, and its threads are there."""
    logger = logging.Logger("falling")  # noqa: LOG001  # of its own, because its handler must not stay
    logger.addHandler(Falling())
    recorder = Recorder()
    script = [[put_item("e1"), patch_item("e2")]]
    with ScriptedServer(script) as server, managed(server.url, recorder, logger=logger) as manager:
        manager.start()
        recorder.wait_for_calls(3)
        assert len(library_threads()) == 2
        assert manager.status.state is StreamState.VALID


def test_the_threads_know_nothing_of_the_context_in_which_they_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some package hands the context on to each new thread, as OpenTelemetry and Sentry do."""
    visitor = contextvars.ContextVar("visitor", default="nobody")
    seen: queue.Queue[str] = queue.Queue()

    class Asking(Recorder):
        def add_environment(self, params: EnvironmentParams) -> None:
            seen.put(visitor.get())

    def read_key() -> str:
        seen.put(visitor.get())
        return KEY

    start = threading.Thread.start

    def start_with_context(thread: threading.Thread) -> None:
        context, run = contextvars.copy_context(), thread.run
        monkeypatch.setattr(thread, "run", lambda: context.run(run))
        start(thread)

    with ScriptedServer([[put_item("e1")]]) as server:
        manager = StreamManager(read_key, server.url, Asking())
        visitor.set("the first one")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start_with_context)
            manager.start()
        assert [seen.get(timeout=SECONDS) for _ in range(2)] == ["nobody", "nobody"]
        assert manager.close()


@pytest.mark.parametrize("script", [[[put_item("e1")]], [[]], [[{"status": 503}]] * 100])
def test_a_manager_that_is_dropped_is_a_warning_and_its_threads_end(script: list[list[dict[str, object]]]) -> None:
    """They do not keep it alive."""
    with ScriptedServer(script) as server:
        manager = manager_for(server.url)
        manager.start()
        server.wait_for_requests(1)
        threads, gone = library_threads(), weakref.ref(manager)
        with pytest.warns(ResourceWarning, match=r"^<StreamManager rel-…\w+ at .*> was dropped without close\(\)$"):
            del manager
        gc.collect()
        assert gone() is None
        assert len(threads) == 2
        for thread in threads.values():
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_a_manager_that_is_dropped_leaves_no_descriptor_open(recwarn: pytest.WarningsRecorder) -> None:
    """The reader lets go of the socket while it is being shut down by who drops the manager: a race, so tried often."""
    gc.collect()
    recwarn.clear()  # of what other tests have left
    with ScriptedServer([[put_item("e1")]] * 50) as server:
        for number in range(1, 51):
            manager = manager_for(server.url)
            manager.start()
            server.wait_for_requests(number)
            threads = library_threads()
            del manager
            gc.collect()
            for thread in threads.values():
                thread.join(SECONDS)
                assert not thread.is_alive(), number
        del threads, thread
        gc.collect()
    assert [str(warning.message) for warning in recwarn if "was dropped" not in str(warning.message)] == []


@pytest.mark.parametrize("end", ["never started", "closed", "refused"])
def test_a_manager_that_has_ended_may_be_dropped(end: str, recwarn: pytest.WarningsRecorder) -> None:
    gc.collect()
    recwarn.clear()  # of what other tests have left
    with ScriptedServer([[{"status": 401}]]) as server:
        manager = manager_for(server.url)
        if end != "never started":
            assert manager.start().exception(SECONDS)
        if end == "closed":
            assert manager.close()
        elif end == "refused":
            for thread in library_threads().values():
                thread.join(SECONDS)
        del manager
        gc.collect()
    assert list(recwarn) == []


def test_lines_name_their_stream_while_there_are_two(caplog: pytest.LogCaptureFixture) -> None:
    """By its number, which is in the names of the threads too, and by the masked key."""
    caplog.set_level(logging.INFO, "autoconfig")
    with ScriptedServer([[put_item("e1")], [put_item("e1")]]) as server, managed(server.url) as first:
        first.start()
        first.wait_until_ready(SECONDS)
        alone = len(caplog.messages)
        with managed(server.url) as second:
            before = set(library_threads())
            second.start()
            second.wait_until_ready(SECONDS)
            (number,) = {name.rpartition("-")[2] for name in set(library_threads()) - before}
            both = len(caplog.messages)
    assert alone >= 2
    assert [text for text in caplog.messages[:alone] if text.startswith("[")] == []
    lines = caplog.messages[alone:both]
    assert lines
    assert [text for text in lines if not text.startswith(f"[{number} rel-…{KEY[-4:]}] ")] == []


def test_slow_callbacks_may_be_nobodys_concern(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Recorder):
        def add_environment(self, params: EnvironmentParams) -> None:
            threading.Event().wait(0.05)

    for limit, count in ((0.01, 1), (None, 0)):
        caplog.clear()
        with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, Slow(), slow_callback=limit) as manager:
            manager.start()
            manager.wait_until_ready(SECONDS)
        # Of that call alone: any other may be held up, too, by the machine.
        assert len([text for text in caplog.messages if "add_environment took" in text]) == count


def test_the_service_is_launchdarklys_unless_said_otherwise() -> None:
    """Then the handler is given by its name; without one there is an error that says so."""
    manager = StreamManager(KEY, handler=Recorder())
    assert repr(manager).endswith(" at https://stream.launchdarkly.com/relay_auto_config>")
    with pytest.raises(TypeError, match=r"^handler is missing"):
        StreamManager(KEY)


@pytest.mark.parametrize(
    ("version", "query"), [(2, "?rpacProtocolVersion=2"), (1, ""), (0, ""), (-5, ""), (7, "?rpacProtocolVersion=7")]
)
def test_any_protocol_version_will_do(version: int, query: str) -> None:
    """As in the Go relay, only what is above 1 is asked for."""
    with ScriptedServer([[]]) as server, managed(server.url, protocol_version=version) as manager:
        manager.start().result(SECONDS)
        assert server.requests[0].target == f"/relay_auto_config{query}"


def test_not_ready_is_no_failure_of_the_stream() -> None:
    with managed(NOWHERE) as manager:
        manager.start()
        with pytest.raises(NotReadyError):
            manager.wait_until_ready(0.01)
        assert manager.join(0) is False
