"""
Streams as metrics for OpenTelemetry, with the three names that dashboards of LaunchDarkly's Relay Proxy know.

Needs the extra ``otel``, which is OpenTelemetry's API only: what is done with the metrics is the application's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from .manager import StreamManager
from .status import ContentSource, StreamState, StreamStatus
from .version import __version__

__all__ = ["instrument"]

Observe = Callable[[StreamStatus], Iterable[tuple[float, dict[str, Any]]]]
"""Returns the values of an instrument, each with its attributes."""


def instrument(managers: Mapping[str, StreamManager], *, meter: Meter | None = None) -> None:
    """
    Have the status of managers observed whenever metrics are collected, in the collector's thread.

    Times are seconds since 1970; what is not known is left out. No attribute holds a key.

    Args:
        managers: The managers, by the name of their stream, which becomes the attribute ``stream``.
        meter: The meter to make the instruments with; default is that of the global provider.
    """
    meter = get_meter("autoconfig", __version__) if meter is None else meter

    def callback(observe: Observe) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [
            Observation(value, {"stream": stream, **attributes})
            for stream, manager in managers.items()
            for value, attributes in observe(manager.status)
        ]

    for name, unit, text, observe in _GAUGES:
        meter.create_observable_gauge(name, [callback(observe)], unit, text)
    for name, unit, text, observe in _COUNTERS:
        meter.create_observable_counter(name, [callback(observe)], unit, text)


def _states(status: StreamStatus) -> Iterable[tuple[float, dict[str, Any]]]:
    return ((int(status.state is state), {"launchdarkly.relay.state": state.value}) for state in StreamState)


def _last_error(status: StreamStatus) -> Iterable[tuple[float, dict[str, Any]]]:
    error = status.last_error
    if error is None:
        return []
    attributes: dict[str, Any] = {"launchdarkly.relay.error.kind": error.kind.value}
    if error.status_code is not None:
        attributes["http.response.status_code"] = error.status_code
    return [(error.time.timestamp(), attributes)]


def _last_byte(status: StreamStatus) -> Iterable[tuple[float, dict[str, Any]]]:
    return [] if status.last_byte_at is None else [(status.last_byte_at.timestamp(), {})]


_GAUGES: tuple[tuple[str, str, str, Observe], ...] = (
    ("launchdarkly.relay.autoconfig.state", "{state}", "1 for the state of the stream, 0 for the others.", _states),
    (
        "launchdarkly.relay.autoconfig.state.since",
        "s",
        "When the state of the stream began.",
        lambda status: [(status.since.timestamp(), {})],
    ),
    (
        "launchdarkly.relay.autoconfig.last_error",
        "s",
        "When the last error happened, which may be over.",
        _last_error,
    ),
    ("autoconfig.stream.last_byte", "s", "When something was last received, heartbeats included.", _last_byte),
    (
        "autoconfig.ready",
        "1",
        "Whether the handler has a full configuration.",
        lambda status: [(int(status.content is not ContentSource.NOTHING), {})],
    ),
    (
        "autoconfig.handler.lag",
        "s",
        "How long the oldest of the waiting messages has been waiting.",
        lambda status: [(status.lag, {})],
    ),
    (
        "autoconfig.handler.pending_retries",
        "{call}",
        "How many failed calls of the handler are to be made again.",
        lambda status: [(status.pending_retries, {})],
    ),
)
_COUNTERS: tuple[tuple[str, str, str, Observe], ...] = (
    (
        "autoconfig.stream.events",
        "{event}",
        "How many events were received.",
        lambda status: ((count, {"event": name}) for name, count in status.events.items()),
    ),
    (
        "autoconfig.stream.errors",
        "{error}",
        "How many errors there were.",
        lambda status: ((count, {"kind": kind.value}) for kind, count in status.errors.items()),
    ),
    (
        "autoconfig.stream.connections",
        "{connection}",
        "How many connections were made.",
        lambda status: [(status.connections, {})],
    ),
    (
        "autoconfig.handler.failures",
        "{call}",
        "How many calls of the handler have raised.",
        lambda status: [(status.failed_callbacks, {})],
    ),
)
