"""What carries an environment hides its secrets, cannot be changed at any depth, and travels everywhere."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from support import wire_forms

from autoconfig import FilterID, FilterKey, SDKKey
from autoconfig.frozen import FrozenDict, FrozenList, Record
from autoconfig.messages import (
    DeleteMessageData,
    EnvironmentRep,
    FilterRep,
    ItemKind,
    PatchMessageData,
    PutContent,
)

SDK_KEY = "sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38"
OLD_KEY = "sdk-0f9e8d7c-6b5a-4948-b726-15e4d3c2b1a0"
VIEW_KEY = "sdk-7c1d2e3f-4a5b-4c6d-9e8f-0a1b2c3d4e5f"
MOBILE_KEY = "mob-77aa1c0d-e3b5-4f26-9d84-5c60fe12ab93"
SECRETS = [SDK_KEY, OLD_KEY, VIEW_KEY, MOBILE_KEY]
REP = EnvironmentRep.from_json(
    {
        "envId": "5f7c0e",
        "envKey": "production",
        "envName": "Production",
        "mobKey": MOBILE_KEY,
        "projName": "The Shop",
        "projKey": "shop",
        "sdkKey": {"value": SDK_KEY, "expiring": {"value": OLD_KEY, "timestamp": 1_700_000_000_123}},
        "sdkKeys": [
            {"key": "new", "value": SDK_KEY},
            {"key": "old", "value": OLD_KEY, "expiry": 5},
            {"key": "view", "value": VIEW_KEY, "hasViews": True},
        ],
        "mobileKeys": [{"key": "mobile", "value": MOBILE_KEY}],
        "someKeys": [{"value": SDK_KEY}, OLD_KEY, {MOBILE_KEY: VIEW_KEY}],
    }
)
PARAMS = REP.to_params()
OLD_FORMAT = msgspec.structs.replace(REP, sdk_keys=None, mobile_keys=None).to_params()
FILTER = FilterRep("shop", FilterKey("mobile-only"), 3)
RECORDS: list[Any] = [
    *(REP, REP.sdk_key, REP.sdk_key.expiring, (REP.sdk_keys or ())[1], FILTER),
    *(PARAMS, PARAMS.identifiers, PARAMS.expiring_sdk_key, PARAMS.accepted_sdk_keys[1], PARAMS.view_sdk_keys[0]),
    *(OLD_FORMAT, OLD_FORMAT.accepted_sdk_keys[1], FILTER.to_params(FilterID("f1"))),
    *(PatchMessageData("5f7c0e", REP), DeleteMessageData(ItemKind.FILTER, "f1", 1)),
]
each_record = pytest.mark.parametrize("thing", RECORDS, ids=lambda thing: type(thing).__name__)
WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle-{n}": lambda one, n=n: pickle.loads(pickle.dumps(one, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def shows_a_secret(text: str) -> bool:
    """Return whether a text has a key in it, or the larger part of one."""
    return any(part in text for key in SECRETS for part in (key, key[4:13], key[-12:]))


@each_record
def test_a_repr_shows_no_key(thing: Record) -> None:
    assert not shows_a_secret(repr(thing))
    assert not shows_a_secret(f"{thing!r} {thing!s} {thing} {[thing]}")


@each_record
def test_what_rich_prints_shows_no_key(thing: Record) -> None:
    """It asks ``__rich_repr__``, whose values it prints by their own."""
    assert not shows_a_secret(repr(thing.__rich_repr__()))
    assert [name for name, _ in thing.__rich_repr__()] == [name.lstrip("_") for name in thing.__struct_fields__]


def test_a_put_shows_no_key() -> None:
    assert not shows_a_secret(repr(PutContent({"5f7c0e": REP})))


def test_a_repr_tells_keys_apart() -> None:
    """By their prefix and their end."""
    for text in (repr(REP), repr(PARAMS)):
        assert all(shown in text for shown in ("sdk-…9e38", "sdk-…b1a0", "sdk-…4e5f", "mob-…ab93"))


def test_of_unknown_fields_a_repr_shows_the_names() -> None:
    """Their values may be secrets too."""
    for thing in (REP, PARAMS):
        assert "extra=['someKeys']" in repr(thing)


def test_the_text_of_an_environment_is_one_short_line() -> None:
    assert str(PARAMS) == "The Shop / Production sdk-…9e38"
    assert str(PARAMS.with_filter(FilterKey("mobile"))) == "The Shop / Production (mobile) sdk-…9e38"
    assert str(msgspec.structs.replace(REP, env_name="", proj_name="").to_params()) == "shop / production sdk-…9e38"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "a\u2028b", "\u202e"])
def test_no_name_breaks_that_line(name: str) -> None:
    text = str(msgspec.structs.replace(REP, env_name=name).to_params())
    assert text.isprintable()
    assert len(text.splitlines()) == 1


@each_record
def test_no_field_can_be_changed(thing: Record) -> None:
    """And there is neither a dictionary nor a weak reference in each of many thousand."""
    for name in thing.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(thing, name, None)
        with pytest.raises((AttributeError, TypeError)):
            delattr(thing, name)
    assert not hasattr(thing, "__dict__")
    assert not hasattr(thing, "__weakref__")


@each_record
def test_equal_ones_are_one_in_a_set(thing: Record) -> None:
    """A handler may keep them in sets and as keys."""
    assert {thing, msgspec.structs.replace(thing), copy.deepcopy(thing)} == {thing}


@each_way
@each_record
def test_records_travel(thing: Record, way: Callable[[Any], Any]) -> None:
    twin = way(thing)
    assert type(twin) is type(thing)
    assert twin == thing
    assert hash(twin) == hash(thing)
    assert repr(twin) == repr(thing)


@settings(deadline=None, max_examples=50)
@given(wire_forms.ENVIRONMENTS)
def test_any_environment_travels(rep: EnvironmentRep) -> None:
    params = rep.to_params()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(params, protocol)) == params
    assert json.loads(json.dumps(params.extra)) == params.extra
    assert hash(params) == hash(copy.deepcopy(params))


NESTED = FrozenDict({"a": FrozenList([1, FrozenDict({"b": FrozenList()})])})
DICT_CHANGES: dict[str, Callable[[Any], Any]] = {
    "set": lambda one: one.__setitem__("a", 1),
    "new": lambda one: one.__setitem__("z", 1),
    "del": lambda one: one.__delitem__("a"),
    "clear": lambda one: one.clear(),
    "pop": lambda one: one.pop("a"),
    "popitem": lambda one: one.popitem(),
    "setdefault": lambda one: one.setdefault("z", 1),
    "update": lambda one: one.update(z=1),
    "or": lambda one: one.__ior__({"z": 1}),
    "attribute": lambda one: setattr(one, "z", 1),
}
LIST_CHANGES: dict[str, Callable[[Any], Any]] = {
    "set": lambda one: one.__setitem__(0, 1),
    "slice": lambda one: one.__setitem__(slice(0, 1), []),
    "del": lambda one: one.__delitem__(0),
    "append": lambda one: one.append(1),
    "clear": lambda one: one.clear(),
    "extend": lambda one: one.extend([1]),
    "insert": lambda one: one.insert(0, 1),
    "pop": lambda one: one.pop(),
    "remove": lambda one: one.remove(1),
    "reverse": lambda one: one.reverse(),
    "sort": lambda one: one.sort(),
    "add": lambda one: one.__iadd__([1]),
    "multiply": lambda one: one.__imul__(2),
    "attribute": lambda one: setattr(one, "z", 1),
}


@pytest.mark.parametrize("change", DICT_CHANGES.values(), ids=DICT_CHANGES.keys())
@pytest.mark.parametrize("path", [[], ["a", 1]], ids=["outside", "inside"])
def test_a_frozen_dict_cannot_be_changed(change: Callable[[Any], Any], path: list[Any]) -> None:
    check_unchanged(change, path)


@pytest.mark.parametrize("change", LIST_CHANGES.values(), ids=LIST_CHANGES.keys())
@pytest.mark.parametrize("path", [["a"], ["a", 1, "b"]], ids=["outside", "inside"])
def test_a_frozen_list_cannot_be_changed(change: Callable[[Any], Any], path: list[Any]) -> None:
    check_unchanged(change, path)


def check_unchanged(change: Callable[[Any], Any], path: list[Any]) -> None:
    place: Any = NESTED
    for step in path:
        place = place[step]
    with pytest.raises((TypeError, AttributeError)):
        change(place)
    assert NESTED == {"a": [1, {"b": []}]}


@pytest.mark.parametrize("base", [dict, list])
def test_there_is_no_further_way_to_change_one(base: type[Any]) -> None:
    """Every method of the base class that a new Python may bring is looked at: it reads, or it is refused."""
    reading = {"copy", "count", "fromkeys", "get", "index", "items", "keys", "values"}
    frozen = FrozenDict if base is dict else FrozenList
    changing = {name for name in vars(base) if not name.startswith("_")} - reading
    refused = {name for name in changing if name in vars(frozen)}
    assert refused == changing


@each_way
def test_frozen_containers_travel(way: Callable[[Any], Any]) -> None:
    """And stay frozen, inside too."""
    twin = way(NESTED)
    assert twin == NESTED
    assert hash(twin) == hash(NESTED)
    assert [type(twin), type(twin["a"]), type(twin["a"][1]), type(twin["a"][1]["b"])] == [
        FrozenDict,
        FrozenList,
        FrozenDict,
        FrozenList,
    ]


def test_they_are_json() -> None:
    """For ``json`` and for msgspec."""
    text = '{"a":[1,{"b":[]}]}'
    assert json.dumps(NESTED, separators=(",", ":")) == text
    assert msgspec.json.encode(NESTED) == text.encode()
    assert json.dumps(NESTED, indent=1)


def test_equal_ones_have_one_hash_whatever_their_order() -> None:
    assert hash(FrozenDict(a=1, b=2)) == hash(FrozenDict(b=2, a=1))
    assert FrozenDict(a=1) == {"a": 1}
    assert {FrozenDict(a=FrozenList([1])): 5}[FrozenDict(a=FrozenList([1]))] == 5


def test_a_changed_copy_is_made_by_replace() -> None:
    changed = msgspec.structs.replace(PARAMS, sdk_key=SDKKey("sdk-other"))
    assert changed.sdk_key == "sdk-other"
    assert PARAMS.sdk_key == SDK_KEY
    assert changed.extra is PARAMS.extra
