"""``FilterExpander``: passes each environment on unfiltered, and once more for each payload filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

from ..environments import EnvironmentParams, FilterParams
from ..handler import check_methods
from ..identifiers import EnvironmentID, FilterID, FilterKey
from .base import AttachedStream, ReadyMadeHandler, attach, keep_environment
from .inner_calls import InnerCalls, Unknown, raise_first

Id = TypeVar("Id", EnvironmentID, FilterID)
T = TypeVar("T")

_Variant = tuple[EnvironmentID, FilterKey]
"""An environment, and the filter through which it is seen."""

_UNFILTERED = FilterKey("")


@runtime_checkable
class FilteredHandler(Protocol):
    """
    The application's side of a :class:`FilterExpander`; inheriting from this class is optional.

    An environment is identified by its id and a filter's key, which is ``""`` for the unfiltered environment. The
    methods are called as those of a :class:`MessageHandler`, one at a time and from one thread. Each such pair is added
    before it is updated or deleted, and deleted once. If a method raises, the rule of :class:`MessageHandler` applies
    to that pair alone; the calls for other pairs are made.
    """

    # Each body is more than a docstring, or type checkers would take the method for abstract.

    def add_environment(self, params: EnvironmentParams) -> None:
        """Add an environment, seen through the filter ``params.identifiers.filter_key``."""
        return

    def update_environment(self, params: EnvironmentParams) -> None:
        """Take the new state of an environment; any field except the id and the filter's key may have changed."""
        return

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey) -> None:
        """Delete an environment. After an addition that raised, it may be unknown here; accept that."""
        return

    def received_all_environments(self) -> None:
        """Note that a full configuration has been delivered, filters included."""
        return


_METHODS = [name for name in vars(FilteredHandler) if not name.startswith("_")]


class FilterExpander(ReadyMadeHandler):
    """
    Passes each environment on unfiltered, and also once for each payload filter of its project.

    It is a :class:`MessageHandler` to give to a :class:`StreamManager`, and does what LaunchDarkly's relay does. In a
    project with the filters ``a`` and ``b``, the inner handler gets each environment three times, with the
    ``identifiers.filter_key`` ``""``, ``"a"`` and ``"b"``, in the order in which the filters were added. Filters and
    environments may come in any order. When a filter is deleted, the environments seen through it are deleted too.
    Filters come with protocol version 2 only, which is the manager's default.

    If the inner handler raises, the remaining calls are made, and then the first error is raised, so that the manager
    retries. Only the calls that failed are repeated.

    Not thread-safe: the dispatcher's thread alone calls it.

    Args:
        handler: An object with the four methods of :class:`FilteredHandler`.

    Raises:
        TypeError: The handler lacks a method, or has one that does nothing when it is called; the text names it.
    """

    def __init__(self, handler: FilteredHandler) -> None:
        check_methods(handler, _METHODS, "the four methods of FilteredHandler")
        super().__init__()
        self._handler = handler
        self._calls: InnerCalls[_Variant, EnvironmentParams] = InnerCalls(
            lambda variant, params: handler.add_environment(_seen_through(variant[1], params)),
            lambda variant, params: handler.update_environment(_seen_through(variant[1], params)),
            lambda variant: handler.delete_environment(*variant),
            self._is_stopped,
        )
        self._environments: _ByProject[EnvironmentID, EnvironmentParams] = _ByProject(lambda e: e.identifiers.proj_key)
        self._filters: _ByProject[FilterID, FilterParams] = _ByProject(lambda filter: filter.proj_key)
        # The variants of each environment that the handler has.
        self._states: dict[EnvironmentID, dict[_Variant, EnvironmentParams | Unknown]] = {}
        # The forms that a filter has had since all calls for it succeeded. Environments that were added through an
        # earlier form may still have to be deleted.
        self._unfinished_filters: dict[FilterID, dict[FilterParams, None]] = {}

    def add_environment(self, params: EnvironmentParams) -> None:
        """Pass an environment on, unfiltered and through its project's filters."""
        self._replace_environment(params.env_id, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Pass the new state on. In another project, the environment gets the filters of that project."""
        self._replace_environment(params.env_id, params)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete an environment, unfiltered and through all filters."""
        self._replace_environment(id, None)

    def add_filter(self, params: FilterParams) -> None:
        """Pass every environment of the filter's project on through it."""
        self._replace_filter(params.id, params)

    def delete_filter(self, id: FilterID) -> None:
        """Delete the environments that were passed on through the filter."""
        self._replace_filter(id, None)

    def received_all_environments(self) -> None:
        """Pass this on."""
        errors: list[BaseException] = []
        self._delete_old_items(errors)
        self._pass_on(self._handler.received_all_environments, errors)
        raise_first(errors)

    def environment_refused(self, id: EnvironmentID, reason: str) -> None:
        """Pass this on once, without regard to filters, if the inner handler has this method."""
        errors: list[BaseException] = []
        self._pass_on_refusal(self._handler, id, reason, errors)
        raise_first(errors)

    def _attach_to_stream(self, stream: AttachedStream) -> None:
        super()._attach_to_stream(stream)
        attach(self._handler, stream)

    def _keep_environment(self, id: EnvironmentID) -> None:
        if id in self._old_environments:  # a handler that already has it in this form will not be called
            super()._keep_environment(id)
            keep_environment(self._handler, id)

    def _known_ids(self) -> tuple[set[EnvironmentID], set[FilterID]]:
        return {*self._environments.items, *self._states}, {*self._filters.items, *self._unfinished_filters}

    def _replace_environment(self, id: EnvironmentID, params: EnvironmentParams | None) -> None:
        self._environments.replace(id, params)
        wanted: dict[_Variant, None] = {}
        if params is None:
            self._old_environments.discard(id)
        else:
            self._keep_environment(id)
            wanted = {(id, key): None for key in self._filter_keys(params.identifiers.proj_key)}
        states = self._states.setdefault(id, {})
        errors: list[BaseException] = []
        for variant in dict.fromkeys([*wanted, *states]):
            self._calls.reconcile(states, variant, params if variant in wanted else None, errors)
        if not states:
            del self._states[id]
        raise_first(errors)

    def _replace_filter(self, id: FilterID, params: FilterParams | None) -> None:
        self._old_filters.discard(id)
        forms = self._unfinished_filters.setdefault(id, {})
        forms.update({form: None for form in (self._filters.items.get(id), params) if form is not None})
        self._filters.replace(id, params)
        errors: list[BaseException] = []
        for form in forms:
            wanted = form.key in self._filter_keys(form.proj_key)
            for env_id, environment in list(self._environments.of(form.proj_key).items()):
                states = self._states.setdefault(env_id, {})
                self._calls.reconcile(states, (env_id, form.key), environment if wanted else None, errors)
        if not errors:
            del self._unfinished_filters[id]
        raise_first(errors)

    def _filter_keys(self, proj_key: str) -> dict[FilterKey, None]:
        """Return the keys of a project's filters in order, the unfiltered one first."""
        return dict.fromkeys([_UNFILTERED, *(filter.key for filter in self._filters.of(proj_key).values())])


def _seen_through(key: FilterKey, params: EnvironmentParams) -> EnvironmentParams:
    return params if key == params.identifiers.filter_key else params.with_filter(key)


class _ByProject(Generic[Id, T]):
    """Items by their id, and once more by project."""

    def __init__(self, project_of: Callable[[T], str]) -> None:
        self.items: dict[Id, T] = {}
        self._projects: dict[str, dict[Id, T]] = {}
        self._project_of = project_of

    def of(self, proj_key: str) -> dict[Id, T]:
        """Return a project's items."""
        return self._projects.get(proj_key, {})

    def replace(self, id: Id, item: T | None) -> None:
        """Replace an item, or remove it."""
        before = self.items.pop(id, None) if item is None else self.items.get(id)
        if before is not None and (item is None or self._project_of(before) != self._project_of(item)):
            left = self._projects[self._project_of(before)]
            del left[id]
            if not left:
                del self._projects[self._project_of(before)]
        if item is not None:
            self.items[id] = item
            self._projects.setdefault(self._project_of(item), {})[id] = item
