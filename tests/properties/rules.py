"""What the version rules of the protocol say that a handler must have: written again, without the library's code."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from autoconfig import EnvironmentParams, FilterID, FilterParams
from autoconfig.messages import (
    DeleteMessageData,
    EnvironmentRep,
    FilterRep,
    ItemKind,
    Message,
    PatchMessageData,
    PutContent,
)


class Table:
    """The highest version seen of each id, and what it has been since it was added, newest last; nothing if deleted."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, list[Any]]] = {}
        self._items: dict[str, Any] = {}

    def upsert(self, id: str, item: Any, params: Any) -> None:
        version = item.version
        known, before = self.seen.get(id, (version - 1, []))
        if version > known:
            self.seen[id] = (version, [*before, params])
            self._items[id] = item

    def delete(self, id: str, version: int) -> None:
        if id not in self.seen or version > self.seen[id][0]:
            self.seen[id] = (version, [])

    def forget_others(self, listed: Container[str]) -> None:
        self.seen = {id: record for id, record in self.seen.items() if id in listed}

    def newest(self) -> dict[str, Any]:
        """Return what exists as the wire has it, by id."""
        return {id: self._items[id] for id in self.present}

    @property
    def present(self) -> dict[str, list[Any]]:
        """What exists, by id."""
        return {id: states for id, (_, states) in self.seen.items() if states}


class Rules:
    """
    Takes messages and says what there is.

    Attributes:
        unusable: The environments that the last put listed in a form that cannot be used, if no message for them came
            since. They may not be deleted.
    """

    def __init__(self) -> None:
        self.unusable: set[str] = set()
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
            case PutContent():
                self.unusable = {*message.refused, *message.foreign}
                self._upsert_all(message.environments)
                self._environments.forget_others({*message.environments, *self.unusable})
                self._upsert_all(message.filters)
                self._filters.forget_others(message.filters)
            case PatchMessageData(id=id, data=item, refused=None):
                self._upsert_all({id: item})
            case DeleteMessageData(kind=ItemKind.ENVIRONMENT, id=id, version=version):
                self.unusable.discard(id)
                self._environments.delete(id, version)
            case DeleteMessageData(id=id, version=version):
                self._filters.delete(id, version)

    def everything(self) -> PutContent:
        """Return a put of all that there is, in the versions that are known."""
        return PutContent(self._environments.newest(), self._filters.newest())

    def _upsert_all(self, items: Mapping[str, EnvironmentRep | FilterRep]) -> None:
        for id, item in items.items():
            if isinstance(item, FilterRep):
                self._filters.upsert(id, item, item.to_params(FilterID(id)))
            elif item.env_id == id:
                self.unusable.discard(id)
                self._environments.upsert(id, item, item.to_params())
