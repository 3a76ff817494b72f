"""The state of a stream in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import attrs
import pytest

from autoconfig import ErrorInfo, ErrorKind, StreamState, StreamStatus
from autoconfig.cli.state import connection_words, is_troubled, trouble_words

NOW = datetime(2026, 9, 1, 12, 0, tzinfo=timezone.utc)
FRESH = StreamStatus(StreamState.INITIALIZING, NOW)
ERROR = ErrorInfo(ErrorKind.ERROR_RESPONSE, "unexpected HTTP status 503", NOW - timedelta(seconds=3), 503)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "connecting"),
        ({"connected_since": ago(0)}, "connected for 0 s"),
        ({"state": StreamState.VALID, "connected_since": ago(125)}, "connected for 2 min"),
        ({"state": StreamState.INTERRUPTED, "next_retry_at": ago(-1.5)}, "next attempt in 2 s"),
        ({"state": StreamState.INTERRUPTED, "next_retry_at": ago(-299.9)}, "next attempt in 5 min"),
        ({"state": StreamState.INTERRUPTED, "next_retry_at": ago(0.1)}, "connecting"),
        ({"state": StreamState.OFF}, "ended"),
    ],
)
def test_the_connection_in_words(fields: dict[str, object], words: str) -> None:
    assert connection_words(attrs.evolve(FRESH, **fields), NOW) == words


def test_the_present_trouble_in_words() -> None:
    status = attrs.evolve(FRESH, state=StreamState.INTERRUPTED, last_error=ERROR, failed_attempts=1)
    assert is_troubled(status)
    assert trouble_words(status, NOW) == "unexpected HTTP status 503, 3 s ago"
    many = attrs.evolve(status, failed_attempts=7)
    assert trouble_words(many, NOW) == "unexpected HTTP status 503, 3 s ago (7 failed attempts so far)"


def test_trouble_that_is_over_is_told_as_such() -> None:
    status = attrs.evolve(FRESH, state=StreamState.VALID, last_error=ERROR, connected_since=NOW)
    assert not is_troubled(status)
    assert trouble_words(status, NOW) == "last trouble: unexpected HTTP status 503, 3 s ago"


def test_a_connection_that_has_brought_nothing_yet_does_not_end_the_trouble() -> None:
    status = attrs.evolve(FRESH, last_error=ERROR, connected_since=NOW, failed_attempts=2)
    assert is_troubled(status)


def test_without_trouble_there_are_no_words() -> None:
    assert not is_troubled(FRESH)
    assert trouble_words(FRESH, NOW) == ""


def test_what_a_message_holds_cannot_move_the_cursor() -> None:
    status = attrs.evolve(FRESH, last_error=attrs.evolve(ERROR, message="\x1b[2J"))
    assert "\x1b" not in trouble_words(status, NOW)
