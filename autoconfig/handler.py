"""``MessageHandler``: the six methods that an application implements."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .environments import EnvironmentParams, FilterParams
from .identifiers import EnvironmentID, FilterID
from .validation import idle_kind


@runtime_checkable
class MessageHandler(Protocol):
    """
    The application's side of the stream.

    Any object with these six methods will do; inheriting from this class is optional and makes every method that is not
    overridden do nothing.

    The methods are called one at a time, from one thread whose name begins with ``autoconfig-dispatcher``, in the order
    that the stream implies. An id is added before it is updated or deleted, and deleted once. No lock is held during a
    call, so a method may call ``StreamManager.close()``.

    A method that raises does not stop the stream. The error is logged with its traceback, and the call is retried until
    it succeeds or a newer change of the item replaces it (see :class:`HandlerErrors`); ``received_all_environments`` is
    not retried. A handler need not undo what it did before it raised. A failed addition is followed by an addition of
    the newest state, or by one deletion if the item is gone. A failed update is followed by an update or a deletion. A
    failed deletion is followed by deletions until one succeeds, and only then by an addition.

    A handler may have one more method, ``environment_refused(id, reason)``. It is called when the service sends an
    environment whose keys contradict each other, once for each reason: what was known of the environment stays. If it
    raises, it is not called again.
    """

    def add_environment(self, params: EnvironmentParams) -> None:
        """Add an environment: a new one, or one that was deleted and is back."""
        return

    def update_environment(self, params: EnvironmentParams) -> None:
        """Take the new state of an environment; any field except the id may have changed."""
        return

    def received_all_environments(self) -> None:
        """
        Note that a full configuration has been delivered.

        Called after every ``put``. The service sends one on each connection, and may send more. A call that failed
        before it may still wait for its retry; see :class:`HandlerErrors`.
        """
        return

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment. After an addition that raised, its id may be unknown here; accept that."""
        return

    def add_filter(self, params: FilterParams) -> None:
        """Add a payload filter: a new one, or one that was deleted and is back. There is no call for a changed one."""
        return

    def delete_filter(self, id: FilterID) -> None:
        """Delete a payload filter. After an addition that raised, its id may be unknown here; accept that."""
        return


_METHODS = [name for name in vars(MessageHandler) if not name.startswith("_")]
_OPTIONAL_METHODS = ["environment_refused"]


def check_handler(handler: object) -> None:
    """
    Check that the object can be called as a handler.

    Raises:
        TypeError: It lacks a method or has one that does nothing when it is called, such as a coroutine function, or it
            is a class; the text names it.
    """
    if handler is None:
        raise TypeError("handler is missing: an object with the six methods of MessageHandler")
    check_methods(handler, _METHODS, "the six methods of MessageHandler")


def check_methods(handler: object, names: list[str], described: str) -> None:
    """
    Check that a handler has these methods, and that calls of them and of the optional ones do their work at once.

    Raises:
        TypeError: As of :func:`check_handler`.
    """
    if isinstance(handler, type):
        raise TypeError(f"handler must be an object, not the class {handler.__name__}")
    missing = [name for name in names if not callable(getattr(handler, name, None))]
    if missing:
        raise TypeError(f"handler must have {described}; it lacks {', '.join(missing)}")
    for name in [*names, *_OPTIONAL_METHODS]:
        if kind := idle_kind(getattr(handler, name, None)):
            raise TypeError(f"handler must have ordinary methods; {name} is {kind}")
