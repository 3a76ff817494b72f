"""What the library promises of its speed, as ratios within one run of the suite."""

from __future__ import annotations

import operator
import sys
from dataclasses import dataclass
from typing import NamedTuple

from .clients import JSON_FLOOR, LAUNCHDARKLY, LAUNCHDARKLY_EQUAL, NAIVE, NAIVE_QUEUED, OURS
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
    """

    text: str
    value: Key
    relation: str
    bound: float
    by: Key | None = None


class Verdict(NamedTuple):
    """A target and what was measured; the medians decide."""

    target: Target
    by_minima: float
    by_medians: float
    verdict: str


def _cheaper(scenario: str, peer: str, bound: float) -> Target:
    text = f"{scenario}: CPU of {peer} by ours"
    return Target(text, (scenario, peer, "cpu"), ">=", bound, (scenario, OURS, "cpu"))


def _latency(scenario: str) -> Target:
    text = f"{scenario}: p50 by that of {NAIVE_QUEUED}"
    return Target(text, (scenario, OURS, "p50"), "<=", 1.15, (scenario, NAIVE_QUEUED, "p50"))


def _by_json(scenario: str, bound: float) -> Target:
    text = f"{scenario}: CPU by that of json.loads"
    return Target(text, (scenario, OURS, "cpu"), "<=", bound, (scenario, JSON_FLOOR, "json_cpu"))


def _by_plain(scenario: str, bound: float) -> Target:
    text = f"{scenario}: CPU by that of put-10000"
    return Target(text, (scenario, OURS, "cpu"), "<=", bound, ("put-10000", OURS, "cpu"))


def _steps(what: str, bound: int) -> Target:
    return Target(f"steps: {what} that one patch passes", ("steps", OURS, what), "<=", bound)


_JSON_IS_QUICKER = sys.version_info >= (3, 12)  # by 10 to 18 %; the rest is alike

TARGETS = (
    _cheaper("put-10000-old", LAUNCHDARKLY, 0.95),
    _cheaper("put-100000-old", LAUNCHDARKLY, 1.0 if _JSON_IS_QUICKER else 1.15),
    _cheaper("put-10000", LAUNCHDARKLY, 1.1),
    _cheaper("put-100000", LAUNCHDARKLY, 1.2),
    _cheaper("put-10000", LAUNCHDARKLY_EQUAL, 1.7),
    _cheaper("put-100000", LAUNCHDARKLY_EQUAL, 2.3),
    _cheaper("burst", LAUNCHDARKLY, 1.2),
    _cheaper("burst", NAIVE, 2.2),
    _cheaper("burst", LAUNCHDARKLY_EQUAL, 2.0),
    _cheaper("single", LAUNCHDARKLY, 1.3),
    _by_json("put-10000", 1.8),
    _by_json("put-100000", 1.2),
    Target(
        "put-10000: CPU by that of put-10000-old",
        ("put-10000", OURS, "cpu"),
        "<=",
        1.6,
        ("put-10000-old", OURS, "cpu"),
    ),
    _by_plain("put-10000-odd-case", 1.1),
    _by_plain("put-10000-odd-null", 1.1),
    _by_plain("put-10000-unknown", 2.0),
    Target(
        "put-again: CPU of the second put by that of the first",
        ("put-again", OURS, "second_cpu"),
        "<=",
        0.45,
        ("put-again", OURS, "first_cpu"),
    ),
    Target("stall: longest stall of another thread, ms", ("stall", OURS, "stall"), "<=", 70),
    Target(
        f"put-100000: peak MB above imports by that of {LAUNCHDARKLY}",
        ("put-100000", OURS, "peak_above"),
        "<=",
        0.8,
        ("put-100000", LAUNCHDARKLY, "peak_above"),
    ),
    _latency("paced-2000"),
    _latency("paced-200"),
    Target("handler-spin: part of the handler's own bound", ("handler-spin", OURS, "fraction"), ">=", 0.85),
    Target("handler-wait: part of the handler's own bound", ("handler-wait", OURS, "fraction"), ">=", 0.93),
    _steps("calls", 22),
    _steps("functions", 20),
    _steps("files", 9),
    Target("memory: bytes kept for each environment", ("memory", OURS, "kept"), "<=", 200),
    Target("idle: wake-ups", ("idle", OURS, "wakeups"), "<=", 0),
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
        verdicts.append(Verdict(target, minimum, median, "holds" if passed else "MISSED"))
    return verdicts
