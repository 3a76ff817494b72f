"""Handlers behind a registry or a filter expander: the rule for calls that raise, closing, and a second manager."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ready_made.half_done import Calls, HalfDoing, HalfDoingFiltered, ModelManager, Outcome, seen_through_filters
from ready_made.samples import Refusing, Stream, params, payload_filter
from support.random_data import examples
from support.recorder import Recorder

from autoconfig import EnvironmentID, EnvironmentParams, EnvironmentRegistry, FilterExpander, FilterID, MessageHandler
from autoconfig.dispatch.calls import StoppedError
from autoconfig.ready_made.base import attach, detach

E1 = EnvironmentID("e1")


class Row:
    """A registry, a handler, a filter expander and another handler in a row."""

    def __init__(self) -> None:
        self.registry = EnvironmentRegistry()
        self.first, self.filtered, self.last = HalfDoing(), HalfDoingFiltered(), HalfDoing()
        self.all_calls = [self.first.calls, self.filtered.calls, self.last.calls]
        self.handler = self.registry.wrap(self.first, FilterExpander(self.filtered), self.last)

    def fail(self, *outcomes: Outcome, in_: Calls) -> None:
        in_.outcomes = list(outcomes)


@pytest.fixture
def row() -> Row:
    return Row()


def failing(call: Callable[..., None], *arguments: object) -> None:
    with pytest.raises(ConnectionError):
        call(*arguments)


# The rule, case by case


@pytest.mark.parametrize("outcome", ["fail at once", "fail half-way", "fail at the end"])
def test_after_a_failed_addition_only_that_one_is_made_again(row: Row, outcome: Outcome) -> None:
    row.fail(outcome, in_=row.first.calls)
    failing(row.handler.add_environment, params("e1", name="old"))
    row.handler.add_environment(params("e1", name="new"))
    assert row.first.calls.short == ["add e1", "add e1"]
    assert row.filtered.calls.short == row.last.calls.short == ["add e1", "update e1"]
    assert row.last.calls.held == row.first.calls.held == {"e1": params("e1", name="new")}


@pytest.mark.parametrize("outcome", ["fail at once", "fail half-way", "fail at the end"])
def test_after_a_failed_addition_of_what_is_gone_there_is_one_deletion(row: Row, outcome: Outcome) -> None:
    row.fail(outcome, in_=row.first.calls)
    failing(row.handler.add_environment, params("e1"))
    row.handler.delete_environment(E1)
    row.handler.delete_environment(E1)
    for calls in row.all_calls:
        assert (calls.short, calls.held) == (["add e1", "delete e1"], {})
    assert len(row.registry) == 0


@pytest.mark.parametrize("outcome", ["fail at once", "fail half-way", "fail at the end"])
def test_after_a_failed_update_there_is_an_update_or_a_deletion(row: Row, outcome: Outcome) -> None:
    row.handler.add_environment(params("e1"))
    row.fail(outcome, outcome, in_=row.last.calls)
    failing(row.handler.update_environment, params("e1", name="new"))
    failing(row.handler.update_environment, params("e1", name="new"))
    row.handler.update_environment(params("e1", name="new"))
    assert row.first.calls.short == ["add e1", "update e1"]
    assert row.last.calls.short == ["add e1", *["update e1"] * 3]
    row.fail(outcome, in_=row.last.calls)
    failing(row.handler.update_environment, params("e1", name="newer"))
    row.handler.delete_environment(E1)
    assert row.last.calls.short[-2:] == ["update e1", "delete e1"]


@pytest.mark.parametrize("outcome", ["fail at once", "fail half-way", "fail at the end"])
def test_after_a_failed_deletion_it_has_to_succeed_before_an_addition(row: Row, outcome: Outcome) -> None:
    """Fault 2: ``h1`` was told to update what it had deleted, and ``h2`` kept the old version, for ever."""
    row.handler.add_environment(params("e1", name="old"))
    row.fail(outcome, outcome, in_=row.last.calls)
    failing(row.handler.delete_environment, E1)
    failing(row.handler.add_environment, params("e1", name="new"))
    assert row.first.calls.short == ["add e1", "delete e1", "add e1"]
    assert row.last.calls.short == ["add e1", "delete e1", "delete e1"]
    row.handler.add_environment(params("e1", name="new"))
    assert row.first.calls.short == ["add e1", "delete e1", "add e1"]
    assert row.last.calls.short == ["add e1", "delete e1", "delete e1", "delete e1", "add e1"]
    assert row.last.calls.held == {"e1": params("e1", name="new")}


def test_the_rule_holds_for_filters(row: Row) -> None:
    row.fail("fail half-way", in_=row.first.calls)
    failing(row.handler.add_filter, payload_filter("f1", "a"))
    row.handler.add_filter(payload_filter("f1", "b"))
    assert row.first.calls.short == ["add f1", "add f1"]
    assert row.last.calls.short == ["add f1", "delete f1", "add f1"]  # there is no call for a changed filter
    row.fail("fail half-way", in_=row.last.calls)
    failing(row.handler.delete_filter, FilterID("f1"))
    row.handler.add_filter(payload_filter("f1", "b"))
    assert row.last.calls.short[3:] == ["delete f1", "delete f1", "add f1"]
    assert row.last.calls.held == row.first.calls.held == {"f1": payload_filter("f1", "b")}


def test_a_bad_variant_holds_back_no_good_one() -> None:
    """Fault 1: the good variants were deleted by the next ``received_all_environments``."""
    filtered = HalfDoingFiltered()
    expander = FilterExpander(filtered)
    for key in "ab":
        expander.add_filter(payload_filter(key))
    filtered.calls.outcomes = ["succeed", "fail half-way"]
    failing(expander.add_environment, params("e1"))
    expander.received_all_environments()
    assert filtered.calls.short == ["add e1", "add e1/a", "add e1/b"]
    expander.add_environment(params("e1"))
    assert filtered.calls.short[3:] == ["add e1/a"]
    assert filtered.calls.held == seen_through_filters([params("e1"), payload_filter("a"), payload_filter("b")])


def test_nothing_is_added_through_a_filter_whose_deletion_has_failed() -> None:
    """Fault 1: all other environments were added again through the deleted filter."""
    filtered = HalfDoingFiltered()
    expander = FilterExpander(filtered)
    expander.add_filter(payload_filter("a"))
    for id in "e1", "e2", "e3":
        expander.add_environment(params(id))
    filtered.calls.made.clear()
    filtered.calls.outcomes = ["succeed", "fail half-way"]
    failing(expander.delete_filter, FilterID("a"))
    expander.received_all_environments()
    assert filtered.calls.short == ["delete e1/a", "delete e2/a", "delete e3/a"]
    expander.delete_filter(FilterID("a"))
    assert filtered.calls.short[3:] == ["delete e2/a"]
    expander.add_filter(payload_filter("a"))
    assert filtered.calls.short[4:] == ["add e1/a", "add e2/a", "add e3/a"]


def test_nothing_is_left_of_a_filters_former_key() -> None:
    """Its deletion has failed when the filter had the new key already."""
    filtered = HalfDoingFiltered()
    expander = FilterExpander(filtered)
    for id in "e1", "e2":
        expander.add_environment(params(id))
    filtered.calls.outcomes = ["succeed", "fail half-way"]
    failing(expander.add_filter, payload_filter("f1", "a"))
    filtered.calls.outcomes = ["fail half-way", "fail half-way"]
    failing(expander.add_filter, payload_filter("f1", "b"))
    expander.add_filter(payload_filter("f1", "b"))
    assert filtered.calls.held == seen_through_filters([params("e1"), params("e2"), payload_filter("f1", "b")])


def test_an_unchanged_update_is_handed_on_if_none_has_failed(row: Row, recorder: Recorder) -> None:
    """A handler in a row is told what it would be told without the others."""
    handler = row.registry.wrap(recorder)
    handler.add_environment(params("e1"))
    handler.update_environment(params("e1"))
    assert recorder.names == ["add_environment", "update_environment"]


# What is raised


def test_the_first_error_is_raised_and_the_others_are_logged(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    for calls in row.all_calls:
        row.fail("fail at once", in_=calls)
    with pytest.raises(ConnectionError, match="refused: add 'e1'") as raised:
        row.handler.add_environment(params("e1"))
    assert raised.value.__context__ is None
    assert [(record.name, record.levelno) for record in caplog.records] == [("autoconfig", logging.ERROR)] * 2
    assert all(record.exc_info for record in caplog.records)


def test_received_all_environments_goes_to_all_even_if_one_raises(row: Row, recorder: Recorder) -> None:
    refusing = Refusing(lambda *call: True)
    with pytest.raises(ConnectionError):
        row.registry.wrap(refusing, recorder).received_all_environments()
    assert recorder.names == ["received_all_environments"]
    assert row.registry.is_ready


def test_a_refused_environment_is_told_to_those_that_want_to_know(row: Row) -> None:
    class Told(HalfDoing):
        def environment_refused(self, id: str, reason: str) -> None:
            refused.append((id, reason))
            raise ConnectionError

    class ToldFiltered(HalfDoingFiltered):
        def environment_refused(self, id: str, reason: str) -> None:
            refused.append((id, reason))

    refused: list[Any] = []
    handler: Any = row.registry.wrap(row.first, Told(), FilterExpander(ToldFiltered()), FilterExpander(row.filtered))
    failing(handler.environment_refused, "e1", "no keys")
    assert refused == [("e1", "no keys")] * 2


class Local:
    """Something that a handler's frame holds."""


@pytest.mark.parametrize("behind", ["a row", "an expander"])
def test_an_error_that_was_handled_leaves_nothing_behind(behind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 8: no reference cycle keeps the handler's frame alive until the garbage collector comes."""
    caplog.set_level(logging.CRITICAL, "autoconfig")  # a log record would keep it
    kept: list[weakref.ref[Local]] = []

    class Failing(HalfDoing):
        def add_environment(self, params: EnvironmentParams) -> None:
            local = Local()
            kept.append(weakref.ref(local))
            raise ConnectionError

    handlers = [Failing(), Failing()]
    handler: Any = EnvironmentRegistry().wrap(*handlers) if behind == "a row" else FilterExpander(handlers[0])  # type: ignore[arg-type]
    gc.disable()
    try:
        try:
            handler.add_environment(params("e1"))
        except ConnectionError:
            assert kept[0]() is not None
        assert [reference() for reference in kept] == [None] * len(kept)
    finally:
        gc.enable()


# Closing in the middle


class Closing(HalfDoing):
    """Closes the stream in its first call, and then fails if that is wanted."""

    def __init__(self, stream: Stream, outcome: Outcome = "succeed") -> None:
        super().__init__()
        self.calls.outcomes = [outcome]
        make = self.calls.make

        def close_and_make(*arguments: Any) -> None:
            stream.stopped = True
            make(*arguments)

        self.calls.make = close_and_make  # type: ignore[method-assign]


def closing_filtered(stream: Stream) -> HalfDoingFiltered:
    filtered = HalfDoingFiltered()
    filtered.calls = Closing(stream).calls
    return filtered


def test_a_row_stops_when_the_manager_closes(row: Row) -> None:
    """Fault 7: no call begins after ``close()``, also not one of the same callback."""
    stream = Stream()
    handler = row.registry.wrap(Closing(stream), row.last)
    attach(handler, stream.attached)
    with pytest.raises(StoppedError):
        handler.add_environment(params("e1"))
    with pytest.raises(StoppedError):
        handler.received_all_environments()
    assert row.last.calls.made == []


def test_an_error_of_the_last_call_is_not_lost(row: Row) -> None:
    stream = Stream()
    handler = row.registry.wrap(Closing(stream, "fail half-way"), row.last)
    attach(handler, stream.attached)
    failing(handler.add_environment, params("e1"))
    assert row.last.calls.made == []


@pytest.mark.parametrize("where", ["alone", "in a row"])
def test_an_expander_stops_when_the_manager_closes(row: Row, where: str) -> None:
    stream = Stream()
    filtered = closing_filtered(stream)
    expander = FilterExpander(filtered)
    handler: MessageHandler = row.registry.wrap(expander, row.last) if where == "in a row" else expander
    attach(handler, stream.attached)
    for key in "ab":
        expander.add_filter(payload_filter(key))
    with pytest.raises(StoppedError):
        handler.add_environment(params("e1"))
    assert filtered.calls.short == ["add e1"]
    assert row.last.calls.made == []


def test_a_deletion_stops_too() -> None:
    stream = Stream()
    filtered = HalfDoingFiltered()
    expander = FilterExpander(filtered)
    attach(expander, stream.attached)
    expander.add_filter(payload_filter("a"))
    expander.add_environment(params("e1"))
    filtered.calls.made.clear()
    deleted = filtered.calls.make

    def close(*arguments: Any) -> None:
        stream.stopped = True
        deleted(*arguments)

    filtered.calls.make = close  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        expander.delete_environment(E1)
    assert filtered.calls.short == ["delete e1"]


# A second manager


class Anything(HalfDoing):
    """Has a method for every name, as proxies and mocks have."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.asked.append(name)


def test_a_handler_of_the_applications_is_told_of_no_manager() -> None:
    handler, stream = Anything(), Stream()
    attach(handler, stream.attached)
    assert detach(handler, stream.attached, 0)
    assert handler.asked == []


def test_a_second_manager_is_refused_while_the_first_is_running(row: Row) -> None:
    first, second = Stream(), Stream()
    attach(row.handler, first.attached)
    attach(row.handler, first.attached)
    with pytest.raises(RuntimeError, match="belongs to a manager that is still running"):
        attach(row.handler, second.attached)
    with pytest.raises(RuntimeError, match="EnvironmentRegistry belongs to a manager"):
        attach(row.registry, second.attached)
    first.stopped = True
    attach(row.handler, second.attached)


def test_what_a_second_manager_does_not_add_is_deleted_at_its_first_put(row: Row) -> None:
    """Fault 9."""
    changes: list[Any] = []
    first, second = Stream(), Stream()
    attach(row.handler, first.attached)
    for id in "e1", "e2", "e3":
        row.handler.add_environment(params(id))
    for id in "f1", "f2":
        row.handler.add_filter(payload_filter(id))
    row.handler.received_all_environments()
    first.stopped = True
    attach(row.handler, second.attached)
    row.registry.add_listener(changes.append)
    assert (len(row.registry), row.registry.is_ready) == (3, False)
    for calls in row.all_calls:
        calls.made.clear()
    row.handler.add_environment(params("e2"))
    row.handler.add_environment(params("e3", name="new"))
    row.handler.add_filter(payload_filter("f2"))
    row.handler.received_all_environments()
    assert row.first.calls.short == row.last.calls.short == ["update e3", "delete e1", "delete f1"]
    assert set(row.filtered.calls.held) == {(id, key) for id in ("e2", "e3") for key in ("", "f2")}
    assert (set(row.registry.environments), set(row.registry.filters)) == ({"e2", "e3"}, {"f2"})
    assert [(change.action.name, change.kind) for change in changes] == [
        ("UPDATE", "environment"),
        ("DELETE", "environment"),
        ("DELETE", "filter"),
    ]
    row.handler.received_all_environments()
    assert len(changes) == 3


def test_what_cannot_be_deleted_at_once_is_deleted_after_the_next_put(row: Row) -> None:
    row.handler.add_environment(params("e1"))
    attach(row.handler, Stream().attached)
    row.fail("fail half-way", in_=row.first.calls)
    failing(row.handler.received_all_environments)
    assert (row.registry.is_ready, len(row.registry), row.last.calls.held) == (True, 0, {})
    row.handler.received_all_environments()
    assert row.first.calls.short == ["add e1", "delete e1", "delete e1"]
    row.handler.received_all_environments()
    assert len(row.first.calls.made) == 3


def test_other_handlers_are_left_alone(recorder: Recorder) -> None:
    stream = Stream()
    attach(recorder, stream.attached)
    assert detach(recorder, stream.attached, 0.0) is True


# All histories


IDS = ["e1", "e2", "e3", "f1", "f2", "f3"]
PROJECTS = st.sampled_from(["shop", "blog"])
FILTERS = st.builds(payload_filter, st.sampled_from(IDS[3:]), st.sampled_from(["a", "b", ""]), PROJECTS)
OUTCOMES = st.lists(
    st.sampled_from(["succeed", "succeed", "fail at once", "fail half-way", "fail at the end"]), max_size=6
)


class Histories(RuleBasedStateMachine):
    """
    A manager that calls again, and handlers that fail at random and half-do their work.

    Each handler checks the rule in every call, and in the end has just what the service has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.row = Row()
        self.stream = Stream()
        attach(self.row.handler, self.stream.attached)
        self.manager = ModelManager(self.row.handler)
        self.version = 0

    def plan(self, outcomes: list[list[Outcome]]) -> None:
        for calls, planned in zip(self.row.all_calls, outcomes, strict=True):
            calls.outcomes = list(planned)

    @rule(id=st.sampled_from(IDS[:3]), proj=PROJECTS, outcomes=st.tuples(OUTCOMES, OUTCOMES, OUTCOMES))
    def set_environment(self, id: str, proj: str, outcomes: Any) -> None:
        self.version += 1
        for calls in self.row.all_calls:
            calls.newest[id] = str(self.version)
        self.plan(outcomes)
        self.manager.set(params(id, name=str(self.version), proj=proj))

    @rule(item=FILTERS, outcomes=st.tuples(OUTCOMES, OUTCOMES, OUTCOMES))
    def set_filter(self, item: Any, outcomes: Any) -> None:
        self.plan(outcomes)
        self.manager.set(item)

    @rule(id=st.sampled_from(IDS), outcomes=st.tuples(OUTCOMES, OUTCOMES, OUTCOMES))
    def delete(self, id: str, outcomes: Any) -> None:
        self.plan(outcomes)
        self.manager.delete(id)

    @rule(ids=st.lists(st.sampled_from(IDS), unique=True), outcomes=st.tuples(OUTCOMES, OUTCOMES, OUTCOMES))
    def repeat(self, ids: list[str], outcomes: Any) -> None:
        self.plan(outcomes)
        self.manager.repeat(ids)

    @rule(kept=st.sets(st.sampled_from(IDS)), outcomes=st.tuples(OUTCOMES, OUTCOMES, OUTCOMES))
    def change_the_manager(self, kept: set[str], outcomes: Any) -> None:
        """Another manager follows a service that has some of the items; its put is handed over, as far as it goes."""
        self.stream.stopped = True
        self.stream = Stream()
        attach(self.row.handler, self.stream.attached)
        self.plan(outcomes)
        wanted, self.manager = self.manager.wanted, ModelManager(self.row.handler)
        for id in kept & wanted.keys():
            self.manager.set(wanted[id])
        self.receive_all()

    @rule()
    def receive_all(self) -> None:
        try:
            self.row.handler.received_all_environments()
        except ConnectionError:
            return

    @invariant()
    def nothing_fails_unasked(self) -> None:
        self.plan([[], [], []])

    @rule()
    def come_to_rest(self) -> None:
        """Repeat what failed: each handler has what the service has."""
        self.manager.repeat(IDS)
        self.row.handler.received_all_environments()
        wanted = self.manager.wanted
        assert self.row.first.calls.held == self.row.last.calls.held == wanted
        assert self.row.filtered.calls.held == seen_through_filters(wanted.values())
        assert {**self.row.registry.environments, **self.row.registry.filters} == wanted

    def teardown(self) -> None:
        self.come_to_rest()
        for id in list(self.manager.wanted):
            self.manager.delete(id)
        assert [calls.held for calls in self.row.all_calls] == [{}] * 3
        row: Any = self.row.handler
        assert [states for _, states in [*row._environments, *row._filters]] == [{}] * 8
        assert row._failed == set()
        expander = row._handlers[2]
        assert (expander._states, expander._unfinished_filters) == ({}, {})


TestHistories = Histories.TestCase
TestHistories.settings = examples(150, stateful_step_count=30)
