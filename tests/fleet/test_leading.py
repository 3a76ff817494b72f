"""One leads; when it is killed, stopped, cut off or closed, another one does, and nothing is lost or done twice."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import time

import pytest
from fleet.fleets import LEASE, LIMIT, LOG, LONG_LEASE, NAME, SECRET, STATE, Fleet, environment
from fleet.stalling_proxy import StallingProxy
from support.waiting import wait_until

from autoconfig import StreamManager
from autoconfig.redis import Leader, election
from autoconfig.redis import leader as leader_module
from autoconfig.redis.scripts import BEAT, RELEASE, TAKE, WRITE


def led_by(fleet: Fleet, process: subprocess.Popen[str]) -> bool:
    return f":{process.pid}:".encode() in (fleet.owner() or b"")


def test_one_of_two_leads(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "_BEATS", 50)
    first = fleet.lead(lease=LONG_LEASE)
    second = fleet.lead(wait=False, lease=LONG_LEASE)
    time.sleep(1)  # in which the second one looks ten times
    assert fleet.owner() == first.owner.encode()
    assert not second.status.leading
    assert second.status.takeovers == 0


def test_a_closed_leader_hands_over(fleet: Fleet) -> None:
    first = fleet.lead(lease=10.0)
    second = fleet.lead(wait=False, lease=10.0)
    fleet.follow()
    fleet.settle()
    assert first.close()
    assert second.wait_until_leading(LIMIT)  # it looks every 3.3 s
    fleet.change()
    fleet.settle()


def test_a_killed_leader_is_replaced(fleet: Fleet) -> None:
    first, second = fleet.lead_in_process(), fleet.lead_in_process()
    for _ in range(3):
        fleet.follow()
    fleet.settle()
    first.kill()
    fleet.change()
    wait_until(lambda: led_by(fleet, second), "the second leader")
    fleet.change()
    fleet.settle()
    third = fleet.lead_in_process()
    second.kill()
    fleet.change()
    wait_until(lambda: led_by(fleet, third), "the third leader")
    fleet.settle()


def test_a_leader_that_was_stopped_and_continues_does_no_harm(fleet: Fleet) -> None:
    first, second = fleet.lead_in_process(), fleet.lead_in_process(lease=LONG_LEASE)
    for _ in range(3):
        fleet.follow()
    fleet.settle()
    os.kill(first.pid, signal.SIGSTOP)
    fleet.change()
    wait_until(lambda: led_by(fleet, second), "the next leader")
    fleet.settle()
    fleet.change()
    os.kill(first.pid, signal.SIGCONT)
    for _ in range(10):
        fleet.change()
        time.sleep(0.05)
    fleet.settle()
    assert led_by(fleet, second)


def test_a_leader_that_is_cut_off_is_replaced(fleet: Fleet) -> None:
    with StallingProxy(fleet.server.port) as proxy:
        first = fleet.lead(f"redis://127.0.0.1:{proxy.port}", lease=LONG_LEASE)
        second = fleet.lead(wait=False, lease=LONG_LEASE)
        fleet.follow()
        fleet.settle()
        proxy.stalled = True
        fleet.change()
        assert second.wait_until_leading(LIMIT)
        fleet.settle()
        proxy.stalled = False
        fleet.change()
        wait_until(lambda: not first.status.leading, "the end of the first one's term")
        fleet.settle()
        assert fleet.owner() == second.owner.encode()
        wait_until(lambda: first._followed is None, "the end of the first one's stream")
        first.close()


def test_a_follower_that_is_cut_off_catches_up(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.redis.source._TIMEOUT", 2.5)
    fleet.lead()
    with StallingProxy(fleet.server.port) as proxy:
        follower = fleet.follow(f"redis://127.0.0.1:{proxy.port}")
        fleet.settle()
        proxy.stalled = True
        fleet.change()
        wait_until(lambda: follower.manager.status.last_error, "an error")
        proxy.stalled = False
        fleet.settle()


def test_a_leader_whose_stream_has_ended_hands_over(fleet: Fleet) -> None:
    """The key of the first one is refused; the second one's is not."""

    def wrong(handler: object) -> StreamManager:
        return StreamManager("rel-wrong", fleet.service.uri, handler)  # type: ignore[arg-type]

    with Leader(fleet.url, NAME, wrong, secret=SECRET, lease=LEASE) as first:
        assert first.wait_until_leading(LIMIT)
        second = fleet.lead()
        fleet.follow()
        fleet.settle()
        why = "the service rejected the auto-configuration key (HTTP status 401)"
        assert first.status.error == f"its stream has ended: {why}"
        wait_until(lambda: second.status.leading, "the second one")


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_a_manager_that_cannot_be_made_hands_over(fleet: Fleet, kind: type[BaseException]) -> None:
    def fail(handler: object) -> StreamManager:
        raise kind("rel-secret")

    with Leader(fleet.url, NAME, fail, secret=SECRET, lease=LEASE) as first:
        wait_until(lambda: first.status.error, "an error")
        assert first.status.error == f"its manager cannot be made: {kind.__name__}"
        fleet.lead()


def test_a_hand_over_that_redis_interrupts_is_made_later(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    made: list[object] = []

    def fail(handler: object) -> StreamManager:
        made.append(handler)
        fleet.client.client_kill_filter(_type="normal", skipme=True)
        raise LookupError

    with Leader(fleet.url, NAME, fail, secret=SECRET, lease=LEASE):
        wait_until(lambda: made, "the first term")
        fleet.lead()
    assert "thread failed" not in caplog.text


def test_a_leader_that_gets_nothing_from_the_service_hands_over(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.redis.leader._PATIENCE", 2)
    fleet.service.close()
    first, second = fleet.lead(), fleet.lead(wait=False)
    assert second.wait_until_leading(LIMIT)
    assert re.fullmatch(r"nothing came from the service for \d+ s: Connection refused", first.status.error or "")
    fleet.service.start()
    fleet.follow()
    fleet.settle()


def test_a_new_leader_writes_what_differs_only(fleet: Fleet) -> None:
    first = fleet.lead(lease=LONG_LEASE)
    fleet.follow()
    fleet.settle()
    first.close()
    fleet.service.set_environment(environment("while-nobody-led"))
    fleet.lead(lease=LONG_LEASE)
    fleet.settle()
    birth = fleet.client.hget(STATE, "#born")
    kinds = [entry[b"k"] for _, entry in fleet.client.xrange(LOG)]  # type: ignore[union-attr]
    assert kinds == [b"r", b"p"]
    assert birth == fleet.client.hget(STATE, "#born")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_redis_may_not_evict(fleet: Fleet, policy: str, caplog: pytest.LogCaptureFixture) -> None:
    fleet.client.config_set("maxmemory-policy", policy)
    leader = fleet.lead(wait=False)
    wait_until(lambda: leader.status.error, "the error")
    assert policy in (leader.status.error or "")
    assert "set noeviction" in (leader.status.error or "")
    assert not leader.status.leading
    assert not fleet.client.exists(STATE)
    assert [record.levelname for record in caplog.records if "evict" in record.getMessage()] == ["ERROR"]
    fleet.client.config_set("maxmemory-policy", "noeviction")
    assert leader.wait_until_leading(LIMIT)


def test_one_that_leads_says_that_redis_may_evict_by_now_and_goes_on(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leader_module, "_EVICTION_CHECKS", 0.01)
    leader = fleet.lead()
    fleet.follow()
    fleet.settle()
    fleet.client.config_set("maxmemory-policy", "allkeys-lru")
    wait_until(lambda: leader.status.error, "the error")
    fleet.client.delete(STATE)  # evicted
    fleet.change()
    fleet.settle()
    fleet.client.client_kill_filter(_type="normal", skipme=True)
    fleet.change()
    fleet.settle()
    assert "allkeys-lru" in (leader.status.error or "")
    assert [record.levelname for record in caplog.records if "evict" in record.getMessage()].count("ERROR") < 4
    waiting = fleet.lead(wait=False)  # which would not take over
    wait_until(lambda: waiting.status.error, "the error of one that does not lead")
    fleet.client.config_set("maxmemory-policy", "noeviction")
    wait_until(lambda: not leader.status.error and not waiting.status.error, "the end of the error")
    assert leader.status.leading


def test_one_that_waits_does_not_take_over_where_redis_may_evict_by_now(fleet: Fleet) -> None:
    leader, waiting = fleet.lead(), fleet.lead(wait=False)
    wait_until(lambda: len(fleet.client.client_list(_type="normal")) >= 3, "the connection of the one that waits")
    fleet.client.config_set("maxmemory-policy", "allkeys-lfu")
    leader.close()
    wait_until(lambda: waiting.status.error, "the error")
    assert "allkeys-lfu" in (waiting.status.error or "")
    assert not waiting.status.leading
    fleet.client.config_set("maxmemory-policy", "noeviction")
    assert waiting.wait_until_leading(LIMIT)


def test_redis_without_memory_keeps_the_last_picture(fleet: Fleet) -> None:
    leader = fleet.lead()
    fleet.follow()
    fleet.settle()
    fleet.client.config_set("maxmemory", 1)
    fleet.change()
    wait_until(lambda: leader.status.error, "the error")
    assert leader.status.error == "Redis has no memory left; see its maxmemory"
    assert fleet.client.hlen(STATE) > 6
    fleet.client.config_set("maxmemory", 0)
    fleet.settle()


class Writer:
    """One who may lead, as the scripts see it."""

    def __init__(self, fleet: Fleet, owner: str, term: int) -> None:
        self._fleet = fleet
        self._owner, self._term = owner, term

    def take(self, term: object, beat: object) -> object:
        return self._fleet.client.eval(TAKE, 1, STATE, self._owner, self._term, term, beat)  # type: ignore[arg-type]

    def beat(self) -> object:
        return self._fleet.client.eval(BEAT, 1, STATE, self._owner, self._term)  # type: ignore[arg-type]

    def release(self) -> object:
        return self._fleet.client.eval(RELEASE, 1, STATE, self._owner, self._term)  # type: ignore[arg-type]

    def write(self, before: int, sequence: int, value: str) -> object:
        head = (self._owner, self._term, before, sequence, "b", "c", "[]", 10, 0, 1)
        return self._fleet.client.eval(WRITE, 2, STATE, LOG, *head, "e:x", value)  # type: ignore[arg-type]


def test_two_leaders_never_both_write(fleet: Fleet) -> None:
    """The fence: what an earlier leader sends, at whatever time, changes nothing once another one leads."""
    old, new = Writer(fleet, "old", 10), Writer(fleet, "new", 11)
    assert old.take("", "") == 1
    assert new.take("", "") == 0  # it has seen nothing, but there is a leader by now
    assert old.write(0, 100, "by the old one") == b"written"
    assert new.write(100, 101, "too early") == b"fenced"
    assert new.take(10, 0) == 0  # there was a sign of life
    assert new.take(10, 1) == 1
    for late in (old.write(100, 102, "too late"), old.write(0, 103, "too late")):
        assert late == b"fenced"
    assert old.beat() is None
    assert old.release() == 0
    assert new.write(99, 104, "after a lost write") == b"moved"
    assert new.write(100, 105, "by the new one") == b"written"
    assert fleet.client.hget(STATE, "e:x") == b"by the new one"
    assert [id for id, _ in fleet.client.xrange(LOG)] == [b"100-0", b"105-0"]  # type: ignore[union-attr]


def test_two_that_believe_to_lead_write_one_history(fleet: Fleet) -> None:
    """Changes go on while the leadership is taken from whoever has it; each write follows on the one before."""
    first, second = fleet.lead(), fleet.lead(wait=False)
    fleet.follow()
    for _ in range(6):
        fleet.client.hset(STATE, "#owner", "")  # free for whoever comes first
        for _ in range(5):
            fleet.change()
        wait_until(lambda: first.status.leading is not second.status.leading, "one leader")
    fleet.settle()
    history = [(int(id.partition(b"-")[0]), int(entry[b"p"])) for id, entry in fleet.client.xrange(LOG)]  # type: ignore[union-attr]
    assert all(before == earlier for (earlier, _), (_, before) in itertools.pairwise(history))


def test_start_and_close(fleet: Fleet) -> None:
    leader = Leader(fleet.url, NAME, fleet.manager)
    assert repr(leader) == f"<Leader of 'test' at {fleet.url}>"
    leader.start()
    with pytest.raises(RuntimeError, match="started or closed before"):
        leader.start()
    assert leader.close()
    assert leader.close()
    assert not leader.wait_until_leading(0)
    unstarted = Leader(fleet.url, NAME, fleet.manager)
    with pytest.raises(RuntimeError, match="would wait for ever"):
        unstarted.wait_until_leading()
    assert unstarted.close()
    with pytest.raises(RuntimeError, match="started or closed before"):
        unstarted.start()


@pytest.mark.parametrize("lease", [0, -1, 11])
def test_a_wrong_lease_is_refused(fleet: Fleet, lease: float) -> None:
    with pytest.raises(ValueError, match="lease"):
        Leader(fleet.url, NAME, fleet.manager, lease=lease)
