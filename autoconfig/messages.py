"""The protocol's messages: names of events, and their data as classes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .environments import EnvironmentRep, FilterRep
from .identifiers import EnvironmentID, FilterID

PUT_EVENT = "put"
"""Name of the event that brings everything."""

PATCH_EVENT = "patch"
"""Name of the event that brings one item, new or changed."""

DELETE_EVENT = "delete"
"""Name of the event that takes one item away."""

RECONNECT_EVENT = "reconnect"
"""Name of the event that asks for a new connection. Its data is not looked at."""

PUT_PATH = "/"
"""The only path of a put that counts."""

_ENVIRONMENTS = "/environments"
_FILTERS = "/filters"


@attrs.frozen(weakref_slot=False)
class PutContent:
    """
    All items, by id.

    Attributes:
        environments: The environments. An entry whose ``env_id`` is not its key is not applied, but counts as listed.
        filters: The payload filters.
        flawed: Why environments that contradict themselves are not among the others. What is known of them stays.
    """

    environments: Mapping[EnvironmentID, EnvironmentRep] = attrs.field(factory=dict)
    filters: Mapping[FilterID, FilterRep] = attrs.field(factory=dict)
    flawed: Mapping[EnvironmentID, str] = attrs.field(factory=dict)


@attrs.frozen(weakref_slot=False)
class PutMessageData:
    """
    A put: the full configuration.

    Attributes:
        path: ``"/"``; a put of any other path is ignored.
        data: All items.
    """

    path: str = ""
    data: PutContent = attrs.field(factory=PutContent)


@attrs.frozen(weakref_slot=False)
class PatchMessageData:
    """
    A patch: one item, new or changed.

    Attributes:
        path: ``"/environments/ID"`` or ``"/filters/ID"``.
        data: The item; ``None`` if the path is of another kind, which is ignored.
    """

    path: str = ""
    data: EnvironmentRep | FilterRep | None = None


@attrs.frozen(weakref_slot=False)
class DeleteMessageData:
    """
    A deletion of one item.

    Attributes:
        path: ``"/environments/ID"`` or ``"/filters/ID"``; any other is ignored.
        version: The version of the deletion.
    """

    path: str = ""
    version: int = 0


Message = PutMessageData | PatchMessageData | DeleteMessageData

Batch = list[Message]
"""What one read of the stream brought: one item of the queue between the threads. An empty one is the last."""


def environment_id(path: str) -> EnvironmentID | None:
    """Return the id if the path is one of an environment: split at the last slash, neither cleaned nor unescaped."""
    kind, slash, id = path.rpartition("/")
    return EnvironmentID(id) if slash and kind == _ENVIRONMENTS else None


def filter_id(path: str) -> FilterID | None:
    """Return the id if the path is one of a filter."""
    kind, slash, id = path.rpartition("/")
    return FilterID(id) if slash and kind == _FILTERS else None
