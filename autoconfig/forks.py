"""
What a fork does to what is running: the child is told of it, and is not left with locks that nobody will release.

A thread that writes a log line at the moment of the fork holds the lock of a file's buffer, which Python does not
renew in the child; the child's next line to that file would wait for ever. So the locks of the log's handlers are taken
before a fork, when no thread is inside one, and given back after it.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Any, Protocol

_PATIENCE = 1.0  # seconds to wait for a handler that is writing, before forking all the same


class Running(Protocol):
    """Something whose threads do not survive a fork."""

    def logger(self) -> Any:
        """Return what its threads log to."""

    def abandon(self, *, may_log: bool) -> None:
        """
        Be of no use any more, in the child, without any lock that a thread of the parent may have held.

        Args:
            may_log: Whether a line may be logged; if not, it might wait for ever.
        """


_running: weakref.WeakSet[Running] = weakref.WeakSet()
# Locks of handlers, by the thread that has taken them before a fork and gives them back after it.
_held: dict[int, list[Any]] = {}
_missed: set[int] = set()  # the threads that could not take all of them


def add(running: Running) -> None:
    """Tell it of forks from now on."""
    _running.add(running)


def discard(running: Running) -> None:
    """Tell it of forks no more."""
    _running.discard(running)


def _before() -> None:
    me = threading.get_ident()
    _held[me] = []
    for lock in {id(lock): lock for running in list(_running) for lock in _locks(running.logger())}.values():
        if lock.acquire(timeout=_PATIENCE):
            _held[me].append(lock)
        else:
            _missed.add(me)


def _after_in_parent() -> None:
    me = threading.get_ident()
    _missed.discard(me)
    for lock in reversed(_held.pop(me, [])):
        lock.release()


def _after_in_child() -> None:
    may_log = threading.get_ident() not in _missed
    _held.clear()  # logging has given its handlers new locks
    _missed.clear()
    for running in list(_running):
        running.abandon(may_log=may_log)
    _running.clear()


def _locks(logger: Any) -> list[Any]:
    """Return the locks of all handlers that a line of this logger, or of an adapter of it, comes to."""
    found = []
    current = getattr(logger, "logger", logger)
    while isinstance(current, logging.Logger):
        found += [handler.lock for handler in current.handlers if getattr(handler, "lock", None)]
        current = current.parent if current.propagate else None
    return found


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
