from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from testing.plain_client import events

from autoconfig.environments import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
from autoconfig.testing import (
    configuration_from_json,
    environment_from_json,
    environment_json,
    event_bytes,
    filter_from_json,
    filter_json,
)
from autoconfig.testing.wire import delete_event, patch_event, put_event

INT64 = st.integers(-(2**63), 2**63 - 1)
EXPIRING = st.builds(ExpiringKeyRep, st.text(min_size=1), st.integers(0, 2**64 - 1)) | st.just(ExpiringKeyRep())
ENVIRONMENTS = st.builds(
    EnvironmentRep,
    env_id=st.text(),
    env_key=st.text(),
    env_name=st.text(),
    mob_key=st.text(),
    proj_key=st.text(),
    proj_name=st.text(),
    sdk_key=st.builds(SDKKeyRep, st.text(), EXPIRING),
    default_ttl=INT64,
    secure_mode=st.booleans(),
    version=INT64,
)
FILTERS = st.builds(FilterRep, st.text(), st.text(), INT64)
SECRET = "sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38"
REP = EnvironmentRep(
    env_id="env-1",
    env_key="production",
    env_name="Production",
    mob_key="mob-1",
    proj_key="shop",
    proj_name="Shop",
    sdk_key=SDKKeyRep("sdk-1", ExpiringKeyRep("sdk-0", 1700000000000)),
    default_ttl=5,
    secure_mode=True,
    version=7,
)


def test_an_environment_has_the_fields_of_the_wire() -> None:
    assert environment_json(REP) == {
        "envID": "env-1",
        "envKey": "production",
        "envName": "Production",
        "mobKey": "mob-1",
        "projKey": "shop",
        "projName": "Shop",
        "sdkKey": {"value": "sdk-1", "expiring": {"value": "sdk-0", "timestamp": 1700000000000}},
        "defaultTtl": 5,
        "secureMode": True,
        "version": 7,
    }


def test_an_environment_without_an_expiring_key_has_no_such_field() -> None:
    assert environment_json(EnvironmentRep(sdk_key=SDKKeyRep("sdk-1")))["sdkKey"] == {"value": "sdk-1"}


def test_a_filter_has_the_fields_of_the_wire() -> None:
    assert filter_json(FilterRep("shop", "mobile", 3)) == {"projKey": "shop", "key": "mobile", "version": 3}


@given(ENVIRONMENTS)
def test_an_environment_survives_the_way_there_and_back(rep: EnvironmentRep) -> None:
    assert environment_from_json(rep.env_id, json.loads(json.dumps(environment_json(rep)))) == rep


@given(FILTERS)
def test_a_filter_survives_the_way_there_and_back(rep: FilterRep) -> None:
    assert filter_from_json("f", json.loads(json.dumps(filter_json(rep)))) == rep


@given(st.dictionaries(st.text(), ENVIRONMENTS), st.dictionaries(st.text(), FILTERS))
def test_what_a_put_says_can_be_read_as_a_configuration(
    environments: dict[str, EnvironmentRep], filters: dict[str, FilterRep]
) -> None:
    reps = {id: environment_from_json(id, environment_json(rep) | {"envID": id}) for id, rep in environments.items()}
    [(name, data)] = events(put_event(reps, filters))
    assert name == "put"
    assert configuration_from_json(json.dumps(json.loads(data)["data"])) == (list(reps.values()), filters)


def test_a_put_without_filters_leaves_the_field_out() -> None:
    assert put_event({}, None) == b'event: put\ndata: {"path":"/","data":{"environments":{}}}\n\n'


def test_a_patch_and_a_delete_have_a_path() -> None:
    patch = b'event: patch\ndata: {"path":"/filters/f","data":{"projKey":"p","key":"k","version":1}}\n\n'
    assert patch_event("/filters/f", filter_json(FilterRep("p", "k", 1))) == patch
    assert delete_event("/filters/f", 2) == b'event: delete\ndata: {"path":"/filters/f","version":2}\n\n'


@pytest.mark.parametrize("data", ["one\ntwo", "one\rtwo", "one\r\ntwo"])
def test_each_line_of_the_data_gets_a_line_of_its_own(data: str) -> None:
    assert event_bytes("custom", data) == b"event: custom\ndata: one\ndata: two\n\n"


def test_only_the_line_ends_of_event_streams_count_as_such() -> None:
    assert event_bytes("e", "a\u2028b\x85c\x0bd") == "event: e\ndata: a\u2028b\x85c\x0bd\n\n".encode()


@pytest.mark.parametrize("name", ["a\nb", "a\rb"])
def test_an_events_name_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="name must be one line"):
        event_bytes(name, "")


def test_a_configuration_may_be_empty() -> None:
    assert configuration_from_json("{}") == ([], {})


def test_a_configuration_may_leave_out_ids_and_versions() -> None:
    text = '{"environments": {"env-1": {"envKey": "k"}}, "filters": {"f": {"key": "mobile"}}}'
    environments, filters = configuration_from_json(text)
    assert environments == [EnvironmentRep(env_id="env-1", env_key="k", version=1)]
    assert filters == {"f": FilterRep("", "mobile", 1)}


def test_a_version_of_zero_is_not_one_left_out() -> None:
    assert environment_from_json("e", {"version": 0}).version == 0


WHOLE_NUMBER = "must be a whole number of 64 bits"
MILLISECONDS = "must be a whole number of milliseconds since 1970"
WRONG_FIELDS = [
    ({"envID": 1}, "envID: must be a string"),
    ({"envID": "other"}, "envID: must be the id that the environment stands under, or be left out"),
    ({"envName": None}, "envName: must be a string"),
    ({"mobKey": [SECRET]}, "mobKey: must be a string"),
    ({"sdkKey": SECRET}, "sdkKey: must be an object"),
    ({"sdkKey": {"value": {SECRET: SECRET}}}, "sdkKey.value: must be a string"),
    ({"sdkKey": {"expiring": SECRET}}, "sdkKey.expiring: must be an object"),
    ({"sdkKey": {"expiring": {"value": 5}}}, "sdkKey.expiring.value: must be a string"),
    ({"sdkKey": {"expiring": {"timestamp": -1}}}, f"sdkKey.expiring.timestamp: {MILLISECONDS}"),
    ({"sdkKey": {"expiring": {"timestamp": SECRET}}}, f"sdkKey.expiring.timestamp: {MILLISECONDS}"),
    ({"sdkKey": {"key": SECRET}}, "sdkKey.key: unknown field; the known ones are value, expiring"),
    ({"defaultTtl": 1.5}, f"defaultTtl: {WHOLE_NUMBER}"),
    ({"defaultTtl": True}, f"defaultTtl: {WHOLE_NUMBER}"),
    ({"defaultTtl": 2**63}, f"defaultTtl: {WHOLE_NUMBER}"),
    ({"version": "1"}, f"version: {WHOLE_NUMBER}"),
    ({"secureMode": 1}, "secureMode: must be true or false"),
    (
        {"sdkkey": SECRET},
        "sdkkey: unknown field; the known ones are envID, envKey, envName, mobKey, projKey, projName, sdkKey, "
        "defaultTtl, secureMode, version",
    ),
]


@pytest.mark.parametrize(("fields", "text"), WRONG_FIELDS)
def test_a_wrong_field_is_named_with_its_rule_and_without_its_value(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match="environments") as caught:
        configuration_from_json(json.dumps({"environments": {"env-1": fields}}))
    assert str(caught.value) == f"environments.env-1.{text}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "the configuration: must be an object"),
        ('{"path": "/"}', "path: unknown field; the known ones are environments, filters"),
        ('{"environments": []}', "environments: must be an object"),
        ('{"environments": {"e": "x"}}', "environments.e: must be an object"),
        ('{"filters": {"f": []}}', "filters.f: must be an object"),
        ('{"filters": {"f": {"a": 1}}}', "filters.f.a: unknown field; the known ones are projKey, key, version"),
        ('{"filters": {"f": {"version": NaN}}}', f"filters.f.version: {WHOLE_NUMBER}"),
        ('{"environments"\n: x}', "not JSON: Expecting value (line 2, column 3)"),
        ("", "not JSON: Expecting value (line 1, column 1)"),
        ("[" * 100_000, "not a configuration: nested too deeply"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=":") as caught:
        configuration_from_json(text)
    assert str(caught.value) == message


def test_the_error_about_json_does_not_carry_the_text_along() -> None:
    with pytest.raises(ValueError, match="not JSON") as caught:
        configuration_from_json(f'{{"environments": {{"e": {{"mobKey": "{SECRET}"')
    assert not isinstance(caught.value, json.JSONDecodeError)
    assert caught.value.__cause__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))
