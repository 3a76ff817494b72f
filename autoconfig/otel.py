"""
Streams as metrics for OpenTelemetry, with the three names that dashboards of LaunchDarkly's Relay Proxy know.

Needs the extra ``otel``, which installs only OpenTelemetry's API. The application chooses an exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import attrs
from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from .manager import StreamManager
from .measures import FLEET, LEADER, NEXT_EXPIRY, POOL, REGISTRY, STREAM, Kind, Measure
from .ready_made.registry import EnvironmentRegistry
from .version import __version__

if TYPE_CHECKING:  # they need other extras
    from .clients import ClientPool
    from .redis import Leader, RedisSource

__all__ = ["instrument"]

S = TypeVar("S")
T = TypeVar("T")

# What dashboards of the relay know: name and attributes.
_RELAY: dict[str, tuple[str, tuple[str, ...]]] = {
    "stream.state": ("launchdarkly.relay.autoconfig.state", ("launchdarkly.relay.state",)),
    "stream.state_since": ("launchdarkly.relay.autoconfig.state.since", ()),
    "stream.last_error": (
        "launchdarkly.relay.autoconfig.last_error",
        ("launchdarkly.relay.error.kind", "http.response.status_code"),
    ),
}


def instrument(
    managers: Mapping[str, StreamManager],
    *,
    registries: Mapping[str, EnvironmentRegistry] | None = None,
    pools: Mapping[str, ClientPool] | None = None,
    fleets: Mapping[str, RedisSource] | None = None,
    leaders: Mapping[str, Leader] | None = None,
    meter: Meter | None = None,
) -> None:
    """
    Observe streams whenever metrics are collected, in the collector's thread. Call it once for each meter.

    The keys of each mapping are names of streams; they become the attribute ``stream``. Times are seconds since 1970. A
    value that is not known is left out. No attribute holds a secret.

    Args:
        managers: The managers, by the name of their stream.
        registries: For the number of environments, filters and expiring keys.
        pools: For the number of clients in each state.
        fleets: For the leader of a fleet that is followed, and the lag behind it.
        leaders: For whether a leader leads, and how much it has written.
        meter: The meter that makes the instruments; default is that of the global provider.
    """
    meter = get_meter("autoconfig", __version__) if meter is None else meter
    _create(meter, STREAM, managers, lambda manager: manager.status)
    _create(meter, (*REGISTRY, NEXT_EXPIRY), registries or {}, lambda registry: registry)
    _create(meter, POOL, pools or {}, lambda pool: pool)
    _create(meter, FLEET, fleets or {}, lambda source: source)
    _create(meter, LEADER, leaders or {}, lambda leader: leader)


def _create(meter: Meter, measures: Iterable[Measure[S]], sources: Mapping[str, T], observed: Callable[[T], S]) -> None:
    """Make an instrument for each measure; ``observed`` returns what the measures read of a source."""
    sources = dict(sources)
    for measure in map(_named, measures if sources else ()):

        def observe(_: CallbackOptions, measure: Measure[S] = measure) -> list[Observation]:
            return [
                Observation(value, {"stream": stream, **_attributes(measure.labels, values)})
                for stream, source in sources.items()
                for values, value in measure.read(observed(source))
            ]

        counts = measure.kind is Kind.COUNTER
        make = meter.create_observable_counter if counts else meter.create_observable_gauge
        make(measure.name, [observe], measure.unit, measure.text)


def _attributes(names: Iterable[str], values: Iterable[str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _named(measure: Measure[S]) -> Measure[S]:
    """Return a measure with its name in OpenTelemetry; some have the relay's names and labels, for its dashboards."""
    name, labels = _RELAY.get(measure.name, (f"autoconfig.{measure.name}", measure.labels))
    return attrs.evolve(measure, name=name, labels=labels)
