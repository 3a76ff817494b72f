"""The event-stream grammar: 200 streams and what they mean, however they are cut into pieces."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_server import Item, ScriptedServer
from vectors import playing

from autoconfig.stream.events import EventParser

VECTORS = playing.load("sse.json")
LIMIT = 64 * 2**20
# Up to this size every split into two pieces is tried. Above it, those near a line's end and a sample of the others:
# inside a long line all are alike.
SHORT = 2000
NEAR = 50
SAMPLE = 97
LINES = 20  # at both ends of a stream of many short lines

Vector = Mapping[str, Any]
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"].partition(" ")[0] for vector in VECTORS])


class Result(NamedTuple):
    """What a stream meant: events as (name, data), the id after each if that could be seen, and what remains."""

    events: list[tuple[str, str]]
    ids: list[str | None]
    last_event_id: str
    retry: int | None


def parse(pieces: Iterable[bytes]) -> Result:
    """Feed the pieces to a parser; the id after an event can be seen if its piece is one byte."""
    parser = EventParser(max_event_bytes=LIMIT)
    events: list[tuple[str, str]] = []
    ids: list[str | None] = []
    for piece in pieces:
        found = parser.feed(piece)
        # The relay dispatches a block without data, the standard does not.
        dispatched = [(name.decode("utf-8", "replace"), data) for name, data in found if data is not None]
        events += [(name, bytes(data).decode("utf-8", "replace")) for name, data in dispatched]
        ids += [parser.last_event_id if len(piece) == 1 else None for _ in dispatched]
    return Result(events, ids, parser.last_event_id, parser.retry)


def chunks_of(vector: Vector) -> list[bytes]:
    return [base64.b64decode(chunk) for chunk in vector["chunks_b64"]]


def stream_of(vector: Vector) -> bytes:
    return b"".join(chunks_of(vector))


def check(vector: Vector, pieces: Iterable[bytes]) -> None:
    """Compare all that a stream means, and the ids after those events after which they can be seen."""
    result = parse(pieces)
    expect = vector["expect"]
    assert result.events == [(event["event"], event["data"]) for event in expect]
    assert all(known in (None, event["id"]) for known, event in zip(result.ids, expect, strict=True))
    assert (result.last_event_id, result.retry) == (vector["last_event_id"], vector["retry"])


def splits(stream: bytes) -> Iterator[int]:
    """Yield the places where a stream is cut in two."""
    if len(stream) <= SHORT:
        yield from range(len(stream) + 1)
        return
    ends = [place for place, byte in enumerate(stream) if byte in b"\r\n"]
    if len(ends) > 2 * LINES:  # the lines between are like them
        ends = ends[:LINES] + ends[-LINES:]
    near = {place for end in ends for place in range(max(0, end - NEAR), min(len(stream), end + NEAR) + 1)}
    yield from sorted(near | set(range(0, len(stream) + 1, SAMPLE)))


@each_vector
def test_whole_and_in_pieces(vector: Vector) -> None:
    """The stream as recorded; byte by byte, so that each event's id can be seen; and cut once (see ``SHORT``)."""
    check(vector, chunks_of(vector))
    stream = stream_of(vector)
    pieces = [stream[place : place + 1] for place in range(len(stream))]
    check(vector, pieces)
    assert None not in parse(pieces).ids
    for place in splits(stream):
        check(vector, [stream[:place], stream[place:]])


@given(vector=st.sampled_from(VECTORS), data=st.data())
def test_in_random_pieces(vector: Vector, data: st.DataObject) -> None:
    """The stream cut any number of times, into empty pieces too."""
    stream = stream_of(vector)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=30))
    check(vector, [stream[start:end] for start, end in itertools.pairwise([0, *sorted(cuts), len(stream)])])


def test_an_event_is_there_with_its_last_byte() -> None:
    """A CR at a line's end does not wait for the LF that may or may not follow."""
    for end in ["\n\n", "\r\r", "\r\n\r\n", "\r\n\r", "\n\r"]:
        assert parse([f"data: x{end}".encode()]).events == [("message", "x")]


@pytest.mark.parametrize(("framing", "chunking"), [("chunked", "byte"), ("close", "event")])
@each_vector
def test_over_a_connection(vector: Vector, framing: str, chunking: str) -> None:
    """The stream as it comes through HTTP, in the pieces that urllib3 hands over."""
    items: list[Item] = [{"raw_b64": chunk} for chunk in vector["chunks_b64"]]
    script = [[*items, {"close": "eof"}]]
    with ScriptedServer(script, framing=framing, chunking=chunking) as server:
        pieces = list(read(server.url))
    check(vector, pieces)


def read(url: str) -> Iterator[bytes]:
    """Yield an answer's body piece by piece."""
    with requests.Session() as session, session.get(url, stream=True, timeout=30) as response:
        while piece := response.raw.read1(65536, decode_content=True):
            yield piece


def test_all_streams_are_played() -> None:
    """The file is whole."""
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS) == 200
