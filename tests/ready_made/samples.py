"""Environments and filters as handlers get them, and handlers that fail when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from support.recorder import Recorder

from autoconfig import (
    EnvIdentifiers,
    EnvironmentID,
    EnvironmentParams,
    ExpiringSDKKey,
    FilterID,
    FilterKey,
    FilterParams,
    MobileKey,
    SDKKey,
)
from autoconfig.environments import AcceptedKey
from autoconfig.messages import KeyRep
from autoconfig.ready_made.base import AttachedStream

NOON = datetime(2030, 1, 1, 12, tzinfo=timezone.utc)


def after(seconds: float) -> datetime:
    """Return a time that is so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def params(
    id: str = "e1",
    *,
    name: str = "",
    proj: str = "shop",
    env: str | None = None,
    sdk: str | None = None,
    mobile: str | None = None,
    expiring: tuple[str, datetime] | None = None,
    sdk_keys: Iterable[AcceptedKey] | None = None,
    mobile_keys: Iterable[AcceptedKey] | None = None,
) -> EnvironmentParams:
    """Return an environment whose keys are made from its id."""
    return EnvironmentParams(
        env_id=EnvironmentID(id),
        identifiers=EnvIdentifiers(f"key-{id}" if env is None else env, name, proj, proj.title()),
        sdk_key=SDKKey(f"sdk-{id}" if sdk is None else sdk),
        mobile_key=MobileKey(f"mob-{id}" if mobile is None else mobile),
        expiring_sdk_key=ExpiringSDKKey(SDKKey(expiring[0]), expiring[1]) if expiring else None,
        ttl=timedelta(),
        secure_mode=False,
        _sdk_keys=listed(sdk_keys),
        _mobile_keys=listed(mobile_keys),
    )


def listed(keys: Iterable[AcceptedKey] | None) -> tuple[KeyRep, ...] | None:
    """Return keys as the service lists them."""
    if keys is None:
        return None
    times = [None if key.expiration is None else round(key.expiration.timestamp() * 1000) for key in keys]
    return tuple(KeyRep(key.name, key.value, time) for key, time in zip(keys, times, strict=True))


def payload_filter(id: str, key: str | None = None, proj: str = "shop") -> FilterParams:
    """Return a filter whose key is its id, if no other is given."""
    return FilterParams(proj, FilterID(id), FilterKey(id if key is None else key))


class Refusing(Recorder):
    """
    A handler that raises, before it does anything, as long as ``refuses`` says so of a call.

    Attributes:
        refuses: Is given the method's name and its argument.
    """

    def __init__(self, refuses: Callable[[str, Any], bool] = lambda name, argument: False) -> None:
        super().__init__()
        self.refuses = refuses

    def _record(self, name: str, argument: Any) -> None:
        if self.refuses(name, argument):
            raise ConnectionError(f"refused {name}")
        super()._record(name, argument)


class Stream:
    """
    The stream of a manager, for ready-made handlers without one.

    Attributes:
        stopped: Whether the manager was closed.
        wait: The manager's ``wait_until_ready``; ``None`` if the manager is gone.
        attached: What handlers are given.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.wait: Callable[[float | None], object] | None = None
        self.attached = AttachedStream(self, lambda: self.wait)
