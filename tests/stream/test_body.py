"""The body of an answer: the chunks that http.client finds in it, however they come and however wrong; the deadline."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from http.client import HTTPResponse, IncompleteRead
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream.connecting import promptly

from autoconfig.exceptions import StreamEndedError
from autoconfig.stream.body import ChunkedBody, Deadline, SocketReader, pieces
from autoconfig.stream.cancel import CancelToken

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Pieces(io.RawIOBase):
    """A connection that brings these bytes, one piece a read, and then ends."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._pieces.pop(0) if self._pieces else b""
        taken = piece[: len(buffer)]
        if len(piece) > len(taken):
            self._pieces.insert(0, piece[len(taken) :])
        buffer[: len(taken)] = taken
        return len(taken)


def body_of(*pieces: bytes) -> ChunkedBody:
    return ChunkedBody(io.BufferedReader(Pieces(pieces)).read1)


def contents(body: ChunkedBody) -> bytes:
    """Return all that it brings, up to its regular end."""
    return b"".join(iter(lambda: body.read1(65536), b""))


def answered(data: bytes) -> HTTPResponse:
    """Return what http.client makes of an answer."""
    answer = HTTPResponse(cast(socket.socket, SimpleNamespace(makefile=lambda mode: io.BufferedReader(Pieces([data])))))
    answer.begin()
    return answer


def chunk(content: bytes, extension: bytes = b"", end: bytes = b"\r\n") -> bytes:
    return b"%x%b%b%b\r\n" % (len(content), extension, end, content)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


EXTENSIONS = st.sampled_from([b"", b";name", b'; name="va;lue"', b" ", b"\t;x"])
ENDS = st.sampled_from([b"\r\n", b"\n"])
CHUNKS = st.lists(st.builds(chunk, st.binary(min_size=1, max_size=40), EXTENSIONS, ENDS), max_size=8)


@given(CHUNKS, st.lists(st.integers(0, 10_000), max_size=30))
def test_it_brings_what_http_client_does(chunks: list[bytes], places: list[int]) -> None:
    data = b"".join(chunks) + LAST
    assert contents(body_of(*cut(data, places))) == answered(HEAD + data).read()


@given(CHUNKS)
def test_every_byte_may_come_by_itself(chunks: list[bytes]) -> None:
    data = b"".join(chunks) + LAST
    assert contents(body_of(*(data[at : at + 1] for at in range(len(data))))) == answered(HEAD + data).read()


def test_a_size_may_have_any_number_of_zeros_before_it() -> None:
    data = b"0" * 40 + b"3\r\nall\r\n" + b"0" * 40 + b"\r\n\r\n"
    assert contents(body_of(data)) == answered(HEAD + data).read() == b"all"
    assert contents(body_of(*(data[at : at + 1] for at in range(len(data))))) == b"all"


def test_what_one_read_brought_comes_at_once() -> None:
    body = body_of(chunk(b"one ") + chunk(b"two ") + b"5\r\nthr", b"ee" + b"\r\n" + LAST)
    assert [body.read1(65536) for _ in range(3)] == [b"one two thr", b"ee", b""]
    assert body.read1(65536) == b""


def test_trailers_are_not_waited_for() -> None:
    assert contents(body_of(chunk(b"all") + b"0\r\n", b"Never: read")) == b"all"


@given(CHUNKS.filter(bool), st.integers(0, 10_000))
def test_an_end_inside_the_body_is_none(chunks: list[bytes], place: int) -> None:
    """Neither between chunks nor inside of one; all that came is there."""
    data = b"".join(chunks)
    cut_off = data[: place % (len(data) + 1)]
    found: list[bytes] = []
    with pytest.raises(IncompleteRead):
        found.extend(iter(partial(body_of(cut_off).read1, 65536), b""))
    assert answered(HEAD + data + LAST).read().startswith(b"".join(found))


@pytest.mark.parametrize(
    "wrong",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\nx",
        b"+1\r\nx",
        b"0x1\r\nx",
        b"1_0\r\nx",
        b"1 1\r\nx",
        b"11111111111111111\r\n",
        chunk(b"good")[:-2] + b"xx1\r\n",
        chunk(b"good")[:-2] + b"1\r\nx",
        chunk(b"good") + b"\r\n1\r\nx",
        b"event: put\ndata: {}\n\n",
    ],
    ids=repr,
)
def test_what_is_no_size_ends_it_at_once(wrong: bytes) -> None:
    """Without waiting for more; http.client would take some of these for sizes."""
    for parts in [wrong], [wrong[at : at + 1] for at in range(len(wrong))]:
        body = body_of(*parts, b"1\r\nx")
        with pytest.raises(IncompleteRead):
            contents(body)


@pytest.mark.parametrize("start", [b"1;", chunk(b"good") + b"1;"], ids=["first", "later"])
@pytest.mark.parametrize("size", [1, 4096])
def test_a_size_without_an_end_is_given_up(start: bytes, size: int) -> None:
    """Of an endless extension no more than some kilobytes are kept."""
    source = Endless(start, b"x" * size)
    body = ChunkedBody(source.read1)
    with pytest.raises(IncompleteRead):
        contents(body)
    assert source.given < 16_384


class Endless:
    """A connection that brings a piece, and then the same other piece for ever."""

    def __init__(self, first: bytes, then: bytes) -> None:
        self._next = first
        self._then = then
        self.given = 0

    def read1(self, size: int) -> bytes:
        piece, self._next = self._next, self._then
        self.given += len(piece)
        assert self.given < 2**15, "nobody gives up"
        return piece


class CountingSocket(socket.socket):
    """Counts how often its timeout is set."""

    changes = 0

    def settimeout(self, value: float | None) -> None:
        self.changes += 1
        super().settimeout(value)


@pytest.fixture
def ends() -> Iterator[tuple[CountingSocket, socket.socket]]:
    """A connection: our end, which counts, and the peer's."""
    first, second = socket.socketpair()
    with CountingSocket(fileno=first.detach()) as ours, second:
        yield ours, second


def test_reading_sets_no_timeout_while_there_is_progress(ends: tuple[CountingSocket, socket.socket]) -> None:
    """Each would be a system call, twice for every read."""
    ours, theirs = ends
    ours.settimeout(5.0)
    ours.changes = 0
    deadline = Deadline(5.0)
    deadline.renew()
    with SocketReader(ours, deadline) as reads:
        for _ in range(100):
            theirs.send(b"x")
            assert reads.read(10) == b"x"
            deadline.renew()
    assert ours.changes == 0


def test_a_trickle_is_read_until_the_deadline_and_not_longer(ends: tuple[CountingSocket, socket.socket]) -> None:
    """After that there may be progress again, with the whole time."""
    ours, theirs = ends
    ours.settimeout(5.0)
    deadline = Deadline(0.2)
    deadline.renew()
    with SocketReader(ours, deadline) as reads:
        theirs.send(b"x")
        assert reads.read(10) == b"x"
        with promptly(), pytest.raises(TimeoutError):
            reads.read(10)
        with pytest.raises(TimeoutError, match="deadline"):
            reads.read(10)
        deadline.renew()
        theirs.send(b"y")
        assert reads.read(10) == b"y"


def test_a_timeout_that_was_shortened_is_not_the_next_reads(ends: tuple[CountingSocket, socket.socket]) -> None:
    """There was progress since, so that the next byte may take as long as ever."""
    ours, theirs = ends
    ours.settimeout(60.0)
    deadline = Deadline(60.0)
    deadline.at = time.monotonic() + 0.01
    with SocketReader(ours, deadline) as reads:
        with promptly(), pytest.raises(TimeoutError):
            reads.read(10)
        deadline.renew()
        writer = threading.Timer(0.2, theirs.send, [b"x"])
        writer.start()
        assert reads.read(10) == b"x"
        writer.join()
    assert ours.gettimeout() == pytest.approx(60.0, abs=1.0)


def test_a_file_may_come_slowly_without_any_line() -> None:
    """All of it is progress; of an event stream, lines are."""
    parts = [b"x", b"x", b""]
    raw = SimpleNamespace(read1=lambda size, decode_content: parts.pop(0))
    assert list(pieces(raw, Deadline(0.0), CancelToken(), endless=False)) == [b"x", b"x"]
    parts = [b"x"]
    with pytest.raises(StreamEndedError, match="no complete line"):
        list(pieces(raw, Deadline(0.0), CancelToken(), endless=True))


def test_a_file_that_stops_coming_is_not_said_to_lack_lines() -> None:
    def stop(size: int, decode_content: bool) -> bytes:
        raise TimeoutError

    with pytest.raises(StreamEndedError, match="nothing was received in time"):
        list(pieces(SimpleNamespace(read1=stop), Deadline(0.0), CancelToken(), endless=False))
