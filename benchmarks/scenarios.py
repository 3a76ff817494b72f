"""What is measured with which clients."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .clients import (
    CLIENTS,
    FLOOR,
    JSON_FLOOR,
    LAUNCHDARKLY,
    LAUNCHDARKLY_EQUAL,
    NAIVE,
    NAIVE_EQUAL,
    NAIVE_QUEUED,
    OURS,
)

_ALL = tuple(CLIENTS)
_PEERS = (OURS, NAIVE, LAUNCHDARKLY, "httpx-sse", "requests-sse")
_EQUALS = (NAIVE_EQUAL, LAUNCHDARKLY_EQUAL)
_QUADRATIC = (NAIVE, "requests-sse")  # seconds for a put of 10,000, minutes for one of 100,000


@dataclass(frozen=True)
class Scenario:
    """
    One thing to measure.

    Attributes:
        name: Its name on the command line and in the results.
        kind: What the worker does.
        path: What the load server answers.
        clients: Who takes part.
        metrics: What the table shows, the most important first.
        changes: How many patches the stream has.
        limit: Seconds after which a run is given up.
        slow: Clients that run in the first round only, because they take seconds.
    """

    name: str
    kind: str
    path: str
    clients: tuple[str, ...]
    metrics: tuple[str, ...]
    changes: int = 0
    limit: int = 60
    slow: tuple[str, ...] = ()


# Where the loop is slow, a few microseconds for an environment do not show.
_MOST = tuple(name for name in CLIENTS if name not in (NAIVE_EQUAL, NAIVE_QUEUED))
_LOAD = ("wall", "cpu", "peak", "peak_above")
_LATENCY = ("p50", "p90", "p99")
_EVERY = (
    Scenario("put-100", "throughput", "put/100", _PEERS, _LOAD),
    Scenario("put-1000", "throughput", "put/1000", (*_PEERS, *_EQUALS), _LOAD),
    Scenario("put-10000", "throughput", "put/10000", _MOST, (*_LOAD, "json_cpu"), slow=_QUADRATIC),
    Scenario(
        "put-100000",
        "throughput",
        "put/100000",
        tuple(name for name in _MOST if name not in _QUADRATIC),
        (*_LOAD, "json_cpu"),
    ),
    Scenario("stall", "stall", "put/100000", (OURS, LAUNCHDARKLY, FLOOR, JSON_FLOOR), ("stall", "wall")),
    Scenario("burst", "throughput", "burst/100000", (*_MOST, NAIVE_EQUAL), _LOAD, 100_000),
    Scenario("single", "throughput", "single/100000", (OURS, NAIVE, LAUNCHDARKLY, *_EQUALS), _LOAD, 100_000),
    Scenario("paced-2000", "latency", "paced/2000/2000", (*_PEERS, *_EQUALS, NAIVE_QUEUED), _LATENCY, 2000),
    Scenario(
        "paced-200", "latency", "paced/200/300", (OURS, NAIVE, LAUNCHDARKLY, *_EQUALS, NAIVE_QUEUED), _LATENCY, 300
    ),
    Scenario("handler-spin", "spin", "burst/10000", (OURS,), ("fraction", "cpu_share", "each", "bound"), 10_000),
    Scenario("handler-wait", "wait", "burst/10000", (OURS,), ("fraction", "each", "bound"), 10_000),
    Scenario("memory", "memory", "put/10000", (OURS,), ("kept",)),
    Scenario("idle", "idle", "put/100", _PEERS, ("wakeups",)),
)
_NAMES = tuple(scenario.name for scenario in _EVERY)
_QUICK_CLIENTS = (OURS, NAIVE, LAUNCHDARKLY, JSON_FLOOR)
_QUICK_OMITS = ("put-100", "single", "paced-200")


def chosen(only: list[str], clients: list[str], *, quick: bool) -> list[Scenario]:
    """
    Return the scenarios to run.

    Args:
        only: Names, or beginnings of names; empty means all.
        clients: Who may take part; empty means all.
        quick: Whether to leave out what is dispensable.
    """
    if unknown := [name for name in only if not any(_matches(each, [name]) for each in _NAMES)]:
        raise SystemExit(f"unknown scenario: {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    if unknown := [name for name in clients if name not in _ALL]:
        raise SystemExit(f"unknown client: {', '.join(unknown)}; there are {', '.join(_ALL)}")
    wanted = clients or (_QUICK_CLIENTS if quick else _ALL)
    omitted = _QUICK_OMITS if quick and not only else ()
    scenarios = [
        replace(each, clients=tuple(name for name in each.clients if name in wanted))
        for each in _EVERY
        if each.name not in omitted and (not only or _matches(each.name, only))
    ]
    return [each for each in scenarios if each.clients]


def _matches(name: str, only: list[str]) -> bool:
    """Whether one of these is the name, or the beginning of it without being another's name."""
    return any(name == each or (each not in _NAMES and name.startswith(each)) for each in only)
