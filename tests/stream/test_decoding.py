"""Decoding is strict: what breaks the protocol is a ``MalformedMessageError``, whatever Python's ``json`` thinks."""

from __future__ import annotations

import contextlib
import json
import re
import traceback
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support import wire_forms
from support.random_data import examples
from support.samples import compact

from autoconfig import EnvironmentID, FilterKey, SDKKey
from autoconfig.environments import NO_EXTRA
from autoconfig.exceptions import MalformedMessageError
from autoconfig.frozen import FrozenDict
from autoconfig.messages import (
    DeleteMessageData,
    EnvironmentRep,
    ExpiringKeyRep,
    FilterRep,
    ItemKind,
    KeyRep,
    Message,
    PatchMessageData,
    PutContent,
    SDKKeyRep,
)
from autoconfig.stream import decoding
from autoconfig.stream.decoding import UnknownPath

SECRET = "sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38"
MOST, LEAST, MOST_UNSIGNED = 2**63 - 1, -(2**63), 2**64 - 1
# JSON texts by what they are not.
NO_OBJECT = ["0", "1", "-0", "1.5", "true", "false", '""', '"x"', "[]", "[{}]"]
NO_ARRAY = ["0", "true", "false", '""', "{}", '{"value": "x"}', "1.5"]
NO_STRING = ["0", "5", "-0", "1.5", "true", "false", "[]", "{}", '["x"]']
NO_BOOLEAN = ["0", "1", "-0", "1.0", '""', '"true"', "[]", "{}"]
NO_INTEGER = ["1.0", "1e3", "1E3", "0.0", "-0.0", "0e0", '"5"', '""', "true", "false", "[]", "{}"]
TOO_LARGE = [str(MOST + 1), str(LEAST - 1), "9" * 30, "-" + "9" * 30, "9" * 5000, "-" + "9" * 5000]
NO_UNSIGNED = [*NO_INTEGER, "-1", str(LEAST), str(MOST_UNSIGNED + 1), "9" * 30, "9" * 5000]

ENVIRONMENT_FIELDS = {
    **dict.fromkeys(["envId", "envKey", "envName", "mobKey", "projKey", "projName", "sdkKey.value"], NO_STRING),
    "sdkKey.expiring.value": NO_STRING,
    "sdkKey": NO_OBJECT,
    "sdkKey.expiring": NO_OBJECT,
    "sdkKey.expiring.timestamp": NO_UNSIGNED,
    "defaultTtl": [*NO_INTEGER, *TOO_LARGE],
    "version": [*NO_INTEGER, *TOO_LARGE],
    "secureMode": NO_BOOLEAN,
    "sdkKeys": [*NO_ARRAY, *[f"[{text}]" for text in NO_OBJECT]],
    "mobileKeys": [*NO_ARRAY, *[f"[{{}}, {text}]" for text in NO_OBJECT]],
}
KEY_FIELDS = {
    "key": NO_STRING,
    "value": NO_STRING,
    "expiry": [*NO_INTEGER, *TOO_LARGE],
    "hasViews": NO_BOOLEAN,
}
FILTER_FIELDS = {"projKey": NO_STRING, "key": NO_STRING, "version": [*NO_INTEGER, *TOO_LARGE]}
NOT_JSON = [
    "",
    " ",
    "{",
    "}",
    '{"path": "/"',
    '{"path": "/"}}',
    '{"path": "/"} {}',
    '{"path": "/"}x',
    '{"path": "/",}',
    "{'path': '/'}",
    '{path: "/"}',
    '{"path": "/" "data": null}',
    '{"path" "/"}',
    '{"x": NaN}',
    '{"x": Infinity}',
    '{"x": -Infinity}',
    '{"x": nan}',
    '{"x": True}',
    '{"x": None}',
    '{"x": undefined}',
    '{"x": 01}',
    '{"x": +1}',
    '{"x": .5}',
    '{"x": 5.}',
    '{"x": 0x10}',
    '{"x": 1_000}',
    '{"x": １}',
    '{"x": -}',
    '{"x": 1e}',
    '{"x": "\t"}',
    '{"x": "\n"}',
    '{"x": "\x00"}',
    '{"x": "\x1f"}',
    '{"x\n": 1}',
    '{"x": "\\x41"}',
    '{"x": "\\u12g4"}',
    '{"x": "\\u 123"}',
    '{"x": "\\u00"}',
    '{"x": "\\',
    "\ufeff{}",
    "\u00a0{}",
    "{}\x00",
    "{}\x0b",
    "// comment\n{}",
    "[" * 100_000,
    '{"a":' * 100_000,
    f'{{"x": {"[" * 100_000}{"]" * 100_000}}}',
    f'{{"x": {"9" * 5000}}}',
]


def short(text: object) -> str | None:
    """Return the beginning as a test's id."""
    return ascii(text)[:40] if isinstance(text, str) else None


def cases(fields: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Return each field with each text that is wrong for it."""
    return [(field, text) for field, texts in fields.items() for text in texts]


def nested(field: str, text: str) -> str:
    """Return the JSON of an object with one field; dots lead into inner objects."""
    for name in reversed(field.split(".")):
        text = f'{{"{name}": {text}}}'
    return text


def patch_of(data: str, kind: str = "environments") -> str:
    return f'{{"path": "/{kind}/a", "data": {data}}}'


def put_of(data: str, kind: str = "environments") -> str:
    return f'{{"path": "/", "data": {{"{kind}": {{"a": {data}}}}}}}'


def decode(event: str, data: str) -> Message | UnknownPath:
    return decoding.decode(event, data.encode("utf-8", "surrogatepass"))


def environment_of(data: str) -> EnvironmentRep:
    """Decode an environment in a patch and in a put, where it has to mean the same, in any envelope."""
    found = [decode("patch", patch_of(data)), decode("patch", patch_of(data).replace("path", "PATH", 1))]
    assert found[0] == found[1]
    patch, put = found[0], decode("put", put_of(data))
    assert isinstance(patch, PatchMessageData)
    assert isinstance(put, PutContent)
    assert isinstance(patch.data, EnvironmentRep)
    assert put == decode("put", put_of(data)[:-1] + ', "unknown": 1}')
    if patch.data.env_id == "a":
        assert put.environments == ({} if patch.refused else {"a": patch.data})
    else:
        assert put.foreign == {"a": patch.data.env_id}
    return patch.data


def put_of_filters(data: str) -> PutContent:
    put = decode("put", f'{{"path": "/", "data": {{"filters": {data}}}}}')
    assert isinstance(put, PutContent)
    return put


def error_of(event: str, data: str) -> MalformedMessageError:
    """Return the error, after checking that it is all that there is to see."""
    with pytest.raises(MalformedMessageError) as caught:
        decode(event, data)
    error = caught.value
    assert error.event == event
    assert error.reason
    assert error.args == (str(error),)
    assert error.__context__ is error.__cause__ is None
    return error


@pytest.mark.parametrize(("field", "text"), cases(ENVIRONMENT_FIELDS), ids=short)
def test_a_wrong_field_of_an_environment(field: str, text: str) -> None:
    """It drops the event, in a patch and in a put; the reason names the field and, in a put, the item."""
    wrong = nested(field, text)
    for event, data in [("patch", patch_of(wrong)), ("put", put_of(wrong))]:
        reason = error_of(event, data).reason
        assert field.rpartition(".")[2].removesuffix("timestamp") in reason or "too many digits" in reason
        assert ("environments['a']: " in reason) == (event == "put")


@pytest.mark.parametrize(("field", "text"), cases(ENVIRONMENT_FIELDS), ids=short)
def test_a_wrong_field_in_an_odd_message(field: str, text: str) -> None:
    """What makes the decoder look twice makes it no less strict: unknown fields, names in another case."""
    wrong = nested(field, text)
    error_of("put", f'{{"path": "/", "data": {{"environments": {{"a": {{"x": 1, {wrong[1:-1]}}}}}}}}}')
    error_of("put", f'{{"PATH": "/", "data": {{"environments": {{"a": {wrong}}}}}}}')
    error_of("patch", patch_of(wrong.replace(field.partition(".")[0], field.partition(".")[0].upper(), 1)))


@pytest.mark.parametrize(("field", "text"), cases(ENVIRONMENT_FIELDS), ids=short)
def test_a_wrong_field_among_all_the_others(field: str, text: str) -> None:
    """In an environment that the quick decoder would take otherwise."""
    name, _, inner = field.partition(".")
    others = {"sdkKey": {"value": "s"}} if name != "sdkKey" else {}
    full = {**EnvironmentRep().to_json(), **others, name: "PLACE"}
    wrong = json.dumps(full).replace('"PLACE"', nested(inner, text) if inner else text)
    error_of("patch", patch_of(wrong))
    error_of("put", put_of(wrong))


@pytest.mark.parametrize(("field", "text"), cases(FILTER_FIELDS), ids=short)
def test_a_wrong_field_of_a_filter(field: str, text: str) -> None:
    """It drops the event, in a patch and in a put."""
    error_of("patch", patch_of(nested(field, text), "filters"))
    error_of("put", put_of(nested(field, text), "filters"))


@pytest.mark.parametrize(("field", "text"), cases(KEY_FIELDS), ids=short)
@pytest.mark.parametrize("name", ["sdkKeys", "mobileKeys"])
def test_a_wrong_field_of_a_key_in_a_list(name: str, field: str, text: str) -> None:
    """Among good ones too."""
    for keys in (f"[{nested(field, text)}]", f'[{{"value": "k"}}, {nested(field, text)}]'):
        error_of("patch", patch_of(nested(name, keys)))
        error_of("put", put_of(nested(name, keys)))


@pytest.mark.parametrize("kind", ["environments", "filters"])
@pytest.mark.parametrize("text", NO_OBJECT)
def test_an_item_is_an_object(kind: str, text: str) -> None:
    """As is everything around it."""
    error_of("patch", patch_of(text, kind))
    error_of("put", put_of(text, kind))
    error_of("put", f'{{"path": "/", "data": {{"{kind}": {text}}}}}')
    error_of("put", f'{{"path": "/", "data": {text}}}')
    for event in ("put", "patch", "delete"):
        error_of(event, text)


@pytest.mark.parametrize("text", NO_STRING)
def test_a_path_is_a_string(text: str) -> None:
    """In each of the messages."""
    for event in ("put", "patch", "delete"):
        error_of(event, nested("path", text))


@pytest.mark.parametrize("text", [*NO_INTEGER, *TOO_LARGE], ids=short)
def test_the_version_of_a_deletion_is_an_integer(text: str) -> None:
    """Even if the path is of no interest."""
    error_of("delete", f'{{"path": "/environments/a", "version": {text}}}')
    error_of("delete", f'{{"path": "/elsewhere", "version": {text}}}')


@pytest.mark.parametrize(
    ("event", "data", "reason"),
    [
        ("put", '{"path": 5}', "path must be a string, not a number"),
        ("patch", '{"path": 0}', "path must be a string, not a number"),
        ("put", put_of('{"sdkKey": {"expiring": {"timestamp": 0}}, "secureMode": 0}'), "true or false, not a number"),
        ("patch", patch_of('{"sdkKey": {"value": ["x"]}}'), "sdkKey.value must be a string, not an array"),
        ("patch", patch_of('{"defaultTtl": 1.0}'), "defaultTtl must be a 64-bit integer, not a fraction"),
    ],
)
def test_a_number_in_the_wrong_place_is_called_a_number(event: str, data: str, reason: str) -> None:
    """And not one out of range, or a negative zero: the reader would look for the wrong fault."""
    assert error_of(event, data).reason.endswith(reason)


@pytest.mark.parametrize("field", ENVIRONMENT_FIELDS)
def test_null_and_missing_are_zero_in_an_environment(field: str) -> None:
    """Whatever the field's type."""
    found = environment_of(nested(field, "null"))
    # A null within an object leaves the object itself.
    expiring = ExpiringKeyRep() if field.startswith("sdkKey.expiring.") else None
    assert found == EnvironmentRep(sdk_key=SDKKeyRep(expiring=expiring))
    assert environment_of("{}") == environment_of("null") == EnvironmentRep()


@pytest.mark.parametrize("data", ["null", "{}", *[nested(field, "null") for field in FILTER_FIELDS]])
def test_null_and_missing_are_zero_in_a_filter(data: str) -> None:
    """Whatever the field's type."""
    assert decode("patch", patch_of(data, "filters")) == PatchMessageData("a", FilterRep())
    assert decode("put", put_of(data, "filters")) == PutContent(filters={"a": FilterRep()})


@pytest.mark.parametrize("data", ["null", "{}", '{"path": null}', '{"path": ""}'])
def test_null_and_missing_are_zero_in_a_message(data: str) -> None:
    """A message of nothing is one of the empty path."""
    for event in ("put", "patch", "delete"):
        assert decode(event, data) == UnknownPath(event, "")


@pytest.mark.parametrize("data", ["", ', "data": null', ', "data": {}', ', "data": {"environments": null}'])
def test_a_put_of_nothing_is_empty(data: str) -> None:
    """Everything goes; that is for the dispatcher to do."""
    assert decode("put", f'{{"path": "/"{data}}}') == PutContent()


@pytest.mark.parametrize("kind", ["environments", "filters"])
def test_a_patch_of_an_item_needs_data(kind: str) -> None:
    """Null will do, nothing will not: the relay's decoder fails there."""
    assert error_of("patch", f'{{"path": "/{kind}/a"}}').reason == "data is missing"


@pytest.mark.parametrize("text", ["0", "-0", "1", "-1", str(MOST), str(LEAST)])
def test_integers_have_64_bits(text: str) -> None:
    """Versions and minutes, to both ends."""
    rep = environment_of(f'{{"version": {text}, "defaultTtl": {text}}}')
    assert (rep.version, rep.default_ttl) == (int(text), int(text))
    assert type(rep.version) is type(rep.default_ttl) is int
    deletion = decode("delete", f'{{"path": "/filters/a", "version": {text}}}')
    assert deletion == DeleteMessageData(ItemKind.FILTER, "a", int(text))


@pytest.mark.parametrize("text", ["0", "-0", "1", str(MOST), str(MOST + 1), str(MOST_UNSIGNED)])
def test_a_timestamp_has_64_bits_unsigned(text: str) -> None:
    """An integer of the ordinary kind."""
    rep = environment_of(f'{{"sdkKey": {{"expiring": {{"timestamp": {text}}}}}, "version": 0, "defaultTtl": -0}}')
    assert rep == EnvironmentRep(sdk_key=SDKKeyRep(expiring=ExpiringKeyRep(timestamp=int(text))))
    assert rep.sdk_key.expiring
    assert type(rep.sdk_key.expiring.timestamp) is type(rep.version) is type(rep.default_ttl) is int


@pytest.mark.parametrize("secure", [True, False])
def test_a_boolean_is_one(secure: bool) -> None:
    """``True`` and ``False`` themselves."""
    assert environment_of(nested("secureMode", json.dumps(secure))).secure_mode is secure


@pytest.mark.parametrize("data", NOT_JSON, ids=short)
@pytest.mark.parametrize("event", ["put", "patch", "delete"])
def test_what_is_not_json_is_malformed(event: str, data: str) -> None:
    """Also where Python's decoder accepts it, or fails with another error."""
    error_of(event, data)


@pytest.mark.parametrize("data", ['{"x": 1e999}', '{"x": "\x7f\u2028\u0085"}', '{"x": [[[{}]]]}', ' \t\r\n{"x": 1}\n'])
def test_odd_but_valid_json_in_unknown_fields_is_ignored(data: str) -> None:
    """A float without end, characters that only look like controls, white space around."""
    assert decode("put", data) == UnknownPath("put", "")


@pytest.mark.parametrize("name", ["env_key", "sdk_keys", "", "expiring", "value", "extra", "Extra", "env\u212aey"])
@pytest.mark.parametrize(
    "text", ["5", "0", "-0", '"x"', "true", '[{"key": "k", "value": "v"}]', '{"value": "v"}', "{}", "null", "9" * 30]
)
def test_unknown_fields_are_kept_and_mean_nothing(name: str, text: str) -> None:
    """Whatever they hold is kept as JSON has it; a letter beyond ASCII folds to none of ours."""
    unknown = f'{{"{name}": {text}}}'
    for others in ("", '"sdkKey": {"expiring": {"timestamp": 0}}, ', '"ENVNAME": "n", '):
        rep = environment_of(f'{{{others}"{name}": {text}}}')
        assert rep.extra == json.loads(unknown)
        assert type(rep.extra[name]) is type(environment_of(unknown).extra[name])
    for outside in (unknown, f'{{"path": "/", "data": {unknown}}}', f'{{"data": {{"filters": {{"a": {unknown}}}}}}}'):
        assert decode("put", outside) == (PutContent() if "path" in outside else UnknownPath("put", ""))


@pytest.mark.parametrize(
    ("data", "filters"),
    [
        ('{"value": {"value": "v"}}', {"value": FilterRep()}),
        ('{"a": {"value": "v"}}', {"a": FilterRep()}),
        ('{"value": {"key": "v"}}', {"value": FilterRep("", FilterKey("v"))}),
    ],
)
def test_what_looks_like_a_key_elsewhere_is_none(data: str, filters: Any) -> None:
    assert put_of_filters(data) == PutContent(filters=filters)


def test_what_looks_like_an_environment_elsewhere_is_none() -> None:
    """With all its fields, as a filter or as an unknown field."""
    rep = EnvironmentRep(proj_key="p", sdk_key=SDKKeyRep(SDKKey("s")), version=5)
    full = compact(rep.to_json())
    assert decode("patch", patch_of(full, "filters")) == PatchMessageData("a", FilterRep("p", version=5))
    assert environment_of(f'{{"unknown": {full}}}') == EnvironmentRep(extra=FrozenDict(unknown=json.loads(full)))
    error_of("patch", f'{{"path": {full}}}')
    error_of("put", put_of(f'{{"sdkKey": {full}, "envKey": {full}}}'))


@pytest.mark.parametrize(
    "data",
    [
        r'{"PATH": "/environments/a", "data": "{\"envId\": \"a\"}"}',
        r'{"path": "/environments/a", "data": "{\"envId\": \"a\"}"}',
        r'{"PATH": "/filters/a", "data": "{\"key\": \"a\"}"}',
    ],
)
def test_a_string_that_holds_json_is_a_string(data: str) -> None:
    """In an envelope of any kind: an item is an object."""
    assert error_of("patch", data).reason.endswith("must be an object, not a string")


@pytest.mark.parametrize("envelope", ['{"path": "/", "data": %s}', '{"PATH": "/", "data": %s}'])
def test_an_entry_that_is_a_string_of_json_is_a_string(envelope: str) -> None:
    entries = r'{"environments": {"a": "{\"envId\": \"a\"}"}}'
    assert error_of("put", envelope % entries).reason.endswith("must be an object, not a string")


CONTRADICTIONS = [
    ('"sdkKeys": [{"value": "other"}]', "sdkKeys does not hold the key of sdkKey.value"),
    ('"sdkKeys": [{"value": "s"}, {"key": "name"}]', "sdkKeys has an entry without a value"),
    ('"sdkKeys": [{"value": "s"}, null]', "sdkKeys has an entry without a value"),
    ('"mobileKeys": [{"value": "s"}]', "mobileKeys does not hold the key of mobKey"),
    ('"mobileKeys": [{"value": "m"}, {"value": ""}]', "mobileKeys has an entry without a value"),
    ('"MOBILEKEYS": [{"VALUE": "x"}]', "mobileKeys does not hold the key of mobKey"),
]


@pytest.mark.parametrize(("lists", "reason"), CONTRADICTIONS)
def test_an_environment_that_contradicts_itself_is_refused_and_the_rest_is_not(lists: str, reason: str) -> None:
    """In a put and in a patch, with the reason, which holds no key."""
    refused = f'{{"envId": "a", "sdkKey": {{"value": "s"}}, "mobKey": "m", {lists}}}'
    patch = decode("patch", patch_of(refused))
    assert isinstance(patch, PatchMessageData)
    assert patch.refused == reason
    put = decode("put", f'{{"path": "/", "data": {{"environments": {{"a": {refused}, "b": {{"envId": "b"}}}}}}}}')
    assert put == PutContent({"b": EnvironmentRep(env_id=EnvironmentID("b"))}, refused={"a": reason})


@pytest.mark.parametrize(("lists", "_"), CONTRADICTIONS)
def test_an_entry_of_another_id_is_foreign_whatever_it_holds(lists: str, _: str) -> None:
    foreign = f'{{"envId": "other", "sdkKey": {{"value": "s"}}, "mobKey": "m", {lists}}}'
    assert decode("put", put_of(foreign)) == PutContent(foreign={"a": "other"})
    patch = decode("patch", patch_of(foreign))
    assert isinstance(patch, PatchMessageData)
    assert patch.refused is None


def test_lists_of_keys_arrive() -> None:
    """Every field of every entry; ``null`` is the same as no list, and a list may be empty."""
    keys = (
        '[{"value": "s"}, {"key": "second", "value": "t", "expiry": -5, "hasViews": true}, {"value": "u", "expiry": 0}]'
    )
    rep = environment_of(f'{{"sdkKey": {{"value": "s"}}, "sdkKeys": {keys}, "mobileKeys": null}}')
    assert rep.sdk_keys == (KeyRep("", "s"), KeyRep("second", "t", -5, True), KeyRep("", "u", 0))
    assert rep.mobile_keys is None
    assert environment_of('{"mobileKeys": []}').mobile_keys == ()


def test_of_duplicate_members_the_last_one_wins() -> None:
    """At every level, whole: they are not merged; and whatever the case of their names."""
    assert environment_of('{"version": 1, "version": 2}').version == 2
    assert environment_of('{"version": 1, "VERSION": 2}').version == 2
    assert environment_of('{"VERSION": 1, "version": 2}').version == 2
    assert environment_of('{"version": 1, "Version": null}').version == 0
    rep = environment_of('{"sdkKey": {"value": "a", "expiring": {"value": "b"}}, "SDKKey": {"value": "c"}}')
    assert rep.sdk_key == SDKKeyRep(SDKKey("c"))
    twice = '{"a": {"key": "x", "version": 1}, "a": {"version": 2}}'
    assert put_of_filters(twice) == PutContent(filters={"a": FilterRep(version=2)})


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (r"\ud800", "\ufffd"),
        (r"\uDFFF", "\ufffd"),
        (r"x\udc00y", "x\ufffdy"),
        (r"\ud83d\ude00", "😀"),
        (r"\uD83D\uDE00", "😀"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud800\u0041", "\ufffdA"),
        (r"\ud800\n", "\ufffd\n"),
        (r"\ud83dx\ude00", "\ufffdx\ufffd"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800", "\\\ufffd"),
        (r"\\\\ud800", r"\\ud800"),
        (r"\ud83d\\ude00", "\ufffd\\ude00"),
        (r"\"\ud800\"", '"\ufffd"'),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: str, meaning: str) -> None:
    """Pairs and escaped backslashes stay; ids are compared as what they become."""
    assert environment_of(f'{{"envName": "{text}"}}').env_name == meaning
    decoded = decode("put", f'{{"path": "/", "data": {{"environments": {{"{text}": {{"envId": "{text}"}}}}}}}}')
    assert decoded == PutContent({meaning: EnvironmentRep(env_id=EnvironmentID(meaning))})
    deletion = decode("delete", f'{{"path": "/filters/{text}", "version": 1}}')
    assert deletion == DeleteMessageData(ItemKind.FILTER, meaning, 1)


def test_ids_that_become_equal_are_one() -> None:
    """They are duplicates, so the last one wins."""
    decoded = put_of_filters(r'{"\ud800": {"version": 1}, "\udfff": {"version": 2}}')
    assert decoded == PutContent(filters={"\ufffd": FilterRep(version=2)})


FRAGMENTS = [
    r"\\",
    r"\"",
    r"\/",
    r"\n",
    r"\ud83d",
    r"\uDE00",
    r"\uD800",
    r"\udfff",
    r"\u0041",
    "ud800",
    "u",
    "d83d",
    "é",
]


@given(st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_any_mixture_of_escapes(text: str) -> None:
    """Compared with what Python's decoder and a replacement afterwards make of it."""
    meaning = re.sub("[\ud800-\udfff]", "\ufffd", json.loads(f'"{text}"'))
    assert environment_of(f'{{"envName": "{text}"}}').env_name == meaning


ENVIRONMENT, FILTER = ItemKind.ENVIRONMENT, ItemKind.FILTER


@pytest.mark.parametrize(
    ("path", "kind", "id"),
    [
        ("/environments/a", ENVIRONMENT, "a"),
        ("/filters/a", FILTER, "a"),
        ("/environments/", ENVIRONMENT, ""),
        ("/filters/", FILTER, ""),
        ("/environments/a%2Fb", ENVIRONMENT, "a%2Fb"),
        ("/environments/..", ENVIRONMENT, ".."),
        ("/environments/ a", ENVIRONMENT, " a"),
        ("/environments/A", ENVIRONMENT, "A"),
    ],
)
def test_a_path_is_split_at_its_last_slash(path: str, kind: ItemKind, id: str) -> None:
    """It is neither cleaned nor unescaped nor folded."""
    assert decode("delete", compact({"path": path, "version": 1})) == DeleteMessageData(kind, id, 1)
    patch = decode("patch", compact({"path": path, "data": {"version": 1}}))
    item = EnvironmentRep(version=1) if kind is ENVIRONMENT else FilterRep(version=1)
    assert patch == PatchMessageData(id, item)


@pytest.mark.parametrize(
    "path",
    [
        *["", "/", "a", "/a", "//", "/environments", "environments/a", "/environments/a/b", "/environments/a/"],
        *["//environments/a", "/Environments/a", "/filters//a", "/./filters/a", "/other/a", " /filters/a"],
    ],
)
def test_any_other_path_is_unknown(path: str) -> None:
    assert decode("patch", compact({"path": path, "data": {"version": 1}})) == UnknownPath("patch", path)
    assert decode("delete", compact({"path": path, "version": 1})) == UnknownPath("delete", path)
    if path != "/":
        assert decode("put", compact({"path": path, "data": {}})) == UnknownPath("put", path)


@pytest.mark.parametrize("data", ["", ', "data": 5', ', "data": {"version": "x"}', ', "data": []'])
def test_the_data_of_another_path_only_has_to_be_json(data: str) -> None:
    """It may come from a newer service."""
    assert decode("patch", f'{{"path": "/segments/a"{data}}}') == UnknownPath("patch", "/segments/a")
    error_of("patch", '{"path": "/segments/a", "data": nonsense}')


def test_an_empty_id_is_an_ordinary_one() -> None:
    """In a map too."""
    decoded = decode("put", '{"path": "/", "data": {"environments": {"": {"version": 5}}, "filters": {"": null}}}')
    assert decoded == PutContent({"": EnvironmentRep(version=5)}, {"": FilterRep()})


@pytest.mark.parametrize("id", ["a", "", "\n\x1bé" + "x" * 1000], ids=short)
def test_a_reason_names_the_environment(id: str) -> None:
    """A line break in an id cannot forge a log line, and a long id cannot fill the log."""
    data = {"other": {}, id: {"version": True}, "another": {}}
    reason = error_of("put", compact({"path": "/", "data": {"environments": data}})).reason
    assert reason == f"environments[{id[:100]!a}]: version must be a 64-bit integer, not a boolean"


@pytest.mark.parametrize("event", ["", "Put", "PUT", "reconnect", "message"])
def test_other_events_have_no_message(event: str) -> None:
    """The reader does not ask."""
    with pytest.raises(KeyError):
        decode(event, "{}")


LEAKS = [
    SECRET,
    f'"{SECRET}"',
    f'["{SECRET}"]',
    f'{{"path": "{SECRET}"',
    f'{{"path": "{SECRET}"}} "{SECRET}"',
    f'{{"path": "\\x {SECRET}"}}',
    f'{{"path": "\\{SECRET}"}}',
    f'{{"path": "\x00{SECRET}"}}',
    f'{{"path": ["{SECRET}"]}}',
    f'{{"path": "/", "version": "{SECRET}", "data": {{"environments": "{SECRET}"}}}}',
    f'{{"{SECRET}": NaN}}',
    f'{{"{SECRET}": {"9" * 5000}, "path": 5}}',
    f'{{"{SECRET}": {"[" * 100_000}',
    *[
        wrap(nested(field, text))
        for wrap in (put_of, patch_of)
        for field in ENVIRONMENT_FIELDS
        for text in (f'["{SECRET}"]', f'{{"{SECRET}": NaN}}', f'"{SECRET}\n"', f'[{{"value": ["{SECRET}"]}}]')
    ],
]


@pytest.mark.parametrize("data", LEAKS, ids=range(len(LEAKS)))
def test_no_value_is_in_the_error(data: str) -> None:
    """Neither in its text nor in its traceback, nor in an error before it."""
    event = "put" if data.startswith('{"path": "/",') else "patch" if "/environments/a" in data else "delete"
    error = error_of(event, data)
    seen = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert not any(part in seen for part in (SECRET, SECRET[4:12], SECRET[-12:], "9" * 20))


NAMES = "path data environments filters a envId sdkKey value expiring timestamp version defaultTtl secureMode key"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
PATHS = st.sampled_from(["/", "/environments/a", "/filters/a", "/other"])
JSON = st.recursive(
    SCALARS | PATHS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=6),
    max_leaves=30,
)
EVENTS = st.sampled_from(["put", "patch", "delete"])


def check_total(event: str, data: str) -> None:
    """Decode, which either works or raises the one error."""
    message: Message | UnknownPath | None = None
    with contextlib.suppress(MalformedMessageError):
        message = decode(event, data)
    kinds = {"put": PutContent, "patch": PatchMessageData, "delete": DeleteMessageData}
    assert message is None or type(message) in (kinds[event], UnknownPath)


@given(EVENTS, JSON | st.fixed_dictionaries({"path": PATHS, "data": JSON, "version": JSON}))
def test_any_json_is_a_message_or_malformed(event: str, document: object) -> None:
    """No other error, whatever it is."""
    check_total(event, json.dumps(document))


@given(EVENTS, st.text() | st.text('{}[]":,\\u0123456789dDeE.-+ \x00\n', max_size=50))
def test_any_text_is_a_message_or_malformed(event: str, data: str) -> None:
    """No other error, whatever it is."""
    check_total(event, data)


@given(
    st.dictionaries(st.text(), wire_forms.ENVIRONMENTS, max_size=4),
    st.dictionaries(st.text(), wire_forms.FILTERS, max_size=4),
    st.booleans(),
)
@settings(deadline=None)
def test_any_put_comes_back(environments: Any, filters: Any, plain: bool) -> None:
    """What a service writes is what is read, item by item, in the same order, with characters escaped or not."""
    content = PutContent({id: wire_forms.named(id, rep) for id, rep in environments.items()}, filters)
    text = json.dumps({"path": "/", "data": content.to_json()}, ensure_ascii=plain, separators=(",", ":"))
    decoded = decode("put", text)
    assert decoded == content
    assert isinstance(decoded, PutContent)
    assert list(decoded.environments) == list(environments)


@given(wire_forms.ENVIRONMENTS, st.data())
@settings(deadline=None)
def test_an_environment_may_be_written_in_many_ways(rep: EnvironmentRep, data: st.DataObject) -> None:
    """Members in any order, zeros left out or null."""
    assert environment_of(compact(rewritten(rep.to_json(), data))) == rep


def rewritten(value: Any, data: st.DataObject) -> Any:
    """Return what means the same."""
    names = data.draw(st.permutations(list(value)))
    zeros = [name for name in names if value[name] in ("", 0, False) and name in wire_forms.NAMES]
    left_out = data.draw(st.sets(st.sampled_from(zeros))) if zeros else set()
    kept = {name: value[name] for name in names if name not in left_out}
    return {**kept, **dict.fromkeys(left_out)} if data.draw(st.booleans()) else kept


@given(wire_forms.DOCUMENTS, st.data())
@examples(300)
def test_the_case_of_names_changes_nothing(pairs: wire_forms.Pairs, data: st.DataObject) -> None:
    """In any document, with repeated members too, of which the last counts."""
    exact = wire_forms.write(pairs)
    folded = wire_forms.write(wire_forms.recased(pairs, data.draw))
    for event in ("put", "patch", "delete"):
        assert outcome(event, exact) == outcome(event, folded)


def outcome(event: str, data: str) -> object:
    """Return a message without unknown fields, whose names are kept as they are; or the kind of the error."""
    try:
        message = decode(event, data)
    except MalformedMessageError as error:
        return type(error)
    if isinstance(message, PutContent):
        known = {id: replace(rep, extra=NO_EXTRA) for id, rep in message.environments.items()}
        return replace(message, environments=known)
    if isinstance(message, PatchMessageData) and isinstance(message.data, EnvironmentRep):
        return replace(message, data=replace(message.data, extra=NO_EXTRA))
    return message
