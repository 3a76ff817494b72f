"""What stands before and among the headers of an answer: interim answers, encodings, headers that come twice, junk."""

from __future__ import annotations

import gzip
import threading
import zlib

import pytest
from stream.connecting import LONG, promptly, read
from support.loopback import chunk
from support.raw_server import RawServer, Step, answer, redirect

from autoconfig.exceptions import ConnectionFailedError

LINE = b":\n"
TYPE = b"Content-Type: text/event-stream\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": HINTS,
    "several": HINTS * 3 + b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS,
    "with a length": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


def head(*lines: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"\r\n"


def failure(*steps: Step, **config: float) -> str:
    """Return why there is no stream."""
    with RawServer(steps) as server, promptly(), pytest.raises(ConnectionFailedError) as caught:
        read(server.url, 1, **config)
    return str(caught.value)


@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_an_interim_answer_is_not_the_answer(interim: bytes, framing: str) -> None:
    body = [head(TYPE), LINE] if framing == "close" else [head(TYPE, b"Transfer-Encoding: chunked\r\n"), chunk(LINE)]
    with RawServer([interim, *body]) as server:
        assert read(server.url, 2) == LINE


def test_the_status_after_interim_answers_counts() -> None:
    assert failure(HINTS, answer(503), None) == "unexpected HTTP status 503"


def test_a_change_of_protocol_is_an_answer() -> None:
    """Nobody asked for one."""
    assert failure(answer(101, {"Upgrade": "websocket"})) == "unexpected HTTP status 101"


def test_interim_answers_without_end_are_given_up() -> None:
    assert failure(HINTS * 500, read_timeout=LONG) == "too many interim answers came before the answer"


def test_interim_answers_that_trickle_in_are_given_up_at_the_deadline() -> None:
    """Each of them comes before the read timeout."""
    gates = [threading.Event() for _ in range(600)]
    steps: list[Step] = [step for gate in gates for step in (gate, HINTS)]
    stop = threading.Event()

    def trickle() -> None:
        for gate in gates:
            if stop.wait(0.1):
                return
            gate.set()

    thread = threading.Thread(target=trickle)
    with RawServer(steps) as server:
        thread.start()
        with pytest.raises(ConnectionFailedError, match="nothing was received in time"):
            read(server.url, 1, read_timeout=0.5)
        opened = sum(gate.is_set() for gate in gates)
        stop.set()
        thread.join()
    assert opened < len(gates)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip", "gzip,identity"])
def test_what_can_be_decoded_is(coding: str) -> None:
    with RawServer([head(TYPE, f"Content-Encoding: {coding}\r\n".encode()), gzip.compress(LINE)]) as server:
        assert read(server.url, 2) == LINE


def test_encodings_of_several_headers_are_decoded_one_after_the_other() -> None:
    headers = [b"Content-Encoding: deflate\r\n", b"Content-Encoding: gzip\r\n"]
    with RawServer([head(TYPE, *headers), gzip.compress(zlib.compress(LINE))]) as server:
        assert read(server.url, 2) == LINE


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
def test_no_encoding_may_be_named(coding: str) -> None:
    with RawServer([head(TYPE, f"Content-Encoding: {coding}\r\n".encode()), LINE]) as server:
        assert read(server.url, 2) == LINE


@pytest.mark.parametrize(
    "coding", ["compress", "x-new", "gzip, x-new", "x-new, gzip", "x-new\r\nContent-Encoding: gzip"]
)
def test_what_cannot_be_decoded_is_a_failure(coding: str) -> None:
    """Else its bytes are no events, and the stream is silence."""
    said = failure(head(TYPE, f"Content-Encoding: {coding}\r\n".encode()), gzip.compress(LINE))
    name = "compress" if coding == "compress" else "x-new"
    assert said == f"the answer is encoded as '{name}', which cannot be decoded"


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_what_needs_a_package_that_is_not_there_is_a_failure(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib3 import HTTPResponse

    monkeypatch.setattr(HTTPResponse, "CONTENT_DECODERS", ["gzip", "x-gzip", "deflate"])
    assert f"encoded as '{coding}'" in failure(head(TYPE, f"Content-Encoding: {coding}\r\n".encode()), b"\x28\xb5")


@pytest.mark.parametrize("coding", ["gzip, chunked", "x-new"])
def test_a_transfer_encoding_that_cannot_be_decoded_is_a_failure(coding: str) -> None:
    assert "which cannot be decoded" in failure(head(TYPE, f"Transfer-Encoding: {coding}\r\n".encode()), chunk(LINE))


def test_a_transfer_encoding_may_come_twice() -> None:
    with RawServer([head(TYPE, *[b"Transfer-Encoding: chunked\r\n"] * 2), chunk(LINE)]) as server:
        assert read(server.url, 2) == LINE


@pytest.mark.parametrize(
    "types",
    [
        TYPE * 2,
        TYPE + b"Content-Type: text/event-stream; charset=utf-8\r\n",
        b"Content-Type: text/event-stream, text/event-stream\r\n",
    ],
)
def test_a_content_type_may_come_twice(types: bytes) -> None:
    with RawServer([head(types), LINE]) as server:
        assert read(server.url, 2) == LINE


def test_content_types_that_differ_are_a_failure() -> None:
    said = failure(head(TYPE, b"Content-Type: text/html\r\n"), LINE)
    assert said == "the answer is not an event stream but 'text/event-stream' and 'text/html'"


@pytest.mark.parametrize("empty", [b"", b"Content-Type:\r\n", b"Content-Type: ,\r\n"])
def test_no_content_type_is_said_so(empty: bytes) -> None:
    assert failure(head(empty), LINE) == "the answer is not an event stream but something that names no Content-Type"


def test_a_location_may_come_twice() -> None:
    twice = redirect("/elsewhere").replace(b"Location:", b"Location: /elsewhere\r\nLocation:", 1)
    with RawServer([twice], [answer(), LINE]) as server:
        assert read(server.url, 2) == LINE
        assert server.targets[1] == "/elsewhere"


def test_spaces_at_the_end_of_a_location_are_no_part_of_it() -> None:
    with RawServer([redirect("/elsewhere \t")], [answer(), LINE]) as server:
        assert read(server.url, 2) == LINE
        assert server.targets[1] == "/elsewhere"


def test_locations_that_differ_are_a_failure() -> None:
    twice = redirect("/elsewhere").replace(b"Location:", b"Location: /other\r\nLocation:", 1)
    assert failure(twice) == "a redirect to several places at once"


@pytest.mark.parametrize("junk", [b"this is no header\r\n", b"  folded, but what?\r\n"], ids=["no colon", "folded"])
def test_a_line_that_is_no_header_is_said_so(junk: bytes) -> None:
    """``http.client`` would take the headers to end there, and the content type to be none."""
    assert failure(head(junk, TYPE), LINE) == "a line of the answer's headers is not a header"


@pytest.mark.parametrize("missing", [2, 3, 10, 30])
def test_headers_that_break_off_are_said_so(missing: int) -> None:
    """``http.client`` would take that for their end, and so half an answer for a connection."""
    said = failure(head(TYPE)[:-missing], None)
    assert said == "the connection broke off in the middle of the answer's headers"


def test_too_many_headers_are_said_so() -> None:
    assert failure(head(TYPE, *[b"X: y\r\n"] * 200), LINE) == "the answer has too many headers"
