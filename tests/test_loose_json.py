"""Reading JSON in the loose way: it agrees with the exact way on all that both take."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import wire_forms
from support.random_data import examples
from support.samples import compact

from autoconfig.frozen import FrozenDict, FrozenList
from autoconfig.loose_json import Members, convert, load
from autoconfig.messages import EnvironmentRep, FilterRep, KeyRep, PatchMessageData, SDKKeyRep
from autoconfig.stream.decoding import decode


def loosely(text: str, cls: Any = EnvironmentRep) -> Any:
    return convert(load(text.encode("utf-8", "surrogatepass")), cls)


@examples(300)
@given(wire_forms.DOCUMENTS, st.sampled_from([EnvironmentRep, FilterRep, SDKKeyRep, KeyRep]))
def test_it_agrees_with_the_exact_way_on_what_that_takes(pairs: wire_forms.Pairs, cls: Any) -> None:
    for document in inner_objects(pairs):
        text = wire_forms.write(document)
        try:
            exact = msgspec.json.decode(text, type=cls)
        except (msgspec.ValidationError, TypeError):
            continue
        assert loosely(text, cls) == exact
        assert convert(json.loads(text), cls) == exact


def inner_objects(value: Any) -> list[Any]:
    """Return all objects of a document."""
    if not isinstance(value, list):
        return []
    inner = [one[1] for one in value] if isinstance(value, wire_forms.Pairs) else value
    found = [value] if isinstance(value, wire_forms.Pairs) else []
    return [*found, *(object for one in inner for object in inner_objects(one))]


@settings(deadline=None)
@given(wire_forms.ENVIRONMENTS)
def test_both_ways_take_what_a_service_writes(rep: EnvironmentRep) -> None:
    text = compact(rep.to_json())
    assert loosely(text) == rep
    if not rep.extra:
        assert msgspec.json.decode(text, type=EnvironmentRep) == rep


@pytest.mark.parametrize(("number", "nearest"), [("1e400", sys.float_info.max), ("-1e400", -sys.float_info.max)])
def test_a_number_too_large_for_a_float_is_the_nearest(number: str, nearest: float) -> None:
    """An infinity could not be written as JSON again."""
    found = decode("patch", f'{{"path": "/environments/", "data": {{"new": [{number}]}}}}'.encode())
    assert isinstance(found, PatchMessageData)
    assert found.data.to_json()["new"] == [nearest]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON: Expecting value at character 0"),
        ('{"a": nonsense}', "not JSON: Expecting value at character 6"),
        ('{"a": NaN}', "not JSON: NaN"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "a number has too many digits"),
    ],
    ids=["empty", "nonsense", "nan", "deep", "digits"],
)
def test_what_is_not_json_is_a_value_error(text: str, reason: str) -> None:
    """Which says where, and holds nothing of the data, not in an error before it either."""
    with pytest.raises(ValueError, match=reason) as caught:
        load(text.encode())
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5", "the message must be an object, not a number"),
        ("[]", "the message must be an object, not an array"),
        ('{"envName": 5}', "envName must be a string, not a number"),
        ('{"version": 1.5}', "version must be a 64-bit integer, not a fraction"),
        ('{"version": 9223372036854775808}', "version must be a 64-bit integer"),
        ('{"secureMode": "yes"}', "secureMode must be true or false, not a string"),
        ('{"sdkKeys": {}}', "sdkKeys must be an array, not an object"),
        ('{"sdkKeys": {"value": "x"}}', "sdkKeys must be an array, not an object"),
        ('{"sdkKey": {"expiring": {"timestamp": -1}}}', "sdkKey.expiring.timestamp must be an unsigned 64-bit integer"),
    ],
)
def test_a_wrong_type_is_a_value_error(text: str, reason: str) -> None:
    """In plain words, without the value."""
    with pytest.raises(ValueError, match=reason) as caught:
        loosely(text)
    assert str(caught.value) == reason
    assert caught.value.__context__ is None


def test_members_keep_their_order_and_number() -> None:
    assert load(b'{"a": 1, "b": {"c": 2}, "a": 3}') == Members([("a", 1), ("b", Members([("c", 2)])), ("a", 3)])


def test_broken_text_becomes_replacement_characters() -> None:
    assert load(b'{"a\xff": "\\ud800 \\ud83d\\ude00"}') == Members([("a\ufffd", "\ufffd 😀")])


DEEP = '{"envId":"a","new":{"list":[1,[2,{"inner":[]}],"x"],"object":{"a":{}}}}'


def test_unknown_fields_cannot_be_changed_at_any_depth() -> None:
    extra = loosely(DEEP).extra
    assert extra == {"new": {"list": [1, [2, {"inner": []}], "x"], "object": {"a": {}}}}
    left = [extra]
    seen = 0
    while left:
        value = left.pop()
        seen += 1
        assert type(value) in (FrozenDict, FrozenList)
        inner = value.values() if isinstance(value, dict) else value
        left += [one for one in inner if isinstance(one, dict | list)]
    assert seen == 8


def test_documents_are_not_shared() -> None:
    """Not with what a caller hands over."""
    document: dict[str, Any] = {"envId": "a", "new": {"list": [1]}}
    rep = convert(document, EnvironmentRep)
    document["new"]["list"].append(2)
    assert rep.extra == {"new": {"list": [1]}}


def test_an_unknown_field_of_a_class_without_room_for_it_is_left_out() -> None:
    assert loosely('{"key": "k", "new": [1]}', FilterRep) == convert({"key": "k"}, FilterRep)
