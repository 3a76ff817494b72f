"""What the version rules of the protocol say that a handler must have: written again, without the library's code."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from autoconfig import (
    DeleteMessageData,
    EnvironmentParams,
    EnvironmentRep,
    FilterID,
    FilterParams,
    FilterRep,
    PatchMessageData,
    PutMessageData,
)
from autoconfig.messages import Message


class Table:
    """The highest version seen of each id, and what it has been since it was added, newest last; nothing if deleted."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, list[Any]]] = {}

    def upsert(self, id: str, version: int, params: Any) -> None:
        known, before = self.seen.get(id, (version - 1, []))
        if version > known:
            self.seen[id] = (version, [*before, params])

    def delete(self, id: str, version: int) -> None:
        if id not in self.seen or version > self.seen[id][0]:
            self.seen[id] = (version, [])

    def forget_others(self, listed: Container[str]) -> None:
        self.seen = {id: record for id, record in self.seen.items() if id in listed}

    @property
    def present(self) -> dict[str, list[Any]]:
        """What exists, by id."""
        return {id: states for id, (_, states) in self.seen.items() if states}


class Rules:
    """Takes messages and says what there is."""

    def __init__(self) -> None:
        self._environments = Table()
        self._filters = Table()

    @property
    def environments(self) -> dict[str, EnvironmentParams]:
        """The environments that a handler must have."""
        return {id: states[-1] for id, states in self._environments.present.items()}

    @property
    def filters(self) -> dict[str, list[FilterParams]]:
        """
        The filters that a handler must have, and for each what it has been since it was added.

        A filter's update makes no call. So a handler has what the filter was when it was added, or in a later version
        if the first calls failed.
        """
        return self._filters.present

    def take(self, message: Message) -> None:
        """Take note of a message."""
        match message:
            case PutMessageData(path="/", data=content):
                self._upsert_all(content.environments)
                self._environments.forget_others({*content.environments, *content.flawed})
                self._upsert_all(content.filters)
                self._filters.forget_others(content.filters)
            case PatchMessageData(path=path, data=item):
                kind, _, id = path.rpartition("/")
                if kind in ("/environments", "/filters"):
                    self._upsert_all({id: item})
            case DeleteMessageData(path=path, version=version):
                kind, _, id = path.rpartition("/")
                if kind == "/environments":
                    self._environments.delete(id, version)
                elif kind == "/filters":
                    self._filters.delete(id, version)

    def _upsert_all(self, items: Mapping[Any, EnvironmentRep | FilterRep | None]) -> None:
        for id, item in items.items():
            if isinstance(item, FilterRep):
                self._filters.upsert(id, item.version, item.to_params(FilterID(id)))
            elif isinstance(item, EnvironmentRep) and item.env_id == id:
                self._environments.upsert(id, item.version, item.to_params())
