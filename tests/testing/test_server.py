"""Connections, requests and answers, as the emulator's clients see them."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from support.waiting import wait_until
from testing.conftest import Connect
from testing.plain_client import TIMEOUT, PlainClient, connected_socket, dechunk, names

from autoconfig.testing import DEMO_KEY, Emulator, EnvironmentRep, event_bytes, exchange, server
from autoconfig.testing.exchange import Exchange
from autoconfig.testing.server import StreamServer

PROMPT = 10.0  # seconds that close() may take
DESCRIPTORS = 2500  # for both ends of a thousand connections
BACKLOG = 32 * 2**20  # bytes, more than all buffers between the emulator and a client hold
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger


def emulator_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("autoconfig-emulator")]


# Answers


def test_the_head_says_event_stream_in_chunks(served: tuple[Emulator, Connect]) -> None:
    client = served[1]()
    client.read_until(b"\r\n\r\n")
    assert client.head.decode().split("\r\n") == [
        "HTTP/1.1 200 OK",
        "Content-Type: text/event-stream",
        "Cache-Control: no-cache",
        "Transfer-Encoding: chunked",
    ]


def test_a_stream_without_chunks_ends_with_the_connection() -> None:
    with Emulator(framing="close") as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"\n\n")
        emulator.send_heartbeat()
        emulator.drop_connections("eof")
        client.read_rest()
    assert b"Transfer-Encoding" not in client.head
    assert b"Connection: close" in client.head
    assert names(client.body) == ["put", ":"]


def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    with Emulator() as emulator, PlainClient(emulator.uri, version="HTTP/1.0") as client:
        client.read_until(b"\n\n")
    assert names(client.body) == ["put"]


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_heartbeats_come_by_themselves(framing: str) -> None:
    before = time.monotonic()
    with Emulator(heartbeat_interval=0.02, framing=framing) as emulator, PlainClient(emulator.uri) as client:
        end = b":\n\r\n" if framing == "chunked" else b":\n"
        for _ in range(3):
            client.read_until(end)
            client.received = client.received.replace(end, b"", 1)
        assert time.monotonic() - before >= 0.06


def test_a_heartbeat_interval_may_be_endless() -> None:
    with Emulator(heartbeat_interval=math.inf) as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"event: put")


def test_an_idle_stream_sleeps_until_its_next_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float | None] = []

    class Queue(queue.SimpleQueue):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            timeouts.append(timeout)
            return super().get(block, timeout)

    monkeypatch.setattr(exchange.queue, "SimpleQueue", Queue)
    with Emulator(heartbeat_interval=100) as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"event: put")
        emulator.send_heartbeat()
        client.read_until(b":\n")
        client.assert_silent()
    waits = [timeout for timeout in timeouts if timeout is not None]
    assert 0 < len(waits) < 20
    assert min(waits) > 90


@pytest.mark.parametrize("data", ["one\ntwo", "one\rtwo", "one\r\ntwo"])
def test_each_line_of_the_data_gets_a_line_of_its_own(data: str) -> None:
    assert event_bytes("custom", data) == b"event: custom\ndata: one\ndata: two\n\n"


def test_only_the_line_ends_of_event_streams_count_as_such() -> None:
    assert event_bytes("e", "a\u2028b\x85c\x0bd") == "event: e\ndata: a\u2028b\x85c\x0bd\n\n".encode()


@pytest.mark.parametrize("name", ["a\nb", "a\rb"])
def test_an_events_name_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="name must be one line"):
        event_bytes(name, "")


# Requests


def test_the_answer_to_head_has_no_body(closing: ExitStack) -> None:
    emulator = closing.enter_context(Emulator())
    client = closing.enter_context(PlainClient(emulator.uri, method="HEAD"))
    for _ in range(2):
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 405 ")
        assert client.body == b""
        client.ask()


def test_a_body_is_read_and_the_connection_used_again(closing: ExitStack) -> None:
    emulator = closing.enter_context(Emulator())
    client = closing.enter_context(PlainClient(emulator.uri, method="POST", headers={"Content-Length": "3"}))
    client.socket.sendall(b"abc")
    client.read_answer()
    client.ask()
    client.socket.sendall(b"abc")
    assert client.read_answer().startswith(b"HTTP/1.1 405 ")


def test_the_connection_ends_after_a_body_of_unknown_length() -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    with Emulator() as emulator, PlainClient(emulator.uri, method="POST", headers=chunked) as client:
        assert client.read_rest().startswith(b"HTTP/1.1 405 ")
        assert b"Connection: close" in client.head


def test_what_is_not_http_is_refused_without_repeating_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), Emulator() as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"event: put")
        with PlainClient(emulator.uri, method=f"Authorization: {DEMO_KEY} and more") as broken:
            assert broken.read_rest().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert DEMO_KEY.encode() not in broken.received
    assert DEMO_KEY not in caplog.text


# Clients that leave, or do not do as they should


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_an_idle_stream_is_noticed(served: tuple[Emulator, Connect], how: str) -> None:
    emulator, connect = served
    client = connect()
    client.read_until(b"event: put")
    assert emulator.connections == 1
    if how == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.socket.close()
    emulator.wait_for_connections(0)


def test_a_tls_client_that_says_goodbye_is_noticed(certificate: tuple[str, str], trust: object) -> None:
    with Emulator(certificate=certificate) as emulator, PlainClient(emulator.uri, trust=trust) as client:
        client.read_until(b"event: put")
        client.socket.settimeout(0)
        with contextlib.suppress(OSError):
            client.socket.unwrap()  # sends close_notify, and does not wait for the other side's
        emulator.wait_for_connections(0)


def test_a_client_that_has_sent_its_last_is_not_waited_for() -> None:
    """Even if a send to it is blocked, which nothing else would end."""
    with Emulator() as emulator, PlainClient(emulator.uri, receive_buffer=4096) as client:
        emulator.wait_for_connections(1)
        emulator.send_raw(b"x" * BACKLOG)
        client.socket.shutdown(socket.SHUT_WR)
        emulator.wait_for_connections(0)


def test_a_client_that_does_not_read_blocks_nobody(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    lazy = connect(receive_buffer=4096)
    eager = connect()
    emulator.wait_for_connections(2)
    events_to_send = [event_bytes(f"event-{n}", "x" * 2**20) for n in range(BACKLOG // 2**20)]
    # In a thread, because one that had to wait for the lazy client would wait for ever.
    caller = threading.Thread(target=lambda: [emulator.send_raw(event) for event in events_to_send], daemon=True)
    caller.start()
    caller.join(TIMEOUT)
    assert not caller.is_alive()
    eager.read_until(b"event: put")
    received, last = 0, b""
    while f"event-{BACKLOG // 2**20 - 1}".encode() not in last:
        piece = eager.socket.recv(2**20)
        assert piece
        last = last[-100:] + piece
        received += len(piece)
    assert received > BACKLOG - 2**21
    assert emulator.connections == 2
    lazy.read_until(b"event: event-0")


@pytest.mark.parametrize("how", ["abrupt", "reset"])
def test_a_client_that_does_not_read_can_be_dropped(served: tuple[Emulator, Connect], how: str) -> None:
    emulator, connect = served
    unread(emulator, connect)
    emulator.drop_connections(how)
    wait_until(lambda: len(emulator_threads()) == 1)  # only the one that listens


def test_a_slow_reader_gets_everything_in_the_end(served: tuple[Emulator, Connect]) -> None:
    """Over TLS, a send that was put off has to be taken up again with the same bytes."""
    emulator, connect = served
    client = connect(receive_buffer=4096, headers={"Connection": "close"})
    emulator.wait_for_connections(1)
    for n in range(40):
        emulator.send_event(f"event-{n}", "x" * 100_000)
    emulator.drop_connections("eof")
    client.read_rest()
    stream, ended = dechunk(client.body)
    assert ended
    assert names(stream) == ["put", *(f"event-{n}" for n in range(40))]


def test_a_client_that_sends_something_during_the_stream_cannot_use_the_connection_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = threading.Event()

    class Noting(Exchange):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_strayed" and value:
                taken.set()

    monkeypatch.setattr(server, "Exchange", Noting)
    with Emulator() as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"event: put")
        client.socket.sendall(b"x")
        assert taken.wait(TIMEOUT)
        emulator.drop_connections("eof")
        client.read_rest()
    assert client.received.endswith(b"0\r\n\r\n")


def test_a_client_that_does_not_wait_for_the_answer_gets_that_one_only(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect(method="GET / HTTP/1.1\r\nHost: emulator\r\n\r\nGET")
    client.read_rest()
    assert client.received.startswith(b"HTTP/1.1 404 ")
    assert client.received.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in client.head
    assert emulator.request_count == 1


# Connections


def test_a_thousand_streams_are_served() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        pytest.skip("this process may not open enough files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    try:
        with Emulator() as emulator, ExitStack() as clients:
            opened = [clients.enter_context(PlainClient(emulator.uri)) for _ in range(1000)]
            emulator.wait_for_connections(1000, timeout=60)
            emulator.set_environment(EnvironmentRep("env-1"))
            for client in opened:
                assert names(client.read_stream(b"event: patch")) == ["put", "patch"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_handshake_that_never_comes_holds_nobody_up(
    certificate: tuple[str, str], trust: ssl.SSLContext, closing: ExitStack
) -> None:
    emulator = closing.enter_context(Emulator(certificate=certificate))
    closing.enter_context(connected_socket(emulator.uri))
    closing.enter_context(PlainClient(emulator.uri, trust=trust)).read_until(b"event: put")


def test_a_client_that_does_not_trust_the_certificate_leaves_no_trace(
    certificate: tuple[str, str], trust: ssl.SSLContext, capfd: pytest.CaptureFixture[str]
) -> None:
    with Emulator(certificate=certificate) as emulator:
        with pytest.raises(ssl.SSLCertVerificationError):
            PlainClient(emulator.uri, trust=ssl.create_default_context())
        with PlainClient(emulator.uri, trust=trust) as client:
            client.read_until(b"event: put")
    assert capfd.readouterr().err == ""


def test_a_shortage_of_descriptors_is_logged_once_and_waited_out(
    closing: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accepting: queue.SimpleQueue[float] = queue.SimpleQueue()
    accept = StreamServer._accept

    def noted(self: StreamServer) -> None:
        accepting.put(time.monotonic())
        accept(self)

    monkeypatch.setattr(StreamServer, "_accept", noted)
    emulator = closing.enter_context(Emulator())
    client = closing.enter_context(socket.socket())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # so this process can open nothing more
    try:
        client.connect(("127.0.0.1", int(emulator.uri.rpartition(":")[2])))
        attempts = [accepting.get(timeout=TIMEOUT) for _ in range(4)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert attempts[-1] - attempts[0] > 0.25
    client.settimeout(TIMEOUT)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with client.makefile("rb") as answer:
        assert answer.readline().startswith(b"HTTP/1.1 404 ")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("Cannot serve all connections: Too many open files")


def test_a_bug_in_a_connections_thread_is_logged_as_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> bool:
        raise LookupError("a bug")

    monkeypatch.setattr(Exchange, "run", fail)
    with Emulator() as emulator, PlainClient(emulator.uri) as client:
        with pytest.raises((EOFError, ConnectionError)):
            client.read_until(b"event: put")
        emulator.wait_for_connections(0)
    assert "A connection's thread failed" in caplog.text
    assert "LookupError: a bug" in caplog.text


# Closing


def idle(emulator: Emulator, connect: Connect) -> None:
    connect().read_until(b"event: put")


def stalled(emulator: Emulator, connect: Connect) -> None:
    connect().read_until(b"event: put")
    emulator.stall()
    emulator.set_environment(EnvironmentRep("env-1"))
    connect()
    emulator.wait_for_requests(2)


def unread(emulator: Emulator, connect: Connect) -> None:
    connect(receive_buffer=4096)
    emulator.wait_for_connections(1)
    emulator.send_raw(b"x" * BACKLOG)


def half_a_request(emulator: Emulator, connect: Connect) -> None:
    client = connect(target="/elsewhere")
    client.read_answer()
    client.socket.sendall(b"GET /relay_auto")


def kept_alive(emulator: Emulator, connect: Connect) -> None:
    connect(target="/elsewhere").read_answer()


def busy(emulator: Emulator, connect: Connect) -> None:
    for _ in range(20):
        connect()
        emulator.send_put()


@pytest.mark.parametrize("state", [idle, stalled, unread, half_a_request, kept_alive, busy])
def test_close_is_prompt_in_every_state(
    served: tuple[Emulator, Connect], state: Callable[[Emulator, Connect], None]
) -> None:
    emulator, connect = served
    state(emulator, connect)
    before = time.monotonic()
    emulator.close()
    assert time.monotonic() - before < PROMPT
    assert emulator_threads() == []
    assert emulator.connections == 0


def test_close_is_prompt_during_a_handshake(certificate: tuple[str, str]) -> None:
    with Emulator(certificate=certificate) as emulator, connected_socket(emulator.uri):
        before = time.monotonic()
        emulator.close()
    assert time.monotonic() - before < PROMPT
