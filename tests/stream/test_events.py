"""From bytes to events: the quick way and the careful one agree, and nothing makes the parser slow or large."""

from __future__ import annotations

import itertools
import re
import time
import tracemalloc
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_data import examples

from autoconfig.stream.events import EventParser, ServerSentEvent

LIMIT = 64 * 2**20
BOUND = (
    5.0  # seconds of this thread on a processor for what takes a fraction of one, unless the time grows with the square
)
BOM = b"\xef\xbb\xbf"
EVENT = b"event: put\ndata: {}\n\n"
PUT: ServerSentEvent = (b"put", b"{}")


class Stream(NamedTuple):
    """What a stream means."""

    events: list[ServerSentEvent]
    last_event_id: str
    retry: int | None


def parse(pieces: Iterable[bytes], limit: int = LIMIT) -> Stream:
    parser = EventParser(max_event_bytes=limit)
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert not parser.oversized
    return Stream(events, parser.last_event_id, parser.retry)


def readable(stream: Stream) -> Stream:
    """Return it as what its bytes mean: the quick way leaves broken UTF-8 to the decoder."""
    return stream._replace(
        events=[(clean(name), data if data is None else clean(data)) for name, data in stream.events]
    )


def clean(text: bytes | memoryview) -> bytes:
    return str(text, "utf-8", "replace").encode()


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[place : place + 1] for place in range(len(stream))]


def reference(stream: bytes) -> Stream:
    """
    Read a stream line by line, as WHATWG HTML 9.2.6 has it.

    One thing is the relay's: a block without data is an event if it has a name.
    """
    *lines, _ = re.split("\r\n|\r|\n", stream.removeprefix(BOM).decode("utf-8", "replace"))
    events: list[ServerSentEvent] = []
    name, data, id, last_event_id, retry = "", list[str](), "", "", None
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_event_id = id
            if data or name not in ("", "message"):
                events.append(((name or "message").encode(), "\n".join(data).encode() if data else None))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            id = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return Stream(events, last_event_id, retry)


FIELDS = ["data", "event", "id", "retry", "", "Data", " data", "dat", "\ufeffdata", "other", "data\0"]
VALUES = [
    "",
    "x",
    "put",
    "message",
    "7",
    "007",
    "-7",
    "7x",
    "７",
    "a:b",
    ": ",
    "\0",
    "a\0b",
    "é😀",
    "\u2028\x85\x0b\x0c\x1c",
]
LINES = [
    *[field.encode() for field in FIELDS],
    *[f"{field}:{space}{value}".encode() for field in FIELDS for space in ("", " ", "  ", "\t") for value in VALUES],
    *[b"data: " + junk for junk in (b"\xff", b"\xe2\x80", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\x80", BOM)],
]
ENDS = [b"\n", b"\n", b"\r", b"\r\n", b"\n\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\n\n", b"\n\r\r\n"]
STREAMS = st.builds(
    lambda start, lines, end: b"".join([start, *itertools.chain(*lines), end]),
    st.sampled_from([b"", b"", b"\n", b"\r\n", BOM, BOM * 2, BOM[:2]]),
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=12),
    st.sampled_from([b"", b"", *LINES]),
)
CUTS = st.lists(st.integers(0, 300), max_size=8).map(sorted)
WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=10)
NAMED = st.lists(st.tuples(WORDS, WORDS), max_size=6)
EXTRAS = ["", ":\n", ": heartbeat\n", "other: x\n", "other\n", "id: 7\n", "id\n", "retry: 5\n"]


@given(STREAMS, CUTS)
@examples(500)
def test_any_stream_means_what_the_standard_says(stream: bytes, cuts: list[int]) -> None:
    """Whole, byte by byte, and in pieces of any size."""
    expected = reference(stream)
    assert readable(parse([stream])) == expected
    assert readable(parse(bytewise(stream))) == expected
    pieces = [stream[start:end] for start, end in itertools.pairwise([0, *cuts, len(stream)])]
    assert readable(parse(pieces)) == expected


@given(STREAMS)
@examples(100)
def test_a_stream_cut_once_at_any_place_is_the_same(stream: bytes) -> None:
    whole = readable(parse([stream]))
    for place in range(len(stream) + 1):
        assert readable(parse([stream[:place], stream[place:]])) == whole


@given(NAMED, st.data())
def test_the_quick_way_and_the_careful_one_agree(named: list[tuple[str, str]], data: st.DataObject) -> None:
    """A line that means nothing for an event's name and data takes the careful way, and changes neither."""
    blocks = [(f"event: {name}\n", f"data: {text}\n", "\n") for name, text in named]
    extras = st.lists(st.sampled_from(EXTRAS), min_size=2, max_size=2)
    careful = "".join(
        f"{before}{name}{between}{text}{end}" for name, text, end in blocks for before, between in [data.draw(extras)]
    )
    expected = [((name or "message").encode(), text.encode()) for name, text in named]
    assert parse(["".join(map("".join, blocks)).encode()]) == (expected, "", None)
    assert parse([careful.encode()]).events == expected


def test_an_unfinished_event_is_never_returned() -> None:
    """Whichever byte the stream ends with."""
    for place in range(len(EVENT)):
        assert parse([EVENT, EVENT[:place]]).events == [PUT]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", "old"),
        (EVENT, "old"),
        (b"id: 1\n\n", "1"),
        (b"id: 1\ndata: x\n", "old"),
        (b"id: 1\n\nid: 2\n", "1"),
        (b"id:1\n\n", "1"),
        (b"id:  1 \n\n", " 1 "),
        (b"id: 1\nid: 2\n\n", "2"),
        (b"id: 1\n\ndata: x\n\n", "1"),
        (b"id\n\n", ""),
        (b"id:\n\n", ""),
        (b"id: \n\n", ""),
        (b"id: \x00\n\n", "old"),
        (b"id: 1\nid: 2\x00\n\n", "1"),
        (b"ID: 1\n\n", "old"),
        (b"id: \xff\n\n", "\ufffd"),
        ("id: é😀\n\n".encode(), "é😀"),
    ],
)
def test_the_last_event_id(stream: bytes, expected: str) -> None:
    """That of the last complete event; what an earlier connection left, without one; a NUL makes it none."""
    parser = EventParser(max_event_bytes=LIMIT, last_event_id="old")
    parser.feed(stream)
    assert parser.last_event_id == expected


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", None),
        (EVENT, None),
        (b"retry: 5\n\n", 5),
        (b"retry: 5\n", 5),
        (b"retry: 5\r", 5),
        (b"retry: 5", None),
        (b"data: x\nretry:5\ndata: y\n", 5),
        (b"retry: 5\n\nretry: 6\n", 6),
        (b"retry: 5\nretry: 6\n\n", 6),
        (b"retry: 5\n\nretry: x\n\nretry:\n\nretry\n\n", 5),
        (b"retry: 0\n\n", 0),
        (b"retry: 0005\n\n", 5),
        (b"retry: " + b"0" * 10_000 + b"5\n\n", 5),
        *[
            (f"retry: {text}\n\n".encode(), None)
            for text in ("-5", "+5", "5.0", "5 ", " 5", "1_000", "0x5", "5e3", "\0", "")
        ],
        *[(f"retry: {text}\n\n".encode(), None) for text in ("５", "٥", "5²", "௫")],
        *[
            (line, None)
            for line in (b"Retry: 5\n\n", b" retry: 5\n\n", b"retry : 5\n\n", b"xretry: 5\n\n", b"data: retry: 5\n\n")
        ],
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_the_last_retry(stream: bytes, expected: int | None) -> None:
    """Of ASCII digits only, and also of an event that is not complete; anything else leaves it as it was."""
    assert parse([stream]).retry == expected
    assert parse(bytewise(stream)).retry == expected


@pytest.mark.parametrize("digits", [20, 400, 5000, 100_000])
def test_a_huge_retry_is_a_huge_number(digits: int) -> None:
    """No error, however many digits there are; how long to wait is not decided here."""
    retry = parse([b"retry: " + b"9" * digits + b"\n\n"]).retry
    assert retry is not None
    assert retry >= 10**19


@pytest.mark.parametrize("cuts", list(itertools.product([0, 1], repeat=4)))
def test_a_byte_order_mark_is_dropped_however_it_is_cut(cuts: tuple[int, ...]) -> None:
    """One, at the start of the stream."""
    places = [place for place, cut in enumerate(cuts) if cut]
    stream = BOM + EVENT
    assert parse([stream[start:end] for start, end in itertools.pairwise([0, *places, len(stream)])]).events == [PUT]


@pytest.mark.parametrize("stream", [BOM + BOM + EVENT, BOM[:2] + EVENT, BOM[:1] + EVENT, b"\n" + BOM + EVENT])
def test_anything_else_at_the_start_belongs_to_the_line(stream: bytes) -> None:
    """Two marks, a part of one, and one that comes later."""
    for pieces in ([stream], bytewise(stream)):
        assert parse(pieces).events == [(b"message", b"{}")]


@pytest.mark.parametrize("tail", [b"", b"\n", b"\n\n"])
def test_events_of_the_limits_size_pass(tail: bytes) -> None:
    """In one piece too, whatever their number and however many blank lines follow."""
    for stream in (EVENT, EVENT * 3):
        assert parse([stream + tail], limit=len(EVENT)).events == [PUT] * (len(stream) // len(EVENT))
        assert parse(bytewise(stream + tail), limit=len(EVENT)).events == [PUT] * (len(stream) // len(EVENT))


@pytest.mark.parametrize(
    "large", [b"event: put\ndata: {} \n\n", b"data: " + b"x" * 1000, b"x" * 1000, b":" + b"x" * 1000]
)
def test_an_event_above_the_limit_ends_the_stream(large: bytes) -> None:
    """Complete or not; what came before it is returned, what comes after it is not."""
    for pieces in ([EVENT * 2 + large], [EVENT, EVENT, large], [EVENT * 2 + large[:5], large[5:]]):
        parser = EventParser(max_event_bytes=len(EVENT))
        assert [event for piece in pieces for event in parser.feed(piece)] == [PUT, PUT]
        assert parser.oversized
        assert not parser.feed(b"\n\n" + EVENT)
        assert parser.oversized


def test_an_event_above_the_limit_between_others() -> None:
    """In one piece: those before it come, those after it do not."""
    parser = EventParser(max_event_bytes=len(EVENT))
    assert parser.feed(EVENT + b"event: put\ndata: {1}\n\n" + EVENT) == [PUT]
    assert parser.oversized


@pytest.mark.parametrize("cut", [bytewise, lambda stream: [stream]], ids=["bytes", "whole"])
def test_comments_before_an_event_do_not_count(cut: type[list[bytes]]) -> None:
    """Heartbeats that share a block with the next event make it no larger, in whatever pieces they come."""
    assert parse(cut(b": heartbeat\n: heartbeat\n" + EVENT), limit=len(EVENT)).events == [PUT]


def memory_after(piece: bytes, times: int, limit: int, start: bytes = b"") -> tuple[int, EventParser]:
    """Return how much more memory there is in use at most while a piece comes again and again, and the parser."""
    parser = EventParser(max_event_bytes=limit)
    tracemalloc.start()
    try:
        parser.feed(start)
        for _ in range(times):
            parser.feed(piece)
        return tracemalloc.get_traced_memory()[1], parser
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [b"x" * 4096, b"data: x\n" * 512, b":" + b"x" * 4095, b"id: x\n" * 512])
def test_an_endless_event_takes_no_more_memory_than_the_limit(piece: bytes) -> None:
    """One endless line, a line without end of a comment, endless lines: a limit, a piece, and some overhead."""
    peak, parser = memory_after(piece, 5000, limit=2**20)
    assert parser.oversized
    assert peak < 2**20 * 1.5


@pytest.mark.parametrize("start", [b"", BOM, EVENT, b"\n", b"\r\n", EVENT + b"\n"])
@pytest.mark.parametrize(("comment", "times"), [(b":\n", 20_000), (b": heartbeat\r\n" * 10, 2_000)])
def test_endless_comments_take_no_memory(start: bytes, comment: bytes, times: int) -> None:
    """Also without a blank line between them, and wherever the last event ended."""
    limit = 2**15
    assert len(comment) * times > limit
    peak, parser = memory_after(comment, times, limit=limit, start=start)
    assert not parser.oversized
    assert peak < 2**14
    assert parser.feed(EVENT) == [PUT]


def seconds_for(pieces: Iterable[bytes]) -> tuple[float, list[ServerSentEvent]]:
    started = time.thread_time()
    events = parse(pieces).events
    return time.thread_time() - started, events


@pytest.mark.parametrize("count", [64, 65, 100_000])
def test_many_data_lines_are_joined_in_linear_time(count: int) -> None:
    """With and without a space, a value, a colon; the same by either way of joining."""
    lines = b"data: x\ndata\ndata:y\ndata:  " + b"z" * 200 + b"\n"
    stream = b"event: put\n" + lines * (count // 4) + b"data:\n" * (count % 4) + b"\n"
    seconds, [event] = seconds_for([stream])
    values = ["x", "", "y", " " + "z" * 200] * (count // 4) + [""] * (count % 4)
    assert event == (b"put", "\n".join(values).encode())
    assert seconds < BOUND


@pytest.mark.parametrize("line", [b"event: put\n", b"id: 1\n", b"retry: 1\n", b"other: x\n", b":\n", b"\0\n"])
def test_many_lines_of_any_kind_are_read_in_linear_time(line: bytes) -> None:
    """No server can keep the thread busy for longer than its bytes take to come."""
    seconds, events = seconds_for([b"event: put\n" + line * 200_000 + b"data: {}\n\n"])
    assert events == [PUT]
    assert seconds < BOUND


@pytest.mark.parametrize("piece", [b"x", b"x" * 7, b"data: x\n", b":\n", b"x\n"])
def test_many_small_pieces_are_read_in_linear_time(piece: bytes) -> None:
    """What has come is not searched again with every byte."""
    seconds, _ = seconds_for([b"data: ", *[piece] * 200_000, b"\n\n"])
    assert seconds < BOUND
