"""Which keys an environment accepts, from the service's bytes over a real connection to what a handler gets."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from support.managing import managed
from support.recorder import Recorder
from support.samples import patch_of, put_of, service_environment
from support.scripted_server import ScriptedServer

from autoconfig import AcceptedKey, EnvironmentParams, EnvironmentRegistry, ViewKey

NOW = datetime.now(timezone.utc)
PAST, FUTURE = 1_600_000_000_000, 4_000_000_000_000  # ms
IN_1970, IN_2096 = datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(2096, 10, 2, 7, 6, 40, tzinfo=timezone.utc)
ABSENT = object()
DEFAULT = {"key": "default", "value": "sdk-e1"}
MOBILE = {"key": "default", "value": "mob-e1"}


def received(**changed: Any) -> EnvironmentParams:
    """Return what a handler gets of an environment of the service: the same from a put and from a patch."""
    document = {name: value for name, value in service_environment("e1", **changed).items() if value is not ABSENT}
    put, patch = put_of(document), patch_of({**document, "version": 2})
    recorder = Recorder()
    with ScriptedServer([[put, patch]]) as server, managed(server.url, recorder) as manager:
        manager.start()
        added, updated = recorder.wait_for("add_environment"), recorder.wait_for("update_environment")
    assert added == updated
    assert isinstance(added, EnvironmentParams)
    return added


def found(params: EnvironmentParams) -> tuple[set[str], set[str]]:
    """Return the keys by which a registry finds the environment, of all that it has anything to do with."""
    registry = EnvironmentRegistry()
    registry.add_environment(params)
    names = ["sdk-e1", "sdk-old", "sdk-new", "sdk-view", "mob-e1", "mob-old", "mob-new", "mob-view", ""]
    return (
        {name for name in names if registry.find_by_sdk_key(name)},
        {name for name in names if registry.find_by_mobile_key(name)},
    )


def test_a_list_with_entries_is_the_whole_truth() -> None:
    """The single expiring key is not looked at then."""
    params = received(
        sdkKey={"value": "sdk-e1", "expiring": {"value": "sdk-old", "timestamp": FUTURE}},
        sdkKeys=[DEFAULT, {"key": "new", "value": "sdk-new"}],
        mobileKeys=[{"key": "new", "value": "mob-new"}, MOBILE],
    )
    assert params.accepted_sdk_keys == (AcceptedKey("sdk-e1", "default"), AcceptedKey("sdk-new", "new"))
    assert params.accepted_mobile_keys == (AcceptedKey("mob-new", "new"), AcceptedKey("mob-e1", "default"))
    assert found(params) == ({"sdk-e1", "sdk-new"}, {"mob-e1", "mob-new"})


@pytest.mark.parametrize("listed", [[], None, ABSENT], ids=["empty", "null", "absent"])
def test_a_list_without_entries_means_the_old_format(listed: Any) -> None:
    params = received(
        sdkKey={"value": "sdk-e1", "expiring": {"value": "sdk-old", "timestamp": FUTURE}},
        sdkKeys=listed,
        mobileKeys=listed,
    )
    assert params.accepted_sdk_keys == (AcceptedKey("sdk-e1"), AcceptedKey("sdk-old", expiration=IN_2096))
    assert params.accepted_mobile_keys == (AcceptedKey("mob-e1"),)
    assert found(params) == ({"sdk-e1", "sdk-old"}, {"mob-e1"})


def test_each_kind_of_keys_has_its_own_format() -> None:
    """One list may be empty while the other is not."""
    params = received(sdkKeys=[], mobileKeys=[MOBILE, {"key": "new", "value": "mob-new"}])
    assert found(params) == ({"sdk-e1"}, {"mob-e1", "mob-new"})


def test_the_anchor_never_expires_and_is_never_limited_to_views() -> None:
    """Whatever its entry says, and of both kinds of keys."""
    params = received(
        sdkKeys=[{**DEFAULT, "expiry": PAST, "hasViews": True}],
        mobileKeys=[{**MOBILE, "expiry": PAST, "hasViews": True}],
    )
    assert params.accepted_sdk_keys == (AcceptedKey("sdk-e1", "default"),)
    assert params.accepted_mobile_keys == (AcceptedKey("mob-e1", "default"),)
    assert params.view_sdk_keys == params.view_mobile_keys == ()
    assert found(params) == ({"sdk-e1"}, {"mob-e1"})


def test_of_two_entries_with_one_value_the_first_counts() -> None:
    """With its name, its time and its views; the anchor's too."""
    params = received(
        sdkKeys=[
            DEFAULT,
            {"key": "first", "value": "sdk-new", "expiry": FUTURE},
            {"key": "second", "value": "sdk-new", "hasViews": True},
            {"key": "again", "value": "sdk-e1"},
            {"key": "first", "value": "sdk-view", "hasViews": True},
            {"key": "second", "value": "sdk-view"},
        ]
    )
    assert params.accepted_sdk_keys == (AcceptedKey("sdk-e1", "default"), AcceptedKey("sdk-new", "first", IN_2096))
    assert params.view_sdk_keys == (ViewKey("sdk-view", "first"),)
    assert found(params)[0] == {"sdk-e1", "sdk-new"}


def test_an_expiry_is_signed_null_is_none_and_what_has_passed_is_gone() -> None:
    params = received(
        sdkKeys=[
            DEFAULT,
            {"key": "signed", "value": "sdk-old", "expiry": -1},
            {"key": "zero", "value": "sdk-view", "expiry": 0},
            {"key": "null", "value": "sdk-new", "expiry": None},
        ],
        mobileKeys=[MOBILE, {"key": "past", "value": "mob-old", "expiry": PAST}],
    )
    signed, zero, null = params.accepted_sdk_keys[1:]
    assert signed.expiration == IN_1970 - timedelta(milliseconds=1)
    assert zero.expiration == IN_1970
    assert null == AcceptedKey("sdk-new", "null")
    assert [key.is_valid(NOW) for key in (signed, zero, null)] == [False, False, True]
    assert found(params) == ({"sdk-e1", "sdk-new"}, {"mob-e1"})


def test_keys_limited_to_views_are_kept_apart_and_no_look_up_finds_them() -> None:
    """Name, value and time are there for those who ask."""
    params = received(
        sdkKeys=[DEFAULT, {"key": "view", "value": "sdk-view", "expiry": FUTURE, "hasViews": True}],
        mobileKeys=[{"key": "view", "value": "mob-view", "hasViews": True}, {**MOBILE, "hasViews": False}],
    )
    assert params.view_sdk_keys == (ViewKey("sdk-view", "view", IN_2096),)
    assert params.view_mobile_keys == (ViewKey("mob-view", "view"),)
    assert params.accepted_sdk_keys == (AcceptedKey("sdk-e1", "default"),)
    assert params.accepted_mobile_keys == (AcceptedKey("mob-e1", "default"),)
    assert found(params) == ({"sdk-e1"}, {"mob-e1"})


def test_an_environment_for_servers_only_is_valid() -> None:
    params = received(mobKey="", mobileKeys=[])
    assert params.accepted_mobile_keys == ()
    assert found(params) == ({"sdk-e1"}, set())


def test_an_environment_without_sdk_key_and_lists_is_taken() -> None:
    """As the recorded relay does."""
    params = received(sdkKey={"value": ""}, mobKey="", sdkKeys=[], mobileKeys=[])
    assert params.accepted_sdk_keys == params.accepted_mobile_keys == ()
    assert found(params) == (set(), set())


def test_names_of_an_entry_come_in_any_case_and_with_unknown_fields() -> None:
    params = received(
        sdkKeys=[{"KEY": "default", "Value": "sdk-e1"}, {"VALUE": "sdk-view", "hasviews": True, "new": 1}]
    )
    assert params.accepted_sdk_keys == (AcceptedKey("sdk-e1", "default"),)
    assert params.view_sdk_keys == (ViewKey("sdk-view"),)
