"""One measurement in a process of its own: ``python -m benchmarks.worker CLIENT KIND URL CHANGES LIMIT``."""

from __future__ import annotations

import gc
import json
import signal
import statistics
import sys
from collections.abc import Callable

from .clients import CLIENTS
from .memory import kept_bytes, resident
from .peers import Follow
from .sinks import IdleSink, LatencySink, Sink, SpinSink, Ticker, WaitSink
from .steps import steps_of_one_patch

Metrics = dict[str, float]


def main() -> None:
    """Measure and print the metrics as JSON."""
    client, kind, url, changes, limit = sys.argv[1:]
    signal.alarm(int(limit))  # its default action ends the process, so nothing hangs and nothing is left
    if kind == "memory":
        metrics = {"kept": kept_bytes(url)}
    else:
        follow = CLIENTS[client]()
        gc.collect()
        metrics = _KINDS[kind](follow, url, int(changes))
    print(json.dumps(metrics))


def _throughput(follow: Follow, url: str, changes: int) -> Metrics:
    before = resident("VmRSS")
    sink = Sink(changes)
    more = _follow(follow, url, sink)
    peak = resident("VmHWM")
    return {**_clocks(sink), "peak": peak, "peak_above": peak - before, "environments": sink.count, **more}


def _second_put(follow: Follow, url: str, changes: int) -> Metrics:
    sink = Sink(changes, puts=2)
    _follow(follow, url, sink)
    first, both = sink.cpu_of_puts
    return {"first_cpu": first, "second_cpu": both - first}


def _latency(follow: Follow, url: str, changes: int) -> Metrics:
    sink = LatencySink(changes)
    _follow(follow, url, sink)
    cuts = statistics.quantiles(sink.latencies, n=100)
    return {"p50": cuts[49] / 1e3, "p90": cuts[89] / 1e3, "p99": cuts[98] / 1e3, "cpu": sink.cpu}


def _stall(follow: Follow, url: str, changes: int) -> Metrics:
    sink = Sink(changes)
    with Ticker() as ticker:
        _follow(follow, url, sink)
    return {"stall": ticker.longest * 1e3, **_clocks(sink)}


def _spin(follow: Follow, url: str, changes: int) -> Metrics:
    sink = SpinSink(changes)
    _follow(follow, url, sink)
    bound, each = sink.worked * 1e6 / changes, _microseconds_each(sink, changes)
    # What of the process's CPU time is the handler's own; unlike the clock it does not mind other processes.
    return {"bound": bound, "each": each, "fraction": bound / each, "cpu_share": sink.worked / sink.cpu}


def _wait(follow: Follow, url: str, changes: int) -> Metrics:
    sink = WaitSink(changes)
    before = sink.bound(changes // 4)
    _follow(follow, url, sink)
    bound = (before + sink.bound(changes // 4)) / 2  # around the run, because the machine's speed drifts
    each = _microseconds_each(sink, changes)
    return {"bound": bound, "each": each, "fraction": bound / each}


def _microseconds_each(sink: Sink, changes: int) -> float:
    return (sink.times["finish"] - sink.times["put"]) / changes / 1e3


def _idle(follow: Follow, url: str, changes: int) -> Metrics:
    follow(url, IdleSink(changes))  # the parent looks at this process from outside, and ends it
    return {}


def _follow(follow: Follow, url: str, sink: Sink) -> Metrics:
    sink.start()
    return follow(url, sink)


def _clocks(sink: Sink) -> Metrics:
    return {"wall": (sink.times["finish"] - sink.times["start"]) / 1e9, "cpu": sink.cpu}


_KINDS: dict[str, Callable[[Follow, str, int], Metrics]] = {
    "throughput": _throughput,
    "latency": _latency,
    "second-put": _second_put,
    "stall": _stall,
    "steps": lambda follow, url, changes: steps_of_one_patch(url)._asdict(),
    "spin": _spin,
    "wait": _wait,
    "idle": _idle,
}


if __name__ == "__main__":
    main()
