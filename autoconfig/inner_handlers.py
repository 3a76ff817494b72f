"""Handlers behind a ready-made handler: what each of them has, and which call follows one that raised."""

from __future__ import annotations

import enum
import logging
import os
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NoReturn, Protocol, TypeVar

from .dispatch.calls import StoppedError
from .environments import EnvironmentParams, FilterParams
from .handler import MessageHandler
from .identifiers import EnvironmentID, FilterID
from .safe_logger import SafeLogger

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_log = SafeLogger(logging.getLogger("autoconfig"))


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

    def wait_until_ready(self, timeout: float | None) -> bool:
        """Wait as the manager does, and raise what it raises; ``False`` if there is no manager any more."""
        wait = self._wait_until_ready()
        if wait is not None:
            wait(timeout)
        return wait is not None


class ReadyMadeHandler:
    """
    Base of the ready-made handlers: each belongs to one manager at a time.

    A handler that is given to a second manager still has what the first one added. At the end of the second one's first
    full configuration it deletes what that did not contain.
    """

    def __init__(self) -> None:
        self._stream: AttachedStream | None = None
        # What came from an earlier manager, and not yet from the present one.
        self._old_environments: set[EnvironmentID] = set()
        self._old_filters: set[FilterID] = set()

    def _attach_to_stream(self, stream: AttachedStream) -> None:
        """
        Attach to this stream.

        Raises:
            RuntimeError: The manager of another stream is still running, in this process.
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
        """Note that the stream's manager was closed; return whether nothing of this handler's is still running."""
        return True

    def _known_ids(self) -> tuple[Iterable[EnvironmentID], Iterable[FilterID]]:
        """Return the ids of all environments and filters that this handler may have."""
        raise NotImplementedError

    def _keep_environment(self, id: EnvironmentID) -> None:
        """Note that the present manager has this environment too."""
        self._old_environments.discard(id)

    def _keep_filter(self, id: FilterID) -> None:
        """Note that the present manager has this filter too."""
        self._old_filters.discard(id)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment."""
        raise NotImplementedError

    def delete_filter(self, id: FilterID) -> None:
        """Delete a filter."""
        raise NotImplementedError

    def _is_stopped(self) -> bool:
        return self._stream is not None and self._stream.stopped

    def _hand_on(self, method: Callable[[], object], errors: list[BaseException]) -> None:
        """Make a call that concerns no item; what it raises is added to the errors."""
        if self._is_stopped():
            stop(errors)
        try:
            method()
        except BaseException as error:
            note_error(errors, error)

    def _hand_on_refusal(self, handler: object, id: EnvironmentID, reason: str, errors: list[BaseException]) -> None:
        """Call ``environment_refused``, which is optional, if the handler has it."""
        refused = getattr(handler, "environment_refused", None)
        if callable(refused):
            self._hand_on(lambda: refused(id, reason), errors)

    def _delete_old_items(self, errors: list[BaseException]) -> None:
        """Delete what an earlier manager has left; what cannot be deleted is tried again after the next put."""
        _delete_each(self._old_environments, self.delete_environment, errors)
        _delete_each(self._old_filters, self.delete_filter, errors)


def _delete_each(ids: set[K], delete: Callable[[K], None], errors: list[BaseException]) -> None:
    for id in list(ids):
        try:
            delete(id)
        except BaseException as error:
            ids.add(id)
            note_error(errors, error)


# By the methods of their classes, because the client pool is a ready-made handler, too. Not by those of the objects:
# one of the application's may have a method for every name, such as a proxy or a mock.


def attach(handler: object, stream: AttachedStream) -> None:
    """Attach a handler to its manager's stream, if it is a ready-made one."""
    _call_ready_made(handler, "_attach_to_stream", stream)


def detach(handler: object, stream: AttachedStream, deadline: float) -> bool:
    """Tell a ready-made handler that its manager was closed; return whether nothing of it is still running."""
    return _call_ready_made(handler, "_detach_from_stream", stream, deadline) is not False


def keep_environment(handler: object, id: EnvironmentID) -> None:
    """Tell a ready-made handler that the present manager has an environment which it may have as it is."""
    _call_ready_made(handler, "_keep_environment", id)


def keep_filter(handler: object, id: FilterID) -> None:
    """Tell a ready-made handler the same of a payload filter."""
    _call_ready_made(handler, "_keep_filter", id)


def _call_ready_made(handler: object, name: str, *arguments: object) -> object:
    method = getattr(type(handler), name, None)
    return None if method is None else method(handler, *arguments)


class Unknown(enum.Enum):
    """The unknown state of an item in an inner handler after a call that raised."""

    AFTER_ADDITION = enum.auto()
    AFTER_UPDATE = enum.auto()
    AFTER_DELETION = enum.auto()


class InnerCalls(Generic[K, T]):
    """
    Calls an inner handler until it has what it should have.

    A call that raised leaves its item in an unknown state. After a failed addition the next call is an addition, or a
    deletion if the item is gone; after a failed update an update or a deletion; after a failed deletion a deletion,
    until it succeeds, and only then an addition.

    Args:
        add: Makes the call for an item that the handler does not have.
        update: Makes the call for one that has changed; ``None`` if it has to be deleted and added again.
        delete: Makes the call for one that is gone.
        stopped: Says whether no further call may begin.
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

    def bring(
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
            states: What the handler has; it is kept up to date.
            key: The item's key in there.
            wanted: What the handler should have.
            errors: What a call raises is added, and not raised.
            even_if_same: Whether to update an item that the handler has in this form already.

        Raises:
            StoppedError: The stream has ended in between.
        """
        state = states.get(key)
        if state is not None and self._has_to_go_first(state, wanted):
            if not self._delete_it(states, key, errors):
                return
            state = None
        if wanted is None:
            return
        if state is None or state is Unknown.AFTER_ADDITION:
            call, if_it_fails = self._add, Unknown.AFTER_ADDITION
        elif self._update and (even_if_same or state != wanted):
            call, if_it_fails = self._update, Unknown.AFTER_UPDATE
        else:
            return
        if self._stopped():
            stop(errors)
        try:
            call(key, wanted)
        except BaseException as error:  # SystemExit too: the other calls have to be made
            states[key] = if_it_fails
            note_error(errors, error)
        else:
            states[key] = wanted

    def _has_to_go_first(self, state: T | Unknown, wanted: T | None) -> bool:
        """Return whether the handler has to delete what it has or may have."""
        if wanted is None or state is Unknown.AFTER_DELETION:
            return True
        return self._update is None and state is not Unknown.AFTER_ADDITION and state != wanted

    def _delete_it(self, states: dict[K, T | Unknown], key: K, errors: list[BaseException]) -> bool:
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
    Keep the first error of a callback, to be raised at its end, and log each further one.

    Raises:
        StoppedError: The error is this one: the stream has ended, so nothing more is called.
    """
    if isinstance(error, StoppedError):
        stop(errors)
    if errors:
        _log.error("Another inner call failed in the same callback; only the first error is raised", exc_info=error)
    else:
        errors.append(error)


def raise_first(errors: list[BaseException]) -> None:
    """Raise the error that was kept, if there is one."""
    if errors:
        raise errors.pop()  # popped, so that no frame of its traceback leads back to it: a cycle would keep them alive


def stop(errors: list[BaseException]) -> NoReturn:
    """End a callback between its calls, because the stream has ended; raise an error that was kept."""
    raise_first(errors)
    raise StoppedError


_Inner = list[tuple[InnerCalls[K, T], dict[K, T | Unknown]]]


class HandlersInARow(ReadyMadeHandler):
    """
    Hands each callback on to several handlers, in their order.

    All of them are called, even if one raises; the rule of :class:`InnerCalls` holds for each.

    Args:
        handlers: The handlers.
    """

    def __init__(self, *handlers: MessageHandler) -> None:
        super().__init__()
        self._handlers = handlers
        # The calls of each handler, and what it has.
        self._environments: _Inner[EnvironmentID, EnvironmentParams] = []
        self._filters: _Inner[FilterID, FilterParams] = []
        for handler in handlers:
            self._environments.append((self._environment_calls(handler), {}))
            self._filters.append((self._filter_calls(handler), {}))
        self._failed: set[Hashable] = set()  # the items for which the last callback has raised

    def add_environment(self, params: EnvironmentParams) -> None:
        """Add an environment in each handler."""
        self._keep_environment(params.env_id)
        self._bring_all(self._environments, params.env_id, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Update an environment in each handler."""
        # After an update that failed this may be the same one again, which is not for those that have taken it.
        self._bring_all(self._environments, params.env_id, params, even_if_same=params.env_id not in self._failed)

    def received_all_environments(self) -> None:
        """Hand this on, when the handlers have no more of what an earlier manager has left."""
        errors: list[BaseException] = []
        self._delete_old_items(errors)
        for handler in self._handlers:
            self._hand_on(handler.received_all_environments, errors)
        raise_first(errors)

    def environment_refused(self, id: EnvironmentID, reason: str) -> None:
        """Tell each handler that has this method of an environment that cannot be used."""
        errors: list[BaseException] = []
        for handler in self._handlers:
            self._hand_on_refusal(handler, id, reason, errors)
        raise_first(errors)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment from each handler that has it or may have it."""
        self._old_environments.discard(id)
        self._bring_all(self._environments, id, None)

    def add_filter(self, params: FilterParams) -> None:
        """Add a filter in each handler."""
        self._keep_filter(params.id)
        self._bring_all(self._filters, params.id, params)

    def delete_filter(self, id: FilterID) -> None:
        """Delete a filter from each handler that has it or may have it."""
        self._old_filters.discard(id)
        self._bring_all(self._filters, id, None)

    def _attach_to_stream(self, stream: AttachedStream) -> None:
        super()._attach_to_stream(stream)
        for handler in self._handlers:
            attach(handler, stream)

    def _keep_environment(self, id: EnvironmentID) -> None:
        if id in self._old_environments:  # then the handlers may have it as it is, so that none is called
            super()._keep_environment(id)
            for handler in self._handlers:
                keep_environment(handler, id)

    def _keep_filter(self, id: FilterID) -> None:
        if id in self._old_filters:
            super()._keep_filter(id)
            for handler in self._handlers:
                keep_filter(handler, id)

    def _detach_from_stream(self, stream: AttachedStream, deadline: float) -> bool:
        ended = [detach(handler, stream, deadline) for handler in self._handlers]  # all of them, whatever one returns
        return all(ended)

    def _known_ids(self) -> tuple[set[EnvironmentID], set[FilterID]]:
        environments = {id for _, states in self._environments for id in states}
        return environments, {id for _, states in self._filters for id in states}

    def _bring_all(self, inner: _Inner[K, T], id: K, wanted: T | None, even_if_same: bool = False) -> None:
        errors: list[BaseException] = []
        for calls, states in inner:
            calls.bring(states, id, wanted, errors, even_if_same)
        if errors:
            self._failed.add(id)
            raise_first(errors)
        self._failed.discard(id)

    def _environment_calls(self, handler: MessageHandler) -> InnerCalls[EnvironmentID, EnvironmentParams]:
        return InnerCalls(
            lambda _, params: handler.add_environment(params),
            lambda _, params: handler.update_environment(params),
            lambda id: handler.delete_environment(id),
            self._is_stopped,
        )

    def _filter_calls(self, handler: MessageHandler) -> InnerCalls[FilterID, FilterParams]:
        return InnerCalls(
            lambda _, params: handler.add_filter(params), None, lambda id: handler.delete_filter(id), self._is_stopped
        )
