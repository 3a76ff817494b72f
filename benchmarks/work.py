"""
What the peers' users do with an event: the least, or what the library does for its users.

The least is json.loads and a call with the dict. The equal of the library: remember each environment's version, skip
what is not newer, and call with an object; still without checks of types, deletions, or a second thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .sinks import Sink

Take = Callable[[str, str], None]
"""Takes an event's name and its data."""

Work = Callable[[Sink], Take]


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
    """Decode the JSON, compare versions, and hand over objects."""
    versions: dict[str, int] = {}

    def newer(id: str, environment: dict[str, Any]) -> bool:
        version = environment["version"]
        if id in versions and versions[id] >= version:
            return False
        versions[id] = version
        return True

    def take(event: str, data: str) -> None:
        document = json.loads(data)
        if event == "put":
            for id, environment in document["data"]["environments"].items():
                if newer(id, environment):
                    sink.added(_environment(environment))
            sink.put_ended()
        elif event == "patch":
            kind, _, id = document["path"].rpartition("/")
            if kind == "/environments" and newer(id, document["data"]):
                sink.changed(_environment(document["data"]))

    return take


@dataclass(slots=True)
class Environment:
    """An environment as one would write it down."""

    env_id: str
    env_key: str
    env_name: str
    proj_key: str
    proj_name: str
    sdk_key: str
    expiring_sdk_key: dict[str, Any] | None
    mobile_key: str
    ttl: int
    secure_mode: bool


def _environment(document: dict[str, Any]) -> Environment:
    sdk_key = document["sdkKey"]
    return Environment(
        document["envID"],
        document["envKey"],
        document["envName"],
        document["projKey"],
        document["projName"],
        sdk_key["value"],
        sdk_key.get("expiring"),
        document["mobKey"],
        document.get("defaultTtl", 0),
        document.get("secureMode", False),
    )
