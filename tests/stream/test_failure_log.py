"""The lines about a stream's failures: their level, and where a series begins and ends."""

from __future__ import annotations

import logging

import pytest
from support.stubs import Clock

from autoconfig import KeyRejectedError
from autoconfig.exceptions import (
    ConnectionFailedError,
    EventTooLargeError,
    MalformedMessageError,
    StreamEndedError,
    UnexpectedStatusError,
)
from autoconfig.stream.failures import FailureLog, ReconnectRequestedError

REFUSED = ConnectionFailedError("refused")
KEY = "rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a"
GRAVE = [MalformedMessageError("put", "not JSON"), EventTooLargeError(5), KeyRejectedError(403)]
LOUD = pytest.mark.parametrize("error", GRAVE, ids=lambda error: type(error).__name__)
DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


class Series:
    """A log of failures, and the count of them that the status keeps."""

    def __init__(self) -> None:
        self._log = FailureLog(logging.getLogger("autoconfig"))
        self._failed_attempts = 0

    def failed(self, error: BaseException, delay: float) -> None:
        self._log.failed(error, delay, self._failed_attempts)
        self._failed_attempts += not isinstance(error, ReconnectRequestedError)

    def recovered(self) -> None:
        self._log.recovered(self._failed_attempts)
        self._failed_attempts = 0


@pytest.fixture
def failures(caplog: pytest.LogCaptureFixture) -> Series:
    caplog.set_level(DEBUG)
    return Series()


@pytest.mark.parametrize(
    "error", [REFUSED, UnexpectedStatusError(503), StreamEndedError("reset"), RuntimeError()], ids=repr
)
def test_the_first_failure_of_a_series_is_a_warning(
    error: Exception, failures: Series, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage of a night is one line of those that people read."""
    for _ in range(3):
        failures.failed(error, 1.0)
    assert [record.levelno for record in caplog.records] == [WARNING, DEBUG, DEBUG]


@LOUD
def test_what_a_retry_does_not_mend_is_an_error_once_in_a_series(
    error: Exception, failures: Series, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if the series began with something else; with repeated ones people would stop to read."""
    for one in REFUSED, error, REFUSED, error:
        failures.failed(one, 1.0)
    assert [record.levelno for record in caplog.records] == [WARNING, ERROR, DEBUG, DEBUG]


@LOUD
def test_after_recovery_it_is_an_error_again(
    error: Exception, failures: Series, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        failures.failed(error, 1.0)
        failures.recovered()
    assert [record.levelno for record in caplog.records] == [ERROR, INFO] * 2


def test_each_kind_of_it_is_an_error_of_its_own(failures: Series, caplog: pytest.LogCaptureFixture) -> None:
    for error in GRAVE:
        failures.failed(error, 1.0)
    assert [record.levelno for record in caplog.records] == [ERROR] * 3


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (REFUSED, "refused"),
        (UnexpectedStatusError(503), "unexpected HTTP status 503"),
        (KeyRejectedError(401), "the service rejected the auto-configuration key (HTTP status 401)"),
        (EventTooLargeError(5), "an event is larger than the limit of 5 bytes (HTTPConfig.max_event_bytes)"),
        (RuntimeError(KEY), "unexpected error (RuntimeError)"),
        (SystemExit(KEY), "unexpected error (SystemExit)"),
        (ConnectionResetError(104, KEY), "Connection reset by peer"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "text",
)
def test_a_line_says_what_failed_and_when_it_is_tried_again(
    error: BaseException, text: str, failures: Series, caplog: pytest.LogCaptureFixture
) -> None:
    """Of errors that nobody foresaw, nothing that could hold a secret."""
    failures.failed(error, 2.51)
    assert caplog.messages == [f"The stream failed: {text}; next attempt in 2.5 s"]


def test_recovery_is_said_with_how_long_it_took(
    failures: Series, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first failure of the series on."""
    clock = Clock(monkeypatch)
    for _ in range(3):
        failures.failed(REFUSED, 1.0)
        clock.now += 4.0
    caplog.clear()
    failures.recovered()
    assert caplog.record_tuples == [("autoconfig", INFO, "The stream is back after 12.0 s and 3 failed attempts")]


def test_recovery_is_said_once(failures: Series, caplog: pytest.LogCaptureFixture) -> None:
    failures.failed(REFUSED, 1.0)
    failures.recovered()
    caplog.clear()
    failures.recovered()
    assert caplog.records == []


def test_without_failures_there_is_no_recovery(failures: Series, caplog: pytest.LogCaptureFixture) -> None:
    failures.recovered()
    assert caplog.records == []


def test_after_recovery_a_new_series_begins(failures: Series, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        failures.failed(REFUSED, 1.0)
        failures.failed(REFUSED, 1.0)
        failures.recovered()
    assert [record.levelno for record in caplog.records] == [WARNING, DEBUG, INFO] * 2


def test_a_request_to_reconnect_is_no_failures(failures: Series, caplog: pytest.LogCaptureFixture) -> None:
    failures.failed(ReconnectRequestedError(), 1.0)
    failures.recovered()
    assert caplog.record_tuples == [("autoconfig", INFO, "The service asked for a new connection")]


def test_a_request_to_reconnect_does_not_end_a_series(failures: Series, caplog: pytest.LogCaptureFixture) -> None:
    failures.failed(REFUSED, 1.0)
    failures.failed(ReconnectRequestedError(), 1.0)
    failures.failed(REFUSED, 1.0)
    assert [record.levelno for record in caplog.records] == [WARNING, INFO, DEBUG]
