"""Keys whose time comes: each is told once, at its time, and not if it was withdrawn."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from ready_made.model import IDS, environments
from ready_made.samples import NOON, Stream, after, params
from support.managing import library_threads
from support.random_data import examples
from support.waiting import wait_until

from autoconfig import EnvironmentID, EnvironmentParams, StreamManager
from autoconfig.environments import AcceptedKey
from autoconfig.messages import EnvironmentRep
from autoconfig.ready_made import expiry
from autoconfig.ready_made.base import attach, detach
from autoconfig.ready_made.expiry import ExpiredKey, Schedule
from autoconfig.ready_made.registry import EnvironmentRegistry
from autoconfig.testing import DEMO_KEY, Emulator

DISTANT = timedelta(days=1000)


def registry_with_clock(clock: Callable[[], datetime]) -> EnvironmentRegistry:
    registry = EnvironmentRegistry()
    registry._expiry._clock = clock
    return registry


class Watching:
    """
    A registry whose clock shows noon until it is set.

    Attributes:
        told: The keys of which it was told, as they come.
        asked: Gets an item each time that the clock is asked.
    """

    def __init__(self) -> None:
        self.told: queue.Queue[ExpiredKey] = queue.Queue()
        self.asked: queue.Queue[None] = queue.Queue()
        self._now = NOON
        self.registry = registry_with_clock(self._clock)
        self.registry.on_key_expired(self.told.put)

    def _clock(self) -> datetime:
        self.asked.put(None)
        return self._now

    def set(self, seconds: float) -> None:
        """Set the clock, and let the thread look at it."""
        with self.registry._expiry._changed:
            self._now = after(seconds)
            self.registry._expiry._changed.notify_all()

    def until(self, seconds: float) -> list[str]:
        """Set the clock, and return the keys that are told before one that expires at that moment."""
        self.set(seconds)
        self.registry.add_environment(params("end", expiring=("end", self._now)))
        values = list(iter(lambda: self.told.get(timeout=30).key.value, "end"))
        self.registry.delete_environment(EnvironmentID("end"))
        return values


@pytest.fixture
def watching() -> Iterator[Watching]:
    watching = Watching()
    yield watching
    end(watching.registry)


def end(registry: EnvironmentRegistry) -> None:
    """End the thread, as the end of the manager does."""
    assert registry._expiry.stop(time.monotonic() + 30)


def keys(**seconds: float | None) -> list[AcceptedKey]:
    """Return keys that expire so many seconds after noon."""
    return [AcceptedKey(value, expiration=None if at is None else after(at)) for value, at in seconds.items()]


# What is told


def test_a_callback_has_to_be_callable() -> None:
    with pytest.raises(TypeError, match="callback must be callable"):
        EnvironmentRegistry().on_key_expired(None)  # type: ignore[type-var]


def test_it_can_be_a_decorator() -> None:
    assert EnvironmentRegistry().on_key_expired(print) is print


def test_a_key_is_told_when_its_time_has_come(watching: Watching) -> None:
    environment = params("e1", sdk="new", expiring=("old", after(10)))
    watching.registry.add_environment(environment)
    assert watching.until(9.999) == []
    watching.set(10)
    expired = watching.told.get(timeout=30)
    assert expired == ExpiredKey(environment.env_id, environment.identifiers, environment.accepted_sdk_keys[1], "sdk")
    assert watching.until(20) == []


def test_keys_of_both_kinds_are_told_in_the_order_of_their_times(watching: Watching) -> None:
    sdk_keys, mobile_keys = keys(s0=None, s3=3, s1=1), keys(m0=None, m2=2, m4=4)
    watching.registry.add_environment(params("e1", sdk_keys=sdk_keys, mobile_keys=mobile_keys))
    watching.set(10)
    told = [watching.told.get(timeout=30) for _ in range(4)]
    assert [(one.key.value, one.kind) for one in told] == [
        ("s1", "sdk"),
        ("m2", "mobile"),
        ("s3", "sdk"),
        ("m4", "mobile"),
    ]


def test_a_key_that_has_expired_already_is_told_at_once_and_once(watching: Watching) -> None:
    for _ in range(2):
        watching.registry.add_environment(params("e1", expiring=("old", after(-10))))
    watching.registry.update_environment(params("e1", name="new", expiring=("old", after(-10))))
    assert watching.until(1) == ["old"]


def test_a_key_that_stays_listed_is_not_told_again(watching: Watching) -> None:
    watching.registry.add_environment(params("e1", expiring=("old", after(1))))
    assert watching.until(2) == ["old"]
    watching.registry.update_environment(params("e1", name="new", expiring=("old", after(1))))
    assert watching.until(3) == []


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (None, []),
        (params("e1"), []),
        (params("e1", sdk="old"), []),
        (params("e1", expiring=("other", after(5))), ["other"]),
        (params("e1", expiring=("old", after(50))), []),
        (params("e1", expiring=("old", after(1))), ["old"]),
        (params("e1", sdk="old", expiring=("old", after(5))), []),
    ],
    ids=["deleted", "withdrawn", "current again", "another one", "later", "earlier", "also the current one"],
)
def test_what_is_known_last_counts(watching: Watching, later: EnvironmentParams | None, expected: list[str]) -> None:
    watching.registry.add_environment(params("e1", expiring=("old", after(5))))
    if later is None:
        watching.registry.delete_environment(EnvironmentID("e1"))
    else:
        watching.registry.update_environment(later)
    assert watching.until(10) == expected


def test_a_key_with_another_time_is_told_again(watching: Watching) -> None:
    """It was accepted once more, so it expires once more."""
    watching.registry.add_environment(params("e1", expiring=("old", after(1))))
    assert watching.until(2) == ["old"]
    watching.registry.update_environment(params("e1", expiring=("old", after(5))))
    assert watching.until(10) == ["old"]


def test_the_names_are_those_known_last(watching: Watching) -> None:
    watching.registry.add_environment(params("e1", name="before", expiring=("old", after(1))))
    watching.registry.update_environment(params("e1", name="after", expiring=("old", after(1))))
    watching.set(2)
    assert watching.told.get(timeout=30).identifiers.env_name == "after"


def test_a_key_of_two_environments_is_told_for_each(watching: Watching) -> None:
    for id in "e1", "e2":
        watching.registry.add_environment(params(id, expiring=("old", after(1))))
    watching.set(2)
    assert [watching.told.get(timeout=30).env_id for _ in range(2)] == ["e1", "e2"]


def test_deleting_what_is_not_known_does_nothing(watching: Watching) -> None:
    watching.registry.delete_environment(EnvironmentID("e1"))
    assert watching.until(1) == []


def test_the_first_callback_is_told_what_has_expired_by_then() -> None:
    first: queue.Queue[str] = queue.Queue()
    second: queue.Queue[str] = queue.Queue()
    registry = registry_with_clock(lambda: NOON)
    registry.add_environment(params("e1", expiring=("old", after(-1))))
    assert library_threads() == {}
    registry.on_key_expired(lambda expired: first.put(expired.key.value))
    assert first.get(timeout=30) == "old"
    registry.on_key_expired(lambda expired: second.put(expired.key.value))
    registry.add_environment(params("e2", expiring=("other", after(-1))))
    assert (first.get(timeout=30), second.get(timeout=30)) == ("other", "other")
    end(registry)


def test_the_repr_of_what_is_told_shows_no_key() -> None:
    key = AcceptedKey("sdk-0123456789abcdef0123", "default", NOON)
    assert "456789" not in repr(ExpiredKey(EnvironmentID("e1"), params().identifiers, key, "sdk"))


def test_ten_thousand_keys(watching: Watching) -> None:
    for number in range(10_000):
        watching.registry.add_environment(params(f"e{number}", expiring=(str(number), after(number * 7919 % 10_000))))
    assert watching.until(9_999) == sorted(map(str, range(10_000)), key=lambda value: int(value) * 7919 % 10_000)


# When it wakes


def test_it_waits_just_until_the_next_key() -> None:
    """
    With a clock that runs: no key is reported before its time.

    It is not the wall clock, which may be set back between two looks at it.
    """
    begin, begun_at = datetime.now(timezone.utc), time.monotonic()

    def now() -> datetime:
        return begin + timedelta(seconds=time.monotonic() - begun_at)

    told: queue.Queue[tuple[str, datetime]] = queue.Queue()
    registry = EnvironmentRegistry()
    registry._expiry._clock = now
    registry.on_key_expired(lambda expired: told.put((expired.key.value, now())))
    start = now().replace(microsecond=0)  # because the wire has whole milliseconds
    first, second = start + timedelta(milliseconds=1050), start + timedelta(milliseconds=1100)
    accepted = [AcceptedKey("second", expiration=second), AcceptedKey("first", expiration=first)]
    registry.add_environment(params("e1", sdk_keys=accepted))
    for value, expiration in ("first", first), ("second", second):
        key, at = told.get(timeout=30)
        assert key == value
        assert at >= expiration
    end(registry)


def test_it_does_not_wait_longer_than_an_hour(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The hour is shortened here. The clock is set without a change that would wake the thread.

    It is set when the thread has looked at it and is about to wait; so the key is reported after the longest wait only.
    """
    assert expiry._LONGEST_WAIT == 3600
    monkeypatch.setattr(expiry, "_LONGEST_WAIT", 0.2)
    watching.registry.add_environment(params("e1", expiring=("old", NOON + DISTANT)))
    watching.asked.get(timeout=30)
    with watching.registry._expiry._changed:  # the thread waits now: it has let go of the lock
        watching._now = NOON + DISTANT
    assert watching.told.get(timeout=30).key.value == "old"


def test_it_does_not_poll(watching: Watching) -> None:
    """The clock is asked once for each change of the next key, not for others, and not in between."""
    registry = watching.registry
    registry.add_environment(params("e1", expiring=("soon", after(50))))
    watching.asked.get(timeout=30)
    for id in "e2", "e3":
        registry.add_environment(params(id, expiring=(id, after(100))))
    registry.add_environment(params("e4"))
    with pytest.raises(queue.Empty):
        watching.asked.get(timeout=0.1)


# The thread


def test_there_is_a_daemon_thread_while_a_key_is_to_expire(watching: Watching) -> None:
    assert library_threads() == {}
    for id in "e1", "e2":
        watching.registry.add_environment(params(id, expiring=("old", after(10))))
    for _ in range(2):
        ((name, thread),) = library_threads().items()
        assert name.startswith("autoconfig-expiry-")
        assert thread.daemon
        watching.registry.delete_environment(EnvironmentID("e1"))
    watching.registry.delete_environment(EnvironmentID("e2"))
    thread.join(30)
    assert library_threads() == {}
    watching.registry.add_environment(params("e1", expiring=("old", NOON)))
    assert watching.told.get(timeout=30).key.value == "old"


def test_it_ends_with_the_manager_and_goes_on_with_the_next(watching: Watching) -> None:
    first, second = Stream(), Stream()
    attach(watching.registry, first.attached)
    watching.registry.add_environment(params("e1", expiring=("old", NOON + DISTANT)))
    ((_, thread),) = library_threads().items()
    first.stopped = True
    assert detach(watching.registry, first.attached, time.monotonic() + 30)
    thread.join(30)
    assert library_threads() == {}
    watching._now = NOON + DISTANT
    watching.registry.update_environment(params("e1", name="new", expiring=("old", NOON + DISTANT)))
    assert library_threads() == {}
    attach(watching.registry, second.attached)
    assert watching.told.get(timeout=30).identifiers.env_name == "new"
    assert detach(watching.registry, first.attached, 0.0)  # closed once more, which concerns nobody now
    watching.registry.add_environment(params("e2", expiring=("other", NOON)))
    assert watching.told.get(timeout=30).key.value == "other"


def test_closing_in_the_callback_is_the_end() -> None:
    stream = Stream()
    outcomes: queue.Queue[bool] = queue.Queue()
    registry = EnvironmentRegistry()
    attach(registry, stream.attached)
    for _ in range(2):
        registry.on_key_expired(lambda expired: outcomes.put(detach(registry, stream.attached, 0.0)))
    registry.add_environment(
        params("e1", sdk_keys=[AcceptedKey(str(at), expiration=after(at - 10**9)) for at in (1, 2)])
    )
    assert outcomes.get(timeout=30) is True
    for thread in library_threads().values():
        thread.join(30)
    assert outcomes.empty()


def test_closing_waits_for_a_running_callback_until_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    """And says so if it has given up."""
    running, go_on = threading.Event(), threading.Event()

    def wait(expired: ExpiredKey) -> None:
        running.set()
        go_on.wait(30)

    registry = EnvironmentRegistry()
    registry.on_key_expired(wait)
    registry.add_environment(params("e1", expiring=("old", after(-(10**9)))))
    assert running.wait(30)
    assert registry._expiry.stop(time.monotonic() + 0.01) is False
    wait_until(lambda: caplog.messages)
    go_on.set()
    end(registry)
    assert caplog.messages == ["Gave up waiting for a callback for expired keys; it is still running"]


def test_closing_in_a_signal_handler_waits_for_no_lock(watching: Watching) -> None:
    """The handler interrupts a thread that holds the lock."""
    watching.registry.add_environment(params("e1", expiring=("old", NOON + DISTANT)))
    with watching.registry._expiry._changed:
        end(watching.registry)


def test_the_callback_may_change_the_registry() -> None:
    """No lock is held while it runs, so the manager may bring changes then."""
    told: queue.Queue[str] = queue.Queue()
    registry = EnvironmentRegistry()

    def replace(expired: ExpiredKey) -> None:
        told.put(expired.key.value)
        worker = threading.Thread(target=registry.delete_environment, args=[expired.env_id])
        worker.start()
        worker.join(30)
        told.put("a deadlock" if worker.is_alive() else "deleted")

    registry.on_key_expired(replace)
    past = after(-(10**9))
    keys = [AcceptedKey("k1", expiration=past), AcceptedKey("k2", expiration=past)]
    registry.add_environment(params("e1", sdk_keys=keys))
    assert [told.get(timeout=30), told.get(timeout=30)] == ["k1", "deleted"]
    end(registry)
    assert told.empty()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=repr)
def test_what_the_callback_raises_is_logged(
    watching: Watching, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(expired: ExpiredKey) -> None:
        raise error

    registry = registry_with_clock(lambda: NOON)
    told: queue.Queue[str] = queue.Queue()
    registry.on_key_expired(fail)
    registry.on_key_expired(lambda expired: told.put(expired.key.value))
    for value in "sdk-0123456789abcdef0123", "sdk-0123456789abcdef4567":
        registry.add_environment(params(value[-4:], expiring=(value, NOON)))
        assert told.get(timeout=30) == value
    end(registry)
    assert [(record.name, record.levelno) for record in caplog.records] == [("autoconfig", logging.ERROR)] * 2
    assert "456789" not in caplog.text


def test_a_clock_that_raises_is_asked_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 10: once was enough to end the reports silently."""
    monkeypatch.setattr(expiry, "_PAUSE", 0.01)
    times: list[Any] = [ValueError("no"), SystemExit(1), NOON.replace(tzinfo=None)]

    def clock() -> datetime:
        time = times.pop(0) if times else NOON
        if isinstance(time, BaseException):
            raise time
        return time

    registry = registry_with_clock(clock)
    told: queue.Queue[ExpiredKey] = queue.Queue()
    registry.on_key_expired(told.put)
    registry.add_environment(params("e1", expiring=("old", NOON)))
    assert told.get(timeout=30).key.value == "old"
    end(registry)
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


def test_without_a_thread_the_next_change_tries_again(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 10: the watcher was unusable after that."""
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: no_thread())
        watching.registry.add_environment(params("e1", expiring=("old", NOON)))
        watching.registry.delete_environment(EnvironmentID("e2"))
    assert watching.registry.get("e1") is not None
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("WARNING", True)]
    watching.registry.received_all_environments()
    assert watching.told.get(timeout=30).key.value == "old"


def no_thread() -> None:
    raise RuntimeError("can't start new thread")


def test_the_callbacks_run_in_an_empty_context(watching: Watching) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="empty")
    variable.set("of a request")
    found: queue.Queue[str] = queue.Queue()
    watching.registry.on_key_expired(lambda expired: found.put(variable.get()))
    watching.registry.add_environment(params("e1", expiring=("old", NOON)))
    assert found.get(timeout=30) == "empty"


def test_a_forked_process_begins_anew(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held and the thread is gone, as in a process that was forked at a bad moment, even in C."""
    registry = watching.registry
    registry.add_environment(params("e1", expiring=("old", NOON + DISTANT)))
    parents = registry._expiry._changed
    end(registry)
    for thread in library_threads().values():
        thread.join(30)
    held = threading.Thread(target=parents.acquire)  # a lock that nobody will ever release
    held.start()
    held.join(30)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    assert registry._expiry.stop(0.0) is True
    watching._now = NOON + DISTANT
    attach(registry, Stream().attached)
    assert watching.told.get(timeout=30).key.value == "old"


# Against a model


class Histories(RuleBasedStateMachine):
    """
    The schedule, while the time goes on.

    ``pending`` is the model: when each key of each environment expires, unless it was told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule()
        self.now = -1
        self.listed: dict[tuple[str, str, str], datetime] = {}
        self.told: set[tuple[str, str, str]] = set()

    @rule(environment=environments)
    def set(self, environment: EnvironmentParams) -> None:
        before = {slot: at for slot, at in self.listed.items() if slot[0] == environment.env_id}
        listed: dict[tuple[str, str, str], datetime] = {}
        for kind, accepted in ("sdk", environment.accepted_sdk_keys), ("mobile", environment.accepted_mobile_keys):
            for value in {key.value for key in accepted}:
                ends = [key.expiration for key in accepted if key.value == value]
                if (known := [end for end in ends if end]) and len(known) == len(ends):
                    listed[environment.env_id, kind, value] = max(known)
        self.told = {slot for slot in self.told if slot not in before or listed.get(slot) == before[slot]}
        self.listed = {slot: at for slot, at in self.listed.items() if slot not in before} | listed
        self.schedule.replace(environment)

    @rule(id=st.sampled_from(IDS))
    def delete(self, id: str) -> None:
        self.schedule.remove(EnvironmentID(id))
        self.listed = {slot: at for slot, at in self.listed.items() if slot[0] != id}
        self.told = {slot for slot in self.told if slot[0] != id}

    @rule(seconds=st.integers(0, 1))
    def go_on(self, seconds: int) -> None:
        self.now += seconds
        due = {slot: at for slot, at in self.listed.items() if at <= after(self.now) and slot not in self.told}
        times = []
        while (time := self.schedule.next_time()) is not None and time <= after(self.now):
            expired = self.schedule.pop()
            slot = expired.env_id, expired.kind, expired.key.value
            assert due.pop(slot) == expired.key.expiration == time
            times.append(time)
            self.told.add(slot)
        assert due == {}
        assert times == sorted(times)

    def teardown(self) -> None:
        for id in IDS:
            self.schedule.remove(EnvironmentID(id))
        assert (self.schedule._keys, self.schedule._pending, self.schedule.next_time()) == ({}, 0, None)


TestHistories = Histories.TestCase
TestHistories.settings = examples(100, stateful_step_count=40)


def test_rotations_do_not_make_the_schedule_grow() -> None:
    """The times of keys that were withdrawn may be years away."""
    schedule = Schedule()
    for number in range(1000):
        schedule.replace(params("e1", expiring=(str(number), NOON + DISTANT)))
    assert len(schedule._heap) < 100
    assert (schedule.next_time(), schedule.pop().key.value) == (NOON + DISTANT, "999")


def test_the_order_of_the_times_outlives_a_clearing() -> None:
    """What is left of a heap without the withdrawn keys is no heap, until it is made one."""
    random = Random(1)
    for _ in range(20):
        schedule = Schedule()
        kept: dict[str, datetime] = {}
        for number in range(200):
            expiration = after(random.randrange(1000))
            schedule.replace(params(str(number), expiring=("key", expiration)))
            if number % 10 == 0:
                kept[str(number)] = expiration
        for number in range(200):
            if str(number) not in kept:
                schedule.remove(EnvironmentID(str(number)))
        assert len(schedule._heap) < 120
        popped = []
        while schedule.next_time() is not None:
            popped.append(schedule.pop().key.expiration)
        assert popped == sorted(kept.values())


# With a manager and a service


def test_it_follows_a_service() -> None:
    """The service says nothing when the time of a key comes."""
    registry = EnvironmentRegistry()
    told: queue.Queue[tuple[ExpiredKey, EnvironmentParams | None]] = queue.Queue()
    registry.on_key_expired(lambda expired: told.put((expired, registry.find_by_sdk_key(expired.key.value))))
    rep = EnvironmentRep(EnvironmentID("e1"), "test", "Test", proj_key="shop")
    with (
        Emulator([rep]) as service,
        StreamManager(DEMO_KEY, service.uri, registry),
    ):
        registry.wait_until_ready(30)
        service.rotate_sdk_key("e1", "sdk-first", timedelta(hours=1))  # the key before it was empty
        service.rotate_sdk_key("e1", "sdk-second", timedelta(milliseconds=50))
        expired, found = told.get(timeout=30)
        assert (expired.env_id, expired.key.value, expired.kind) == ("e1", "sdk-first", "sdk")
        assert expired.identifiers.env_key == "test"
        assert found is None
        assert registry.find_by_sdk_key("sdk-second") is not None
        listed = {"mobileKeys": [{"key": "old", "value": "mob-old", "expiry": 0}, {"key": "new", "value": "mob-new"}]}
        data = {**rep.to_json(), **listed, "mobKey": "mob-new", "version": 100}
        service.send_event("patch", json.dumps({"path": "/environments/e1", "data": data}))
        expired, _ = told.get(timeout=30)
        assert (expired.key.value, expired.key.name, expired.kind) == ("mob-old", "old", "mobile")
