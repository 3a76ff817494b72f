"""Environments and payload filters, as handlers get them. All classes are frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, ClassVar

import msgspec

from .frozen import FrozenDict, Record
from .identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey, mask

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST, _LAST = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)

NO_EXTRA = FrozenDict()
"""The value of ``extra`` if there are no unknown fields."""


class EnvIdentifiers(Record, frozen=True, gc=False):
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


class ExpiringSDKKey(Record, frozen=True, gc=False):
    """
    The previous SDK key of an environment, still accepted until it expires.

    Attributes:
        key: The key. Masked in the repr.
        expiration: When it expires: aware, UTC, precise to the millisecond.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"key"})

    key: SDKKey
    expiration: datetime


class AcceptedKey(Record, frozen=True, gc=False):
    """
    A key that gives access to the whole of an environment.

    Attributes:
        value: The key: an :data:`SDKKey` or a :data:`MobileKey`. Masked in the repr.
        name: Its name, by which people know it; ``""`` if the service gave none.
        expiration: When it expires: aware, UTC, precise to the millisecond; ``None`` if it does not expire.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"value"})

    value: str
    name: str = ""
    expiration: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        """Return whether the key is accepted at that time, which has to be aware."""
        return self.expiration is None or at < self.expiration


class ViewKey(Record, frozen=True, gc=False):
    """
    A key that gives access to views of an environment only, and so to a part of it.

    It is not an accepted key, and no look-up finds an environment by it.

    Attributes:
        value: The key. Masked in the repr.
        name: Its name; ``""`` if the service gave none.
        expiration: When it expires: aware, UTC, precise to the millisecond; ``None`` if it does not expire.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"value"})

    value: str
    name: str = ""
    expiration: datetime | None = None


class KeyRep(
    Record, frozen=True, gc=False, rename={"name": "key", "has_views": "hasViews"}, forbid_unknown_fields=True
):
    """
    An entry of ``sdkKeys`` or ``mobileKeys``, in which the service lists all keys of an environment.

    Attributes:
        name: ``key``, the key's name, which is not secret.
        value: ``value``, which is the key itself. Masked in the repr.
        expiry: ``expiry``: when it expires, in milliseconds since 1970-01-01 UTC; ``None`` if it does not expire.
        has_views: ``hasViews``: whether the key gives access to views of the environment only.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"value"})

    name: str = ""
    value: str = ""
    expiry: Int64 | None = None
    has_views: bool = False


class EnvironmentParams(Record, frozen=True, gc=False):
    """
    An environment, as a handler receives it.

    ``str()`` is one short line, such as ``Shop / Production sdk-…0ae7``, and the repr masks every key. The attributes
    are plain strings: printing one of them prints the whole key.

    Attributes:
        env_id: The environment's id (also its client-side id).
        identifiers: The names of the environment and its project.
        sdk_key: The SDK key. Masked in the repr.
        mobile_key: The mobile key. Masked in the repr.
        expiring_sdk_key: The previous SDK key while it is being rotated out, else ``None``. A service that lists its
            keys may leave it out; :attr:`accepted_sdk_keys` has every key in any case.
        ttl: How long clients may cache what they are served; zero means not at all. The wire has whole minutes.
        secure_mode: Whether client-side requests need a hash.
        extra: The fields that this library does not know, as JSON has them; cannot be changed, at any depth. The repr
            has their names only, because their values may be secrets.
    """

    _secrets: ClassVar[frozenset[str]] = frozenset({"sdk_key", "mobile_key"})

    env_id: EnvironmentID
    identifiers: EnvIdentifiers
    sdk_key: SDKKey
    mobile_key: MobileKey
    expiring_sdk_key: ExpiringSDKKey | None
    ttl: timedelta
    secure_mode: bool
    # The service's lists of keys, which the properties below read; None or empty if it does not list keys.
    _sdk_keys: tuple[KeyRep, ...] | None = None
    _mobile_keys: tuple[KeyRep, ...] | None = None
    extra: Mapping[str, Any] = NO_EXTRA

    def __str__(self) -> str:
        names = self.identifiers
        filtered = f" ({names.filter_key})" if names.filter_key else ""
        text = f"{names.proj_name or names.proj_key} / {names.env_name or names.env_key}{filtered} {mask(self.sdk_key)}"
        return "".join(character if character.isprintable() else "\ufffd" for character in text)

    @property
    def accepted_sdk_keys(self) -> tuple[AcceptedKey, ...]:
        """
        Every SDK key that gives access to the whole environment, each once, with the times at which some expire.

        The service lists them. An older service does not; then they are :attr:`sdk_key` and :attr:`expiring_sdk_key`.
        :attr:`sdk_key` itself never expires.
        """
        if self._sdk_keys:
            return _accepted(self._sdk_keys, self.sdk_key)
        current = _only(self.sdk_key)
        previous = self.expiring_sdk_key
        if previous is None or previous.key == self.sdk_key:
            return current
        return (*current, AcceptedKey(previous.key, expiration=previous.expiration))

    @property
    def accepted_mobile_keys(self) -> tuple[AcceptedKey, ...]:
        """Every mobile key that gives access to the whole environment; see :attr:`accepted_sdk_keys`."""
        return _accepted(self._mobile_keys, self.mobile_key) if self._mobile_keys else _only(self.mobile_key)

    @property
    def view_sdk_keys(self) -> tuple[ViewKey, ...]:
        """The SDK keys that give access to views of the environment only."""
        return _limited_to_views(self._sdk_keys or (), self.sdk_key)

    @property
    def view_mobile_keys(self) -> tuple[ViewKey, ...]:
        """The mobile keys that give access to views of the environment only."""
        return _limited_to_views(self._mobile_keys or (), self.mobile_key)

    def with_filter(self, key: FilterKey) -> EnvironmentParams:
        """Return a copy that stands for this environment seen through the payload filter ``key``."""
        return msgspec.structs.replace(self, identifiers=msgspec.structs.replace(self.identifiers, filter_key=key))


def _accepted(keys: Iterable[KeyRep], anchor: str) -> tuple[AcceptedKey, ...]:
    """Return the keys of a list that give access to the whole environment; the anchor is one, and never expires."""
    return tuple(
        AcceptedKey(key.value, key.name, None if key.expiry is None or key.value == anchor else instant(key.expiry))
        for key in _first_of_each(keys)
        if key.value == anchor or not key.has_views
    )


def _limited_to_views(keys: Iterable[KeyRep], anchor: str) -> tuple[ViewKey, ...]:
    return tuple(
        ViewKey(key.value, key.name, None if key.expiry is None else instant(key.expiry))
        for key in _first_of_each(keys)
        if key.has_views and key.value != anchor
    )


def _first_of_each(keys: Iterable[KeyRep]) -> Iterable[KeyRep]:
    """Return the keys of a list; of several entries with the same value, only the first."""
    found: dict[str, KeyRep] = {}
    for key in keys:
        found.setdefault(key.value, key)
    return found.values()


def instant(timestamp: int) -> datetime:
    """
    Return a number of milliseconds since 1970 as an aware UTC datetime; exact, because no float is involved.

    A time that ``datetime`` cannot hold becomes the nearest time that it can.
    """
    try:
        return _EPOCH + timedelta(milliseconds=timestamp)
    except OverflowError:
        return _LAST if timestamp > 0 else _FIRST


def _only(key: str) -> tuple[AcceptedKey, ...]:
    return (AcceptedKey(key),) if key else ()


class FilterParams(Record, frozen=True, gc=False):
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
