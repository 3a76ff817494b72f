"""Several handlers as one; :meth:`EnvironmentRegistry.wrap` returns this."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from ..environments import EnvironmentParams, FilterParams
from ..handler import MessageHandler
from ..identifiers import EnvironmentID, FilterID
from .base import AttachedStream, ReadyMadeHandler, attach, detach, keep_environment, keep_filter
from .inner_calls import InnerCalls, Unknown, raise_first

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_Inner = list[tuple[InnerCalls[K, T], dict[K, T | Unknown]]]


class HandlersInARow(ReadyMadeHandler):
    """
    Passes each callback on to several handlers, in their order.

    If one raises, the others are still called; the rule of :class:`InnerCalls` applies to each.

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
        self._failed: set[Hashable] = set()  # the items whose last callback has raised

    def add_environment(self, params: EnvironmentParams) -> None:
        """Add an environment in each handler."""
        self._keep_environment(params.env_id)
        self._reconcile_all(self._environments, params.env_id, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Update an environment in each handler."""
        # This may be the retry of an update that failed: those that have made the update are not called again.
        self._reconcile_all(self._environments, params.env_id, params, even_if_same=params.env_id not in self._failed)

    def received_all_environments(self) -> None:
        """Delete the items that only an earlier manager has added, and pass this on."""
        errors: list[BaseException] = []
        self._delete_old_items(errors)
        for handler in self._handlers:
            self._pass_on(handler.received_all_environments, errors)
        raise_first(errors)

    def environment_refused(self, id: EnvironmentID, reason: str) -> None:
        """Pass this on to the handlers that have this method."""
        errors: list[BaseException] = []
        for handler in self._handlers:
            self._pass_on_refusal(handler, id, reason, errors)
        raise_first(errors)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment from each handler that has it or may have it."""
        self._old_environments.discard(id)
        self._reconcile_all(self._environments, id, None)

    def add_filter(self, params: FilterParams) -> None:
        """Add a filter in each handler."""
        self._keep_filter(params.id)
        self._reconcile_all(self._filters, params.id, params)

    def delete_filter(self, id: FilterID) -> None:
        """Delete a filter from each handler that has it or may have it."""
        self._old_filters.discard(id)
        self._reconcile_all(self._filters, id, None)

    def _attach_to_stream(self, stream: AttachedStream) -> None:
        super()._attach_to_stream(stream)
        for handler in self._handlers:
            attach(handler, stream)

    def _keep_environment(self, id: EnvironmentID) -> None:
        if id in self._old_environments:  # handlers that already have it in this form will not be called
            super()._keep_environment(id)
            for handler in self._handlers:
                keep_environment(handler, id)

    def _keep_filter(self, id: FilterID) -> None:
        if id in self._old_filters:
            super()._keep_filter(id)
            for handler in self._handlers:
                keep_filter(handler, id)

    def _detach_from_stream(self, stream: AttachedStream, deadline: float) -> bool:
        ended = [detach(handler, stream, deadline) for handler in self._handlers]  # a list, so that all are called
        return all(ended)

    def _known_ids(self) -> tuple[set[EnvironmentID], set[FilterID]]:
        environments = {id for _, states in self._environments for id in states}
        return environments, {id for _, states in self._filters for id in states}

    def _reconcile_all(self, inner: _Inner[K, T], id: K, wanted: T | None, even_if_same: bool = False) -> None:
        errors: list[BaseException] = []
        for calls, states in inner:
            calls.reconcile(states, id, wanted, errors, even_if_same)
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
