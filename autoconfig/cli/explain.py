"""What the version logic decides on each message, and why: the real one, watched while it works."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator

import attrs

from ..calls import HandlerCalls
from ..delivery import Delivery
from ..dispatcher import Dispatcher
from ..handler_errors import HandlerErrors
from ..messages import (
    PUT_PATH,
    Batch,
    DeleteMessageData,
    EnvironmentRep,
    Message,
    PatchMessageData,
    PutMessageData,
    environment_id,
    filter_id,
)
from ..receiver import Action, Item, MessageReceiver
from ..status import StatusTracker
from ..stream.cancel import CancelToken
from .calls import Call, CallHandler

_PATIENCE = 86400.0  # seconds for a call of the handler, which here only takes a note


@attrs.frozen
class Decision:
    """
    What was done with a message, or with an item in it.

    Attributes:
        action: ``insert``, ``update``, ``delete``, ``noop``, ``tombstone``, ``forget`` and so on.
        kind: ``environment`` or ``filter``; ``""`` if the whole message is meant.
        id: The item's id.
        reason: Why.
    """

    action: str
    kind: str = ""
    id: str = ""
    reason: str = ""


class ExplainingReceiver(MessageReceiver):
    """
    A receiver that says why it decided as it did.

    It keeps the versions a second time, for the reasons. What a handler's failure leads to it does not notice: the
    player's handler does not fail.

    Args:
        kind: What the items are.
        note: What is told each decision.
        logger: As for the base class.
    """

    __slots__ = ("_kind", "_note", "_seen")

    def __init__(self, kind: str, note: Callable[[Decision], object], logger: logging.Logger) -> None:
        super().__init__(logger)
        self._kind = kind
        self._note = note
        self._seen: dict[str, tuple[int, bool]] = {}  # the version of each id, and whether it is that of its deletion

    def upsert(self, id: str, item: Item, version: int) -> Action:
        """Do as the base class does, and say why."""
        known, dead = self._seen.get(id, (None, False))
        action = super().upsert(id, item, version)
        if action is not Action.NOOP:
            self._seen[id] = version, False
        deleted = ", that of its deletion" if dead else ""
        if known is None:
            self._decided("insert", id, f"version {version}")
        elif action is Action.NOOP:
            self._decided("noop", id, f"version {version} <= {known}{deleted}")
        elif dead:
            self._decided("insert", id, f"version {version} > {known}{deleted}")
        else:
            unheard = "; there is no callback for that" if self._kind == "filter" else ""
            self._decided("update", id, f"version {version} > {known}{unheard}")
        return action

    def delete(self, id: str, version: int) -> Action:
        """Do as the base class does, and say why."""
        known, dead = self._seen.get(id, (None, False))
        action = super().delete(id, version)
        if known is None or version > known:
            self._seen[id] = version, True
        if known is None:
            self._decided("tombstone", id, f"version {version}; it was unknown")
        elif version <= known:
            self._decided("noop", id, f"version {version} <= {known}{', that of its deletion' if dead else ''}")
        elif dead:
            self._decided("tombstone", id, f"version {version} > {known}; it was deleted before")
        else:
            self._decided("delete", id, f"version {version} > {known}")
        return action

    def forget(self, id: str) -> Action:
        """Do as the base class does, and say why."""
        action = super().forget(id)
        self._seen.pop(id, None)
        if action is Action.DELETE:
            self._decided("delete", id, "the put does not list it")
        else:
            self._decided("forget", id, "its tombstone, because the put does not list it")
        return action

    def _decided(self, action: str, id: str, reason: str) -> None:
        self._note(Decision(action, self._kind, id, reason))


class Player:
    """
    Has messages handled by the real dispatcher, in the caller's thread.

    Args:
        logger: For what the dispatcher logs.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._steps: list[Decision | Call] = []
        self._batches: queue.Queue[Batch] = queue.Queue()
        status = StatusTracker(logger)
        errors = HandlerErrors(retry=None)
        calls = HandlerCalls(
            CallHandler(self._steps.append), CancelToken(), errors=errors, slow_after=_PATIENCE,
            status=status, logger=logger,
        )  # fmt: skip
        delivery = Delivery(calls, errors, status, logger)
        for ledger, kind in ((delivery.environments, "environment"), (delivery.filters, "filter")):
            ledger.receiver = ExplainingReceiver(kind, self._steps.append, logger)
        self._dispatcher = Dispatcher(delivery, self._batches, status, logger)

    def play(self, message: Message) -> list[Decision | Call]:
        """Handle a message; return what was decided, and the calls that came of it, in order."""
        self._steps.clear()
        self._steps += ignored_parts(message)
        self._batches.put([message])
        self._batches.put([])  # the dispatcher takes it for the end of the stream, and returns
        self._dispatcher.run()
        return list(self._steps)


def ignored_parts(message: Message) -> Iterator[Decision]:
    """Yield what of a message does not get as far as the version logic."""
    match message:
        case PutMessageData(path=path) if path != PUT_PATH:
            yield Decision("ignored", reason="unknown path")
        case PutMessageData(data=content):
            for id, rep in content.environments.items():
                yield from _misplaced(id, rep)
        case PatchMessageData(path=path, data=EnvironmentRep() as rep) if (env_id := environment_id(path)) is not None:
            yield from _misplaced(env_id, rep)
        case PatchMessageData(path=path) | DeleteMessageData(path=path):
            if environment_id(path) is None and filter_id(path) is None:
                yield Decision("ignored", reason="unknown path")


def _misplaced(id: str, rep: EnvironmentRep) -> Iterator[Decision]:
    if rep.env_id != id:
        yield Decision("ignored", "environment", id, f"its envID is another one: {rep.env_id}")
