"""The dispatcher's thread: message → version logic → the handler's six methods."""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .environments import EnvironmentRep, FilterRep
from .handler import MessageHandler
from .identifiers import EnvironmentID, FilterID
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
from .receiver import Action, MessageReceiver
from .stream.cancel import CancelToken


class Dispatcher:
    """
    Calls the handler for each change that the messages bring.

    It owns the version tables, and its thread is the only one that ever calls the handler, one call at a time. When a
    call raises, the item's record goes back to what it was, so that the next message for it brings the change again.

    Args:
        handler: The application's side.
        batches: Where the messages come from; an empty batch is the last.
        token: When it is cancelled, no further call begins.
        logger: For a line on each put, patch and deletion that changes something, and on each call that fails.

    Attributes:
        running: The name of the handler's method that is being called at the moment, else ``None``; any thread may
            look.
    """

    def __init__(
        self, handler: MessageHandler, batches: queue.Queue[Batch], token: CancelToken, logger: logging.Logger
    ) -> None:
        self.running: str | None = None
        self._handler = handler
        self._batches = batches
        self._token = token
        self._log = logger
        self._environments = MessageReceiver(logger)
        self._filters = MessageReceiver(logger)

    def run(self) -> None:
        """Take messages and call the handler until the stream is over or the token is cancelled."""
        while batch := self._batches.get():
            for message in batch:
                try:
                    self._dispatch(message)
                except _StoppedError:
                    return
                except Exception:  # such as a logger of the application's that raises: the thread has to live on
                    with suppress(Exception):
                        self._log.exception("Failed to handle a message")
            del batch, message  # a put is large; it must not stay until the next batch comes

    def _dispatch(self, message: Message) -> None:
        match message:
            case PutMessageData():
                self._put(message)
            case PatchMessageData():
                self._patch(message)
            case DeleteMessageData():
                self._delete(message)

    def _put(self, message: PutMessageData) -> None:
        if message.path != PUT_PATH:
            self._log.info("Ignored a put of the unknown path %.100a", message.path)
            return
        environments, filters = message.data.environments, message.data.filters
        changes = 0
        for env_id, environment in environments.items():
            changes += self._upsert_environment(env_id, environment)
        listed = {**environments, **message.data.flawed} if message.data.flawed else environments
        changes += self._forget_others(self._environments, listed, "delete_environment")
        for id, rep in filters.items():
            changes += self._upsert_filter(id, rep)
        changes += self._forget_others(self._filters, filters, "delete_filter")
        self._log.info(
            "Received all: %d environments and %d filters, %d changes", len(environments), len(filters), changes
        )
        self._call(None, "", "received_all_environments")

    def _patch(self, message: PatchMessageData) -> None:
        item = message.data
        if isinstance(item, EnvironmentRep):
            env_id = environment_id(message.path)
            assert env_id is not None  # decoded by this path
            changed = self._upsert_environment(env_id, item)
        elif isinstance(item, FilterRep):
            id = filter_id(message.path)
            assert id is not None
            changed = self._upsert_filter(id, item)
        else:
            self._log.debug("Ignored a patch of the unknown path %.100a", message.path)
            return
        if changed and self._log.isEnabledFor(logging.INFO):
            self._log.info("Received a change of %s", item.describe())

    def _delete(self, message: DeleteMessageData) -> None:
        if (env_id := environment_id(message.path)) is not None:
            action = self._environments.delete(env_id, message.version)
            if action is Action.DELETE:
                self._log.info("Received the deletion of environment %s", env_id)
                self._call(self._environments, env_id, "delete_environment", env_id)
        elif (id := filter_id(message.path)) is not None:
            action = self._filters.delete(id, message.version)
            if action is Action.DELETE:
                self._log.info("Received the deletion of filter %s", id)
                self._call(self._filters, id, "delete_filter", id)
        else:
            self._log.debug("Ignored a deletion of the unknown path %.100a", message.path)

    def _upsert_environment(self, env_id: EnvironmentID, rep: EnvironmentRep) -> bool:
        if rep.env_id != env_id:
            self._log.warning("Ignored environment %.100a, which came as %.100a", rep.env_id, env_id)
            return False
        action = self._environments.upsert(env_id, rep, rep.version)
        if action is Action.NOOP:
            return False
        callback = "add_environment" if action is Action.INSERT else "update_environment"
        self._call(self._environments, env_id, callback, rep.to_params())
        return True

    def _upsert_filter(self, id: FilterID, rep: FilterRep) -> bool:
        action = self._filters.upsert(id, rep, rep.version)
        if action is Action.INSERT:  # there is no callback for a filter's update, but its version counts
            self._call(self._filters, id, "add_filter", rep.to_params(id))
        return action is not Action.NOOP

    def _forget_others(self, receiver: MessageReceiver, listed: Mapping[Any, object], callback: str) -> int:
        """Forget what a put does not list; one by one and not by ``retain``, to undo a call that fails."""
        changes = 0
        for id in receiver.ids():
            if id not in listed and receiver.forget(id) is Action.DELETE:
                self._call(receiver, id, callback, id)
                changes += 1
        return changes

    def _call(self, receiver: MessageReceiver | None, id: str, callback: str, *arguments: object) -> None:
        """Call the handler. Whatever it raises stays here, because the thread has to live on; the record is undone."""
        if self._token.cancelled:
            raise _StoppedError
        self.running = callback
        try:
            getattr(self._handler, callback)(*arguments)
        except BaseException:
            self._log.exception("The handler failed in %s %.100s", callback, id)
            if receiver:
                receiver.undo()
        finally:
            self.running = None


class _StoppedError(Exception):
    """The token was cancelled, so nothing more may be called."""
