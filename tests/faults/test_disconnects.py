"""Connections that are refused, end or break off: before, between and inside events."""

from __future__ import annotations

import logging
import socket
import threading

import pytest
from faults.events import HEALTHY, SMALL, Event, patch
from faults.server import FaultServer, Play, Wire, healthy, sending, stream
from faults.table import (
    ATTEMPTS,
    BROKEN,
    DEADLINE,
    ENDED,
    FAILED,
    MODES,
    NO_ANSWER,
    NO_HTTP,
    RESET,
    SCHEMES,
    Fault,
    Lines,
    Tls,
    check_calls,
    check_lines,
    manager_of,
    survive,
    table,
    wait_until_healthy,
)
from support.loopback import read_request
from support.recorder import Recorder
from support.tls import server_context, stranger

CUT = "broke off in the middle of the answer's headers"
NEXT = patch("elm", 1).wire
PLACES: dict[str, tuple[Event | bytes, ...]] = {
    "before_events": (),
    "between_events": (SMALL,),
    "inside_data": (SMALL, NEXT[:40]),
    "inside_a_name": (SMALL, NEXT[:8]),
    "before_the_blank_line": (SMALL, NEXT[:-1]),
    "inside_the_first_event": (SMALL.wire[:-1],),
}


@MODES
@SCHEMES
@pytest.mark.parametrize("how", ["end", "fin", "reset"])
@pytest.mark.parametrize("place", PLACES)
def test_a_stream_that_ends(place: str, how: str, tls: bool, chunked: bool, secure: Tls) -> None:
    """Whole events count, half ones do not, and the end is a failure however clean it is."""
    parts = PLACES[place]
    text = {"end": ENDED, "fin": BROKEN if chunked else ENDED, "reset": f"{RESET}|{BROKEN}|{ENDED}|SSL"}[how]
    brings = [part for part in parts if isinstance(part, Event)]
    fault = Fault(f"{place}_{how}", stream(*parts, then=getattr(Wire, how)), text, brings=brings)
    survive(fault, chunked=chunked, tls=secure if tls else None)


def heard(then: Play) -> Play:
    """Return a play: wait for the client's first bytes, and an end."""

    def play(wire: Wire) -> None:
        wire.hear()
        then(wire)

    return play


OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: text/event-stream\r\n"


@table(
    Fault("fin_at_once", Wire.fin, NO_ANSWER, early=True),
    Fault("reset_at_once", Wire.reset, f"{RESET}|Broken pipe|{NO_ANSWER}", early=True),
    Fault("fin_after_the_request", Wire.fin, NO_ANSWER),
    Fault("reset_after_the_request", Wire.reset, RESET),
    Fault("no_http", sending(b"SSH-2.0-OpenSSH_9.6\r\n", Wire.fin), NO_HTTP),
    Fault("binary", sending(bytes(range(256)) * 4, Wire.fin), NO_HTTP),
    Fault("an_empty_line", sending(b"\r\n", Wire.fin), f"{NO_HTTP}|{NO_ANSWER}"),
    Fault("half_a_status_line", sending(b"HTTP/1.1 20", Wire.fin), f"{NO_HTTP}|unexpected HTTP status 20"),
    Fault("no_status", sending(b"HTTP/1.1 abc OK\r\n\r\n", Wire.fin), NO_HTTP),
    Fault("an_endless_status_line", lambda wire: wire.flood([b"HTTP/1.1 200 " + b"x" * 200_000], raw=True), NO_HTTP),
    Fault("no_headers", sending(OK, Wire.fin), CUT),
    Fault("half_a_header", sending(OK + TYPE[:30], Wire.fin), CUT),
    Fault("headers_without_their_end", sending(OK + TYPE, Wire.fin), CUT),
    Fault("headers_without_their_end_reset", sending(OK + TYPE, Wire.reset), f"{RESET}|{CUT}"),
    Fault("an_endless_header", lambda wire: wire.flood([OK, b"X: " + b"x" * 200_000], raw=True), NO_HTTP),
    Fault("endless_headers", lambda wire: wire.flood([OK, *[b"X: y\r\n"] * 1000], raw=True), NO_HTTP),
    Fault(
        "a_short_body",
        sending(OK + TYPE + b"Content-Length: 999\r\n\r\n" + SMALL.wire, Wire.fin),
        BROKEN,
        brings=[SMALL],
    ),
    Fault(
        "a_body_with_a_length",
        sending(OK + TYPE + b"Content-Length: %d\r\n\r\n" % len(SMALL.wire) + SMALL.wire, Wire.fin),
        ENDED,
        brings=[SMALL],
    ),
)
def test_an_answer_that_breaks_off(fault: Fault) -> None:
    """Nothing, or something else than HTTP, or half a head, is one failure among others."""
    survive(fault)


@table(
    Fault("plain_http", sending(b"HTTP/1.1 400 Bad Request\r\n\r\n", Wire.fin), "does not speak TLS", early=True),
    Fault("fin_in_the_handshake", heard(Wire.fin), "SSL|Connection reset", early=True),
    Fault("reset_in_the_handshake", heard(Wire.reset), "SSL|Connection reset", early=True),
    Fault("garbage_in_the_handshake", sending(b"\x16\x03\x03\xff\xff" + b"\0" * 100, Wire.fin), "SSL", early=True),
)
def test_a_handshake_that_fails(fault: Fault, secure: Tls) -> None:
    """TLS that does not come about is told with OpenSSL's words, and tried again."""
    survive(fault, tls=secure)


@pytest.mark.parametrize("trusted", [True, False], ids=["another_name", "untrusted"])
def test_a_certificate_that_is_wrong(trusted: bool, secure: Tls) -> None:
    """The reason is in the line; once the certificate is right, everything is well."""
    context = server_context("example.invalid") if trusted else server_context(issuer=stranger())
    reason = "IP address mismatch" if trusted else "unable to get local issuer certificate"
    fault = Fault("certificate", healthy, reason)
    recorder, lines = Recorder(), Lines()
    with FaultServer(healthy, ATTEMPTS, context=secure.context, faulty_context=context) as server:
        manager = manager_of(server.url, recorder, lines, {}, secure)
        manager.start()
        try:
            wait_until_healthy(recorder, lines)
        finally:
            assert manager.close(DEADLINE)
    check_calls(recorder, [])
    check_lines(fault, lines)


def test_a_refused_connection() -> None:
    """Nobody listens at first; when somebody does, the client comes by itself."""
    recorder, lines = Recorder(), Lines()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else gets the port
        manager = manager_of(f"http://127.0.0.1:{held.getsockname()[1]}", recorder, lines, {})
        manager.start()
        try:
            lines.wait_until(lambda: len(lines.having(FAILED)) >= ATTEMPTS)
            held.listen()
            connection, _ = held.accept()
            with connection:
                request = read_request(connection)
                wire = Wire(connection, 0, chunked=True, base="", stopping=threading.Event())
                wire.head()
                wire.body(HEALTHY)
                wait_until_healthy(recorder, lines)
                failures = lines.having(FAILED)  # before the connection ends
        finally:
            assert manager.close(DEADLINE)
    assert request is not None
    check_calls(recorder, [])
    assert [level for level, _ in failures[:2]] == [logging.WARNING, logging.DEBUG]
    assert all("Connection refused" in text for _, text in failures)
    assert [level for level, _ in lines.having("The stream is back")] == [logging.INFO]


FOR_EVER: dict[str, Play] = {
    "fin_at_once": Wire.fin,
    "reset_at_once": Wire.reset,
    "ends_after_events": stream(SMALL, then=Wire.end),
    "empty": stream(then=Wire.end),
    "unavailable": lambda wire: wire.head(503, {"Transfer-Encoding": "", "Content-Length": "0"}),
    "malformed": stream(SMALL, b"event: put\ndata: {\n\n", then=Wire.stay),
    "reconnect": stream(b"event: reconnect\ndata: x\n\n", then=Wire.stay),
}


def count_attempts(fault: Play, seconds: float) -> int:
    """Let a fault last for some time, and return how many connections a client made meanwhile."""
    recorder, lines, healed = Recorder(), Lines(), threading.Event()
    with FaultServer(fault, healed) as server:
        manager = manager_of(server.url, recorder, lines, {})
        manager.start()
        try:
            healed.wait(seconds)
            count = len(server.attempts)
            healed.set()
            wait_until_healthy(recorder, lines)
        finally:
            assert manager.close(DEADLINE)
    return count


@pytest.mark.parametrize("name", FOR_EVER)
def test_a_lasting_fault_is_not_hammered(name: str) -> None:
    """The number of attempts is bounded by the time that passes, also when a connection brings events each time."""
    assert 3 <= count_attempts(FOR_EVER[name], 0.5) <= 0.5 / 0.05 + 5
