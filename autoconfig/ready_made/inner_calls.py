"""Calls of a handler behind a ready-made one: what the handler has, and which call follows one that raised."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Hashable
from typing import Generic, NoReturn, TypeVar

from ..dispatch.calls import StoppedError
from ..safe_logger import SafeLogger

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_log = SafeLogger(logging.getLogger("autoconfig"))


class Unknown(enum.Enum):
    """What is known of an item in an inner handler after a call that raised: which call that was."""

    AFTER_ADDITION = enum.auto()
    AFTER_UPDATE = enum.auto()
    AFTER_DELETION = enum.auto()


class InnerCalls(Generic[K, T]):
    """
    Makes the calls after which an inner handler has the items that it should have.

    A call that raised leaves its item in an unknown state. A failed addition is followed by an addition, or by a
    deletion if the item is gone. A failed update is followed by an update or a deletion. A failed deletion is followed
    by deletions until one succeeds, and only then by an addition.

    Args:
        add: Calls the handler for an item that it does not have.
        update: Calls it for an item that has changed; ``None`` if that has to be deleted and added again.
        delete: Calls it for an item that is gone.
        stopped: Returns whether no further call may begin.
    """

    def __init__(
        self,
        add: Callable[[K, T], object],
        update: Callable[[K, T], object] | None,
        delete: Callable[[K], object],
        stopped: Callable[[], bool],
    ) -> None:
        self._add = add
        self._update = update
        self._delete = delete
        self._stopped = stopped

    def reconcile(
        self,
        states: dict[K, T | Unknown],
        key: K,
        wanted: T | None,
        errors: list[BaseException],
        even_if_same: bool = False,
    ) -> None:
        """
        Make the calls, if any, after which the handler has the wanted item, or none.

        Args:
            states: What the handler has, by key; updated after each call.
            key: The item's key.
            wanted: The item that the handler should have; ``None`` to delete it.
            errors: What a call raises is added to these, and not raised.
            even_if_same: Whether to update an item that the handler already has in this form.

        Raises:
            StoppedError: The stream has ended, so no further call may begin.
        """
        state = states.get(key)
        if state is not None and self._must_be_deleted_first(state, wanted):
            if not self._delete_item(states, key, errors):
                return
            state = None
        if wanted is None:
            return
        if state is None or state is Unknown.AFTER_ADDITION:
            call, state_after_failure = self._add, Unknown.AFTER_ADDITION
        elif self._update and (even_if_same or state != wanted):
            call, state_after_failure = self._update, Unknown.AFTER_UPDATE
        else:
            return
        if self._stopped():
            stop(errors)
        try:
            call(key, wanted)
        except BaseException as error:  # SystemExit too: the other calls have to be made
            states[key] = state_after_failure
            note_error(errors, error)
        else:
            states[key] = wanted

    def _must_be_deleted_first(self, state: T | Unknown, wanted: T | None) -> bool:
        if wanted is None or state is Unknown.AFTER_DELETION:
            return True
        return self._update is None and state is not Unknown.AFTER_ADDITION and state != wanted

    def _delete_item(self, states: dict[K, T | Unknown], key: K, errors: list[BaseException]) -> bool:
        """Call the handler to delete an item; return whether that succeeded."""
        if self._stopped():
            stop(errors)
        try:
            self._delete(key)
        except BaseException as error:
            states[key] = Unknown.AFTER_DELETION
            note_error(errors, error)
            return False
        del states[key]
        return True


def note_error(errors: list[BaseException], error: BaseException) -> None:
    """
    Keep the first error of a callback, which is raised at its end; log each further one.

    Raises:
        StoppedError: It is the error that was passed: the stream has ended, so nothing more is called.
    """
    if isinstance(error, StoppedError):
        stop(errors)
    if errors:
        _log.error("Another inner call failed in the same callback; only the first error is raised", exc_info=error)
    else:
        errors.append(error)


def raise_first(errors: list[BaseException]) -> None:
    """Raise the first error of a callback, if there is one."""
    if errors:
        raise errors.pop()  # popped: a list in a frame of the traceback would form a cycle with it


def stop(errors: list[BaseException]) -> NoReturn:
    """End a callback between two calls, because the stream has ended; raise the first error, or StoppedError."""
    raise_first(errors)
    raise StoppedError
