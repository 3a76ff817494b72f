"""
Which call of the handler a change leads to, and which call follows one that raised.

A call that raised leaves its item in an unknown state. The call is retried until it succeeds or a newer change replaces
it. A failed addition is followed by an addition of the newest version, or by a deletion if the item is gone. A failed
update is followed by the newest update, or by a deletion. A failed deletion is followed by deletions until one
succeeds, and only then by an addition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from ..handler_errors import HandlerErrors, HandlerFailure
from ..messages import EnvironmentRep, FilterRep
from ..receiver import Action, MessageReceiver
from ..safe_logger import Logger
from ..stream.retry import Backoff
from .calls import Callback, HandlerCalls
from .retries import FailedCall, Retries

T = TypeVar("T", EnvironmentRep, FilterRep)

_INSERT, _DELETE, _NOOP = Action.INSERT, Action.DELETE, Action.NOOP


class Delivery(Generic[T]):
    """
    Applies changes to the version table of environments or filters and calls the handler for those that count.

    Args:
        calls: The handler.
        add: Its method for an item that is new.
        update: Its method for a changed item; ``None`` if there is none, as for filters.
        delete: Its method for an item that is gone.
        errors: When a failed call is retried.
        retries: The failed calls that wait.
        logger: For what is ignored.

    Attributes:
        receiver: The version table.
        failed: The items whose last call raised, by id.
        observers: Called before the handler is: with id, item and version of each patch that counts; a deletion has
            ``None`` for the item.
    """

    def __init__(
        self,
        calls: HandlerCalls,
        add: Callback,
        update: Callback | None,
        delete: Callback,
        *,
        errors: HandlerErrors,
        retries: Retries,
        logger: Logger,
    ) -> None:
        self.receiver: MessageReceiver[T] = MessageReceiver(logger)
        self.failed: dict[str, FailedCall] = {}
        # Items that come from a cache. Their versions say nothing about those of the stream.
        self._provisional: dict[str, T] = {}
        self._calls = calls
        self._add, self._update, self._remove = add, update, delete
        self._shared: dict[str, str] | None = None  # names that the items of a put have in common, while it is applied
        self._policy = errors.retry
        self._first_delay = errors.initial_delay
        self._retries = retries
        self.observers: list[Callable[[str, T | None, int], None]] = []

    def load(self, items: Mapping[str, T]) -> None:
        """Add the items of a cache. The first message or put that has an item replaces it, with any version."""
        unseen = {id: item for id, item in items.items() if not self.receiver._knows(id)}
        self._provisional.update(unseen)
        self._deliver(self.receiver._upsert_all(unseen))

    def put(self, items: Mapping[str, T], unusable: Mapping[str, object]) -> int:
        """
        Apply a put: call the handler for each difference.

        Args:
            items: All items that can be used, by id.
            unusable: Further ids that the put lists. What is known of them stays.

        Returns:
            How many items were new, changed or gone.
        """
        for id in [id for id in self._provisional if id not in unusable]:
            self._settle_provisional(id, items.get(id))
        waiting = {failed: failed.calls for failed in self.failed.values()} if self._policy is None else {}
        self._shared = {}
        changes = self._deliver(self.receiver._upsert_all(items))
        self._shared = None
        if self.failed or unusable or not self.receiver._all_among(items):
            changes += self._delete_others(items, unusable)
        for failed, calls in waiting.items():
            if failed.calls == calls and not failed.held:
                self.attempt(failed)
        return changes

    def put_again(self) -> None:
        """Apply a put that lists what the message before it listed: only calls that failed may be left to make."""
        if self._policy is None:
            for failed in list(self.failed.values()):
                self.attempt(failed)

    def upsert(self, id: str, item: T) -> bool:
        """Add or update an item; return whether the message counted."""
        if id in self._provisional:
            self._settle_provisional(id, item)
        action = self.receiver.upsert(id, item, item.version)
        if action is _NOOP:
            self._attempt_by_message(id)
            return False
        for observe in self.observers:
            observe(id, item, item.version)
        self._deliver(((id, item, action),))
        return True

    def delete(self, id: str, version: int) -> bool:
        """Delete an item; return whether the message counted."""
        if self._provisional.pop(id, None):
            self.receiver._expect(id, version)
        if self.receiver.delete(id, version) is _DELETE:
            for observe in self.observers:
                observe(id, None, version)
            self._deliver_deletion(id)
            return True
        self._attempt_by_message(id)
        return False

    def attempt(self, failed: FailedCall) -> None:
        """Make the next call for an item whose last call raised."""
        self._retries.cancel(failed)
        failed.held = False
        while True:
            gone = failed.wanted is None or failed.callback is self._remove
            callback, item = (self._remove, None) if gone else (failed.callback, failed.wanted)
            failed.calls += 1
            argument = failed.id if item is None else item.to_params(failed.id, self._shared)
            error = self._calls.call(callback, argument)
            if error is not None:
                self._again_later(failed, callback, item, error)
                del error  # its traceback refers to this frame: a cycle
                return
            if not gone or failed.wanted is None:
                del self.failed[failed.id]
                return
            failed.callback = self._add

    def _deliver(self, changes: Iterable[tuple[str, T, Action]]) -> int:
        """Make a call for each change; return how many changes there were."""
        count = 0
        call, shared = self._calls.call, self._shared
        for id, item, action in changes:
            count += 1
            if self.failed and (failed := self.failed.get(id)):
                failed.wanted = item
                self.attempt(failed)
                continue
            callback = self._add if action is _INSERT else self._update
            if callback and (error := call(callback, item.to_params(id, shared))) is not None:
                self._failed_first(id, callback, item, error)
                del error  # its traceback refers to this frame: a cycle
        return count

    def _settle_provisional(self, id: str, item: T | None) -> None:
        """Let the stream's version of an item count, unless it is the same as the cached item."""
        cached = self._provisional.pop(id)
        if item is None:
            return
        changed = msgspec.structs.replace(cached, version=item.version) != item
        if changed and self._update is None:  # there is no call for that, but the handler may have gone by the cache
            self.receiver.forget(id)
            self._deliver_deletion(id)
        else:
            self.receiver._expect(id, item.version if changed else item.version + 1)

    def _deliver_deletion(self, id: str) -> None:
        if failed := self.failed.get(id):
            failed.wanted = None
            self.attempt(failed)
        elif (error := self._calls.call(self._remove, id)) is not None:
            self._failed_first(id, self._remove, None, error)
            del error  # its traceback refers to this frame: a cycle

    def _delete_others(self, items: Mapping[str, T], unusable: Mapping[str, object]) -> int:
        """Delete the items that a put does not list; return how many."""
        gone = self.receiver.retain(lambda id: id in items or id in unusable)
        for id in gone:
            self._deliver_deletion(id)
        for id, failed in list(self.failed.items()):
            if failed.wanted is None and id in unusable:
                self._retries.cancel(failed)
                failed.held = True
            elif failed.held:
                self.attempt(failed)
        return len(gone)

    def _attempt_by_message(self, id: str) -> None:
        """Retry the failed calls that wait for a message about their item."""
        failed = self.failed.get(id)
        if failed and (failed.held or self._policy is None):
            self.attempt(failed)

    def _failed_first(self, id: str, callback: Callback, item: T | None, error: BaseException) -> None:
        failed = self.failed[id] = FailedCall(id, self, callback, item, item)
        self._again_later(failed, callback, item, error)

    def _again_later(self, failed: FailedCall, callback: Callback, item: T | None, error: BaseException) -> None:
        if failed.callback is not callback or failed.called_with is not item:
            failed.attempts = 0
        failed.callback, failed.called_with = callback, item
        delay = None
        if self._policy is not None and not self._calls.stopped:
            if failed.backoff is None or failed.attempts == 0:
                failed.backoff = Backoff(self._first_delay, self._policy)
            delay = failed.backoff.next_delay()
            self._retries.schedule(failed, time.monotonic() + delay)
            failed.attempts += 1
        self._calls.failed(HandlerFailure(callback.name, failed.id, error, failed.attempts or 1, delay))
