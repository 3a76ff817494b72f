"""
A client in a process of its own, to measure what a stream costs: ``python client.py URL MAX_EVENT_BYTES``.

It prints a line when the first put has been delivered, waits for a line, follows the stream until the environment
``well`` and the put that brought it are there, and prints what it saw as JSON.
"""

from __future__ import annotations

import gc
import json
import logging
import resource
import sys
import threading
from pathlib import Path
from typing import Any

from autoconfig import HTTPConfig, RetryPolicy, StreamManager

DEADLINE = 50.0  # seconds; the test that started this process ends it before


class Watcher:
    """A handler that keeps ids only, and tells when the first put and the last one have come."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.started = threading.Event()
        self.done = threading.Event()

    def add_environment(self, params: Any) -> None:
        self.calls.append(f"add {params.env_id}")

    def update_environment(self, params: Any) -> None:
        self.calls.append(f"update {params.env_id}")

    def delete_environment(self, id: str) -> None:
        self.calls.append(f"delete {id}")

    def add_filter(self, params: Any) -> None:
        self.calls.append(f"add {params.id}")

    def delete_filter(self, id: str) -> None:
        self.calls.append(f"delete {id}")

    def received_all_environments(self) -> None:
        self.calls.append("all")
        self.started.set()
        if "add well" in self.calls:
            self.done.set()


class Texts(logging.Handler):
    """Keeps what is logged, with its level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))


def memory(field: str) -> int:
    """
    Return a number of bytes from the kernel's account of this process.

    Not ``ru_maxrss``: a child process starts with the peak of its parent, which may be larger than all that is
    measured here.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(url: str, max_event_bytes: str) -> None:
    """Follow the stream and report."""
    watcher, texts = Watcher(), Texts()
    logger = logging.getLogger("autoconfig")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(texts)
    config = HTTPConfig(max_event_bytes=int(max_event_bytes))
    policy = RetryPolicy(max_delay=0.05, jitter=0.0)
    with StreamManager("rel-1", url, watcher, config, 0.01, logger=logger, retry_policy=policy):
        assert watcher.started.wait(DEADLINE)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
        before, spent = memory("VmRSS"), processor()
        print("measuring", flush=True)  # noqa: T201 - the parent waits for it
        sys.stdin.readline()
        assert watcher.done.wait(DEADLINE), texts.lines
        growth = memory("VmHWM") - before
    report = {"growth": growth, "seconds": processor() - spent, "calls": watcher.calls, "lines": texts.lines}
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
