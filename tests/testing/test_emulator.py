from __future__ import annotations

import logging
import math
import re
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from support.addresses import free_port
from testing.conftest import Connect
from testing.plain_client import PATH, TIMEOUT, PlainClient, messages, read_event

from autoconfig.testing import DEMO_KEY, Emulator, EnvironmentRep, FilterRep, SDKKeyRep

SHOP = {"proj_key": "shop", "proj_name": "Shop"}
PRODUCTION = EnvironmentRep("env-1", "production", "Production", "mob-1", **SHOP, sdk_key=SDKKeyRep("sdk-1"), version=5)
STAGING = EnvironmentRep("env-2", "staging", "Zürich", "mob-2", **SHOP, sdk_key=SDKKeyRep("sdk-2"), version=2)
MOBILE = FilterRep("shop", "mobile", 3)


# What a client gets


def test_a_stream_begins_with_everything_and_goes_on_with_changes(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    emulator.set_environment(PRODUCTION)
    emulator.set_filter("f-1", MOBILE)
    client = connect()
    emulator.wait_for_connections(1)
    emulator.set_environment(STAGING)
    emulator.delete_environment("env-1")
    emulator.delete_filter("f-1")
    assert messages(client.read_stream(b"/filters/f-1")) == [
        (
            "put",
            {
                "path": "/",
                "data": {
                    "environments": {"env-1": PRODUCTION.to_json()},
                    "filters": {"f-1": MOBILE.to_json()},
                },
            },
        ),
        ("patch", {"path": "/environments/env-2", "data": STAGING.to_json()}),
        ("delete", {"path": "/environments/env-1", "version": 6}),
        ("delete", {"path": "/filters/f-1", "version": 4}),
    ]


def test_requests_can_read_it(closing: ExitStack) -> None:
    emulator = closing.enter_context(Emulator([PRODUCTION]))
    headers = {"Authorization": DEMO_KEY}
    response = closing.enter_context(requests.get(emulator.uri + PATH, headers=headers, stream=True, timeout=TIMEOUT))
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert messages(read_event(response)) == [
        ("put", {"path": "/", "data": {"environments": {"env-1": PRODUCTION.to_json()}}})
    ]
    sent = emulator.set_environment(PRODUCTION)
    assert messages(read_event(response)) == [("patch", {"path": "/environments/env-1", "data": sent.to_json()})]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", False),
        ("?rpacProtocolVersion=1", False),
        ("?rpacProtocolVersion=2", True),
        ("?a=b&rpacProtocolVersion=10", True),
        ("?rpacProtocolVersion=x2", False),
        ("?rpacProtocolVersion=", False),
    ],
)
def test_only_the_second_protocol_version_is_told_of_filters(query: str, told: bool) -> None:
    with Emulator(filters={"f-1": MOBILE}) as emulator, PlainClient(emulator.uri, target=PATH + query) as client:
        emulator.wait_for_connections(1)
        emulator.set_filter("f-2", MOBILE)
        emulator.delete_filter("f-1")
        emulator.set_environment(PRODUCTION)
        found = messages(client.read_stream(b"/environments/env-1"))
    assert ("filters" in found[0][1]["data"]) is told
    assert [name for name, _ in found] == (["put", "patch", "delete", "patch"] if told else ["put", "patch"])


def test_several_clients_get_the_same(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    clients = [connect() for _ in range(5)]
    emulator.wait_for_connections(5)
    emulator.set_environment(PRODUCTION)
    found = [messages(client.read_stream(b"/environments/env-1")) for client in clients]
    assert [name for name, _ in found[0]] == ["put", "patch"]
    assert all(one == found[0] for one in found)


def test_a_big_configuration_arrives_whole(served: tuple[Emulator, Connect]) -> None:
    emulator, connect = served
    environments = [EnvironmentRep(f"env-{n}", env_name="n" * 1000, version=1) for n in range(3000)]
    emulator.replace(environments)
    client = connect()
    [(name, data)] = messages(client.read_stream(b"env-2999"))
    assert name == "put"
    assert data["data"]["environments"] == {rep.env_id: rep.to_json() for rep in environments}


def test_no_change_is_lost_or_sent_twice_around_a_connect(closing: ExitStack) -> None:
    """The put and the patches after it form one unbroken row of versions, whenever the client came."""
    emulator = closing.enter_context(Emulator())
    stop = threading.Event()

    def change() -> None:
        while not stop.wait(0.001):  # which bounds how much a slow machine has to send and read
            emulator.set_environment(PRODUCTION)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        clients = [closing.enter_context(PlainClient(emulator.uri)) for _ in range(20)]
        emulator.wait_for_connections(20)
    finally:
        stop.set()
        changer.join()
    last = emulator.set_environment(PRODUCTION).version
    for client in clients:
        (_, put), *patches = messages(client.read_stream(f'"version":{last}}}'.encode()))
        known = put["data"]["environments"].get("env-1", {"version": 4})["version"]
        assert [patch["data"]["version"] for _, patch in patches] == list(range(known + 1, last + 1))


# Requests that get no stream


@pytest.mark.parametrize("target", [PATH, f"/base/path{PATH}", f"//a//b{PATH}?x=y", f"http://example.com{PATH}"])
def test_the_stream_is_below_any_base_path(target: str) -> None:
    with Emulator() as emulator, PlainClient(emulator.uri, target=target) as client:
        client.read_until(b"event: put")
        assert emulator.requests[0].target == target


@pytest.mark.parametrize("target", ["/", f"{PATH}/", f"{PATH}2", f"/?x={PATH}", "http://["])
def test_elsewhere_is_nothing(target: str) -> None:
    with Emulator() as emulator, PlainClient(emulator.uri, target=target) as client:
        assert client.read_answer().startswith(b"HTTP/1.1 404 Not Found\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_not_allowed(method: str) -> None:
    with Emulator() as emulator, PlainClient(emulator.uri, method=method) as client:
        assert client.read_answer().startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
        assert b"\r\nAllow: GET" in client.head
        assert emulator.requests[0].method == method


@pytest.mark.parametrize("key", [None, "", "rel-other", f"Bearer {DEMO_KEY}", DEMO_KEY.upper(), f"{DEMO_KEY}x"])
def test_a_wrong_key_is_refused(key: str | None) -> None:
    with Emulator() as emulator, PlainClient(emulator.uri, key=key) as client:
        assert client.read_answer().startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert emulator.connections == 0


def test_a_new_key_counts_from_the_next_request_on(closing: ExitStack) -> None:
    emulator = closing.enter_context(Emulator())
    early = closing.enter_context(PlainClient(emulator.uri))
    early.read_until(b"event: put")
    emulator.key = "rel-new"
    assert closing.enter_context(PlainClient(emulator.uri)).read_answer().startswith(b"HTTP/1.1 401 ")
    closing.enter_context(PlainClient(emulator.uri, key="rel-new")).read_until(b"event: put")
    emulator.send_heartbeat()
    early.read_until(b":\n")
    assert emulator.key == "rel-new"


# What the caller is told


def test_requests_are_recorded(closing: ExitStack) -> None:
    emulator = closing.enter_context(Emulator())
    headers = {"X-Two": "a", "x-two": "b"}
    closing.enter_context(PlainClient(emulator.uri, headers=headers)).read_until(b"event: put")
    closing.enter_context(PlainClient(emulator.uri, key="rel-wrong")).read_answer()
    first, second = emulator.requests
    assert (first.method, first.target, first.status) == ("GET", f"{PATH}?rpacProtocolVersion=2", 200)
    assert first.headers["authorization"] == DEMO_KEY
    assert first.headers["x-two"] == "a, b"
    assert second.status == 401


def test_the_newest_requests_are_kept(closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.testing.emulator._KEPT", 3)
    emulator = closing.enter_context(Emulator())
    session = closing.enter_context(requests.Session())
    for number in range(5):
        session.get(f"{emulator.uri}/{number}", timeout=TIMEOUT)
    assert [request.target for request in emulator.requests] == ["/2", "/3", "/4"]
    assert emulator.request_count == 5
    emulator.wait_for_requests(5, timeout=0)
    for count, expected in ((0, ["/2", "/3", "/4"]), (3, ["/3", "/4"]), (5, []), (9, [])):
        found, total = emulator.requests_since(count)
        assert [request.target for request in found] == expected
        assert total == 5


def test_a_request_that_waits_keeps_its_place(closing: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.testing.emulator._KEPT", 2)
    emulator = closing.enter_context(Emulator())
    emulator.stall()
    clients = []
    for number in range(3):
        clients.append(closing.enter_context(PlainClient(emulator.uri, target=f"/{number}")))
        emulator.wait_for_requests(number + 1)
    emulator.resume()
    for client in clients:
        assert client.read_answer().startswith(b"HTTP/1.1 404 ")
    assert [(request.target, request.status) for request in emulator.requests] == [("/1", 404), ("/2", 404)]


def test_no_repr_shows_a_key() -> None:
    with Emulator([PRODUCTION]) as emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"event: put")
        shown = repr(emulator) + repr(emulator.requests)
    assert DEMO_KEY not in shown
    assert shown.count("rel-…7e13") == 2


def test_nothing_is_printed_and_no_key_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), Emulator([PRODUCTION]) as emulator:
        with PlainClient(emulator.uri, target=f"{PATH}?key={DEMO_KEY}") as client:
            client.read_until(b"event: put")
        with PlainClient(emulator.uri, target="/elsewhere") as client:
            client.read_answer()
        emulator.wait_for_connections(0)
    assert "GET /relay_auto_config: 200" in caplog.text
    assert "GET /elsewhere: 404" in caplog.text
    assert DEMO_KEY not in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("what", ["connections", "requests"])
def test_a_wait_that_takes_too_long_says_what_for(what: str) -> None:
    noun = "open streams" if what == "connections" else what
    text = re.escape(f"the emulator had 0 {noun} after 0.01 s, not 2")
    with Emulator() as emulator, pytest.raises(TimeoutError, match=f"^{text}$"):
        getattr(emulator, f"wait_for_{what}")(2, timeout=0.01)


# Changes


@pytest.mark.parametrize(
    "call",
    [
        lambda emulator: emulator.delete_environment("none"),
        lambda emulator: emulator.delete_filter("none"),
        lambda emulator: emulator.rotate_sdk_key("none", "sdk-9"),
    ],
)
def test_an_unknown_id_is_an_error(call: object) -> None:
    with pytest.raises(KeyError, match="none"):
        call(Emulator([PRODUCTION]))


def test_a_rotated_key_expires_after_the_grace_period() -> None:
    before = time.time_ns() // 1_000_000
    with Emulator([PRODUCTION]) as emulator, PlainClient(emulator.uri) as client:
        emulator.wait_for_connections(1)
        rep = emulator.rotate_sdk_key("env-1", "sdk-new", grace=timedelta(minutes=2))
        assert messages(client.read_stream(b"sdk-new"))[-1][1]["data"] == rep.to_json()
    after = time.time_ns() // 1_000_000
    assert rep.version == 6
    assert rep.sdk_key.value == "sdk-new"
    assert rep.sdk_key.expiring.value == "sdk-1"
    assert before + 120_000 <= rep.sdk_key.expiring.timestamp <= after + 120_000
    assert emulator.environments["env-1"] == rep


def test_replace_sends_one_put_with_new_versions_for_what_differs(closing: ExitStack) -> None:
    kept, changed, gone = (EnvironmentRep(f"env-{n}", version=5) for n in range(3))
    with Emulator([kept, changed, gone], {"f-1": MOBILE, "f-2": MOBILE}) as emulator:
        client = closing.enter_context(PlainClient(emulator.uri))
        emulator.wait_for_connections(1)
        emulator.replace([EnvironmentRep("env-0", version=1), EnvironmentRep("env-1", "new"), STAGING], {"f-2": MOBILE})
        emulator.send_event("last", "{}")
        _, (name, data), _ = messages(client.read_stream(b"event: last"))
    assert name == "put"
    versions = {id: value["version"] for id, value in data["data"]["environments"].items()}
    assert versions == {"env-0": 5, "env-1": 6, "env-2": 6}
    assert data["data"]["filters"] == {"f-2": MOBILE.to_json()}
    assert emulator.set_filter("f-1", MOBILE).version == 5  # above its deletion


def test_what_is_handed_out_are_copies() -> None:
    emulator = Emulator([PRODUCTION], {"f-1": MOBILE})
    emulator.environments.clear()
    emulator.filters.clear()
    assert (len(emulator.environments), len(emulator.filters)) == (1, 1)


def test_a_put_can_be_sent_again() -> None:
    with Emulator([PRODUCTION]) as emulator, PlainClient(emulator.uri) as client:
        emulator.wait_for_connections(1)
        emulator.send_put()
        emulator.send_event("last", "{}")
        first, second, _ = messages(client.read_stream(b"event: last"))
    assert first == second


# Starting and closing


def test_it_listens_only_while_it_runs() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        _ = Emulator([PRODUCTION]).uri
    emulator = Emulator([PRODUCTION], port=free_port())
    with emulator:
        with pytest.raises(RuntimeError, match="is running"):
            emulator.start()
        PlainClient(emulator.uri).socket.close()
    with pytest.raises(ConnectionRefusedError):
        PlainClient(emulator.uri)


def test_it_can_come_back_on_the_same_port() -> None:
    emulator = Emulator([PRODUCTION])
    with emulator, PlainClient(emulator.uri) as client:
        client.read_until(b"env-1")
        uri = emulator.uri
        emulator.close()
        emulator.close()
        assert emulator.connections == 0
        emulator.start()
        assert emulator.uri == uri
        with PlainClient(uri) as second:
            second.read_until(b"env-1")


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_behind() -> None:
    with Emulator() as first:
        second = Emulator(port=int(first.uri.rpartition(":")[2]))
        with pytest.raises(OSError, match="in use"):
            second.start()
        second.close()


def test_it_serves_ipv6(closing: ExitStack) -> None:
    emulator = Emulator(host="::1")
    try:
        closing.enter_context(emulator)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert re.fullmatch(r"http://\[::1\]:\d+", emulator.uri)
    with requests.get(emulator.uri + PATH, timeout=TIMEOUT) as response:
        assert response.status_code == 401


@pytest.mark.parametrize("interval", [0, -1, math.nan])
def test_the_heartbeat_interval_is_above_zero(interval: float) -> None:
    with pytest.raises(ValueError, match="heartbeat_interval: must be above zero"):
        Emulator(heartbeat_interval=interval)


def test_another_framing_is_an_error() -> None:
    with pytest.raises(ValueError, match="framing: must be 'chunked' or 'close', not 'chunk'"):
        Emulator(framing="chunk")  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["ä" * 70, "a" * 70, "a..b", "a\0b"])
def test_an_impossible_host_is_an_error_at_once(host: str) -> None:
    with pytest.raises(ValueError, match="host: must be a host's name or address"):
        Emulator(host=host)


def test_a_certificate_is_read_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Emulator(certificate=(tmp_path / "none.pem", tmp_path / "none.key"))
