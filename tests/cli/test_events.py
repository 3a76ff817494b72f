"""Events as values, what they add up to, and how they are shown."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from cli.findings import DEADLINE
from cli.plain_service import PlainService, environment, event, put
from msgspec.structs import replace

from autoconfig import ErrorInfo, ErrorKind, MessageHandler, StreamState, StreamStatus
from autoconfig.cli.demo import DOCS, EUROPE, FILTERS, PRODUCTION
from autoconfig.cli.events import Call, CallHandler, Picture, PlainLines, Remark, Stream, call_json, put_event
from autoconfig.cli.sources import Connection
from autoconfig.handler import check_handler
from autoconfig.identifiers import mask

Capture = pytest.CaptureFixture[str]
FILTER = FILTERS[EUROPE].to_params(EUROPE)
NOW = datetime.now(timezone.utc)
VALID = StreamStatus(StreamState.VALID, NOW, connected_since=NOW)
ERROR = ErrorInfo(ErrorKind.NETWORK_ERROR, "the service ended the stream", NOW - timedelta(seconds=5))


def connection(uri: str) -> Connection:
    return Connection({"uri": uri, "key": "rel-x"}, {"uri": "--uri", "key": "--key"})


def test_every_method_of_a_handler_becomes_a_value() -> None:
    calls: list[Call] = []
    handler: Any = CallHandler(calls.append)
    check_handler(handler)
    methods = [name for name in vars(MessageHandler) if not name.startswith("_")]
    for name in methods:
        getattr(handler, name)(*([] if name == "received_all_environments" else ["id"]))
    assert [call.name for call in calls] == methods
    handler.environment_refused("ash", "why")
    assert calls[-1] == Call("environment_refused", "ash", "why")


def test_calls_add_up_to_a_picture() -> None:
    picture = Picture()
    before, after = PRODUCTION.to_params(), replace(PRODUCTION, env_name="Live").to_params()
    assert picture.apply(Call("add_environment", before)).before is None
    assert picture.apply(Call("update_environment", after)).before == before
    assert picture.apply(Call("environment_refused", PRODUCTION.env_id, "why")).before == after
    assert picture.apply(Call("add_filter", FILTER)).before is None
    assert picture.apply(Call("received_all_environments")).before is None
    assert (picture.totals(), picture.filters()) == ("1 environment, 1 filter", ["europe (shop)"])
    assert picture.apply(Call("delete_filter", EUROPE)).before == FILTER
    assert picture.apply(Call("delete_environment", PRODUCTION.env_id)).before == after
    assert picture.totals() == "0 environments, 0 filters"


@pytest.mark.parametrize(("project", "shown"), [("shop", [PRODUCTION]), ("Docs", [DOCS]), ("other", [])])
def test_a_picture_of_one_project(project: str, shown: list[Any]) -> None:
    picture = Picture((project,))
    for rep in (PRODUCTION, DOCS):
        picture.apply(Call("add_environment", rep.to_params()))
    assert picture.environments() == [rep.to_params() for rep in shown]
    assert picture.shows(FILTER) == (project == "shop")
    assert picture.shows(None, "an id"), "what belongs to no project is always shown"


def test_calls_about_other_projects_are_not_handed_on() -> None:
    with (
        PlainService(
            put(environment("oak", "Oak"), environment("elm", "Elm", projKey="other", projName="Other"))
        ) as service,
        Stream(connection(service.uri), projects=["QUAY"]) as stream,
    ):
        calls = []
        for one in stream.events():
            calls += [one] if isinstance(one, Call) else []
            if calls and calls[-1].name == "received_all_environments":
                break
    assert [one.id for one in calls] == ["oak", ""]
    assert len(stream.picture.registry) == 2


def test_an_environment_that_leaves_a_project_is_shown_once_more() -> None:
    picture = Picture(("shop",))
    moved = replace(PRODUCTION, proj_key="other", proj_name="Other").to_params()
    assert picture.shows(PRODUCTION.to_params(), moved)
    assert not picture.shows(moved, moved)


def test_a_stream_hands_on_calls_states_and_remarks() -> None:
    content = {"oak": environment("oak", "Oak"), "fir": environment("fir2", "Fir")}
    found: list[Any] = []
    with (
        PlainService(event("put", {"path": "/", "data": {"environments": content}})) as service,
        Stream(connection(service.uri)) as stream,
    ):
        for one in stream.events():
            found += [one] if one else []
            if isinstance(one, Call) and one.name == "received_all_environments":
                break
        assert stream.is_connected
    assert [one.text for one in found if isinstance(one, Remark)] == [
        "Ignored environment 'fir2', which is listed under 'fir'"
    ]
    assert stream.ignored == ["Ignored environment 'fir2', which is listed under 'fir'"]
    assert [one.name for one in found if isinstance(one, Call)] == ["add_environment", "received_all_environments"]
    assert [one.state for one in found if isinstance(one, StreamStatus)] == [StreamState.VALID]


def test_a_settled_stream_has_taken_all_that_came() -> None:
    with PlainService(put(environment("oak", "Oak"))) as service, Stream(connection(service.uri)) as stream:
        stream.manager.wait_until_ready(DEADLINE)
        stream.settle()
        assert stream.picture.registry.is_ready


def test_events_end_at_a_deadline() -> None:
    with PlainService(put()) as service, Stream(connection(service.uri)) as stream:
        assert None in list(stream.events(deadline=0.0))


def test_calls_in_json() -> None:
    assert call_json(Call("received_all_environments"), mask) == {"call": "received_all_environments"}
    assert call_json(Call("delete_filter", "f"), mask) == {"call": "delete_filter", "id": "f"}
    assert call_json(Call("environment_refused", "e", "why"), mask)["reason"] == "why"
    found = call_json(Call("add_filter", FILTER), mask)
    assert found == {"call": "add_filter", "id": EUROPE, "params": {"projKey": "shop", "key": "europe"}}


def test_json_lines_are_one_line_each_and_not_escaped(capsys: Capture) -> None:
    name = "日本\n\u2028"
    put_event(Call("add_environment", replace(DOCS, env_name=name).to_params()), mask)
    put_event(Remark("Ignored environment 'x', which is listed under 'y'"), mask)
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
