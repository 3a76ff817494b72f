"""Followers have what the service has, with its versions, whatever happens to what is in Redis."""

from __future__ import annotations

import json
import time

import pytest
from fleet.fleets import LOG, LONG_LEASE, SECRET, STATE, Fleet, a_filter, environment
from fleet.stalling_proxy import StallingProxy
from support.waiting import wait_until

from autoconfig import StreamState
from autoconfig.messages import KeyRep
from autoconfig.redis import RedisSource


def test_all_changes_arrive(fleet: Fleet) -> None:
    fleet.lead()
    fleet.follow()
    fleet.settle()
    fleet.change()
    fleet.service.set_filter("f2", a_filter())
    fleet.settle()
    fleet.service.delete_filter("f1")
    fleet.deleted.add("f1")
    fleet.service.replace([environment("e3", 9)], {"f2": a_filter()})
    fleet.deleted |= {"e1", "e2", "e4", *(id for id in fleet.followers[0].handler.environments if "new" in id)}
    fleet.settle()


def test_nothing_of_an_environment_is_lost(fleet: Fleet) -> None:
    keys = KeyRep("main", "sdk-k-1"), KeyRep("viewed", "sdk-v", has_views=True)
    fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    fleet.service.set_environment(environment("k", sdk_keys=keys, default_ttl=7, secure_mode=True))
    fleet.settle()
    assert follower.handler.environments["k"].view_sdk_keys[0].value == "sdk-v"


def test_the_versions_are_the_services(fleet: Fleet) -> None:
    """A deletion that was seen in a later version than the item counts, and what comes again has a higher one."""
    fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    fleet.service.set_environment(environment("e1", 50))
    fleet.settle()
    fleet.service.delete_environment("e1")
    fleet.deleted.add("e1")
    fleet.settle()
    sent = fleet.service.set_environment(environment("e1", 1))
    fleet.settle()
    versions = follower.manager._dispatcher._environments.receiver._versions
    assert versions["e1"] == sent.version > 51


def test_values_are_encrypted(fleet: Fleet) -> None:
    fleet.lead()
    fleet.follow()
    fleet.change()
    fleet.settle()
    stored = repr((fleet.client.hgetall(STATE), fleet.client.xrange(LOG)))
    assert "sdk-" not in stored
    assert "mob-" not in stored


def test_another_secret_reads_nothing_and_says_why(fleet: Fleet) -> None:
    fleet.lead()
    follower = fleet.follow(secret="another")
    wait_until(lambda: follower.manager.status.last_error, "the error")
    error = follower.manager.status.last_error
    assert error
    assert "another secret" in error.message
    assert SECRET not in error.message
    assert not follower.handler.calls


def test_a_value_in_another_place_is_refused(fleet: Fleet) -> None:
    fleet.lead()
    fleet.follow()
    fleet.settle()
    value = fleet.client.hget(STATE, "e:e1")
    fleet.client.hset(STATE, "e:e2", value)  # type: ignore[arg-type]
    late = fleet.follow()
    wait_until(lambda: late.manager.status.last_error, "the error")
    assert not late.handler.calls


def test_without_a_secret_the_values_are_the_services_json(fleet: Fleet) -> None:
    fleet.lead(secret=None)
    fleet.follow(secret=None)
    fleet.settle()
    stored = fleet.client.hget(STATE, "e:e1")
    assert json.loads(stored) == fleet.service.environments["e1"].to_json()  # type: ignore[arg-type, index]


@pytest.mark.parametrize("where", ["put", "patch"])
def test_a_refused_environment_stays_as_it_was(fleet: Fleet, where: str) -> None:
    contradiction = environment("e1", 7, sdk_keys=(KeyRep("", "sdk-other"),))
    fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    before = follower.handler.environments["e1"]
    if where == "put":
        others = [environment(id) for id in ("e0", "e2", "e3", "e4")]
        fleet.service.replace([contradiction, *others], {"f1": a_filter()})
        wait_until(lambda: follower.manager.status.refused, "the refusal")
    else:
        fleet.service.set_environment(contradiction)
    fleet.service.set_environment(environment("e2", 8))
    follower.handler.wait_for("update_environment", 30, matching=lambda params: params.sdk_key == "sdk-e2-8")
    assert follower.handler.environments["e1"] == before
    fleet.service.set_environment(environment("e1", 9))
    fleet.settle()
    assert not follower.manager.status.refused


def test_flushed_again_and_again(fleet: Fleet) -> None:
    fleet.lead()
    fleet.follow()
    fleet.settle()
    for _ in range(5):
        fleet.client.flushall()
        fleet.change()
        fleet.settle()
    fleet.client.flushall()
    wait_until(lambda: fleet.client.hlen(STATE) > 6, "the picture")
    fleet.follow()
    fleet.settle()


@pytest.mark.parametrize("key", [STATE, LOG])
def test_one_of_the_keys_is_gone(fleet: Fleet, key: str) -> None:
    fleet.lead()
    fleet.follow()
    fleet.settle()
    fleet.client.delete(key)
    fleet.change()
    fleet.settle()
    fleet.change()
    fleet.settle()


def test_the_log_is_trimmed(fleet: Fleet) -> None:
    """
    A follower that was away for longer than the log lasts takes the picture.

    Without a secret: with one, an entry that does not follow on the last cannot even be decrypted.
    """
    leader = fleet.lead(secret=None)
    with StallingProxy(fleet.server.port) as proxy:
        fleet.follow(f"redis://127.0.0.1:{proxy.port}", secret=None)
        fleet.settle()
        proxy.stalled = True
        for _ in range(5):
            written = leader.status.writes
            fleet.change()
            wait_until(lambda: leader.status.writes > written, "a write")  # noqa: B023  # it is called at once
        fleet.client.xtrim(LOG, maxlen=1, approximate=False)
        proxy.stalled = False
        fleet.settle()


@pytest.mark.parametrize("keys", [(STATE, LOG), (STATE,), (LOG,)], ids=["both", "picture", "log"])
def test_an_older_copy_comes_back(fleet: Fleet, keys: tuple[str, ...]) -> None:
    """What was added since is not deleted meanwhile, though the copy does not have it."""
    fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    copy = {key: fleet.client.dump(key) for key in keys}
    fleet.service.set_environment(environment("later"))
    fleet.settle()
    for key, value in copy.items():
        fleet.client.restore(key, 0, value, replace=True)  # type: ignore[arg-type]
    fleet.service.set_environment(environment("last"))
    fleet.settle()
    fleet.change()
    fleet.settle()
    fleet.follow()
    fleet.settle()
    assert "later" in follower.handler.environments


def test_an_older_copy_is_noticed_though_nothing_changes(fleet: Fleet) -> None:
    fleet.lead()
    fleet.follow()
    fleet.settle()
    copy = {key: fleet.client.dump(key) for key in (STATE, LOG)}
    fleet.service.set_environment(environment("later"))
    fleet.settle()
    for key, value in copy.items():
        fleet.client.restore(key, 0, value, replace=True)  # type: ignore[arg-type]
    wait_until(lambda: fleet.client.hexists(STATE, "e:later"), "what the copy lacks")
    fleet.follow()
    fleet.settle()


def test_connections_are_cut_every_50_ms(fleet: Fleet) -> None:
    fleet.lead()
    with StallingProxy(fleet.server.port) as proxy:
        for _ in range(5):
            fleet.follow(f"redis://127.0.0.1:{proxy.port}")
        fleet.settle()
        for _ in range(20):
            proxy.cut()
            fleet.change()
            time.sleep(0.05)
        fleet.settle()


def test_a_connection_that_is_back_reads_what_it_lacks_only(fleet: Fleet) -> None:
    fleet.lead(lease=LONG_LEASE)
    with StallingProxy(fleet.server.port) as proxy:
        follower = fleet.follow(f"redis://127.0.0.1:{proxy.port}")
        fleet.settle()
        before = fleet.client.info("commandstats")["cmdstat_hgetall"]["calls"]  # type: ignore[index]
        connections = follower.manager.status.connections
        proxy.cut()
        wait_until(lambda: follower.manager.status.connections > connections, "a new connection")
        wait_until(lambda: follower.manager.status.state is StreamState.VALID, "a state")
        fleet.change()
        fleet.settle()
        assert fleet.client.info("commandstats")["cmdstat_hgetall"]["calls"] == before  # type: ignore[index]


def test_a_follower_waits_for_the_first_picture(fleet: Fleet) -> None:
    follower = fleet.follow()
    wait_until(lambda: follower.manager.status.last_byte_at, "an answer")
    fleet.lead()
    fleet.settle()
    assert follower.manager.status.connections == 1
    assert follower.handler.calls[0].name == "add_environment"  # and not the end of an empty configuration


def test_without_a_leader_the_state_says_so(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.redis.source._IDLE", 0.2)
    leader = fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    assert follower.source.leader.owner == leader.owner
    monkeypatch.setattr("autoconfig.redis.source._LEADERLESS", 1.0)
    leader.close()
    wait_until(lambda: follower.manager.status.state is StreamState.INTERRUPTED, "the state")
    assert follower.source.leader.owner == ""
    fleet.change()
    fleet.lead()
    wait_until(lambda: follower.manager.status.state is StreamState.VALID, "the state")
    fleet.settle()


def test_a_clock_that_was_set_back_heals(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions begin at a clock. A follower that saw the future takes the present after a while."""
    monkeypatch.setattr("autoconfig.redis.source._PATIENCE", 1.0)
    monkeypatch.setattr("autoconfig.redis.source._IDLE", 0.2)
    with monkeypatch.context() as patch:
        real = time.time_ns
        patch.setattr("time.time_ns", lambda: real() + 3_600 * 10**9)
        leader = fleet.lead()
        fleet.follow()
        fleet.settle()
        leader.close()
    fleet.client.flushall()
    fleet.lead()
    fleet.change()
    fleet.settle()


def test_the_source_shows_no_password() -> None:
    source = RedisSource("rediss://user:pass@cache.internal:6380/1", "prod")
    assert repr(source) == "<RedisSource 'prod' at rediss://cache.internal:6380/1>"
    source = RedisSource("redis://:p%2Fw@h/0?client_name=a@b", "prod")
    assert repr(source) == "<RedisSource 'prod' at redis://h/0>"


WRONG_URLS = ["http://h", "redis://", "redis+sentinel://h", "redis://h:x", "redis://h?db=x"]
SPLIT_IN_PASSWORD = [
    "redis://u:1/2@h",
    "redis://u:1#2@h",
    "redis://u:1?2@h",
    "redis://u:p@s/2@h",
    "redis+sentinel://u:1/2@h/s",
]


@pytest.mark.parametrize("url", WRONG_URLS + SPLIT_IN_PASSWORD)
def test_a_wrong_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url must be redis://host"):
        RedisSource(url, "prod")


@pytest.mark.parametrize("name", ["", "a{b", "}"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name must not be empty"):
        RedisSource("redis://h", name)
