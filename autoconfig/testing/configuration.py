"""What the emulator serves: environments and filters, their events and JSON, and versions that only grow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from ..environments import KeyRep
from ..identifiers import EnvironmentID, FilterID, SDKKey
from ..messages import (
    DELETE_EVENT,
    PATCH_EVENT,
    PUT_EVENT,
    EnvironmentRep,
    ExpiringKeyRep,
    FilterRep,
    SDKKeyRep,
)
from ..validation import check_instance
from .exchange import event_bytes

Id = TypeVar("Id", EnvironmentID, FilterID)
Rep = TypeVar("Rep", EnvironmentRep, FilterRep)

Filters = Mapping[FilterID, FilterRep] | Mapping[str, FilterRep]

_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Items(Generic[Id, Rep]):
    """
    Environments or filters by id. The version of an item only grows, also when it is deleted and added again.

    Args:
        path: What stands before an id in the path of a message.

    Attributes:
        reps: The items that exist.
    """

    def __init__(self, path: str) -> None:
        self.reps: dict[Id, Rep] = {}
        self._path = path
        self._texts: dict[Id, str] = {}  # the JSON of each item, so that a put is quickly made for many clients
        self._deleted: dict[Id, int] = {}

    def set(self, id: Id, rep: Rep) -> Rep:
        """Add or replace an item; return it with the version that it has now."""
        known = self.reps[id].version if id in self.reps else self._deleted.get(id)
        if known is not None and rep.version <= known:
            rep = replace(rep, version=known + 1)
        self._texts[id] = _compact(rep.to_json())  # first, so that an item that JSON cannot hold changes nothing
        self.reps[id] = rep
        self._deleted.pop(id, None)
        return rep

    def delete(self, id: Id) -> bytes:
        """Delete an item; return the event that says so. An unknown id is a ``KeyError``."""
        version = self.reps.pop(id).version + 1
        del self._texts[id]
        self._deleted[id] = version
        return event_bytes(DELETE_EVENT, _compact({"path": self._path + id, "version": version}))

    def replace(self, reps: Mapping[Id, Rep]) -> None:
        """Replace all items by the given ones; one that is as before keeps its version."""
        for id in self.reps.keys() - reps.keys():
            self.delete(id)
        for id, rep in reps.items():
            known = self.reps.get(id)
            if known is None or rep.version > known.version or replace(rep, version=known.version) != known:
                self.set(id, rep)

    def patch(self, id: Id) -> bytes:
        """Return the event that says what an item is now."""
        return event_bytes(PATCH_EVENT, f'{{"path":{_compact(self._path + id)},"data":{self._texts[id]}}}')

    def members(self) -> str:
        """Return all items as a JSON object."""
        return "{" + ",".join(f"{_compact(id)}:{text}" for id, text in self._texts.items()) + "}"


class Configuration:
    """
    The environments and filters of an auto-configuration profile. Not thread-safe.

    Attributes:
        environments: The environments.
        filters: The payload filters.
    """

    def __init__(self, environments: Iterable[EnvironmentRep], filters: Filters | None) -> None:
        self.environments: Items[EnvironmentID, EnvironmentRep] = Items("/environments/")
        self.filters: Items[FilterID, FilterRep] = Items("/filters/")
        self.replace(environments, filters)

    def replace(self, environments: Iterable[EnvironmentRep], filters: Filters | None) -> None:
        """Replace everything by what is given."""
        new_environments = {rep.env_id: rep for rep in map(_readable_environment, environments)}
        new_filters = {FilterID(id): _readable_filter(id, rep) for id, rep in (filters or {}).items()}
        self.environments.replace(new_environments)
        self.filters.replace(new_filters)

    def set_environment(self, rep: EnvironmentRep) -> EnvironmentRep:
        """Add or replace an environment; return it with the version that it has now."""
        return self.environments.set(_readable_environment(rep).env_id, rep)

    def set_filter(self, id: FilterID, rep: FilterRep) -> FilterRep:
        """Add or replace a filter; return it with the version that it has now."""
        return self.filters.set(id, _readable_filter(id, rep))

    def put_event(self, with_filters: bool) -> bytes:
        """Return the ``put`` of everything. Clients of protocol version 1 get no filters."""
        filters = f',"filters":{self.filters.members()}' if with_filters else ""
        data = f'{{"environments":{self.environments.members()}{filters}}}'
        return event_bytes(PUT_EVENT, f'{{"path":"/","data":{data}}}')


def rotated(rep: EnvironmentRep, new_key: SDKKey, expiry: int) -> EnvironmentRep:
    """Return an environment with a new SDK key. The old one expires at this time, in milliseconds since 1970."""
    old_key = rep.sdk_key.value
    sdk_keys = rep.sdk_keys
    if sdk_keys:
        name = next((key.name for key in sdk_keys if key.value == old_key), "")
        others = (replace(key, expiry=expiry) if key.value == old_key else key for key in sdk_keys)
        sdk_keys = KeyRep(name, new_key), *(key for key in others if key.value != new_key)
    expiring = ExpiringKeyRep(old_key, expiry) if old_key else None
    return replace(rep, sdk_key=SDKKeyRep(new_key, expiring), sdk_keys=sdk_keys)


def configuration_from_json(
    source: str | Mapping[str, Any],
) -> tuple[list[EnvironmentRep], dict[FilterID, FilterRep]]:
    """
    Return the environments and filters of a configuration: the first two arguments of :class:`Emulator`.

    A configuration is ``{"environments": {ID: …}, "filters": {ID: …}}``, which ``autoconfig snapshot --json --reveal``
    prints, or the data of a ``put``, ``{"path": "/", "data": …}``. An environment's ``envId`` may be left out.
    Environments whose keys contradict each other are returned too: the emulator serves them, and clients refuse them.

    Args:
        source: The configuration, as text or decoded.

    Raises:
        ValueError: It is not JSON, or not a configuration. The text names the field and the rule, and shows no value.
    """
    found = _decoded(source) if isinstance(source, str) else source
    if isinstance(found, Mapping) and "path" in found:
        found = found.get("data")
    content = _object("the configuration", found)
    if content and not content.keys() & {"environments", "filters"}:
        raise ValueError("the configuration has neither environments nor filters")
    environments = _object("environments", content.get("environments", {}))
    filters = _object("filters", content.get("filters", {}))
    return (
        [_environment(id, value) for id, value in environments.items()],
        {FilterID(id): _read(f"filters.{id}", FilterRep.from_json, value) for id, value in filters.items()},
    )


def _readable_environment(rep: EnvironmentRep) -> EnvironmentRep:
    """Return an environment that clients can read; a field of the wrong type is a ``ValueError`` that names it."""
    document = check_instance("environment", rep, EnvironmentRep).to_json()
    _read(f"environments.{rep.env_id}", EnvironmentRep.from_json, document)
    return rep


def _readable_filter(id: str, rep: FilterRep) -> FilterRep:
    _read(f"filters.{id}", FilterRep.from_json, check_instance("filter", rep, FilterRep).to_json())
    return rep


def _environment(id: str, value: object) -> EnvironmentRep:
    where = f"environments.{id}"
    rep = _read(where, EnvironmentRep.from_json, value)
    if rep.env_id not in (id, ""):
        raise ValueError(f"{where}.envId must be the id that the environment is listed under, or be left out")
    return replace(rep, env_id=EnvironmentID(id))


def _read(where: str, from_json: Callable[[object], Rep], value: object) -> Rep:
    document = _object(where, value)
    try:
        return from_json(document)
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{where}.{reason}")


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        # Not its cause: a JSONDecodeError holds the whole text, secrets included.
        raise ValueError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise ValueError("not a configuration: nested too deeply") from None


def _object(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object")
    return value
