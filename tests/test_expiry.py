"""Keys whose time comes: each is told once, at its time, and not if it was withdrawn."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from support.managing import library_threads
from support.registry_model import IDS, environments
from support.registry_samples import NOON, after, params

from autoconfig import ClosedError, EnvironmentID, EnvironmentParams, MessageHandler, StreamManager
from autoconfig.environments import AcceptedKey, EnvironmentRep
from autoconfig.expiry import ExpiredKey, ExpiryWatcher
from autoconfig.expiry import watcher as watcher_module
from autoconfig.expiry.schedule import Schedule
from autoconfig.registry import EnvironmentRegistry
from autoconfig.testing import DEMO_KEY, Emulator, environment_json

DISTANT = timedelta(days=1000)


class Watching:
    """
    A watcher with a clock of its own, which shows noon until it is set.

    Attributes:
        told: The keys of which it was told, as they come.
    """

    def __init__(self) -> None:
        self.told: queue.Queue[ExpiredKey] = queue.Queue()
        self._now = NOON
        self.watcher = ExpiryWatcher(self.told.put, clock=lambda: self._now)

    def set(self, seconds: float) -> None:
        """Set the clock, and let the watcher look at it: it does when there is a new next key."""
        self._now = after(seconds)
        look = params("look", expiring=("look", self._now))
        self.watcher.add_environment(look)
        self.watcher.delete_environment(look.env_id)

    def until(self, seconds: float) -> list[str]:
        """Set the clock, and return the keys that are told before one that expires at that moment."""
        self._now = after(seconds)
        self.watcher.add_environment(params("end", expiring=("end", self._now)))
        values = list(iter(lambda: self.told.get(timeout=5).key.value, "end"))
        self.watcher.delete_environment(EnvironmentID("end"))
        return values


@pytest.fixture
def watching() -> Iterator[Watching]:
    watching = Watching()
    with watching.watcher:
        yield watching


def keys(**seconds: float | None) -> list[AcceptedKey]:
    """Return keys that expire so many seconds after noon."""
    return [AcceptedKey(value, expiration=None if at is None else after(at)) for value, at in seconds.items()]


# What is told


def test_it_is_a_handler() -> None:
    assert isinstance(ExpiryWatcher(print), MessageHandler)


@pytest.mark.parametrize("clock", [lambda: NOON.replace(tzinfo=None), time.time, lambda: None])
def test_a_clock_that_is_none_is_an_error_at_once(clock: Any) -> None:
    with pytest.raises(ValueError, match="clock must return an aware datetime"):
        ExpiryWatcher(print, clock=clock)


@pytest.mark.parametrize("arguments", [{"on_expired": None}, {"on_expired": print, "clock": NOON}], ids=str)
def test_what_it_is_given_has_to_be_callable(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be callable"):
        ExpiryWatcher(**arguments)


def test_a_key_is_told_when_its_time_has_come(watching: Watching) -> None:
    environment = params("e1", sdk="new", expiring=("old", after(10)))
    watching.watcher.add_environment(environment)
    assert watching.until(9.999) == []
    watching.set(10)
    expired = watching.told.get(timeout=5)
    assert expired == ExpiredKey(environment.env_id, environment.identifiers, environment.accepted_sdk_keys[1], "sdk")
    assert watching.until(20) == []


def test_keys_of_both_kinds_are_told_in_the_order_of_their_times(watching: Watching) -> None:
    sdk_keys, mobile_keys = keys(s0=None, s3=3, s1=1), keys(m0=None, m2=2, m4=4)
    watching.watcher.add_environment(params("e1", sdk_keys=sdk_keys, mobile_keys=mobile_keys))
    watching.set(10)
    told = [watching.told.get(timeout=5) for _ in range(4)]
    assert [(one.key.value, one.kind) for one in told] == [
        ("s1", "sdk"),
        ("m2", "mobile"),
        ("s3", "sdk"),
        ("m4", "mobile"),
    ]


def test_a_key_that_has_expired_already_is_told_at_once_and_once(watching: Watching) -> None:
    for _ in range(2):
        watching.watcher.add_environment(params("e1", expiring=("old", after(-10))))
    watching.watcher.update_environment(params("e1", name="new", expiring=("old", after(-10))))
    assert watching.until(1) == ["old"]


def test_a_key_that_stays_listed_is_not_told_again(watching: Watching) -> None:
    watching.watcher.add_environment(params("e1", expiring=("old", after(1))))
    assert watching.until(2) == ["old"]
    watching.watcher.update_environment(params("e1", name="new", expiring=("old", after(1))))
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
    watching.watcher.add_environment(params("e1", expiring=("old", after(5))))
    if later is None:
        watching.watcher.delete_environment(EnvironmentID("e1"))
    else:
        watching.watcher.update_environment(later)
    assert watching.until(10) == expected


def test_a_key_with_another_time_is_told_again(watching: Watching) -> None:
    """It was accepted once more, so it expires once more."""
    watching.watcher.add_environment(params("e1", expiring=("old", after(1))))
    assert watching.until(2) == ["old"]
    watching.watcher.update_environment(params("e1", expiring=("old", after(5))))
    assert watching.until(10) == ["old"]


def test_the_names_are_those_known_last(watching: Watching) -> None:
    watching.watcher.add_environment(params("e1", name="before", expiring=("old", after(1))))
    watching.watcher.update_environment(params("e1", name="after", expiring=("old", after(1))))
    watching.set(2)
    assert watching.told.get(timeout=5).identifiers.env_name == "after"


def test_a_key_of_two_environments_is_told_for_each(watching: Watching) -> None:
    for id in "e1", "e2":
        watching.watcher.add_environment(params(id, expiring=("old", after(1))))
    watching.set(2)
    assert [watching.told.get(timeout=5).env_id for _ in range(2)] == ["e1", "e2"]


def test_deleting_what_is_not_known_does_nothing(watching: Watching) -> None:
    watching.watcher.delete_environment(EnvironmentID("e1"))
    assert watching.until(1) == []


def test_what_was_heard_before_the_start_is_not_lost() -> None:
    told: queue.Queue[ExpiredKey] = queue.Queue()
    watcher = ExpiryWatcher(told.put)
    watcher.add_environment(params("e1", expiring=("old", NOON - DISTANT * 5)))
    assert library_threads() == {}
    with watcher:
        assert told.get(timeout=5).key.value == "old"


def test_the_repr_of_what_is_told_shows_no_key() -> None:
    key = AcceptedKey("sdk-0123456789abcdef0123", "default", NOON)
    assert "456789" not in repr(ExpiredKey(EnvironmentID("e1"), params().identifiers, key, "sdk"))


def test_ten_thousand_keys(watching: Watching) -> None:
    for number in range(10_000):
        watching.watcher.add_environment(params(f"e{number}", expiring=(str(number), after(number * 7919 % 10_000))))
    assert watching.until(9_999) == sorted(map(str, range(10_000)), key=lambda value: int(value) * 7919 % 10_000)


# When it wakes


def test_it_waits_just_until_the_next_key() -> None:
    """With the real clock: the second key is not told before its time, and not long after it."""
    told: queue.Queue[tuple[str, datetime]] = queue.Queue()
    with ExpiryWatcher(lambda expired: told.put((expired.key.value, now()))) as watcher:
        first, second = now() + timedelta(milliseconds=50), now() + timedelta(milliseconds=100)
        watcher.add_environment(params("e2", expiring=("second", second)))
        watcher.add_environment(params("e1", expiring=("first", first)))
        for value, expiration in ("first", first), ("second", second):
            key, at = told.get(timeout=5)
            assert key == value
            assert at >= expiration


def now() -> datetime:
    return datetime.now(timezone.utc)


def test_it_does_not_wait_longer_than_an_hour(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hour is shortened here; the clock is set without a change that would wake the thread."""
    assert watcher_module._LONGEST_WAIT == 3600
    monkeypatch.setattr(watcher_module, "_LONGEST_WAIT", 0.01)
    watching.watcher.add_environment(params("e1", expiring=("old", NOON + DISTANT)))
    watching._now = NOON + DISTANT
    assert watching.told.get(timeout=5).key.value == "old"


def test_it_does_not_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is asked once for each change of the next key, not for others, and not in between."""
    asked: queue.Queue[None] = queue.Queue()

    def clock() -> datetime:
        asked.put(None)
        return NOON

    with ExpiryWatcher(print, clock=clock) as watcher:
        for _ in range(2):  # whether it is a clock, and what time it is
            asked.get(timeout=5)
        watcher.add_environment(params("e1", expiring=("soon", after(0.2))))
        asked.get(timeout=5)
        for id in "e2", "e3":
            watcher.add_environment(params(id, expiring=(id, after(100))))
        watcher.add_environment(params("e4"))
        with pytest.raises(queue.Empty):
            asked.get(timeout=0.1)


# Start and end


def test_there_is_one_daemon_thread_from_start_to_close() -> None:
    watcher = ExpiryWatcher(print)
    assert library_threads() == {}
    watcher.start()
    ((name, thread),) = library_threads().items()
    assert name.startswith("autoconfig-expiry-")
    assert thread.daemon
    assert watcher.close()
    assert library_threads() == {}
    assert watcher.close()


def test_it_is_started_once() -> None:
    with ExpiryWatcher(print) as watcher, pytest.raises(RuntimeError, match="started"):
        watcher.start()


def test_after_the_end_it_cannot_be_started() -> None:
    watcher = ExpiryWatcher(print)
    assert watcher.close()
    with pytest.raises(ClosedError):
        watcher.start()


def test_after_the_end_nothing_is_told(watching: Watching) -> None:
    watching.watcher.add_environment(params("e1", expiring=("old", after(1))))
    assert watching.watcher.close()
    watching.set(10)
    watching.watcher.update_environment(params("e1", expiring=("other", after(1))))
    assert watching.told.empty()


def test_it_ends_while_a_distant_key_is_waited_for(watching: Watching) -> None:
    watching.watcher.add_environment(params("e1", expiring=("old", NOON + DISTANT)))
    begin = time.monotonic()
    assert watching.watcher.close()
    assert time.monotonic() - begin < 1


def test_it_can_be_closed_from_inside_the_callback() -> None:
    outcomes: queue.Queue[bool] = queue.Queue()
    watcher = ExpiryWatcher(lambda expired: outcomes.put(watcher.close()))
    watcher.add_environment(
        params("e1", sdk_keys=[AcceptedKey(str(at), expiration=after(at - 10**9)) for at in (1, 2)])
    )
    watcher.start()
    assert outcomes.get(timeout=5) is True
    for thread in library_threads().values():
        thread.join(5)
    assert outcomes.empty()
    assert watcher.close()


def test_closing_waits_for_a_running_call_until_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    running, go_on = threading.Event(), threading.Event()

    def wait(expired: ExpiredKey) -> None:
        running.set()
        go_on.wait(5)

    watcher = ExpiryWatcher(wait)
    watcher.add_environment(params("e1", expiring=("old", after(-(10**9)))))
    watcher.start()
    assert running.wait(5)
    assert watcher.close(0.01) is False
    assert "still in on_expired" in caplog.text
    go_on.set()
    assert watcher.close() is True


def test_the_callback_may_change_what_is_watched() -> None:
    """No lock is held while it runs, so the manager may bring changes then, and it may itself."""
    told: queue.Queue[str] = queue.Queue()

    def replace(expired: ExpiredKey) -> None:
        told.put(expired.key.value)
        worker = threading.Thread(target=watcher.delete_environment, args=[expired.env_id])
        worker.start()
        worker.join(5)
        told.put("a deadlock" if worker.is_alive() else "deleted")

    past = after(-(10**9))
    watcher = ExpiryWatcher(replace)
    watcher.add_environment(
        params("e1", sdk_keys=[AcceptedKey("k1", expiration=past), AcceptedKey("k2", expiration=past)])
    )
    with watcher:
        assert [told.get(timeout=5), told.get(timeout=5)] == ["k1", "deleted"]
    assert told.empty()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=repr)
def test_what_the_callback_raises_is_logged(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    told: queue.Queue[str] = queue.Queue()

    def fail(expired: ExpiredKey) -> None:
        told.put(expired.key.value)
        raise error

    with ExpiryWatcher(fail) as watcher:
        for value in "sdk-0123456789abcdef0123", "sdk-0123456789abcdef4567":
            watcher.add_environment(params(value[-4:], expiring=(value, after(-(10**9)))))
            assert told.get(timeout=5) == value
    assert [(record.name, record.levelno) for record in caplog.records] == [("autoconfig", logging.ERROR)] * 2
    assert "456789" not in caplog.text


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
        time = self.schedule.next_time()
        assert self.schedule.replace(environment) is (self.schedule.next_time() != time)

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
        assert (self.schedule._watches, self.schedule._pending, self.schedule.next_time()) == ({}, 0, None)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_rotations_do_not_make_the_schedule_grow() -> None:
    """The times of keys that were withdrawn may be years away."""
    schedule = Schedule()
    schedule.replace(params("e0", expiring=("first", NOON)))
    for number in range(1000):
        schedule.replace(params("e1", expiring=(str(number), NOON + DISTANT)))
    assert len(schedule._heap) < 100
    assert [schedule.pop().key.value, schedule.next_time(), schedule.pop().key.value] == [
        "first",
        NOON + DISTANT,
        "999",
    ]


# With a manager and a service


def test_it_follows_a_service() -> None:
    """Behind a registry; the service says nothing when the time of a key comes."""
    registry = EnvironmentRegistry()
    told: queue.Queue[tuple[ExpiredKey, EnvironmentParams | None]] = queue.Queue()
    watcher = ExpiryWatcher(lambda expired: told.put((expired, registry.find_by_sdk_key(expired.key.value))))
    rep = EnvironmentRep(EnvironmentID("e1"), "test", "Test", proj_key="shop")
    with (
        Emulator([rep]) as service,
        watcher,
        StreamManager(DEMO_KEY, service.uri, registry.wrap(watcher)),
    ):
        assert registry.wait_until_ready(5)
        service.rotate_sdk_key("e1", "sdk-first", timedelta(hours=1))  # the key before it was empty
        service.rotate_sdk_key("e1", "sdk-second", timedelta(milliseconds=50))
        expired, found = told.get(timeout=5)
        assert (expired.env_id, expired.key.value, expired.kind) == ("e1", "sdk-first", "sdk")
        assert expired.identifiers.env_key == "test"
        assert found is None
        assert registry.find_by_sdk_key("sdk-second") is not None
        listed = {"mobileKeys": [{"key": "old", "value": "mob-old", "expiry": 0}, {"key": "new", "value": "mob-new"}]}
        data = {**environment_json(rep), **listed, "mobKey": "mob-new", "version": 100}
        service.send_event("patch", json.dumps({"path": "/environments/e1", "data": data}))
        expired, _ = told.get(timeout=5)
        assert (expired.key.value, expired.key.name, expired.kind) == ("mob-old", "old", "mobile")
