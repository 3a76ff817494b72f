"""From the wire's environments and filters to those that handlers get."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoconfig import (
    EnvIdentifiers,
    EnvironmentID,
    EnvironmentParams,
    EnvironmentRep,
    ExpiringKeyRep,
    ExpiringSDKKey,
    FilterID,
    FilterKey,
    FilterParams,
    FilterRep,
    MobileKey,
    SDKKey,
    SDKKeyRep,
)
from autoconfig.environments import NO_EXTRA, AcceptedKey, KeyRep

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LAST_INSTANT = datetime.max.replace(tzinfo=timezone.utc)
LAST_TIMESTAMP = 253402300799999  # ms; 9999-12-31T23:59:59.999Z
MOST_MINUTES = 999_999_999 * 24 * 60 + 24 * 60 - 1  # timedelta.max in whole minutes
FEWEST_MINUTES = -999_999_999 * 24 * 60  # timedelta.min
SDK_KEY = SDKKey("sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38")
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
    sdk_keys=(KeyRep("new", SDK_KEY), KeyRep("old", OLD_KEY, 1_700_000_000_123, True)),
    mobile_keys=(KeyRep("mobile", MOBILE_KEY),),
    extra={"someKeys": [{"value": SDK_KEY}, OLD_KEY, {MOBILE_KEY: 1}]},
)
PARAMS = EnvironmentParams(
    env_id=EnvironmentID("5f7c0e"),
    identifiers=EnvIdentifiers("production", "Production", "shop", "The Shop"),
    sdk_key=SDK_KEY,
    mobile_key=MOBILE_KEY,
    expiring_sdk_key=ExpiringSDKKey(OLD_KEY, EXPIRATION),
    ttl=timedelta(minutes=5),
    secure_mode=True,
    sdk_keys=(AcceptedKey(SDK_KEY, "new"), AcceptedKey(OLD_KEY, "old", EXPIRATION, True)),
    mobile_keys=(AcceptedKey(MOBILE_KEY, "mobile"),),
    extra=REP.extra,
)
FILTER = FilterRep("shop", FilterKey("mobile-only"), 3)
ALL = [
    *(REP, REP.sdk_key, REP.sdk_key.expiring, REP.sdk_keys[1] if REP.sdk_keys else None, FILTER),
    *(
        PARAMS,
        PARAMS.identifiers,
        PARAMS.expiring_sdk_key,
        PARAMS.accepted_sdk_keys[1],
        FILTER.to_params(FilterID("f1")),
    ),
]
each_class = pytest.mark.parametrize("thing", ALL, ids=lambda thing: type(thing).__name__)


def expiring_at(timestamp: int) -> datetime:
    """Return when a key with this timestamp expires."""
    rep = EnvironmentRep(sdk_key=SDKKeyRep(expiring=ExpiringKeyRep(OLD_KEY, timestamp)))
    expiring = rep.to_params().expiring_sdk_key
    assert expiring is not None
    return expiring.expiration


def test_every_field_of_an_environment_arrives() -> None:
    """Each in its place, and no filter."""
    assert REP.to_params() == PARAMS
    assert REP.to_params().identifiers.filter_key == ""


def test_every_field_of_a_filter_arrives() -> None:
    """With the id, which the wire has elsewhere."""
    assert FILTER.to_params(FilterID("f1")) == FilterParams(proj_key="shop", id=FilterID("f1"), key="mobile-only")


@pytest.mark.parametrize(
    ("rep", "zeros"),
    [
        (EnvironmentRep(), ("", "", "", "", "", "", SDKKeyRep(), 0, False, 0, None, None, NO_EXTRA)),
        (KeyRep(), ("", "", None, False)),
        (SDKKeyRep(), ("", ExpiringKeyRep())),
        (ExpiringKeyRep(), ("", 0)),
        (FilterRep(), ("", "", 0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_wire_omits_is_zero(rep: Any, zeros: tuple[object, ...]) -> None:
    """Of the right type too: ``False`` is not ``0``."""
    values = attrs.astuple(rep, recurse=False)
    assert values == zeros
    assert list(map(type, values)) == list(map(type, zeros))


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


def test_the_accepted_keys_are_those_that_the_service_lists() -> None:
    """In its order, with names and times."""
    params = REP.to_params()
    assert params.accepted_sdk_keys == (AcceptedKey(SDK_KEY, "new"), AcceptedKey(OLD_KEY, "old", EXPIRATION, True))
    assert params.accepted_mobile_keys == (AcceptedKey(MOBILE_KEY, "mobile"),)


def test_without_a_list_the_accepted_keys_are_the_single_ones() -> None:
    """The expiring key among them; an empty key is none."""
    params = attrs.evolve(REP, sdk_keys=None, mobile_keys=None).to_params()
    assert params.accepted_sdk_keys == (AcceptedKey(SDK_KEY), AcceptedKey(OLD_KEY, expiration=EXPIRATION))
    assert params.accepted_mobile_keys == (AcceptedKey(MOBILE_KEY),)
    empty = EnvironmentRep().to_params()
    assert empty.accepted_sdk_keys == empty.accepted_mobile_keys == ()


@pytest.mark.parametrize(("milliseconds", "valid"), [(-1, True), (0, False), (1, False)])
def test_a_key_is_accepted_until_it_expires(milliseconds: int, valid: bool) -> None:
    """One without an expiration always is."""
    at = EXPIRATION + timedelta(milliseconds=milliseconds)
    assert AcceptedKey(OLD_KEY, expiration=EXPIRATION).is_valid(at) is valid
    assert AcceptedKey(OLD_KEY).is_valid(at)


def test_an_environment_seen_through_a_filter() -> None:
    """All else is the same, and the original is untouched."""
    filtered = PARAMS.with_filter(FilterKey("mobile-only"))
    assert filtered.identifiers == EnvIdentifiers(
        "production", "Production", "shop", "The Shop", FilterKey("mobile-only")
    )
    assert attrs.evolve(filtered, identifiers=PARAMS.identifiers) == PARAMS
    assert PARAMS.identifiers.filter_key == ""
    assert filtered.with_filter(FilterKey("")) == PARAMS


@each_class
def test_a_repr_shows_no_key(thing: object) -> None:
    """Nor the larger part of one."""
    for key in (SDK_KEY, OLD_KEY, MOBILE_KEY):
        assert key not in repr(thing)
        assert key[4:13] not in repr(thing)
        assert key[-12:] not in repr(thing)


def test_a_repr_tells_keys_apart() -> None:
    """By their prefix and their end."""
    for text in (repr(REP), repr(PARAMS)):
        assert "sdk-…9e38" in text
        assert "sdk-…b1a0" in text
        assert "mob-…ab93" in text


@each_class
def test_a_description_shows_no_key(thing: object) -> None:
    """It goes into log lines."""
    for describe in (str, format, getattr(thing, "describe", lambda: "")):
        text = describe(thing) if describe in (str, format) else describe()
        assert not any(key in text for key in (SDK_KEY, OLD_KEY, MOBILE_KEY))


def test_a_description_says_which_one_it_is() -> None:
    """In words for a log line."""
    assert REP.describe() == "environment '5f7c0e' ('The Shop' 'Production')"
    assert FILTER.describe() == "filter 'mobile-only' (project 'shop')"


@each_class
def test_nothing_can_be_changed(thing: Any) -> None:
    """Frozen, and slotted: there is no dictionary and no weak reference in each of many thousand."""
    for field in attrs.fields(type(thing)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(thing, field.name, None)
    assert not hasattr(thing, "__dict__")
    assert not hasattr(thing, "__weakref__")


@each_class
def test_equal_ones_are_one_in_a_set(thing: Any) -> None:
    """A handler may keep them in sets and as keys."""
    assert {thing, attrs.evolve(thing)} == {thing}


@pytest.mark.parametrize("thing", [*ALL, EnvironmentRep(), EnvironmentRep().to_params()])
def test_copies_are_equal(thing: object) -> None:
    """A handler may hand them to other threads and processes."""
    assert copy.copy(thing) == thing
    assert copy.deepcopy(thing) == thing
    assert pickle.loads(pickle.dumps(thing)) == thing
