"""What the other threads of a program may be doing while one of them forks."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger("autoconfig")
OFTEN = 1e-6  # seconds between two changes of the running thread, so that each may come at any place


def poll(call: Callable[[], object]) -> None:
    """Have two threads call something all the time."""

    def run() -> None:
        while True:
            call()

    for _ in range(2):
        threading.Thread(target=run, daemon=True).start()


def fill_log(timeout: float) -> None:
    """Log to a pipe, too, that is full and that nobody reads; return when a thread hangs in that."""
    _, end = os.pipe()
    os.set_blocking(end, False)
    try:
        while os.write(end, bytes(4096)):
            pass
    except BlockingIOError:
        os.set_blocking(end, True)
    begun = threading.Event()

    def note(record: logging.LogRecord) -> bool:
        begun.set()
        return True

    handler = logging.StreamHandler(os.fdopen(end, "w"))
    handler.addFilter(note)
    LOG.addHandler(handler)
    threading.Thread(target=LOG.info, args=["x" * 65536], daemon=True).start()
    assert begun.wait(timeout)


def fork_in_threads(threads: int, count: int, timeout: float) -> bool:
    """Have threads fork so often at the same time; return whether all came back and the process can still log."""
    deadline = time.monotonic() + timeout

    def run() -> None:
        for _ in range(count):
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)

    LOG.addHandler(logging.NullHandler())
    LOG.addHandler(logging.StreamHandler(open(os.devnull, "w")))  # noqa: SIM115  # stays open as long as the process
    before = sys.getswitchinterval()
    sys.setswitchinterval(OFTEN)
    forking = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in forking:
        thread.start()
    for thread in forking:
        thread.join(max(0.0, deadline - time.monotonic()))
    sys.setswitchinterval(before)
    logging_ = threading.Thread(target=LOG.info, args=["still here"], daemon=True)
    logging_.start()
    logging_.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in [*forking, logging_])
