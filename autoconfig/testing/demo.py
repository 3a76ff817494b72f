"""
A configuration to try things with, in the shape of the service's of 2026. All ids and keys are made up.

One environment has two SDK keys, of which the older one expires.
"""

from __future__ import annotations

from ..environments import KeyRep
from ..identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey
from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep

DEMO_KEY = "rel-5f3a1c9e-7d42-4b8e-9c61-2f0d8a4b7e13"
"""The key that an emulator accepts if it is given no other."""

_EXPIRY = 2_208_988_800_000  # 2040-01-01, and not soon, so that what is shown of it stays the same


def _environment(id: str, project: str, name: str, mobile_key: str, sdk_key: str, old_key: str = "") -> EnvironmentRep:
    sdk_keys = KeyRep("default", sdk_key), *([KeyRep("previous", old_key, _EXPIRY)] if old_key else [])
    return EnvironmentRep(
        env_id=EnvironmentID(id),
        env_key=name.lower(),
        env_name=name,
        mob_key=MobileKey(mobile_key),
        proj_key=project.lower(),
        proj_name=project,
        sdk_key=SDKKeyRep(SDKKey(sdk_key), ExpiringKeyRep(SDKKey(old_key), _EXPIRY) if old_key else None),
        version=1,
        sdk_keys=sdk_keys,
        mobile_keys=(KeyRep("default", mobile_key),),
    )


PRODUCTION = _environment(
    "64c1f0a2b7e94d0012ab3c01",
    "Shop",
    "Production",
    "mob-1f6a2c3e-8b40-4d7e-9a51-6c0e7f2b9d14",
    "sdk-7c9e6679-7425-40de-944b-e07fc1f90ae7",
)
STAGING = _environment(
    "64c1f0a2b7e94d0012ab3c02",
    "Shop",
    "Staging",
    "mob-3b8d5e70-94a1-4f26-b3c8-d2e91a0f5c27",
    "sdk-f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "sdk-1d5a0c86-2e7b-4f93-8a4d-6b0f9e3c7152",
)
DOCS = _environment(
    "64c1f0a2b7e94d0012ab3c03",
    "Docs",
    "Production",
    "mob-5e2f9a14-07cb-4e83-8d16-a94b3c7e0f52",
    "sdk-9b2d7f3a-61c4-4e08-b5a9-3f8e0d1c6b74",
)
ENVIRONMENTS = (PRODUCTION, STAGING, DOCS)

EUROPE = FilterID("64c1f0a2b7e94d0012ab3f01")
FILTERS = {EUROPE: FilterRep("shop", FilterKey("europe"), version=1)}
