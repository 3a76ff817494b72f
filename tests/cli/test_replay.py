"""``autoconfig replay``: a recorded stream through the real parser, decoder and version logic."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.plain_service import environment

from autoconfig.cli import demo, main, replay
from autoconfig.testing import event_bytes

Capture = pytest.CaptureFixture[str]
AGAIN = "the client drops the connection and makes a new one"
SECRET = demo.PRODUCTION.sdk_key.value


def event(name: str, **content: Any) -> bytes:
    return event_bytes(name, json.dumps(content))


def put(*ids: str, filters: dict[str, Any] | None = None, path: str = "/", **fields: Any) -> bytes:
    environments = {id: {"envId": id, "envName": id, "projName": "P", "version": 3, **fields} for id in ids}
    return event("put", path=path, data={"environments": environments, "filters": filters or {}})


def patch(id: str, version: object, path: str = "/environments/env-1", **fields: Any) -> bytes:
    return event("patch", path=path, data={"envId": id, "version": version, **fields})


def delete(path: str, version: int) -> bytes:
    return event("delete", path=path, version=version)


@pytest.fixture
def replayed(tmp_path: Path, capsys: Capture) -> Callable[..., tuple[int, list[str], str]]:
    """Replay events; return the exit code, the lines of stdout, and stderr."""

    def replayed(*events: bytes, arguments: tuple[str, ...] = ("--explain",)) -> tuple[int, list[str], str]:
        (tmp_path / "stream.sse").write_bytes(b"".join(events))
        code = main(["replay", str(tmp_path / "stream.sse"), *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return replayed


Replayed = Callable[..., tuple[int, list[str], str]]


def explanations(lines: list[str]) -> list[str]:
    """Return what is said of the events, without their numbers."""
    return [line.split(maxsplit=1)[1] for line in lines if line.startswith("#")]


def test_explains_what_is_done_with_each_event(replayed: Replayed) -> None:
    code, lines, err = replayed(
        put("env-1", "env-2"),
        patch("env-1", 5, envName="New", projName="P"),
        patch("env-1", 5),
        delete("/environments/env-1", 4),
        delete("/environments/env-1", 6),
        patch("env-1", 6),
        delete("/environments/env-1", 7),
        patch("env-1", 8),
        delete("/environments/unknown", 2),
        patch("a", 1, path="/projects/a"),
        patch("other", 9),
        put("env-2", path="/other"),
        put("env-2", filters={"f": {"projKey": "p", "key": "k", "version": 1}}),
        event("patch", path="/filters/f", data={"projKey": "p", "key": "k", "version": 2}),
        event_bytes("hello", "{}"),
        event_bytes("reconnect", ""),
        put(filters={"f": {"projKey": "p", "key": "k", "version": 2}}),
        b"event: put\ndata: {",
    )
    assert (code, err) == (0, "")
    assert explanations(lines) == [
        "put: insert environment env-1, version 3",
        "put: insert environment env-2, version 3",
        "patch /environments/env-1: update, version 5",
        "patch /environments/env-1: noop, version 5 <= 5",
        "delete /environments/env-1: noop, version 4 <= 5",
        "delete /environments/env-1: delete, version 6",
        "patch /environments/env-1: noop, version 6 <= 6",
        "delete /environments/env-1: tombstone, version 7; there is no such environment",
        "patch /environments/env-1: insert, version 8",
        "delete /environments/unknown: tombstone, version 2; there is no such environment",
        "patch /projects/a: ignored, unknown path",
        "patch /environments/env-1: ignored, its envId is another one: other",
        "put /other: ignored, unknown path",
        "put: noop environment env-2, version 3 <= 3",
        "put: delete environment env-1, the put does not list it",
        "put: insert filter f, version 1",
        "patch /filters/f: update, version 2; there is no callback for that",
        "hello: ignored, unknown event",
        f"reconnect: {AGAIN}",
        "put: delete environment env-2, the put does not list it",
        "put: noop filter f, version 2 <= 2",
        "put: ignored, cut off by the end of the file: no empty line follows",
    ]
    calls = [line.split(maxsplit=1) for line in lines[:-1] if not line.startswith("#")]
    assert [verb for verb, _ in calls] == [
        *("added", "added", "complete", "updated", "deleted", "added"),
        *("deleted", "added", "complete", "deleted", "complete"),
    ]
    assert lines[-1] == "18 events, 11 calls of the handler"


def test_tells_of_malformed_events_and_goes_on(replayed: Replayed) -> None:
    code, lines, err = replayed(put("env-1"), patch("env-1", "7"), event_bytes("put", f"{{{SECRET}"), patch("env-1", 7))
    assert (code, err) == (1, "")
    first, second, third = explanations(lines)[1:]
    assert first.startswith("patch: malformed: version ")
    assert second.startswith("put: malformed: not JSON")
    assert first.endswith(AGAIN)
    assert third == "patch /environments/env-1: update, version 7"
    assert lines[-1] == "4 events (2 malformed), 3 calls of the handler"


def test_what_is_refused_is_named_and_the_rest_applied(replayed: Replayed) -> None:
    good, bad = environment("oak", "Oak"), environment("ash", "Ash", sdkKeys=[{"key": "x", "value": ""}])
    refusing = event("put", path="/", data={"environments": {"oak": good, "ash": bad}})
    code, lines, _ = replayed(refusing, event("patch", path="/environments/ash", data=bad))
    assert code == 1
    assert explanations(lines) == [
        "put: insert environment oak, version 1",
        "put: refused environment ash, sdkKeys has an entry without a value",
        "patch /environments/ash: refused, sdkKeys has an entry without a value",
    ]
    assert lines[-1] == "2 events (2 malformed), 2 calls of the handler"
    code, lines, err = replayed(event("put", path="/", data={"environments": {"ash": bad}}), arguments=())
    assert (code, lines) == (1, [])
    assert err == (
        "autoconfig: error: event 1: environment ash is refused: sdkKeys has an entry without a value\n"
        "  try: --explain\n"
    )


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(replayed: Replayed) -> None:
    code, lines, _ = replayed(b"event: a\xff\ndata: {}\n\nevent: b\xff\ndata: {")
    assert code == 0
    assert [line.partition(":")[0] for line in explanations(lines)] == ["a\ufffd", "b\ufffd"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b":heartbeat\n\n", b"{}"])
def test_a_file_without_events_is_an_error(content: bytes, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "stream.sse").write_bytes(content)
    assert main(["replay", str(tmp_path / "stream.sse"), "--explain"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("autoconfig: error: FILE: there is no event in it\n  try: record one")


def test_a_put_of_nothing_is_explained_too(replayed: Replayed) -> None:
    assert explanations(replayed(put())[1]) == ["put: noop, there is nothing in it, and nothing to be deleted"]


def test_without_explanations_it_prints_the_calls_and_complains(replayed: Replayed) -> None:
    code, lines, err = replayed(put("env-1"), patch("env-1", True), patch("env-1", 7, projName="P"), arguments=())
    assert code == 1
    assert lines == [
        "#1     added        P / env-1  id env-1",
        "#1     complete     1 environment, 0 filters",
        "#3     updated      P / env-1  name env-1 → none",
    ]
    assert err.startswith("autoconfig: error: event 2: is malformed: version ")


def test_prints_calls_as_json(replayed: Replayed) -> None:
    code, lines, _ = replayed(put("env-1"), delete("/environments/env-1", 4), arguments=("--json",))
    assert code == 0
    calls = [json.loads(line) for line in lines]
    assert [call["call"] for call in calls] == ["add_environment", "received_all_environments", "delete_environment"]


def test_explains_in_json(replayed: Replayed) -> None:
    events = (put("env-1"), patch("env-1", 2), event_bytes("hello", ""))
    _, lines, _ = replayed(*events, arguments=("--json", "--explain"))
    found = [json.loads(line) for line in lines]
    assert all(one.pop("time") for one in found)
    assert [one for one in found if "event" in one] == [
        {"event": number, "action": action, "reason": reason, "name": name, "path": path, "kind": kind, "id": id}
        for number, name, path, action, kind, id, reason in (
            (1, "put", None, "insert", "environment", "env-1", "version 3"),
            (2, "patch", "/environments/env-1", "noop", "environment", "env-1", "version 2 <= 3"),
            (3, "hello", None, "ignored", None, None, "unknown event"),
        )
    ]


def test_an_id_is_shown_in_json_whatever_it_looks_like(replayed: Replayed) -> None:
    """It is in the calls too, which a program would otherwise not find the explanation of."""
    _, lines, _ = replayed(put("api-production"), arguments=("--json", "--explain"))
    assert [one["id"] for one in map(json.loads, lines) if "id" in one] == ["api-production"] * 2


@pytest.mark.parametrize("arguments", [(), ("--explain",), ("--json",), ("--explain", "--json"), ("--explain", "-vv")])
def test_masks_every_secret(arguments: tuple[str, ...], replayed: Replayed, no_secrets: Callable[..., None]) -> None:
    rep = demo.PRODUCTION.to_json()
    sdk_key = {"value": demo.NEW_SDK_KEY, "expiring": {"value": SECRET, "timestamp": 2**41}}
    later = rep | {"version": 2, "sdkKey": sdk_key, "sdkKeys": []}
    code, lines, err = replayed(
        event("put", path="/", data={"environments": {demo.PRODUCTION.env_id: rep}}),
        event("patch", path=f"/environments/{demo.PRODUCTION.env_id}", data=later),
        event("patch", path=f"/environments/{SECRET}", data={"envID": SECRET, "version": SECRET}),
        event("put", path="/", data={"environments": {SECRET: {"version": SECRET}}}),
        event("delete", path=f"/{SECRET}", version=1),
        event_bytes(SECRET, SECRET),
        arguments=arguments,
    )
    assert code == 1
    no_secrets(*lines, err)


def test_reveals_keys_when_asked(replayed: Replayed) -> None:
    lines = replayed(put("env-1", sdkKey={"value": SECRET}), arguments=("--reveal",))[1]
    assert SECRET in lines[0]


def test_an_event_that_is_too_large_ends_it(replayed: Replayed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_LIMIT", 100)
    code, lines, _ = replayed(event_bytes("hello", ""), put("env-1", "env-2"), event_bytes("hello", ""))
    assert code == 1
    assert explanations(lines)[1:] == [
        "event: malformed: it is larger than 100 bytes; the rest of the file is not replayed"
    ]


def test_reads_stdin_as_it_comes(start: Callable[..., Any]) -> None:
    reading, writing = os.pipe()
    running = start("replay", "-", "--explain", stdin=reading)
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as recorder:
        recorder.write(put("env-1"))
        assert running.line().endswith("insert environment env-1, version 3")
        recorder.write(b"event: patch\n")
        recorder.write(patch("env-1", 4).removeprefix(b"event: patch\n"))
        assert running.line("update")
    assert running.ended() == 0
    assert running.stderr == ""


def test_needs_a_stdin_for_that(start: Callable[..., Any]) -> None:
    program = ("-c", "import os, sys; os.close(0); os.execv(sys.executable, [sys.executable, '-m', *sys.argv[1:]])")
    running = start("autoconfig", "replay", "-", program=program)
    assert running.ended() == 2
    assert running.stderr == ("autoconfig: error: FILE: there is no stdin to read\n  try: give the path of a file\n")


def test_ends_well_when_its_reader_goes_away(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "stream.sse").write_bytes(put(*(f"env-{number}" for number in range(5000))))
    reading, writing = os.pipe()
    running = start("replay", "stream.sse", stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        assert "added" in lines.readline()
    assert running.ended() == 0
    assert running.stderr == ""
