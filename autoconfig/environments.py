"""
Environments and filters: as the wire has them (``…Rep``) and as handlers get them (``…Params``).

All classes are frozen and slotted. Every field of a ``Rep`` has the zero value as its default, because the wire may
omit any of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache

import attrs

from .construction import quick_constructor
from .identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey, mask_repr

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_INSTANT = datetime.max.replace(tzinfo=timezone.utc)
_LAST_TIMESTAMP = (_LAST_INSTANT - _EPOCH) // timedelta(milliseconds=1)


@attrs.frozen(weakref_slot=False)
class EnvIdentifiers:
    """
    The names of an environment and of its project.

    Attributes:
        env_key: The environment's key within its project.
        env_name: The environment's name.
        proj_key: The project's key.
        proj_name: The project's name.
        filter_key: The payload filter's key; ``""`` when the environment is unfiltered.
    """

    env_key: str = ""
    env_name: str = ""
    proj_key: str = ""
    proj_name: str = ""
    filter_key: FilterKey = FilterKey("")


@attrs.frozen(weakref_slot=False)
class ExpiringSDKKey:
    """
    The previous SDK key of an environment, still accepted until it expires.

    Attributes:
        key: The key. Masked in the repr.
        expiration: When it ends: aware, UTC, precise to the millisecond.
    """

    key: SDKKey = attrs.field(repr=mask_repr)
    expiration: datetime


@attrs.frozen(weakref_slot=False)
class EnvironmentParams:
    """
    All that a handler is told of an environment.

    Attributes:
        env_id: The environment's id (also its client-side id).
        identifiers: The names of the environment and its project.
        sdk_key: The SDK key. Masked in the repr.
        mobile_key: The mobile key. Masked in the repr.
        expiring_sdk_key: The previous SDK key while it is being rotated out, else ``None``.
        ttl: How long clients may cache what they are served; zero means not at all. The wire has whole minutes.
        secure_mode: Whether client-side requests need a hash.
    """

    env_id: EnvironmentID
    identifiers: EnvIdentifiers
    sdk_key: SDKKey = attrs.field(repr=mask_repr)
    mobile_key: MobileKey = attrs.field(repr=mask_repr)
    expiring_sdk_key: ExpiringSDKKey | None
    ttl: timedelta
    secure_mode: bool

    def with_filter(self, key: FilterKey) -> EnvironmentParams:
        """Return a copy that stands for this environment seen through the payload filter ``key``."""
        return attrs.evolve(self, identifiers=attrs.evolve(self.identifiers, filter_key=key))


_quick_identifiers = quick_constructor(EnvIdentifiers)
_quick_params = quick_constructor(EnvironmentParams)


@attrs.frozen(weakref_slot=False)
class FilterParams:
    """
    All that a handler is told of a payload filter.

    Attributes:
        proj_key: The key of the project that the filter belongs to.
        id: The filter's id, by which it is deleted.
        key: The filter's key, by which users know it.
    """

    proj_key: str
    id: FilterID
    key: FilterKey


@attrs.frozen(weakref_slot=False)
class ExpiringKeyRep:
    """
    ``sdkKey.expiring`` on the wire.

    Attributes:
        value: The key; ``""`` means that there is none. Masked in the repr.
        timestamp: When it expires, in milliseconds since 1970-01-01 UTC.
    """

    value: SDKKey = attrs.field(default=SDKKey(""), repr=mask_repr)
    timestamp: int = 0


NO_EXPIRING_KEY = ExpiringKeyRep()
"""What ``sdkKey.expiring`` is without such a key; frozen, so one is enough for all."""


@attrs.frozen(weakref_slot=False)
class SDKKeyRep:
    """
    ``sdkKey`` on the wire: the current key and, during a rotation, the previous one.

    Attributes:
        value: The current key. Masked in the repr.
        expiring: The previous key; its ``value`` is ``""`` when there is none.
    """

    value: SDKKey = attrs.field(default=SDKKey(""), repr=mask_repr)
    expiring: ExpiringKeyRep = NO_EXPIRING_KEY


@attrs.frozen(weakref_slot=False)
class EnvironmentRep:
    """
    An environment on the wire.

    Attributes:
        env_id: ``envID``.
        env_key: ``envKey``.
        env_name: ``envName``.
        mob_key: ``mobKey``. Masked in the repr.
        proj_key: ``projKey``.
        proj_name: ``projName``.
        sdk_key: ``sdkKey``.
        default_ttl: ``defaultTtl``, in minutes.
        secure_mode: ``secureMode``.
        version: ``version``. Only a higher one replaces what is known.
    """

    env_id: EnvironmentID = EnvironmentID("")
    env_key: str = ""
    env_name: str = ""
    mob_key: MobileKey = attrs.field(default=MobileKey(""), repr=mask_repr)
    proj_key: str = ""
    proj_name: str = ""
    sdk_key: SDKKeyRep = SDKKeyRep()
    default_ttl: int = 0
    secure_mode: bool = False
    version: int = 0

    def describe(self) -> str:
        """Return the environment in words for a log line: its id and its names, no key."""
        return f"environment {self.env_id} ({self.proj_name} {self.env_name})"

    def to_params(self) -> EnvironmentParams:
        """
        Return the environment as handlers get it.

        Times beyond what :mod:`datetime` can hold become the nearest that it can.
        """
        expiring = self.sdk_key.expiring
        return _quick_params(
            self.env_id,
            _quick_identifiers(self.env_key, self.env_name, self.proj_key, self.proj_name, FilterKey("")),
            self.sdk_key.value,
            self.mob_key,
            ExpiringSDKKey(expiring.value, _instant(expiring.timestamp)) if expiring.value else None,
            _minutes(self.default_ttl),
            self.secure_mode,
        )


@attrs.frozen(weakref_slot=False)
class FilterRep:
    """
    A payload filter on the wire. Its id is not part of it: the wire has that in the path or the map's key.

    Attributes:
        proj_key: ``projKey``.
        filter_key: ``key``.
        version: ``version``. Only a higher one replaces what is known.
    """

    proj_key: str = ""
    filter_key: FilterKey = FilterKey("")
    version: int = 0

    def describe(self) -> str:
        """Return the filter in words for a log line."""
        return f"filter {self.filter_key} (project {self.proj_key})"

    def to_params(self, id: FilterID) -> FilterParams:
        """Return the filter as handlers get it, under the given id."""
        return FilterParams(self.proj_key, id, self.filter_key)


@lru_cache(maxsize=256)  # environments share a few values, so most of them share one timedelta
def _minutes(minutes: int) -> timedelta:
    try:
        return timedelta(minutes=minutes)
    except OverflowError:
        return timedelta.max if minutes > 0 else timedelta.min


def _instant(timestamp: int) -> datetime:
    """Return a number of milliseconds since 1970 as an aware UTC datetime; exact, unlike a float's way."""
    if timestamp > _LAST_TIMESTAMP:
        return _LAST_INSTANT
    return _EPOCH + timedelta(milliseconds=timestamp)
