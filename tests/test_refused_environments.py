"""Environments whose keys contradict each other, from the service's bytes over a real connection to status and log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.managing import managed
from support.recorder import Recorder
from support.samples import event_item, patch_of, put_of, service_environment
from support.scripted_server import Item, ScriptedServer

from autoconfig import EnvironmentID, EnvironmentParams, ErrorKind, RetryPolicy, StreamManager, StreamState
from autoconfig.status import RefusedEnvironment

ANCHOR = "sdkKeys does not hold the key of sdkKey.value"
VALUE = "sdkKeys has an entry without a value"
QUICK = RetryPolicy(max_delay=0.02, jitter=0.0)
SECRET = "sdk-4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38"


def good(id: str, version: int = 1) -> dict[str, Any]:
    return service_environment(id, version)


def contradictory(id: str, version: int = 1) -> dict[str, Any]:
    return service_environment(id, version, sdkKeys=[{"key": "other", "value": SECRET}])


def marker(number: int = 1) -> Item:
    """Return a patch of an environment by which a test sees that all before it was handled."""
    return patch_of(good(f"mark-{number}"))


class Told(Recorder):
    """
    A handler that wants to know what is refused.

    Attributes:
        manager: Set before it is started.
        at_marks: What the status called refused when each mark was added.
    """

    manager: StreamManager

    def __init__(self) -> None:
        super().__init__()
        self.at_marks: list[tuple[RefusedEnvironment, ...]] = []

    def add_environment(self, params: EnvironmentParams) -> None:
        if params.env_id.startswith("mark"):
            self.at_marks.append(self.manager.status.refused)
        super().add_environment(params)

    def environment_refused(self, id: str, reason: str) -> None:
        self._record("environment_refused", (id, reason))


class Following:
    """A manager that follows a script, and its handler."""

    def __init__(self, manager: StreamManager, server: ScriptedServer, recorder: Recorder) -> None:
        self.manager, self.server, self.recorder = manager, server, recorder

    def wait_for_mark(self, number: int = 1) -> None:
        self.recorder.wait_for("add_environment", matching=lambda params: params.env_id == f"mark-{number}")

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """The calls but for those of marks, with ids for environments and their versions."""
        found = []
        for name, argument in self.recorder.calls:
            id = getattr(argument, "env_id", argument)
            if not str(id).startswith("mark"):
                found.append((name, argument.identifiers.env_name if hasattr(argument, "identifiers") else id))
        return found

    @property
    def refused(self) -> tuple[RefusedEnvironment, ...]:
        return self.manager.status.refused


@contextmanager
def following(*connections: list[Item], handler: Recorder | None = None, **options: Any) -> Iterator[Following]:
    recorder = handler or Told()
    options = {"retry_policy": QUICK, **options}
    with ScriptedServer(connections) as server, managed(server.url, recorder, **options) as manager:
        if isinstance(recorder, Told):
            recorder.manager = manager
        manager.start()
        yield Following(manager, server, recorder)


def test_the_rest_of_a_put_is_applied_and_the_connection_is_kept() -> None:
    """The state is VALID, and the last error says which environment and why."""
    with following([put_of(good("e1"), contradictory("e2"), good("e3")), marker()]) as stream:
        stream.wait_for_mark()
        assert stream.calls == [
            ("add_environment", "e1 v1"),
            ("add_environment", "e3 v1"),
            ("environment_refused", ("e2", ANCHOR)),
            ("received_all_environments", None),
        ]
        status = stream.manager.status
        assert status.state is StreamState.VALID
        assert status.last_error
        assert status.last_error.kind is ErrorKind.INVALID_DATA
        assert "'e2'" in status.last_error.message
        assert ANCHOR in status.last_error.message
        assert stream.refused == (RefusedEnvironment(EnvironmentID("e2"), ANCHOR, served=False),)
        assert len(stream.server.requests) == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sdkKeys": [{"value": "other"}]}, ANCHOR),
        ({"sdkKeys": [{"value": "sdk-e2"}, {"key": "name"}]}, VALUE),
        ({"sdkKeys": [{"value": "sdk-e2"}, {"value": ""}]}, VALUE),
        ({"mobileKeys": [{"value": "other"}]}, "mobileKeys does not hold the key of mobKey"),
        ({"mobKey": ""}, "mobileKeys does not hold the key of mobKey"),
        ({"mobileKeys": [{"value": "mob-e2"}, {}]}, "mobileKeys has an entry without a value"),
    ],
)
def test_each_contradiction_refuses_the_environment(changed: dict[str, Any], reason: str) -> None:
    with following([put_of(good("e1"), service_environment("e2", **changed)), marker()]) as stream:
        stream.wait_for_mark()
        assert stream.refused == (RefusedEnvironment(EnvironmentID("e2"), reason, served=False),)


def test_what_is_known_of_a_refused_environment_stays_with_its_version() -> None:
    """It counts as listed, is still served, and the version of the refused one is not remembered."""
    mended = patch_of(good("e2", 3))
    handler = Told()
    script: list[Item] = [put_of(good("e1"), good("e2", 2)), put_of(good("e1"), contradictory("e2", 9)), marker()]
    with following([*script, mended], handler=handler) as stream:
        stream.wait_for_mark()
        assert handler.at_marks == [(RefusedEnvironment(EnvironmentID("e2"), ANCHOR, served=True),)]
        stream.recorder.wait_for("update_environment")
        assert ("delete_environment", "e2") not in stream.calls
        assert stream.calls[-1] == ("update_environment", "e2 v3")
        assert stream.refused == ()


def test_each_put_replaces_the_list_and_a_message_clears_its_entry() -> None:
    items = [
        put_of(good("e1"), contradictory("a"), contradictory("b"), contradictory("c")),
        marker(1),
        patch_of(good("a")),
        event_item("delete", {"path": "/environments/b", "version": 1}),
        marker(2),
        put_of(good("e1"), good("mark-1"), good("mark-2"), contradictory("d")),
        marker(3),
    ]
    with following(items, handler=(handler := Told())) as stream:
        stream.wait_for_mark(3)
        assert [[one.id for one in refused] for refused in handler.at_marks] == [["a", "b", "c"], ["c"], ["d"]]


def test_it_is_one_error_line_without_a_key(caplog: pytest.LogCaptureFixture) -> None:
    with following([put_of(good("e1"), contradictory("e2"), contradictory("e3")), marker()]) as stream:
        stream.wait_for_mark()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert f"'e2': {ANCHOR}; 'e3': {ANCHOR}" in line
    assert SECRET not in caplog.text


def test_a_handler_need_not_want_to_know() -> None:
    with following([put_of(good("e1"), contradictory("e2")), marker()], handler=Recorder()) as stream:
        stream.wait_for_mark()
        assert stream.calls == [("add_environment", "e1 v1"), ("received_all_environments", None)]
        assert len(stream.refused) == 1


@pytest.mark.parametrize("times", [3])
def test_a_refused_patch_reconnects_on_the_short_delays(times: int) -> None:
    """However often it comes: a stream that waits cannot learn that the payload was mended."""
    bad = [put_of(good("e1")), patch_of(contradictory("e2"))]
    with following(*[bad] * times, [put_of(good("e1"), good("e2")), marker()]) as stream:
        stream.wait_for_mark()
        assert len(stream.server.requests) == times + 1
        assert [call for call in stream.calls if call[0].startswith("add")] == [
            ("add_environment", "e1 v1"),
            ("add_environment", "e2 v1"),
        ]
        assert ("environment_refused", ("e2", ANCHOR)) in stream.calls
        assert stream.refused == ()
        assert stream.manager.status.last_error
        assert stream.manager.status.last_error.kind is ErrorKind.INVALID_DATA


def test_what_comes_after_a_refused_patch_in_a_burst_is_left_to_the_next_connection() -> None:
    with following(
        [put_of(good("e1")), patch_of(contradictory("e2")), marker(1)], [put_of(good("e1")), marker(2)]
    ) as s:
        s.wait_for_mark(2)
        assert len(s.server.requests) == 2


@pytest.mark.parametrize("times", [3])
def test_a_put_of_which_all_was_refused_reconnects_and_is_no_full_configuration(times: int) -> None:
    """What is known stays. An entry of another id is none that can be used."""
    bad = put_of(contradictory("e1", 2), listed=good("another"))
    with following([put_of(good("e1")), bad], *[[bad]] * (times - 1), [put_of(good("e1", 3)), marker()]) as stream:
        stream.wait_for_mark()
        assert len(stream.server.requests) == times + 1
        assert [call for call in stream.calls if call[0] != "environment_refused"] == [
            ("add_environment", "e1 v1"),
            ("received_all_environments", None),
            ("update_environment", "e1 v3"),
            ("received_all_environments", None),
        ]
        assert stream.refused == ()


def test_before_the_first_usable_put_the_stream_is_not_valid() -> None:
    with following([put_of(contradictory("e1"))], [put_of(good("e1")), marker()]) as stream:
        stream.wait_for_mark()
        assert stream.calls == [
            ("environment_refused", ("e1", ANCHOR)),
            ("add_environment", "e1 v1"),
            ("received_all_environments", None),
        ]
        assert stream.manager.status.state is StreamState.VALID


def test_a_foreign_id_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """It is ignored with a WARNING, counts as listed, and the put is a full configuration."""
    with following(
        [put_of(good("e1"), good("e2")), put_of(good("e1"), e2=contradictory("another", 9)), marker()]
    ) as stream:
        stream.wait_for_mark()
        assert stream.calls == [
            ("add_environment", "e1 v1"),
            ("add_environment", "e2 v1"),
            ("received_all_environments", None),
            ("received_all_environments", None),
        ]
        assert stream.refused == ()
        assert stream.manager.status.last_error is None
        assert len(stream.server.requests) == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["Ignored environment 'another', which is listed under 'e2'"]


def test_an_empty_put_is_a_put(caplog: pytest.LogCaptureFixture) -> None:
    """Everything goes, with a WARNING because there was something."""
    with following([put_of(), put_of(good("e1")), put_of(), marker()]) as stream:
        stream.wait_for_mark()
        assert stream.calls == [
            ("received_all_environments", None),
            ("add_environment", "e1 v1"),
            ("received_all_environments", None),
            ("delete_environment", "e1"),
            ("received_all_environments", None),
        ]
        assert len(stream.server.requests) == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "contains no environments" in warnings[0]
