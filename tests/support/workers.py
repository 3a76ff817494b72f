"""Worker processes that share a listener, as those of gunicorn do: what each of them answers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from support.running import state_of
from support.waiting import wait_until

Answer = dict[str, Any]


def ask_each(
    count: int, ask: Callable[[], Answer], is_right: Callable[[Answer], bool] = lambda answer: True
) -> dict[int, Answer]:
    """
    Ask until so many workers have given a right answer; return these answers by process id.

    A worker that has given one is stopped until the others have: the kernel decides who gets a connection, and on a
    busy machine the same worker may get all of them.

    Args:
        count: How many workers there are.
        ask: Sends a request with a connection of its own; the answer holds the worker's ``pid``.
        is_right: Says whether an answer is right.
    """
    right: dict[int, Answer] = {}
    last: Answer = {}

    def all_have_answered() -> bool:
        nonlocal last
        last = ask()
        if is_right(last):
            right[last["pid"]] = last
            _stop(last["pid"])
        return len(right) >= count

    try:
        wait_until(all_have_answered, lambda: f"{count} right answers; right are {right}, the last one was {last}")
        return right
    finally:
        for pid in right:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stop(pid: int) -> None:
    """Stop a process, and wait until it runs no more."""
    with suppress(ProcessLookupError):  # it has ended
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) in {"T", "Z", ""}, f"the stop of {pid}")
