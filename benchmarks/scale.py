"""
Cost against size: environments, events, managers in one process; a slow handler; the import.

``python -m benchmarks.scale [--plot FILE]`` (a minute). Each figure comes from a process of its own.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

from .clients import handler_of
from .memory import resident
from .runner import finish, serving, start_python
from .sinks import Sink

Metrics = dict[str, float]
LIMIT = 120  # seconds that one measurement may take
SIZES = {"environments": (100, 1000, 10_000, 100_000), "events": (1000, 10_000, 100_000), "managers": (1, 10, 100)}
ROUNDS = 3
SLOW = 0.001  # seconds that each call of the slow handler takes
SLOW_FOR = 5.0  # seconds that it is watched


def follow(url: str, sink: Sink) -> Any:
    """Return a manager that follows the stream."""
    from autoconfig import MessageHandler, StreamManager

    return StreamManager("rel-benchmark", url, cast(MessageHandler, handler_of(sink)))


def once(url: str, changes: int) -> Metrics:
    """Measure one put, or one burst of changes behind a small put."""
    sink = Sink(changes)
    manager = follow(url, sink)  # with what it imports
    before = resident()
    sink.start()
    with manager:
        sink.finished.wait()
    start = sink.times["put"] if changes else sink.times["start"]
    return {"seconds": (sink.times["finish"] - start) / 1e9, "memory": resident("VmHWM") - before}


def managers(url: str, count: int) -> Metrics:
    """Measure so many managers in one process, each with a stream of its own, when all have their configuration."""
    with follow(url, first := Sink(0)):  # what is loaded with the first connection is no manager's
        first.finished.wait()
    before, threads = resident(), threading.active_count()
    sinks = [Sink(0) for _ in range(count)]
    start = time.perf_counter()
    running = [follow(url, sink) for sink in sinks]
    for manager in running:
        manager.start()
    for sink in sinks:
        sink.finished.wait()
    seconds = time.perf_counter() - start
    metrics = {"seconds": seconds, "memory": resident() - before, "threads": threading.active_count() - threads}
    start = time.perf_counter()
    for manager in running:
        manager.close()
    return {**metrics, "closing": time.perf_counter() - start}


def slow(url: str, changes: int) -> Metrics:
    """Measure the memory while a slow handler holds up a burst."""

    class SlowSink(Sink):
        def changed(self, environment: Any) -> None:
            time.sleep(SLOW)
            super().changed(environment)

    sink = SlowSink(changes)
    with follow(url, sink) as manager:
        while not sink.times["put"]:
            time.sleep(0.01)
        time.sleep(0.5)  # until the queue is full
        samples = [resident()]
        for _ in range(10):
            time.sleep(SLOW_FOR / 10)
            samples.append(resident())
        status = manager.status
    return {"growth": max(samples) - samples[0], "queued": status.queued_batches, "handled": float(sink.count)}


def imports() -> Metrics:
    """Measure what the import takes above that of requests."""
    start = time.perf_counter()
    import requests  # noqa: F401

    middle = time.perf_counter()
    import autoconfig  # noqa: F401

    end = time.perf_counter()
    return {"requests": (middle - start) * 1e3, "above": (end - middle) * 1e3}


def measure(kind: str, size: int, url: str) -> Metrics:
    """Measure in this process."""
    signal.alarm(LIMIT)  # its default action ends the process
    match kind:
        case "environments":
            return once(url, 0)
        case "events":
            return once(url, size)
        case "managers":
            return managers(url, size)
        case "slow":
            return slow(url, size)
    return imports()


def run(plot: Path | None) -> None:
    """Measure everything and print tables."""
    paths = [path_of(kind, size) for kind, sizes in SIZES.items() for size in sizes]
    found: dict[str, dict[int, Metrics]] = {}
    with serving(sorted(set(paths))) as port:
        for kind, sizes in {**SIZES, "slow": (100_000,), "imports": (0,)}.items():
            found[kind] = {}
            for size in sizes:
                url = f"http://127.0.0.1:{port}/{path_of(kind, size)}"
                rounds = [
                    json.loads(finish(start_python("benchmarks.scale", kind, str(size), url), LIMIT))
                    for _ in range(ROUNDS * (3 if kind == "imports" else 1))
                ]
                found[kind][size] = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
            table(kind, found[kind])
    if plot:
        draw(plot, found)


def path_of(kind: str, size: int) -> str:
    """Return what the load server is asked for."""
    return {"environments": f"put/{size}", "events": f"burst/{size}", "slow": "burst/100000"}.get(kind, "put/100")


def table(kind: str, rows: dict[int, Metrics]) -> None:
    """Print a table of medians."""
    names = list(next(iter(rows.values())))
    print(f"\n## {kind}\n\n| {kind} | {' | '.join(names)} |\n| --: |{' --: |' * len(names)}")
    for size, metrics in rows.items():
        print(f"| {size or ''} | {' | '.join(f'{metrics[name]:.4g}' for name in names)} |", flush=True)


def draw(file: Path, found: dict[str, dict[int, Metrics]]) -> None:
    """Plot cost against size, both logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update(
        {"svg.hashsalt": "scale", "font.size": 9, "text.color": "#7a828c", "axes.labelcolor": "#7a828c"}
    )
    mpl.rcParams.update({"xtick.color": "#7a828c", "ytick.color": "#7a828c", "axes.edgecolor": "#9aa3ad"})
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    for axis, (kind, metric, unit) in zip(
        axes,
        [("environments", "seconds", "s"), ("events", "seconds", "s"), ("managers", "memory", "MB")],
        strict=True,
    ):
        rows = found[kind]
        axis.loglog(list(rows), [metrics[metric] for metrics in rows.values()], marker="o", color="#2f7fd0")
        axis.set(xlabel=kind, ylabel=unit)
        axis.grid(color="#9aa3ad", alpha=0.3)
    figure.savefig(file, transparent=True, metadata={"Date": None})


def main() -> None:
    """Measure everything; or one thing, in the process that this command starts for it."""
    if len(sys.argv) == 4 and not sys.argv[1].startswith("-"):
        kind, size, url = sys.argv[1:]
        print(json.dumps(measure(kind, int(size), url)))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot (SVG)")
    run(parser.parse_args().plot)


if __name__ == "__main__":
    main()
