"""What a server can do to keep a client waiting, one script for each state that ``close()`` is tried in."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from closing.run import NEVER
from support.loopback import chunk
from support.peer import HEAD, PUT, Line, Script, accepted_and_silent, stream_head

Framings = Mapping[str, tuple[bytes, Callable[[bytes], bytes]]]

WAITS = "The stream failed"  # what the reader logs before it waits
MANY = 500  # calls that only a flood leads to
SOON = 0.001  # seconds of back-off, for clients that are to come again at once
CHUNKED_HEAD = stream_head(Transfer_Encoding="chunked")
STREAMS: Framings = {"close": (HEAD, bytes), "chunked": (CHUNKED_HEAD, chunk)}
GZIP: Framings = {
    "close": (stream_head(Connection="close", Content_Encoding="gzip"), bytes),
    "chunked": (stream_head(Transfer_Encoding="chunked", Content_Encoding="gzip"), chunk),
}
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class State(NamedTuple):
    """
    A state of the network.

    Attributes:
        script: What the server does.
        times: How often the script has to say that it got there.
        options: What the manager needs for it.
        calls: How many calls of the handler have come then; 0 for what comes before there is a stream.
        log: What the manager has logged when it is there; the peer cannot see everything.
    """

    script: Script
    times: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed
    calls: int = 0
    log: str = ""


def idle(line: Line) -> None:
    """One event, and then nothing."""
    line.request()
    line.send(HEAD + PUT)
    line.stall()


def silent_after_the_request(line: Line) -> None:
    line.request()
    line.stall()


def trickled_headers(line: Line) -> None:
    line.request()
    line.trickle(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 60_000)


def trickled_headers_after_the_content_type(line: Line) -> None:
    """What has come looks like the whole head of a stream when the connection ends."""
    line.request()
    line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    line.trickle(b"X-Slow: " + b"a" * 60_000)


def trickled_status_line(line: Line) -> None:
    line.request()
    line.trickle(b"HTTP/1.1 200 " + b"OK" * 30_000)


def continues_for_ever(line: Line) -> None:
    line.request()
    line.trickle(b"HTTP/1.1 100 Continue\r\n\r\n")


def refusing(line: Line) -> None:
    line.request()
    line.send(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    line.stall()


def redirects_for_ever(line: Line) -> None:
    line.request()
    line.reached()
    line.send(REDIRECT)


def endless_redirect_body(line: Line) -> None:
    line.request()
    line.send(REDIRECT.replace(b"Content-Length: 0\r\n", b""))
    line.flood(b"x" * 1000)


def endless_body_of_a_refusal(line: Line) -> None:
    line.request()
    line.send(b"HTTP/1.1 500 Broken\r\nConnection: close\r\n\r\n")
    line.flood(b"x" * 1000)


def stalls_at_the_fifth_hop(line: Line) -> None:
    hop = line.request().count(b"again")
    if hop == 5:
        line.stall()
    line.send(REDIRECT.replace(b"/again", b"/again" * (hop + 1)))


def stalls_at_the_first_hop(line: Line) -> None:
    if b"again" in line.request():
        line.stall()
    line.send(REDIRECT)


def states() -> Iterator[tuple[str, State]]:
    """Yield every state that needs no more than a server, by its name."""
    yield "accepted and silent", State(accepted_and_silent)
    yield "waiting for headers", State(silent_after_the_request)
    yield "trickled status line", State(trickled_status_line, 3)
    yield "trickled headers", State(trickled_headers, 3)
    yield "trickled headers after the content type", State(trickled_headers_after_the_content_type, 3)
    yield "100 Continue for ever", State(continues_for_ever, 3)
    yield "back-off after 503", State(refusing, options={"initial_retry_delay": NEVER}, log=WAITS)
    yield "503 again and again", State(refusing, 3, {"initial_retry_delay": SOON})
    yield "stalled after one redirect", State(stalls_at_the_first_hop)
    yield "stalled after five redirects", State(stalls_at_the_fifth_hop)
    yield "redirects for ever", State(redirects_for_ever, 15, {"initial_retry_delay": SOON})
    yield "redirect with an endless body", State(endless_redirect_body)
    yield "redirects with endless bodies for ever", State(endless_redirect_body, 15, {"initial_retry_delay": SOON})
    yield "refusal with an endless body", State(endless_body_of_a_refusal, 3, {"initial_retry_delay": SOON})
    for framing in STREAMS:
        yield f"idle stream, {framing}", State(_stream(framing, Line.stall), calls=1)
        yield f"flood, {framing}", State(_flood(framing, PUT * 10), calls=MANY)
        yield f"idle gzip stream, {framing}", State(_stream(framing, Line.stall, GZIP), calls=1)
        yield f"gzip flood, {framing}", State(_flood(framing, gzip.compress(PUT * 10), GZIP), calls=MANY)
        yield f"line without an end, {framing}", State(_trickle(framing), 3, calls=1)
        yield f"flood without a line end, {framing}", State(_flood(framing, b"x" * 1000), calls=1)


def _stream(framing: str, then: Script, kinds: Framings = STREAMS) -> Script:
    head, wrap = kinds[framing]

    def script(line: Line) -> None:
        line.request()
        line.send(head + wrap(gzip.compress(PUT) if kinds is GZIP else PUT))
        then(line)

    return script


def _flood(framing: str, data: bytes, kinds: Framings = STREAMS) -> Script:
    return _stream(framing, lambda line: line.flood(kinds[framing][1](data)), kinds)


def _trickle(framing: str) -> Script:
    return _stream(framing, lambda line: line.trickle(STREAMS[framing][1](b"x" * 60_000)))
