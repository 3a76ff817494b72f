"""Closes clients that were replaced, when nobody uses them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable
from functools import partial

from ..safe_logger import SafeLogger
from .client import Client
from .workers import Workers


class Retirement:
    """
    Closes clients in separate threads.

    A client is closed when nobody borrows it and ``linger`` has passed. The caller holds the pool's lock, except in
    :meth:`close`.

    Args:
        changed: The pool's lock; notified when a client is closed.
        linger: Seconds that a client stays open, for those who got it without borrowing it.
        most: How many clients of an environment may stay open; beyond that the oldest is closed.
        closers: How many clients are closed at the same time.
    """

    def __init__(self, changed: threading.Condition, linger: float, most: int, closers: int) -> None:
        self._log = SafeLogger(logging.getLogger("autoconfig"))
        self._changed = changed
        self._linger = linger
        self._most = most
        self._workers = Workers("autoconfig-clients-closer", closers)
        self._retired: dict[Hashable, list[Client]] = {}  # by environment, oldest first; until they are closed
        self._ending = False

    def start(self) -> None:
        """Start the threads."""
        self._workers.start()

    def count(self, key: Hashable) -> int:
        """Return how many clients of an environment are not closed yet."""
        return len(self._retired.get(key, ()))

    def add(self, key: Hashable, client: Client) -> None:
        """Close a client later, or at once if it never worked."""
        client.settled.set()
        retired = self._retired.setdefault(key, [])
        retired.append(client)
        if not client.worked:
            self._let_go(key, client)
            return
        self._workers.submit(partial(self._linger_over, key, client), self._linger)
        lingering = [one for one in retired if not one.due]
        for one in lingering[: max(0, len(lingering) - self._most)]:
            self._let_go(key, one)

    def give_back(self, key: Hashable, client: Client) -> None:
        """Note that a ``with`` block has ended."""
        client.borrowers -= 1
        self._close_unborrowed(key, client)

    def close(self, deadline: float) -> bool:
        """Close all without lingering; return whether all are closed. If not, the threads continue."""
        with self._changed:
            self._ending = True
            for key, clients in list(self._retired.items()):
                for client in list(clients):
                    self._let_go(key, client)
            self._end_if_done()
            self._changed.wait_for(lambda: not self._retired, max(0.0, deadline - time.monotonic()))
            closed = not self._retired
        return closed and self._workers.join(deadline)

    def _linger_over(self, key: Hashable, client: Client) -> None:
        with self._changed:
            self._let_go(key, client)

    def _let_go(self, key: Hashable, client: Client) -> None:
        """Close a client as soon as nobody borrows it."""
        if not client.due:
            client.due = True
            self._close_unborrowed(key, client)

    def _close_unborrowed(self, key: Hashable, client: Client) -> None:
        if client.due and not client.borrowers:  # this happens once, because a client that is due is not lent again
            self._workers.submit(partial(self._close, key, client))

    def _close(self, key: Hashable, client: Client) -> None:
        try:
            client.close(again=lambda: not self._ending)
        except BaseException:  # SystemExit too, because other clients need the thread
            self._log.exception("A client could not be closed")
        with self._changed:
            self._retired[key].remove(client)
            if not self._retired[key]:
                del self._retired[key]
            self._end_if_done()
            self._changed.notify_all()

    def _end_if_done(self) -> None:
        if self._ending and not self._retired:
            self._workers.end()
