"""One call of the handler: what it may raise, how long it may take, and who is told of it."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from support.dispatching import Clock
from support.recorder import Failing, Recorder

from autoconfig import HandlerErrors, HandlerFailure, MessageHandler
from autoconfig.dispatch.calls import HandlerCalls, StoppedError
from autoconfig.status_tracker import StatusTracker
from autoconfig.stream.cancel import CancelToken

METHODS = [
    "add_environment",
    "update_environment",
    "delete_environment",
    "received_all_environments",
    "add_filter",
    "delete_filter",
]
ERRORS = [ValueError("no room"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
LOG = logging.getLogger("autoconfig")
KEY = "sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def calls_of(
    handler: MessageHandler, token: CancelToken | None = None, errors: HandlerErrors | None = None
) -> tuple[HandlerCalls, StatusTracker]:
    """Return what calls a handler, and the status that it tells; a call of more than 5 s is slow."""
    status = StatusTracker(LOG)
    errors = errors or HandlerErrors()
    return HandlerCalls(
        handler, token or CancelToken(), errors=errors, slow_after=5.0, status=status, logger=LOG
    ), status


def failure(id: str = "e1", next_attempt_in: float | None = None, error: BaseException = ERRORS[0]) -> HandlerFailure:
    return HandlerFailure("add_environment", id, error, 1, next_attempt_in)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_called_by_its_name(method: str, recorder: Recorder) -> None:
    one, _ = calls_of(recorder)
    arguments = [] if method == "received_all_environments" else ["argument"]
    assert one.call(one.method(method), *arguments) is None
    assert recorder.calls == [(method, arguments[0] if arguments else None)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_it_raises_is_returned(error: BaseException) -> None:
    one, status = calls_of(Failing(lambda *_: error))
    assert one.call(one.method("add_filter"), "argument") is error
    assert status.failed_callbacks == 0, "that is for failed() to count"


def test_nothing_is_called_once_the_token_is_cancelled(recorder: Recorder) -> None:
    token = CancelToken()
    one, _ = calls_of(recorder, token)
    token.cancel()
    with pytest.raises(StoppedError):
        one.call(one.method("add_environment"), "argument")
    assert recorder.calls == []


def test_a_handler_whose_own_manager_is_closed_has_failed() -> None:
    """
    Its calls end nothing here: the stream that calls it now goes on.

    That is a ready-made handler which an object of the application's has passed on from one manager to another.
    """
    one, _ = calls_of(Failing(lambda *_: StoppedError()))
    error = one.call(one.method("add_environment"), "argument")
    assert str(error) == "the manager that this handler was given to is closed"


@pytest.mark.parametrize("error", [None, *ERRORS], ids=lambda error: type(error).__name__)
def test_the_running_method_is_known_while_it_runs(error: BaseException | None) -> None:
    """So that close() can say where it gave up; afterwards there is none, however it ended."""
    running: list[str | None] = []

    def look(*_: object) -> BaseException | None:
        running.append(one.running)
        return error

    one, _ = calls_of(Failing(look))
    assert one.running is None
    one.call(one.method("delete_filter"), "f1")
    assert running == ["delete_filter"]
    assert one.running is None


@pytest.mark.parametrize("error", [None, *ERRORS], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", METHODS)
def test_a_slow_call_is_a_warning(
    method: str, error: BaseException | None, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One for each, with the method's name and the seconds, also if it fails in the end."""

    def work(*_: object) -> BaseException | None:
        clock.now += 7.25
        return error

    one, _ = calls_of(Failing(work))
    arguments = [] if method == "received_all_environments" else ["argument"]
    one.begin()
    for _ in range(2):
        assert one.call(one.method(method), *arguments) is error
    text = f"The handler's {method} took 7.2 s; later calls waited"
    assert caplog.record_tuples == [("autoconfig", logging.WARNING, text)] * 2


@pytest.mark.parametrize("took", [0.0, 4.9, 5.0])
def test_a_call_that_is_not_slow_is_not_mentioned(took: float, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def work(*_: object) -> None:
        clock.now += took

    one, _ = calls_of(Failing(work))
    one.begin()
    one.call(one.method("add_environment"), "argument")
    one.call(one.method("add_environment"), "argument")
    assert caplog.records == []


def test_time_between_batches_is_not_the_calls(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    one, _ = calls_of(Recorder())
    for _ in range(2):
        clock.now += 1000.0
        one.begin()
        one.call(one.method("add_environment"), "argument")
    assert caplog.records == []


def test_what_on_error_takes_is_not_the_next_calls(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Nor what a slow log takes."""

    def on_error(_: HandlerFailure) -> None:
        clock.now += 7.25

    one, _ = calls_of(Recorder(), errors=HandlerErrors(on_error=on_error))
    one.begin()
    one.failed(failure())
    one.call(one.method("add_environment"), "argument")
    assert caplog.messages == ["The handler failed in add_environment 'e1'"]


def test_without_a_limit_no_call_is_slow(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def work(*_: object) -> None:
        clock.now += 1e9

    one = HandlerCalls(
        Failing(work), CancelToken(), errors=HandlerErrors(), slow_after=math.inf, status=StatusTracker(LOG), logger=LOG
    )
    one.begin()
    one.call(one.method("add_environment"), "argument")
    assert caplog.records == []


def test_an_optional_method_is_there_or_not() -> None:
    class Telling(Recorder):
        def environment_refused(self, id: str, reason: str) -> None:
            """Take note."""

    class Odd(Recorder):
        environment_refused = "not callable"

    for handler, there in ((Recorder(), False), (Telling(), True), (Odd(), False)):
        one, _ = calls_of(handler)
        assert (one.optional_method("environment_refused") is not None) == there


def test_a_failure_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    one, status = calls_of(Recorder())
    one.failed(failure())
    one.failed(failure("e2"))
    assert status.status.failed_callbacks == 2
    assert [record.getMessage() for record in caplog.records] == [
        "The handler failed in add_environment 'e1'",
        "The handler failed in add_environment 'e2'",
    ]
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert all(record.exc_info and record.exc_info[1] is ERRORS[0] for record in caplog.records)


def test_a_failures_line_says_when_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    one, _ = calls_of(Recorder())
    one.failed(failure(next_attempt_in=2.51))
    assert caplog.messages == ["The handler failed in add_environment 'e1'; next attempt in 2.5 s"]


@pytest.mark.parametrize(
    ("id", "shown"), [(KEY, "'sdk-\\u20269e38'"), ("e\n1\x1b", "'e\\n1\\x1b'"), ("x" * 5000, f"'{'x' * 100}'")]
)
def test_an_id_of_the_network_is_shown_with_care(id: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    one, _ = calls_of(Recorder())
    one.failed(failure(id))
    assert caplog.messages == [f"The handler failed in add_environment {shown}"]


def test_who_asked_is_told_after_the_line(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[HandlerFailure, int]] = []
    one, _ = calls_of(
        Recorder(), errors=HandlerErrors(on_error=lambda failure: told.append((failure, len(caplog.records))))
    )
    one.failed(failed := failure())
    assert told == [(failed, 1)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_on_error_raises_is_logged(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is, as with the handler itself: the thread has to live on."""
    raised: list[BaseException] = []

    def fail(_: HandlerFailure) -> Any:
        raised.append(error)
        raise error

    one, status = calls_of(Recorder(), errors=HandlerErrors(on_error=fail))
    try:
        one.failed(failure())
    except BaseException as escaped:
        pytest.fail(f"it went further: {escaped!r}")
    assert raised == [error]
    assert caplog.messages == ["The handler failed in add_environment 'e1'", "HandlerErrors.on_error failed"]
    record = caplog.records[1]
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[1] is error
    assert status.failed_callbacks == 1, "that is no failure of the handler"
