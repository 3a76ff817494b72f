"""The version logic, compared with a simple model over every kind of history."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from autoconfig import Action, EnvironmentRep, MessageReceiver

ITEM = EnvironmentRep()
IDS = st.sampled_from(["", "a", "b", "c"])
VERSIONS = st.integers(-3, 6)
Record = tuple[int, bool]
"""A version, and whether the item is inserted (and not a tombstone)."""
Step = Callable[[MessageReceiver], Action]


def upsert(version: int, id: str = "a") -> Step:
    return lambda receiver: receiver.upsert(id, ITEM, version)


def delete(version: int, id: str = "a") -> Step:
    return lambda receiver: receiver.delete(id, version)


def forget(id: str = "a") -> Step:
    return lambda receiver: receiver.forget(id)


class Histories(RuleBasedStateMachine):
    """
    Two receivers, equal but for one thing: where the first one purges, the second one retains the others.

    ``records`` is the model. ``inserted`` is what a handler would have if it did what the actions say.
    """

    def __init__(self) -> None:
        super().__init__()
        self.receiver = MessageReceiver()
        self.twin = MessageReceiver()
        self.records: dict[str, Record] = {}
        self.inserted: set[str] = set()
        self.before: tuple[dict[str, Record], set[str]] | None = None  # the last change

    def expect(self, id: str, record: Record | None) -> Action:
        """Let the model's record change, and return the action that this is."""
        self.before = (dict(self.records), set(self.inserted))
        was_alive = self.records.get(id, (0, False))[1]
        if record is None:
            del self.records[id]
        else:
            self.records[id] = record
        is_alive = record is not None and record[1]
        return {(False, True): Action.INSERT, (True, True): Action.UPDATE, (True, False): Action.DELETE}.get(
            (was_alive, is_alive), Action.NOOP
        )

    def carry_out(self, id: str, action: Action) -> None:
        """Do what the action says, which has to be possible: the three promises."""
        if action is Action.INSERT:
            assert id not in self.inserted
            self.inserted.add(id)
        elif action is not Action.NOOP:
            assert id in self.inserted
            self.inserted -= {id} if action is Action.DELETE else set()

    def do(self, step: Step) -> Action:
        """Let both receivers take the same step."""
        action = step(self.receiver)
        assert step(self.twin) is action
        return action

    @rule(id=IDS, version=VERSIONS)
    def upsert(self, id: str, version: int) -> None:
        action = self.do(upsert(version, id))
        newer = id not in self.records or version > self.records[id][0]
        assert action is (self.expect(id, (version, True)) if newer else Action.NOOP)
        self.carry_out(id, action)

    @rule(id=IDS, version=VERSIONS)
    def delete(self, id: str, version: int) -> None:
        action = self.do(delete(version, id))
        newer = id not in self.records or version > self.records[id][0]
        assert action is (self.expect(id, (version, False)) if newer else Action.NOOP)
        self.carry_out(id, action)

    @rule(id=IDS)
    def forget(self, id: str) -> None:
        action = self.do(forget(id))
        assert action is (self.expect(id, None) if id in self.records else Action.NOOP)
        self.carry_out(id, action)

    @rule(ids=st.sets(IDS))
    def purge(self, ids: set[str]) -> None:
        known = [id for id in self.receiver.ids() if id in ids]
        deleted = self.receiver.purge(lambda id: id in ids)
        assert self.twin.retain(lambda id: id not in ids) == deleted
        for id in known:
            action = self.expect(id, None)
            assert (action is Action.DELETE) == (id in deleted)
            self.carry_out(id, action)
        assert [id for id in known if id in deleted] == deleted

    @rule()
    def undo(self) -> None:
        self.receiver.undo()
        self.twin.undo()
        if self.before:
            self.records, self.inserted = self.before
            self.before = None

    @invariant()
    def both_know_what_the_model_knows(self) -> None:
        assert sorted(self.receiver.ids()) == sorted(self.records)
        assert self.twin.ids() == self.receiver.ids()

    @invariant()
    def the_handler_has_what_the_model_has(self) -> None:
        assert self.inserted == {id for id, (_, alive) in self.records.items() if alive}


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(
    ("steps", "actions"),
    [
        ([upsert(-5)], "insert"),
        ([upsert(0)], "insert"),
        ([upsert(2), upsert(2), upsert(1), upsert(3)], "insert noop noop updated"),
        ([upsert(-5), upsert(-6), upsert(-4)], "insert noop updated"),
        ([upsert(2), delete(2), delete(1), delete(3), delete(4)], "insert noop noop delete noop"),
        ([delete(3), upsert(3), upsert(4)], "noop noop insert"),
        ([upsert(1), delete(5), upsert(4), upsert(5), upsert(6)], "insert delete noop noop insert"),
        ([delete(3), delete(7), upsert(7), upsert(8)], "noop noop noop insert"),
        ([delete(7), delete(3), upsert(7)], "noop noop noop"),
        ([forget(), upsert(5), forget(), forget(), upsert(1)], "noop insert delete noop insert"),
        ([upsert(1), delete(9), forget(), upsert(1)], "insert delete noop insert"),
        ([upsert(5), upsert(1, "b"), delete(6), upsert(2, "b")], "insert insert delete updated"),
    ],
)
def test_what_a_history_means(steps: list[Step], actions: str) -> None:
    """Equal versions, negative ones, tombstones, and that ids have nothing to do with each other."""
    receiver = MessageReceiver()
    assert [step(receiver).value for step in steps] == actions.split()


def test_the_actions_have_the_values_of_the_go_package() -> None:
    """All four."""
    assert [action.value for action in Action] == ["insert", "updated", "delete", "noop"]


@pytest.mark.parametrize(
    ("steps", "step", "action"),
    [
        ([], upsert(-5), Action.INSERT),
        ([], delete(5), Action.NOOP),
        ([upsert(1)], upsert(5), Action.UPDATE),
        ([upsert(1)], delete(5), Action.DELETE),
        ([upsert(1)], forget(), Action.DELETE),
        ([delete(1)], upsert(5), Action.INSERT),
        ([delete(1)], delete(5), Action.NOOP),
        ([delete(1)], forget(), Action.NOOP),
    ],
)
@pytest.mark.parametrize("probe", [upsert(0), upsert(1), upsert(2), delete(0), delete(1), delete(2), forget()])
def test_undo_after_each_kind_of_change(steps: list[Step], step: Step, action: Action, probe: Step) -> None:
    """Afterwards everything means again what it meant before; a second undo does nothing."""
    receiver, other = MessageReceiver(), MessageReceiver()
    for one in steps:
        one(receiver)
        one(other)
    assert step(receiver) is action
    receiver.undo()
    receiver.undo()
    assert receiver.ids() == other.ids()
    assert probe(receiver) is probe(other)


def test_undo_of_nothing_does_nothing() -> None:
    """Also when all that came was about ids never seen."""
    receiver = MessageReceiver()
    receiver.undo()
    assert receiver.forget("a") is Action.NOOP
    receiver.undo()
    assert receiver.ids() == []


def test_purge_returns_what_was_inserted_in_its_order() -> None:
    """Tombstones go silently, and what is not meant stays."""
    receiver = MessageReceiver()
    for id in ("c", "a", "stays", "b"):
        receiver.upsert(id, ITEM, 1)
    receiver.delete("a", 2)
    receiver.delete("never seen", 2)
    assert receiver.purge(lambda id: id != "stays") == ["c", "b"]
    assert receiver.ids() == ["stays"]
    assert receiver.upsert("a", ITEM, 1) is Action.INSERT


@pytest.mark.parametrize(
    ("step", "line"), [(upsert(3), "Ignored a change of 'a': version 3 <= 5"), (delete(5), "5 <= 5")]
)
def test_what_is_ignored_is_a_debug_line(step: Step, line: str, caplog: pytest.LogCaptureFixture) -> None:
    """On the logger that was given."""
    receiver = MessageReceiver(logging.getLogger("elsewhere"))
    receiver.upsert("a", ITEM, 5)
    with caplog.at_level(logging.DEBUG, "elsewhere"):
        step(receiver)
    assert [(record.name, record.levelname) for record in caplog.records] == [("elsewhere", "DEBUG")]
    assert line in caplog.text
