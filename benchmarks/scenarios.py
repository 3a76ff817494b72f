"""What is measured with which clients."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .clients import CLIENTS, FLOOR, JSON_FLOOR, LAUNCHDARKLY, LAUNCHDARKLY_EQUAL, NAIVE, NAIVE_QUEUED, OURS

_ALL = tuple(CLIENTS)
_PEERS = (OURS, NAIVE, LAUNCHDARKLY, LAUNCHDARKLY_EQUAL)
_FLOORS = (FLOOR, JSON_FLOOR)
_QUADRATIC = (NAIVE,)  # ten seconds for a put of 10,000, minutes for one of 100,000


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


_LOAD = ("cpu", "wall", "peak", "peak_above")
_LATENCY = ("p50", "p90", "p99")


def _put(name: str, path: str, clients: tuple[str, ...] = (OURS,), slow: tuple[str, ...] = ()) -> Scenario:
    return Scenario(name, "throughput", path, clients, (*_LOAD, "json_cpu"), slow=slow)


_LARGE = tuple(name for name in _PEERS if name not in _QUADRATIC)
# What a name does not say is in the shape of 2026.
_EVERY = (
    _put("put-10000", "put/10000", (*_PEERS, *_FLOORS), slow=_QUADRATIC),
    _put("put-100000", "put/100000", (*_LARGE, *_FLOORS)),
    _put("put-10000-old", "put/10000/old", (OURS, LAUNCHDARKLY)),
    _put("put-100000-old", "put/100000/old", (OURS, LAUNCHDARKLY)),
    _put("put-10000-unknown", "put/10000/unknown"),
    _put("put-10000-odd-case", "put/10000/case-once"),
    _put("put-10000-odd-null", "put/10000/null-once"),
    Scenario("put-again", "second-put", "again/10000", (OURS, LAUNCHDARKLY_EQUAL), ("first_cpu", "second_cpu")),
    Scenario("put-changed", "second-put", "changed/10000", (OURS, LAUNCHDARKLY_EQUAL), ("first_cpu", "second_cpu")),
    Scenario("burst", "throughput", "burst/100000", (*_PEERS, *_FLOORS), _LOAD, 100_000),
    Scenario("single", "throughput", "single/100000", _PEERS, _LOAD, 100_000),
    Scenario("stall", "stall", "put/100000", (OURS, LAUNCHDARKLY, LAUNCHDARKLY_EQUAL), ("stall", "wall")),
    Scenario("paced-2000", "latency", "paced/2000/2000", (*_PEERS, NAIVE_QUEUED), _LATENCY, 2000),
    Scenario("paced-200", "latency", "paced/200/300", (*_PEERS, NAIVE_QUEUED), _LATENCY, 300),
    Scenario("handler-spin", "spin", "burst/10000", (OURS,), ("fraction", "cpu_share", "each", "bound"), 10_000),
    Scenario("handler-wait", "wait", "burst/10000", (OURS,), ("fraction", "each", "bound"), 10_000),
    Scenario("steps", "steps", "paced/20/20", (OURS,), ("calls", "functions", "files")),
    Scenario("memory", "memory", "put/10000", (OURS,), ("kept",)),
    Scenario("idle", "idle", "put/100", (OURS, NAIVE, LAUNCHDARKLY), ("wakeups",)),
)
_NAMES = tuple(scenario.name for scenario in _EVERY)
_QUICK_OMITS = {"put-10000": _QUADRATIC, "paced-200": (LAUNCHDARKLY, LAUNCHDARKLY_EQUAL)}  # clients


def chosen(only: list[str], clients: list[str], *, quick: bool) -> list[Scenario]:
    """
    Return the scenarios to run.

    Args:
        only: Names, or beginnings of names; empty means all.
        clients: Who may take part; empty means all.
        quick: Whether to leave out clients that take long, where another scenario has them too.
    """
    if unknown := [name for name in only if not any(_matches(each, [name]) for each in _NAMES)]:
        raise SystemExit(f"unknown scenario: {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    if unknown := [name for name in clients if name not in _ALL]:
        raise SystemExit(f"unknown client: {', '.join(unknown)}; there are {', '.join(_ALL)}")
    scenarios = [
        replace(each, clients=tuple(one for one in each.clients if one in (clients or _ALL) and one not in omitted))
        for each in _EVERY
        if not only or _matches(each.name, only)
        for omitted in [_QUICK_OMITS.get(each.name, ()) if quick else ()]
    ]
    return [each for each in scenarios if each.clients]


def _matches(name: str, only: list[str]) -> bool:
    """Whether one of these is the name, or the beginning of it without being another's name."""
    return any(name == each or (each not in _NAMES and name.startswith(each)) for each in only)
