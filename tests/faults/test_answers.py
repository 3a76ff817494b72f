"""Answers that are no event stream: other statuses, other content, bodies without end."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from faults.events import SMALL
from faults.server import Play, Wire
from faults.table import MODES, Fault, survive, table

PAGE = b"<!DOCTYPE html><title>Sign in</title><script>event: put\ndata: {}\n\n</script>\n"
NO_STREAM = "the answer is not an event stream but"


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> Play:
    """Return a play: a whole answer."""

    def play(wire: Wire) -> None:
        length = {"Transfer-Encoding": "", "Content-Length": str(len(body))}
        wire.head(status, {**length, **headers})
        wire.raw(body)
        wire.stay()

    return play


PASSING = [201, 202, 203, 204, 205, 206, 226, 300, 304, 305, 306, 400, 408, 429, 500, 501, 502, 503, 504, 507, 511]


@pytest.mark.parametrize("status", [*PASSING, 599, 999])
def test_another_status(status: int) -> None:
    """Only a 200 is a stream, even if the body of another answer looks like one; only 401 and 403 are for good."""
    body = b"" if status in (204, 304) else SMALL.wire
    survive(Fault(str(status), answer(status, body), f"unexpected HTTP status {status}"))


def lasting(status: int, play: Play) -> Fault:
    """Return an entry for a status after which the delays are 300 times as long, 0.3 s and 0.6 s here."""
    return Fault(str(status), play, f"unexpected HTTP status {status}", first_delay=0.001, waited=0.3 + 0.6)


@pytest.mark.parametrize("status", [402, 404, 405, 406, 407, 410, 418])
def test_a_status_that_lasts(status: int) -> None:
    """After most client errors, too, there is another attempt, but later."""
    survive(lasting(status, answer(status, SMALL.wire)))


@table(
    Fault("html", answer(200, PAGE, {"Content-Type": "text/html; charset=utf-8"}), f"{NO_STREAM} 'text/html"),
    Fault("json", answer(200, b"{}", {"Content-Type": "application/json"}), f"{NO_STREAM} 'application/json'"),
    Fault("no_type", answer(200, SMALL.wire, {"Content-Type": ""}), f"{NO_STREAM} something that names no"),
    Fault("similar_type", answer(200, SMALL.wire, {"Content-Type": "text/event-streams"}), NO_STREAM),
    Fault("two_types", answer(200, SMALL.wire, {"Content-Type": "text/html, text/event-stream"}), NO_STREAM),
    Fault("long_type", answer(200, b"", {"Content-Type": "x" * 5000}), f"{NO_STREAM} 'x{{100}}'"),
    Fault("type_with_controls", answer(200, b"", {"Content-Type": "a\x1b[31m\x07b"}), NO_STREAM),
    Fault("type_of_other_bytes", answer(200, b"", {"Content-Type": "té\x85xt"}), NO_STREAM),
)
def test_another_content(fault: Fault) -> None:
    """A 200 that is not an event stream is refused, and the line names what it was, in a bounded and printable form."""
    survive(fault)


@pytest.mark.parametrize("written", ["text/event-stream;charset=UTF-8", "Text/Event-Stream", "text/event-stream ; x=y"])
def test_the_content_type_is_understood(written: str) -> None:
    """Case and parameters do not matter."""
    survive(Fault("type", answer(200, SMALL.wire, {"Content-Type": written}), "ended the stream", brings=[SMALL]))


def endless(status: int, headers: Mapping[str, str]) -> Play:
    """Return a play: an answer whose body never ends."""

    def play(wire: Wire) -> None:
        wire.head(status, headers)
        wire.flood(itertools.repeat(b"x" * 65536))

    return play


@MODES
@table(
    Fault("500", endless(500, {"Content-Type": "text/plain"}), "unexpected HTTP status 500"),
    lasting(404, endless(404, {})),
    Fault("html", endless(200, {"Content-Type": "text/html"}), NO_STREAM),
    Fault("gzip", endless(503, {"Content-Encoding": "gzip"}), "unexpected HTTP status 503"),
)
def test_a_body_without_end(fault: Fault, chunked: bool) -> None:
    """The body of an answer that is not wanted is never read."""
    survive(fault, chunked=chunked)


@MODES
def test_a_silent_error(chunked: bool) -> None:
    """The body of an error is not waited for either."""

    def silent(wire: Wire) -> None:
        wire.head(500)
        wire.stay()

    survive(Fault("silent", silent, "HTTP status 500"), chunked=chunked)


def informational(status: int, times: int) -> Play:
    """Return a play: informational answers before the stream."""

    def play(wire: Wire) -> None:
        wire.raw(b"HTTP/1.1 %d Wait\r\nX: y\r\n\r\n" % status * times)
        wire.head()
        wire.body(SMALL)
        wire.end()

    return play


@table(
    Fault("100", informational(100, 1), "ended the stream", brings=[SMALL]),
    Fault("hundred_times_100", informational(100, 100), "ended the stream", brings=[SMALL]),
    Fault("101", informational(101, 1), "unexpected HTTP status 101"),
)
def test_informational_answers(fault: Fault) -> None:
    """A 100 is waited through; a protocol switch that nobody asked for is not a stream."""
    survive(fault)
