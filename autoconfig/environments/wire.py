"""
Environments and filters as the wire has them.

All classes are frozen and slotted. Every field has the zero value as its default, because the wire may omit any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ..construction import quick_constructor
from ..identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey, mask_repr, show
from .params import NO_EXTRA, AcceptedKey, EnvIdentifiers, EnvironmentParams, ExpiringSDKKey, FilterParams
from .times import instant, minutes


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
class KeyRep:
    """
    An entry of ``sdkKeys`` or ``mobileKeys``, with which newer services list all keys that an environment accepts.

    Attributes:
        name: ``key``, which is the key's name and no secret.
        value: ``value``, which is the key itself. Masked in the repr.
        expiry: ``expiry``: when it ends, in milliseconds since 1970-01-01 UTC; ``None`` if it does not end.
        has_views: ``hasViews``.
    """

    name: str = ""
    value: str = attrs.field(default="", repr=mask_repr)
    expiry: int | None = None
    has_views: bool = False


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
        sdk_keys: ``sdkKeys``; ``None`` if the service does not send it.
        mobile_keys: ``mobileKeys``; ``None`` if the service does not send it.
        extra: The fields that this library does not know. The repr has their names only.
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
    sdk_keys: tuple[KeyRep, ...] | None = None
    mobile_keys: tuple[KeyRep, ...] | None = None
    extra: Mapping[str, Any] = attrs.field(default=NO_EXTRA, repr=lambda extra: repr(sorted(extra)), hash=False)

    def describe(self) -> str:
        """Return the environment in words for a log line: its id and its names, no key."""
        return f"environment {show(self.env_id)} ({show(self.proj_name)} {show(self.env_name)})"

    def flaw(self) -> str | None:
        """Return what contradicts itself in the keys: each list has to hold its default key, and no empty one."""
        if self.sdk_keys is None and self.mobile_keys is None:
            return None
        for field, keys, default in (
            ("sdkKeys", self.sdk_keys, self.sdk_key.value),
            ("mobileKeys", self.mobile_keys, self.mob_key),
        ):
            if keys is not None:
                values = [key.value for key in keys]
                if "" in values:
                    return f"{field} has an entry without a value"
                if default not in values:
                    return f"{field} does not hold the default key"
        return None

    def to_params(self) -> EnvironmentParams:
        """
        Return the environment as handlers get it.

        Times beyond what :mod:`datetime` can hold become the nearest that it can.
        """
        expiring = self.sdk_key.expiring
        return _quick_params(
            self.env_id,
            _quick_identifiers(self.env_key, self.env_name, self.proj_key, self.proj_name, _UNFILTERED),
            self.sdk_key.value,
            self.mob_key,
            ExpiringSDKKey(expiring.value, instant(expiring.timestamp)) if expiring.value else None,
            minutes(self.default_ttl),
            self.secure_mode,
            None if self.sdk_keys is None else _accepted(self.sdk_keys),
            None if self.mobile_keys is None else _accepted(self.mobile_keys),
            self.extra,
        )


_UNFILTERED = FilterKey("")  # here, because the call would cost as much as a field
_quick_identifiers = quick_constructor(EnvIdentifiers)
_quick_params = quick_constructor(EnvironmentParams)


def _accepted(keys: Iterable[KeyRep]) -> tuple[AcceptedKey, ...]:
    return tuple(
        AcceptedKey(key.value, key.name, None if key.expiry is None else instant(key.expiry), key.has_views)
        for key in keys
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
        return f"filter {show(self.filter_key)} (project {show(self.proj_key)})"

    def to_params(self, id: FilterID) -> FilterParams:
        """Return the filter as handlers get it, under the given id."""
        return FilterParams(self.proj_key, id, self.filter_key)
