"""What works with the service's stream works with a fleet: registry, cache, client pool; and metrics of the fleet."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet.fleets import LONG_LEASE, NAME, QUICK, SECRET, Fleet
from support.waiting import wait_until

from autoconfig import EnvironmentRegistry, StreamManager
from autoconfig.cache import FileStore
from autoconfig.redis import RedisSource
from autoconfig.status import ContentSource
from autoconfig.testing import RecordingHandler


def test_a_registry(fleet: Fleet) -> None:
    fleet.lead()
    registry = EnvironmentRegistry()
    with StreamManager.from_source(RedisSource(fleet.url, NAME, SECRET), registry, **QUICK) as manager:
        manager.wait_until_ready(30)
        assert registry.environments.keys() == fleet.service.environments.keys()


def test_a_cache(fleet: Fleet, tmp_path: Path) -> None:
    leader = fleet.lead()
    store = FileStore(tmp_path / "cache", scope=NAME)
    follower = fleet.follow(cache=store)
    fleet.settle()
    follower.manager.close()
    leader.close()
    fleet.client.flushall()
    late = fleet.follow(cache=store)
    wait_until(lambda: late.manager.status.content is ContentSource.CACHE, "the cache")
    assert late.handler.environments == follower.handler.environments
    fleet.lead()
    fleet.change()
    wait_until(lambda: late.has(fleet.service), "the service's set")
    late.check_calls(*fleet.deleted)


# The SDK leaves the socket of an answer to the garbage collector.
@pytest.mark.usefixtures("own_garbage")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_client_pool(fleet: Fleet) -> None:
    pytest.importorskip("ldclient")
    from ldclient.config import Config

    from autoconfig.clients import ClientPool
    from autoconfig.testing.flags import FlagService

    fleet.lead()
    with (
        FlagService() as flags,
        ClientPool(lambda params: Config(params.sdk_key, send_events=False, **flags.uris)) as pool,
        StreamManager.from_source(RedisSource(fleet.url, NAME, SECRET), pool, **QUICK),
    ):
        assert pool.wait_until_ready(30)
        assert {id for id, _ in pool.status()} == fleet.service.environments.keys()


def test_metrics_of_the_fleet(fleet: Fleet) -> None:
    pytest.importorskip("prometheus_client")
    from autoconfig.metrics import StreamCollector

    first = fleet.lead(lease=LONG_LEASE)
    second = fleet.lead(wait=False, lease=LONG_LEASE)
    follower = fleet.follow()
    fleet.settle()
    fleet.change()
    fleet.settle()
    wait_until(lambda: follower.source.leader.alive_at, "a second sign of life")
    collector = StreamCollector(
        {"main": follower.manager}, fleets={"main": follower.source}, leaders={"one": first, "two": second}
    )
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
        if "fleet" in sample.name
    }
    assert found["autoconfig_fleet_leading", "one"] == 1
    assert found["autoconfig_fleet_leading", "two"] == 0
    assert found["autoconfig_fleet_leader", "main", first.owner] == 1
    assert found["autoconfig_fleet_takeovers_total", "one"] == 1
    assert found["autoconfig_fleet_writes_total", "one"] > 1
    assert 0 <= found["autoconfig_fleet_lag_seconds", "main"] < 30
    assert found["autoconfig_fleet_leader_sign_timestamp_seconds", "main"] > 1.7e9


def test_the_source_of_a_manager_is_checked() -> None:
    with pytest.raises(TypeError, match=r"source\.make"):
        StreamManager.from_source(object(), RecordingHandler())  # type: ignore[arg-type]
