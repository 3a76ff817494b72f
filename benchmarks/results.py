"""Runs, their summary, and the machine they were made on; as JSON and back."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

_DISTRIBUTIONS = (
    "ld-autoconfig",
    "requests",
    "urllib3",
    "sseclient-py",
    "attrs",
    "msgspec",
    "launchdarkly-eventsource",
)


@dataclass(frozen=True)
class Run:
    """
    One measurement.

    Attributes:
        scenario: Its scenario's name.
        client: Who was measured.
        round: In which round, from 0.
        metrics: What came out. Seconds for ``wall`` and ``cpu``, MB for memory, µs for latencies, ms for stalls.
    """

    scenario: str
    client: str
    round: int
    metrics: dict[str, float]


class Stat(NamedTuple):
    """A metric's values over all rounds in short."""

    least: float
    median: float
    most: float
    runs: int

    @property
    def spread(self) -> float:
        """How far least and most are apart, relative to the median."""
        return (self.most - self.least) / self.median if self.median else 0.0


Key = tuple[str, str, str]
"""Scenario, client, metric."""

Summary = dict[Key, Stat]


@dataclass(frozen=True)
class Results:
    """All runs of one call of the suite."""

    machine: dict[str, str]
    runs: list[Run]

    def summary(self) -> Summary:
        """Return each metric's least, median and greatest value."""
        values: dict[Key, list[float]] = defaultdict(list)
        for run in self.runs:
            for metric, value in run.metrics.items():
                values[run.scenario, run.client, metric].append(value)
        return {key: Stat(min(all_), statistics.median(all_), max(all_), len(all_)) for key, all_ in values.items()}

    def save(self, path: Path) -> None:
        """Write the results as JSON."""
        document = {"machine": self.machine, "runs": [asdict(run) for run in self.runs]}
        path.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what :meth:`save` wrote."""
        document = json.loads(path.read_text())
        return cls(document["machine"], [Run(**run) for run in document["runs"]])


def describe_machine() -> dict[str, str]:
    """Return what has a say in the figures."""
    return {
        "processor": f"{_model()}, {len(os.sched_getaffinity(0))} cores",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: version for name in _DISTRIBUTIONS for version in _version(name)},
    }


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> Iterable[str]:
    try:
        yield metadata.version(name)
    except metadata.PackageNotFoundError:
        yield "missing"
