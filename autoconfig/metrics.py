"""
Streams, registries and client pools as metrics for Prometheus.

Needs the extra ``prometheus``. Register the collector yourself. A scrape reads the values in the scraper's thread, and
never waits for the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .dispatch.calls import StoppedError
from .environments import EnvironmentParams, FilterParams
from .handler import MessageHandler, check_handler
from .identifiers import EnvironmentID, FilterID
from .manager import StreamManager
from .measures import EACH_NEXT_EXPIRY, FLEET, LEADER, NEXT_EXPIRY, POOL, REGISTRY, STREAM, Kind, Measure
from .ready_made.base import AttachedStream, ReadyMadeHandler, attach, detach, keep_environment, keep_filter
from .ready_made.registry import EnvironmentRegistry

if TYPE_CHECKING:  # they need other extras
    from .clients import ClientPool
    from .redis import Leader, RedisSource

__all__ = ["StreamCollector", "TimedHandler"]

S = TypeVar("S")

_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)  # seconds


class TimedHandler(ReadyMadeHandler):
    """
    Measures how long each call of a handler takes, and counts those that raise.

    Give it to the :class:`StreamManager` instead of the handler, and to a :class:`StreamCollector` to have it scraped.
    It passes each call to the handler, in the same thread, and raises what the handler raises.

    Args:
        handler: An object with the six methods of :class:`MessageHandler`; ``environment_refused`` is optional.

    Raises:
        TypeError: The handler lacks a method; the text names it.
    """

    def __init__(self, handler: MessageHandler) -> None:
        check_handler(handler)
        super().__init__()
        self._handler = handler
        self._durations = Histogram(
            "autoconfig_handler_duration_seconds",
            "How long the calls of the handler took.",
            ["callback"],
            registry=None,
            buckets=_BUCKETS,
        )
        self._failures = Counter(
            "autoconfig_handler_callback_failures",
            "How many calls of this handler have raised.",
            ["callback"],
            registry=None,
        )

    def add_environment(self, params: EnvironmentParams) -> None:
        """Pass the call on."""
        self._time("add_environment", self._handler.add_environment, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Pass the call on."""
        self._time("update_environment", self._handler.update_environment, params)

    def received_all_environments(self) -> None:
        """Pass the call on."""
        self._time("received_all_environments", self._handler.received_all_environments)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Pass the call on."""
        self._time("delete_environment", self._handler.delete_environment, id)

    def add_filter(self, params: FilterParams) -> None:
        """Pass the call on."""
        self._time("add_filter", self._handler.add_filter, params)

    def delete_filter(self, id: FilterID) -> None:
        """Pass the call on."""
        self._time("delete_filter", self._handler.delete_filter, id)

    def environment_refused(self, id: EnvironmentID, reason: str) -> None:
        """Pass the call on, if the handler has this method."""
        refused = getattr(self._handler, "environment_refused", None)
        if callable(refused):
            self._time("environment_refused", refused, id, reason)

    def _time(self, name: str, callback: Callable[..., object], *arguments: object) -> None:
        try:
            with self._durations.labels(name).time():
                callback(*arguments)
        except StoppedError:  # the end of the stream, which is not a failure
            raise
        except BaseException:
            self._failures.labels(name).inc()
            raise

    def _attach_to_stream(self, stream: AttachedStream) -> None:
        super()._attach_to_stream(stream)
        attach(self._handler, stream)

    def _detach_from_stream(self, stream: AttachedStream, deadline: float) -> bool:
        return detach(self._handler, stream, deadline)

    def _known_ids(self) -> tuple[Iterable[EnvironmentID], Iterable[FilterID]]:
        return (), ()  # what an earlier manager has left is the handler's concern

    def _keep_environment(self, id: EnvironmentID) -> None:
        keep_environment(self._handler, id)

    def _keep_filter(self, id: FilterID) -> None:
        keep_filter(self._handler, id)

    def _collect(self) -> Iterator[Metric]:
        yield from self._durations.collect()
        yield from self._failures.collect()


class StreamCollector(Collector):
    """
    The metrics of one or more streams; ``registry.register(StreamCollector(…))`` has them scraped.

    The keys of each mapping are names of streams; they become the label ``stream``. No label or value holds a secret.
    Times are timestamps. A value that is not known, such as the time of the last error before any error, is left out.

    Args:
        managers: The managers, by the name of their stream.
        registries: For the number of environments, filters and expiring keys.
        handlers: For the duration of calls.
        pools: For the number of clients in each state.
        fleets: For the leader of a fleet that is followed, and the lag behind it.
        leaders: For whether a leader leads, and how much it has written.
        per_environment: Whether to report the next expiration of a key for each environment, with its project's key and
            its own as labels, and not for each stream.
    """

    def __init__(
        self,
        managers: Mapping[str, StreamManager],
        *,
        registries: Mapping[str, EnvironmentRegistry] | None = None,
        handlers: Mapping[str, TimedHandler] | None = None,
        pools: Mapping[str, ClientPool] | None = None,
        fleets: Mapping[str, RedisSource] | None = None,
        leaders: Mapping[str, Leader] | None = None,
        per_environment: bool = False,
    ) -> None:
        self._managers = dict(managers)
        self._registries = dict(registries or {})
        self._handlers = dict(handlers or {})
        self._pools = dict(pools or {})
        self._fleets = dict(fleets or {})
        self._leaders = dict(leaders or {})
        self._expiry = EACH_NEXT_EXPIRY if per_environment else NEXT_EXPIRY

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they are now."""
        yield from _families(STREAM, {stream: manager.status for stream, manager in self._managers.items()})
        yield from _families((*REGISTRY, self._expiry), self._registries)
        yield from _families(POOL, self._pools)
        yield from _families(FLEET, self._fleets)
        yield from _families(LEADER, self._leaders)
        yield from self._timed()

    def _timed(self) -> Iterable[Metric]:
        """Return what the handlers have measured, with the names of their streams as labels."""
        families: dict[str, Metric] = {}
        for stream, handler in self._handlers.items():
            for found in handler._collect():
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                family.samples += [
                    sample._replace(labels={"stream": stream, **sample.labels})
                    for sample in found.samples
                    if not sample.name.endswith("_created")  # the time of the first call, as a metric of its own
                ]
        return families.values()


def _families(measures: Iterable[Measure[S]], sources: Mapping[str, S]) -> Iterator[Metric]:
    for measure in measures if sources else ():
        family = _family(measure)
        for stream, source in sources.items():
            for labels, value in measure.read(source):
                family.add_metric([stream, *("" if label is None else str(label) for label in labels)], float(value))
        yield family


def _family(measure: Measure[Any]) -> GaugeMetricFamily | CounterMetricFamily:
    name, labels = "autoconfig_" + measure.name.replace(".", "_"), ["stream", *measure.labels]
    if measure.kind is Kind.COUNTER:
        return CounterMetricFamily(name, measure.text, labels=labels)  # which adds _total
    if measure.kind is Kind.TIME:
        name += "_timestamp"
    return GaugeMetricFamily(name + "_seconds" if measure.unit == "s" else name, measure.text, labels=labels)
