"""Environments, filters and messages of the tests, as classes and on the wire."""

from __future__ import annotations

import json
from typing import Any

from support.scripted_server import payload

from autoconfig import (
    DeleteMessageData,
    EnvironmentID,
    EnvironmentRep,
    FilterID,
    FilterKey,
    FilterRep,
    MobileKey,
    PatchMessageData,
    PutContent,
    PutMessageData,
    SDKKey,
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


def put(environments: dict[str, int] | None = None, filters: dict[str, int] | None = None) -> PutMessageData:
    """Return a put of these ids in these versions."""
    return PutMessageData(
        "/",
        PutContent(
            {EnvironmentID(id): environment(id, version) for id, version in (environments or {}).items()},
            {FilterID(id): payload_filter(id, version) for id, version in (filters or {}).items()},
        ),
    )


def patch(id: str, version: int) -> PatchMessageData:
    """Return a patch of an environment."""
    return PatchMessageData(f"/environments/{id}", environment(id, version))


def patch_filter(id: str, version: int) -> PatchMessageData:
    """Return a patch of a filter."""
    return PatchMessageData(f"/filters/{id}", payload_filter(id, version))


def delete(id: str, version: int) -> DeleteMessageData:
    """Return the deletion of an environment."""
    return DeleteMessageData(f"/environments/{id}", version)


def delete_filter(id: str, version: int) -> DeleteMessageData:
    """Return the deletion of a filter."""
    return DeleteMessageData(f"/filters/{id}", version)


PUT = b'event: put\ndata: {"path": "/", "data": {}}\n\n'
MALFORMED = b'event: patch\ndata: {"path": "/environments/e9", "data": {"version": "1"}}\n\n'
RECONNECT = b"event: reconnect\ndata\n\n"


def patch_bytes(id: str) -> bytes:
    """Return the event that is decoded to ``patch(id, 1)``."""
    return payload(patch_item(id), "")


def environment_json(id: str, version: int) -> dict[str, Any]:
    """Return :func:`environment` as it is on the wire."""
    names = {"envID": id, "envName": f"{id} v{version}"}
    return {**names, "mobKey": f"mob-{id}", "sdkKey": {"value": f"sdk-{id}"}, "version": version}


def put_item(*ids: str, version: int = 1) -> dict[str, Any]:
    """Return a put of environments as an item of a scripted server."""
    environments = {id: environment_json(id, version) for id in ids}
    return {"event": "put", "data": json.dumps({"path": "/", "data": {"environments": environments}})}


def patch_item(id: str, version: int = 1) -> dict[str, Any]:
    """Return a patch of an environment as an item of a scripted server."""
    return {
        "event": "patch",
        "data": json.dumps({"path": f"/environments/{id}", "data": environment_json(id, version)}),
    }
