"""Functions in threads, functions that a signal calls, and what must happen at once."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.running import state_of
from support.waiting import wait_until

AT_ONCE = 20.0  # seconds; what happens at once takes milliseconds, also on a busy machine
LONG = 60.0  # seconds that nothing should wait to the end

_set_handled = ctypes.pythonapi.PyErr_SetExcInfo
_set_handled.argtypes = [ctypes.c_void_p] * 3
_set_handled.restype = None


def forget_handled_exception() -> None:
    """
    Let no exception be the one that is being handled in this thread.

    When a trace function raises inside an ``except`` block, Python never leaves that block: whatever is raised later in
    this thread has the old exception for its context. Call it outside of every ``except`` block.
    """
    _set_handled(None, None, None)


@contextmanager
def background(*targets: Callable[[], object]) -> Iterator[list[object]]:
    """Run functions in threads; what they return is in the list at the end."""
    results: list[object] = []
    threads = [threading.Thread(target=lambda target=target: results.append(target())) for target in targets]
    for thread in threads:
        thread.start()
    yield results
    for thread in threads:
        thread.join(LONG)
    assert len(results) == len(targets)


@contextmanager
def handled(number: signal.Signals, handler: Callable[[], object]) -> Iterator[None]:
    """Let a signal call a function."""
    before = signal.signal(number, lambda *_: handler())
    try:
        yield
    finally:
        signal.signal(number, before)


def wait_until_asleep(id: int) -> None:
    """Wait until a thread, or the main thread of a process, is in a system call that takes a while (Linux only)."""
    wait_until(lambda: state_of(id) == "S", f"a system call of {id}")


@contextmanager
def at_once() -> Iterator[None]:
    """Check that the block takes no time to speak of."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < AT_ONCE
