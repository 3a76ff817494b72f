"""
A program that gets a manager into a state, says so, and then ends without ``close()``.

Run as ``python -m processes.ending OPTIONS DESCRIPTOR``: it writes a dot to the descriptor and then waits for a line on
stdin. If it is to do so several times, each time is that of a fork of a process without threads, whose exit code is the
next byte.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from typing import Any

from processes.handlers import DEADLINE, Counter

from autoconfig import HTTPConfig, StreamManager


class Stuck(Counter):
    """
    A counter whose every call never returns.

    Args:
        kind: ``"sleep"`` or ``"event"``: what it waits in.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def received_all_environments(self) -> None:
        super().received_all_environments()
        if self._kind == "sleep":
            time.sleep(3600)  # what an application may do, and what nothing interrupts
        threading.Event().wait()


def follow(options: dict[str, Any]) -> StreamManager:
    """Start a manager and wait until it is where it is wanted."""
    handler = Stuck(options["handler"]) if options["handler"] else Counter()
    failed = threading.Event()
    manager = StreamManager(
        options["key"],
        options["url"],
        handler,
        HTTPConfig(ca_certs=options["ca"]),
        options["delay"],
    )
    manager.add_status_listener(lambda status: failed.set() if status.failed_attempts else None)
    manager.start()
    assert handler.wait_for_count(options["calls"], DEADLINE)
    assert failed.wait(DEADLINE if options["failures"] else 0) is bool(options["failures"])
    return manager


def main() -> None:
    """Do it as often as the options say; forks are much quicker than programs that import everything anew."""
    options = json.loads(sys.argv[1])
    for _ in range(options["times"]):
        pid = os.fork()
        if not pid:
            break
        os.write(int(sys.argv[2]), bytes([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF]))
    else:
        if options["times"]:
            return
    end(options)


def end(options: dict[str, Any]) -> None:
    """End as the options say."""
    if options["debug"]:
        logging.basicConfig(level=logging.DEBUG)
    else:
        logging.getLogger("autoconfig").addHandler(logging.NullHandler())  # else its warnings would go to stderr
    manager = follow(options) if options["url"] else None
    os.write(int(sys.argv[2]), b".")
    sys.stdin.readline()
    if options["ending"] == "exit":
        sys.exit(3)
    if options["ending"] == "raise":
        raise ZeroDivisionError(f"on purpose, with {type(manager).__name__}")


if __name__ == "__main__":
    main()
