"""The measures of streams, registries, client pools and fleets, for any metrics library."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from .environments import EnvironmentParams
from .exceptions import ForkedError
from .ready_made.registry import EnvironmentRegistry
from .status import ContentSource, StreamState, StreamStatus

if TYPE_CHECKING:  # they need other extras
    from .clients import ClientPool, ClientStatus
    from .redis import Leader, RedisSource

S = TypeVar("S")

Samples = Iterable[tuple[tuple[str | int | None, ...], float]]
"""The labels' values and the number of each sample; a label that is ``None`` is left out."""


class Kind(Enum):
    """What kind of number it is."""

    GAUGE = "gauge"
    COUNTER = "counter"
    """It only grows."""
    TIME = "time"
    """Seconds since 1970."""


@attrs.frozen
class Measure(Generic[S]):
    """
    Something that can be measured: a number, or several with labels.

    Attributes:
        name: A name in lower case, with dots, from which each library's name is made.
        kind: See :class:`Kind`.
        unit: The unit in OpenTelemetry's spelling: ``s``, ``1``, or the name of the counted things in braces.
        text: A sentence that describes it.
        read: Returns the current samples; none if the number is not known.
        labels: The names of the labels.
    """

    name: str
    kind: Kind
    unit: str
    text: str
    read: Callable[[S], Samples]
    labels: tuple[str, ...] = ()


Value = float | datetime | None
"""A number or a time; ``None`` if it is not known."""


def _single(read: Callable[[S], Value]) -> Callable[[S], Samples]:
    """Return a function that reads one value without labels."""

    def samples(source: S) -> Samples:
        value = read(source)
        if value is None:
            return []
        return [((), value.timestamp() if isinstance(value, datetime) else value)]

    return samples


def _gauge(name: str, unit: str, text: str, read: Callable[[S], Value]) -> Measure[S]:
    """Return the measure of a number that can grow and shrink."""
    return Measure(name, Kind.GAUGE, unit, text, _single(read))


def _counter(name: str, unit: str, text: str, read: Callable[[S], Value]) -> Measure[S]:
    """Return the measure of a number that only grows."""
    return Measure(name, Kind.COUNTER, unit, text, _single(read))


def _timestamp(name: str, text: str, read: Callable[[S], Value]) -> Measure[S]:
    """Return the measure of a time."""
    return Measure(name, Kind.TIME, "s", text, _single(read))


def _content(status: StreamStatus) -> Samples:
    return [] if status.content_at is None else [((status.content.name,), status.content_at.timestamp())]


def _states(status: StreamStatus) -> Samples:
    return [((state.name,), status.state is state) for state in StreamState]


def _last_error(status: StreamStatus) -> Samples:
    error = status.last_error
    return [] if error is None else [((error.kind.name, error.status_code), error.time.timestamp())]


def _events(status: StreamStatus) -> Samples:
    return [((name,), count) for name, count in status.events.items()]


def _errors(status: StreamStatus) -> Samples:
    return [((kind.name,), count) for kind, count in status.errors.items()]


STREAM: tuple[Measure[StreamStatus], ...] = (
    _gauge(
        "ready",
        "1",
        "Whether the handler has a full configuration.",
        lambda status: status.content is not ContentSource.NOTHING,
    ),
    Measure(
        "content",
        Kind.TIME,
        "s",
        "When the last full configuration was handed over; for one from a cache, when it was saved.",
        _content,
        ("source",),
    ),
    Measure("stream.state", Kind.GAUGE, "1", "1 for the state of the stream, 0 for the others.", _states, ("state",)),
    _timestamp("stream.state_since", "When the state of the stream began.", lambda status: status.since),
    _timestamp(
        "stream.last_byte",
        "When something was last received, heartbeats included.",
        lambda status: status.last_byte_at,
    ),
    Measure(
        "stream.last_error",
        Kind.TIME,
        "s",
        "When the last error happened; the stream may have recovered since.",
        _last_error,
        ("kind", "status_code"),
    ),
    _gauge(
        "stream.connected", "1", "Whether there is a connection.", lambda status: status.connected_since is not None
    ),
    _gauge(
        "stream.failed_attempts",
        "{attempt}",
        "How many attempts have failed since the last event.",
        lambda status: status.failed_attempts,
    ),
    Measure("stream.events", Kind.COUNTER, "{event}", "How many events were received.", _events, ("event",)),
    Measure("stream.errors", Kind.COUNTER, "{error}", "How many errors there were.", _errors, ("kind",)),
    _counter(
        "stream.connections", "{connection}", "How many connections were made.", lambda status: status.connections
    ),
    _gauge(
        "refused_environments",
        "{environment}",
        "How many environments the service sends in a form that cannot be used.",
        lambda status: len(status.refused),
    ),
    _gauge(
        "handler.queued_batches",
        "{batch}",
        "How many batches of messages wait for the handler.",
        lambda status: status.queued_batches,
    ),
    _gauge(
        "handler.lag",
        "s",
        "How long the oldest of the waiting messages has been waiting.",
        lambda status: status.lag,
    ),
    _gauge(
        "handler.pending_retries",
        "{item}",
        "How many items wait for the retry of a failed call.",
        lambda status: status.pending_retries,
    ),
    _counter(
        "handler.failures",
        "{call}",
        "How many calls of the handler have raised.",
        lambda status: status.failed_callbacks,
    ),
)


def _expirations(registry: EnvironmentRegistry) -> Iterator[tuple[EnvironmentParams, float]]:
    """Yield each environment and time at which one of its SDK keys will expire."""
    now = time.time()
    for environment in registry:
        for key in environment.accepted_sdk_keys:
            if key.expiration is not None and key.expiration.timestamp() > now:
                yield environment, key.expiration.timestamp()


def _next_expiries(registry: EnvironmentRegistry) -> Samples:
    first: dict[tuple[str, ...], float] = {}
    for environment, at in _expirations(registry):
        names = (environment.identifiers.proj_key, environment.identifiers.env_key)
        first[names] = min(at, first.get(names, at))
    return first.items()


REGISTRY: tuple[Measure[EnvironmentRegistry], ...] = (
    _gauge("environments", "{environment}", "How many environments there are.", len),
    _gauge("filters", "{filter}", "How many payload filters there are.", lambda registry: len(registry.filters)),
    _gauge(
        "expiring_sdk_keys",
        "{key}",
        "How many SDK keys are accepted now, and will expire.",
        lambda registry: sum(1 for _ in _expirations(registry)),
    ),
)
NEXT_EXPIRY: Measure[EnvironmentRegistry] = _timestamp(
    "next_key_expiry",
    "When the next SDK key expires.",
    lambda registry: min((at for _, at in _expirations(registry)), default=None),
)
EACH_NEXT_EXPIRY = attrs.evolve(NEXT_EXPIRY, read=_next_expiries, labels=("project", "environment"))


def _statuses(pool: ClientPool) -> list[ClientStatus] | None:
    """Return the statuses of a pool's clients; ``None`` if it belongs to the parent process."""
    try:
        return list(pool.status().values())
    except ForkedError:
        return None


def _clients(pool: ClientPool) -> Samples:
    from .clients import ClientState  # needs another extra, which is installed if there is a pool

    statuses = _statuses(pool)
    if statuses is None:
        return []
    states = Counter(status.state for status in statuses)
    return [((state.name,), states[state]) for state in ClientState]


def _retired_clients(pool: ClientPool) -> float | None:
    statuses = _statuses(pool)
    return None if statuses is None else sum(status.retired for status in statuses)


POOL: tuple[Measure[ClientPool], ...] = (
    Measure("clients", Kind.GAUGE, "{client}", "How many clients are in this state.", _clients, ("state",)),
    _gauge("retired_clients", "{client}", "How many replaced clients are not closed yet.", _retired_clients),
)

LEADER: tuple[Measure[Leader], ...] = (
    _gauge("fleet.leading", "1", "Whether this leader leads its fleet.", lambda leader: leader.status.leading),
    _counter(
        "fleet.takeovers", "{takeover}", "How often this leader began to lead.", lambda leader: leader.status.takeovers
    ),
    _counter(
        "fleet.writes",
        "{write}",
        "How many writes to Redis this leader has made.",
        lambda leader: leader.status.writes,
    ),
)

FLEET: tuple[Measure[RedisSource], ...] = (
    Measure(
        "fleet.leader",
        Kind.GAUGE,
        "1",
        "1 for the process that leads.",
        lambda source: [((owner,), 1)] if (owner := source.leader.owner) else [],
        ("owner",),
    ),
    _timestamp("fleet.leader_sign", "When the leader last gave a sign of life.", lambda source: source.leader.alive_at),
    _gauge(
        "fleet.lag",
        "s",
        "How long the last change took from Redis to here, by the clocks of both.",
        lambda source: source.leader.lag,
    ),
)
