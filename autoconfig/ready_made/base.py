"""Base of the ready-made handlers: each belongs to one manager at a time, and may be given to another one later."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeVar

from ..exceptions import ClosedError, ForkedError
from ..identifiers import EnvironmentID, FilterID
from .inner_calls import note_error, stop

K = TypeVar("K", bound=Hashable)


class Stoppable(Protocol):
    """The threads of a stream, as ready-made handlers see them."""

    @property
    def stopped(self) -> bool:
        """Whether no further callback may begin."""


class AttachedStream:
    """
    What a ready-made handler knows of the manager that calls it. It keeps neither the manager nor its threads alive.

    Args:
        threads: The stream's threads.
        wait_until_ready: A :class:`weakref.WeakMethod` of the manager's method of this name.
    """

    def __init__(
        self, threads: Stoppable, wait_until_ready: Callable[[], Callable[[float | None], object] | None]
    ) -> None:
        self._threads = weakref.ref(threads)
        self._wait_until_ready = wait_until_ready
        self._process = os.getpid()

    @property
    def stopped(self) -> bool:
        """Whether no further callback may begin."""
        threads = self._threads()
        return threads is None or threads.stopped

    @property
    def forked(self) -> bool:
        """Whether the manager runs in another process, of which this one is a fork."""
        return self._process != os.getpid()

    def wait_until_ready(self, timeout: float | None) -> None:
        """Wait as the manager does, and raise what it raises. A manager that is gone was closed before."""
        wait = self._wait_until_ready()
        if wait is None:
            raise ForkedError if self.forked else ClosedError("the manager was dropped before it was ready")
        wait(timeout)


class ReadyMadeHandler:
    """
    Base of the ready-made handlers, which belong to one manager at a time.

    A handler that is given to a second manager still has what the first one added. When the second one's first full
    configuration is complete, the handler deletes everything that is not in it.
    """

    def __init__(self) -> None:
        self._stream: AttachedStream | None = None
        # What an earlier manager added, and the present one has not added yet.
        self._old_environments: set[EnvironmentID] = set()
        self._old_filters: set[FilterID] = set()

    def _attach_to_stream(self, stream: AttachedStream) -> None:
        """
        Belong to the manager of this stream from now on.

        Raises:
            RuntimeError: Another manager that the handler belongs to is still running in this process.
        """
        before = self._stream
        if before is stream:
            return
        if before is not None and not before.stopped and not before.forked:
            raise RuntimeError(
                f"the {type(self).__name__} belongs to a manager that is still running: close that first, or make "
                f"another {type(self).__name__}"
            )
        self._stream = stream
        environments, filters = self._known_ids()
        self._old_environments, self._old_filters = set(environments), set(filters)

    def _detach_from_stream(self, stream: AttachedStream, deadline: float) -> bool:
        """Stop what the handler runs, because its manager was closed; return whether everything has ended."""
        return True

    def _known_ids(self) -> tuple[Iterable[EnvironmentID], Iterable[FilterID]]:
        """Return the ids of all environments and filters that this handler may have."""
        raise NotImplementedError

    def _keep_environment(self, id: EnvironmentID) -> None:
        """Keep this environment after the first full configuration: the present manager has added it too."""
        self._old_environments.discard(id)

    def _keep_filter(self, id: FilterID) -> None:
        """Keep this filter after the first full configuration: the present manager has added it too."""
        self._old_filters.discard(id)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment."""
        raise NotImplementedError

    def delete_filter(self, id: FilterID) -> None:
        """Delete a filter."""
        raise NotImplementedError

    def _is_stopped(self) -> bool:
        return self._stream is not None and self._stream.stopped

    def _pass_on(self, method: Callable[[], object], errors: list[BaseException]) -> None:
        """Make a call that concerns no item; add what it raises to the errors."""
        if self._is_stopped():
            stop(errors)
        try:
            method()
        except BaseException as error:
            note_error(errors, error)

    def _pass_on_refusal(self, handler: object, id: EnvironmentID, reason: str, errors: list[BaseException]) -> None:
        """Call ``environment_refused``, which is optional, if the handler has it."""
        refused = getattr(handler, "environment_refused", None)
        if callable(refused):
            self._pass_on(lambda: refused(id, reason), errors)

    def _delete_old_items(self, errors: list[BaseException]) -> None:
        """Delete the items that only an earlier manager has added; a failed deletion is retried after the next put."""
        _delete_each(self._old_environments, self.delete_environment, errors)
        _delete_each(self._old_filters, self.delete_filter, errors)


def _delete_each(ids: set[K], delete: Callable[[K], None], errors: list[BaseException]) -> None:
    for id in list(ids):
        try:
            delete(id)
        except BaseException as error:
            ids.add(id)
            note_error(errors, error)


# These look for the methods in the handler's class, because the client pool has them with another base class. They do
# not look in the object: an application's proxy or mock may have a method for every name.


def attach(handler: object, stream: AttachedStream) -> None:
    """Attach a handler to its manager's stream, if it is a ready-made one."""
    _call_if_ready_made(handler, "_attach_to_stream", stream)


def detach(handler: object, stream: AttachedStream, deadline: float) -> bool:
    """Stop what a ready-made handler runs, because its manager was closed; return whether everything has ended."""
    return _call_if_ready_made(handler, "_detach_from_stream", stream, deadline) is not False


def keep_environment(handler: object, id: EnvironmentID) -> None:
    """Let a ready-made handler keep an environment that an earlier manager added, without a call that changes it."""
    _call_if_ready_made(handler, "_keep_environment", id)


def keep_filter(handler: object, id: FilterID) -> None:
    """Let a ready-made handler keep a filter that an earlier manager added, without a call that changes it."""
    _call_if_ready_made(handler, "_keep_filter", id)


def _call_if_ready_made(handler: object, name: str, *arguments: object) -> object:
    method = getattr(type(handler), name, None)
    return None if method is None else method(handler, *arguments)
