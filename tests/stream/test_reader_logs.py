"""What the reader logs: one line when a series of failures begins, one when it ends, and no more."""

from __future__ import annotations

import logging
import queue

import pytest
from support.samples import MALFORMED, PUT, RECONNECT, patch_bytes
from support.stubs import Clock, PatientToken, Run, StubConnector, make_reader

from autoconfig import KeyRejectedError
from autoconfig.exceptions import ConnectionFailedError, UnexpectedStatusError

REFUSED = ConnectionFailedError("refused")
ENDED = "failed: the service ended the stream"
END_OF_SCRIPT = "the end of the script"
Line = tuple[str, str]


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "autoconfig")


def lines_of(caplog: pytest.LogCaptureFixture) -> list[Line]:
    """Return level and text of what was logged."""
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    return [line for line in found if END_OF_SCRIPT not in line[1]]


def check(lines: list[Line], *expected: Line) -> None:
    """Compare levels, and look for a part of each text."""
    assert [level for level, _ in lines] == [level for level, _ in expected]
    for (_, text), (_, part) in zip(lines, expected, strict=True):
        assert part in text


def test_the_first_failure_is_a_warning_and_the_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    Run(REFUSED, UnexpectedStatusError(503), REFUSED)
    failures = (
        ("WARNING", "failed: refused"),
        ("DEBUG", "failed: unexpected HTTP status 503"),
        ("DEBUG", "failed: refused"),
    )
    check(lines_of(caplog), *failures)


def test_a_failure_tells_when_the_next_attempt_is_made(caplog: pytest.LogCaptureFixture) -> None:
    Run(REFUSED, REFUSED)
    check(lines_of(caplog), ("WARNING", "next attempt in 1.0 s"), ("DEBUG", "next attempt in 2.0 s"))


def test_recovery_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says how long the series lasted, from the first failure to the first message."""
    clock = Clock(monkeypatch)

    def after_some_time() -> Exception:
        clock.now += 12.0
        return REFUSED

    Run(REFUSED, after_some_time, [clock.goes_on(0.25), PUT, PUT])
    back = "back after 12.2 s and 2 failed attempts"
    check(lines_of(caplog), ("WARNING", "refused"), ("DEBUG", "refused"), ("INFO", back), ("WARNING", ENDED))


def test_a_stream_without_an_event_is_no_recovery(caplog: pytest.LogCaptureFixture) -> None:
    """A proxy may answer at once and say nothing for ever."""
    Run(REFUSED, [b":heartbeat\n"])
    check(lines_of(caplog), ("WARNING", "refused"), ("DEBUG", ENDED))


def test_an_event_of_an_unknown_name_is_a_recovery(caplog: pytest.LogCaptureFixture) -> None:
    """As in the status: it proves the link."""
    Run(REFUSED, [b"event: news\ndata: x\n\n"])
    unknown = "unknown name 'news'"
    check(lines_of(caplog), ("WARNING", "refused"), ("WARNING", unknown), ("INFO", "back"), ("WARNING", ENDED))


def test_each_series_of_failures_has_its_warning(caplog: pytest.LogCaptureFixture) -> None:
    Run(REFUSED, REFUSED, [PUT], REFUSED, [PUT], REFUSED)
    levels = [level for level, _ in lines_of(caplog)]
    assert levels == ["WARNING", "DEBUG", "INFO", "WARNING", "DEBUG", "INFO", "WARNING", "DEBUG"]


def test_a_malformed_message_is_an_error_once_in_a_series(caplog: pytest.LogCaptureFixture) -> None:
    """Also if the series began with something else; a payload that stays bad must not flood the log."""
    Run(REFUSED, [MALFORMED], [MALFORMED], [PUT, MALFORMED])
    text = 'malformed "patch" event: version must be a 64-bit integer, not a string'
    levels = [level for level, line in lines_of(caplog) if text in line]
    assert levels == ["ERROR", "DEBUG", "ERROR"]


def test_an_event_above_the_limit_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    Run([patch_bytes("e" * 500)], max_event_bytes=100)
    check(lines_of(caplog), ("ERROR", "an event is larger than the limit of 100 bytes"))


def test_a_reconnect_event_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    Run([PUT + RECONNECT], [PUT + RECONNECT])
    asked = ("INFO", "asked for a new connection")
    check(lines_of(caplog), asked, asked)


@pytest.mark.parametrize("name", ["news", "Put", "PATCH", "put ", "message", "ключ"])
def test_an_unknown_event_is_a_warning_and_nothing_else(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What comes before and after it in the same burst is handed over."""
    unknown = f"event: {name}\ndata: {{not json\n\n".encode()
    run = Run([PUT + unknown + PUT])
    assert len(run.handed_over[0]) == 2
    check(lines_of(caplog), ("WARNING", f"unknown name {name!a}"), ("WARNING", ENDED))


def test_an_event_without_a_name_is_an_unknown_one(caplog: pytest.LogCaptureFixture) -> None:
    Run([b"data: x\n\n"])
    check(lines_of(caplog), ("WARNING", "unknown name 'message'"), ("WARNING", ENDED))


def test_a_long_name_is_shortened(caplog: pytest.LogCaptureFixture) -> None:
    Run([b"event: " + b"x" * 10_000 + b"\ndata: x\n\n"])
    assert max(len(text) for _, text in lines_of(caplog)) < 200


def test_an_error_that_nobody_foresaw_is_told_by_its_kind_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Its text could hold anything."""
    Run([LookupError("rel-0f8b2c4d")])
    assert "rel-0f8b2c4d" not in caplog.text
    check(lines_of(caplog), ("WARNING", "unexpected error (LookupError)"))


def test_a_refused_key_is_for_others_to_log(caplog: pytest.LogCaptureFixture) -> None:
    Run(KeyRejectedError(401))
    check(lines_of(caplog))


def test_what_fails_because_of_cancel_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    token = PatientToken()
    make_reader(StubConnector(token, [[PUT, token.cancel, REFUSED]]), queue.Queue(), token).run()
    check(lines_of(caplog))
