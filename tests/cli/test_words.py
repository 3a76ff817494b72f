"""Environments, changes, times and states in words, in the wire's form, and as variables."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from msgspec.structs import replace

from autoconfig import ErrorInfo, ErrorKind, RefusedEnvironment, StreamState, StreamStatus
from autoconfig.cli.demo import PRODUCTION, STAGING
from autoconfig.cli.words import (
    age,
    differences,
    duration,
    environment_json,
    is_failing,
    last_error_words,
    moment,
    properties,
    state_words,
    status_json,
    variables,
)
from autoconfig.environments import EnvironmentParams
from autoconfig.identifiers import SDKKey, mask
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.testing import KeyRep

NOW = datetime(2026, 9, 1, 12, 0, tzinfo=timezone.utc)
FRESH = StreamStatus(StreamState.INITIALIZING, NOW)
ERROR = ErrorInfo(ErrorKind.ERROR_RESPONSE, "unexpected HTTP status 503", NOW - timedelta(seconds=3), 503)
SDK_KEY = SDKKeyRep(SDKKey("sdk-1"))
SERVED = {
    "envId": "e1", "envKey": "test", "envName": "Test", "mobKey": "mob-1", "projName": "Shop", "projKey": "shop",
    "sdkKey": {"value": "sdk-1", "expiring": {"value": "sdk-0", "timestamp": 2_208_988_800_123}},
    "defaultTtl": 5, "secureMode": True,
    "sdkKeys": [
        {"key": "default", "value": "sdk-1"},
        {"key": "old", "value": "sdk-0", "expiry": 2_208_988_800_123},
        {"key": "part", "value": "sdk-view", "hasViews": True},
    ],
    "mobileKeys": [{"key": "default", "value": "mob-1"}],
    "aFieldOfTomorrow": {"secret": "x"},
}  # fmt: skip


def params_of(fields: dict[str, Any]) -> EnvironmentParams:
    return EnvironmentRep.from_json(fields).to_params()


def test_the_wire_form_is_what_the_service_sent() -> None:
    assert environment_json(params_of(SERVED), str) == SERVED


def test_an_environment_without_lists_gets_those_that_say_the_same() -> None:
    old = {name: value for name, value in SERVED.items() if not name.endswith("Keys") and name != "aFieldOfTomorrow"}
    again = params_of(environment_json(params_of(old), str))
    for name in ("accepted_sdk_keys", "accepted_mobile_keys", "expiring_sdk_key", "ttl", "identifiers"):
        assert getattr(again, name) == getattr(params_of(old), name)


def test_without_reveal_the_wire_form_holds_no_secret() -> None:
    found = environment_json(params_of(SERVED), mask)
    assert found["aFieldOfTomorrow"] == "…"
    assert [key["value"] for key in found["sdkKeys"]] == ["sdk-…"] * 3
    assert '"sdk-1"' not in json.dumps(found)


def test_a_new_environment_in_words() -> None:
    end = "2040-01-01" if moment(datetime(2040, 1, 1, tzinfo=timezone.utc)).startswith("2040") else "2039-12-31"
    facts = properties(STAGING.to_params(), mask)
    assert facts[:2] == ["sdk-…d479", "mob-…5c27"]
    assert facts[2].startswith(f"sdk-…7152 until {end}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env_name": "Live"}, ["name Production → Live"]),
        ({"env_name": ""}, ["name Production → none"]),
        ({"proj_key": "store", "env_key": "live"}, ["key production → live", "project key shop → store"]),
        ({"default_ttl": 5}, ["TTL none → 5 min"]),
        ({"default_ttl": -5}, ["TTL none → -5 min"]),
        ({"secure_mode": True}, ["secure mode off → on"]),
        ({"env_name": "a\x1b[2J\n"}, ["name Production → a\\x1b[2J\\n"]),
        (
            {"sdk_keys": (*(PRODUCTION.sdk_keys or ()), KeyRep("second", "sdk-0123456789abcdef"))},
            ["sdk-…cdef is accepted too"],
        ),
        ({"version": 7}, ["no visible change"]),
    ],
)
def test_a_change_in_words(changes: dict[str, Any], words: list[str]) -> None:
    before, now = PRODUCTION.to_params(), replace(PRODUCTION, **changes).to_params()
    assert differences(before, now, mask) == words


def test_the_end_of_a_rotation_in_words() -> None:
    after = replace(STAGING, sdk_keys=(STAGING.sdk_keys or ())[:1])
    facts = differences(STAGING.to_params(), after.to_params(), mask)
    assert facts == ["sdk-…7152 is no longer accepted"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "connecting"),
        ({"connected_since": NOW}, "connected for 0 s"),
        ({"state": StreamState.VALID, "connected_since": NOW - timedelta(seconds=125)}, "connected for 2 min"),
        ({"state": StreamState.INTERRUPTED, "next_retry_at": NOW + timedelta(seconds=1.5)}, "next attempt in 2 s"),
        ({"state": StreamState.INTERRUPTED, "next_retry_at": NOW + timedelta(seconds=299.9)}, "next attempt in 5 min"),
        ({"state": StreamState.INTERRUPTED, "next_retry_at": NOW - timedelta(seconds=0.1)}, "connecting"),
        ({"state": StreamState.OFF}, "ended"),
    ],
)
def test_the_connection_in_words(fields: dict[str, Any], words: str) -> None:
    assert state_words(attrs.evolve(FRESH, **fields), NOW) == words


def test_the_last_error_in_words() -> None:
    status = attrs.evolve(FRESH, state=StreamState.INTERRUPTED, last_error=ERROR, failed_attempts=7)
    assert last_error_words(status, NOW) == "unexpected HTTP status 503, 3 s ago (7 failed attempts so far)"
    over = attrs.evolve(FRESH, state=StreamState.VALID, last_error=ERROR, connected_since=NOW)
    assert last_error_words(over, NOW) == "last error: unexpected HTTP status 503, 3 s ago"
    assert last_error_words(FRESH, NOW) == ""
    nasty = attrs.evolve(over, last_error=attrs.evolve(ERROR, message="\x1b[2J"))
    assert "\x1b" not in last_error_words(nasty, NOW)


def test_a_connection_that_has_brought_nothing_yet_does_not_end_the_failure() -> None:
    assert is_failing(attrs.evolve(FRESH, last_error=ERROR, connected_since=NOW, failed_attempts=2))


def test_a_status_in_json() -> None:
    refused = (RefusedEnvironment("e1", "why", served=True),)  # type: ignore[arg-type]
    status = attrs.evolve(FRESH, state=StreamState.INTERRUPTED, last_error=ERROR, next_retry_at=NOW, refused=refused)
    assert status_json(status) == {
        "state": "INTERRUPTED",
        "lastError": {
            "kind": "ERROR_RESPONSE", "message": ERROR.message, "statusCode": 503, "time": "2026-09-01T11:59:57.000Z"
        },
        "nextRetryAt": "2026-09-01T12:00:00.000Z",
        "refused": [{"id": "e1", "reason": "why", "served": True}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, ""),
        (59, "59 s"),
        (60, "1 min"),
        (3725, "1 h 2 min"),
        (86400, "1 d"),
        (86460, "1 d"),
        (90061, "1 d 1 h"),
        (-300, "-5 min"),
        (-90061, "-1 d 1 h"),
        (-0.5, ""),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (59.9, "59 s"), (125, "2 min"), (7300, "2 h"), (1e5, "1 d")]
)
def test_ages(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_the_ends_of_time_have_words() -> None:
    assert duration(timedelta.max.total_seconds())
    assert duration(timedelta.min.total_seconds()).startswith("-")
    assert moment(datetime.max.replace(tzinfo=timezone.utc)).startswith("9999-12-31")


def test_names_of_variables_are_names_and_different() -> None:
    reps = [
        EnvironmentRep(
            env_id=id, env_key=key, proj_key="my-shop", mob_key="m\nLD_EVIL=1", sdk_key=SDKKeyRep(SDKKey("s"))
        )  # type: ignore[arg-type]
        for id, key in (("1", "a.b"), ("2", "a-b"), ("3", "c"))
    ]
    lines = list(variables([rep.to_params() for rep in reps], "relay-env"))
    assert [line.partition("=")[0] for line in lines] == [
        f"LD_{kind}_my_shop_{name}"
        for name in ("a_b_1", "a_b_2", "c")
        for kind in ("ENV", "MOBILE_KEY", "CLIENT_SIDE_ID")
    ]
    assert not any("\n" in line for line in lines)
