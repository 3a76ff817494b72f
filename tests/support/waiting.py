"""Waiting for what no event, condition or queue tells of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

LIMIT = 60.0  # seconds for anything; nearly all takes milliseconds


def wait_until(
    condition: Callable[[], Found],
    what: str | Callable[[], str] = "the condition",
    timeout: float = LIMIT,
    *,
    pause: float = 0.005,
) -> Found:
    """
    Look again and again until the condition returns something true, and return that.

    Args:
        condition: What is called at each look.
        what: What is waited for, in words; or a function that says at the timeout what was there instead.
        timeout: How many seconds until it is an ``AssertionError``.
        pause: How many seconds are between two looks.
    """
    deadline, never = time.monotonic() + timeout, threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what if isinstance(what, str) else what()}"
        never.wait(pause)
    return found
