"""The flag service, asked as the SDK's clients ask it, and with a real client where that is installed."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from autoconfig.testing.flags import FlagService

KEY = "sdk-1"


@pytest.fixture
def flags() -> Iterator[FlagService]:
    with FlagService({"color": "blue"}) as service:
        yield service


class Stream:
    """A client's stream, read event by event."""

    def __init__(self, service: FlagService, key: str = KEY, query: str = "") -> None:
        self._connection = http.client.HTTPConnection(service.uri.removeprefix("http://"), timeout=5)
        self._connection.request("GET", f"/all{query}", headers={"Authorization": key})
        self.answer = self._connection.getresponse()

    def values(self) -> dict[str, Any]:
        """Return the value of each flag in the next event; nothing at the end of the stream."""
        lines = [self.answer.readline() for _ in range(3)]
        if not lines[0]:
            return {}
        assert lines[0] == b"event: put\n"
        found = json.loads(lines[1].removeprefix(b"data: "))
        return {
            key: flag["variations"][flag["fallthrough"]["variation"]] for key, flag in found["data"]["flags"].items()
        }

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def post(service: FlagService, path: str, body: bytes, **headers: str) -> int:
    connection = http.client.HTTPConnection(service.uri.removeprefix("http://"), timeout=5)
    connection.request("POST", path, body, {"Authorization": KEY, **headers})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_stream_has_the_flags_and_their_changes(flags: FlagService) -> None:
    stream = Stream(flags)
    assert stream.answer.status == 200
    assert stream.values() == {"color": "blue"}
    flags.set_flag("color", "red")
    flags.set_flag("size", {"cm": 3}, sdk_key=KEY)
    assert stream.values() == {"color": "red"}
    assert stream.values() == {"color": "red", "size": {"cm": 3}}
    stream.close()


def test_the_most_particular_value_wins(flags: FlagService) -> None:
    flags.set_flag("color", "red", sdk_key=KEY)
    flags.set_flag("color", "green", sdk_key=KEY, filter_key="europe")
    streams = [Stream(flags), Stream(flags, query="?filter=europe"), Stream(flags, "sdk-2")]
    assert [stream.values()["color"] for stream in streams] == ["red", "green", "blue"]
    assert flags.streams == {(KEY, ""): 1, (KEY, "europe"): 1, ("sdk-2", ""): 1}
    for stream in streams:
        stream.close()
    flags.wait_for_streams()
    with pytest.raises(ValueError, match="needs an sdk_key"):
        flags.set_flag("color", "red", filter_key="europe")


def test_a_poll_has_the_flags(flags: FlagService) -> None:
    connection = http.client.HTTPConnection(flags.uri.removeprefix("http://"), timeout=5)
    connection.request("GET", "/sdk/latest-all", headers={"Authorization": KEY})
    assert list(json.loads(connection.getresponse().read())["flags"]) == ["color"]
    connection.request("GET", "/other")
    assert connection.getresponse().status == 404
    connection.close()


def test_a_key_is_refused_as_often_as_said(flags: FlagService) -> None:
    flags.refuse(KEY, 2)
    flags.refuse("sdk-2", status=403)
    statuses = []
    for key in (KEY, KEY, KEY, "sdk-2", "sdk-2"):
        stream = Stream(flags, key)
        statuses.append(stream.answer.status)
        stream.close()
    assert statuses == [401, 401, 200, 403, 403]
    assert flags.refusals == {KEY: 2, "sdk-2": 2}
    flags.refuse("sdk-2", 0)
    stream = Stream(flags, "sdk-2")
    assert stream.answer.status == 200
    stream.close()


def test_streams_are_cut_by_key(flags: FlagService) -> None:
    streams = [Stream(flags), Stream(flags, "sdk-2")]
    for stream in streams:
        stream.values()
    flags.disconnect(KEY)
    flags.wait_for_streams("sdk-2")
    flags.disconnect()
    flags.wait_for_streams()
    for stream in streams:
        stream.close()


def test_in_an_outage_nothing_is_answered(flags: FlagService) -> None:
    stream = Stream(flags)
    stream.values()
    with flags.outage():
        flags.wait_for_streams()
        with pytest.raises(http.client.RemoteDisconnected):
            Stream(flags)
        with pytest.raises(http.client.RemoteDisconnected):
            post(flags, "/bulk", b"[]")
    stream.close()
    stream = Stream(flags)
    assert stream.values() == {"color": "blue"}
    stream.close()


def test_a_delay_is_one_before_the_answer(flags: FlagService) -> None:
    flags.set_delay(0.1)
    began = time.monotonic()
    stream = Stream(flags)
    assert time.monotonic() - began >= 0.1
    stream.close()


def test_events_are_kept_and_diagnostics_are_not(flags: FlagService) -> None:
    events = [{"kind": "index"}, {"kind": "custom", "key": "bought"}]
    assert post(flags, "/bulk", json.dumps(events).encode()) == 202
    assert post(flags, "/diagnostic", b'{"kind":"diagnostic"}') == 202
    body = gzip.compress(b'[{"kind":"custom","key":"paid"}]')
    assert post(flags, "/bulk", body, **{"Content-Encoding": "gzip"}) == 202
    assert [(event.sdk_key, event.kind) for event in flags.events] == [(KEY, "index"), (KEY, "custom"), (KEY, "custom")]
    assert flags.wait_for_event("custom", "paid").data == {"kind": "custom", "key": "paid"}
    with pytest.raises(TimeoutError, match=r"an event 'summary'; there are 0 streams .* \{'index': 1, 'custom': 2\}"):
        flags.wait_for_event("summary", timeout=0)


def test_events_hang_until_the_end_of_the_block(flags: FlagService) -> None:
    answered: list[int] = []
    sending = threading.Thread(target=lambda: answered.append(post(flags, "/bulk", b"[]")))
    with flags.hanging_events():
        sending.start()
        sending.join(0.1)
        assert not answered
    sending.join(5)
    assert answered == [202]


def test_close_ends_whatever_hangs() -> None:
    service = FlagService()
    service.set_delay(60)
    threads = [threading.Thread(target=lambda: _failing(lambda: Stream(service)))]
    hanging = service.hanging_events()
    hanging.__enter__()
    threads.append(threading.Thread(target=lambda: _failing(lambda: post(service, "/bulk", b"[]"))))
    for thread in threads:
        thread.start()
    service.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def _failing(call: Any) -> None:
    try:
        call()
    except OSError:
        return


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
