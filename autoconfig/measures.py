"""What there is to measure of streams, registries and client pools, whatever library takes it."""

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
from .registry import EnvironmentRegistry
from .status import ContentSource, StreamState, StreamStatus

if TYPE_CHECKING:  # they need other extras
    from .clients import ClientPool
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
    A number that a source has, or several with labels.

    Attributes:
        name: In lower case, with dots; the libraries' names are made of it.
        kind: See :class:`Kind`.
        unit: As OpenTelemetry spells units: ``s``, ``1``, or what is counted, in braces.
        text: A sentence.
        read: Returns the samples as they are now. What is not known has none.
        labels: Names of the labels.
    """

    name: str
    kind: Kind
    unit: str
    text: str
    read: Callable[[S], Samples]
    labels: tuple[str, ...] = ()


def _one(value: float | datetime | None) -> Samples:
    if value is None:
        return []
    return [((), value.timestamp() if isinstance(value, datetime) else value)]


def _states(status: StreamStatus) -> Samples:
    return [((state.name,), status.state is state) for state in StreamState]


def _last_error(status: StreamStatus) -> Samples:
    error = status.last_error
    return [] if error is None else [((error.kind.name, error.status_code), error.time.timestamp())]


def _content(status: StreamStatus) -> Samples:
    return [] if status.content_at is None else [((status.content.name,), status.content_at.timestamp())]


STREAM: tuple[Measure[StreamStatus], ...] = (
    Measure(
        "ready",
        Kind.GAUGE,
        "1",
        "Whether the handler has a full configuration.",
        lambda status: _one(status.content is not ContentSource.NOTHING),
    ),
    Measure(
        "content",
        Kind.TIME,
        "s",
        "When the last full configuration was handed over, or saved if it is that of a cache.",
        _content,
        ("source",),
    ),
    Measure("stream.state", Kind.GAUGE, "1", "1 for the state of the stream, 0 for the others.", _states, ("state",)),
    Measure(
        "stream.state_since", Kind.TIME, "s", "When the state of the stream began.", lambda status: _one(status.since)
    ),
    Measure(
        "stream.last_byte",
        Kind.TIME,
        "s",
        "When something was last received, heartbeats included.",
        lambda status: _one(status.last_byte_at),
    ),
    Measure(
        "stream.last_error",
        Kind.TIME,
        "s",
        "When the last error happened, which may be over.",
        _last_error,
        ("kind", "status_code"),
    ),
    Measure(
        "stream.connected",
        Kind.GAUGE,
        "1",
        "Whether there is a connection.",
        lambda status: _one(status.connected_since is not None),
    ),
    Measure(
        "stream.failed_attempts",
        Kind.GAUGE,
        "{attempt}",
        "How many attempts have failed since the last event.",
        lambda status: _one(status.failed_attempts),
    ),
    Measure(
        "stream.events",
        Kind.COUNTER,
        "{event}",
        "How many events were received.",
        lambda status: [((name,), count) for name, count in status.events.items()],
        ("event",),
    ),
    Measure(
        "stream.errors",
        Kind.COUNTER,
        "{error}",
        "How many errors there were.",
        lambda status: [((kind.name,), count) for kind, count in status.errors.items()],
        ("kind",),
    ),
    Measure(
        "stream.connections",
        Kind.COUNTER,
        "{connection}",
        "How many connections were made.",
        lambda status: _one(status.connections),
    ),
    Measure(
        "refused_environments",
        Kind.GAUGE,
        "{environment}",
        "How many environments the service sends in a form that cannot be used.",
        lambda status: _one(len(status.refused)),
    ),
    Measure(
        "handler.queued_batches",
        Kind.GAUGE,
        "{batch}",
        "How many batches of messages wait for the handler.",
        lambda status: _one(status.queued_batches),
    ),
    Measure(
        "handler.lag",
        Kind.GAUGE,
        "s",
        "How long the oldest of the waiting messages has been waiting.",
        lambda status: _one(status.lag),
    ),
    Measure(
        "handler.pending_retries",
        Kind.GAUGE,
        "{item}",
        "How many items wait for a failed call to be made again.",
        lambda status: _one(status.pending_retries),
    ),
    Measure(
        "handler.failures",
        Kind.COUNTER,
        "{call}",
        "How many calls of the handler have raised.",
        lambda status: _one(status.failed_callbacks),
    ),
)


def _expirations(registry: EnvironmentRegistry) -> Iterator[tuple[EnvironmentParams, float]]:
    """Yield the time of each SDK key that is still to expire, and its environment."""
    now = time.time()
    for environment in registry:
        for key in environment.accepted_sdk_keys:
            if key.expiration is not None and key.expiration.timestamp() > now:
                yield environment, key.expiration.timestamp()


def _next_expiry(registry: EnvironmentRegistry) -> Samples:
    return _one(min((at for _, at in _expirations(registry)), default=None))


def _next_expiries(registry: EnvironmentRegistry) -> Samples:
    first: dict[tuple[str, ...], float] = {}
    for environment, at in _expirations(registry):
        names = (environment.identifiers.proj_key, environment.identifiers.env_key)
        first[names] = min(at, first.get(names, at))
    return first.items()


REGISTRY: tuple[Measure[EnvironmentRegistry], ...] = (
    Measure(
        "environments",
        Kind.GAUGE,
        "{environment}",
        "How many environments there are.",
        lambda registry: _one(len(registry)),
    ),
    Measure(
        "filters",
        Kind.GAUGE,
        "{filter}",
        "How many payload filters there are.",
        lambda registry: _one(len(registry.filters)),
    ),
    Measure(
        "expiring_sdk_keys",
        Kind.GAUGE,
        "{key}",
        "How many SDK keys are accepted until a time that is still to come.",
        lambda registry: _one(sum(1 for _ in _expirations(registry))),
    ),
)
NEXT_EXPIRY: Measure[EnvironmentRegistry] = Measure(
    "next_key_expiry", Kind.TIME, "s", "When the next SDK key expires.", _next_expiry
)
EACH_NEXT_EXPIRY = attrs.evolve(NEXT_EXPIRY, read=_next_expiries, labels=("project", "environment"))


def _clients(pool: ClientPool) -> Samples:
    from .clients import ClientState  # here, because it needs another extra, which who has a pool has

    try:
        states = Counter(status.state for status in pool.status().values())
    except ForkedError:  # it is the parent's
        return []
    return [((state.name,), states[state]) for state in ClientState]


def _retired_clients(pool: ClientPool) -> Samples:
    try:
        return _one(sum(status.retired for status in pool.status().values()))
    except ForkedError:
        return []


POOL: tuple[Measure[ClientPool], ...] = (
    Measure(
        "clients",
        Kind.GAUGE,
        "{client}",
        "How many environments are served in this way.",
        _clients,
        ("state",),
    ),
    Measure(
        "retired_clients",
        Kind.GAUGE,
        "{client}",
        "How many replaced clients are not closed yet.",
        _retired_clients,
    ),
)

LEADER: tuple[Measure[Leader], ...] = (
    Measure(
        "fleet.leading",
        Kind.GAUGE,
        "1",
        "Whether this one leads its fleet.",
        lambda leader: _one(leader.status.leading),
    ),
    Measure(
        "fleet.takeovers",
        Kind.COUNTER,
        "{takeover}",
        "How often this one began to lead.",
        lambda leader: _one(leader.status.takeovers),
    ),
    Measure(
        "fleet.writes",
        Kind.COUNTER,
        "{write}",
        "How many changes this one has written to Redis.",
        lambda leader: _one(leader.status.writes),
    ),
)

FLEET: tuple[Measure[RedisSource], ...] = (
    Measure(
        "fleet.leader",
        Kind.GAUGE,
        "1",
        "Who leads: 1 with the name of who does.",
        lambda source: [((owner,), 1)] if (owner := source.leader.owner) else [],
        ("owner",),
    ),
    Measure(
        "fleet.leader_sign",
        Kind.TIME,
        "s",
        "When the leader last gave a sign of life.",
        lambda source: _one(source.leader.alive_at),
    ),
    Measure(
        "fleet.lag",
        Kind.GAUGE,
        "s",
        "How long the last change took from Redis to here, by the clocks of both.",
        lambda source: _one(source.leader.lag),
    ),
)
