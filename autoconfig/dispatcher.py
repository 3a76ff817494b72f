"""The dispatcher's thread: message → version logic → the handler's six methods."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from contextlib import suppress

from .calls import StoppedError
from .delivery import Delivery
from .environments import EnvironmentRep, FilterRep
from .identifiers import show
from .messages import (
    PUT_PATH,
    Batch,
    DeleteMessageData,
    Message,
    PatchMessageData,
    PutMessageData,
    environment_id,
    filter_id,
)
from .safe_logger import Logger
from .status import StatusTracker


class Dispatcher:
    """
    Turns messages into calls of the handler.

    It owns the version tables, and its thread is the only one that ever calls the handler, one call at a time.

    Args:
        delivery: Calls the handler.
        batches: Where the messages come from; an empty batch is the last.
        status: Is told when a batch was handled.
        logger: For a line on each put, patch and deletion that changes something.
    """

    def __init__(self, delivery: Delivery, batches: queue.Queue[Batch], status: StatusTracker, logger: Logger) -> None:
        self._delivery = delivery
        self._batches = batches
        self._status = status
        self._log = logger

    def run(self) -> None:
        """Take messages and call the handler until the stream is over or the token is cancelled."""
        with suppress(StoppedError):
            while self._handle_next():
                self._safely(self._delivery.retry)

    def _handle_next(self) -> bool:
        """Wait for a batch, or until a failed change is due; return whether the stream goes on."""
        due = self._delivery.next_retry()
        try:
            batch = self._batches.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
        except queue.Empty:
            return True
        for message in batch:
            self._safely(self._dispatch, message)
        if batch:
            self._status.handled()
        return bool(batch)

    def _safely(self, step: Callable[..., None], *arguments: Message) -> None:
        """Do something; whatever it raises, the thread has to live on."""
        try:
            step(*arguments)
        except StoppedError:
            raise
        except Exception:
            self._log.exception("Failed to handle a message")

    def _dispatch(self, message: Message) -> None:
        match message:
            case PatchMessageData():
                self._patch(message)
            case PutMessageData():
                self._put(message)
            case DeleteMessageData():
                self._delete(message)

    def _put(self, message: PutMessageData) -> None:
        if message.path != PUT_PATH:
            self._log.info("Ignored a put of the unknown path %s", show(message.path))
            return
        environments, filters = message.data.environments, message.data.filters
        delivery = self._delivery
        changes = 0
        for env_id, environment in environments.items():
            changes += delivery.upsert_environment(env_id, environment)
        listed = {**environments, **message.data.flawed} if message.data.flawed else environments
        changes += delivery.forget_others(delivery.environments, listed)
        for id, rep in filters.items():
            changes += delivery.upsert_filter(id, rep)
        changes += delivery.forget_others(delivery.filters, filters)
        self._log.info(
            "Received all: %d environments and %d filters, %d changes", len(environments), len(filters), changes
        )
        delivery.received_all()
        self._status.configuration_received()

    def _patch(self, message: PatchMessageData) -> None:
        item = message.data
        if isinstance(item, EnvironmentRep) and (env_id := environment_id(message.path)) is not None:
            changed = self._delivery.upsert_environment(env_id, item)
        elif isinstance(item, FilterRep) and (id := filter_id(message.path)) is not None:
            changed = self._delivery.upsert_filter(id, item)
        else:
            self._log.debug("Ignored a patch of the unknown path %s", show(message.path))
            return
        if changed and self._log.isEnabledFor(logging.INFO):
            self._log.info("Received a change of %s", item.describe())

    def _delete(self, message: DeleteMessageData) -> None:
        delivery = self._delivery
        if (env_id := environment_id(message.path)) is not None:
            deleted = delivery.delete(delivery.environments, env_id, message.version)
        elif (id := filter_id(message.path)) is not None:
            deleted = delivery.delete(delivery.filters, id, message.version)
        else:
            self._log.debug("Ignored a deletion of the unknown path %s", show(message.path))
            return
        if deleted:
            self._log.info("Received a deletion: %s", show(message.path))
