"""Environments and filters as handlers get them. All classes are frozen and slotted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from ..construction import ReadOnlyMapping
from ..identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey, mask_repr

NO_EXTRA: Mapping[str, Any] = ReadOnlyMapping({})
"""What ``extra`` is without unknown fields."""


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
class AcceptedKey:
    """
    One of the keys that an environment accepts.

    Attributes:
        value: The key: an :data:`SDKKey` or a :data:`MobileKey`. Masked in the repr.
        name: Its name, by which people know it; ``""`` if the service gave none.
        expiration: When it ends: aware, UTC, precise to the millisecond; ``None`` if it does not end.
        has_views: Whether the key is limited to views of the environment.
    """

    value: str = attrs.field(repr=mask_repr)
    name: str = ""
    expiration: datetime | None = None
    has_views: bool = False

    def is_valid(self, at: datetime) -> bool:
        """Return whether the key is accepted at that time, which has to be aware."""
        return self.expiration is None or at < self.expiration


def lasting(keys: Iterable[AcceptedKey]) -> Iterable[AcceptedKey]:
    """Return each key once; of one that is listed twice the later end counts."""
    found: dict[str, AcceptedKey] = {}
    for key in keys:
        other = found.setdefault(key.value, key)
        if other.expiration is not None and (key.expiration is None or key.expiration > other.expiration):
            found[key.value] = key
    return found.values()


def _names_only(extra: Mapping[str, Any]) -> str:
    return repr(sorted(extra))


@attrs.frozen(weakref_slot=False)
class EnvironmentParams:
    """
    An environment, as a handler receives it.

    Attributes:
        env_id: The environment's id (also its client-side id).
        identifiers: The names of the environment and its project.
        sdk_key: The SDK key. Masked in the repr.
        mobile_key: The mobile key. Masked in the repr.
        expiring_sdk_key: The previous SDK key while it is being rotated out, else ``None``.
        ttl: How long clients may cache what they are served; zero means not at all. The wire has whole minutes.
        secure_mode: Whether client-side requests need a hash.
        extra: The fields that this library does not know, as JSON has them. The repr has their names only, because
            their values may be secrets.
    """

    env_id: EnvironmentID
    identifiers: EnvIdentifiers
    sdk_key: SDKKey = attrs.field(repr=mask_repr)
    mobile_key: MobileKey = attrs.field(repr=mask_repr)
    expiring_sdk_key: ExpiringSDKKey | None
    ttl: timedelta
    secure_mode: bool
    _sdk_keys: tuple[AcceptedKey, ...] | None = None
    _mobile_keys: tuple[AcceptedKey, ...] | None = None
    extra: Mapping[str, Any] = attrs.field(default=NO_EXTRA, repr=_names_only, hash=False)

    @property
    def accepted_sdk_keys(self) -> tuple[AcceptedKey, ...]:
        """
        Every SDK key that is accepted, with the times at which some of them end.

        Newer services list them; with others they are :attr:`sdk_key` and :attr:`expiring_sdk_key`.
        """
        if self._sdk_keys is not None:
            return self._sdk_keys
        current = _single(self.sdk_key)
        previous = self.expiring_sdk_key
        return (*current, AcceptedKey(previous.key, expiration=previous.expiration)) if previous else current

    @property
    def accepted_mobile_keys(self) -> tuple[AcceptedKey, ...]:
        """Every mobile key that is accepted; with services that list none it is :attr:`mobile_key`."""
        return _single(self.mobile_key) if self._mobile_keys is None else self._mobile_keys

    def with_filter(self, key: FilterKey) -> EnvironmentParams:
        """Return a copy that stands for this environment seen through the payload filter ``key``."""
        return attrs.evolve(self, identifiers=attrs.evolve(self.identifiers, filter_key=key))


def _single(key: str) -> tuple[AcceptedKey, ...]:
    return (AcceptedKey(key),) if key else ()


@attrs.frozen(weakref_slot=False)
class FilterParams:
    """
    A payload filter, as a handler receives it.

    Attributes:
        proj_key: The key of the project that the filter belongs to.
        id: The filter's id, by which it is deleted.
        key: The filter's key, by which users know it.
    """

    proj_key: str
    id: FilterID
    key: FilterKey
