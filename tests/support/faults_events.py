"""Events in short form, and what they mean: a second, plain account of the version rules to compare with."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Call = tuple[str, str, str]
"""A callback: its name, the id, and the name of what it brings (``"oak v1"``)."""

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
    return {"envID": id, "version": version, **names, **keys}


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


class Ledger:
    """
    Says which callbacks events imply.

    Args:
        fails: Whether a call fails; then the item's record stays what it was.
    """

    def __init__(self, fails: Callable[[Call], bool] = lambda call: False) -> None:
        self._fails = fails
        self.versions: dict[tuple[str, str], int] = {}
        self.dead: set[tuple[str, str]] = set()

    def calls(self, events: Iterable[Event]) -> list[Call]:
        """Take the events into account and return their callbacks."""
        return [call for event in events for call in self._calls_of(event)]

    def _calls_of(self, event: Event) -> list[Call]:
        if event.name == "put":
            content = event.document["data"]
            return [*self._all("environment", content), *self._all("filter", content), ALL]
        _, kinds, id = event.document["path"].split("/")
        kind = kinds.removesuffix("s")
        if event.name == "patch":
            return self._one(kind, id, event.document["data"])
        return self._gone(kind, id, event.document["version"])

    def _all(self, kind: str, content: Mapping[str, Any]) -> list[Call]:
        listed = content[f"{kind}s"]
        calls = [call for id, item in listed.items() for call in self._one(kind, id, item)]
        for key in [key for key in self.versions if key[0] == kind and key[1] not in listed]:
            version = self.versions.pop(key)
            if key in self.dead:
                self.dead.discard(key)
                continue
            call = (f"delete_{kind}", key[1], "")
            calls.append(call)
            if self._fails(call):
                self.versions[key] = version
        return calls

    def _one(self, kind: str, id: str, item: Mapping[str, Any]) -> list[Call]:
        key, version = (kind, id), item["version"]
        if key in self.versions and version <= self.versions[key]:
            return []
        new = key not in self.versions or key in self.dead
        call = (f"{'add' if new else 'update'}_{kind}", id, item.get("envName", ""))
        silent = not new and kind == "filter"
        if silent or not self._fails(call):
            self.versions[key] = version
            self.dead.discard(key)
        return [] if silent else [call]

    def _gone(self, kind: str, id: str, version: int) -> list[Call]:
        key = (kind, id)
        known = self.versions.get(key)
        if known is not None and version <= known:
            return []
        call = (f"delete_{kind}", id, "")
        silent = known is None or key in self.dead
        if silent or not self._fails(call):
            self.versions[key] = version
            self.dead.add(key)
        return [] if silent else [call]


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


def left(calls: Iterable[Call]) -> dict[str, str]:
    """
    Return what a handler has after the calls: the name of each environment, and each filter with ``""``.

    A call that does not fit what the handler has (a second addition, an update of nothing) is an ``AssertionError``.
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
            assert id in held, f"{id} was deleted, but it was not there"
            del held[id]
    return held
