"""The picture that a registry keeps: what is in it, who is told of changes, and what stands behind it."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from ready_made.readers import Readers, Rotation
from ready_made.samples import Stream, params, payload_filter
from support.recorder import Recorder

from autoconfig import (
    Action,
    AutoConfigError,
    ClosedError,
    EnvironmentID,
    EnvironmentParams,
    FilterID,
    FilterKey,
    ForkedError,
    KeyRejectedError,
    MessageHandler,
    NotReadyError,
    SDKKey,
    StreamManager,
)
from autoconfig.messages import EnvironmentRep, FilterRep, SDKKeyRep
from autoconfig.ready_made.base import attach
from autoconfig.ready_made.registry import EnvironmentRegistry, RegistryChange
from autoconfig.ready_made.snapshot_dict import SnapshotDict
from autoconfig.testing import DEMO_KEY, Emulator

E1 = EnvironmentID("e1")
F1 = FilterID("f1")


@pytest.fixture
def registry() -> EnvironmentRegistry:
    return EnvironmentRegistry()


def changes_of(registry: EnvironmentRegistry) -> list[RegistryChange]:
    """Return a list that the registry's changes are added to."""
    changes: list[RegistryChange] = []
    registry.add_listener(changes.append)
    return changes


# What is in it


def test_it_is_a_handler(registry: EnvironmentRegistry) -> None:
    assert isinstance(registry, MessageHandler)


def test_an_empty_one(registry: EnvironmentRegistry) -> None:
    assert (registry.environments, registry.filters, registry.is_ready) == ({}, {}, False)
    assert registry.get("e1") is None
    assert (len(registry), list(registry), "e1" in registry) == (0, [], False)
    assert bool(registry) is True  # not an empty container, which `handler or default` would replace


def test_environments_and_filters_come_and_go(registry: EnvironmentRegistry) -> None:
    registry.add_environment(params("e1"))
    registry.add_environment(params("e2"))
    registry.update_environment(params("e1", name="new"))
    registry.add_filter(payload_filter("f1"))
    assert registry.environments == {"e1": params("e1", name="new"), "e2": params("e2")}
    assert registry.filters == {"f1": payload_filter("f1")}
    assert (len(registry), list(registry)) == (2, [params("e1", name="new"), params("e2")])
    assert ("e2" in registry, "f1" in registry, 1 in registry) == (True, False, False)
    assert registry.get("e1") == params("e1", name="new")
    registry.delete_environment(E1)
    registry.delete_filter(F1)
    assert (list(registry.environments), registry.filters, registry.get("e1")) == (["e2"], {}, None)


def test_a_snapshot_never_changes(registry: EnvironmentRegistry) -> None:
    registry.add_environment(params("e1"))
    before = registry.environments
    registry.add_environment(params("e2"))
    assert list(before) == ["e1"]
    with pytest.raises(TypeError):
        before["e3"] = params("e3")  # type: ignore[index]


def test_a_snapshot_is_made_once_after_a_change(registry: EnvironmentRegistry) -> None:
    registry.add_environment(params("e1"))
    before = registry.environments
    registry.add_filter(payload_filter("f1"))
    registry.add_environment(params("e1"))
    assert registry.environments is before
    registry.delete_environment(E1)
    assert registry.environments is not before
    assert registry.environments is registry.environments


def test_calls_that_come_again_change_nothing(registry: EnvironmentRegistry) -> None:
    changes = changes_of(registry)
    for _ in range(2):
        registry.add_environment(params("e1"))
        registry.update_environment(params("e1", sdk="sdk-new"))
        registry.update_environment(params("e1", sdk="sdk-new"))
        registry.add_filter(payload_filter("f1"))
        registry.add_filter(payload_filter("f1"))
    for _ in range(2):
        registry.delete_environment(E1)
        registry.delete_filter(F1)
    assert (registry.environments, registry.filters) == ({}, {})
    first, second = ["INSERT", "UPDATE", "INSERT"], ["UPDATE", "UPDATE"]  # of e1, e1, f1; of e1 and back
    assert [change.action.name for change in changes] == [*first, *second, "DELETE", "DELETE"]


def test_an_addition_of_what_is_known_replaces_it(registry: EnvironmentRegistry) -> None:
    registry.add_environment(params("e1"))
    registry.add_filter(payload_filter("f1", "old"))
    registry.add_environment(params("e1", sdk="sdk-new"))
    registry.add_filter(payload_filter("f1", "new"))
    assert registry.find_by_sdk_key("sdk-e1") is None
    assert registry.find_by_sdk_key("sdk-new") == registry.get("e1")
    assert registry.filters == {"f1": payload_filter("f1", "new")}


def test_the_repr_has_numbers_and_no_key(registry: EnvironmentRegistry) -> None:
    registry.add_environment(params("e1", sdk="sdk-0123456789abcdef0123"))
    assert repr(registry) == "<EnvironmentRegistry: 1 environments, 0 filters, not ready>"


# Being ready


def test_it_is_ready_after_the_first_full_configuration(registry: EnvironmentRegistry) -> None:
    for timeout in 0, 0.01:
        with pytest.raises(NotReadyError, match=f"within {timeout} s") as raised:
            registry.wait_until_ready(timeout)
        assert isinstance(raised.value, TimeoutError)
    registry.received_all_environments()
    registry.wait_until_ready()
    registry.wait_until_ready(0)
    assert registry.is_ready


def test_everyone_who_waits_is_woken(registry: EnvironmentRegistry) -> None:
    with waiting(registry, count=3) as outcomes:
        registry.received_all_environments()
        assert [outcomes.get(timeout=30) for _ in range(3)] == [None] * 3


@contextmanager
def waiting(registry: EnvironmentRegistry, count: int = 1) -> Iterator[queue.Queue[object]]:
    """Let threads wait for the registry, and give what comes of it."""
    outcomes: queue.Queue[object] = queue.Queue()

    def wait() -> None:
        try:
            outcomes.put(registry.wait_until_ready(30))
        except AutoConfigError as error:
            outcomes.put(error)

    threads = [threading.Thread(target=wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield outcomes
    for thread in threads:
        thread.join(30)


def test_a_wait_ends_with_the_managers_reason(registry: EnvironmentRegistry) -> None:
    """Also one that began before the manager was started."""
    stream, waits = Stream(), queue.Queue[Any]()

    def wait(timeout: float | None) -> None:
        waits.put(timeout)
        raise KeyRejectedError(401)

    stream.wait = wait
    with waiting(registry) as outcomes:
        attach(registry, stream.attached)
        assert isinstance(outcomes.get(timeout=30), KeyRejectedError)
    assert 0 < waits.get() <= 30
    with pytest.raises(KeyRejectedError):
        registry.wait_until_ready()
    assert waits.get() is None


def test_the_wait_for_a_manager_that_is_gone_ends_at_once(registry: EnvironmentRegistry) -> None:
    """Its stream has ended with it. The wait would miss the configuration of the next manager, too."""
    gone = Stream()
    gone.stopped = True
    attach(registry, gone.attached)
    with pytest.raises(ClosedError, match="the manager was dropped before it was ready"):
        registry.wait_until_ready()
    attach(registry, Stream().attached)
    registry.received_all_environments()
    registry.wait_until_ready()


def test_the_wait_for_a_parents_manager_that_is_gone_ends_at_once(
    registry: EnvironmentRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(registry, Stream().attached)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(ForkedError):
        registry.wait_until_ready()


def test_it_is_not_ready_in_a_forked_process(registry: EnvironmentRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    stream.wait = lambda timeout: raises(ForkedError())
    attach(registry, stream.attached)
    registry.received_all_environments()
    assert registry.is_ready
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    assert not registry.is_ready
    with pytest.raises(ForkedError):
        registry.wait_until_ready(30)
    attach(registry, Stream().attached)  # although the parent's manager is running
    registry.received_all_environments()
    assert registry.is_ready


def raises(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_a_timeout_is_a_number_of_seconds(registry: EnvironmentRegistry, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        registry.wait_until_ready(timeout)


# Listeners


def test_a_listener_is_told_what_was_and_what_is(registry: EnvironmentRegistry) -> None:
    changes = changes_of(registry)
    old, new, filter = params("e1"), params("e1", name="new"), payload_filter("f1")
    registry.add_environment(old)
    registry.update_environment(new)
    registry.delete_environment(E1)
    registry.add_filter(filter)
    registry.delete_filter(F1)
    registry.received_all_environments()
    assert [change.kind for change in changes] == ["environment"] * 3 + ["filter"] * 2
    assert changes == [
        RegistryChange(Action.INSERT, None, old),
        RegistryChange(Action.UPDATE, old, new),
        RegistryChange(Action.DELETE, new, None),
        RegistryChange(Action.INSERT, None, filter),
        RegistryChange(Action.DELETE, filter, None),
    ]


def test_a_listener_finds_the_change_made(registry: EnvironmentRegistry) -> None:
    found: list[Any] = []
    registry.add_listener(lambda change: found.append((registry.get("e1"), dict(registry.environments))))
    registry.add_environment(params("e1"))
    registry.delete_environment(E1)
    assert found == [(params("e1"), {"e1": params("e1")}), (None, {})]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=repr)
def test_a_listener_that_raises_disturbs_nobody(
    registry: EnvironmentRegistry, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(change: RegistryChange) -> None:
        raise error

    registry.add_listener(fail)
    changes = changes_of(registry)
    registry.add_environment(params("e1", sdk="sdk-0123456789abcdef0123"))
    assert len(changes) == len(registry.environments) == 1
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("autoconfig", logging.ERROR)
    assert record.exc_info
    assert record.exc_info[1] is error
    assert "0123456789" not in caplog.text


def test_no_listener_is_called_after_the_managers_end(registry: EnvironmentRegistry) -> None:
    """Fault 7: also not the second one, when the first one closes the manager."""
    stream = Stream()
    attach(registry, stream.attached)
    registry.add_listener(lambda change: setattr(stream, "stopped", True))
    changes = changes_of(registry)
    registry.add_environment(params("e1"))
    assert changes == []


def test_a_listener_can_be_removed_also_by_itself(registry: EnvironmentRegistry) -> None:
    told: list[str] = []

    def once(change: RegistryChange) -> None:
        told.append("once")
        registry.remove_listener(once)

    registry.add_listener(once)
    registry.add_listener(lambda change: told.append("always"))
    for id in "e1", "e2":
        registry.add_environment(params(id))
    registry.remove_listener(once)
    assert told == ["once", "always", "always"]


def test_a_listener_has_to_be_callable(registry: EnvironmentRegistry) -> None:
    with pytest.raises(TypeError, match="listener"):
        registry.add_listener("no function")  # type: ignore[arg-type]


# Handlers behind it


def test_a_wrapped_handler_gets_every_call(registry: EnvironmentRegistry, recorder: Recorder) -> None:
    other = Recorder()
    feed_all_calls(registry.wrap(recorder, other))
    assert other.calls == recorder.calls
    assert recorder.calls == [
        ("add_environment", params("e1")),
        ("update_environment", params("e1", name="new")),
        ("add_filter", payload_filter("f1")),
        ("received_all_environments", None),
        ("delete_environment", "e1"),
        ("delete_filter", "f1"),
    ]


def test_a_wrapped_handler_may_ask_the_registry(registry: EnvironmentRegistry) -> None:
    seen: list[tuple[str, bool, bool, bool]] = []

    class Asking(Recorder):
        def _record(self, name: str, argument: Any) -> None:
            seen.append((name, registry.get("e1") is not None, "f1" in registry.filters, registry.is_ready))

    feed_all_calls(registry.wrap(Asking()))
    assert seen == [
        ("add_environment", True, False, False),
        ("update_environment", True, False, False),
        ("add_filter", True, True, False),
        ("received_all_environments", True, True, True),
        ("delete_environment", False, True, True),
        ("delete_filter", False, False, True),
    ]
    assert (registry.environments, registry.filters) == ({}, {})


def feed_all_calls(handler: MessageHandler) -> None:
    handler.add_environment(params("e1"))
    handler.update_environment(params("e1", name="new"))
    handler.add_filter(payload_filter("f1"))
    handler.received_all_environments()
    handler.delete_environment(E1)
    handler.delete_filter(F1)


def test_a_wrapped_handler_is_checked(registry: EnvironmentRegistry, recorder: Recorder) -> None:
    with pytest.raises(TypeError, match="six methods"):
        registry.wrap(recorder, object())  # type: ignore[arg-type]


# Readers and the writer at the same time


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_readers_never_see_a_gap_or_a_wrong_environment(registry: EnvironmentRegistry) -> None:
    readers, rotation = Readers(), Rotation(registry)
    rotation.rotate()
    with readers.running(*[rotation.check_the_newest_key, rotation.check_what_never_changes] * 2):
        while rotation.newest < 5000 and not readers.wrong:
            rotation.rotate()
    assert readers.wrong == []
    assert readers.rounds > 0


@pytest.mark.usefixtures("frequent_switches")
def test_snapshots_never_go_back(registry: EnvironmentRegistry) -> None:
    readers = Readers()
    seen = threading.local()

    def check() -> object:
        before = getattr(seen, "size", 0)
        seen.size = len(registry.environments)
        return f"{seen.size} after {before}" if seen.size < before else None

    with readers.running(*[check] * 3):
        for number in range(1000):
            registry.add_environment(params(f"e{number}"))
            assert len(registry.environments) == number + 1
    assert readers.wrong == []


class Interrupted(dict[str, int]):
    """
    A dict that lets something happen in the middle of what is done with it, as another thread might.

    Attributes:
        meanwhile: What happens, once.
    """

    meanwhile: Callable[[], object] | None = None

    def copy(self) -> dict[str, int]:
        copy = super().copy()
        self._interrupt()
        return copy

    def __setitem__(self, key: str, value: int) -> None:
        self._interrupt()
        super().__setitem__(key, value)

    def _interrupt(self) -> None:
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            meanwhile()


@pytest.fixture
def table() -> SnapshotDict[str, int]:
    table: SnapshotDict[str, int] = SnapshotDict()
    table.items = Interrupted()
    table.set("a", 1)
    return table


def interrupt(table: SnapshotDict[str, int], meanwhile: Callable[[], object]) -> None:
    assert isinstance(table.items, Interrupted)
    table.items.meanwhile = meanwhile


def test_a_snapshot_that_a_change_overtakes_is_not_kept(table: SnapshotDict[str, int]) -> None:
    interrupt(table, lambda: table.set("b", 2))
    assert table.snapshot() == {"a": 1}
    assert table.snapshot() == {"a": 1, "b": 2}


def test_a_snapshot_that_is_made_during_a_change_is_not_kept(table: SnapshotDict[str, int]) -> None:
    interrupt(table, table.snapshot)
    table.set("b", 2)
    assert table.snapshot() == {"a": 1, "b": 2}


def test_threads_that_make_a_snapshot_at_the_same_time_get_the_same(table: SnapshotDict[str, int]) -> None:
    """Otherwise one that was made during a change, and has it, could be followed by one that has it not."""
    made: list[object] = []
    interrupt(table, lambda: made.append(table.snapshot()))
    first = table.snapshot()
    assert made == [first]
    assert table.snapshot() is first is made[0]


# With a manager and a service


def rep(id: str, **fields: Any) -> EnvironmentRep:
    return EnvironmentRep(
        EnvironmentID(id), f"key-{id}", id, proj_key="shop", sdk_key=SDKKeyRep(SDKKey(f"sdk-{id}")), **fields
    )


def test_it_follows_a_service(registry: EnvironmentRegistry, recorder: Recorder) -> None:
    with (
        Emulator([rep("e1"), rep("e2")], {"f1": FilterRep("shop", FilterKey("mobile"))}) as service,
        StreamManager(DEMO_KEY, service.uri, registry.wrap(recorder)),
    ):
        registry.wait_until_ready(30)
        assert set(registry.environments) == {"e1", "e2"}
        assert registry.filters == {"f1": payload_filter("f1", "mobile")}
        service.rotate_sdk_key("e1", "sdk-new", timedelta(hours=1))
        recorder.wait_for("update_environment")
        rotated = registry.get("e1")
        assert rotated is not None
        assert rotated.expiring_sdk_key is not None
        assert registry.find_by_sdk_key("sdk-new") == registry.find_by_sdk_key("sdk-e1") == rotated
        end = rotated.expiring_sdk_key.expiration
        assert registry.find_by_sdk_key("sdk-e1", end - timedelta(milliseconds=1)) == rotated
        assert registry.find_by_sdk_key("sdk-e1", end) is None
        service.replace([rep("e3")])
        recorder.wait_for("received_all_environments")
        assert (list(registry.environments), registry.filters) == (["e3"], {})


def test_a_second_manager_is_refused_while_the_first_is_running(registry: EnvironmentRegistry) -> None:
    """Fault 9: after the first one's end the registry forgets what the second one does not add."""
    with Emulator([rep("e1"), rep("e2")]) as service:
        first, second, third = [StreamManager(DEMO_KEY, service.uri, registry) for _ in range(3)]
        with first:
            registry.wait_until_ready(30)
            with pytest.raises(RuntimeError, match="still running"):
                second.start()
        service.delete_environment("e1")
        with third:
            registry.wait_until_ready(30)
            assert (list(registry.environments), registry.find_by_sdk_key("sdk-e1")) == (["e2"], None)


def test_closing_in_a_handler_is_the_end_for_those_behind_it(registry: EnvironmentRegistry, recorder: Recorder) -> None:
    """Fault 7, with a manager; what was not called is no failure."""
    closing = Closing()
    with Emulator([rep("e1"), rep("e2")]) as service:
        closing.manager = StreamManager(DEMO_KEY, service.uri, registry.wrap(closing, recorder))
        closing.manager.start()
        assert closing.closed.wait(30)
        assert closing.manager.join(30)
        assert closing.manager.close()
    assert (recorder.calls, closing.manager.status.failed_callbacks) == ([], 0)


class Closing(MessageHandler):
    """A handler that closes its manager."""

    manager: StreamManager

    def __init__(self) -> None:
        self.closed = threading.Event()

    def add_environment(self, params: EnvironmentParams) -> None:
        self.manager.close()
        self.closed.set()
