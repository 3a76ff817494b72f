"""
What the peers' users do with an event: the least, or work equal to what the library does for its users.

The least is json.loads and a call with the dict. Equal work: the types and ranges of all fields are checked, versions
and tombstones remembered, what is not newer skipped, deletions found by comparison; each change is a call with a frozen
object that masks its keys, and what the call raises is caught. Still without a second thread.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from .payloads import ID
from .sinks import Sink

Take = Callable[[str, str], None]
"""Takes an event's name and its data."""

Work = Callable[[Sink], Take]

_log = logging.getLogger("benchmarks.peer")
_INT64 = range(-(2**63), 2**63)


def least(sink: Sink) -> Take:
    """Decode the JSON and hand over dicts."""

    def take(event: str, data: str) -> None:
        document = json.loads(data)
        if event == "put":
            for environment in document["data"]["environments"].values():
                sink.added(environment)
            sink.put_ended()
        elif event == "patch":
            sink.changed(document["data"])

    return take


def equal(sink: Sink) -> Take:
    """Do what the library does."""
    return _EqualWork(sink).take


def _masked(key: str) -> str:
    return f"{key[:4]}…{key[-4:]}" if len(key) > 12 else "…"


@dataclass(frozen=True, slots=True)
class Key:
    """An accepted key."""

    value: str
    name: str
    expiration: datetime | None

    def __repr__(self) -> str:
        return f"Key({_masked(self.value)}, {self.name!r}, {self.expiration})"


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment as one would write it down."""

    env_id: str
    env_key: str
    env_name: str
    proj_key: str
    proj_name: str
    sdk_key: str
    mobile_key: str
    expiring_sdk_key: Key | None
    sdk_keys: tuple[Key, ...]
    mobile_keys: tuple[Key, ...]
    ttl: timedelta
    secure_mode: bool

    def __repr__(self) -> str:
        return f"Environment({self.env_id}, {self.proj_name} / {self.env_name}, {_masked(self.sdk_key)})"


class _EqualWork:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._versions: dict[str, int] = {}  # tombstones too
        self._alive: set[str] = set()

    def take(self, event: str, data: str) -> None:
        document = json.loads(data)
        try:
            if event == "put":
                self._put(document["data"]["environments"])
            elif event == "patch":
                kind, _, id = document["path"].rpartition("/")
                if kind == "/environments":
                    self._upsert(id, document["data"])
            elif event == "delete":
                self._delete(document["path"].rpartition("/")[2], document["version"])
        except (KeyError, TypeError, ValueError) as error:
            _log.error("malformed %s: %s", event, error)

    def _put(self, environments: dict[str, Any]) -> None:
        for id, document in environments.items():
            self._upsert(id, document)
        for id in [id for id in self._versions if id not in environments]:
            del self._versions[id]
            if id in self._alive:
                self._alive.remove(id)
                self._call(print, id)
        self._call(self._sink.put_ended)

    def _upsert(self, id: str, document: dict[str, Any]) -> None:
        environment, version = _environment(document)
        if environment.env_id != id:
            _log.warning("%s is not %s", environment.env_id, id)
        elif id not in self._alive:
            if id not in self._versions or self._versions[id] < version:
                self._versions[id] = version
                self._alive.add(id)
                self._call(self._sink.added, environment)
        elif self._versions[id] < version:
            self._versions[id] = version
            self._call(self._sink.changed, environment)

    def _delete(self, id: str, version: int) -> None:
        if id not in self._versions or self._versions[id] < version:
            self._versions[id] = version
            if id in self._alive:
                self._alive.remove(id)
                self._call(print, id)

    def _call(self, method: Callable[..., object], *arguments: object) -> None:
        try:
            method(*arguments)
        except Exception:
            _log.exception("the handler failed")


def _environment(fields: dict[str, Any]) -> tuple[Environment, int]:
    sdk_key = fields["sdkKey"]
    expiring = sdk_key.get("expiring")
    secure_mode = fields.get("secureMode", False)
    if type(secure_mode) is not bool:
        raise TypeError("secureMode")
    environment = Environment(
        _text(fields, ID),
        _text(fields, "envKey"),
        _text(fields, "envName"),
        _text(fields, "projKey"),
        _text(fields, "projName"),
        _text(sdk_key, "value"),
        _text(fields, "mobKey"),
        Key(_text(expiring, "value"), "", _instant(_integer(expiring, "timestamp"))) if expiring else None,
        _keys(fields.get("sdkKeys") or ()),
        _keys(fields.get("mobileKeys") or ()),
        timedelta(minutes=_integer(fields, "defaultTtl")),
        secure_mode,
    )
    return environment, _integer(fields, "version")


def _keys(entries: Iterable[dict[str, Any]]) -> tuple[Key, ...]:
    return tuple(
        Key(
            _text(entry, "value"),
            _text(entry, "key"),
            _instant(_integer(entry, "expiry")) if "expiry" in entry else None,
        )
        for entry in entries
    )


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if type(value) is not str:
        raise TypeError(name)
    return value


def _integer(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name, 0)
    if type(value) is not int or value not in _INT64:
        raise TypeError(name)
    return value
