"""What the library promises of its speed, as ratios within one run of the suite."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import NamedTuple

from .clients import JSON_FLOOR, LAUNCHDARKLY, LAUNCHDARKLY_EQUAL, NAIVE, NAIVE_EQUAL, OURS
from .results import Key, Summary

_HOLDS = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Target:
    """
    One target.

    Attributes:
        text: What it says.
        value: The metric, divided by ``by`` if there is one.
        relation: ``">="`` or ``"<="``.
        bound: What the value may be.
        by: The metric that it is relative to.
        aim: Whether it is a hope and no promise.
    """

    text: str
    value: Key
    relation: str
    bound: float
    by: Key | None = None
    aim: bool = False


class Verdict(NamedTuple):
    """A target and what was measured; the medians decide."""

    target: Target
    by_minima: float
    by_medians: float
    verdict: str


def _faster(scenario: str, peer: str, bound: float, *, aim: bool = False) -> Target:
    return Target(
        f"{scenario}: times as fast as {peer}", (scenario, peer, "wall"), ">=", bound, (scenario, OURS, "wall"), aim
    )


def _latency(scenario: str, metric: str, bound: float) -> Target:
    text = f"{scenario}: {metric} relative to naive"
    return Target(text, (scenario, OURS, metric), "<=", bound, (scenario, NAIVE, metric))


def _put_cpu(scenario: str) -> Target:
    text = f"{scenario}: CPU relative to json.loads of the same bytes"
    return Target(text, (scenario, OURS, "cpu"), "<=", 2.5, (scenario, JSON_FLOOR, "json_cpu"))


TARGETS = (
    _faster("put-10000", NAIVE, 200),
    _faster("put-10000", LAUNCHDARKLY, 1.0),
    _faster("put-100000", LAUNCHDARKLY, 1.1),
    _faster("put-10000", LAUNCHDARKLY_EQUAL, 1.0),
    _faster("put-100000", LAUNCHDARKLY_EQUAL, 1.1),
    Target(
        "put-100000: peak memory relative to launchdarkly-eventsource",
        ("put-100000", OURS, "peak"),
        "<=",
        0.75,
        ("put-100000", LAUNCHDARKLY, "peak"),
    ),
    Target(
        "put-100000 relative to put-10000",
        ("put-100000", OURS, "wall"),
        "<=",
        12,
        ("put-10000", OURS, "wall"),
    ),
    Target("put-100000: longest stall of another thread, ms", ("stall", OURS, "stall"), "<=", 80),
    _put_cpu("put-10000"),
    _put_cpu("put-100000"),
    _faster("burst", NAIVE, 1.1),
    _faster("burst", NAIVE, 1.5, aim=True),
    _faster("single", NAIVE, 1.1),
    _faster("burst", NAIVE_EQUAL, 1.1),
    _faster("burst", NAIVE_EQUAL, 1.5, aim=True),
    _faster("single", NAIVE_EQUAL, 1.1),
    _latency("paced-2000", "p50", 1.2),
    _latency("paced-2000", "p99", 1.3),
    _latency("paced-200", "p50", 1.2),
    _latency("paced-200", "p99", 1.3),
    Target("idle: wake-ups", ("idle", OURS, "wakeups"), "<=", 0),
    Target("handler-spin: part of the handler's own bound", ("handler-spin", OURS, "fraction"), ">=", 0.8),
    Target("handler-wait: part of the handler's own bound", ("handler-wait", OURS, "fraction"), ">=", 0.9),
    Target("memory: bytes kept for each environment", ("memory", OURS, "kept"), "<=", 200),
)


def check(summary: Summary) -> list[Verdict]:
    """Return a verdict on each target that was measured."""
    verdicts = []
    for target in TARGETS:
        if target.value not in summary or (target.by and target.by not in summary):
            continue
        value = summary[target.value]
        minimum, median = value.least, value.median
        if target.by:
            minimum, median = minimum / summary[target.by].least, median / summary[target.by].median
        passed = _HOLDS[target.relation](median, target.bound)
        verdicts.append(Verdict(target, minimum, median, "PASS" if passed else "aim missed" if target.aim else "MISS"))
    return verdicts
