"""The other side of a filter expander: a handler that holds what it is given, and a manager that calls again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from support.recorder import Recorder

from autoconfig import EnvironmentID, EnvironmentParams, FilterID, FilterKey, FilterParams
from autoconfig.filtering import FilterExpander


class FilteredRecorder(Recorder):
    """
    A ``FilteredHandler`` that insists on legal calls and fails when it is told to; a call that fails changes nothing.

    Attributes:
        held: What it was given and still has, by id and filter key.
        failures: Whether each of the next calls fails; those after them do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], EnvironmentParams] = {}
        self.failures: list[bool] = []

    @property
    def short(self) -> list[str]:
        """All calls as text: ``add e1``, ``add e1/f1``, ``all``."""
        return [" ".join([name.partition("_")[0], _short(argument)]).strip() for name, argument in self.calls]

    def add_environment(self, params: EnvironmentParams) -> None:
        assert _pair(params) not in self.held, "added twice"
        self._record("add_environment", params)
        self.held[_pair(params)] = params

    def update_environment(self, params: EnvironmentParams) -> None:
        assert _pair(params) in self.held, "updated and not there"
        self._record("update_environment", params)
        self.held[_pair(params)] = params

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey) -> None:  # type: ignore[override]
        assert (id, filter_key) in self.held, "deleted and not there"
        self._record("delete_environment", (id, filter_key))
        del self.held[id, filter_key]

    def received_all_environments(self) -> None:
        super()._record("received_all_environments", None)

    def _record(self, name: str, argument: Any) -> None:
        if self.failures and self.failures.pop(0):
            raise ConnectionError(f"refused {name}")
        super()._record(name, argument)


def _pair(params: EnvironmentParams) -> tuple[str, str]:
    return params.env_id, params.identifiers.filter_key


def _short(argument: Any) -> str:
    if argument is None:
        return ""
    id, key = argument if isinstance(argument, tuple) else _pair(argument)
    return f"{id}/{key}" if key else str(id)


class Repeating:
    """
    Calls an expander as a manager does: what fails is called again, unless something newer takes its place.

    Attributes:
        environments: What the calls that returned have told, which is what the manager goes by.
        filters: Likewise.
        overtaken: Whether a change that failed was never called again.
    """

    def __init__(self, expander: FilterExpander) -> None:
        self.environments: dict[str, EnvironmentParams] = {}
        self.filters: dict[str, FilterParams] = {}
        self.overtaken = False
        self._expander = expander
        self._pending: dict[str, EnvironmentParams | FilterParams | None] = {}

    def set_environment(self, params: EnvironmentParams) -> None:
        known = params.env_id in self.environments
        call = self._expander.update_environment if known else self._expander.add_environment
        self._call(call, params, params.env_id, params, self.environments)

    def set_filter(self, params: FilterParams) -> None:
        if params.id in self.filters:  # a new version of it, for which there is no call
            self._overtake(params.id)
        else:
            self._call(self._expander.add_filter, params, params.id, params, self.filters)

    def delete_environment(self, id: str) -> None:
        if id in self.environments:
            self._call(self._expander.delete_environment, EnvironmentID(id), id, None, self.environments)
        else:
            self._overtake(id)

    def delete_filter(self, id: str) -> None:
        if id in self.filters:
            self._call(self._expander.delete_filter, FilterID(id), id, None, self.filters)
        else:
            self._overtake(id)

    def repeat(self, ids: Iterable[str] | None = None) -> None:
        """Call again for those of the ids for which a call has failed; for all by default."""
        for id in list(self._pending) if ids is None else [id for id in ids if id in self._pending]:
            params = self._pending[id]
            if isinstance(params, EnvironmentParams):
                self.set_environment(params)
            elif isinstance(params, FilterParams):
                self.set_filter(params)
            elif id in self.environments:
                self.delete_environment(id)
            else:
                self.delete_filter(id)

    def product(self) -> dict[tuple[str, str], EnvironmentParams]:
        """Return what a handler should have: each environment, unfiltered and for each filter of its project."""
        held: dict[tuple[str, str], EnvironmentParams] = {}
        for params in self.environments.values():
            project = params.identifiers.proj_key
            keys = [FilterKey(""), *(one.key for one in self.filters.values() if one.proj_key == project)]
            held.update({(params.env_id, key): params.with_filter(key) for key in keys})
        return held

    def _overtake(self, id: str) -> None:
        if id in self._pending:
            del self._pending[id]
            self.overtaken = True

    def _call(self, method: Any, argument: Any, id: str, params: Any, table: dict[str, Any]) -> None:
        try:
            method(argument)
        except ConnectionError:
            self._pending[id] = params
            return
        self._pending.pop(id, None)
        if params is None:
            del table[id]
        else:
            table[id] = params
