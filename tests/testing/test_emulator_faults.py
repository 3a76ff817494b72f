"""What tests do to an emulator's clients: failures, dropped connections, stalls, and events of their own."""

from __future__ import annotations

import contextlib
import socket
import ssl
from contextlib import ExitStack

import pytest
import requests
import urllib3
from support.waiting import wait_until
from testing.conftest import Connect
from testing.plain_client import (
    PATH,
    SILENCE,
    TIMEOUT,
    PlainClient,
    connected_socket,
    dechunk,
    events,
    names,
    read_event,
)

from autoconfig.testing import DEMO_KEY, Emulator, EnvironmentRep

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
    client.read_stream(b"event: patch")
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
    assert names(stream) == ["put", ":"]
    client.ask()
    client.read_until(b"event: put")


def test_eof_ends_the_connection_of_a_client_that_asked_for_it(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect(headers={"Connection": "close"})
    client.read_until(b"event: put")
    emulator.drop_connections("eof")
    client.read_rest()
    assert dechunk(client.body)[1]


def test_eof_ends_tls_too(certificate: tuple[str, str], trust: ssl.SSLContext) -> None:
    """Without a close_notify, the end of a stream without chunks could be an attacker's."""
    with Emulator(certificate=certificate, framing="close") as emulator:
        plain = connected_socket(emulator.uri)
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
    read_event(response)
    emulator.drop_connections(how)
    if error is None:
        assert response.raw.read1(65536) == b""
    else:
        with pytest.raises(urllib3.exceptions.ProtocolError, match=error):
            response.raw.read1(65536)


def test_a_word_that_is_no_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="how: must be 'eof', 'abrupt' or 'reset', not 'abrubt'"):
        Emulator().drop_connections("abrubt")  # type: ignore[arg-type]


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
        client.assert_silent()
    emulator.set_environment(EnvironmentRep("env-1"))
    emulator.resume()
    assert b"env-1" in clients[0].read_until(b"\n\n")
    assert clients[1].read_answer().startswith(b"HTTP/1.1 404 ")
    assert sorted(request.status for request in emulator.requests) == [200, 404]


def test_a_stalled_stream_gets_its_changes_later_and_in_order(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    client = connect()
    client.read_until(b"event: put")
    client.read_stream(b"event: put")
    emulator.stall()
    emulator.set_environment(EnvironmentRep("env-1"))
    emulator.delete_environment("env-1")
    emulator.send_reconnect()
    client.assert_silent()
    emulator.resume()
    assert names(client.read_stream(b"event: reconnect")) == ["put", "patch", "delete", "reconnect"]


def nothing_comes(client: PlainClient) -> bool:
    with contextlib.suppress(TimeoutError):
        return not client.socket.recv(65536)
    return True


def test_a_stalled_stream_gets_no_heartbeats() -> None:
    with Emulator(heartbeat_interval=0.01) as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b":\n\r\n")
        emulator.stall()
        client.socket.settimeout(SILENCE)
        wait_until(lambda: nothing_comes(client))  # but for what was on its way
        client.socket.settimeout(TIMEOUT)
        client.received = b""
        emulator.resume()
        client.read_until(b":\n\r\n")


def test_a_stream_that_was_ended_during_a_stall_ends_after_it() -> None:
    with Emulator() as emulator, PlainClient(emulator.uri) as client:
        client.read_stream(b"event: put")
        emulator.stall()
        emulator.send_heartbeat()
        assert emulator.drop_connections("eof") == 1
        client.assert_silent()
        emulator.resume()
        client.read_until(b":\n\r\n0\r\n\r\n")


def test_that_holds_without_chunks_too_where_the_end_is_no_bytes() -> None:
    with Emulator(framing="close") as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"\n\n")
        emulator.stall()
        emulator.drop_connections("eof")
        client.assert_silent()
        emulator.resume()
        client.read_rest()


@pytest.mark.parametrize("how", ["abrupt", "reset"])
def test_a_stall_does_not_keep_a_connection_from_being_dropped(how: str) -> None:
    with Emulator() as emulator, PlainClient(emulator.uri) as client:
        client.read_stream(b"event: put")
        emulator.stall()
        emulator.send_heartbeat()
        emulator.drop_connections(how)
        if how == "reset":
            with pytest.raises(ConnectionResetError):
                client.read_rest()
        else:
            assert b":\n" not in client.read_rest().partition(b"event: put")[2]


def test_an_environment_that_cannot_be_sent_changes_nothing(closing: ExitStack) -> None:
    """Not even for clients that wait for their answer: each gets one, and only one."""
    emulator = closing.enter_context(Emulator())
    emulator.stall()
    clients = []
    for count in 1, 2:
        clients.append(closing.enter_context(PlainClient(emulator.uri)))
        emulator.wait_for_requests(count)
    unsendable = EnvironmentRep("env-1", env_name=b"no text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"environments\.env-1\.envName must be a string"):
        emulator.set_environment(unsendable)
    emulator.resume()
    for client in clients:
        assert names(client.read_stream(b"event: put")) == ["put"]
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
