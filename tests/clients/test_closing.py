"""When clients are closed, and that their events arrive before."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.waiting import wait_until

pytest.importorskip("ldclient")

from clients.conftest import MakePool
from clients.pools import USER, clients_threads, params, sdk_key, served_key, status, value, working
from ldclient import LDClient
from ldclient.config import Config

from autoconfig.clients import ClientPool
from autoconfig.testing.flags import FlagService


def rotate(pool: ClientPool, id: str, key: str) -> None:
    pool.update_environment(params(id, key))
    wait_until(lambda: served_key(pool, id) == sdk_key(key))


def started(pool: ClientPool, id: str = "1", key: str = "a") -> LDClient:
    pool.add_environment(params(id, key))
    return working(pool, id)


def test_an_event_sent_after_a_rotation_arrives(make_pool: MakePool, flags: FlagService) -> None:
    """A request that is under way has the old client, and sends its event 0.3 s after the new one took its place."""
    pool = make_pool(linger=60)
    old = started(pool)
    rotate(pool, "1", "b")
    threading.Event().wait(0.3)
    old.track("bought", USER)
    pool.delete_environment("1")
    assert pool.close()
    event = flags.wait_for_event("custom", "bought")
    assert event.sdk_key == sdk_key("a")


def test_the_old_client_is_closed_after_a_while(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(linger=0.5)
    started(pool)
    rotate(pool, "1", "b")
    flags.wait_for_streams(sdk_key("b"))
    wait_until(lambda: status(pool, "1").retired == 0)


def test_a_borrowed_client_is_not_closed(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(linger=0, max_retired=0)
    started(pool)
    with pool.borrow("1") as old:
        for key in "bcd":
            rotate(pool, "1", key)
        pool.delete_environment("1")
        flags.wait_for_streams(sdk_key("a"))  # the others are closed
        assert value(old) == "blue"
        old.track("bought", USER)
    flags.wait_for_event("custom", "bought")
    flags.wait_for_streams()


def test_a_client_borrowed_twice_waits_for_both(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(linger=0)
    started(pool)
    with pool.borrow("1") as one:
        with pool.borrow("1") as two:
            assert one is two
            rotate(pool, "1", "b")
        flags.wait_for_streams(sdk_key("a"), sdk_key("b"))
        assert status(pool, "1").retired == 1
    flags.wait_for_streams(sdk_key("b"))


def test_the_oldest_is_closed_when_too_many_linger(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(linger=60, max_retired=2)
    started(pool)
    for key in "bcd":
        rotate(pool, "1", key)
    flags.wait_for_streams(*map(sdk_key, "bcd"))
    wait_until(lambda: status(pool, "1").retired == 2)


def test_close_sends_the_last_events_and_leaves_nothing(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(linger=60)
    for id in "123456":
        started(pool, id, id).track(f"event-{id}", USER)
    rotate(pool, "1", "7")
    with pool.borrow("2"):
        pass
    assert pool.close()
    assert pool.close(0)
    assert {event.data["key"] for event in flags.events if event.kind == "custom"} == {f"event-{id}" for id in "123456"}
    flags.wait_for_streams()
    assert not clients_threads()
    assert pool.get("1") is None
    with pool.borrow("1", timeout=30) as client:
        assert client is None
    pool.add_environment(params("1", "a"))
    pool.delete_environment("1")
    assert not pool.status()


def test_close_keeps_to_its_timeout_while_events_hang(
    make_pool: MakePool, flags: FlagService, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()
    for id in "1234":
        started(pool, id, id).track("bought", USER)
    with flags.hanging_events():
        began = time.monotonic()
        assert not pool.close(0.5)
        assert time.monotonic() - began < 5
        assert "Gave up waiting for the clients to close" in caplog.text
    assert pool.close()
    assert len([event for event in flags.events if event.kind == "custom"]) == 4


@pytest.fixture
def held(make_pool: MakePool, flags: FlagService) -> Iterator[tuple[ClientPool, threading.Event]]:
    """A pool that is making the client of "1", and what lets it go on."""
    called, going = threading.Event(), threading.Event()

    def make_config(environment: Any) -> Config:
        called.set()
        assert going.wait(30)
        return Config(environment.sdk_key, **flags.uris)

    pool = make_pool(make_config)
    pool.add_environment(params("1", "a"))
    assert called.wait(30)
    yield pool, going
    going.set()


def test_close_waits_for_a_client_that_is_being_made(
    held: tuple[ClientPool, threading.Event], flags: FlagService
) -> None:
    pool, going = held
    assert not pool.close(0.05)
    going.set()
    assert pool.close()
    flags.wait_for_streams()


def test_an_environment_that_is_deleted_while_its_client_is_made(
    held: tuple[ClientPool, threading.Event], flags: FlagService
) -> None:
    pool, going = held
    pool.delete_environment("1")
    going.set()
    pool.add_environment(params("1", "b"))
    wait_until(lambda: served_key(pool, "1") == sdk_key("b"))
    flags.wait_for_streams(sdk_key("b"))


def test_close_waits_for_a_borrower(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()
    started(pool)
    with pool.borrow("1") as client:
        assert not pool.close(0.05)
        client.track("bought", USER)
    assert pool.close()
    flags.wait_for_event("custom", "bought")


def test_a_client_that_is_closed_while_it_connects_leaves_no_stream(make_pool: MakePool, flags: FlagService) -> None:
    """The SDK forgets that it was closed, so it is closed again; see the comment in ``Client.close``."""
    flags.set_delay(0.1)
    pool = make_pool(start_wait=0)
    for round in range(10):
        pool.add_environment(params(f"{round}", "a"))
        wait_until(lambda round=round: pool.get(f"{round}"))
        pool.delete_environment(f"{round}")
    wait_until(lambda: not streaming())
    flags.wait_for_streams()


def test_a_client_that_connects_when_the_pool_is_closed_leaves_no_stream(
    make_pool: MakePool, flags: FlagService
) -> None:
    flags.set_delay(0.2)
    pool = make_pool(start_wait=0)
    for id in "12345678":
        pool.add_environment(params(id, id))
    wait_until(lambda: all(pool.get(id) is not None for id in "12345678"))
    assert pool.close()
    assert not streaming()


def test_a_client_that_cannot_be_closed_does_not_keep_the_others(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(LDClient):
        def close(self) -> None:
            super().close()
            raise SystemExit("no route")

    monkeypatch.setattr("autoconfig.clients.client.LDClient", Failing)
    pool = make_pool(closers=1)
    for id in "12":
        started(pool, id, id)
    assert pool.close()
    assert caplog.text.count("A client could not be closed") == 2


def streaming() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ldclient.datasource.streaming"]


def test_a_closed_pool_is_not_ready(make_pool: MakePool, flags: FlagService) -> None:
    """Who waits is woken and told so."""
    pool = make_pool()
    pool.received_all_environments()
    assert pool.wait_until_ready(0)
    flags.refuse(sdk_key("a"))
    pool.add_environment(params("1", "a"))
    told: list[bool] = []
    waiting = threading.Thread(target=lambda: told.append(pool.wait_until_ready(60)))
    waiting.start()
    assert pool.close(30)
    waiting.join(30)
    assert told == [False]
    assert not pool.wait_until_ready(60)
