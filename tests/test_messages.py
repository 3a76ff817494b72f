"""The wire's classes: what they are without fields, and JSON that loses nothing of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import wire_forms
from support.samples import compact, service_environment

from autoconfig import FilterKey, SDKKey
from autoconfig.environments import NO_EXTRA
from autoconfig.frozen import Record
from autoconfig.messages import (
    DELETE_EVENT,
    PATCH_EVENT,
    PUT_EVENT,
    RECONNECT_EVENT,
    EnvironmentRep,
    ExpiringKeyRep,
    FilterRep,
    KeyRep,
    PutContent,
    SDKKeyRep,
)

FULL = EnvironmentRep.from_json(
    service_environment(
        "e1",
        7,
        sdkKey={"value": "sdk-e1", "expiring": {"value": "sdk-old", "timestamp": 5}},
        sdkKeys=[{"key": "default", "value": "sdk-e1"}, {"key": "v", "value": "sdk-v", "expiry": 9, "hasViews": True}],
        mobileKeys=[],
        new={"list": [1, {"a": None}]},
    )
    | {"mobKey": ""}
)


@pytest.mark.parametrize(
    ("rep", "zeros"),
    [
        (EnvironmentRep(), ("", "", "", "", "", "", SDKKeyRep(), 0, False, 0, None, None, NO_EXTRA)),
        (KeyRep(), ("", "", None, False)),
        (SDKKeyRep(), ("", None)),
        (ExpiringKeyRep(), ("", 0)),
        (FilterRep(), ("", "", 0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_wire_omits_is_zero(rep: Record, zeros: tuple[object, ...]) -> None:
    """Of the right type too: ``False`` is not ``0``."""
    values = msgspec.structs.astuple(rep)
    assert values == zeros
    assert list(map(type, values)) == list(map(type, zeros))


def test_the_names_of_the_events() -> None:
    assert [PUT_EVENT, PATCH_EVENT, DELETE_EVENT, RECONNECT_EVENT] == ["put", "patch", "delete", "reconnect"]


def test_an_environment_is_written_as_the_service_writes_it() -> None:
    """The names and their order."""
    document = service_environment("e1", 3)
    assert compact(EnvironmentRep.from_json(document).to_json()) == compact(document)
    assert list(FULL.to_json()) == [*document, "new"]


@pytest.mark.parametrize("missing", ["sdkKeys", "mobileKeys"])
def test_a_list_that_is_missing_is_not_made_up(missing: str) -> None:
    """Nor is one that is empty left out: both mean the old format, and both come back as they were."""
    document = service_environment("e1")
    del document[missing]
    assert missing not in EnvironmentRep.from_json(document).to_json()
    assert EnvironmentRep.from_json({**document, missing: []}).to_json()[missing] == []


@settings(deadline=None)
@given(wire_forms.ENVIRONMENTS)
def test_no_environment_loses_anything(rep: EnvironmentRep) -> None:
    """Its lists, keys limited to views and unknown fields included."""
    assert EnvironmentRep.from_json(rep.to_json()) == rep
    assert EnvironmentRep.from_json(json.loads(compact(rep.to_json()))) == rep


def test_every_field_comes_back() -> None:
    document = FULL.to_json()
    assert document["new"] == {"list": [1, {"a": None}]}
    assert document["sdkKeys"][1] == {"key": "v", "value": "sdk-v", "expiry": 9, "hasViews": True}
    assert document["mobileKeys"] == []
    assert EnvironmentRep.from_json(document) == FULL


@settings(deadline=None)
@given(wire_forms.FILTERS)
def test_no_filter_loses_anything(rep: FilterRep) -> None:
    assert FilterRep.from_json(json.loads(compact(rep.to_json()))) == rep


@settings(deadline=None)
@given(
    st.dictionaries(wire_forms.TEXT, wire_forms.ENVIRONMENTS, max_size=4),
    st.dictionaries(wire_forms.TEXT, wire_forms.FILTERS, max_size=4),
)
def test_no_put_loses_anything(environments: dict[str, Any], filters: dict[str, Any]) -> None:
    """Of what can be used."""
    content = PutContent({id: wire_forms.named(id, rep) for id, rep in environments.items()}, filters)
    assert PutContent.from_json(json.loads(compact(content.to_json()))) == content


def test_a_put_says_which_environments_cannot_be_used() -> None:
    content = PutContent.from_json(
        {
            "environments": {
                "good": service_environment("good"),
                "refused": service_environment("refused", mobKey=""),
                "listed": service_environment("another"),
            }
        }
    )
    assert list(content.environments) == ["good"]
    assert content.refused == {"refused": "mobileKeys does not hold the key of mobKey"}
    assert content.foreign == {"listed": "another"}


@pytest.mark.parametrize("document", [{"environments": {"a": {"version": "1"}}}, {"filters": {"a": 5}}, []])
def test_a_wrong_type_is_a_value_error_without_the_value(document: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        PutContent.from_json(document)


@pytest.mark.parametrize("cls", [EnvironmentRep, FilterRep])
def test_names_in_any_case_and_nulls_are_read(cls: Any) -> None:
    assert cls.from_json({"VERSION": 5, "PROJKEY": None}) == cls(version=5)
    assert cls.from_json(None) == cls()


def test_a_description_says_which_one_it_is() -> None:
    """In words for a log line, without a key."""
    assert FULL.describe() == "environment 'e1' ('Shop' 'e1 v7')"
    assert FilterRep("shop", FilterKey("mobile-only")).describe() == "filter 'mobile-only' (project 'shop')"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"sdkKeys": [], "mobileKeys": []}, None),
        ({"sdkKeys": None, "mobileKeys": None}, None),
        ({"mobKey": "", "mobileKeys": []}, None),
        ({"sdkKey": {}, "sdkKeys": [], "mobKey": "", "mobileKeys": []}, None),
        ({"sdkKeys": [{"value": "x"}]}, "sdkKeys does not hold the key of sdkKey.value"),
        ({"sdkKey": {}}, "sdkKeys does not hold the key of sdkKey.value"),
        ({"sdkKeys": [{"value": "sdk-e1"}, {"key": "n"}]}, "sdkKeys has an entry without a value"),
        ({"mobKey": ""}, "mobileKeys does not hold the key of mobKey"),
        ({"mobileKeys": [{"value": ""}, {"value": "mob-e1"}]}, "mobileKeys has an entry without a value"),
    ],
)
def test_contradictions(changed: dict[str, Any], reason: str | None) -> None:
    assert EnvironmentRep.from_json(service_environment("e1", **changed)).contradiction() == reason


def test_a_timestamp_has_64_bits_unsigned() -> None:
    assert ExpiringKeyRep(SDKKey("x"), 2**64 - 1).timestamp == 2**64 - 1
    with pytest.raises(ValueError, match="unsigned 64-bit"):
        ExpiringKeyRep(SDKKey("x"), 2**64)
