"""Handlers that half-do their work before they raise, a check of the rule for them, and a manager that keeps it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from support.dispatching import ALLOWED, HALF_DONE, Outcome

from autoconfig import EnvironmentID, EnvironmentParams, FilterID, FilterKey, FilterParams, MessageHandler


class Calls:
    """
    Does what calls say, checks that each may be made after those before it, and fails when it is told to.

    Attributes:
        made: All calls: the method, the item's key, and what it was given.
        held: What the calls have left, by the item's key.
        outcomes: What happens in the next calls; those after them succeed.
        newest: The newest name of each environment. An older one must not be handed on.
    """

    def __init__(self) -> None:
        self.made: list[tuple[str, Hashable, object]] = []
        self.held: dict[Hashable, object] = {}
        self.outcomes: list[Outcome] = []
        self.newest: dict[str, str] = {}
        self._last: dict[Hashable, tuple[str, bool]] = {}

    @property
    def short(self) -> list[str]:
        """All calls as text: ``add e1``, ``delete e1/a``."""
        keys = (("/".join(filter(None, key)) if isinstance(key, tuple) else key) for _, key, _ in self.made)
        return [f"{call[0]} {key}" for call, key in zip(self.made, keys, strict=True)]

    def make(self, method: str, key: Hashable, item: object = None) -> None:
        """Do what a call says, or some of it."""
        self._check(method, key, item)
        outcome: Outcome = self.outcomes.pop(0) if self.outcomes else "succeed"
        self.made.append((method, key, item))
        self._last[key] = method, outcome == "succeed"
        if outcome == "fail half-way":
            self.held[key] = HALF_DONE
        elif outcome != "fail at once":
            self.held.pop(key, None)
            if method != "delete":
                self.held[key] = item
        if outcome != "succeed":
            raise ConnectionError(f"refused: {method} {key!r}")

    def _check(self, method: str, key: Hashable, item: object) -> None:
        last = self._last.get(key, ("delete", True))
        assert method in ALLOWED[last], f"{method} {key!r} after {last}"
        if last[1] and method == "update":
            assert item != self.held[key], f"{key!r} was up to date already"
        if isinstance(item, EnvironmentParams) and item.env_id in self.newest:
            assert item.identifiers.env_name == self.newest[item.env_id], f"{key!r} is out of date"


class HalfDoing(MessageHandler):
    """A handler behind another one; ``calls`` has what it was told."""

    def __init__(self) -> None:
        self.calls = Calls()

    def add_environment(self, params: EnvironmentParams) -> None:
        self.calls.make("add", params.env_id, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        self.calls.make("update", params.env_id, params)

    def delete_environment(self, id: EnvironmentID) -> None:
        self.calls.make("delete", id)

    def add_filter(self, params: FilterParams) -> None:
        self.calls.make("add", params.id, params)

    def delete_filter(self, id: FilterID) -> None:
        self.calls.make("delete", id)


class HalfDoingFiltered:
    """A ``FilteredHandler`` like it."""

    def __init__(self) -> None:
        self.calls = Calls()

    def add_environment(self, params: EnvironmentParams) -> None:
        self.calls.make("add", (params.env_id, params.identifiers.filter_key), params)

    def update_environment(self, params: EnvironmentParams) -> None:
        self.calls.make("update", (params.env_id, params.identifiers.filter_key), params)

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey) -> None:
        self.calls.make("delete", (id, filter_key))

    def received_all_environments(self) -> None:
        return


class ModelManager:
    """
    Calls a handler by the rule that a manager keeps.

    Attributes:
        wanted: The service's environments and filters.
    """

    def __init__(self, handler: MessageHandler) -> None:
        self.wanted: dict[str, EnvironmentParams | FilterParams] = {}
        self._handler = handler
        self._has: dict[str, Any] = {}  # what the handler has; "add", "update" or "delete" if that call has failed

    def set(self, item: EnvironmentParams | FilterParams) -> None:
        """Add or change an item; there is no call for a changed filter."""
        id = item.env_id if isinstance(item, EnvironmentParams) else item.id
        if isinstance(item, FilterParams) and isinstance(self._has.get(id), FilterParams):
            return
        self.wanted[id] = item
        self._bring(id)

    def delete(self, id: str) -> None:
        """Delete an item, if there is one."""
        self.wanted.pop(id, None)
        self._bring(id)

    def repeat(self, ids: Iterable[str]) -> None:
        """Make the calls again that have failed for these items."""
        for id in ids:
            if isinstance(self._has.get(id), str):
                self._bring(id)

    def _bring(self, id: str) -> None:
        item, has = self.wanted.get(id), self._has.get(id)
        if has == "delete" or (item is None and has is not None):
            if not self._call("delete", id, id, "filter" if id.startswith("f") else "environment"):
                return
            del self._has[id]
            has = None
        if item is None:
            return
        method = "add" if has in (None, "add") else "update"
        if self._call(method, id, item, "filter" if isinstance(item, FilterParams) else "environment"):
            self._has[id] = item

    def _call(self, method: str, id: str, argument: object, kind: str) -> bool:
        try:
            getattr(self._handler, f"{method}_{kind}")(argument)
        except ConnectionError:
            self._has[id] = method
            return False
        return True


def seen_through_filters(wanted: Iterable[EnvironmentParams | FilterParams]) -> dict[Hashable, object]:
    """Return what a filtered handler should have: each environment, unfiltered and for each filter of its project."""
    items = list(wanted)
    environments = [item for item in items if isinstance(item, EnvironmentParams)]
    filters = [item for item in items if isinstance(item, FilterParams)]
    held: dict[Hashable, object] = {}
    for one in environments:
        keys = [f.key for f in filters if f.proj_key == one.identifiers.proj_key]
        held.update({(one.env_id, key): one.with_filter(key) for key in [FilterKey(""), *keys]})
    return held
