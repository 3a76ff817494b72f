"""Refused keys, outages and services that hang: the others are served, and nothing blocks the stream's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from support.waiting import wait_until

pytest.importorskip("ldclient")

from clients.conftest import MakePool
from clients.pools import params, sdk_key, served_key, status, value, wait_for_state, working
from ldclient import LDClient

from autoconfig import RetryPolicy, StreamManager
from autoconfig.clients import ClientState
from autoconfig.clients.workers import Workers
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.testing import Emulator
from autoconfig.testing.flags import FlagService


def quick(call: Callable[[], Any]) -> float:
    """Return how many seconds a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


@pytest.mark.usefixtures("quick_refusals")
def test_a_refused_key_is_tried_again_in_seconds(make_pool: MakePool, flags: FlagService) -> None:
    """The SDK alone would try again after minutes, or never."""
    flags.refuse(sdk_key("a"), 3)
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    wait_for_state(pool, "1", ClientState.REFUSED, "HTTP 401")
    wait_for_state(pool, "1", ClientState.WORKING)
    assert flags.refusals == {sdk_key("a"): 3}
    flags.wait_for_streams(sdk_key("a"))


def test_there_is_no_client_while_the_key_is_refused(make_pool: MakePool, flags: FlagService) -> None:
    flags.refuse(sdk_key("a"), status=403)
    pool = make_pool(retry=RetryPolicy(max_delay=60), linger=60)
    pool.add_environment(params("1", "a"))
    pool.received_all_environments()
    wait_for_state(pool, "1", ClientState.REFUSED, "HTTP 403")
    wait_until(lambda: status(pool, "1").retired == 0)  # nobody misses one that never worked
    assert pool.get("1") is None
    assert pool.get("1", timeout=0.01) is None
    assert not pool.wait_until_ready(0.01)
    assert status(pool, "1").sdk_key == ""


def test_a_client_that_is_refused_after_a_while_is_served_no_more(make_pool: MakePool, flags: FlagService) -> None:
    """It served because there was none, and connected still; an application's own store may have flags for it."""
    flags.refuse(sdk_key("a"))
    flags.set_delay(0.5)
    pool = make_pool(start_wait=0, retry=RetryPolicy(max_delay=60))
    pool.add_environment(params("1", "a"))
    assert wait_until(lambda: pool.get("1"))
    wait_until(lambda: pool.get("1") is None)
    assert status(pool, "1").state is ClientState.REFUSED


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds after which starts were to be made, each of which is made at once."""
    found: list[float] = []
    submit = Workers.submit

    def at_once(self: Workers, job: Callable[[], None], delay: float = 0.0) -> None:
        if "starter" in self._name:
            found.append(delay)
        submit(self, job)

    monkeypatch.setattr(Workers, "submit", at_once)
    return found


@pytest.mark.usefixtures("quick_refusals")
def test_the_delay_doubles_from_a_second_for_each_key(
    make_pool: MakePool, flags: FlagService, delays: list[float]
) -> None:
    flags.refuse(sdk_key("a"), 4)
    pool = make_pool(retry=RetryPolicy(max_delay=5, jitter=0))
    pool.add_environment(params("1", "a"))
    wait_for_state(pool, "1", ClientState.WORKING)
    assert delays == [0, 1, 2, 4, 5]
    flags.refuse(sdk_key("a"), 3)
    flags.disconnect()
    wait_until(lambda: delays[5:7] == [1, 2])  # the first of the three is the open client's own
    wait_for_state(pool, "1", ClientState.WORKING)
    flags.refuse(sdk_key("a"))
    flags.disconnect()
    wait_until(lambda: len(delays) > 8)
    pool.update_environment(params("1", "b"))
    wait_for_state(pool, "1", ClientState.WORKING)
    assert delays[-1] == 0


def test_a_new_key_does_not_wait_for_the_delay_of_the_old_one(
    make_pool: MakePool, flags: FlagService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoconfig.clients.rotation._FIRST_DELAY", 60.0)
    flags.refuse(sdk_key("a"))
    pool = make_pool(retry=RetryPolicy(max_delay=60))
    pool.add_environment(params("1", "a"))
    wait_for_state(pool, "1", ClientState.REFUSED, "HTTP 401")
    starts = pool._rotation._starts
    pool.update_environment(params("1", "a", name="Live"))
    assert pool._rotation._starts == starts  # the delay does not begin anew
    pool.update_environment(params("1", "b"))
    wait_for_state(pool, "1", ClientState.WORKING)


@pytest.mark.usefixtures("quick_refusals")
def test_jitter_shortens_the_delay(
    make_pool: MakePool, flags: FlagService, delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags.refuse(sdk_key("a"), 2)
    pool = make_pool(retry=RetryPolicy(max_delay=60, jitter=0.5))
    monkeypatch.setattr(pool._rotation._backoff, "_random", lambda: 0.5)
    pool.add_environment(params("1", "a"))
    wait_for_state(pool, "1", ClientState.WORKING)
    assert delays == [0, 0.75, 1.5]


def test_a_key_revoked_while_open_serves_on_and_heals(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    old = working(pool, "1")
    flags.refuse(sdk_key("a"))
    flags.disconnect(sdk_key("a"))
    wait_for_state(pool, "1", ClientState.INTERRUPTED, "HTTP 401")
    assert pool.get("1") is old
    assert value(old) == "blue"
    flags.refuse(sdk_key("a"), 0)
    wait_for_state(pool, "1", ClientState.WORKING)
    assert pool.get("1") is not old
    flags.wait_for_streams(sdk_key("a"))


def test_a_deletion_does_not_wait_for_refused_keys(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(parallel=1, start_wait=10)
    pool.add_environment(params("0", "x"))
    working(pool, "0")
    for number in range(1, 6):
        flags.refuse(sdk_key(f"{number}"))
        pool.add_environment(params(f"{number}", f"{number}"))
    wait_until(lambda: flags.refusals)
    began = time.monotonic()
    pool.delete_environment("0")
    assert pool.get("0") is None
    flags.wait_for_streams()
    assert time.monotonic() - began < 5


def test_an_outage_at_the_start(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()
    with flags.outage():
        pool.add_environment(params("1", "a"))
        client = wait_until(lambda: pool.get("1"))
        assert value(client) == "default"
        wait_until(lambda: status(pool, "1").error)
        assert status(pool, "1").state is ClientState.STARTING
    wait_until(lambda: value(pool.get("1")) == "blue")
    assert pool.get("1") is client  # it comes by itself
    assert status(pool, "1").error is None


def test_an_outage_later(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    client = working(pool, "1")
    with flags.outage():
        wait_for_state(pool, "1", ClientState.INTERRUPTED)
        assert value(client) == "blue"
        pool.update_environment(params("1", "b"))
        wait_until(lambda: status(pool, "1").error)
        assert pool.get("1") is client
        assert status(pool, "1").state is ClientState.ROTATING
    wait_for_state(pool, "1", ClientState.WORKING)
    assert served_key(pool, "1") == sdk_key("b")
    flags.wait_for_streams(sdk_key("b"))


def test_no_more_clients_start_at_a_time_than_may(
    make_pool: MakePool, flags: FlagService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoconfig.clients.client._CONSTRUCTION", 0.05)
    flags.set_delay(0.3)
    pool = make_pool(parallel=2, start_wait=10)
    began = time.monotonic()
    for id in "123456":
        pool.add_environment(params(id, id))
    pool.received_all_environments()
    assert pool.wait_until_ready(30)
    assert time.monotonic() - began >= 0.9  # three times two


def test_a_client_without_flags_makes_room_for_the_next(make_pool: MakePool, flags: FlagService) -> None:
    flags.set_delay(30)
    pool = make_pool(parallel=1, start_wait=0.05)
    for id in "123":
        pool.add_environment(params(id, id))
    began = time.monotonic()
    wait_until(lambda: all(pool.get(id) is not None for id in "123"))
    assert time.monotonic() - began < 15
    flags.set_delay(0)


def test_nothing_blocks_the_stream_while_both_services_hang(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(linger=0)
    for id in "1234":
        pool.add_environment(params(id, id))
        wait_until(lambda id=id: value(pool.get(id, timeout=30)) == "blue")
    flags.set_delay(30)
    with flags.hanging_events():
        slowest = max(
            *(quick(lambda id=id: pool.update_environment(params(id, f"{id}0"))) for id in "1234"),
            *(quick(lambda id=id: pool.delete_environment(id)) for id in "1234"),
            *(quick(lambda id=id: pool.add_environment(params(id, f"{id}1"))) for id in "1234"),
            quick(pool.received_all_environments),
            quick(pool.status),
        )
        assert slowest < 10  # they hang for half a minute
        flags.set_delay(0)


def test_behind_a_manager(make_pool: MakePool, flags: FlagService) -> None:
    """From LaunchDarkly's stream to the clients, with a rotation whose key is not known everywhere at first."""
    environment = EnvironmentRep("1", env_name="Live", mob_key="mob-1", sdk_key=SDKKeyRep(sdk_key("a")), version=1)
    flags.refuse(sdk_key("b"), 1)
    pool = make_pool()
    with Emulator([environment]) as service, StreamManager(service.key, service.uri, pool) as manager:
        assert pool.wait_until_ready(30)
        service.rotate_sdk_key("1", sdk_key("b"))
        wait_until(lambda: served_key(pool, "1") == sdk_key("b"))
        service.delete_environment("1")
        wait_until(lambda: not pool.status())
        assert manager.close()
    flags.wait_for_streams()


def test_a_constructor_that_raises_is_called_again(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, flags: FlagService
) -> None:
    failures = [OSError("no descriptor left")]

    class Failing(LDClient):
        def __init__(self, *args: Any, **options: Any) -> None:
            if failures:
                raise failures.pop()
            super().__init__(*args, **options)

    monkeypatch.setattr("autoconfig.clients.client.LDClient", Failing)
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    wait_until(lambda: value(pool.get("1")) == "blue")
