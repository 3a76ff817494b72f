"""Environments handed on once for each filter: whatever comes first, goes, moves or fails."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.managing import QUICK
from support.registry_filtered import FilteredRecorder, Repeating
from support.registry_samples import params, payload_filter

from autoconfig import EnvironmentID, FilterID, FilterKey, FilterRep, MessageHandler, StreamManager
from autoconfig.environments import EnvironmentRep
from autoconfig.filtering import FilteredHandler, FilterExpander
from autoconfig.handler_errors import HandlerErrors
from autoconfig.registry import EnvironmentRegistry
from autoconfig.testing import DEMO_KEY, Emulator

E1 = EnvironmentID("e1")


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


# Calls that fail


def test_a_repeated_call_goes_on_where_it_failed(expander: FilterExpander, handler: FilteredRecorder) -> None:
    for key in "ab":
        expander.add_filter(payload_filter(key))
    handler.failures = [False, True, False, True]
    for _ in range(2):
        with pytest.raises(ConnectionError):
            expander.add_environment(params("e1"))
    expander.add_environment(params("e1"))
    assert handler.short == ["add e1", "add e1/a", "add e1/b"]


def test_an_addition_that_is_never_repeated_is_set_right(expander: FilterExpander, handler: FilteredRecorder) -> None:
    expander.add_filter(payload_filter("a"))
    handler.failures = [False, True]
    with pytest.raises(ConnectionError):
        expander.add_environment(params("e1"))
    expander.received_all_environments()
    assert handler.short == ["add e1", "delete e1", "received"]


def test_a_filter_that_comes_back_during_its_deletion_is_set_right(
    expander: FilterExpander, handler: FilteredRecorder
) -> None:
    """There is no call for it, because for all that the manager knows it is still there."""
    expander.add_filter(payload_filter("a"))
    for id in "e1", "e2":
        expander.add_environment(params(id))
    handler.failures = [False, True]
    with pytest.raises(ConnectionError):
        expander.delete_filter(FilterID("a"))
    assert set(handler.held) == {("e1", ""), ("e2", ""), ("e2", "a")}
    expander.received_all_environments()
    assert set(handler.held) == {("e1", ""), ("e1", "a"), ("e2", ""), ("e2", "a")}


def test_a_filter_whose_key_changes_while_calls_fail(expander: FilterExpander, handler: FilteredRecorder) -> None:
    for id in "e1", "e2":
        expander.add_environment(params(id))
    for failures, key in ([False, True], "a"), ([True], "b"):
        handler.failures = failures
        with pytest.raises(ConnectionError):
            expander.add_filter(payload_filter("f1", key))
    expander.add_filter(payload_filter("f1", "b"))
    assert set(handler.held) == {("e1", ""), ("e1", "b"), ("e2", ""), ("e2", "b")}


def test_what_is_set_right_may_fail_too(expander: FilterExpander, handler: FilteredRecorder) -> None:
    expander.add_filter(payload_filter("a"))
    handler.failures = [False, True, True]
    with pytest.raises(ConnectionError):
        expander.add_environment(params("e1"))
    with pytest.raises(ConnectionError):
        expander.received_all_environments()
    expander.received_all_environments()
    assert handler.short == ["add e1", "delete e1", "received"]


PROJECTS = st.sampled_from(["shop", "blog"])
ENVIRONMENTS = st.builds(params, st.sampled_from(["e1", "e2", "e3"]), name=st.sampled_from("xy"), proj=PROJECTS)
FILTERS = st.builds(payload_filter, st.sampled_from(["f1", "f2", "f3"]), st.sampled_from(["a", "b", ""]), PROJECTS)
FAILURES = st.lists(st.booleans(), max_size=6)


class Histories(RuleBasedStateMachine):
    """Calls as a manager makes them, to a handler that fails at random and insists on legal calls."""

    def __init__(self) -> None:
        super().__init__()
        self.handler = FilteredRecorder()
        self.manager = Repeating(expander := FilterExpander(self.handler))
        self.expander = expander

    @rule(params=ENVIRONMENTS, failures=FAILURES)
    def set_environment(self, params: Any, failures: list[bool]) -> None:
        self.handler.failures = failures
        self.manager.set_environment(params)

    @rule(params=FILTERS, failures=FAILURES)
    def set_filter(self, params: Any, failures: list[bool]) -> None:
        self.handler.failures = failures
        self.manager.set_filter(params)

    @rule(id=st.sampled_from(["e1", "e2", "e3"]), failures=FAILURES)
    def delete_environment(self, id: str, failures: list[bool]) -> None:
        self.handler.failures = failures
        self.manager.delete_environment(id)

    @rule(id=st.sampled_from(["f1", "f2", "f3"]), failures=FAILURES)
    def delete_filter(self, id: str, failures: list[bool]) -> None:
        self.handler.failures = failures
        self.manager.delete_filter(id)

    @rule(ids=st.lists(st.sampled_from(["e1", "e2", "e3", "f1", "f2", "f3"]), unique=True), failures=FAILURES)
    def repeat(self, ids: list[str], failures: list[bool]) -> None:
        self.handler.failures = failures
        self.manager.repeat(ids)

    @rule(failures=FAILURES)
    def receive_all(self, failures: list[bool]) -> None:
        self.handler.failures = failures
        try:
            self.expander.received_all_environments()
        except ConnectionError:
            return
        self.manager.overtaken = False

    @invariant()
    def nothing_fails_unasked(self) -> None:
        self.handler.failures = []

    @rule()
    def come_to_rest(self) -> None:
        """Repeat what failed until nothing fails: the handler has the product of environments and filters."""
        self.manager.repeat()
        if self.manager.overtaken:
            self.expander.received_all_environments()
            self.manager.overtaken = False
        assert self.handler.held == self.manager.product()

    def teardown(self) -> None:
        self.come_to_rest()
        for id in list(self.manager.environments):
            self.manager.delete_environment(id)
        assert self.handler.held == {}
        expander = self.expander
        assert [*expander._delivered, *expander._failed_filters, *expander._failed_additions] == []


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


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
    handler.failures = [False, False, True]
    with (
        Emulator([rep("e1"), rep("e2", "blog")], {"f1": payload_filter_rep("a")}) as service,
        StreamManager(
            DEMO_KEY, service.uri, registry.wrap(FilterExpander(handler)), retry_policy=QUICK, handler_errors=errors
        ),
    ):
        handler.wait_for("received_all_environments")
        assert failed.wait(5)
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
