"""What counts as an event stream, and how its bytes come out of a connection."""

from __future__ import annotations

import re
import ssl
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from stream.connecting import LONG, connector, promptly, read, read_from
from support import tls
from support.addresses import free_port
from support.loopback import chunk
from support.raw_server import EVENT_STREAM, RawServer, Step, answer

from autoconfig import KeyRejectedError
from autoconfig.exceptions import ConnectionFailedError, StreamEndedError, UnexpectedStatusError
from autoconfig.stream import body
from autoconfig.stream.cancel import CancelToken

CHUNKED = {**EVENT_STREAM, "Transfer-Encoding": "chunked"}
PUT, PATCH, HEARTBEAT = b"event: put\ndata: {}\n\n", b"event: patch\ndata: {}\n\n", b":\n"


class Clock:
    """Stands in for the module ``time``; a test sets it forward."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(body, "time", SimpleNamespace(monotonic=lambda: self.now))


def compressed(*events: bytes) -> list[bytes]:
    """Return the events compressed one by one, as a server does that flushes after each."""
    compressor = zlib.compressobj(wbits=31)
    return [compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH) for event in events]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_an_event_arrives_before_the_next_is_sent(framing: str, coding: str, scheme: str, tmp_path: Path) -> None:
    gates = [threading.Event(), threading.Event()]
    headers = CHUNKED if framing == "chunked" else {**EVENT_STREAM, "Connection": "close"}
    events = [PUT, PATCH, HEARTBEAT]
    sent = compressed(*events) if coding == "gzip" else events
    if coding == "gzip":
        headers = {**headers, "Content-Encoding": "gzip"}
    if framing == "chunked":
        sent = [chunk(piece) for piece in sent]
    context = tls.server_context() if scheme == "https" else None
    with (
        RawServer([answer(200, headers), sent[0], gates[0], sent[1], gates[1], sent[2]], context=context) as server,
        connector(server.url, ca_certs=tls.write_authority(tmp_path)).connect("") as pieces,
    ):
        assert read_from(pieces, len(PUT)) == PUT
        gates[0].set()
        assert read_from(pieces, len(PATCH)) == PATCH
        gates[1].set()
        assert read_from(pieces, len(HEARTBEAT)) == HEARTBEAT


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param([answer(), PUT, None], id="close-delimited"),
        pytest.param([answer(200, CHUNKED), chunk(PUT), b"0\r\n\r\n"], id="last-chunk"),
        pytest.param([answer(200, CHUNKED), chunk(PUT), None], id="without-last-chunk"),
        pytest.param([answer(200, {**EVENT_STREAM, "Content-Length": "999"}), PUT, None], id="short"),
    ],
)
def test_the_end_of_an_answer_comes_after_all_its_bytes(ending: list[Step]) -> None:
    with RawServer(ending) as server, connector(server.url).connect("") as pieces:
        assert read_from(pieces, len(PUT)) == PUT
        with pytest.raises(StreamEndedError):
            next(pieces)


def test_everything_is_closed_at_the_end_of_the_block() -> None:
    """The service sees the client leave, although the stream was not at its end."""
    with RawServer([answer(), PUT]) as server:
        assert read(server.url, len(PUT)) == PUT
        server.wait_until_left()


def test_each_attempt_has_a_connection_of_its_own() -> None:
    with RawServer([answer(200, CHUNKED), chunk(PUT), b"0\r\n\r\n"]) as server:
        one = connector(server.url)
        for _ in range(3):
            with one.connect("") as pieces:
                assert read_from(pieces, len(PUT)) == PUT
                with pytest.raises(StreamEndedError):
                    next(pieces)
        assert server.connections == 3


@pytest.mark.parametrize("status", [201, 204, 205, 304, 400, 404, 405, 408, 429, 500, 502, 503, 599])
def test_any_status_but_200_is_a_failure(status: int) -> None:
    with RawServer([answer(status), None]) as server, pytest.raises(UnexpectedStatusError) as caught:
        read(server.url, 1)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_from_other_failures(status: int) -> None:
    with RawServer([answer(status), None]) as server, pytest.raises(KeyRejectedError) as caught:
        read(server.url, 1)
    assert caught.value.status == status


def test_the_body_of_a_failure_is_not_waited_for() -> None:
    """The answer stays open and its body never comes."""
    with (
        RawServer([answer(500, {"Content-Length": "100"})]) as server,
        promptly(),
        pytest.raises(UnexpectedStatusError),
    ):
        read(server.url, 1, read_timeout=LONG)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/event-stream",
        "text/event-stream;charset=utf-8",
        "text/event-stream ; charset=UTF-8",
        "Text/Event-Stream",
        "TEXT/EVENT-STREAM; x=y",
    ],
)
def test_an_event_stream_by_any_spelling(content_type: str) -> None:
    with RawServer([answer(200, {"Content-Type": content_type}), PUT]) as server:
        assert read(server.url, len(PUT)) == PUT


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "text/event-streams", "text", ""])
def test_another_content_type_is_a_failure(content_type: str) -> None:
    found = repr(content_type) if content_type else "something that names no Content-Type"
    with (
        RawServer([answer(200, {"Content-Type": content_type}), PUT]) as server,
        pytest.raises(ConnectionFailedError, match=re.escape(f"not an event stream but {found}")),
    ):
        read(server.url, 1)


def test_no_content_type_is_a_failure() -> None:
    with RawServer([answer(200, {}), PUT]) as server, pytest.raises(ConnectionFailedError, match="not an event stream"):
        read(server.url, 1)


@pytest.mark.parametrize(
    "garbage",
    [b"\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-", b""],
)
def test_what_is_not_an_http_answer_is_a_failure(garbage: bytes) -> None:
    with RawServer([garbage, None]) as server, pytest.raises(ConnectionFailedError):
        read(server.url, 1)


def test_a_server_that_never_answers_is_a_failure() -> None:
    with RawServer([threading.Event()]) as server, promptly(), pytest.raises(ConnectionFailedError):
        read(server.url, 1, connect_timeout=LONG, read_timeout=0.2)


def test_nobody_listening_is_a_failure() -> None:
    with pytest.raises(ConnectionFailedError, match="Connection refused"):
        read(f"http://127.0.0.1:{free_port()}", 1)


def test_a_handshake_takes_no_longer_than_the_connect_timeout() -> None:
    """The server speaks no TLS; it waits for a request that never comes."""
    with RawServer([answer()]) as server, promptly(), pytest.raises(ConnectionFailedError):
        read(server.url.replace("http:", "https:"), 1, connect_timeout=0.2, read_timeout=LONG)


def test_silence_past_the_read_timeout_ends_the_stream() -> None:
    with RawServer([answer(), PUT]) as server, connector(server.url, read_timeout=2.0).connect("") as pieces:
        assert read_from(pieces, len(PUT)) == PUT
        with promptly(), pytest.raises(StreamEndedError):
            next(pieces)


def test_bytes_without_a_line_end_do_not_keep_a_dead_stream_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    gates = [threading.Event(), threading.Event()]
    script: list[Step] = [answer(), PUT, gates[0], b"d", gates[1], b"a"]
    with RawServer(script) as server, connector(server.url, read_timeout=5.0).connect("") as pieces:
        assert read_from(pieces, len(PUT)) == PUT
        clock.now += 4.9
        gates[0].set()
        assert next(pieces) == b"d"
        clock.now += 0.2
        gates[1].set()
        with pytest.raises(StreamEndedError, match="no complete line for 5 s"):
            next(pieces)


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_is_a_sign_of_life(line_end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of them, each within the read timeout of the one before."""
    clock = Clock(monkeypatch)
    gates = [threading.Event() for _ in range(10)]
    heartbeats: list[Step] = [step for gate in gates for step in (gate, b":" + line_end)]
    with RawServer([answer(), *heartbeats]) as server, connector(server.url, read_timeout=5.0).connect("") as pieces:
        for gate in gates:
            clock.now += 4.9
            gate.set()
            assert read_from(pieces, 1 + len(line_end)) == b":" + line_end


def test_a_long_line_that_keeps_coming_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """A put is one line of any length; as many bytes as one read may bring show that more of it is on its way."""
    clock = Clock(monkeypatch)
    size = 4 * 2**20
    received = since_sign = 0
    with RawServer([answer(), b"x" * size]) as server, connector(server.url, read_timeout=5.0).connect("") as pieces:
        while received < size:
            piece = next(pieces)
            received += len(piece)
            since_sign += len(piece)
            if since_sign >= body.READ:
                since_sign = 0
                clock.now += 4.9
    assert clock.now > 1020.0


def test_the_bytes_end_when_the_token_is_cancelled() -> None:
    """Without an error, and without what is there to be read."""
    token = CancelToken()
    with RawServer([answer(), PUT, PATCH]) as server, connector(server.url, token).connect("") as pieces:
        assert next(pieces).startswith(PUT[:1])
        token.cancel()
        assert list(pieces) == []


def test_an_attempt_after_cancel_fails_without_a_request() -> None:
    token = CancelToken()
    token.cancel()
    with RawServer([answer(), PUT]) as server:
        with pytest.raises(ConnectionFailedError), connector(server.url, token).connect(""):
            pass
        assert server.requests == []


def test_the_whole_stream_arrives_through_tls(tmp_path: Path) -> None:
    """More than one TLS record, one read and one socket buffer hold."""
    body = b"".join(b"data: %d\n\n" % number for number in range(200_000))
    context = tls.server_context()
    assert isinstance(context, ssl.SSLContext)
    with RawServer([answer(), body, None], context=context) as server:
        assert read(server.url, len(body), ca_certs=tls.write_authority(tmp_path)) == body
