"""Environments, filters and messages of the tests, as classes and on the wire."""

from __future__ import annotations

import json
from typing import Any

from support.scripted_server import payload

from autoconfig import EnvironmentID, FilterKey, MobileKey, SDKKey
from autoconfig.messages import (
    DeleteMessageData,
    EnvironmentRep,
    FilterRep,
    ItemKind,
    PatchMessageData,
    PutContent,
    SDKKeyRep,
)


def environment(id: str, version: int = 1) -> EnvironmentRep:
    """Return an environment whose name tells the version."""
    return EnvironmentRep(
        env_id=EnvironmentID(id),
        env_name=f"{id} v{version}",
        mob_key=MobileKey(f"mob-{id}"),
        sdk_key=SDKKeyRep(SDKKey(f"sdk-{id}")),
        version=version,
    )


def payload_filter(id: str, version: int = 1) -> FilterRep:
    """Return a filter whose key tells the version."""
    return FilterRep("shop", FilterKey(f"{id} v{version}"), version)


def put(
    environments: dict[str, int] | None = None,
    filters: dict[str, int] | None = None,
    *,
    refused: dict[str, str] | None = None,
    foreign: dict[str, str] | None = None,
) -> PutContent:
    """Return a put of these ids in these versions."""
    return PutContent(
        {id: environment(id, version) for id, version in (environments or {}).items()},
        {id: payload_filter(id, version) for id, version in (filters or {}).items()},
        refused or {},
        foreign or {},
    )


def patch(id: str, version: int) -> PatchMessageData:
    """Return a patch of an environment."""
    return PatchMessageData(id, environment(id, version))


def patch_filter(id: str, version: int) -> PatchMessageData:
    """Return a patch of a filter."""
    return PatchMessageData(id, payload_filter(id, version))


def delete(id: str, version: int) -> DeleteMessageData:
    """Return the deletion of an environment."""
    return DeleteMessageData(ItemKind.ENVIRONMENT, id, version)


def delete_filter(id: str, version: int) -> DeleteMessageData:
    """Return the deletion of a filter."""
    return DeleteMessageData(ItemKind.FILTER, id, version)


PUT = b'event: put\ndata: {"path":"/","data":{}}\n\n'
MALFORMED = b'event: patch\ndata: {"path":"/environments/e9","data":{"version":"1"}}\n\n'
RECONNECT = b"event: reconnect\ndata\n\n"


def compact(document: object) -> str:
    """Return JSON as the service writes it."""
    return json.dumps(document, separators=(",", ":"))


def patch_bytes(id: str) -> bytes:
    """Return the event that is decoded to ``patch(id, 1)``."""
    return payload(patch_item(id), "")


def environment_json(id: str, version: int) -> dict[str, Any]:
    """Return :func:`environment` as it is on the wire."""
    names = {"envId": id, "envName": f"{id} v{version}"}
    return {**names, "mobKey": f"mob-{id}", "sdkKey": {"value": f"sdk-{id}"}, "version": version}


def service_environment(id: str, version: int = 1, **changed: Any) -> dict[str, Any]:
    """Return an environment as the service of 2026 sends it: with both lists, names in its order."""
    document = {
        "envId": id,
        "envKey": f"key-{id}",
        "envName": f"{id} v{version}",
        "mobKey": f"mob-{id}",
        "projName": "Shop",
        "projKey": "shop",
        "sdkKey": {"value": f"sdk-{id}"},
        "defaultTtl": 0,
        "secureMode": False,
        "version": version,
        "sdkKeys": [{"key": "default", "value": f"sdk-{id}"}],
        "mobileKeys": [{"key": "default", "value": f"mob-{id}"}],
    }
    return {**document, **changed}


def event_item(event: str, document: object) -> dict[str, Any]:
    """Return an event of a JSON document as an item of a scripted server."""
    return {"event": event, "data": compact(document)}


def put_of(*environments: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    """Return a put of such environments; by keyword, those that are listed under another id than their own."""
    listed = {**{one["envId"]: one for one in environments}, **others}
    return event_item("put", {"path": "/", "data": {"environments": listed, "filters": {}}})


def patch_of(environment: dict[str, Any]) -> dict[str, Any]:
    """Return a patch of such an environment."""
    return event_item("patch", {"path": f"/environments/{environment['envId']}", "data": environment})


def put_item(*ids: str, version: int = 1) -> dict[str, Any]:
    """Return a put of environments as an item of a scripted server."""
    return put_of(*(environment_json(id, version) for id in ids))


def patch_item(id: str, version: int = 1) -> dict[str, Any]:
    """Return a patch of an environment as an item of a scripted server."""
    return patch_of(environment_json(id, version))
