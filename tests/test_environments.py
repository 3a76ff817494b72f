"""From the wire's environments and filters to those that handlers get."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoconfig import (
    AcceptedKey,
    EnvIdentifiers,
    EnvironmentID,
    EnvironmentParams,
    ExpiringSDKKey,
    FilterID,
    FilterKey,
    FilterParams,
    MobileKey,
    SDKKey,
    ViewKey,
)
from autoconfig.frozen import FrozenDict
from autoconfig.messages import EnvironmentRep, ExpiringKeyRep, FilterRep, KeyRep, SDKKeyRep

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LAST_INSTANT = datetime.max.replace(tzinfo=timezone.utc)
LAST_TIMESTAMP = 253402300799999  # ms; 9999-12-31T23:59:59.999Z
MOST_MINUTES = 999_999_999 * 24 * 60 + 24 * 60 - 1  # timedelta.max in whole minutes
FEWEST_MINUTES = -999_999_999 * 24 * 60  # timedelta.min
SDK_KEY = SDKKey("sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38")
VIEW_KEY = SDKKey("sdk-7c1d2e3f-4a5b-4c6d-9e8f-0a1b2c3d4e5f")
OLD_KEY = SDKKey("sdk-0f9e8d7c-6b5a-4948-b726-15e4d3c2b1a0")
MOBILE_KEY = MobileKey("mob-77aa1c0d-e3b5-4f26-9d84-5c60fe12ab93")
EXPIRATION = datetime(2023, 11, 14, 22, 13, 20, 123_000, timezone.utc)
REP = EnvironmentRep(
    env_id=EnvironmentID("5f7c0e"),
    env_key="production",
    env_name="Production",
    mob_key=MOBILE_KEY,
    proj_key="shop",
    proj_name="The Shop",
    sdk_key=SDKKeyRep(SDK_KEY, ExpiringKeyRep(OLD_KEY, 1_700_000_000_123)),
    default_ttl=5,
    secure_mode=True,
    version=7,
    sdk_keys=(
        KeyRep("old", OLD_KEY, 1_700_000_000_123),
        KeyRep("new", SDK_KEY, 5, True),
        KeyRep("again", OLD_KEY, has_views=True),
        KeyRep("view", VIEW_KEY, 1_700_000_000_123, True),
    ),
    mobile_keys=(KeyRep("mobile", MOBILE_KEY),),
    extra=FrozenDict(new=1),
)
OLD_FORMAT = msgspec.structs.replace(REP, sdk_keys=None, mobile_keys=None)
FILTER = FilterRep("shop", FilterKey("mobile-only"), 3)


def expiring_at(timestamp: int) -> datetime:
    """Return when a key with this timestamp expires."""
    rep = EnvironmentRep(sdk_key=SDKKeyRep(expiring=ExpiringKeyRep(OLD_KEY, timestamp)))
    expiring = rep.to_params().expiring_sdk_key
    assert expiring is not None
    return expiring.expiration


def test_every_field_of_an_environment_arrives() -> None:
    """Each in its place, and no filter."""
    assert OLD_FORMAT.to_params() == EnvironmentParams(
        env_id=EnvironmentID("5f7c0e"),
        identifiers=EnvIdentifiers("production", "Production", "shop", "The Shop"),
        sdk_key=SDK_KEY,
        mobile_key=MOBILE_KEY,
        expiring_sdk_key=ExpiringSDKKey(OLD_KEY, EXPIRATION),
        ttl=timedelta(minutes=5),
        secure_mode=True,
        extra=FrozenDict(new=1),
    )
    assert REP.to_params().identifiers.filter_key == ""


def test_every_field_of_a_filter_arrives() -> None:
    """With the id, which the wire has elsewhere."""
    assert FILTER.to_params(FilterID("f1")) == FilterParams(proj_key="shop", id=FilterID("f1"), key="mobile-only")


def test_an_empty_environment_makes_empty_parameters() -> None:
    """No expiring key, no caching."""
    expected = EnvironmentParams(
        EnvironmentID(""), EnvIdentifiers(), SDKKey(""), MobileKey(""), None, timedelta(), False
    )
    assert EnvironmentRep().to_params() == expected


def test_an_expiring_key_without_a_value_is_none() -> None:
    """Whatever its timestamp."""
    rep = EnvironmentRep(sdk_key=SDKKeyRep(SDK_KEY, ExpiringKeyRep(SDKKey(""), 1_700_000_000_000)))
    assert rep.to_params().expiring_sdk_key is None


def test_an_expiring_key_without_a_timestamp_expired_in_1970() -> None:
    """It exists, because it has a value."""
    assert expiring_at(0) == EPOCH


@given(st.integers(0, LAST_TIMESTAMP))
def test_an_expiration_is_exact(timestamp: int) -> None:
    """To the millisecond, which a float of seconds would miss; aware, in UTC."""
    expiration = expiring_at(timestamp)
    assert (expiration - EPOCH) / timedelta(milliseconds=1) == timestamp
    assert (expiration - EPOCH) % timedelta(milliseconds=1) == timedelta()
    assert expiration.tzinfo is timezone.utc


@pytest.mark.parametrize("timestamp", [1_001, 1_009, 32_503_680_000_001, LAST_TIMESTAMP - 2])
def test_milliseconds_that_a_float_would_miss_are_exact(timestamp: int) -> None:
    """``fromtimestamp(timestamp / 1000)`` rounds some of these away."""
    assert expiring_at(timestamp).microsecond == timestamp % 1000 * 1000


@pytest.mark.parametrize("timestamp", [LAST_TIMESTAMP + 1, 10**15, 2**63, 2**64 - 1])
def test_an_expiration_beyond_the_calendar_is_its_end(timestamp: int) -> None:
    """The last instant before it is still exact."""
    assert expiring_at(timestamp) == LAST_INSTANT
    assert expiring_at(LAST_TIMESTAMP) == LAST_INSTANT.replace(microsecond=999_000)


@pytest.mark.parametrize("timestamp", [-(10**15), -(2**63)])
def test_an_expiration_before_the_calendar_is_its_beginning(timestamp: int) -> None:
    """The wire has no such number, but a program may build a rep of its own."""
    assert expiring_at(timestamp) == datetime.min.replace(tzinfo=timezone.utc)


@given(st.integers(FEWEST_MINUTES, MOST_MINUTES))
def test_a_ttl_is_exact(minutes: int) -> None:
    """A negative one passes."""
    assert EnvironmentRep(default_ttl=minutes).to_params().ttl // timedelta(minutes=1) == minutes
    assert EnvironmentRep(default_ttl=minutes).to_params().ttl % timedelta(minutes=1) == timedelta()


@pytest.mark.parametrize(
    ("minutes", "ttl"),
    [
        (MOST_MINUTES + 1, timedelta.max),
        (2**63 - 1, timedelta.max),
        (FEWEST_MINUTES, timedelta.min),
        (FEWEST_MINUTES - 1, timedelta.min),
        (-(2**63), timedelta.min),
    ],
)
def test_a_ttl_beyond_a_timedelta_is_the_nearest(minutes: int, ttl: timedelta) -> None:
    """It is clamped and does not wrap."""
    assert EnvironmentRep(default_ttl=minutes).to_params().ttl == ttl


def params_with(**fields: Any) -> EnvironmentParams:
    """Return an environment of the service of 2026 with other lists."""
    return msgspec.structs.replace(REP, **fields).to_params()


def test_the_accepted_keys_are_those_that_the_service_lists() -> None:
    """In its order, with names and times; the first of two entries with one value counts."""
    params = REP.to_params()
    assert params.accepted_sdk_keys == (AcceptedKey(OLD_KEY, "old", EXPIRATION), AcceptedKey(SDK_KEY, "new"))
    assert params.accepted_mobile_keys == (AcceptedKey(MOBILE_KEY, "mobile"),)


def test_keys_limited_to_views_are_kept_apart() -> None:
    params = REP.to_params()
    assert params.view_sdk_keys == (ViewKey(VIEW_KEY, "view", EXPIRATION),)
    assert params.view_mobile_keys == ()
    limited = params_with(mobile_keys=(KeyRep("", MOBILE_KEY), KeyRep("v", MobileKey("mob-v"), None, True)))
    assert limited.view_mobile_keys == (ViewKey("mob-v", "v"),)
    assert limited.accepted_mobile_keys == (AcceptedKey(MOBILE_KEY),)


@pytest.mark.parametrize("first_limited", [True, False])
def test_of_two_entries_the_first_says_whether_a_key_is_limited(first_limited: bool) -> None:
    entries = (KeyRep("", SDK_KEY), KeyRep("1", "k", 5, first_limited), KeyRep("2", "k", None, not first_limited))
    params = params_with(sdk_keys=entries)
    assert ("k" in [key.value for key in params.view_sdk_keys]) == first_limited
    assert ("k" in [key.value for key in params.accepted_sdk_keys]) == (not first_limited)


def test_the_anchor_never_expires_and_is_never_limited() -> None:
    """Whatever its entry says, of both kinds of keys."""
    params = params_with(sdk_keys=(KeyRep("n", SDK_KEY, 5, True),), mobile_keys=(KeyRep("n", MOBILE_KEY, -5, True),))
    assert params.accepted_sdk_keys == (AcceptedKey(SDK_KEY, "n"),)
    assert params.accepted_mobile_keys == (AcceptedKey(MOBILE_KEY, "n"),)
    assert params.view_sdk_keys == params.view_mobile_keys == ()


def test_an_expiry_is_signed() -> None:
    """One before 1970 is long gone; 0 is a time too."""
    params = params_with(sdk_keys=(KeyRep("", SDK_KEY), KeyRep("", "a", -1), KeyRep("", "b", 0), KeyRep("", "c")))
    expirations = [key.expiration for key in params.accepted_sdk_keys[1:]]
    assert expirations == [EPOCH - timedelta(milliseconds=1), EPOCH, None]


@pytest.mark.parametrize("keys", [None, ()])
def test_without_entries_the_accepted_keys_are_the_single_ones(keys: tuple[KeyRep, ...] | None) -> None:
    """The expiring key among them; an empty key is none."""
    params = params_with(sdk_keys=keys, mobile_keys=keys)
    assert params.accepted_sdk_keys == (AcceptedKey(SDK_KEY), AcceptedKey(OLD_KEY, expiration=EXPIRATION))
    assert params.accepted_mobile_keys == (AcceptedKey(MOBILE_KEY),)
    empty = EnvironmentRep(sdk_keys=keys, mobile_keys=keys).to_params()
    assert empty.accepted_sdk_keys == empty.accepted_mobile_keys == ()
    assert params.view_sdk_keys == params.view_mobile_keys == ()


def test_a_list_with_entries_is_the_whole_truth() -> None:
    """The single expiring key is not looked at then."""
    assert params_with(sdk_keys=(KeyRep("", SDK_KEY),)).accepted_sdk_keys == (AcceptedKey(SDK_KEY),)


def test_a_key_that_expires_and_is_the_current_one_is_accepted_once() -> None:
    rep = msgspec.structs.replace(OLD_FORMAT, sdk_key=SDKKeyRep(SDK_KEY, ExpiringKeyRep(SDK_KEY, 5)))
    assert rep.to_params().accepted_sdk_keys == (AcceptedKey(SDK_KEY),)


@pytest.mark.parametrize(("milliseconds", "valid"), [(-1, True), (0, False), (1, False)])
def test_a_key_is_accepted_until_it_expires(milliseconds: int, valid: bool) -> None:
    """One without an expiration always is."""
    at = EXPIRATION + timedelta(milliseconds=milliseconds)
    assert AcceptedKey(OLD_KEY, expiration=EXPIRATION).is_valid(at) is valid
    assert AcceptedKey(OLD_KEY).is_valid(at)


def test_an_environment_seen_through_a_filter() -> None:
    """All else is the same, and the original is untouched."""
    params = REP.to_params()
    filtered = params.with_filter(FilterKey("mobile-only"))
    assert filtered.identifiers == EnvIdentifiers(
        "production", "Production", "shop", "The Shop", FilterKey("mobile-only")
    )
    assert msgspec.structs.replace(filtered, identifiers=params.identifiers) == params
    assert params.identifiers.filter_key == ""
    assert filtered.with_filter(FilterKey("")) == params


def test_environments_of_one_put_share_the_names_of_their_projects() -> None:
    """Equal strings that are one object, if the dispatcher hands over where it keeps them."""
    shared: dict[str, str] = {}
    one, other = (
        EnvironmentRep(proj_key="shop-" * 3 + str(1), proj_name="The " + "Shop" * 2).to_params(shared=shared)
        for _ in range(2)
    )
    assert one.identifiers.proj_key is other.identifiers.proj_key
    assert one.identifiers.proj_name is other.identifiers.proj_name
