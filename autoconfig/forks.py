"""
What happens in a forked child: it abandons the streams of the parent, and the first use of one logs a WARNING.

Nothing runs before a fork. Only forks that Python makes lead here; those that C code makes (uWSGI) are noticed by the
process id, at the first use.
"""

from __future__ import annotations

import logging
import os
import weakref
from typing import Protocol

from .safe_logger import Logger, log_aside


class Running(Protocol):
    """Something whose threads do not survive a fork."""

    def _abandon(self) -> object:
        """Release what belongs to the parent, without taking a lock that one of its threads may have held."""


_running: weakref.WeakSet[Running] = weakref.WeakSet()
_warned: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()  # the process in which each was logged


def add(running: Running) -> None:
    """Abandon it in children that are forked from now on."""
    _running.add(running)


def discard(running: Running) -> None:
    """Do not abandon it any more, because it has ended."""
    _running.discard(running)


def warn_once(owner: object, logger: Logger) -> None:
    """Log one WARNING in each forked child that uses something that its parent has started."""
    if _warned.get(owner) != os.getpid():
        _warned[owner] = os.getpid()
        text = "%r runs in the parent process only; make and start another one in this process"
        log_aside(logger, logging.WARNING, text, owner)  # a thread of the parent may have held a log handler's lock


def _in_child() -> None:
    for running in list(_running):
        running._abandon()
    _running.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
