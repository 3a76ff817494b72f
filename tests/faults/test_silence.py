"""Servers that stop answering, or send bytes that never make a line: found out after the read timeout."""

from __future__ import annotations

import itertools
import time
import zlib

import pytest
from faults.events import HEALTHY, SMALL, Event, patch
from faults.server import FaultServer, Play, Wire, sending, stream
from faults.table import (
    DEADLINE,
    MODES,
    SCHEMES,
    SILENT,
    Fault,
    Lines,
    Tls,
    check_calls,
    manager_of,
    survive,
    table,
)
from support.recorder import Recorder

LIMIT = 1.0  # seconds of the read timeout; a busy server has to answer within it
EVERY = 0.02  # seconds between two bytes that trickle
IMPATIENT = {"read_timeout": LIMIT, "connect_timeout": LIMIT}
NEXT = patch("elm", 1).wire


def silent(name: str, play: Play, *brings: Event, early: bool = False) -> Fault:
    """Return an entry for a server that goes silent; each attempt takes the read timeout."""
    return Fault(name, play, SILENT, brings=brings, config=IMPATIENT, early=early, waited=2 * LIMIT)


@MODES
@SCHEMES
@table(
    silent("after_the_head", stream(then=Wire.stay)),
    silent("inside_an_event", stream(SMALL, NEXT[:-5], then=Wire.stay), SMALL),
)
def test_a_half_open_connection(fault: Fault, tls: bool, chunked: bool, secure: Tls) -> None:
    """A stream that falls silent is left after the read timeout."""
    survive(fault, chunked=chunked, tls=secure if tls else None)


@SCHEMES
@table(
    silent("never_accepted", Wire.stay, early=True),
    silent("no_answer", Wire.stay),
    silent("half_a_head", sending(b"HTTP/1.1 200 OK\r\nContent-", Wire.stay)),
)
def test_no_answer(fault: Fault, tls: bool, secure: Tls) -> None:
    """So is a server that accepts the connection and does not answer, or not to the end of the headers."""
    survive(fault, tls=secure if tls else None)


def trickle(data: bytes, *parts: bytes | Event) -> Play:
    """Return a play: an event stream's head, the parts, and then the same few bytes again and again."""
    return stream(*parts, then=lambda wire: wire.flood(itertools.repeat(data), EVERY))


def raw_trickle(start: bytes, data: bytes, *parts: bytes | Event) -> Play:
    """Return a play: with parts an event stream, else nothing; and then bytes outside of the framing, and so on."""
    play = sending(start, lambda wire: wire.flood(itertools.repeat(data), EVERY, raw=True))
    return stream(*parts, then=play) if parts else play


@MODES
@table(
    silent("a_comment", trickle(b"x", SMALL, b":"), SMALL),
    silent("data", trickle(b"x", SMALL, b"event: patch\ndata: "), SMALL),
    silent("nul", trickle(b"\0", SMALL), SMALL),
    silent("from_the_start", trickle(b"x")),
)
def test_bytes_without_lines(fault: Fault, chunked: bool) -> None:
    """Bytes that never complete a line are no sign of life."""
    survive(fault, chunked=chunked)


@table(
    silent("chunk_size", raw_trickle(b"", b"0", SMALL), SMALL),
    silent("chunk_extension", raw_trickle(b"5;", b"x", SMALL), SMALL),
    silent("status_line", raw_trickle(b"HTTP/1.1 200 ", b"x")),
    silent("header", raw_trickle(b"HTTP/1.1 200 OK\r\nX: ", b"x")),
    silent("informational", raw_trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
)
def test_bytes_that_never_make_a_body(fault: Fault) -> None:
    """Bytes of the framing that never lead to a body are no sign of life either."""
    survive(fault)


def hollow(wire: Wire) -> None:
    """Send a compressed stream of which nothing comes out."""
    packer = zlib.compressobj(wbits=31)
    wire.head(headers={"Content-Encoding": "gzip"})
    wire.body(packer.compress(SMALL.wire) + packer.flush(zlib.Z_SYNC_FLUSH))
    # Z_SYNC_FLUSH does nothing when nothing has come since the last one; two kinds in turn always write a block.
    for kind in itertools.cycle([zlib.Z_FULL_FLUSH, zlib.Z_SYNC_FLUSH]):
        wire.body(packer.flush(kind) or b"\0\0\0\xff\xff")
        wire.pause(EVERY)


@MODES
def test_a_compressed_stream_of_nothing(chunked: bool) -> None:
    """Bytes out of which nothing is decompressed are no sign of life."""
    survive(silent("hollow", hollow, SMALL), chunked=chunked)


@pytest.mark.parametrize("beat", [b":\n", b"\n", b"\r", b"x: y\n"], ids=["comment", "empty", "cr", "field"])
def test_heartbeats_keep_a_stream_alive(beat: bytes) -> None:
    """A stream with a line now and then is not dead, however long it brings no event."""
    recorder, lines = Recorder(), Lines()

    def beating(wire: Wire) -> None:
        wire.head()
        wire.body(SMALL)
        ends = time.monotonic() + 2 * LIMIT
        while time.monotonic() < ends:
            wire.body(beat)
            wire.pause(EVERY)
        wire.body(b"\n\n")
        wire.body(HEALTHY)
        wire.flood(itertools.repeat(beat), EVERY)

    with FaultServer(beating, 1) as server:
        manager = manager_of(server.url, recorder, lines, {"read_timeout": LIMIT})
        manager.start()
        try:
            recorder.wait_for("add_environment", DEADLINE, lambda params: params.env_id == "well")
            recorder.wait_for("received_all_environments")
        finally:
            assert manager.close(DEADLINE)
        assert len(server.attempts) == 1
    check_calls(recorder, [SMALL])
