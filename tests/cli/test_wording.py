"""The handler's calls in JSON and in words."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import attrs
import pytest

from autoconfig.cli.calls import Call
from autoconfig.cli.json_form import call_json
from autoconfig.cli.narration import Narrator
from autoconfig.cli.story import EUROPE, FILTERS, PRODUCTION
from autoconfig.cli.wording import duration, moment
from autoconfig.environments import AcceptedKey, EnvironmentParams, ExpiringSDKKey
from autoconfig.identifiers import SDKKey, mask

EXPIRATION = datetime(2026, 9, 1, 12, 0, 0, 500_000, timezone.utc)
PARAMS = attrs.evolve(PRODUCTION, default_ttl=5, secure_mode=True).to_params()
ROTATING = attrs.evolve(PARAMS, expiring_sdk_key=ExpiringSDKKey(SDKKey("sdk-old"), EXPIRATION))


def words(*calls: Call) -> tuple[str, list[str]]:
    """Return the words for the last of some calls."""
    narrator = Narrator(mask)
    *_, last = [narrator.put(call) for call in calls]
    return last.title, last.facts


def changed(**fields: object) -> list[str]:
    """Return the words for an update of the fields."""
    now = attrs.evolve(PARAMS, **fields)
    return words(Call("add_environment", PARAMS), Call("update_environment", now))[1]


def test_an_environment_in_json() -> None:
    assert json.loads(call_json(Call("add_environment", ROTATING), str)) == {
        "call": "add_environment",
        "params": {
            "envID": "64c1f0a2b7e94d0012ab3c01",
            "envKey": "production",
            "envName": "Production",
            "projKey": "shop",
            "projName": "Shop",
            "mobKey": PRODUCTION.mob_key,
            "sdkKey": PRODUCTION.sdk_key.value,
            "expiringSdkKey": {"value": "sdk-old", "expiration": "2026-09-01T12:00:00.500+00:00"},
            "ttl": 300,
            "secureMode": True,
        },
    }


def test_an_environment_without_an_expiring_key_in_json() -> None:
    assert json.loads(call_json(Call("update_environment", PARAMS), str))["params"]["expiringSdkKey"] is None


def test_secrets_in_json_are_shown_as_asked() -> None:
    params = json.loads(call_json(Call("add_environment", ROTATING), mask))["params"]
    assert (params["sdkKey"], params["mobKey"]) == ("sdk-…0ae7", "mob-…9d14")
    assert params["expiringSdkKey"]["value"] == "sdk-…"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call("received_all_environments"), {}),
        (Call("delete_environment", "id"), {"id": "id"}),
        (Call("delete_filter", "id"), {"id": "id"}),
        (
            Call("add_filter", FILTERS[EUROPE].to_params(EUROPE)),
            {"params": {"id": EUROPE, "key": "europe", "projKey": "shop"}},
        ),
    ],
)
def test_the_other_calls_in_json(call: Call, expected: dict[str, object]) -> None:
    assert json.loads(call_json(call, str)) == {"call": call.name, **expected}


def test_json_is_one_line_of_ascii_whatever_a_name_holds() -> None:
    name = "a\nb\u2028c\ud800\U0001f600"
    line = call_json(Call("add_environment", named(name)), str)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["params"]["envName"] == name


def test_an_added_environment_in_words() -> None:
    assert words(Call("add_environment", PARAMS)) == (
        "Shop / Production",
        ["sdk-…0ae7", "mob-…9d14", "TTL 5 min", "secure mode"],
    )


def test_an_update_in_words_is_what_is_different() -> None:
    assert changed(sdk_key=SDKKey("sdk-0123456789abcdef"), ttl=timedelta(0), secure_mode=False) == [
        "SDK key sdk-…0ae7 → sdk-…cdef",
        "TTL 5 min → 0",
        "secure mode on → off",
    ]


def test_a_rotation_in_words() -> None:
    assert changed(expiring_sdk_key=ROTATING.expiring_sdk_key) == [f"sdk-… valid until {moment(EXPIRATION)}"]
    assert words(Call("add_environment", ROTATING), Call("update_environment", PARAMS))[1] == [
        "the old key is no longer accepted"
    ]


def test_the_end_of_a_rotation_in_words() -> None:
    other = AcceptedKey("sdk-other", expiration=EXPIRATION)
    both = attrs.evolve(
        PARAMS, sdk_keys=(AcceptedKey(PARAMS.sdk_key), AcceptedKey("sdk-old", expiration=EXPIRATION), other)
    )
    assert end_of(both, PARAMS) == ["the old keys are no longer accepted"]
    kept = attrs.evolve(PARAMS, sdk_keys=(AcceptedKey(PARAMS.sdk_key), AcceptedKey("sdk-old")))
    assert end_of(ROTATING, kept) == ["no expiring key"]


def end_of(before: EnvironmentParams, now: EnvironmentParams) -> list[str]:
    return words(Call("add_environment", before), Call("update_environment", now))[1]


def test_keys_that_are_masked_alike_are_different_all_the_same() -> None:
    now = attrs.evolve(PARAMS, sdk_key=SDKKey("sdk-new"))
    calls = [Call("add_environment", attrs.evolve(PARAMS, sdk_key=SDKKey("sdk-old"))), Call("update_environment", now)]
    assert words(*calls)[1] == ["SDK key sdk-… → sdk-…"]


def test_what_newer_services_tell_in_words() -> None:
    current = AcceptedKey(PARAMS.sdk_key)
    assert changed(sdk_keys=(current, AcceptedKey("sdk-other"))) == ["accepted SDK keys"]
    assert changed(sdk_keys=(current, AcceptedKey("sdk-old", expiration=EXPIRATION))) == [
        f"sdk-… valid until {moment(EXPIRATION)}"
    ]
    assert changed(mobile_keys=(AcceptedKey(PARAMS.mobile_key, "name"),)) == ["accepted mobile keys"]
    assert changed(extra={"colour": "red"}) == ["other fields"]


def test_an_update_without_a_difference_in_words() -> None:
    assert changed() == ["nothing that the handler is told"]


def test_a_deletion_names_what_was_known() -> None:
    call = Call("delete_environment", PARAMS.env_id)
    assert words(Call("add_environment", PARAMS), call)[0] == "Shop / Production"
    assert words(call)[0] == PARAMS.env_id


def test_an_environment_and_a_filter_may_share_an_id() -> None:
    filter = FILTERS[EUROPE].to_params(EUROPE)
    environment = attrs.evolve(PARAMS, env_id=EUROPE)
    calls = [Call("add_filter", filter), Call("add_environment", environment), Call("delete_filter", EUROPE)]
    assert words(*calls)[0] == "filter europe of project shop"
    assert words(*calls, Call("received_all_environments"))[0] == "1 environment, 0 filters"


def test_words_hold_nothing_that_moves_the_cursor() -> None:
    title, _ = words(Call("add_environment", named("\x1b[2J\r\nx\u202e")))
    assert title == r"Shop / \x1b[2J\r\nx\u202e"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0"), (59, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (86400, "1 d"), (90061, "1 d 1 h"), (-60, "-1 min")],
)
def test_durations(seconds: int, expected: str) -> None:
    assert duration(timedelta(seconds=seconds)) == expected


def test_the_ends_of_time_have_words() -> None:
    assert duration(timedelta.max)
    assert duration(timedelta.min)
    assert moment(datetime.max.replace(tzinfo=timezone.utc)).startswith("9999-12-31")


def named(name: str) -> EnvironmentParams:
    return attrs.evolve(PARAMS, identifiers=attrs.evolve(PARAMS.identifiers, env_name=name))
