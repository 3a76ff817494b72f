"""A manager as its tests need it: a realistic key, quick retries, closed at the end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.recorder import Recorder

from autoconfig import MessageHandler, RetryPolicy, StreamManager
from autoconfig.environments import EnvironmentParams

KEY = "rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a"
QUICK = RetryPolicy(max_delay=0.05, jitter=0.0)
NOWHERE = "http://127.0.0.1:9"  # the port of "discard", where nobody listens; for managers that never connect


def manager_for(url: str = NOWHERE, handler: MessageHandler | None = None, **options: Any) -> StreamManager:
    """Return a manager that has not been started."""
    options = {"initial_retry_delay": 0.01, "retry_policy": QUICK, **options}
    return StreamManager(KEY, url, handler or Recorder(), **options)


@contextmanager
def managed(url: str = NOWHERE, handler: MessageHandler | None = None, **options: Any) -> Iterator[StreamManager]:
    """Make a manager and close it at the end; the test starts it."""
    manager = manager_for(url, handler, **options)
    try:
        yield manager
    finally:
        assert manager.close()


def library_threads() -> dict[str, threading.Thread]:
    """Return the library's threads by name."""
    return {thread.name: thread for thread in threading.enumerate() if thread.name.startswith("autoconfig")}


class CallingBack(Recorder):
    """
    A handler that calls its manager in its first ``add_environment``.

    Attributes:
        manager: The manager; set before it is started.
        outcome: What the call returned or raised.
    """

    manager: StreamManager

    def __init__(self, method: str) -> None:
        super().__init__()
        self.outcome: queue.Queue[Any] = queue.Queue()
        self._method = method

    def add_environment(self, params: EnvironmentParams) -> None:
        super().add_environment(params)
        try:
            self.outcome.put(getattr(self.manager, self._method)())
        except Exception as error:
            self.outcome.put(error)
