"""Events as lines: JSON and words."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import attrs
import pytest
from msgspec.structs import replace

from autoconfig import ErrorInfo, ErrorKind, StreamState, StreamStatus
from autoconfig.cli.demo import DOCS, EUROPE, FILTERS
from autoconfig.cli.events import Call, Picture, Remark
from autoconfig.cli.lines import PlainLines, call_json, put_event
from autoconfig.identifiers import mask

Capture = pytest.CaptureFixture[str]
NOW = datetime.now(timezone.utc)
VALID = StreamStatus(StreamState.VALID, NOW, connected_since=NOW)
ERROR = ErrorInfo(ErrorKind.NETWORK_ERROR, "the service ended the stream", NOW - timedelta(seconds=5))
FILTER = FILTERS[EUROPE].to_params(EUROPE)


def test_calls_in_json() -> None:
    assert call_json(Call("received_all_environments"), mask) == {"call": "received_all_environments"}
    assert call_json(Call("delete_filter", "f"), mask) == {"call": "delete_filter", "id": "f"}
    assert call_json(Call("environment_refused", "e", "why"), mask)["reason"] == "why"
    found = call_json(Call("add_filter", FILTER), mask)
    assert found == {"call": "add_filter", "id": EUROPE, "params": {"projKey": "shop", "key": "europe"}}


def test_json_lines_are_one_line_each_and_not_escaped(capsys: Capture) -> None:
    name = "日本\n\u2028"
    put_event(Call("add_environment", replace(DOCS, env_name=name).to_params()), mask)
    put_event(Remark("Ignored environment 'x', which came as 'y'"), mask)
    put_event(VALID, mask)
    out = capsys.readouterr().out
    first, second, third = out.strip("\n").split("\n")
    assert "日本" in first
    assert json.loads(first)["params"]["envName"] == name
    assert json.loads(second)["warning"].startswith("Ignored environment")
    assert json.loads(third)["status"]["state"] == "VALID"


def test_states_in_lines(capsys: Capture) -> None:
    lines = PlainLines(mask, Picture(), lambda: "now")
    retry = datetime.now(timezone.utc) + timedelta(seconds=59.5)
    failing = attrs.evolve(
        VALID, state=StreamState.INTERRUPTED, last_error=ERROR, connected_since=None, next_retry_at=retry
    )
    for status in (attrs.evolve(failing, state=StreamState.INITIALIZING), VALID, failing, VALID):
        lines.show(status)
    lines.show(attrs.evolve(VALID, state=StreamState.OFF, connected_since=None))
    first, second, third, fourth, fifth = capsys.readouterr().out.splitlines()
    assert first.startswith("now  INITIALIZING the service ended the stream; next attempt in ")
    assert second.startswith("now  VALID        the stream is back after ")
    assert third.startswith("now  INTERRUPTED  the service ended the stream; next attempt in ")
    assert fourth.startswith("now  VALID        the stream is back after ")
    assert fifth == "now  OFF          ended"
