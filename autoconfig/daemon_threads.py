"""Daemon threads: how they are made, and how their end is waited for."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress

LEAST_GRACE = 0.3  # seconds for a thread to end, even if the caller's timeout is shorter; unless blocked, it takes less


def daemon_thread(name: str, run: Callable[..., None], *arguments: object) -> threading.Thread:
    """Make a daemon thread that does not inherit the caller's context variables, such as those of one web request."""
    return threading.Thread(target=contextvars.Context().run, args=(run, *arguments), name=name, daemon=True)


def join_thread(thread: threading.Thread | None, deadline: float) -> bool:
    """
    Wait until a thread has ended, or until the deadline, in monotonic time.

    Returns:
        Whether it has ended. Also true if it is ``None``, was not started, or is the caller's own.
    """
    if thread is None or thread is threading.current_thread() or thread.ident is None:
        return True
    with suppress(RuntimeError):  # this is a signal handler that has interrupted its start()
        thread.join(max(0.0, deadline - time.monotonic()))
    return not thread.is_alive()
