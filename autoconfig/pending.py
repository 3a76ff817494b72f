"""What is known of the items of one kind, and which changes of them the handler has failed to take."""

from __future__ import annotations

import attrs

from .environments import EnvironmentRep, FilterRep
from .receiver import MessageReceiver
from .stream.retry import Backoff

Change = EnvironmentRep | FilterRep | int | None
"""What to do with an item: a ``Rep`` adds or updates it, a version deletes it, ``None`` forgets it (a put lacks it)."""


@attrs.define
class Pending:
    """
    A change that the handler failed to take.

    Attributes:
        change: The change.
        backoff: How long to wait for the next attempt.
        attempts: How many there have been.
        due: When the next one is due, in monotonic time.
        then: A filter that came while the deletion of its predecessor is pending; it has to wait for that.
    """

    change: Change
    backoff: Backoff
    attempts: int = 0
    due: float = 0.0
    then: FilterRep | None = None


@attrs.define
class Ledger:
    """What is known of the items of one kind, which changes of them are pending, and the callback for a deletion."""

    receiver: MessageReceiver
    delete_callback: str
    pending: dict[str, Pending] = attrs.field(factory=dict)

    def admits(self, id: str, change: Change) -> bool:
        """Return whether a change may count, given what is pending for the item."""
        pending = self.pending.get(id)
        version = version_of(change)
        if pending is None or version is None:
            return True
        latest = pending.then or pending.change
        known = version_of(latest)
        if known is None:
            # What is to be forgotten may come back in any version. The handler has it still, so that is an update.
            self.receiver.reopen(id, version)
            return True
        return version > known or is_same(change, latest)

    def nothing_waits(self, id: str) -> None:
        """Drop what waits for the item's deletion, because it is to be deleted itself."""
        if pending := self.pending.get(id):
            pending.then = None


def is_same(one: Change, other: Change) -> bool:
    """Return whether two changes of an item are the same; a version says what they are."""
    return type(one) is type(other) and version_of(one) == version_of(other)


def version_of(change: Change) -> int | None:
    """Return the version that a change brings or deletes; ``None`` for one that has none."""
    return change.version if isinstance(change, EnvironmentRep | FilterRep) else change
