"""The flag service, asked as the SDK's clients ask it, and with a real client where that is installed."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.waiting import LIMIT, wait_until
from testing.plain_client import TIMEOUT, PlainClient, messages

from autoconfig.testing.flags import FlagService

KEY = "sdk-1"
CUT = (EOFError, ConnectionError)  # what a client gets that is cut off

Ask = Callable[..., PlainClient]


@pytest.fixture
def flags() -> Iterator[FlagService]:
    with FlagService({"color": "blue"}) as service:
        yield service


@pytest.fixture
def ask(flags: FlagService, closing: ExitStack) -> Ask:
    """Sends a request, for a stream unless told otherwise."""

    def send(key: str = KEY, target: str = "/all", **options: Any) -> PlainClient:
        return closing.enter_context(PlainClient(flags.uri, key=key, target=target, **options))

    return send


@pytest.fixture
def post(ask: Ask) -> Callable[..., int]:
    """Posts a body, and returns the status of the answer."""

    def send(path: str, body: bytes, **headers: str) -> int:
        client = ask(target=path, method="POST", headers={"Content-Length": str(len(body)), **headers})
        client.socket.sendall(body)
        return status(client)

    return send


def status(client: PlainClient) -> int:
    return int(client.read_until(b"\r\n\r\n").split()[1])


def connection_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("autoconfig-flags-")]


def values(client: PlainClient, marker: bytes = b"event: put") -> list[dict[str, Any]]:
    """Read up to the event that holds a marker; return the value of each flag in each event."""
    found = []
    for name, message in messages(client.read_stream(marker)):
        assert (name, message["path"]) == ("put", "/")
        served = message["data"]["flags"].items()
        found.append({key: flag["variations"][flag["fallthrough"]["variation"]] for key, flag in served})
    return found


def test_a_stream_has_the_flags_and_their_changes(flags: FlagService, ask: Ask) -> None:
    stream = ask()
    assert status(stream) == 200
    flags.wait_for_streams(KEY)
    flags.set_flag("color", "red")
    flags.set_flag("size", {"cm": 3}, sdk_key=KEY)
    assert values(stream, b"size") == [{"color": "blue"}, {"color": "red"}, {"color": "red", "size": {"cm": 3}}]


def test_the_most_particular_value_wins(flags: FlagService, ask: Ask) -> None:
    flags.set_flag("color", "red", sdk_key=KEY)
    flags.set_flag("color", "green", sdk_key=KEY, filter_key="europe")
    streams = [ask(), ask(target="/all?filter=europe"), ask("sdk-2")]
    assert [values(stream) for stream in streams] == [[{"color": color}] for color in ("red", "green", "blue")]
    assert flags.streams == {(KEY, ""): 1, (KEY, "europe"): 1, ("sdk-2", ""): 1}
    for stream in streams:
        stream.socket.close()
    flags.wait_for_streams()
    with pytest.raises(ValueError, match="needs an sdk_key"):
        flags.set_flag("color", "red", filter_key="europe")


def test_a_value_that_json_cannot_hold_changes_nothing(flags: FlagService, ask: Ask) -> None:
    stream = ask()
    values(stream)
    with pytest.raises(TypeError, match="not JSON serializable"):
        flags.set_flag("color", b"red")
    flags.set_flag("color", "green")
    assert values(stream, b"green") == [{"color": "blue"}, {"color": "green"}]
    with pytest.raises(TypeError, match="not JSON serializable"):
        FlagService({"color": {"red"}})


def test_a_client_that_does_not_read_holds_nobody_up(flags: FlagService, ask: Ask) -> None:
    ask("sdk-lazy", receive_buffer=4096)
    eager = ask()
    flags.wait_for_streams("sdk-lazy", KEY)

    def change() -> None:
        for number in range(8):  # eight events, of one to eight of these values
            flags.set_flag(f"text-{number}", "x" * 2**20, sdk_key="sdk-lazy")
        flags.set_flag("color", "green")

    # In a thread, because one that had to wait for the first client would wait for ever.
    caller = threading.Thread(target=change, daemon=True)
    caller.start()
    caller.join(LIMIT)
    assert not caller.is_alive()
    assert values(eager, b"green")[-1] == {"color": "green"}


def test_a_poll_has_the_flags(ask: Ask) -> None:
    poll = ask(target="/sdk/latest-all")
    poll.read_answer()
    assert list(json.loads(poll.body)["flags"]) == ["color"]
    assert status(ask(target="/other")) == 404


def test_a_key_is_refused_as_often_as_said(flags: FlagService, ask: Ask) -> None:
    flags.refuse(KEY, 2)
    flags.refuse("sdk-2", status=403)
    statuses = [status(ask(key)) for key in (KEY, KEY, KEY, "sdk-2", "sdk-2")]
    assert statuses == [401, 401, 200, 403, 403]
    assert flags.refusals == {KEY: 2, "sdk-2": 2}
    flags.refuse("sdk-2", 0)
    assert status(ask("sdk-2")) == 200
    with pytest.raises(ValueError, match="status: must be from 200 to 599"):
        flags.refuse(KEY, status=0)


def test_streams_are_cut_by_key(flags: FlagService, ask: Ask) -> None:
    for key in KEY, "sdk-2":
        values(ask(key))
    flags.disconnect(KEY)
    flags.wait_for_streams("sdk-2")
    flags.disconnect()
    flags.wait_for_streams()


def test_an_error_names_the_streams_without_their_keys(flags: FlagService, ask: Ask) -> None:
    keys = ["sdk-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c01000", "sdk-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c01001"]
    ask(keys[0])
    flags.wait_for_streams(keys[0])
    ask(keys[1], target="/all?filter=europe")
    flags.wait_for_streams(*keys)
    with pytest.raises(TimeoutError) as caught:
        flags.wait_for_streams(timeout=0)
    assert "{'sdk-…1000': 1, 'sdk-…1001 europe': 1}" in str(caught.value)
    assert not [key for key in keys if key in f"{caught.value} {flags!r}"]


def test_in_an_outage_nothing_is_answered(flags: FlagService, ask: Ask, post: Callable[..., int]) -> None:
    stream = ask()
    values(stream)
    with flags.outage():
        flags.wait_for_streams()
        with pytest.raises(CUT):
            stream.read_until(b"more")
        with pytest.raises(CUT):
            status(ask())
        with pytest.raises(CUT):
            post("/bulk", b"[]")
    assert values(ask()) == [{"color": "blue"}]


def test_an_outage_ends_the_delay_of_an_answer(flags: FlagService, ask: Ask) -> None:
    flags.set_delay(3600)
    client = ask()
    wait_until(connection_threads)
    with flags.outage():
        with pytest.raises(CUT):
            status(client)
        wait_until(lambda: not connection_threads())


def test_a_delay_is_one_before_the_answer(flags: FlagService, ask: Ask) -> None:
    flags.set_delay(0.1)
    began = time.monotonic()
    assert status(ask()) == 200
    assert time.monotonic() - began >= 0.1


def test_events_are_kept_and_diagnostics_are_not(flags: FlagService, post: Callable[..., int]) -> None:
    events = [{"kind": "index", "long": "x" * 2**20}, {"kind": "custom", "key": "bought"}]
    assert post("/bulk", json.dumps(events).encode()) == 202
    assert post("/diagnostic", b'{"kind":"diagnostic"}') == 202
    body = gzip.compress(b'[{"kind":"custom","key":"paid"}]')
    assert post("/bulk", body, **{"Content-Encoding": "gzip"}) == 202
    assert [(event.sdk_key, event.kind) for event in flags.events] == [(KEY, "index"), (KEY, "custom"), (KEY, "custom")]
    assert flags.wait_for_event("custom", "paid").data == {"kind": "custom", "key": "paid"}
    with pytest.raises(
        TimeoutError, match=r"^waited 0 s for an event 'summary'; .* and the events \{'index': 1, 'custom': 2\}$"
    ):
        flags.wait_for_event("summary", timeout=0)
    assert repr(flags) == f"<FlagService on {flags.uri}: 0 streams, 3 events>"


def test_a_client_that_leaves_in_the_middle_of_its_events_is_no_error(
    flags: FlagService, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "autoconfig.testing"):
        client = ask(target="/bulk", method="POST", headers={"Content-Length": "10"})
        client.socket.sendall(b"[")
        client.socket.close()
        wait_until(lambda: caplog.messages)
    assert caplog.messages == ["A connection ended: ConnectionResetError"]


def test_events_hang_until_the_end_of_the_block(flags: FlagService, post: Callable[..., int]) -> None:
    answered: list[int] = []
    sending = threading.Thread(target=lambda: answered.append(post("/bulk", b"[]")))
    with flags.hanging_events():
        sending.start()
        sending.join(0.1)
        assert not answered
    sending.join(TIMEOUT)
    assert answered == [202]


def test_close_ends_whatever_hangs(flags: FlagService, ask: Ask, closing: ExitStack) -> None:
    flags.set_delay(60)
    closing.enter_context(flags.hanging_events())
    waiting = [ask(), ask(target="/bulk", method="POST", headers={"Content-Length": "0"})]
    flags.close()
    for client in waiting:
        with contextlib.suppress(ConnectionError):
            assert client.read_rest() == b""
    flags.close()


@pytest.mark.usefixtures("own_garbage")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_with_a_real_client(flags: FlagService) -> None:
    ldclient = pytest.importorskip("ldclient")
    user = ldclient.Context.create("user")
    for options in ({}, {"stream": False}):
        client = ldclient.LDClient(ldclient.Config(KEY, **options, **flags.uris), start_wait=5)
        assert client.variation("color", user, "default") == "blue"
        client.track("bought", user)
        client.close()
    assert flags.wait_for_event("custom", "bought").sdk_key == KEY
    flags.wait_for_streams()
