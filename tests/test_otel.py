"""The instruments, read by OpenTelemetry's SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from support.recorder import Recorder

from autoconfig import RetryPolicy, StreamManager, StreamState
from autoconfig.otel import instrument
from autoconfig.testing import Emulator


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
    with Emulator() as service:
        manager = StreamManager(service.key, service.uri, Recorder(), retry_policy=RetryPolicy(max_delay=0.05))
        other = StreamManager("rel-another-key-0123456789", service.uri, Recorder())
        instrument({"main": manager, "other": other}, meter=provider.get_meter("autoconfig"))
        found = read(reader)
        states = {state: found["launchdarkly.relay.autoconfig.state", "main", state.value] for state in StreamState}
        assert {state for state, value in states.items() if value} == {StreamState.INITIALIZING}
        assert not [
            key
            for key in found
            if key[0] in ("launchdarkly.relay.autoconfig.last_error", "autoconfig.stream.last_byte")
        ]

        with manager, other:
            manager.wait_until_ready(5)
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
        assert service.key not in json.dumps([list(map(str, key)) for key in found])
    provider.shutdown()
