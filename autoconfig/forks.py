"""
What a fork does to what is running: the child is told of it, and is not left with locks that nobody will release.

A thread that writes a log line at the moment of the fork holds the lock of a file's buffer or of a queue, which Python
does not renew in the child; the child's next line would wait for ever. So the locks of the log's handlers are taken
before a fork, when no thread is inside one, and given back after it.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

_PATIENCE = 1.0  # seconds to wait for a handler that is writing, before forking all the same


class Running(Protocol):
    """Something whose threads do not survive a fork. Its names are private, because its users have no use for them."""

    _log: Any
    """What its threads log to."""

    def _abandon(self) -> Callable[[], None] | None:
        """
        Shut down in the child, without any lock that a thread of the parent may have held.

        Returns:
            What logs a warning, if there is anything to warn of.
        """


_running: weakref.WeakSet[Running] = weakref.WeakSet()
# Locks of handlers, by the thread that has taken them before a fork and gives them back after it.
_held: dict[int, list[Any]] = {}
_missed: set[int] = set()  # the threads that could not take all of them


def add(running: Running) -> None:
    """Register it for the forks to come."""
    _running.add(running)


def discard(running: Running) -> None:
    """Unregister it."""
    _running.discard(running)


def _before() -> None:
    me = threading.get_ident()
    _held[me] = []
    if not _running:
        return
    for lock in _locks_in_order():
        if lock.acquire(timeout=_PATIENCE):
            _held[me].append(lock)
        else:
            _missed.add(me)
            return


def _after_in_parent() -> None:
    me = threading.get_ident()
    _missed.discard(me)
    for lock in reversed(_held.pop(me, [])):
        lock.release()


def _after_in_child() -> None:
    me = threading.get_ident()
    may_log = me not in _missed
    for lock in reversed(_held.pop(me, [])):
        with suppress(RuntimeError):  # logging has given its own ones a new life
            lock.release()
    _held.clear()
    _missed.clear()
    warnings = [warn for running in list(_running) if (warn := running._abandon())]
    _running.clear()
    if warnings and may_log:
        _log(warnings)


def _log(warnings: list[Callable[[], None]]) -> None:
    """Log in a thread, because a handler of the application's may wait for a thread that is not here."""

    def log() -> None:
        for warn in warnings:
            warn()

    with suppress(RuntimeError):  # there is no thread left
        thread = threading.Thread(target=log, name="autoconfig-fork", daemon=True)
        thread.start()
        thread.join(_PATIENCE)


def _locks_in_order() -> list[Any]:
    """Return the locks that a line of those that are running may wait for, in the order in which logging takes them."""
    # The first is logging's own, under one name in all versions: dictConfig() holds it while it waits for handlers.
    found = [logging._lock]  # type: ignore[attr-defined]
    for running in list(_running):
        for handler in _handlers(running._log):
            found += [handler.lock, getattr(getattr(handler, "queue", None), "mutex", None)]  # of a QueueHandler
    return list({id(lock): lock for lock in found if lock}.values())


def _handlers(logger: Any) -> Iterator[logging.Handler]:
    """Yield the handlers that a line of this logger, or of an adapter of it, comes to."""
    while isinstance(logger, logging.LoggerAdapter):
        logger = logger.logger
    while isinstance(logger, logging.Logger):
        for handler in logger.handlers:
            yield handler
            if isinstance(target := getattr(handler, "target", None), logging.Handler):  # of a MemoryHandler
                yield target
        logger = logger.parent if logger.propagate else None


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
