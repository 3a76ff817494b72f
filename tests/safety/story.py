"""Realistic secrets, everything that is made of them, and the search for what must not be seen of them."""

from __future__ import annotations

import base64
import json
from typing import Any

from support.scripted_server import Item

KEY = "rel-5b1f0c9a-7e64-4d2b-9a37-c80d1e6f4a25"
SDK = "sdk-e2a94c17-03bd-4f58-b6e1-7d90ac35f882"
ROTATED = "sdk-41d7b6f0-95c2-4e8a-8f13-2ab6e0d97c54"
EXPIRING = "sdk-9c38e5d1-6af4-4071-a2b9-f14d70c6e3b8"
MOBILE = "mob-d05f7ab2-18c6-4934-bd7e-63f2e89c0a1b"
UNKNOWN = "api-77e1b3d9-c4a0-4f6d-95e8-0b2c6d8fa913"
PASSWORD = "proxy-Pa55/w0rd:of@the-company!"
QUOTED = "proxy-Pa55%2Fw0rd%3Aof%40the-company%21"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
HEADER = "Xq7-header-secret-of-the-caller-81f5"
URI_PASSWORD = "uri-password-3c9e-that-counts-for-nothing"
SECRETS = [KEY, SDK, ROTATED, EXPIRING, MOBILE, UNKNOWN, PASSWORD, QUOTED, BASIC, HEADER, URI_PASSWORD]

PART = 0.6  # of a secret that must not be seen either, from its start or to its end


def environment(id: str, version: int, *, sdk: str = SDK, expiring: str = "", **fields: Any) -> dict[str, Any]:
    """Return an environment on the wire, with a key in a field that nobody knows."""
    previous = {"value": expiring, "timestamp": 4_102_444_800_000}
    return {
        "envID": id,
        "envKey": f"{id}-key",
        "envName": f"Name of {id}",
        "mobKey": MOBILE,
        "projKey": "project",
        "projName": "Project",
        "sdkKey": {"value": sdk, "unknown": UNKNOWN} | ({"expiring": previous} if expiring else {}),
        "defaultTtl": 5,
        "secureMode": True,
        "version": version,
        "apiKey": UNKNOWN,
        **fields,
    }


def put(*environments: dict[str, Any], **filters: Any) -> Item:
    """Return a put of these environments and filters."""
    content = {"environments": {one["envID"]: one for one in environments}, "filters": filters, "token": UNKNOWN}
    return event("put", {"path": "/", "data": content, "secret": UNKNOWN})


def patch(item: dict[str, Any]) -> Item:
    """Return a patch of an environment."""
    return event("patch", {"path": f"/environments/{item['envID']}", "data": item})


def event(name: str, document: object) -> Item:
    """Return an event with this document as its data."""
    return {"event": name, "data": document if isinstance(document, str) else json.dumps(document)}


def seen(text: str, secrets: list[str] = SECRETS) -> list[str]:
    """Return the secrets of which the text holds the whole, or more than half of it from either end."""
    found = []
    for secret in secrets:
        part = int(len(secret) * PART)
        if any(piece in text for piece in (secret, secret[:part], secret[-part:])):
            found.append(secret)
    return found
