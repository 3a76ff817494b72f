"""Forked children: how they ended. It imports little, for programs in which they are forked."""

from __future__ import annotations

import os
import signal
import threading
import time

LIMIT = 60.0  # seconds; a child hangs for ever, or ends at once
PAUSE = 0.002  # seconds between two looks


def end_of(pid: int, timeout: float = LIMIT) -> int:
    """Return the exit code of a child; one that does not end in time is killed, and its code is -9."""
    pause, deadline = threading.Event(), time.monotonic() + timeout
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)
            break
        pause.wait(PAUSE)
    return os.waitstatus_to_exitcode(ended[1])
