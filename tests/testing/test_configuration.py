"""What the emulator serves: what it writes, byte by byte, what it reads, and how versions grow."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from testing.plain_client import PlainClient, messages

from autoconfig.testing import (
    Emulator,
    EnvironmentRep,
    ExpiringKeyRep,
    FilterRep,
    KeyRep,
    SDKKeyRep,
    configuration_from_json,
)
from autoconfig.testing.configuration import Configuration

SECRET = "sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38"
PRODUCTION = EnvironmentRep(
    env_id="env-1",
    env_key="production",
    env_name="Zürich",
    mob_key="mob-1",
    proj_key="shop",
    proj_name="Shop",
    sdk_key=SDKKeyRep("sdk-1", ExpiringKeyRep("sdk-0", 1700000000000)),
    default_ttl=5,
    secure_mode=True,
    version=7,
    sdk_keys=(
        KeyRep("default", "sdk-1"),
        KeyRep("default", "sdk-0", 1700000000000),
        KeyRep("view", "sdk-9", None, True),
    ),
    mobile_keys=(KeyRep("m", "mob-1"),),
    extra={"future": [1, {"a": None}]},
)
PRODUCTION_JSON = (
    '{"envId":"env-1","envKey":"production","envName":"Zürich","mobKey":"mob-1","projName":"Shop","projKey":"shop",'
    '"sdkKey":{"value":"sdk-1","expiring":{"value":"sdk-0","timestamp":1700000000000}},"defaultTtl":5,'
    '"secureMode":true,"version":7,"sdkKeys":[{"key":"default","value":"sdk-1"},'
    '{"key":"default","value":"sdk-0","expiry":1700000000000},{"key":"view","value":"sdk-9","hasViews":true}],'
    '"mobileKeys":[{"key":"m","value":"mob-1"}],"future":[1,{"a":null}]}'
)
FILTER_JSON = '{"projKey":"shop","key":"europe","version":3}'
PUT_DATA = f'{{"path":"/","data":{{"environments":{{"env-1":{PRODUCTION_JSON}}},"filters":{{"f-1":{FILTER_JSON}}}}}}}'
EUROPE = FilterRep("shop", "europe", 3)

TEXT = st.text(st.characters(codec="utf-8"))
INT64 = st.integers(-(2**63), 2**63 - 1)
EXPIRING = st.none() | st.builds(ExpiringKeyRep, TEXT, st.integers(0, 2**64 - 1))
KEYS = st.none() | st.lists(st.builds(KeyRep, TEXT, TEXT, st.none() | INT64, st.booleans()), max_size=3).map(tuple)
ENVIRONMENTS = st.builds(
    EnvironmentRep,
    env_id=TEXT,
    env_key=TEXT,
    env_name=TEXT,
    mob_key=TEXT,
    proj_key=TEXT,
    proj_name=TEXT,
    sdk_key=st.builds(SDKKeyRep, TEXT, EXPIRING),
    default_ttl=INT64,
    secure_mode=st.booleans(),
    version=INT64,
    sdk_keys=KEYS,
    mobile_keys=KEYS,
)
FILTERS = st.dictionaries(TEXT, st.builds(FilterRep, TEXT, TEXT, INT64), max_size=3)


def read_stream(emulator: Emulator, change: Any = lambda: None) -> bytes:
    """Return what a client is sent, a change included."""
    with PlainClient(emulator.uri, version="HTTP/1.0") as client:
        emulator.wait_for_connections(1)
        change()
        emulator.drop_connections("eof")
        client.read_rest()
        return client.body


def test_a_put_is_written_as_the_service_writes_it() -> None:
    with Emulator([PRODUCTION], {"f-1": EUROPE}) as emulator:
        assert read_stream(emulator) == f"event: put\ndata: {PUT_DATA}\n\n".encode()


def test_a_patch_and_a_delete_have_a_path() -> None:
    def change() -> None:
        emulator.set_environment(PRODUCTION)
        emulator.set_filter("f-1", EUROPE)
        emulator.delete_filter("f-1")
        emulator.delete_environment("env-1")

    with Emulator() as emulator:
        stream = read_stream(emulator, change).decode()
    assert stream.split("\n\n")[1:-1] == [
        f'event: patch\ndata: {{"path":"/environments/env-1","data":{PRODUCTION_JSON}}}',
        f'event: patch\ndata: {{"path":"/filters/f-1","data":{FILTER_JSON}}}',
        'event: delete\ndata: {"path":"/filters/f-1","version":4}',
        'event: delete\ndata: {"path":"/environments/env-1","version":8}',
    ]


def test_ids_are_written_as_json() -> None:
    id = 'a"b\\c\n'
    with Emulator([EnvironmentRep(id)]) as emulator:
        stream = read_stream(emulator, lambda: emulator.set_environment(EnvironmentRep(id)))
    (_, put), (_, patch) = messages(stream)
    assert list(put["data"]["environments"]) == [id]
    assert patch["path"] == f"/environments/{id}"


def test_an_environment_that_contradicts_itself_is_served() -> None:
    """For tests of how clients refuse it."""
    rep = EnvironmentRep("env-1", sdk_key=SDKKeyRep("sdk-1"), sdk_keys=(KeyRep("default", "sdk-2"),))
    assert rep.contradiction()
    with Emulator([rep]) as emulator:
        [(_, put)] = messages(read_stream(emulator))
        assert put["data"]["environments"]["env-1"]["sdkKeys"] == [{"key": "default", "value": "sdk-2"}]
        assert emulator.environments == {"env-1": rep}


@pytest.mark.parametrize(
    "text",
    [
        PUT_DATA,
        json.dumps(json.loads(PUT_DATA)["data"], indent=2),
        PUT_DATA.replace('"envId":"env-1",', ""),
        PUT_DATA.replace("envId", "envID"),
    ],
    ids=["data of a put", "snapshot", "without envId", "envID"],
)
def test_a_configuration_is_read_without_loss(text: str) -> None:
    expected = [PRODUCTION], {"f-1": EUROPE}
    assert configuration_from_json(text) == expected
    assert configuration_from_json(json.loads(text)) == expected


@given(st.lists(ENVIRONMENTS, max_size=3, unique_by=lambda rep: rep.env_id), FILTERS)
def test_what_a_put_says_can_be_read(environments: list[EnvironmentRep], filters: dict[str, FilterRep]) -> None:
    data = Configuration(environments, filters).put_event(True).decode().removeprefix("event: put\ndata: ")
    assert configuration_from_json(data) == (environments, filters)


def test_a_configuration_may_be_empty() -> None:
    assert configuration_from_json("{}") == ([], {})
    assert configuration_from_json('{"environments": {}}') == ([], {})


SHAPE = "the configuration must be an object"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", SHAPE),
        ('{"path": "/", "data": []}', SHAPE),
        ('{"path": "/"}', SHAPE),
        ('{"environment": {}}', "the configuration has neither environments nor filters"),
        ('{"environments": []}', "environments must be an object"),
        ('{"environments": {"e": "x"}}', "environments.e must be an object"),
        (
            '{"environments": {"e": {"envId": "other"}}}',
            "environments.e.envId must be the id that the environment is listed under, or be left out",
        ),
        ('{"environments": {"e": {"version": "1"}}}', "environments.e.version must be a 64-bit integer, not a string"),
        (
            f'{{"environments": {{"e": {{"sdkKey": {{"value": ["{SECRET}"]}}}}}}}}',
            "environments.e.sdkKey.value must be a string, not an array",
        ),
        ('{"filters": {"f": []}}', "filters.f must be an object"),
        ('{"filters": {"f": {"version": true}}}', "filters.f.version must be a 64-bit integer, not a boolean"),
        ('{"environments"\n: x}', "not JSON: Expecting value (line 2, column 3)"),
        ("", "not JSON: Expecting value (line 1, column 1)"),
        ("[" * 100_000, "not a configuration: nested too deeply"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"must be|neither|not ") as caught:
        configuration_from_json(text)
    assert str(caught.value) == message
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_error_about_json_does_not_carry_the_text_along() -> None:
    with pytest.raises(ValueError, match="not JSON") as caught:
        configuration_from_json(f'{{"environments": {{"e": {{"mobKey": "{SECRET}"')
    assert not isinstance(caught.value, json.JSONDecodeError)
    assert caught.value.__cause__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_versions_only_grow() -> None:
    emulator = Emulator([PRODUCTION])
    assert emulator.set_environment(PRODUCTION).version == 8
    assert emulator.set_environment(EnvironmentRep("env-1", version=20)).version == 20
    emulator.delete_environment("env-1")
    assert emulator.environments == {}
    assert emulator.set_environment(PRODUCTION).version == 22
    assert emulator.environments == {"env-1": replace(PRODUCTION, version=22)}


def test_an_unknown_environment_keeps_its_version() -> None:
    assert Emulator().set_environment(EnvironmentRep("env-1", version=-3)).version == -3


def test_the_versions_of_filters_only_grow() -> None:
    emulator = Emulator(filters={"f-1": EUROPE})
    assert emulator.set_filter("f-1", EUROPE).version == 4
    emulator.delete_filter("f-1")
    assert emulator.filters == {}
    assert emulator.set_filter("f-1", EUROPE) == replace(EUROPE, version=6)
    assert emulator.filters == {"f-1": replace(EUROPE, version=6)}


def test_a_rotation_changes_the_list_of_keys_too() -> None:
    keys = KeyRep("default", "sdk-1"), KeyRep("other", "sdk-9"), KeyRep("next", "sdk-new")
    rep = Emulator([replace(PRODUCTION, sdk_keys=keys)]).rotate_sdk_key("env-1", "sdk-new")
    expiry = rep.sdk_key.expiring.timestamp
    assert rep.sdk_keys == (KeyRep("default", "sdk-new"), KeyRep("default", "sdk-1", expiry), KeyRep("other", "sdk-9"))
    assert rep.contradiction() is None


def test_the_first_key_of_an_environment_replaces_none() -> None:
    assert Emulator([EnvironmentRep("env-1")]).rotate_sdk_key("env-1", "sdk-new").sdk_key == SDKKeyRep("sdk-new")


def test_replace_takes_a_higher_version_of_the_same() -> None:
    emulator = Emulator([PRODUCTION])
    emulator.replace([replace(PRODUCTION, version=9)])
    assert emulator.environments["env-1"].version == 9


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"sdk_key": SECRET}, "sdkKey must be an object, not a string"),
        ({"sdk_keys": [SECRET]}, "sdkKeys[0] must be an object, not a string"),
        ({"default_ttl": "5"}, "defaultTtl must be a 64-bit integer, not a string"),
        ({"version": 2**63}, "version must be a 64-bit integer"),
    ],
)
def test_a_field_of_the_wrong_type_is_an_error_at_once(field: dict[str, Any], text: str) -> None:
    """Not only in the client, which would reconnect for ever, and say so in its log."""
    wrong = EnvironmentRep("env-1", **field)
    emulator = Emulator([PRODUCTION], {"f-1": EUROPE})
    for call in (
        lambda: emulator.set_environment(wrong),
        lambda: emulator.replace([EnvironmentRep("env-2"), wrong]),
        lambda: Emulator([wrong]),
    ):
        with pytest.raises(ValueError, match=r"^environments\.") as caught:
            call()
        assert str(caught.value) == f"environments.env-1.{text}"
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert (emulator.environments, emulator.filters) == ({"env-1": PRODUCTION}, {"f-1": EUROPE})


def test_keys_may_be_in_a_list() -> None:
    rep = EnvironmentRep("env-1", sdk_key=SDKKeyRep("sdk-1"), sdk_keys=[KeyRep("default", "sdk-1")])  # type: ignore[arg-type]
    with Emulator([rep]) as emulator:
        [(_, put)] = messages(read_stream(emulator))
    assert put["data"]["environments"]["env-1"]["sdkKeys"] == [{"key": "default", "value": "sdk-1"}]


def test_what_is_no_environment_or_filter_is_an_error_at_once() -> None:
    emulator = Emulator()
    with pytest.raises(TypeError, match=r"environment must be EnvironmentRep, not dict"):
        emulator.set_environment({"envId": "env-1"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"environment must be EnvironmentRep, not EnvironmentParams"):
        Emulator([PRODUCTION.to_params()])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="filter must be FilterRep, not FilterParams"):
        emulator.set_filter("f-1", EUROPE.to_params("f-1"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^filters\.f-1\.version must be a 64-bit integer, not a string$"):
        emulator.set_filter("f-1", FilterRep("shop", "europe", "3"))  # type: ignore[arg-type]
    assert (emulator.environments, emulator.filters) == ({}, {})
