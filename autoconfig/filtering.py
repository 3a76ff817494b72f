"""Environments seen through payload filters: each one is handed on unfiltered, and once for each filter."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Generic, Protocol, TypeVar, runtime_checkable

from .environments import EnvironmentParams, FilterParams
from .identifiers import EnvironmentID, FilterID, FilterKey

Id = TypeVar("Id", EnvironmentID, FilterID)
T = TypeVar("T")

_UNFILTERED = FilterKey("")


@runtime_checkable
class FilteredHandler(Protocol):
    """
    The application's side of a :class:`FilterExpander`; inheriting from this class is optional.

    An environment is known here by two things: its id and a filter's key, which is ``""`` for the unfiltered one. The
    methods are called as those of a :class:`MessageHandler`, one at a time and from one thread. Each such pair is added
    before it is updated or deleted, and deleted once.
    """

    # Each body is more than a docstring, or type checkers would take the method for abstract.

    def add_environment(self, params: EnvironmentParams) -> None:
        """Take up an environment, seen through the filter ``params.identifiers.filter_key``."""
        return

    def update_environment(self, params: EnvironmentParams) -> None:
        """Replace all that is known of it; the id and the filter's key are as before."""
        return

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey) -> None:
        """Drop it."""
        return

    def received_all_environments(self) -> None:
        """Note that a full configuration has been handed over, filters included."""
        return


_METHODS = [name for name in vars(FilteredHandler) if not name.startswith("_")]


class FilterExpander:
    """
    Hands each environment on unfiltered, and also once for each payload filter of its project.

    It is a :class:`MessageHandler` to give to a :class:`StreamManager`, and does what LaunchDarkly's relay does: for an
    environment of a project with the filters ``a`` and ``b`` the inner handler is given three, with the
    ``identifiers.filter_key`` ``""``, ``"a"`` and ``"b"``, in the order in which the filters were added. It makes no
    difference whether filters or environments come first, and a filter that is deleted takes its share with it. Filters
    come with protocol version 2 only, which is the manager's default.

    What the inner handler raises goes on to the manager, which calls again later; what was handed on until then is not
    handed on again. Should the manager not call again, because the service has deleted what could not be added, then
    the next ``received_all_environments`` sets it right.

    Not thread-safe: one thread calls it, the manager's.

    Args:
        handler: An object with the four methods of :class:`FilteredHandler`.

    Raises:
        TypeError: The handler lacks a method; the text names it.
    """

    def __init__(self, handler: FilteredHandler) -> None:
        missing = [name for name in _METHODS if not callable(getattr(handler, name, None))]
        if missing:
            raise TypeError(f"handler must have the four methods of FilteredHandler; it lacks {', '.join(missing)}")
        self._handler = handler
        self._environments: _ByProject[EnvironmentID, EnvironmentParams] = _ByProject(lambda e: e.identifiers.proj_key)
        self._filters: _ByProject[FilterID, FilterParams] = _ByProject(lambda filter: filter.proj_key)
        # What the handler has: the environment that was handed on, for each filter through which it was.
        self._delivered: dict[EnvironmentID, dict[FilterKey, EnvironmentParams]] = {}
        # Where a call has failed that the manager may never repeat. For a filter: the states that it was to have since
        # the last call that succeeded, that one's state first, which is what the manager goes by.
        self._failed_additions: set[EnvironmentID] = set()
        self._failed_filters: dict[FilterID, dict[FilterParams | None, None]] = {}

    def add_environment(self, params: EnvironmentParams) -> None:
        """Hand an environment on, unfiltered and through its project's filters."""
        if params.env_id not in self._environments.items:
            self._failed_additions.add(params.env_id)
        self._replace_environment(params.env_id, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Hand the new state on; an environment that changes its project changes its filters too."""
        self._replace_environment(params.env_id, params)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment, unfiltered and through all filters."""
        self._replace_environment(id, None)

    def add_filter(self, params: FilterParams) -> None:
        """Hand every environment of the filter's project on through it."""
        self._replace_filter(params.id, params)

    def delete_filter(self, id: FilterID) -> None:
        """Delete what was handed on through the filter."""
        self._replace_filter(id, None)

    def received_all_environments(self) -> None:
        """Set right what failed calls have left, and hand this on."""
        for env_id in list(self._failed_additions):
            self._replace_environment(env_id, None)
        for filter_id, states in list(self._failed_filters.items()):
            self._replace_filter(filter_id, next(iter(states)))
        self._handler.received_all_environments()

    def _replace_environment(self, id: EnvironmentID, params: EnvironmentParams | None) -> None:
        self._environments.replace(id, params)
        wanted = {} if params is None else self._filters_of(params.identifiers.proj_key)
        self._deliver(id, params, wanted, dict.fromkeys([*wanted, *self._delivered.get(id, ())]))
        self._failed_additions.discard(id)

    def _replace_filter(self, id: FilterID, params: FilterParams | None) -> None:
        states = self._failed_filters.setdefault(id, {self._filters.items.get(id): None})
        states[params] = None
        self._filters.replace(id, params)
        for state in filter(None, states):
            wanted = self._filters_of(state.proj_key)
            for env_id, environment in list(self._environments.of(state.proj_key).items()):
                self._deliver(env_id, environment, wanted, [state.key])
        del self._failed_filters[id]

    def _filters_of(self, proj_key: str) -> dict[FilterKey, None]:
        """Return the filters through which a project's environments are wanted, in order; a dict is quick to ask."""
        return dict.fromkeys([_UNFILTERED, *(filter.key for filter in self._filters.of(proj_key).values())])

    def _deliver(
        self,
        id: EnvironmentID,
        params: EnvironmentParams | None,
        wanted: Container[FilterKey],
        filter_keys: Iterable[FilterKey],
    ) -> None:
        """Bring what the handler has of an environment, through some filters, in line with what is wanted."""
        delivered = self._delivered.setdefault(id, {})
        for key in filter_keys:
            known = delivered.get(key)
            if params is not None and key in wanted:
                if known is None:
                    self._handler.add_environment(params.with_filter(key))
                elif known != params:
                    self._handler.update_environment(params.with_filter(key))
                delivered[key] = params
            elif known is not None:
                self._handler.delete_environment(id, key)
                del delivered[key]
        if not delivered:
            del self._delivered[id]


class _ByProject(Generic[Id, T]):
    """Items by their id, and once more by project."""

    def __init__(self, project_of: Callable[[T], str]) -> None:
        self.items: dict[Id, T] = {}
        self._projects: dict[str, dict[Id, T]] = {}
        self._project_of = project_of

    def of(self, proj_key: str) -> dict[Id, T]:
        return self._projects.get(proj_key, {})

    def replace(self, id: Id, item: T | None) -> None:
        """Have this item, in the place of the one before it; or none."""
        before = self.items.pop(id, None) if item is None else self.items.get(id)
        if before is not None and (item is None or self._project_of(before) != self._project_of(item)):
            left = self._projects[self._project_of(before)]
            del left[id]
            if not left:
                del self._projects[self._project_of(before)]
        if item is not None:
            self.items[id] = item
            self._projects.setdefault(self._project_of(item), {})[id] = item
