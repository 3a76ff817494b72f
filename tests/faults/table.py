"""The table of faults and its driver: a real client, a server that misbehaves for a while, and what must come of it."""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from faults.events import HEALTHY, Event, ExpectedCalls, left, short
from faults.server import FaultServer, Play
from support.logs import LogKeeper
from support.loopback import Request
from support.recorder import Recorder

from autoconfig import HTTPConfig, RetryPolicy, StreamManager

KEY = "rel-0123456789abcdef"
FIRST_DELAY = 0.01
QUICK = RetryPolicy(max_delay=0.05, jitter=0.0)
ATTEMPTS = 2  # that fail: the first one and a repeat
WAITED = 0.01 + 0.02  # seconds that the delays after them take
DEADLINE = 30.0  # seconds until a test counts as hanging; a good one takes a fraction of one
FAILED = "The stream failed: "
# Parts of the lines, by what went wrong; where the library's own words are not settled, also the name of an exception.
ENDED = "ended the stream"
BROKEN = "broke off|IncompleteRead"
RESET = "Connection reset by peer"
NO_ANSWER = "without an answer|RemoteDisconnected"
NO_HTTP = "not HTTP|headers is too long|too many headers"
CORRUPT = "compression|DecodeError"
SILENT = "in time|[Tt]imed? ?out|no complete line"
SAYS_NOTHING = re.compile(r"The stream failed: (unexpected )?(error|Exception|\w*Value\w*|OSError|TypeError)\b(?!:)")
BACK = re.compile(r"The stream is back after \d+\.\d s and (\d+) failed attempts")
MODES = pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "close"])
SCHEMES = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


class Tls(NamedTuple):
    """A server's certificate and the file by which a client trusts it."""

    context: ssl.SSLContext
    ca_file: str


class Fault(NamedTuple):
    """
    One entry of the table.

    Attributes:
        name: The test's id.
        play: What the server does on each faulty connection.
        text: A pattern that the first failure's log line matches.
        level: The level of that line.
        brings: The whole events that each faulty connection brings before its fault.
        config: Arguments of ``HTTPConfig``.
        requests: How many connections one attempt makes (redirects make several).
        early: The fault comes before the request.
        waited: The least time in seconds that the failed attempts must have taken by backing off.
        first_delay: The client's ``initial_retry_delay``.
        others: Patterns of the further lines of WARNING and above that each faulty connection may cause.
    """

    name: str
    play: Play
    text: str
    level: int = logging.WARNING
    brings: Sequence[Event] = ()
    config: Mapping[str, Any] = {}
    requests: int = 1
    early: bool = False
    waited: float = WAITED
    first_delay: float = FIRST_DELAY
    others: Sequence[str] = ()


class Outcome(NamedTuple):
    """What was logged, and what the server was asked."""

    lines: Lines
    requests: list[Request]


class Lines(LogKeeper):
    """What a client logs, as (level, text); a text has the traceback, too, if there is one."""

    @property
    def lines(self) -> list[tuple[int, str]]:
        return [(record.levelno, self.format(record)) for record in list(self.records)]

    def having(self, start: str) -> list[tuple[int, str]]:
        """Return the lines that begin like this."""
        return [(level, text) for level, text in self.lines if text.startswith(start)]


def table(*faults: Fault) -> pytest.MarkDecorator:
    """Parametrize a test with the faults."""
    return pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in faults])


def manager_of(
    url: str,
    handler: Any,
    lines: Lines,
    config: Mapping[str, Any],
    tls: Tls | None = None,
    first_delay: float = FIRST_DELAY,
    **options: Any,
) -> StreamManager:
    """Return a manager with the delays of these tests."""
    trust = {"ca_certs": tls.ca_file} if tls else {}
    http_config = HTTPConfig(**{"connect_timeout": DEADLINE, "read_timeout": DEADLINE, **trust, **config})
    return StreamManager(
        KEY, url, handler, http_config, first_delay, logger=lines.logger, retry_policy=QUICK, **options
    )


def survive(fault: Fault, *, chunked: bool = True, tls: Tls | None = None, deadline: float = DEADLINE) -> Outcome:
    """Let a client go through the fault, and check everything that is promised."""
    outcome = go_through(fault, chunked=chunked, tls=tls, deadline=deadline)
    check_lines(fault, outcome.lines)
    return outcome


def go_through(fault: Fault, *, chunked: bool = True, tls: Tls | None = None, deadline: float = DEADLINE) -> Outcome:
    """Let a client go through the fault, and check everything that is promised but for what is logged."""
    recorder, lines = Recorder(), Lines()
    faulty = ATTEMPTS * fault.requests
    with FaultServer(
        fault.play, faulty, chunked=chunked, early=fault.early, context=tls.context if tls else None
    ) as server:
        started = time.monotonic()
        manager = manager_of(server.url, recorder, lines, fault.config, tls, fault.first_delay)
        ready = manager.start()
        try:
            wait_until_healthy(recorder, lines, deadline)
            assert ready.result(DEADLINE) is None
        finally:
            closed = manager.close(DEADLINE)
        assert closed, "the manager did not close"
        check_calls(recorder, [*fault.brings] * ATTEMPTS)
        assert len(server.attempts) == faulty + 1, lines.lines
        assert server.attempts[-1].at - started >= fault.waited, "it did not back off"
    return Outcome(lines, server.requests)


def wait_until_healthy(recorder: Recorder, lines: Lines, deadline: float = DEADLINE) -> None:
    """Wait until the healthy put has been delivered whole."""
    try:
        recorder.wait_for("add_environment", deadline, lambda params: params.env_id == "well")
        recorder.wait_for("received_all_environments", deadline)
    except AssertionError as error:
        raise AssertionError(f"{error}; logged: {lines.lines}") from None


def check_calls(recorder: Recorder, events: Sequence[Event]) -> None:
    """Compare all callbacks with what the events and the healthy put imply, and what the handler has in the end."""
    calls = [short(*call) for call in recorder.calls]
    expected = ExpectedCalls().calls([*events, HEALTHY])
    assert calls == expected, f"{calls} are not {expected}"
    assert left(calls) == {"oak": "oak v9", "well": "well v1", "f9": ""}


def check_lines(fault: Fault, lines: Lines) -> None:
    """Check that a series of failures is one line, its end is another, and nothing else is above DEBUG and INFO."""
    failures = lines.having(FAILED)
    assert len(failures) == ATTEMPTS, lines.lines
    assert all(re.search(fault.text, text) for _, text in failures), failures
    assert not [text for _, text in failures if SAYS_NOTHING.match(text)], failures
    levels = [level for level, _ in failures]
    recoveries = [BACK.fullmatch(text) for _, text in lines.having("The stream is back")]
    assert all(level == logging.INFO for level, _ in lines.having("The stream is back"))
    counts = [int(found[1]) for found in recoveries if found]
    if fault.brings:  # each connection was good for a while
        assert levels == [fault.level] * ATTEMPTS, failures
        assert counts == [1] * ATTEMPTS, lines.lines
    else:
        # Whether a malformed event is told again each time is test_log_lines' business.
        repeats = {logging.DEBUG, fault.level} if fault.level == logging.ERROR else {logging.DEBUG}
        assert levels[0] == fault.level, failures
        assert set(levels[1:]) <= repeats, failures
        assert counts == [ATTEMPTS], lines.lines
    loud = [text for level, text in lines.lines if level >= logging.WARNING and not text.startswith(FAILED)]
    assert len(loud) == ATTEMPTS * len(fault.others), loud
    for place, text in enumerate(loud):
        assert re.search(fault.others[place % len(fault.others)], text), loud
    check_safe(lines)


def check_safe(lines: Lines) -> None:
    """Check that each line is one line, of a readable length, without the key."""
    for _, text in lines.lines:
        assert text.isprintable(), ascii(text)
        assert len(text) < 4000, text[:200]
        assert KEY not in text, text
