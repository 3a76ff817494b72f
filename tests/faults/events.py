"""Events in short form, and what they mean: a second, plain account of the version rules to compare with."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

Call = tuple[str, str, str]
"""A callback: its name, the id, and the name of what it brings (``"oak v1"``)."""

Key = tuple[str, str]
"""An item: its kind and its id."""

ALL: Call = ("received_all_environments", "", "")


class Event(NamedTuple):
    """An event of the protocol: its name and its data as JSON values."""

    name: str
    document: Any

    @property
    def wire(self) -> bytes:
        """Return the bytes of a canonical event."""
        return f"event: {self.name}\ndata: {json.dumps(self.document)}\n\n".encode()


def environment(id: str, version: int) -> dict[str, Any]:
    """Return an environment whose name says its version."""
    keys = {"mobKey": f"mob-{id}", "sdkKey": {"value": f"sdk-{id}"}}
    names = {"envKey": f"key-{id}", "envName": f"{id} v{version}", "projKey": "quay", "projName": "Quay"}
    return {"envId": id, "version": version, **names, **keys}


def put(environments: Mapping[str, int] = {}, filters: Mapping[str, int] = {}) -> Event:
    """Return a put of ids and their versions."""
    content = {
        "environments": {id: environment(id, version) for id, version in environments.items()},
        "filters": {id: {"projKey": "quay", "key": f"key-{id}", "version": n} for id, n in filters.items()},
    }
    return Event("put", {"path": "/", "data": content})


def patch(id: str, version: int) -> Event:
    """Return a patch of an environment."""
    return Event("patch", {"path": f"/environments/{id}", "data": environment(id, version)})


def delete(id: str, version: int, kind: str = "environments") -> Event:
    """Return the deletion of an environment, or of a filter."""
    return Event("delete", {"path": f"/{kind}/{id}", "version": version})


SMALL = put({"oak": 1, "ash": 1}, {"f1": 1})
"""What a faulty connection brings before its fault, where it brings something."""

HEALTHY = put({"oak": 9, "well": 1}, {"f9": 1})
"""What a healthy connection brings; ``well`` and ``f9`` are nowhere else."""


class ExpectedCalls:
    """
    Says which callbacks events imply, without attempts in between: only messages and puts bring a failed call again.

    Args:
        fails: Whether a call fails.
    """

    def __init__(self, fails: Callable[[Call], bool] = lambda call: False) -> None:
        self._fails = fails
        self._made: list[Call] = []
        self.versions: dict[Key, int] = {}
        self.dead: set[Key] = set()
        # What failed last for an item, and what is wanted: the name of what is newest, or None if the item is gone.
        self.failed: dict[Key, tuple[str, str | None]] = {}

    def calls(self, events: Iterable[Event]) -> list[Call]:
        """Take the events into account and return their callbacks."""
        self._made = []
        for event in events:
            if event.name == "put":
                for kind in "environment", "filter":
                    self._all(kind, event.document["data"][f"{kind}s"])
                self._call(ALL)
            else:
                _, kinds, id = event.document["path"].split("/")
                self._message((kinds.removesuffix("s"), id), event.document)
        return self._made

    def _all(self, kind: str, listed: Mapping[str, Any]) -> None:
        waiting = [key for key in self.failed if key[0] == kind]
        before = len(self._made)
        for id, item in listed.items():
            self._upsert((kind, id), item)
        for key in [key for key in self.versions if key[0] == kind and key[1] not in listed]:
            del self.versions[key]
            if key in self.dead:
                self.dead.discard(key)
            else:
                self._deliver(key, "delete", None)
        tried = {call[1] for call in self._made[before:]}
        for key in waiting:
            if key[1] not in tried:
                self._attempt(key)

    def _message(self, key: Key, document: Mapping[str, Any]) -> None:
        before = len(self._made)
        if "data" in document:
            self._upsert(key, document["data"])
        elif document["version"] > self.versions.get(key, -1):
            known = key in self.versions and key not in self.dead
            self.versions[key] = document["version"]
            self.dead.add(key)
            if known:
                self._deliver(key, "delete", None)
        if len(self._made) == before and key in self.failed:
            self._attempt(key)

    def _upsert(self, key: Key, item: Mapping[str, Any]) -> None:
        if item["version"] <= self.versions.get(key, -1):
            return
        new = key not in self.versions or key in self.dead
        self.versions[key] = item["version"]
        self.dead.discard(key)
        if new or key[0] == "environment" or key in self.failed:
            self._deliver(key, "add" if new else "update", item.get("envName", ""))

    def _deliver(self, key: Key, method: str, wanted: str | None) -> None:
        if key in self.failed:
            self.failed[key] = self.failed[key][0], wanted
            self._attempt(key)
        elif self._call((f"{method}_{key[0]}", key[1], wanted or "")):
            self.failed[key] = method, wanted

    def _attempt(self, key: Key) -> None:
        """Make the call that the rule demands after the one that failed."""
        method, wanted = self.failed.pop(key)
        if wanted is None or method == "delete":
            if self._call((f"delete_{key[0]}", key[1], "")):
                self.failed[key] = "delete", wanted
                return
            method = "add"
        if wanted is not None and self._call((f"{method}_{key[0]}", key[1], wanted)):
            self.failed[key] = method, wanted

    def _call(self, call: Call) -> bool:
        """Note a call, and return whether it fails."""
        self._made.append(call)
        return self._fails(call)


def canonical(calls: Iterable[Call]) -> list[Call]:
    """Return the calls with neighbours of one name sorted, because within a put the order of ids is not fixed."""
    runs = itertools.groupby(calls, key=lambda call: call[0])
    return [call for _, run in runs for call in sorted(run)]


def short(name: str, argument: Any) -> Call:
    """Return a recorded callback in short form."""
    if argument is None:
        return name, "", ""
    if isinstance(argument, str):
        return name, argument, ""
    if name == "add_filter":
        return name, argument.id, ""
    return name, argument.env_id, argument.identifiers.env_name


def left(calls: Iterable[Call], failed_additions: Collection[str] = ()) -> dict[str, str]:
    """
    Return what a handler has after the calls: the name of each environment, and each filter with ``""``.

    A call that does not fit what the handler has (a second addition, an update of nothing) is an ``AssertionError``.
    What could not be added may be deleted.
    """
    held: dict[str, str] = {}
    for name, id, value in calls:
        if name.startswith("add"):
            assert id not in held, f"{id} was added twice"
            held[id] = value
        elif name.startswith("update"):
            assert id in held, f"{id} was updated before it was added"
            held[id] = value
        elif name.startswith("delete"):
            assert id in held or id in failed_additions, f"{id} was deleted, but it was not there"
            held.pop(id, None)
    return held
