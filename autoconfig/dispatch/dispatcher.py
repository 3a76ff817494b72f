"""The dispatcher's thread: message → version logic → the handler's six methods."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from ..handler_errors import HandlerErrors, HandlerFailure
from ..identifiers import EnvironmentID, show
from ..messages import (
    Batch,
    CachedContent,
    DeleteMessageData,
    EnvironmentRep,
    FilterRep,
    ItemKind,
    PatchMessageData,
    PutContent,
    RepeatedPut,
)
from ..safe_logger import Logger
from ..status import ContentSource, RefusedEnvironment
from ..status_tracker import StatusTracker
from .calls import Callback, HandlerCalls, StoppedError
from .delivery import Delivery
from .retries import Retries

_RECEIVED_ALL = "Received all: %d environments and %d filters, %d changes"
_NAMED = 10  # refused environments that a log line names


class Observer(Protocol):
    """Gets each message that counts, in the dispatcher's thread, before the handler is called."""

    def put(self, content: PutContent) -> None:
        """Note a put."""

    def environment(self, id: str, rep: EnvironmentRep | None, version: int) -> None:
        """Note a patch of an environment, or its deletion, in this version."""

    def filter(self, id: str, rep: FilterRep | None, version: int) -> None:
        """Note a patch of a filter, or its deletion, in this version."""


class Dispatcher:
    """
    Turns messages into calls of the handler.

    It owns the version tables. Its thread is the only one that calls the handler, one call at a time.

    Args:
        calls: The handler.
        errors: When a failed call is retried.
        batches: The queue of messages; an empty batch is the last.
        status: Counts what was handled, refused and failed.
        logger: For a line on each put, patch and deletion that changes something.
    """

    def __init__(
        self,
        calls: HandlerCalls,
        errors: HandlerErrors,
        batches: queue.Queue[Batch],
        status: StatusTracker,
        logger: Logger,
    ) -> None:
        self._calls = calls
        self._batches = batches
        self._status = status
        self._log = logger
        self._observers: list[Observer] = []
        self._retries = Retries()
        self._content_received = False  # by a put
        self._refused: dict[str, RefusedEnvironment] = {}
        method = calls.method
        self._received_all = method("received_all_environments")
        self._environment_refused = calls.optional_method("environment_refused")
        delivery = partial(Delivery[Any], calls, errors=errors, retries=self._retries, logger=logger)
        self._environments: Delivery[EnvironmentRep] = delivery(
            method("add_environment"), method("update_environment"), method("delete_environment")
        )
        self._filters: Delivery[FilterRep] = delivery(method("add_filter"), None, method("delete_filter"))

    def add_observer(self, observer: Observer) -> None:
        """Add an observer; called before :meth:`run`."""
        self._observers.append(observer)
        self._environments.observers.append(observer.environment)
        self._filters.observers.append(observer.filter)

    def run(self) -> None:
        """Take messages and call the handler until the stream is over or the token is cancelled."""
        with suppress(StoppedError):
            while True:
                batch = self._next_batch()
                if batch is not None and not batch:
                    return
                self._calls.begin()
                if batch:
                    self._apply(batch)
                    self._status.handled()
                del batch  # a name would keep a large put until the next batch comes
                if self._retries.waiting:
                    self._retry()
                if self._status.pending_retries or self._environments.failed or self._filters.failed:
                    self._status.pending_retries = len(self._environments.failed) + len(self._filters.failed)

    def _next_batch(self) -> Batch | None:
        """Wait for a batch; return ``None`` if a failed call is due first."""
        due = self._retries.next_due() if self._retries.waiting else None
        try:
            return self._batches.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
        except queue.Empty:
            return None

    def _apply(self, batch: Batch) -> None:
        verbose = self._log.isEnabledFor(logging.INFO)
        for message in batch:
            try:
                if isinstance(message, PatchMessageData):
                    self._patch(message, verbose)
                elif isinstance(message, DeleteMessageData):
                    self._delete(message)
                elif isinstance(message, PutContent):
                    self._put(message)
                elif isinstance(message, RepeatedPut):
                    self._put_again(message)
                else:
                    self._load(message)
            except StoppedError:
                raise
            except Exception:  # a bug in handling one message must not lose the others
                self._log.exception("Failed to handle a message")

    def _retry(self) -> None:
        """Retry the failed calls that are due."""
        for failed in self._retries.take_due(time.monotonic()):
            failed.owner.attempt(failed)

    def _load(self, cached: CachedContent) -> None:
        if self._content_received:
            return
        environments, filters = cached.content.environments, cached.content.filters
        self._environments.load(environments)
        self._filters.load(filters)
        self._log.info("Loaded from the cache: %d environments and %d filters", len(environments), len(filters))
        self._tell(self._received_all)
        self._status.configuration_received(ContentSource.CACHE, cached.saved_at)

    def _put(self, content: PutContent) -> None:
        self._content_received = True
        for observer in self._observers:
            observer.put(content)
        environments, filters = content.environments, content.filters
        for id, other in content.foreign.items():
            self._log.warning("Ignored environment %s, which is listed under %s", show(other), show(id))
        unusable = {**content.refused, **content.foreign}
        if not environments and not unusable and self._environments.receiver._any_inserted():
            self._log.warning("The service's configuration contains no environments; all that were known are deleted")
        changes = self._environments.put(environments, unusable) + self._filters.put(filters, {})
        self._log.info(_RECEIVED_ALL, len(environments), len(filters), changes)
        self._refuse(content.refused)
        if environments or not content.refused:
            self._all_received()

    def _put_again(self, put: RepeatedPut) -> None:
        self._environments.put_again()
        self._filters.put_again()
        self._log.info(_RECEIVED_ALL, put.environments, put.filters, 0)
        self._all_received()

    def _all_received(self) -> None:
        self._tell(self._received_all)
        self._status.configuration_received()

    def _tell(self, callback: Callback | None, id: str = "", *more: object) -> None:
        """Make a call that is not retried, because the next put leads to it again."""
        if callback is None:
            return
        error = self._calls.call(callback, *((id, *more) if more else ()))
        if error is not None:
            self._calls.failed(HandlerFailure(callback.name, id, error, 1, None))
            del error  # its traceback refers to this frame: a cycle

    def _patch(self, message: PatchMessageData, verbose: bool) -> None:
        id, item = message.id, message.data
        if isinstance(item, EnvironmentRep):
            if item.env_id != id:
                self._log.warning("Ignored environment %s, which is listed under %s", show(item.env_id), show(id))
                return
            if message.refused is not None:
                self._refuse({**{id: one.reason for id, one in self._refused.items()}, id: message.refused})
                return
            if self._refused:
                self._accept(id)
            changed = self._environments.upsert(id, item)
        else:
            changed = self._filters.upsert(id, item)
        if changed and verbose:
            self._log.info("Received a change of %s", item.describe())

    def _delete(self, message: DeleteMessageData) -> None:
        if message.kind is ItemKind.ENVIRONMENT:
            self._accept(message.id)
            deleted = self._environments.delete(message.id, message.version)
        else:
            deleted = self._filters.delete(message.id, message.version)
        if deleted:
            self._log.info("Received a deletion of %s %s", message.kind.value, show(message.id))

    def _refuse(self, reasons: Mapping[str, str]) -> None:
        """Set which environments are refused; log the new ones, and call the handler for each."""
        before = {id: one.reason for id, one in self._refused.items()}
        inserted = self._environments.receiver._is_inserted
        self._refused = {
            id: RefusedEnvironment(EnvironmentID(id), reason, inserted(id)) for id, reason in reasons.items()
        }
        self._status.refused_changed(tuple(self._refused.values()))
        new = [one for one in self._refused.values() if before.get(one.id) != one.reason]
        if new:
            shown = "; ".join(f"{show(one.id)}{' (still served)' * one.served}: {one.reason}" for one in new[:_NAMED])
            more = f"; and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
            self._log.error("Refused %d environments, whose keys contradict each other: %s%s", len(new), shown, more)
        for one in new:
            self._tell(self._environment_refused, one.id, one.reason)

    def _accept(self, id: str) -> None:
        """Note that an environment is no longer refused."""
        if self._refused.pop(id, None):
            self._status.refused_changed(tuple(self._refused.values()))
