"""The version logic, compared with a simple model over every kind of history."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.random_data import examples

from autoconfig import Action, MessageReceiver
from autoconfig.messages import EnvironmentRep

ITEM = EnvironmentRep()
IDS = st.sampled_from(["", "a", "b", "c"])
VERSIONS = st.integers(-3, 6)
Record = tuple[int, bool]
"""A version, and whether the item is inserted (and not a tombstone)."""
Receiver = MessageReceiver[EnvironmentRep]
Step = Callable[[Receiver], Action]


def upsert(version: int, id: str = "a") -> Step:
    return lambda receiver: receiver.upsert(id, ITEM, version)


def delete(version: int, id: str = "a") -> Step:
    return lambda receiver: receiver.delete(id, version)


def forget(id: str = "a") -> Step:
    return lambda receiver: receiver.forget(id)


def known(receiver: Receiver) -> dict[str, Record]:
    """Return what a receiver knows, in its order."""
    return {id: (version, id not in receiver._dead) for id, version in receiver._versions.items()}


class Histories(RuleBasedStateMachine):
    """
    Two receivers, equal but for one thing: where the first one purges, the second one retains the others.

    ``records`` is the model. ``inserted`` is what a handler would have if it did what the actions say.
    """

    def __init__(self) -> None:
        super().__init__()
        self.receiver = Receiver()
        self.twin = Receiver()
        self.records: dict[str, Record] = {}
        self.inserted: set[str] = set()

    def expect(self, id: str, record: Record | None) -> Action:
        """Let the model's record change, and return the action that this is."""
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
        affected = [id for id in known(self.receiver) if id in ids]
        deleted = self.receiver.purge(lambda id: id in ids)
        assert self.twin.retain(lambda id: id not in ids) == deleted
        for id in affected:
            action = self.expect(id, None)
            assert (action is Action.DELETE) == (id in deleted)
            self.carry_out(id, action)
        assert [id for id in affected if id in deleted] == deleted

    @rule(items=st.dictionaries(IDS, VERSIONS))
    def upsert_all(self, items: dict[str, int]) -> None:
        """The same as one by one, but that what does not count is not yielded."""
        reps = {id: EnvironmentRep(version=version) for id, version in items.items()}
        counted = {id: action for id, _, action in self.receiver._upsert_all(reps)}
        for id, version in items.items():
            action = self.twin.upsert(id, ITEM, version)
            assert counted.get(id, Action.NOOP) is action
            if action is not Action.NOOP:
                assert self.expect(id, (version, True)) is action
            self.carry_out(id, action)

    @invariant()
    def both_know_what_the_model_knows(self) -> None:
        for receiver in (self.receiver, self.twin):
            assert known(receiver) == self.records
            assert receiver._any_inserted() == any(alive for _, alive in self.records.values())
            assert receiver._all_among(self.records)
            assert not (self.records and receiver._all_among(dict.fromkeys([*self.records][1:])))
            assert all(receiver._is_inserted(id) == (id in self.inserted) for id in ("", "a", "b", "c", "never seen"))

    @invariant()
    def the_handler_has_what_the_model_has(self) -> None:
        assert self.inserted == {id for id, (_, alive) in self.records.items() if alive}


TestHistories = Histories.TestCase
TestHistories.settings = examples(150, stateful_step_count=40)


@pytest.mark.parametrize(
    ("steps", "actions"),
    [
        ([upsert(-5)], "insert"),
        ([upsert(0)], "insert"),
        ([upsert(2), upsert(2), upsert(1), upsert(3)], "insert noop noop update"),
        ([upsert(-5), upsert(-6), upsert(-4)], "insert noop update"),
        ([upsert(2), delete(2), delete(1), delete(3), delete(4)], "insert noop noop delete noop"),
        ([delete(3), upsert(3), upsert(4)], "noop noop insert"),
        ([upsert(1), delete(5), upsert(4), upsert(5), upsert(6)], "insert delete noop noop insert"),
        ([delete(3), delete(7), upsert(7), upsert(8)], "noop noop noop insert"),
        ([delete(7), delete(3), upsert(7)], "noop noop noop"),
        ([forget(), upsert(5), forget(), forget(), upsert(1)], "noop insert delete noop insert"),
        ([upsert(1), delete(9), forget(), upsert(1)], "insert delete noop insert"),
        ([upsert(5), upsert(1, "b"), delete(6), upsert(2, "b")], "insert insert delete update"),
    ],
)
def test_what_a_history_means(steps: list[Step], actions: str) -> None:
    """Equal versions, negative ones, tombstones, and that ids have nothing to do with each other."""
    receiver = Receiver()
    assert [step(receiver).value for step in steps] == actions.split()


def test_actions_are_strings() -> None:
    """All four."""
    assert list(Action) == ["insert", "update", "delete", "noop"]


def test_purge_returns_what_was_inserted_in_its_order() -> None:
    """Tombstones go silently, and what is not meant stays."""
    receiver = Receiver()
    for id in ("c", "a", "stays", "b"):
        receiver.upsert(id, ITEM, 1)
    receiver.delete("a", 2)
    receiver.delete("never seen", 2)
    assert receiver.purge(lambda id: id != "stays") == ["c", "b"]
    assert known(receiver) == {"stays": (1, True)}
    assert receiver.upsert("a", ITEM, 1) is Action.INSERT


@pytest.mark.parametrize(
    ("step", "line"), [(upsert(3), "Ignored a change of 'a': version 3 <= 5"), (delete(5), "5 <= 5")]
)
def test_what_is_ignored_is_a_debug_line(step: Step, line: str, caplog: pytest.LogCaptureFixture) -> None:
    """On the logger that was given."""
    receiver = Receiver(logging.getLogger("elsewhere"))
    receiver.upsert("a", ITEM, 5)
    with caplog.at_level(logging.DEBUG, "elsewhere"):
        step(receiver)
    assert [(record.name, record.levelname) for record in caplog.records] == [("elsewhere", "DEBUG")]
    assert line in caplog.text
