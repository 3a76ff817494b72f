"""Configurations with everything that a store must not lose, and secrets that must not show."""

from __future__ import annotations

from typing import Any

from support.samples import payload_filter

from autoconfig.messages import EnvironmentRep, PutContent

KEY = "a secret of more than sixteen characters"
SECRETS = (KEY, "sdk-e1", "sdk-old", "mob-e1", "sdk-e2", "mob-e2", "sdk-view")


def full_environment(id: str, version: int = 7, **changed: Any) -> EnvironmentRep:
    """Return an environment with every field that the wire has, one that only the wire has included."""
    document = {
        "envId": id,
        "envKey": "test",
        "envName": "Tést \U0001f600",
        "mobKey": f"mob-{id}",
        "projName": "Shop",
        "projKey": "shop",
        "sdkKey": {"value": f"sdk-{id}", "expiring": {"value": "sdk-old", "timestamp": 2**63}},
        "defaultTtl": 5,
        "secureMode": True,
        "version": version,
        "sdkKeys": [{"key": "default", "value": f"sdk-{id}"}, {"value": "sdk-view", "hasViews": True, "expiry": -1}],
        "mobileKeys": [{"key": "default", "value": f"mob-{id}"}],
        "later": {"number": 2**70, "list": [1.5, None, True]},
    }
    return EnvironmentRep.from_json(document | changed)


CONTENT = PutContent(
    {"e1": full_environment("e1"), "e2": full_environment("e2", -3), "": full_environment("")},
    {"f1": payload_filter("f1"), "%2F ü": payload_filter("f2", 2**62)},
)
