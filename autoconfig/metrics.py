"""
Streams, registries and client pools as metrics for Prometheus.

Needs the extra ``prometheus``. Nothing is registered by itself. What is scraped is read at that moment, in the
scraper's thread, without any call to the network.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .environments import EnvironmentParams, FilterParams
from .exceptions import ForkedError
from .handler import MessageHandler, check_handler
from .identifiers import EnvironmentID, FilterID
from .manager import StreamManager
from .registry import EnvironmentRegistry
from .status import ContentSource, StreamState, StreamStatus

if TYPE_CHECKING:  # it needs another extra
    from .clients import ClientPool

__all__ = ["StreamCollector", "TimedHandler"]

_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)  # seconds

Samples = Iterable[tuple[list[str], float]]
"""The labels' values and the number of each sample."""


class TimedHandler(MessageHandler):
    """
    Measures how long each call of a handler takes, also of one that raises.

    Give it to the :class:`StreamManager` in the handler's place, and to a :class:`StreamCollector` to have it scraped.

    Args:
        handler: An object with the six methods of :class:`MessageHandler`.

    Raises:
        TypeError: The handler lacks a method; the text names it.
    """

    def __init__(self, handler: MessageHandler) -> None:
        check_handler(handler)
        self._handler = handler
        self._durations = Histogram(
            "autoconfig_handler_duration_seconds",
            "How long the calls of the handler took.",
            ["callback"],
            registry=None,
            buckets=_BUCKETS,
        )

    def add_environment(self, params: EnvironmentParams) -> None:
        """Hand the call on."""
        with self._durations.labels("add_environment").time():
            self._handler.add_environment(params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Hand the call on."""
        with self._durations.labels("update_environment").time():
            self._handler.update_environment(params)

    def received_all_environments(self) -> None:
        """Hand the call on."""
        with self._durations.labels("received_all_environments").time():
            self._handler.received_all_environments()

    def delete_environment(self, id: EnvironmentID) -> None:
        """Hand the call on."""
        with self._durations.labels("delete_environment").time():
            self._handler.delete_environment(id)

    def add_filter(self, params: FilterParams) -> None:
        """Hand the call on."""
        with self._durations.labels("add_filter").time():
            self._handler.add_filter(params)

    def delete_filter(self, id: FilterID) -> None:
        """Hand the call on."""
        with self._durations.labels("delete_filter").time():
            self._handler.delete_filter(id)

    def __getattr__(self, name: str) -> Any:
        """Have what only some handlers have, such as ``environment_refused``, if the inner one has it."""
        if name == "_handler":  # asked for before the constructor has run, by copy and pickle
            raise AttributeError(name)
        return getattr(self._handler, name)


class StreamCollector(Collector):
    """
    The metrics of one or more streams; ``registry.register(StreamCollector(…))`` has them scraped.

    Each mapping names what belongs to one stream; the names become the label ``stream``. No label or value holds a key.
    Times are timestamps; what is not known, such as the time of the last error when there was none, is left out.

    Args:
        managers: The managers, by the name of their stream.
        registries: For the number of environments, filters and expiring keys.
        handlers: For the duration of calls.
        pools: For the number of clients in each state.
        per_environment: Whether the next expiration of a key is told for each environment, with its project's key and
            its own as labels. Otherwise it is told for each stream.
    """

    def __init__(
        self,
        managers: Mapping[str, StreamManager],
        *,
        registries: Mapping[str, EnvironmentRegistry] | None = None,
        handlers: Mapping[str, TimedHandler] | None = None,
        pools: Mapping[str, ClientPool] | None = None,
        per_environment: bool = False,
    ) -> None:
        self._managers = dict(managers)
        self._registries = dict(registries or {})
        self._handlers = dict(handlers or {})
        self._pools = dict(pools or {})
        self._per_environment = per_environment

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they are now."""
        statuses = {name: manager.status for name, manager in self._managers.items()}
        for name, text, read in _STREAM_GAUGES:
            values = ((([stream], read(status))) for stream, status in statuses.items())
            yield _gauge(name, text, [], ((labels, value) for labels, value in values if value is not None))
        for name, text, labels, samples in _STREAM_FAMILIES:
            found = (([stream, *more], value) for stream, status in statuses.items() for more, value in samples(status))
            make = _counter if name.endswith("_total") else _gauge
            yield make(name, text, labels, found)
        if self._handlers:
            yield self._durations()
        if self._registries:
            yield from self._contents()
        if self._pools:
            yield from self._clients()

    def _durations(self) -> Metric:
        family: Metric | None = None
        samples = []
        for stream, handler in self._handlers.items():
            for family in handler._durations.collect():
                for sample in family.samples:
                    if not sample.name.endswith("_created"):
                        samples.append(sample._replace(labels={"stream": stream, **sample.labels}))
        assert family is not None
        family.samples = samples
        return family

    def _contents(self) -> Iterator[Metric]:
        environments = {name: registry.environments for name, registry in self._registries.items()}
        filters = {name: registry.filters for name, registry in self._registries.items()}
        expirations = {name: _expirations(found.values()) for name, found in environments.items()}
        yield _gauge("autoconfig_environments", "How many environments there are.", [], _sizes(environments))
        yield _gauge("autoconfig_filters", "How many payload filters there are.", [], _sizes(filters))
        text = "How many SDK keys are accepted until a time that is still to come."
        yield _gauge("autoconfig_expiring_sdk_keys", text, [], _sizes(expirations))
        labels = ["project", "environment"] if self._per_environment else []
        first: dict[tuple[str, ...], float] = {}
        for stream, found in expirations.items():
            for time_, names in found:
                key = (stream, *names) if self._per_environment else (stream,)
                first[key] = min(time_, first.get(key, time_))
        text = "When the next SDK key expires."
        samples = [(list(key), time_) for key, time_ in first.items()]
        yield _gauge("autoconfig_next_key_expiry_timestamp_seconds", text, labels, samples)

    def _clients(self) -> Iterator[Metric]:
        counts, retired = [], []
        for stream, pool in self._pools.items():
            try:
                statuses = pool.status().values()
            except ForkedError:
                continue
            states = Counter(status.state for status in statuses)
            for state in type(next(iter(states))) if states else ():
                counts.append(([stream, state.name], float(states[state])))
            retired.append(([stream], float(sum(status.retired for status in statuses))))
        yield _gauge("autoconfig_clients", "How many environments' clients are in this state.", ["state"], counts)
        yield _gauge("autoconfig_retired_clients", "How many replaced clients are not closed yet.", [], retired)


def _family(kind: Callable[..., Any], name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    family = kind(name, text, labels=["stream", *labels])
    for values, value in samples:
        family.add_metric(values, value)
    return family  # type: ignore[no-any-return]


_gauge = partial(_family, GaugeMetricFamily)
_counter = partial(_family, CounterMetricFamily)


def _sizes(found: Mapping[str, Any]) -> Samples:
    return (([stream], len(items)) for stream, items in found.items())


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _expirations(environments: Iterable[EnvironmentParams]) -> list[tuple[float, tuple[str, str]]]:
    """Return the time of each SDK key that is still to expire, and the names of its project and environment."""
    now = time.time()
    return [
        (key.expiration.timestamp(), (environment.identifiers.proj_key, environment.identifiers.env_key))
        for environment in environments
        for key in environment.accepted_sdk_keys
        if key.expiration is not None and key.expiration.timestamp() > now
    ]


def _states(status: StreamStatus) -> Samples:
    return (([state.name], float(status.state is state)) for state in StreamState)


def _last_error(status: StreamStatus) -> Samples:
    error = status.last_error
    return [] if error is None else [([error.kind.name], error.time.timestamp())]


def _events(status: StreamStatus) -> Samples:
    return (([name], count) for name, count in status.events.items())


def _errors(status: StreamStatus) -> Samples:
    return (([kind.name], count) for kind, count in status.errors.items())


def _connections(status: StreamStatus) -> Samples:
    return [([], status.connections)]


def _failures(status: StreamStatus) -> Samples:
    return [([], status.failed_callbacks)]


_STREAM_GAUGES: tuple[tuple[str, str, Callable[[StreamStatus], float | None]], ...] = (
    (
        "autoconfig_ready",
        "Whether the handler has a full configuration.",
        lambda status: status.content is not ContentSource.NOTHING,
    ),
    (
        "autoconfig_stream_state_since_timestamp_seconds",
        "When the state of the stream began.",
        lambda status: _timestamp(status.since),
    ),
    (
        "autoconfig_stream_last_byte_timestamp_seconds",
        "When something was last received, heartbeats included.",
        lambda status: _timestamp(status.last_byte_at),
    ),
    (
        "autoconfig_stream_connected",
        "Whether there is a connection.",
        lambda status: status.connected_since is not None,
    ),
    (
        "autoconfig_stream_failed_attempts",
        "How many attempts to connect have failed since the last event.",
        lambda status: status.failed_attempts,
    ),
    (
        "autoconfig_handler_queued_batches",
        "How many batches of messages wait for the handler.",
        lambda status: status.queued_batches,
    ),
    (
        "autoconfig_handler_lag_seconds",
        "How long the oldest of the waiting messages has been waiting.",
        lambda status: status.lag,
    ),
    (
        "autoconfig_handler_pending_retries",
        "How many failed calls of the handler are to be made again.",
        lambda status: status.pending_retries,
    ),
    (
        "autoconfig_refused_environments",
        "How many environments the service sends in a form that cannot be used.",
        lambda status: len(status.refused),
    ),
)
_STREAM_FAMILIES: tuple[tuple[str, str, list[str], Callable[[StreamStatus], Samples]], ...] = (
    ("autoconfig_stream_state", "1 for the state of the stream, 0 for the others.", ["state"], _states),
    (
        "autoconfig_stream_last_error_timestamp_seconds",
        "When the last error happened, which may be over.",
        ["kind"],
        _last_error,
    ),
    ("autoconfig_stream_events_total", "How many events were received.", ["event"], _events),
    ("autoconfig_stream_errors_total", "How many errors there were.", ["kind"], _errors),
    ("autoconfig_stream_connections_total", "How many connections were made.", [], _connections),
    ("autoconfig_handler_failures_total", "How many calls of the handler have raised.", [], _failures),
)
