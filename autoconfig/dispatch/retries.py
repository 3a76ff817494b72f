"""The failed calls that wait for a retry, and when each is due."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from typing import Any

import attrs

from ..stream.retry import Backoff
from .calls import Callback

_SPARE = 64  # outdated entries that the heap may always hold


@attrs.define(eq=False)
class FailedCall:
    """
    An item whose last call raised, so that its state in the handler is unknown.

    Attributes:
        id: The item's id.
        owner: The delivery that makes the next attempt.
        callback: The method that raised.
        called_with: The version of the item that it was called with; ``None`` for a deletion.
        wanted: The newest version of the item; ``None`` when it is gone.
        attempts: How often this same call has raised.
        calls: How many calls there have been for the item since the first that raised.
        backoff: The delays between attempts; ``None`` when only a new message leads to one.
        due: When the next attempt is due, in monotonic time.
        held: Whether the deletion waits, because a put lists the item in a form that cannot be used.
    """

    id: str
    owner: Any
    callback: Callback
    called_with: Any
    wanted: Any
    attempts: int = 0
    calls: int = 0
    backoff: Backoff | None = None
    due: float = math.inf
    held: bool = False


class Retries:
    """
    Failed calls in the order in which they are due. Each step costs O(log n).

    Attributes:
        waiting: How many calls are scheduled.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, FailedCall]] = []
        self._order = itertools.count()  # between calls that are due at the same moment
        self.waiting = 0

    def schedule(self, failed: FailedCall, due: float) -> None:
        """Schedule the next attempt for this monotonic time, and cancel an earlier one."""
        self.cancel(failed)
        failed.due = due
        self.waiting += 1
        heapq.heappush(self._heap, (due, next(self._order), failed))
        if len(self._heap) > 2 * self.waiting + _SPARE:
            self._heap = [entry for entry in self._heap if entry[2].due == entry[0]]
            heapq.heapify(self._heap)

    def cancel(self, failed: FailedCall) -> None:
        """Schedule no attempt. The entry stays in the heap until it reaches the top; finding it would cost more."""
        if failed.due != math.inf:
            failed.due = math.inf
            self.waiting -= 1

    def next_due(self) -> float | None:
        """Return when the next attempt is due, in monotonic time; ``None`` if there is none."""
        while self._heap:
            due, _, failed = self._heap[0]
            if failed.due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def take_due(self, now: float) -> Iterator[FailedCall]:
        """Yield the calls that are due by that time, and unschedule each."""
        while (due := self.next_due()) is not None and due <= now:
            failed = heapq.heappop(self._heap)[2]
            self.cancel(failed)
            yield failed
