"""The built-in story: the environments that it begins with, and what the service does then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import attrs

from ..identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey
from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
from ..testing import Emulator


def _environment(id: str, project: str, name: str, mobile_key: str, sdk_key: str) -> EnvironmentRep:
    return EnvironmentRep(
        env_id=EnvironmentID(id),
        env_key=name.lower(),
        env_name=name,
        mob_key=MobileKey(mobile_key),
        proj_key=project.lower(),
        proj_name=project,
        sdk_key=SDKKeyRep(SDKKey(sdk_key)),
        version=1,
    )


# All ids and keys are made up.
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
)
DOCS = _environment(
    "64c1f0a2b7e94d0012ab3c03",
    "Docs",
    "Production",
    "mob-5e2f9a14-07cb-4e83-8d16-a94b3c7e0f52",
    "sdk-9b2d7f3a-61c4-4e08-b5a9-3f8e0d1c6b74",
)
PREVIEW = _environment(
    "64c1f0a2b7e94d0012ab3c04",
    "Docs",
    "Preview",
    "mob-8a4c1d6f-3e95-4b07-92fd-7e5b0c8a1d36",
    "sdk-2e8f4b1d-90a7-4c35-8e6b-d1f7a3c05928",
)
NEW_SDK_KEY = SDKKey("sdk-b3a5d8e1-4f72-4960-a1c8-5d9e2f7b0c63")

ENVIRONMENTS = (PRODUCTION, STAGING, DOCS)
EUROPE = FilterID("64c1f0a2b7e94d0012ab3f01")
WEB = FilterID("64c1f0a2b7e94d0012ab3f02")
FILTERS = {EUROPE: FilterRep("shop", FilterKey("europe"), version=1)}

_COMPLETE = ("received_all_environments", "")


@attrs.frozen
class Act:
    """
    Something that the service does.

    Attributes:
        text: What, in words.
        play: Has the emulator do it.
        calls: The names and ids of the calls that must reach the handler in consequence, in order.
    """

    text: str
    play: Callable[[Emulator], object]
    calls: tuple[tuple[str, str], ...] = ()


def demo_acts() -> Iterator[Act]:
    """Yield the acts of the demo, after the client was started."""
    yield from _changes()
    yield from _outage()


def _changes() -> Iterator[Act]:
    yield Act(
        "has 3 environments in 2 projects, and a payload filter",
        lambda service: service.wait_for_connections(1),
        (*(("add_environment", rep.env_id) for rep in ENVIRONMENTS), ("add_filter", EUROPE), _COMPLETE),
    )
    yield Act(
        "renames Shop / Staging; clients may cache for 10 minutes",
        lambda service: _change(service, STAGING.env_id, env_name="QA", default_ttl=10),
        (("update_environment", STAGING.env_id),),
    )
    yield Act(
        "rotates an SDK key; the old one stays valid for an hour",
        lambda service: service.rotate_sdk_key(PRODUCTION.env_id, NEW_SDK_KEY, timedelta(hours=1)),
        (("update_environment", PRODUCTION.env_id),),
    )
    yield Act(
        "deletes Docs / Production",
        lambda service: service.delete_environment(DOCS.env_id),
        (("delete_environment", DOCS.env_id),),
    )


def _outage() -> Iterator[Act]:
    yield Act(
        "drops the connection, and answers the first retry with 503; "
        "meanwhile it turns on secure mode, and adds Docs / Preview",
        _fail,
    )
    yield Act(
        "is back and sends everything; only the differences arrive",
        lambda service: service.wait_for_connections(1),
        (("update_environment", PRODUCTION.env_id), ("add_environment", PREVIEW.env_id), _COMPLETE),
    )
    yield Act(
        "asks for a new connection; nothing new, nothing repeated",
        lambda service: service.send_reconnect(),
        (_COMPLETE,),
    )


def endless_changes(grace: timedelta) -> Iterator[Act]:
    """Yield one change after the other, for ever; an SDK key expires three changes after it was replaced."""
    while True:
        yield Act("renames Shop / Staging to QA", lambda service: _change(service, STAGING.env_id, env_name="QA"))
        yield Act(
            "rotates the SDK key of Shop / Production",
            lambda service: service.rotate_sdk_key(PRODUCTION.env_id, f"sdk-{uuid4()}", grace),
        )
        yield Act("adds Docs / Preview", lambda service: service.set_environment(PREVIEW))
        yield Act("adds a payload filter", lambda service: service.set_filter(WEB, FilterRep("docs", FilterKey("web"))))
        yield Act("lets the old SDK key of Shop / Production expire", _expire)
        yield Act("changes the TTL of Docs / Production", _change_ttl)
        yield Act("deletes Docs / Preview", lambda service: service.delete_environment(PREVIEW.env_id))
        yield Act("deletes the payload filter", lambda service: service.delete_filter(WEB))
        yield Act("renames Shop / QA to Staging", lambda service: _change(service, STAGING.env_id, env_name="Staging"))


def _change(service: Emulator, id: EnvironmentID, **fields: Any) -> None:
    service.set_environment(attrs.evolve(service.environments[id], **fields))


def _change_ttl(service: Emulator) -> None:
    _change(service, DOCS.env_id, default_ttl=(service.environments[DOCS.env_id].default_ttl + 5) % 20)


def _expire(service: Emulator) -> None:
    current = service.environments[PRODUCTION.env_id].sdk_key
    _change(service, PRODUCTION.env_id, sdk_key=attrs.evolve(current, expiring=ExpiringKeyRep()))


def _fail(service: Emulator) -> None:
    """Fail, and let no client in before all has changed that is to change; return once a client has met the failure."""
    requests = service.request_count
    service.stall()
    service.drop_connections()
    service.fail_next(503)
    _change(service, PRODUCTION.env_id, secure_mode=True)
    service.set_environment(PREVIEW)
    service.resume()
    service.wait_for_requests(requests + 1, timeout=10)
