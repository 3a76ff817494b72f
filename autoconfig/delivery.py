"""
Changes of items: which of them count, and the handler's calls for those that do.

A change that the handler fails to take is undone in the version table and *pending*: it is tried again after a while,
until that succeeds or a message that is not older takes its place. Other items are not held up.
"""

from __future__ import annotations

import time
from collections.abc import Container

from .calls import HandlerCalls
from .config import RetryPolicy
from .environments import EnvironmentRep, FilterRep
from .handler_errors import HandlerFailure
from .identifiers import EnvironmentID, FilterID, show
from .pending import Change, Ledger, Pending, is_same
from .receiver import Action, MessageReceiver
from .safe_logger import Logger
from .stream.retry import Backoff
from .tracking import StatusTracker

_FIRST_DELAY = 1.0  # seconds


class Delivery:
    """
    Applies changes to the version tables and calls the handler for those that count.

    Args:
        calls: The handler.
        retry: How long to wait before a change is tried again; ``None`` not to try.
        status: Is told how many changes are pending.
        logger: For what is ignored.
    """

    def __init__(self, calls: HandlerCalls, retry: RetryPolicy | None, status: StatusTracker, logger: Logger) -> None:
        self.environments = Ledger(MessageReceiver(logger), "delete_environment")
        self.filters = Ledger(MessageReceiver(logger), "delete_filter")
        self._calls = calls
        self._policy = retry
        self._status = status
        self._log = logger

    def upsert_environment(self, env_id: EnvironmentID, rep: EnvironmentRep) -> bool:
        """Add or update an environment; return whether the message counted."""
        ledger = self.environments
        if rep.env_id != env_id:
            self._log.warning("Ignored environment %s, which came as %s", show(rep.env_id), show(env_id))
            return False
        if ledger.pending and not ledger.admits(env_id, rep):
            return False
        action = ledger.receiver.upsert(env_id, rep, rep.version)
        if action is Action.NOOP:
            return False
        callback = "add_environment" if action is Action.INSERT else "update_environment"
        self._call(ledger, env_id, rep, callback, rep.to_params())
        return True

    def upsert_filter(self, id: FilterID, rep: FilterRep) -> bool:
        """Add a filter, or note its new version, for which there is no callback; return whether the message counted."""
        ledger = self.filters
        if ledger.pending and not ledger.admits(id, rep):
            return False
        if ledger.pending and self._waits_for_deletion(ledger, id, rep):
            return True
        action = ledger.receiver.upsert(id, rep, rep.version)
        if action is Action.INSERT:
            self._call(ledger, id, rep, "add_filter", rep.to_params(id))
        elif action is Action.UPDATE:
            self._settle(ledger, id)
        return action is not Action.NOOP

    def _waits_for_deletion(self, ledger: Ledger, id: str, rep: FilterRep) -> bool:
        """Return whether a filter has to wait, because the handler still has another one of its id."""
        pending = ledger.pending.get(id)
        if pending is None or isinstance(pending.change, FilterRep):
            return False
        # There is no callback for a filter's update, so the old one has to go before this one can be added.
        self._redo(ledger, id, pending.change)
        if pending := ledger.pending.get(id):
            pending.then = rep
        return pending is not None

    def delete(self, ledger: Ledger, id: str, version: int) -> bool:
        """Delete an item; return whether the handler was to be told."""
        if ledger.pending and not ledger.admits(id, version):
            return False
        ledger.nothing_waits(id)
        return self._delete(ledger, id, version)

    def _delete(self, ledger: Ledger, id: str, version: int) -> bool:
        action = ledger.receiver.delete(id, version)
        if action is Action.DELETE:
            self._call(ledger, id, version, ledger.delete_callback, id)
        else:
            self._settle(ledger, id)
        return action is Action.DELETE

    def forget_others(self, ledger: Ledger, listed: Container[str]) -> int:
        """Forget the items that a put does not list; return of how many the handler was to be told."""
        # One by one and not by MessageReceiver.retain(), so that a call that fails can be undone. What is pending may
        # have no record, but must not be tried again either.
        ids = [id for id in dict.fromkeys([*ledger.receiver.ids(), *ledger.pending]) if id not in listed]
        for id in ids:
            ledger.nothing_waits(id)
        return sum([self._forget(ledger, id) for id in ids])

    def received_all(self) -> None:
        """Tell the handler that a put was handed over; if that fails, the next put will say it anew."""
        error = self._calls.call("received_all_environments")
        if error is not None:
            self._calls.tell(HandlerFailure("received_all_environments", "", error, 1, None))

    def next_retry(self) -> float | None:
        """Return when a pending change is due, in monotonic time; ``None`` if there is none."""
        if not self.environments.pending and not self.filters.pending:
            return None
        return min(pending.due for ledger in (self.environments, self.filters) for pending in ledger.pending.values())

    def retry(self) -> None:
        """Try the pending changes that are due again."""
        now = time.monotonic()
        for ledger in (self.environments, self.filters):
            for id, pending in list(ledger.pending.items()):
                if pending.due <= now:
                    self._redo(ledger, id, pending.change)
                    if pending.then and id not in ledger.pending:
                        self.upsert_filter(FilterID(id), pending.then)

    def _redo(self, ledger: Ledger, id: str, change: Change) -> None:
        if isinstance(change, EnvironmentRep):
            self.upsert_environment(EnvironmentID(id), change)
        elif isinstance(change, FilterRep):
            self.upsert_filter(FilterID(id), change)
        elif change is None:
            self._forget(ledger, id)
        else:
            self._delete(ledger, id, change)

    def _forget(self, ledger: Ledger, id: str) -> bool:
        action = ledger.receiver.forget(id)
        if action is Action.DELETE:
            self._call(ledger, id, None, ledger.delete_callback, id)
        else:
            self._settle(ledger, id)
        return action is Action.DELETE

    def _call(self, ledger: Ledger, id: str, change: Change, callback: str, argument: object) -> None:
        error = self._calls.call(callback, argument)
        if error is not None:
            ledger.receiver.undo()
            self._postpone(ledger, id, change, callback, error)
        elif ledger.pending:
            self._settle(ledger, id)

    def _postpone(self, ledger: Ledger, id: str, change: Change, callback: str, error: BaseException) -> None:
        if self._policy is None:
            self._calls.tell(HandlerFailure(callback, id, error, 1, None))
            return
        pending = ledger.pending.get(id)
        if pending is None or not is_same(pending.change, change):
            pending = Pending(change, Backoff(self._policy.initial_delay or _FIRST_DELAY, self._policy))
            ledger.pending[id] = pending
        delay = pending.backoff.next_delay()
        pending.attempts += 1
        pending.due = time.monotonic() + delay
        self._count_pending()
        self._calls.tell(HandlerFailure(callback, id, error, pending.attempts, delay))

    def _settle(self, ledger: Ledger, id: str) -> None:
        if ledger.pending.pop(id, None):
            self._count_pending()

    def _count_pending(self) -> None:
        self._status.pending_retries = len(self.environments.pending) + len(self.filters.pending)
