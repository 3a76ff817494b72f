"""Environments, filters and events in the form of the wire, and back from a configuration file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..identifiers import EnvironmentID, FilterID
from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep

_LINE_END = re.compile(r"\r\n|\r|\n")


class _Rule(NamedTuple):
    holds: Callable[[object], bool]
    text: str


# `type() is int`, because a bool is an int to isinstance.
_STRING = _Rule(lambda value: isinstance(value, str), "must be a string")
_BOOLEAN = _Rule(lambda value: isinstance(value, bool), "must be true or false")
_OBJECT = _Rule(lambda value: isinstance(value, dict), "must be an object")
_INTEGER = _Rule(lambda value: type(value) is int and -(2**63) <= value < 2**63, "must be a whole number of 64 bits")
_TIMESTAMP = _Rule(
    lambda value: type(value) is int and 0 <= value < 2**64, "must be a whole number of milliseconds since 1970"
)

_CONFIGURATION = {"environments": _OBJECT, "filters": _OBJECT}
_ENVIRONMENT = {
    "envId": _STRING,
    "envKey": _STRING,
    "envName": _STRING,
    "mobKey": _STRING,
    "projKey": _STRING,
    "projName": _STRING,
    "sdkKey": _OBJECT,
    "defaultTtl": _INTEGER,
    "secureMode": _BOOLEAN,
    "version": _INTEGER,
}
_SDK_KEY = {"value": _STRING, "expiring": _OBJECT}
_EXPIRING_KEY = {"value": _STRING, "timestamp": _TIMESTAMP}
_FILTER = {"projKey": _STRING, "key": _STRING, "version": _INTEGER}


def environment_json(rep: EnvironmentRep) -> dict[str, Any]:
    """Return an environment as the JSON object of the wire; ``sdkKey.expiring`` is left out if there is no such key."""
    return rep.to_json()


def filter_json(rep: FilterRep) -> dict[str, Any]:
    """Return a filter as the JSON object of the wire, which does not hold its id."""
    return {"projKey": rep.proj_key, "key": rep.filter_key, "version": rep.version}


def configuration_from_json(text: str) -> tuple[list[EnvironmentRep], dict[FilterID, FilterRep]]:
    """
    Read a configuration: what the ``data`` of a ``put`` event holds.

    An environment's ``envId`` may be left out, and so may every ``version``, which is 1 then.

    Raises:
        ValueError: It is not JSON, or breaks a rule. The text names the field and the rule, and shows no value.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as exc:
        # Not its cause: a JSONDecodeError holds the whole text, secrets included.
        raise ValueError(f"not JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})") from None
    except RecursionError:
        raise ValueError("not a configuration: nested too deeply") from None
    fields = _checked("", found, _CONFIGURATION)
    environments = [environment_from_json(id, value) for id, value in fields.get("environments", {}).items()]
    filters = {FilterID(id): filter_from_json(id, value) for id, value in fields.get("filters", {}).items()}
    return environments, filters


def environment_from_json(id: str, value: object) -> EnvironmentRep:
    """
    Read the environment that stands under an id in a configuration.

    Raises:
        ValueError: As :func:`configuration_from_json`.
    """
    where = f"environments.{id}"
    fields = _checked(where, value, _ENVIRONMENT)
    if fields.get("envId", id) != id:
        raise ValueError(f"{where}.envId: must be the id that the environment stands under, or be left out")
    sdk_key = _checked(f"{where}.sdkKey", fields.get("sdkKey", {}), _SDK_KEY)
    expiring = _checked(f"{where}.sdkKey.expiring", sdk_key.get("expiring", {}), _EXPIRING_KEY)
    return EnvironmentRep(
        env_id=EnvironmentID(id),
        env_key=fields.get("envKey", ""),
        env_name=fields.get("envName", ""),
        mob_key=fields.get("mobKey", ""),
        proj_key=fields.get("projKey", ""),
        proj_name=fields.get("projName", ""),
        sdk_key=SDKKeyRep(
            sdk_key.get("value", ""), ExpiringKeyRep(expiring.get("value", ""), expiring.get("timestamp", 0))
        ),
        default_ttl=fields.get("defaultTtl", 0),
        secure_mode=fields.get("secureMode", False),
        version=fields.get("version", 1),
    )


def filter_from_json(id: str, value: object) -> FilterRep:
    """
    Read the filter that stands under an id in a configuration.

    Raises:
        ValueError: As :func:`configuration_from_json`.
    """
    fields = _checked(f"filters.{id}", value, _FILTER)
    return FilterRep(fields.get("projKey", ""), fields.get("key", ""), fields.get("version", 1))


def event_bytes(name: str, data: str) -> bytes:
    """
    Return an event as it goes over the wire, with a ``data:`` line for each line of the data.

    Raises:
        ValueError: The name has a line break in it.
    """
    if _LINE_END.search(name):
        raise ValueError("an event's name must be one line")
    lines = [f"event: {name}", *(f"data: {line}" for line in _LINE_END.split(data)), "", ""]
    return "\n".join(lines).encode("utf-8", "replace")


def put_event(
    environments: Mapping[EnvironmentID, EnvironmentRep], filters: Mapping[FilterID, FilterRep] | None
) -> bytes:
    """Return the ``put`` of a whole configuration; ``None`` for the filters leaves the field out."""
    data: dict[str, Any] = {"environments": {id: environment_json(rep) for id, rep in environments.items()}}
    if filters is not None:
        data["filters"] = {id: filter_json(rep) for id, rep in filters.items()}
    return _json_event("put", {"path": "/", "data": data})


def patch_event(path: str, data: Mapping[str, Any]) -> bytes:
    """Return the ``patch`` that adds or replaces the item at a path."""
    return _json_event("patch", {"path": path, "data": data})


def delete_event(path: str, version: int) -> bytes:
    """Return the ``delete`` of the item at a path."""
    return _json_event("delete", {"path": path, "version": version})


def _json_event(name: str, content: Mapping[str, Any]) -> bytes:
    return event_bytes(name, json.dumps(content, separators=(",", ":")))


def _checked(where: str, value: object, rules: Mapping[str, _Rule]) -> dict[str, Any]:
    """Return an object whose members all keep their rules."""
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the configuration'}: {_OBJECT.text}")
    for name, member in value.items():
        field = f"{where}.{name}" if where else name
        if name not in rules:
            raise ValueError(f"{field}: unknown field; the known ones are {', '.join(rules)}")
        if not rules[name].holds(member):
            raise ValueError(f"{field}: {rules[name].text}")
    return value
