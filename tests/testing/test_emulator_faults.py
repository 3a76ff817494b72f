from __future__ import annotations

import contextlib
import logging
import queue
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import urllib3
from testing.conftest import Connect
from testing.plain_client import TIMEOUT, PlainClient, dechunk, events
from testing.plain_client import connect as plain_connection

from autoconfig.testing import DEMO_KEY, Emulator, EnvironmentRep, event_bytes
from autoconfig.testing import server as server_module
from autoconfig.testing.exchange import Exchange
from autoconfig.testing.server import StreamServer

PATH = "/relay_auto_config"
PROMPT = 1.0  # seconds that close() may take
SILENCE = 0.05  # seconds after which something that was held back would have come
DESCRIPTORS = 2500  # for both ends of a thousand connections
BACKLOG = 32 * 2**20  # bytes, more than all buffers between the emulator and a client hold


def names(client: PlainClient, marker: bytes) -> list[str]:
    """Read a chunked stream up to the event that holds a marker; return the names of all events."""
    client.read_until(marker)
    while not client.received.endswith(b"\n\n\r\n"):
        client.received += client.socket.recv(65536)
    return [name for name, _ in events(dechunk(client.body)[0])]


def assert_silent(client: PlainClient) -> None:
    client.socket.settimeout(SILENCE)
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(TIMEOUT)


# Answers


def test_the_next_requests_fail_in_the_order_of_the_calls(closing: ExitStack) -> None:
    emulator = closing.enter_context(Emulator())
    session = closing.enter_context(requests.Session())
    emulator.fail_next(503, times=2)
    emulator.fail_next(302, headers={"Location": "/elsewhere"})
    emulator.fail_next(204)
    emulator.fail_next(599)
    statuses, locations = [], []
    for _ in range(6):
        response = session.get(emulator.uri + PATH, timeout=TIMEOUT, allow_redirects=False)
        statuses.append(response.status_code)
        locations.append(response.headers.get("Location"))
    assert statuses == [503, 503, 302, 204, 599, 401]
    assert locations[2] == "/elsewhere"
    assert [request.status for request in emulator.requests] == statuses


def test_other_paths_do_not_use_up_a_failure(closing: ExitStack) -> None:
    emulator = closing.enter_context(Emulator())
    emulator.fail_next(500)
    assert closing.enter_context(PlainClient(emulator.uri, target="/")).read_answer().startswith(b"HTTP/1.1 404 ")
    assert closing.enter_context(PlainClient(emulator.uri)).read_answer().startswith(b"HTTP/1.1 500 ")


def test_even_200_can_be_a_failure() -> None:
    with Emulator() as emulator:
        emulator.fail_next(200)
        with PlainClient(emulator.uri) as client:
            client.read_answer()
    assert b"text/event-stream" not in client.head
    assert emulator.connections == 0


@pytest.mark.parametrize("status", [0, 100, 199, 600])
def test_a_failure_has_the_status_of_an_answer(status: int) -> None:
    with pytest.raises(ValueError, match="status: must be from 200 to 599"):
        Emulator().fail_next(status)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Location": "/\u20ac"}, "headers.Location: must be a string of Latin-1 characters, with no line break"),
        ({"Location": "/\r\nX: y"}, "headers.Location: must be a string of Latin-1"),
        ({"Retry-After": 5}, "headers.Retry-After: must be a string"),
        ({"X: y": "z"}, "headers: a name must be of ASCII letters, digits and hyphens"),
        ({"": "z"}, "headers: a name must be"),
    ],
)
def test_a_failures_headers_can_be_sent(headers: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        Emulator().fail_next(302, headers=headers)


# Events


def test_anything_can_be_sent(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect()
    emulator.wait_for_connections(1)
    emulator.send_reconnect()
    emulator.send_event("custom", "one\ntwo")
    emulator.send_raw(b"")
    emulator.send_raw(b"event: half\n")
    emulator.send_raw(b"data: whole\n\n")
    emulator.send_malformed()
    client.read_until(b"event: patch")
    names(client, b"event: patch")
    found = events(dechunk(client.body)[0])
    assert [name for name, _ in found] == ["put", "reconnect", "custom", "half", "patch"]
    assert found[2:] == [("custom", "one\ntwo"), ("half", "whole"), ("patch", '{"path": "/environments/')]


# Dropped connections


def test_eof_ends_the_answer_and_keeps_the_connection(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect()
    client.read_until(b"event: put")
    emulator.send_heartbeat()
    assert emulator.drop_connections("eof") == 1
    assert emulator.connections == 0
    client.read_until(b"0\r\n\r\n")
    stream, ended = dechunk(client.body)
    assert ended
    assert [name for name, _ in events(stream)] == ["put", ":"]
    client.ask()
    client.read_until(b"event: put")


def test_eof_ends_the_connection_of_a_client_that_asked_for_it(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect(headers={"Connection": "close"})
    client.read_until(b"event: put")
    emulator.drop_connections("eof")
    client.read_rest()
    assert dechunk(client.body)[1]


def test_eof_ends_tls_too(certificate: tuple[Path, Path], trust: ssl.SSLContext) -> None:
    """Without a close_notify, the end of a stream without chunks could be an attacker's."""
    with Emulator(certificate=certificate, framing="close") as emulator:
        plain = plain_connection(emulator.uri)
        with trust.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as client:
            client.sendall(f"GET {PATH} HTTP/1.1\r\nAuthorization: {DEMO_KEY}\r\n\r\n".encode())
            emulator.wait_for_connections(1)
            emulator.drop_connections("eof")
            while client.recv(65536):
                pass


def test_abrupt_ends_the_connection_in_the_middle_of_the_answer(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect()
    client.read_until(b"event: put")
    assert emulator.drop_connections() == 1
    client.read_rest()
    assert not dechunk(client.body)[1]


def test_reset_resets(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect()
    client.read_until(b"event: put")
    assert emulator.drop_connections("reset") == 1
    with pytest.raises(ConnectionResetError):
        socket.socket.recv(client.socket, 1)  # below TLS, to which a RST is an end of file like any other


@pytest.mark.parametrize(
    ("how", "error"),
    [("eof", None), ("abrupt", "InvalidChunkLength|IncompleteRead"), ("reset", "ConnectionResetError")],
)
def test_requests_sees_the_three_ends_too(closing: ExitStack, how: str, error: str | None) -> None:
    emulator = closing.enter_context(Emulator())
    headers = {"Authorization": DEMO_KEY}
    response = closing.enter_context(requests.get(emulator.uri + PATH, headers=headers, stream=True, timeout=TIMEOUT))
    response.raw.read1(65536)
    emulator.drop_connections(how)
    if error is None:
        assert response.raw.read1(65536) == b""
    else:
        with pytest.raises(urllib3.exceptions.ProtocolError, match=error):
            response.raw.read1(65536)


@pytest.mark.parametrize("how", ["abrupt", "reset"])
def test_a_client_that_does_not_read_can_be_dropped(served: tuple[Emulator, Connect], how: str) -> None:
    emulator, connect = served
    unread(emulator, connect)
    emulator.drop_connections(how)
    wait_until(lambda: len(emulator_threads()) == 1)  # only the one that listens


def test_a_client_that_has_sent_its_last_is_not_waited_for() -> None:
    """Even if a send to it is blocked, which nothing else would end."""
    with Emulator() as emulator, PlainClient(emulator.uri, receive_buffer=4096) as client:
        emulator.wait_for_connections(1)
        emulator.send_raw(b"x" * BACKLOG)
        client.socket.shutdown(socket.SHUT_WR)
        emulator.wait_for_connections(0)


def test_all_streams_are_dropped_and_new_ones_served(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    for _ in range(3):
        connect()
    emulator.wait_for_connections(3)
    assert emulator.drop_connections() == 3
    assert emulator.drop_connections() == 0
    connect().read_until(b"event: put")
    assert emulator.connections == 1


# Stalls


def test_a_stalled_emulator_answers_nothing_until_it_resumes(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    emulator.stall()
    clients = [connect(), connect(target="/elsewhere")]
    emulator.wait_for_requests(2)
    assert [request.status for request in emulator.requests] == [None, None]
    for client in clients:
        assert_silent(client)
    emulator.set_environment(EnvironmentRep("env-1"))
    emulator.resume()
    assert b"env-1" in clients[0].read_until(b"\n\n")
    assert clients[1].read_answer().startswith(b"HTTP/1.1 404 ")
    assert sorted(request.status for request in emulator.requests) == [200, 404]


def test_a_stalled_stream_gets_its_changes_later_and_in_order(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect()
    client.read_until(b"event: put")
    names(client, b"event: put")
    emulator.stall()
    emulator.set_environment(EnvironmentRep("env-1"))
    emulator.delete_environment("env-1")
    emulator.send_reconnect()
    assert_silent(client)
    emulator.resume()
    assert names(client, b"event: reconnect") == ["put", "patch", "delete", "reconnect"]


def test_a_stalled_stream_gets_no_heartbeats() -> None:
    with Emulator(heartbeat_interval=0.01) as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b":\n\r\n")
        emulator.stall()
        with contextlib.suppress(TimeoutError):
            client.socket.settimeout(SILENCE)
            client.socket.recv(65536)  # what was on its way
        assert_silent(client)
        client.received = b""
        emulator.resume()
        client.read_until(b":\n\r\n")


def test_a_stream_that_was_ended_during_a_stall_ends_after_it() -> None:
    with Emulator() as emulator, PlainClient(emulator.uri) as client:
        names(client, b"event: put")
        emulator.stall()
        emulator.send_heartbeat()
        assert emulator.drop_connections("eof") == 1
        assert_silent(client)
        emulator.resume()
        client.read_until(b":\n\r\n0\r\n\r\n")


def test_that_holds_without_chunks_too_where_the_end_is_no_bytes() -> None:
    with Emulator(framing="close") as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"\n\n")
        emulator.stall()
        emulator.drop_connections("eof")
        assert_silent(client)
        emulator.resume()
        client.read_rest()


@pytest.mark.parametrize("how", ["abrupt", "reset"])
def test_a_stall_does_not_keep_a_connection_from_being_dropped(how: str) -> None:
    with Emulator() as emulator, PlainClient(emulator.uri) as client:
        names(client, b"event: put")
        emulator.stall()
        emulator.send_heartbeat()
        emulator.drop_connections(how)
        if how == "reset":
            with pytest.raises(ConnectionResetError):
                client.read_rest()
        else:
            assert b":\n" not in client.read_rest().partition(b"event: put")[2]


def test_an_environment_that_json_cannot_hold_changes_nothing(closing: ExitStack) -> None:
    """Not even for clients that wait for their answer: each gets one, and only one."""
    emulator = closing.enter_context(Emulator())
    emulator.stall()
    clients = []
    for count in 1, 2:
        clients.append(closing.enter_context(PlainClient(emulator.uri)))
        emulator.wait_for_requests(count)
    unsendable = EnvironmentRep("env-1", env_name=b"no text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not JSON serializable"):
        emulator.set_environment(unsendable)
    emulator.resume()
    for client in clients:
        assert names(client, b"event: put") == ["put"]
    emulator.stall()
    emulator.resume()
    emulator.close()
    for client in clients:
        assert client.read_rest().count(b"HTTP/1.1") == 1
    assert emulator.environments == {}


def test_a_client_that_leaves_during_a_stall_is_noticed(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    open_stream = connect()
    open_stream.read_until(b"event: put")
    emulator.stall()
    waiting = connect()
    emulator.wait_for_requests(2)
    open_stream.socket.close()
    waiting.socket.close()
    emulator.wait_for_connections(0)
    wait_until(lambda: not emulator._waiting)
    emulator.resume()
    assert emulator.requests[1].status is None


# Clients that do not do as they should


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
    assert [name for name, _ in events(stream)] == ["put", *(f"event-{n}" for n in range(40))]


def test_a_client_that_sends_something_during_the_stream_cannot_use_the_connection_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = threading.Event()

    class Noting(Exchange):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_strayed" and value:
                taken.set()

    monkeypatch.setattr(server_module, "Exchange", Noting)
    with Emulator() as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"event: put")
        client.socket.sendall(b"x")
        assert taken.wait(5)
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
                assert names(client, b"event: patch") == ["put", "patch"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_handshake_that_never_comes_holds_nobody_up(
    certificate: tuple[Path, Path], trust: ssl.SSLContext, closing: ExitStack
) -> None:
    emulator = closing.enter_context(Emulator(certificate=certificate))
    closing.enter_context(plain_connection(emulator.uri))
    closing.enter_context(PlainClient(emulator.uri, trust=trust)).read_until(b"event: put")


def test_a_client_that_does_not_trust_the_certificate_leaves_no_trace(
    certificate: tuple[Path, Path], trust: ssl.SSLContext, capfd: pytest.CaptureFixture[str]
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

    def noted(server: StreamServer) -> None:
        accepting.put(time.monotonic())
        accept(server)

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
    assert client.recv(100).startswith(b"HTTP/1.1 404 ")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("Cannot serve all connections: Too many open files")


# Closing


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.005)


def emulator_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("autoconfig-emulator")]


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


def test_close_is_prompt_during_a_handshake(certificate: tuple[Path, Path]) -> None:
    with Emulator(certificate=certificate) as emulator, plain_connection(emulator.uri):
        before = time.monotonic()
        emulator.close()
    assert time.monotonic() - before < PROMPT
