"""How long ``close()`` and the tools for tests wait for what is about to come, and longer limits for a busy machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autoconfig import cache_thread, safe_logger, stream_threads
from autoconfig.testing import Emulator, RecordingHandler
from autoconfig.testing.flags import FlagService

UNHURRIED = 30.0  # seconds
QUICK = 5.0  # seconds, which the tools for tests wait unless told otherwise
_THREADS = [(stream_threads, "_GRACE"), (stream_threads, "LEAST_GRACE"), (cache_thread, "LEAST_GRACE")]
_LOG = [(safe_logger, "_PATIENCE")]
_TOOLS: list[Any] = [Emulator.wait_for_connections, Emulator.wait_for_requests, RecordingHandler.wait_for]
_KEYWORD_TOOLS: list[Any] = [FlagService.wait_for_streams, FlagService.wait_for_event]
_REAL = {(module, name): getattr(module, name) for module, name in _THREADS + _LOG}


def unhurried(*, log: bool = True) -> None:
    """
    Have ``close()`` wait longer for a thread that is about to end, and the tools for tests for what a test awaits.

    A busy machine may hold either up for longer than that.

    Args:
        log: Whether it waits longer for a line of the log, too, which a thread of its own writes.
    """
    for module, name in _THREADS + _LOG * log:
        setattr(module, name, UNHURRIED)
    for tool in _TOOLS:
        tool.__defaults__ = tuple(UNHURRIED if value == QUICK else value for value in tool.__defaults__)
    for tool in _KEYWORD_TOOLS:
        tool.__kwdefaults__["timeout"] = UNHURRIED


@contextmanager
def real_limits() -> Iterator[None]:
    """Have ``close()`` give up as soon as it does in an application: for tests of what hangs."""
    for (module, name), seconds in _REAL.items():
        setattr(module, name, seconds)
    try:
        yield
    finally:
        unhurried()
