"""Keeps one client of an environment in service while its SDK key is replaced or refused."""

from __future__ import annotations

import logging
import threading
import traceback
from functools import partial

from ..config import RetryPolicy
from ..environments import EnvironmentParams
from ..identifiers import mask, mask_keys
from ..safe_logger import SafeLogger
from ..stream.retry import Backoff
from .client import Client
from .maker import ClientMaker
from .retirement import Retirement
from .slot import Key, Slot
from .workers import Workers

_FIRST_DELAY = 1.0  # seconds before a refused key is retried


class Rotation:
    """
    Starts a client when an environment needs another one, and replaces the old one by it as soon as it works.

    The caller holds the pool's lock.

    Args:
        changed: The pool's lock; notified when the state of a client changes.
        maker: Makes clients.
        starters: Threads that make clients and wait for them.
        retirement: Closes clients that were replaced.
        start_wait: How many seconds a starter waits for a client's flags.
        retry: The longest delay and the jitter between the attempts with a refused key.

    Attributes:
        serving: The client that each slot has in service; read by any thread, without the lock.
        closed: Whether clients that are still being made are closed at once; set by the pool.
    """

    def __init__(
        self,
        changed: threading.Condition,
        maker: ClientMaker,
        starters: Workers,
        retirement: Retirement,
        start_wait: float,
        retry: RetryPolicy,
    ) -> None:
        self.serving: dict[Key, Client] = {}
        self.closed = False
        self._changed = changed
        self._maker = maker
        self._starters = starters
        self._retirement = retirement
        self._start_wait = start_wait
        self._backoff = Backoff(_FIRST_DELAY, retry)
        self._starts = 0
        self._log = SafeLogger(logging.getLogger("autoconfig"))

    def advance(self, slot: Slot) -> None:
        """Take the next step towards a client with the newest key."""
        if slot.gone or not slot.asked:
            return
        self._drop_refused(slot)
        candidate = slot.candidate
        if candidate is not None and candidate.sdk_key != slot.params.sdk_key:
            self._retirement.add(slot.key, candidate)
            slot.candidate = None
        elif candidate is not None and (candidate.working or slot.serving is None):
            self._promote(slot, candidate)
        if slot.current:
            slot.planned = None
        elif slot.candidate is None and not slot.building and slot.planned is None:
            self._plan_start(slot)

    def end(self, slot: Slot) -> None:
        """Close the clients of an environment later, and start no more."""
        slot.gone = True
        slot.planned = None
        self.serving.pop(slot.key, None)
        for client in (slot.candidate, slot.serving):
            if client is not None:
                self._retirement.add(slot.key, client)
        slot.candidate = slot.serving = None

    def _drop_refused(self, slot: Slot) -> None:
        """Close clients that will not work. One that did work keeps its flags and continues to serve."""
        if slot.candidate is not None and slot.candidate.refused:
            self._retirement.add(slot.key, slot.candidate)
            slot.candidate = None
        if slot.serving is not None and slot.serving.refused and not slot.serving.worked:
            self._retirement.add(slot.key, slot.serving)
            slot.serving = None
            del self.serving[slot.key]

    def _promote(self, slot: Slot, client: Client) -> None:
        if slot.serving is not None:
            self._retirement.add(slot.key, slot.serving)
        slot.serving, slot.candidate = client, None
        self.serving[slot.key] = client

    def _plan_start(self, slot: Slot) -> None:
        """Start a client soon: at once, or after a delay that grows with the failures of the newest key."""
        self._starts += 1
        slot.planned = self._starts
        delay = self._backoff.delay_after(slot.failures - 1) if slot.failures else 0.0
        self._starters.submit(partial(self._start, slot, self._starts), delay)

    def _start(self, slot: Slot, number: int) -> None:
        """Make a client, and wait until it works or fails, or ``start_wait`` has passed; in a starter's thread."""
        with self._changed:
            if slot.planned != number:
                return
            slot.planned, slot.building = None, True
            params = slot.params
        client = self._make(slot, params)
        with self._changed:
            slot.building = False
            closed = self.closed
            if client is None:
                self.advance(slot)
                return
            if not closed and slot.gone:
                self._retirement.add(slot.key, client)
                return
            slot.candidate = client
        if closed:
            client.close(again=lambda: False)
            return
        client.watch(partial(self._update, slot, client))
        self._update(slot, client)
        if not client.settled.wait(self._start_wait):
            self._update(slot, client)

    def _make(self, slot: Slot, params: EnvironmentParams) -> Client | None:
        """Return a new client; ``None`` if it cannot be made, which is logged."""
        try:
            return self._maker.make(slot.key, params)
        except BaseException as error:  # SystemExit too: the thread is needed
            text = "".join(traceback.format_exception(error))
            if params.sdk_key:
                text = text.replace(params.sdk_key, mask(params.sdk_key))
            self._log.error("The client of environment %s could not be made: %s", params.env_id, mask_keys(text))
            with self._changed:
                if slot.params.sdk_key == params.sdk_key:
                    slot.failures += 1
                    slot.error = type(error).__name__
            return None

    def _update(self, slot: Slot, client: Client) -> None:
        """Read the state of a client and act on it; the SDK's threads call it, too."""
        with self._changed:
            if client is not slot.serving and client is not slot.candidate:
                return
            refused = client.refused
            client.read_state()
            if client.sdk_key == slot.params.sdk_key:
                slot.error = client.error
                if client.working:
                    slot.failures = 0
                elif client.refused and not refused:
                    slot.failures += 1
            self.advance(slot)
            self._changed.notify_all()
