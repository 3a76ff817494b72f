"""Environments handed on once for each filter: whatever comes first, goes or moves. Failures: test_inner_calls."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ready_made.samples import params, payload_filter
from support.managing import QUICK
from support.recorder import Recorder

from autoconfig import (
    EnvironmentID,
    EnvironmentParams,
    FilterID,
    FilterKey,
    MessageHandler,
    StreamManager,
)
from autoconfig.handler_errors import HandlerErrors
from autoconfig.messages import EnvironmentRep, FilterRep
from autoconfig.ready_made.filtering import FilteredHandler, FilterExpander
from autoconfig.ready_made.registry import EnvironmentRegistry
from autoconfig.testing import DEMO_KEY, Emulator

E1 = EnvironmentID("e1")


class FilteredRecorder(Recorder):
    """
    A ``FilteredHandler`` that records its calls.

    Attributes:
        held: What it was given and still has, by id and filter key.
        failures: Whether each of the next calls fails; those after them do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], EnvironmentParams] = {}
        self.failures: list[bool] = []

    @property
    def short(self) -> list[str]:
        """All calls as text: ``add e1``, ``add e1/f1``."""
        pairs = [argument if isinstance(argument, tuple) else pair(argument) for _, argument in self.calls]
        return [
            f"{name.partition('_')[0]} {'/'.join(filter(None, ids))}"
            for name, ids in zip(self.names, pairs, strict=True)
        ]

    def add_environment(self, params: EnvironmentParams) -> None:
        self._record("add_environment", params)
        self.held[pair(params)] = params

    def update_environment(self, params: EnvironmentParams) -> None:
        self._record("update_environment", params)
        self.held[pair(params)] = params

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey) -> None:  # type: ignore[override]
        self._record("delete_environment", (id, filter_key))
        del self.held[id, filter_key]

    def _record(self, name: str, argument: Any) -> None:
        if self.failures and self.failures.pop(0):
            raise ConnectionError(f"refused {name}")
        super()._record(name, argument)


def pair(params: EnvironmentParams) -> tuple[str, str]:
    return params.env_id, params.identifiers.filter_key


@pytest.fixture
def handler() -> FilteredRecorder:
    return FilteredRecorder()


@pytest.fixture
def expander(handler: FilteredRecorder) -> FilterExpander:
    return FilterExpander(handler)


def test_it_is_a_handler_for_another_one(expander: FilterExpander, handler: FilteredRecorder) -> None:
    assert isinstance(expander, MessageHandler)
    assert isinstance(handler, FilteredHandler)


def test_the_other_handler_is_checked() -> None:
    with pytest.raises(TypeError, match="lacks add_environment, update_environment, delete_environment, received_all"):
        FilterExpander(object())  # type: ignore[arg-type]


def test_a_coroutine_of_the_other_handler_is_refused(handler: FilteredRecorder) -> None:
    async def call(*_: object) -> None:
        """Do nothing."""

    handler.update_environment = call  # type: ignore[assignment, method-assign]
    with pytest.raises(TypeError, match="update_environment is a coroutine function"):
        FilterExpander(handler)


def test_without_filters_everything_is_handed_on_as_it_is(expander: FilterExpander, handler: FilteredRecorder) -> None:
    expander.add_environment(params("e1"))
    expander.update_environment(params("e1", name="new"))
    expander.received_all_environments()
    expander.delete_environment(E1)
    assert handler.calls == [
        ("add_environment", params("e1")),
        ("update_environment", params("e1", name="new")),
        ("received_all_environments", None),
        ("delete_environment", ("e1", "")),
    ]


def test_filters_that_come_first(expander: FilterExpander, handler: FilteredRecorder) -> None:
    expander.add_filter(payload_filter("b"))
    expander.add_filter(payload_filter("a"))
    expander.add_filter(payload_filter("c", proj="blog"))
    expander.add_environment(params("e1"))
    assert handler.short == ["add e1", "add e1/b", "add e1/a"]
    assert handler.held["e1", "b"] == params("e1").with_filter(FilterKey("b"))


def test_filters_that_come_afterwards(expander: FilterExpander, handler: FilteredRecorder) -> None:
    expander.add_environment(params("e1"))
    expander.add_environment(params("e2"))
    expander.add_environment(params("e3", proj="blog"))
    handler.calls.clear()
    expander.add_filter(payload_filter("a"))
    assert handler.short == ["add e1/a", "add e2/a"]


def test_an_update_and_a_deletion_go_to_all(expander: FilterExpander, handler: FilteredRecorder) -> None:
    expander.add_filter(payload_filter("b"))
    expander.add_filter(payload_filter("a"))
    expander.add_environment(params("e1"))
    handler.calls.clear()
    expander.update_environment(params("e1", name="new"))
    assert handler.short == ["update e1", "update e1/b", "update e1/a"]
    assert {one.identifiers.env_name for one in handler.held.values()} == {"new"}
    expander.delete_environment(E1)
    assert handler.held == {}


def test_a_filter_takes_its_share_with_it(expander: FilterExpander, handler: FilteredRecorder) -> None:
    for key in "ab":
        expander.add_filter(payload_filter(key))
    expander.add_environment(params("e1"))
    handler.calls.clear()
    expander.delete_filter(FilterID("a"))
    assert handler.short == ["delete e1/a"]
    expander.update_environment(params("e1", name="new"))
    assert set(handler.held) == {("e1", ""), ("e1", "b")}


def test_an_environment_changes_its_project(expander: FilterExpander, handler: FilteredRecorder) -> None:
    """It gets the other project's filters, before it loses its own."""
    for id, key, project in ("f1", "a", "shop"), ("f2", "both", "shop"), ("f3", "both", "blog"), ("f4", "b", "blog"):
        expander.add_filter(payload_filter(id, key, project))
    expander.add_environment(params("e1"))
    handler.calls.clear()
    expander.update_environment(params("e1", proj="blog"))
    assert handler.short == ["update e1", "update e1/both", "add e1/b", "delete e1/a"]
    expander.delete_filter(FilterID("f2"))
    expander.add_filter(payload_filter("f5", "c", "shop"))
    assert set(handler.held) == {("e1", ""), ("e1", "both"), ("e1", "b")}


def test_two_filters_of_one_key_are_one(expander: FilterExpander, handler: FilteredRecorder) -> None:
    expander.add_environment(params("e1"))
    for id in "f1", "f2":
        expander.add_filter(payload_filter(id, "a"))
    expander.delete_filter(FilterID("f1"))
    assert handler.short == ["add e1", "add e1/a"]
    expander.delete_filter(FilterID("f2"))
    assert handler.short[2:] == ["delete e1/a"]


def test_a_filter_that_is_added_again_with_another_key_replaces_itself(
    expander: FilterExpander, handler: FilteredRecorder
) -> None:
    expander.add_environment(params("e1"))
    expander.add_environment(params("e2", proj="blog"))
    expander.add_filter(payload_filter("f1", "a"))
    expander.add_filter(payload_filter("f1", "b", "blog"))
    assert set(handler.held) == {("e1", ""), ("e2", ""), ("e2", "b")}


def test_calls_that_come_again_are_not_handed_on(expander: FilterExpander, handler: FilteredRecorder) -> None:
    for _ in range(2):
        expander.add_filter(payload_filter("a"))
        expander.add_environment(params("e1"))
    for _ in range(2):
        expander.delete_filter(FilterID("a"))
        expander.delete_environment(E1)
    assert handler.short == ["add e1", "add e1/a", "delete e1/a", "delete e1"]


# With a manager and a service


def rep(id: str, proj: str = "shop") -> EnvironmentRep:
    return EnvironmentRep(EnvironmentID(id), proj_key=proj)


def payload_filter_rep(key: str) -> FilterRep:
    return FilterRep("shop", FilterKey(key))


def test_it_follows_a_service(handler: FilteredRecorder) -> None:
    """With a handler that fails now and then, behind a registry."""
    registry = EnvironmentRegistry()
    failed = threading.Event()
    errors = HandlerErrors(retry=QUICK, on_error=lambda failure: failed.set())
    handler.failures = [False, False, True]  # whichever that is
    with (
        Emulator([rep("e1"), rep("e2", "blog")], {"f1": payload_filter_rep("a")}) as service,
        StreamManager(
            DEMO_KEY, service.uri, registry.wrap(FilterExpander(handler)), retry_policy=QUICK, handler_errors=errors
        ),
    ):
        handler.wait_for("received_all_environments")
        assert failed.wait(30)
        handler.wait_for("add_environment", matching=lambda params: params.identifiers.filter_key == "a")
        service.set_filter("f2", payload_filter_rep("b"))
        service.set_environment(rep("e2"))
        handler.wait_for("add_environment", matching=lambda params: params.identifiers.filter_key == "b")
        service.delete_filter("f1")
        service.delete_environment("e1")
        handler.wait_for("delete_environment", matching=lambda pair: pair == ("e1", ""))
        service.replace([rep("e2"), rep("e3")], {"f3": payload_filter_rep("c")})
        handler.wait_for("received_all_environments")
    assert set(handler.held) == {("e2", ""), ("e2", "c"), ("e3", ""), ("e3", "c")}
    assert set(registry.environments) == {"e2", "e3"}
