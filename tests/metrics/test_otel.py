"""The instruments, read by OpenTelemetry's SDK."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("ldclient")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from support.recorder import Recorder
from support.samples import environment

from autoconfig import EnvironmentRegistry, RetryPolicy, StreamManager, StreamState
from autoconfig.clients import ClientState, ClientStatus
from autoconfig.otel import instrument
from autoconfig.testing import Emulator

KEYS = ("sdk-7c9e6679-7425-40de-944b-e07fc1f90ae7", "sdk-1", "mob-1")


def read(reader: InMemoryMetricReader) -> dict[tuple[Any, ...], float]:
    """Return each value by its instrument's name and its attributes, the stream's first."""
    found = {}
    data = reader.get_metrics_data()
    for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
        assert metric.unit
        assert metric.description.endswith(".")
        for point in metric.data.data_points:
            attributes = dict(point.attributes)
            stream = attributes.pop("stream")
            found[(metric.name, stream, *(value for _, value in sorted(attributes.items())))] = point.value
    return found


def test_the_three_names_that_relay_dashboards_know_and_ours() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    with Emulator([environment("1")]) as service:
        service.rotate_sdk_key("1", KEYS[0], timedelta(hours=1))
        registry = EnvironmentRegistry()
        pool: Any = SimpleNamespace(status=lambda: {1: ClientStatus(ClientState.REFUSED, "", 2, "HTTP 401")})
        manager = StreamManager(service.key, service.uri, registry, retry_policy=RetryPolicy(max_delay=0.05))
        other = StreamManager("rel-another-key-0123456789", service.uri, Recorder())
        meter = provider.get_meter("autoconfig")
        instrument({"main": manager, "other": other}, registries={"main": registry}, pools={"main": pool}, meter=meter)
        found = read(reader)
        states = {state: found["launchdarkly.relay.autoconfig.state", "main", state.value] for state in StreamState}
        assert {state for state, value in states.items() if value} == {StreamState.INITIALIZING}
        assert not [
            key
            for key in found
            if key[0] in ("launchdarkly.relay.autoconfig.last_error", "autoconfig.stream.last_byte")
        ]

        with manager, other:
            manager.wait_until_ready(30)
            assert other.wait_for(StreamState.OFF, 5)
            found = read(reader)
            assert found["launchdarkly.relay.autoconfig.state", "main", "VALID"] == 1
            assert found["launchdarkly.relay.autoconfig.state", "other", "OFF"] == 1
            assert found["launchdarkly.relay.autoconfig.state.since", "main"] > 1.7e9
            assert found["launchdarkly.relay.autoconfig.last_error", "other", 401, "ERROR_RESPONSE"] > 1.7e9
            assert found["autoconfig.stream.last_byte", "main"] > 1.7e9
            assert found["autoconfig.ready", "main"] == 1
            assert found["autoconfig.handler.lag", "main"] >= 0
            assert found["autoconfig.handler.pending_retries", "main"] == 0
            assert found["autoconfig.stream.events", "main", "put"] == 1
            assert found["autoconfig.stream.errors", "other", "ERROR_RESPONSE"] == 1
            assert found["autoconfig.stream.connections", "main"] == 1
            assert found["autoconfig.handler.failures", "main"] == 0
            assert found["autoconfig.content", "main", "STREAM"] > 1.7e9
            assert found["autoconfig.environments", "main"] == 1
            assert found["autoconfig.expiring_sdk_keys", "main"] == 1
            assert found["autoconfig.next_key_expiry", "main"] > 1.7e9
            assert found["autoconfig.clients", "main", "REFUSED"] == 1
            assert found["autoconfig.retired_clients", "main"] == 2
            assert ("autoconfig.content", "other") not in [key[:2] for key in found]
        told = str(list(found))
        assert not [key for key in (service.key, "rel-another-key-0123456789", *KEYS) if key in told]
        assert all(
            re.fullmatch(r"(launchdarkly\.relay\.)?autoconfig(\.[a-z_]+)+|autoconfig\.[a-z_]+", n) for n, *_ in found
        )
    provider.shutdown()
