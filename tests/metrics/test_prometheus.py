"""The metrics, scraped over HTTP as Prometheus does it."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from support.recorder import Failing, Holding
from support.waiting import LIMIT, wait_until

pytest.importorskip("prometheus_client")
pytest.importorskip("ldclient")

from ldclient.config import Config
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.recorder import Recorder

from autoconfig import (
    EnvironmentID,
    EnvironmentRegistry,
    FilterID,
    ForkedError,
    MobileKey,
    RetryPolicy,
    SDKKey,
    StreamManager,
    StreamState,
)
from autoconfig.clients import ClientPool, ClientState, ClientStatus
from autoconfig.metrics import StreamCollector, TimedHandler
from autoconfig.testing import DEMO_KEY, Emulator, EnvironmentRep, FilterRep, SDKKeyRep
from autoconfig.testing.flags import FlagService

NAME = re.compile(r"autoconfig_[a-z]+(_[a-z]+)*")
KEYS = [
    "sdk-7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "sdk-99d0ab3c-6f1e-4a2b-9c8d-7e6f5a4b0c63",
    "mob-1234567890123456",
    DEMO_KEY,
]
ENVIRONMENT = EnvironmentRep(
    env_id=EnvironmentID("1"),
    env_key="production",
    env_name="Production",
    mob_key=MobileKey(KEYS[2]),
    proj_key="shop",
    proj_name="Shop",
    sdk_key=SDKKeyRep(SDKKey(KEYS[0])),
    version=1,
)
Scrape = Callable[..., dict[tuple[str, ...], float]]


def in_order(labels: dict[str, str]) -> list[str]:
    """Return the values of labels: the stream's, then the others by their names."""
    return [labels[name] for name in sorted(labels, key=lambda name: (name != "stream", name))]


@pytest.fixture
def service() -> Iterator[Emulator]:
    with Emulator([ENVIRONMENT], {FilterID("f"): FilterRep("shop", "europe", version=1)}) as emulator:
        yield emulator


@pytest.fixture
def make(service: Emulator) -> Iterator[Callable[..., StreamManager]]:
    """Makes a manager at the service, which is closed after the test."""
    with ExitStack() as closing:

        def make(handler: Any, key: str = service.key) -> StreamManager:
            manager = StreamManager(key, service.uri, handler, retry_policy=RetryPolicy(max_delay=0.05))
            closing.callback(manager.close)
            return manager

        yield make


@pytest.fixture
def scrape() -> Iterator[Scrape]:
    """Scrapes a collector over HTTP; returns each sample's value by its name and its labels."""
    with ExitStack() as closing:
        registry = CollectorRegistry()
        server, thread = start_http_server(0, "127.0.0.1", registry)
        closing.callback(thread.join)
        closing.callback(server.server_close)
        closing.callback(server.shutdown)
        uri = f"http://127.0.0.1:{server.server_port}/metrics"

        def scrape(collector: StreamCollector, accept: str = "text/plain") -> dict[tuple[str, ...], float]:
            registry.register(collector)
            request = urllib.request.Request(uri, headers={"Accept": accept})
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read().decode()
            registry.unregister(collector)
            assert not [key for key in KEYS if key in text]
            parse = parse_open_metrics if "openmetrics" in accept else parse_text
            families = list(parse(text))
            for family in families:
                assert NAME.fullmatch(family.name)
                assert family.documentation.endswith(".")
            return {(s.name, *in_order(s.labels)): s.value for family in families for s in family.samples}

        yield scrape


def test_each_state_of_a_stream(make: Callable[..., StreamManager], service: Emulator, scrape: Scrape) -> None:
    manager = make(Recorder())
    collector = StreamCollector({"main": manager})

    def state() -> str:
        found = scrape(collector)
        assert sum(found["autoconfig_stream_state", "main", one.name] for one in StreamState) == 1
        return next(one.name for one in StreamState if found["autoconfig_stream_state", "main", one.name])

    found = scrape(collector)
    assert state() == "INITIALIZING"
    assert found["autoconfig_ready", "main"] == 0
    assert found["autoconfig_stream_connected", "main"] == 0
    for unknown in ("autoconfig_stream_last_byte_timestamp_seconds", "autoconfig_stream_last_error_timestamp_seconds"):
        assert not [key for key in found if key[0] == unknown]

    manager.start()
    assert manager.wait_for(StreamState.VALID, 5)
    wait_until(lambda: scrape(collector)["autoconfig_ready", "main"] == 1)
    found = scrape(collector)
    assert state() == "VALID"
    assert found["autoconfig_stream_connected", "main"] == 1
    assert found["autoconfig_stream_connections_total", "main"] == 1
    assert found["autoconfig_stream_events_total", "main", "put"] == 1
    assert found["autoconfig_stream_events_total", "main", "patch"] == 0
    assert found["autoconfig_stream_state_since_timestamp_seconds", "main"] > 1.7e9
    assert found["autoconfig_stream_last_byte_timestamp_seconds", "main"] > 1.7e9

    service.close()
    assert manager.wait_for(StreamState.INTERRUPTED, 5)
    wait_until(lambda: manager.status.failed_attempts > 1)
    found = scrape(collector)
    assert state() == "INTERRUPTED"
    assert found["autoconfig_stream_failed_attempts", "main"] > 1
    assert found["autoconfig_stream_errors_total", "main", "NETWORK_ERROR"] > 1
    assert found["autoconfig_stream_last_error_timestamp_seconds", "main", "NETWORK_ERROR", ""] > 1.7e9

    manager.close()
    assert state() == "OFF"


def test_a_reconnection_without_an_error_is_counted(
    make: Callable[..., StreamManager], service: Emulator, scrape: Scrape
) -> None:
    manager = make(Recorder())
    manager.start()
    assert manager.wait_for(StreamState.VALID, 5)
    service.send_reconnect()
    wait_until(lambda: manager.status.connections == 2)
    found = scrape(StreamCollector({"main": manager}))
    assert found["autoconfig_stream_connections_total", "main"] == 2
    assert found["autoconfig_stream_events_total", "main", "reconnect"] == 1
    assert found["autoconfig_stream_errors_total", "main", "NETWORK_ERROR"] == 0


def test_two_managers_in_both_forms(make: Callable[..., StreamManager], scrape: Scrape) -> None:
    good, refused = make(Recorder()), make(Recorder(), "rel-another")
    for manager in (good, refused):
        manager.start()
    assert good.wait_for(StreamState.VALID, 5)
    assert refused.wait_for(StreamState.OFF, 5)
    collector = StreamCollector({"good": good, "refused": refused})
    for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
        found = scrape(collector, accept)
        assert found["autoconfig_stream_state", "good", "VALID"] == 1
        assert found["autoconfig_stream_state", "refused", "OFF"] == 1
        assert found["autoconfig_stream_errors_total", "refused", "ERROR_RESPONSE"] == 1


def test_what_a_registry_has(make: Callable[..., StreamManager], service: Emulator, scrape: Scrape) -> None:
    registry = EnvironmentRegistry()
    manager = make(registry)
    manager.start()
    wait_until(lambda: len(registry.environments) == 1)
    collector = StreamCollector({}, registries={"main": registry})
    found = scrape(collector)
    assert found["autoconfig_environments", "main"] == 1
    assert found["autoconfig_filters", "main"] == 1
    assert found["autoconfig_expiring_sdk_keys", "main"] == 0
    assert ("autoconfig_next_key_expiry_timestamp_seconds", "main") not in found

    service.rotate_sdk_key(ENVIRONMENT.env_id, SDKKey(KEYS[1]), timedelta(hours=1))
    wait_until(lambda: scrape(collector)["autoconfig_expiring_sdk_keys", "main"] == 1)
    expires = scrape(collector)["autoconfig_next_key_expiry_timestamp_seconds", "main"]
    each = scrape(StreamCollector({}, registries={"main": registry}, per_environment=True))
    assert each["autoconfig_next_key_expiry_timestamp_seconds", "main", "production", "shop"] == expires


def test_calls_are_timed_and_counted_when_they_fail(make: Callable[..., StreamManager], scrape: Scrape) -> None:
    failing = Failing(lambda name, _: OSError("database away") if name == "add_filter" else None)
    handlers = {"main": TimedHandler(failing), "idle": TimedHandler(Recorder())}
    manager = make(handlers["main"])
    manager.start()
    wait_until(lambda: manager.status.failed_callbacks)
    found = scrape(StreamCollector({"main": manager}, handlers=handlers))
    calls, failures = "autoconfig_handler_duration_seconds_count", "autoconfig_handler_callback_failures_total"
    assert found[calls, "main", "add_environment"] == 1
    assert found["autoconfig_handler_duration_seconds_bucket", "main", "add_environment", "+Inf"] == 1
    assert found["autoconfig_handler_failures_total", "main"] >= 1
    assert found[calls, "main", "add_filter"] == found[failures, "main", "add_filter"] >= 1
    assert (failures, "main", "add_environment") not in found
    assert not [key for key in found if key[1] == "idle"]


def test_a_timed_handler_makes_one_call_for_each_and_raises_what_that_raises() -> None:
    calls: list[tuple[Any, ...]] = []

    class Refused:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                calls.append((name, *arguments))
                raise KeyError(name)

            return call

    timed = TimedHandler(Refused())
    names = [name for name in vars(TimedHandler) if not name.startswith("_")]
    assert len(names) == 7
    for name in names:
        arguments = {"received_all_environments": (), "environment_refused": ("1", "why")}.get(name, ("1",))
        with pytest.raises(KeyError, match=name):
            getattr(timed, name)(*arguments)
        assert calls.pop() == (name, *arguments)
        assert not calls
    TimedHandler(Recorder()).environment_refused(EnvironmentID("1"), "the inner handler has no such method")
    with pytest.raises(TypeError, match="six methods"):
        TimedHandler(object())


def test_a_timed_registry_belongs_to_its_stream(make: Callable[..., StreamManager], service: Emulator) -> None:
    registry = EnvironmentRegistry()
    timed = TimedHandler(registry)
    manager = make(timed)
    manager.start()
    registry.wait_until_ready(30)
    with pytest.raises(RuntimeError, match="belongs to a manager that is still running"):
        make(timed).start()
    manager.close()
    assert registry.get("1")
    service.delete_environment("1")
    make(timed).start()
    registry.wait_until_ready(30)
    assert registry.get("1") is None  # what the earlier manager has left is deleted


def test_a_scrape_waits_for_no_handler(make: Callable[..., StreamManager], scrape: Scrape) -> None:
    handler = Holding("add_environment")
    timed = TimedHandler(handler)
    manager = make(timed)
    manager.start()
    assert handler.inside.wait(LIMIT)
    begin = time.monotonic()
    found = scrape(StreamCollector({"main": manager}, handlers={"main": timed}))
    assert time.monotonic() - begin < 5
    assert found["autoconfig_handler_queued_batches", "main"] == 1
    assert found["autoconfig_handler_lag_seconds", "main"] > 0
    assert ("autoconfig_handler_duration_seconds_count", "main", "add_environment") in found
    handler.released.set()


def test_the_states_of_clients(scrape: Scrape) -> None:
    working, refused = (ClientStatus(state, KEYS[0], 1, None) for state in (ClientState.WORKING, ClientState.REFUSED))

    def forked() -> Any:
        raise ForkedError

    pools = {
        "main": SimpleNamespace(status=lambda: {1: working, 2: working, 3: refused}),
        "forked": SimpleNamespace(status=forked),
    }
    found = scrape(StreamCollector({}, pools=pools))
    states = {key[2]: value for key, value in found.items() if key[:2] == ("autoconfig_clients", "main")}
    assert states == {**dict.fromkeys(ClientState.__members__, 0), "WORKING": 2, "REFUSED": 1}
    assert found["autoconfig_retired_clients", "main"] == 3
    assert not [key for key in found if key[1] == "forked"]


def test_a_real_pool(make: Callable[..., StreamManager], scrape: Scrape) -> None:
    with (
        FlagService() as flags,
        ClientPool(lambda params: Config(params.sdk_key, send_events=False, **flags.uris)) as pool,
    ):
        manager = make(pool)
        manager.start()
        assert pool.wait_until_ready(30)
        assert scrape(StreamCollector({}, pools={"main": pool}))["autoconfig_clients", "main", "WORKING"] == 1
        manager.close()


def test_nothing_is_started_or_registered_by_itself() -> None:
    from prometheus_client import REGISTRY

    before = threading.active_count()
    StreamCollector({}, handlers={"main": TimedHandler(Recorder())})
    assert threading.active_count() == before
    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("autoconfig")]
