"""The metrics, scraped over HTTP as Prometheus does it."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.recorder import Recorder

from autoconfig import (
    EnvironmentID,
    EnvironmentRegistry,
    EnvironmentRep,
    FilterID,
    FilterRep,
    ForkedError,
    MobileKey,
    RetryPolicy,
    SDKKey,
    SDKKeyRep,
    StreamManager,
    StreamState,
)
from autoconfig.metrics import StreamCollector, TimedHandler
from autoconfig.testing import Emulator

NAME = re.compile(r"autoconfig_[a-z]+(_[a-z]+)*")
KEYS = ["sdk-7c9e6679-7425-40de-944b-e07fc1f90ae7", "sdk-99d0ab3c-6f1e-4a2b-9c8d-7e6f5a4b0c63", "mob-1234567890123456"]
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


def until(condition: Callable[[], Any]) -> None:
    """Wait until the condition holds."""
    deadline, pause = time.monotonic() + 5, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.01)


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

        def scrape(collector: StreamCollector, accept: str = "text/plain") -> dict[tuple[str, ...], float]:
            registry = CollectorRegistry()
            registry.register(collector)
            server, thread = start_http_server(0, "127.0.0.1", registry)
            closing.callback(thread.join)
            closing.callback(server.server_close)
            closing.callback(server.shutdown)
            request = urllib.request.Request(
                f"http://127.0.0.1:{server.server_port}/metrics", headers={"Accept": accept}
            )
            with urllib.request.urlopen(request, timeout=5) as answer:
                text = answer.read().decode()
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
    until(lambda: scrape(collector)["autoconfig_ready", "main"] == 1)
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
    until(lambda: manager.status.failed_attempts > 1)
    found = scrape(collector)
    assert state() == "INTERRUPTED"
    assert found["autoconfig_stream_failed_attempts", "main"] > 1
    assert found["autoconfig_stream_errors_total", "main", "NETWORK_ERROR"] > 1
    assert found["autoconfig_stream_last_error_timestamp_seconds", "main", "NETWORK_ERROR"] > 1.7e9

    manager.close()
    assert state() == "OFF"


def test_a_reconnection_without_an_error_is_counted(
    make: Callable[..., StreamManager], service: Emulator, scrape: Scrape
) -> None:
    manager = make(Recorder())
    manager.start()
    assert manager.wait_for(StreamState.VALID, 5)
    service.send_reconnect()
    until(lambda: manager.status.connections == 2)
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
    until(lambda: len(registry.environments) == 1)
    collector = StreamCollector({}, registries={"main": registry})
    found = scrape(collector)
    assert found["autoconfig_environments", "main"] == 1
    assert found["autoconfig_filters", "main"] == 1
    assert found["autoconfig_expiring_sdk_keys", "main"] == 0
    assert ("autoconfig_next_key_expiry_timestamp_seconds", "main") not in found

    service.rotate_sdk_key(ENVIRONMENT.env_id, SDKKey(KEYS[1]), timedelta(hours=1))
    until(lambda: scrape(collector)["autoconfig_expiring_sdk_keys", "main"] == 1)
    expires = scrape(collector)["autoconfig_next_key_expiry_timestamp_seconds", "main"]
    each = scrape(StreamCollector({}, registries={"main": registry}, per_environment=True))
    assert each["autoconfig_next_key_expiry_timestamp_seconds", "main", "production", "shop"] == expires


def test_calls_are_timed_and_counted_when_they_fail(make: Callable[..., StreamManager], scrape: Scrape) -> None:
    class Failing(Recorder):
        def add_filter(self, params: Any) -> None:
            raise OSError("database away")

        def environment_refused(self, id: str, reason: str) -> str:
            return "inner"

    handlers = {"main": TimedHandler(Failing()), "idle": TimedHandler(Recorder())}
    manager = make(handlers["main"])
    manager.start()
    until(lambda: manager.status.failed_callbacks)
    found = scrape(StreamCollector({"main": manager}, handlers=handlers))
    name = "autoconfig_handler_duration_seconds_count"
    assert found[name, "main", "add_environment"] == 1
    assert found[name, "main", "add_filter"] >= 1
    assert found["autoconfig_handler_failures_total", "main"] >= 1
    assert found["autoconfig_handler_duration_seconds_bucket", "main", "add_environment", "+Inf"] == 1
    assert handlers["main"].environment_refused("1", "x") == "inner"
    assert not hasattr(handlers["idle"], "environment_refused")
    with pytest.raises(TypeError, match="six methods"):
        TimedHandler(object())


class PoolState(Enum):
    WORKING = 1
    REFUSED = 2


def test_the_states_of_clients(scrape: Scrape) -> None:
    statuses = {number: SimpleNamespace(state=PoolState.WORKING, retired=number) for number in range(3)}

    def forked() -> Any:
        raise ForkedError

    pools = {"main": SimpleNamespace(status=lambda: statuses), "forked": SimpleNamespace(status=forked)}
    found = scrape(StreamCollector({}, pools=pools))
    assert found == {
        ("autoconfig_clients", "main", "WORKING"): 3,
        ("autoconfig_clients", "main", "REFUSED"): 0,
        ("autoconfig_retired_clients", "main"): 3,
    }


def test_nothing_is_started_or_registered_by_itself() -> None:
    from prometheus_client import REGISTRY

    before = threading.active_count()
    StreamCollector({}, handlers={"main": TimedHandler(Recorder())})
    assert threading.active_count() == before
    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("autoconfig")]
