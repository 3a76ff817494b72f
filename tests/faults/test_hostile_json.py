"""Hostile JSON in events: malformed is an ERROR and a restart, changes nothing, and takes nothing else along."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from faults.events import SMALL, Event, environment, patch
from faults.server import Wire, stream
from faults.table import MODES, Fault, survive

NEXT = patch("elm", 1)
DEEP = 100_000
LONG = "1" + "0" * 5000
PATH = '{"path": "/environments/elm", "data": '
GOOD = json.dumps(environment("elm", 1))


def with_field(field: str, value: str) -> str:
    """Return the data of a good patch with one more field, which wins over one of the same name."""
    return f'{PATH}{GOOD[:-1]}, "{field}": {value}}}}}'


def put_of(text: str) -> str:
    """Return the data of a put with a good environment and one of the given text."""
    return f'{{"path": "/", "data": {{"environments": {{"elm": {GOOD}, "bad": {text}}}}}}}'


def malformed() -> Iterator[tuple[str, str, str]]:
    """Yield names of tests, and names and data of events."""
    yield from (
        ("deep_arrays", "put", "[" * DEEP),
        ("deep_and_closed", "put", "[" * DEEP + "]" * DEEP),
        ("deep_objects", "patch", '{"a":' * DEEP + "1" + "}" * DEEP),
        ("deep_unknown_field", "patch", with_field("x", "[" * DEEP + "]" * DEEP)),
        ("deep_in_an_unknown_path", "patch", '{"path": "/x", "data": ' + "[" * DEEP + "]" * DEEP + "}"),
        (
            "deep_in_a_delete",
            "delete",
            '{"path": "/environments/oak", "version": 5, "x": ' + "[" * DEEP + "]" * DEEP + "}",
        ),
        (
            "deep_environments",
            "put",
            '{"path": "/", "data": {"environments": ' + '{"a":' * DEEP + "1" + "}" * (DEEP + 2),
        ),
        ("negative_long", "patch", with_field("version", f"-{LONG}")),
        ("long_version_of_a_delete", "delete", f'{{"path": "/environments/oak", "version": {LONG}}}'),
        ("long_unknown_field", "patch", with_field("x", LONG)),
        ("long_fraction", "patch", with_field("version", f"1.{LONG}")),
        ("long_exponent", "patch", with_field("version", f"1e{LONG}")),
        ("long_timestamp", "patch", with_field("sdkKey", f'{{"expiring": {{"value": "x", "timestamp": {LONG}}}}}')),
    )
    for field in ("version", "defaultTtl"):
        yield f"long_{field}", "patch", with_field(field, LONG)
        for value in (
            "NaN",
            "Infinity",
            "-Infinity",
            "1e999",
            "1.0",
            "true",
            '"1"',
            "{}",
            str(2**63),
            "01",
            "+1",
            "0x1",
        ):
            yield f"{field}_{value}", "patch", with_field(field, value)
    for value in (
        "NaN",
        "[NaN]",
        '{"y": -Infinity}',
        "nan",
        "undefined",
        "'x'",
        "\t\x0b1",
        '"\t"',
        '"\0"',
        r'"\x"',
        r'"\u12"',
    ):
        yield f"unknown_field_{value!a}", "patch", with_field("x", value)
    for event in ("put", "patch", "delete"):
        for text in (
            "",
            " ",
            "{",
            "}",
            "[]",
            "5",
            "true",
            '"x"',
            "{} x",
            "{}{}",
            "{,}",
            '{"a": 1,}',
            "\ufeff{}",
            "//\n{}",
        ):
            yield f"{event}_{text!a}", event, text
    for text in ("5", "[]", '"x"', "[1", '{"envID": 5}', '{"version": 1.5}', '{"sdkKey": "x"}', '{"secureMode": 1}'):
        yield f"put_with_{text}", "put", put_of(text)
    yield "filters_array", "put", f'{{"path": "/", "data": {{"environments": {{"elm": {GOOD}}}, "filters": [1]}}}}'
    yield "path_number", "put", '{"path": 5, "data": {}}'
    yield "path_surrogates", "delete", '{"path": ["\\ud800"], "version": 5}'


CASES = list(malformed())


@pytest.mark.parametrize(("event", "data"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_malformed(event: str, data: str) -> None:
    """Nothing of such an event is applied, and the client restarts by itself."""
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    play = stream(SMALL, f"event: {event}\n{lines}\n".encode(), NEXT, then=Wire.stay)
    survive(Fault("malformed", play, f'malformed "{event}" event: .', logging.ERROR, [SMALL]))


SURROGATES = {
    "high": (r"\ud800", "\ufffd"),
    "low": (r"\udc00x", "\ufffdx"),
    "wrong_order": (r"\udc00\ud800", "\ufffd\ufffd"),
    "many": (r"\uD83D" * 100, "\ufffd" * 100),
    "half_of_three": (r"\ud83d\ud83d\ude00", "\ufffd😀"),
    "escaped_backslash": (r"\\ud800", "\\ud800"),
}


@MODES
@pytest.mark.parametrize("name", SURROGATES)
def test_lone_surrogates(name: str, chunked: bool) -> None:
    """They become U+FFFD, in ids, paths and names alike, and can be encoded by whoever gets them."""
    written, meant = SURROGATES[name]
    event = patch("sky", 1)
    data = json.dumps(event.document).replace("sky", written)
    document = {"path": f"/environments/{meant}", "data": {**environment(meant, 1)}}
    play = stream(SMALL, f"event: patch\ndata: {data}\n\n".encode(), then=Wire.end)
    survive(Fault("surrogates", play, "ended the stream", brings=[SMALL, Event("patch", document)]), chunked=chunked)


def test_surrogates_that_become_one_id() -> None:
    """Two ids that differ in their surrogates only are one id; of two members of that name the last one counts."""
    first, last = (json.dumps({**environment("sky", n), "envID": "ID"}) for n in (1, 2))
    data = f'{{"path": "/", "data": {{"environments": {{"ID": {first}, "OTHER": {last}}}}}}}'
    wire = data.replace("OTHER", r"\udfff").replace('"envID": "ID"', r'"envID": "\udead"').replace("ID", r"\ud800")
    wire = wire.replace(r'"env\ud800"', '"envID"')
    document = {"path": "/", "data": {"environments": {"\ufffd": environment("sky", 2)}, "filters": {}}}
    play = stream(f"event: put\ndata: {wire}\n\n".encode(), then=Wire.end)
    survive(Fault("surrogates", play, "ended the stream", brings=[Event("put", document)]))


HARMLESS = {
    "long_strings": '"' + "x" * 500_000 + '"',
    "many_members": "{" + ", ".join(f'"k{n}": {n}' for n in range(20_000)) + "}",
    "the_same_member": "{" + ", ".join(['"k": 1'] * 20_000) + "}",
    "large_fraction": "1e999",
    "small_fraction": "1e-9999",
    "long_fraction": "0." + "1" * 5000,
    "nested_a_little": "[" * 200 + "]" * 200,
    "big_integer": "9" * 400,
    "magic": '{"__proto__": {}, "__class__": "x", "envID": "other", "version": "x"}',
    "percent": '"%s%d%(x)s {0} {x}"',
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_json(name: str) -> None:
    """Strange values in fields that nobody knows do no harm."""
    data = with_field("x", HARMLESS[name])
    play = stream(SMALL, f"event: patch\ndata: {data}\n\n".encode(), then=Wire.end)
    survive(Fault("harmless", play, "ended the stream", brings=[SMALL, NEXT]))
