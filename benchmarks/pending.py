"""
What failed calls that wait to be tried again cost the others: ``python -m benchmarks.pending`` (half a minute).

A handler fails for 10, or for 20,000, environments of a put, for good; then patches of other environments come one by
one. Each is a batch of its own for the dispatcher, so the CPU time of a patch is that of a batch. Exits with 1 if
it grows with the number of calls that wait.
"""

from __future__ import annotations

import json
import logging
import signal
import statistics
import sys
from typing import Any, cast

from .payloads import KNOWN
from .runner import finish, serving, start_python
from .sinks import Sink

WAITING = (10, 20_000)
PATCHES, RATE = 3000, 1000
ROUNDS = 3
LIMIT = 90  # seconds for one measurement
_GROWTH = 1.2  # the ratio from which on it is no noise


class FailingSink(Sink):
    """Refuses the environments that no patch will change."""

    failed = 0

    def added(self, environment: Any) -> None:
        if int(environment.env_id[:6], 16) >= KNOWN:
            self.failed += 1
            raise ValueError("not now")


def measure(url: str) -> dict[str, float]:
    """Measure in this process; the figures are microseconds of CPU for a batch, and how many calls wait."""
    from autoconfig import HandlerErrors, MessageHandler, RetryPolicy, StreamManager

    from .clients import handler_of

    signal.alarm(LIMIT)
    logging.getLogger("autoconfig").setLevel(logging.CRITICAL + 1)  # 20,000 tracebacks are no part of the question
    never = HandlerErrors(RetryPolicy(max_delay=3600, jitter=0), initial_delay=3600)
    sink = FailingSink(PATCHES)
    sink.start()
    handler = cast(MessageHandler, handler_of(sink))
    with StreamManager("rel-benchmark", url, handler, handler_errors=never):
        sink.finished.wait()
    return {"each": (sink.cpu - sink.cpu_of_puts[0]) / PATCHES * 1e6, "waiting": sink.failed}


def main() -> int:
    """Measure both in turns, each in a process of its own, and compare."""
    if len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
        return 0
    found: dict[int, list[float]] = {waiting: [] for waiting in WAITING}
    with serving([]) as port:
        for _ in range(ROUNDS):
            for waiting in WAITING:
                url = f"http://127.0.0.1:{port}/paced/{RATE}/{PATCHES}/{KNOWN + waiting}"
                figures = json.loads(finish(start_python("benchmarks.pending", url), LIMIT))
                assert figures["waiting"] == waiting, figures
                found[waiting].append(figures["each"])
    for waiting, each in found.items():
        print(f"{waiting:6,} waiting: {min(each):.0f} / {statistics.median(each):.0f} µs a batch, minimum / median")
    few, many = (statistics.median(found[waiting]) for waiting in WAITING)
    print(f"ratio of medians {many / few:.2f}, at most {_GROWTH}")
    return int(many / few > _GROWTH)


if __name__ == "__main__":
    sys.exit(main())
