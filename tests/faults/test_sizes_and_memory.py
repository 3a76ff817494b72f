"""Streams without measure: what they may cost, in a client process of its own, is bounded."""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faults.events import SMALL, Event, ExpectedCalls, environment, patch
from faults.server import FaultServer, Play, Wire, stream
from faults.table import MODES, Fault, survive

MIB = 2**20
LIMIT = 4 * MIB
MOST_GROWTH = 64_000_000  # bytes
MOST_SECONDS = 10.0  # of the processor; quadratic work takes minutes
TIMEOUT = 55.0  # seconds for the client
LINES = 100_000
OVERSIZED = f"an event is larger than the limit of {LIMIT} bytes"
LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux' /proc")


class Report(NamedTuple):
    """What the client process measured and saw."""

    growth: int
    seconds: float
    calls: list[str]
    lines: list[list[Any]]


def measure(play: Play, *, chunked: bool = True, limit: int = LIMIT) -> Report:
    """Let a client in another process go through the fault, once."""
    go = threading.Event()

    def second(wire: Wire) -> None:
        if wire.turn == 0:
            stream(SMALL, then=Wire.end)(wire)
        else:
            assert go.wait(TIMEOUT)
            play(wire)

    command = [sys.executable, str(Path(__file__).with_name("client.py"))]
    environ = {**os.environ, "PYTHONPATH": ""}
    with FaultServer(second, 2, chunked=chunked) as server:
        arguments = [*command, server.url, str(limit)]
        pipe = subprocess.PIPE
        with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environ) as client:
            try:
                assert client.stdout is not None
                assert client.stdout.readline() == "measuring\n", client.communicate(timeout=TIMEOUT)
                go.set()
                output, errors = client.communicate("\n", timeout=TIMEOUT)
            finally:
                go.set()
                client.kill()
        assert client.returncode == 0, errors
    return Report(**json.loads(output))


def bomb(start: bytes, block: bytes, size: int, layers: int = 1) -> Play:
    """Return a play: a compressed stream that inflates to the start and then to blocks of so many bytes."""

    def play(wire: Wire) -> None:
        wire.head(headers={"Content-Encoding": ", ".join(["gzip"] * layers)})
        wire.flood(inflating(start, block, size, layers))

    return play


def inflating(start: bytes, block: bytes, size: int, layers: int) -> Iterator[bytes]:
    packers = [zlib.compressobj(9, wbits=31) for _ in range(layers)]

    def through(data: bytes) -> bytes:
        for packer in packers:
            data = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
        return data

    yield through(start)
    yield through(block)
    # After a full flush the same bytes come again for the same data, so one block is compressed once and sent often.
    # The outer layers of several do not repeat, but they are small.
    piece = through(block) if layers == 1 else None
    for _ in range(size // len(block)):
        yield piece or through(block)


def flood(data: bytes, size: int, *parts: bytes) -> Play:
    """Return a play: an event stream with the parts, so many bytes of the same data again and again, and its end."""

    def then(wire: Wire) -> None:
        wire.flood(itertools.repeat(data, size // len(data)))
        wire.end()

    return stream(*parts, then=then)


ZEROS = b"\0" * MIB
LINE = b"x" * 65536
BOMBS: dict[str, Play] = {
    "gzip_of_zeros": bomb(b"", ZEROS, 300 * MIB),
    "gzip_of_an_endless_line": bomb(b"event: put\ndata: ", b"x" * MIB, 300 * MIB),
    "gzip_of_lines": bomb(b"event: put\n", b"data: x\n" * 65536, 300 * MIB),
    "gzip_of_gzip": bomb(b"", ZEROS * 16, 3000 * MIB, layers=2),
    "endless_line": flood(LINE, 200 * MIB),
    "endless_data": flood(LINE, 200 * MIB, b"event: put\ndata: "),
    "endless_event": flood(b"data: x\n" * 8192, 200 * MIB, b"event: put\n"),
    "endless_retry": flood(b"retry: 1\n" * 8192, 200 * MIB),
    "event_of_8_mib": stream(b"event: put\ndata: ", *[LINE] * 128, b"\n\n", then=Wire.end),
}


@LINUX
@pytest.mark.parametrize("name", BOMBS)
def test_an_event_beyond_the_limit(name: str) -> None:
    """It is left as soon as it is too large, it costs a bounded amount of memory, and it is told as an ERROR."""
    report = measure(BOMBS[name])
    assert report.growth < MOST_GROWTH
    assert report.seconds < MOST_SECONDS
    assert report.calls[-6:] == ["update oak", "add well", "delete ash", "add f9", "delete f1", "all"]
    [error] = [text for level, text in report.lines if level >= logging.ERROR]
    assert OVERSIZED in error


def pretty(lines: int) -> Event:
    """Return a put whose JSON stands on so many lines and more."""
    document = {"path": "/", "data": {"environments": {"elm": environment("elm", 1)}, "filters": {}}}
    return Event("put", {**document, "padding": ["abcdefgh"] * lines})


def written(event: Event) -> bytes:
    """Return the event with its JSON on many lines."""
    lines = json.dumps(event.document, indent=2).split("\n")
    return f"event: {event.name}\n".encode() + b"".join(b"data: %b\n" % line.encode() for line in lines) + b"\n"


MANY = written(pretty(LINES))
HARMLESS: dict[str, Play] = {
    "data_lines": stream(MANY, then=Wire.end),
    "data_lines_in_pieces": stream(*[MANY[start : start + 1000] for start in range(0, len(MANY), 1000)], then=Wire.end),
    "comments": flood(b":heartbeat\n" * 5000, 100 * MIB, written(pretty(1))),
    "empty_lines": flood(b"\n" * 65536, 50 * MIB, written(pretty(1))),
    "gzip_of_comments": bomb(written(pretty(1)), b":x\n" * 65536, 100 * MIB),
}


@LINUX
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_within_the_limit(name: str) -> None:
    """A hundred thousand data lines are an event, comments are nothing, and none of it is expensive."""
    report = measure(HARMLESS[name])
    assert report.growth < MOST_GROWTH
    assert report.seconds < MOST_SECONDS
    assert report.calls.count("add elm") == 1
    assert report.calls[-1] == "all"
    assert not [text for level, text in report.lines if level >= logging.ERROR]


SMALLEST = 1000  # bytes


@MODES
@pytest.mark.parametrize("name", ["line", "lines", "comment", "whole", "torn", "field_names"])
def test_a_small_limit(name: str, chunked: bool) -> None:
    """What was whole before counts; nothing of the event that is too large, or behind it, does."""
    big = {
        "line": (b"data: " + b"x" * 2000,),
        "lines": (b"data: x\n" * 200,),
        "comment": (b":" + b"x" * 2000,),
        "whole": (patch("elm", 1).wire.replace(b"{", b"{" + b" " * 1000, 1) + patch("yew", 1).wire,),
        "torn": tuple(bytes([byte]) for byte in b"data: " + b"x" * 1000),
        "field_names": (b"x\n" * 600,),
    }[name]
    text = f"larger than the limit of {SMALLEST} bytes"
    fault = Fault("big", stream(SMALL, *big, then=Wire.stay), text, logging.ERROR, [SMALL])
    survive(fault._replace(config={"max_event_bytes": SMALLEST}), chunked=chunked)


@MODES
def test_an_event_of_exactly_the_limit(chunked: bool) -> None:
    """The limit is the size that is accepted, not the first one that is not."""
    event = patch("elm", 1)
    padded = event.wire.replace(b"{", b"{" + b" " * (SMALLEST - len(event.wire)), 1)
    assert len(padded) == SMALLEST
    assert ExpectedCalls().calls([event])
    fault = Fault("exact", stream(SMALL, padded, then=Wire.end), "ended the stream", brings=[SMALL, event])
    survive(fault._replace(config={"max_event_bytes": SMALLEST}), chunked=chunked)
