"""The clients that the pool serves while environments come, change and go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.waiting import wait_until

pytest.importorskip("ldclient")

from clients.conftest import MakePool
from clients.pools import (
    clients_threads,
    params,
    sdk_key,
    served_key,
    status,
    value,
    wait_for_state,
    working,
)
from ldclient.config import Config
from ldclient.feature_store import InMemoryFeatureStore

from autoconfig import (
    EnvironmentRegistry,
    FilterExpander,
    FilterID,
    FilterParams,
    MessageHandler,
    RetryPolicy,
    StreamManager,
)
from autoconfig.clients import ClientPool, ClientState
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.ready_made.filtering import FilteredHandler
from autoconfig.testing import Emulator
from autoconfig.testing.flags import FlagService


def test_each_environment_has_a_client_with_its_flags(make_pool: MakePool, flags: FlagService) -> None:
    flags.set_flag("color", "red", sdk_key=sdk_key("b"))
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    pool.add_environment(params("2", "b"))
    pool.received_all_environments()
    assert pool.wait_until_ready(30)
    assert [value(pool.get(id)) for id in "12"] == ["blue", "red"]
    assert pool.get("3") is None
    assert {key: found.state for key, found in pool.status().items()} == {
        ("1", ""): ClientState.WORKING,
        ("2", ""): ClientState.WORKING,
    }


def test_it_is_a_handler_of_both_kinds(make_pool: MakePool) -> None:
    pool = make_pool()
    assert isinstance(pool, MessageHandler)
    assert isinstance(pool, FilteredHandler)
    pool.add_filter(FilterParams("shop", FilterID("f"), "europe"))
    pool.delete_filter(FilterID("f"))
    assert not pool.status()


def test_the_old_client_serves_until_the_new_one_works(make_pool: MakePool, flags: FlagService) -> None:
    flags.refuse(sdk_key("b"))
    flags.set_flag("color", "red", sdk_key=sdk_key("b"))
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    old = working(pool, "1")
    pool.update_environment(params("1", "b"))
    wait_until(lambda: flags.refusals[sdk_key("b")] > 1)
    assert pool.get("1") is old
    assert value(old) == "blue"
    wait_for_state(pool, "1", ClientState.ROTATING, "HTTP 401")
    flags.refuse(sdk_key("b"), 0)
    wait_for_state(pool, "1", ClientState.WORKING)
    assert value(pool.get("1")) == "red"
    assert status(pool, "1").error is None
    flags.wait_for_streams(sdk_key("b"))


def test_rotations_while_a_client_is_made_become_one(make_pool: MakePool, flags: FlagService) -> None:
    going, made = threading.Event(), []

    def make_config(environment: Any) -> Config:
        made.append(environment.sdk_key)
        assert environment.sdk_key in (sdk_key("a"), sdk_key("other")) or going.wait(30)
        return Config(environment.sdk_key, **flags.uris)

    pool = make_pool(make_config, parallel=3)
    pool.add_environment(params("1", "a"))
    wait_until(lambda: value(pool.get("1")) == "blue")
    for key in "bcdef":
        pool.update_environment(params("1", key))
        wait_until(lambda: sdk_key("b") in made)
    pool.add_environment(params("2", "other"))  # by the time that it works, others would have begun
    wait_until(lambda: value(pool.get("2")) == "blue")
    assert made == [sdk_key("a"), sdk_key("b"), sdk_key("other")]
    going.set()
    wait_until(lambda: served_key(pool, "1") == sdk_key("f"))
    assert made[3:] == [sdk_key("f")]
    flags.wait_for_streams(sdk_key("f"), sdk_key("other"))


@pytest.mark.usefixtures("quick_refusals")
def test_a_rollback_to_the_key_that_serves_makes_nothing(make_pool: MakePool, flags: FlagService) -> None:
    flags.refuse(sdk_key("b"))
    flags.refuse(sdk_key("other"))
    made = []

    def make_config(environment: Any) -> Config:
        made.append(environment.sdk_key)
        return Config(environment.sdk_key, **flags.uris)

    pool = make_pool(make_config, retry=RetryPolicy(max_delay=0.1, jitter=0))
    pool.add_environment(params("1", "a"))
    client = working(pool, "1")
    pool.update_environment(params("1", "b"))
    wait_for_state(pool, "1", ClientState.ROTATING, "HTTP 401")
    pool.update_environment(params("1", "a"))
    assert status(pool, "1").state is ClientState.WORKING
    pool.add_environment(params("2", "other"))
    wait_until(lambda: flags.refusals[sdk_key("other")] == 3)  # by then another start of the first one would be over
    assert pool.get("1") is client
    assert made.count(sdk_key("a")) == 1
    flags.wait_for_streams(sdk_key("a"))


def test_a_change_of_names_makes_nothing(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    client = working(pool, "1")
    pool.update_environment(params("1", "a", name="Live"))
    assert status(pool, "1").state is ClientState.WORKING
    assert pool.get("1") is client


def test_a_deleted_environment_is_gone_at_once_and_its_client_in_time(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    working(pool, "1")
    pool.delete_environment("1")
    assert pool.get("1") is None
    assert not pool.status()
    flags.wait_for_streams()


def test_calls_may_come_in_any_order(make_pool: MakePool, flags: FlagService) -> None:
    """After a failed call of a handler in front of it, an addition may be one of what is there already."""
    pool = make_pool()
    pool.delete_environment("1")
    pool.update_environment(params("1", "a"))
    pool.add_environment(params("1", "b"))
    pool.delete_environment("1")
    pool.delete_environment("1")
    pool.add_environment(params("1", "c"))
    pool.add_environment(params("1", "c"))
    wait_until(lambda: served_key(pool, "1") == sdk_key("c"))
    flags.wait_for_streams(sdk_key("c"))


def test_a_lazy_pool_makes_a_client_when_it_is_asked_for(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool(lazy=True)
    pool.add_environment(params("1", "a"))
    pool.add_environment(params("2", "b"))
    pool.update_environment(params("1", "c"))
    pool.received_all_environments()
    assert pool.wait_until_ready(0)
    assert status(pool, "1").state is ClientState.IDLE
    wait_until(lambda: value(pool.get("1")) == "blue")
    with pool.borrow("2", timeout=30) as client:
        assert value(client) == "blue"
    flags.wait_for_streams(sdk_key("c"), sdk_key("b"))


def test_get_waits_for_an_environment_to_come(make_pool: MakePool) -> None:
    pool = make_pool()
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(value(pool.get("1", timeout=30))))
    waiting.start()
    pool.add_environment(params("1", "a"))
    waiting.join()
    assert got == ["blue"]


def test_filters_have_clients_of_their_own(make_pool: MakePool, flags: FlagService) -> None:
    flags.set_flag("color", "green", sdk_key=sdk_key("a"), filter_key="europe")
    pool = make_pool()
    expander = FilterExpander(pool)
    expander.add_filter(FilterParams("shop", FilterID("f"), "europe"))
    expander.add_environment(params("1", "a"))
    expander.received_all_environments()
    assert pool.wait_until_ready(30)
    assert [value(pool.get("1", key)) for key in ("", "europe")] == ["blue", "green"]
    assert dict(flags.streams) == {(sdk_key("a"), ""): 1, (sdk_key("a"), "europe"): 1}
    expander.delete_filter(FilterID("f"))
    assert pool.get("1", "europe") is None
    flags.wait_for_streams(sdk_key("a"))


def test_a_second_manager_s_first_configuration_drops_what_it_lacks(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()
    for id in "12":
        pool.add_environment(params(id, id))
    pool.received_all_environments()
    assert pool.wait_until_ready(30)
    pool._attach_to_stream(object())
    assert not pool.wait_until_ready(0)
    pool.add_environment(params("2", "2"))
    assert pool.get("1") is not None
    pool.received_all_environments()
    assert list(pool.status()) == [("2", "")]
    flags.wait_for_streams(sdk_key("2"))


BEHIND: dict[str, Callable[[ClientPool], MessageHandler]] = {
    "nothing": lambda pool: pool,
    "a row": lambda pool: EnvironmentRegistry().wrap(pool),
    "an expander": FilterExpander,
    "an expander in a row": lambda pool: EnvironmentRegistry().wrap(FilterExpander(pool)),
}


@pytest.mark.parametrize("second", ["the same", *BEHIND])
@pytest.mark.parametrize("first", BEHIND)
def test_whatever_hands_on_to_it_a_second_manager_s_environments_stay_and_no_others(
    first: str, second: str, make_pool: MakePool
) -> None:
    pool = make_pool(lazy=True)
    handler = BEHIND[first](pool)
    for ids in ("123", "23"):
        environments = [EnvironmentRep(id, mob_key="mob-1", sdk_key=SDKKeyRep(sdk_key(id)), version=1) for id in ids]
        with Emulator(environments) as service, StreamManager(service.key, service.uri, handler) as manager:
            manager.wait_until_ready(10)
            assert sorted(pool.status()) == [(id, "") for id in ids]
            assert manager.status.failed_callbacks == 0
        handler = handler if second == "the same" else BEHIND[second](pool)


def test_it_may_be_given_to_a_second_manager(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()
    for ids in ("12", "23"):
        environments = [EnvironmentRep(id, mob_key="mob-1", sdk_key=SDKKeyRep(sdk_key(id)), version=1) for id in ids]
        with Emulator(environments) as service, StreamManager(service.key, service.uri, pool):
            assert pool.wait_until_ready(30)
    assert sorted(id for id, _ in pool.status()) == ["2", "3"]
    flags.wait_for_streams(sdk_key("2"), sdk_key("3"))


def test_daemon_mode_and_offline_clients_serve_at_once(make_pool: MakePool, flags: FlagService) -> None:
    made = {"1": {"use_ldd": True, "send_events": False}, "2": {"offline": True}}
    pool = make_pool(lambda environment: Config(environment.sdk_key, **made[environment.env_id]))
    for id in "12":
        pool.add_environment(params(id, id))
    pool.received_all_environments()
    assert pool.wait_until_ready(30)
    assert {found.state for found in pool.status().values()} == {ClientState.WORKING}
    pool.update_environment(params("1", "3"))
    wait_until(lambda: served_key(pool, "1") == sdk_key("3"))
    assert not flags.streams


def test_no_thread_runs_before_the_first_environment(make_pool: MakePool) -> None:
    pool = make_pool(parallel=3, closers=2)
    pool.received_all_environments()
    assert pool.wait_until_ready(0)
    assert not clients_threads()
    pool.add_environment(params("1", "a"))
    assert len(clients_threads()) == 5
    for number in range(20):
        pool.add_environment(params(f"{number}", f"{number}"))
    assert len(clients_threads()) == 5


def shared_store(store: InMemoryFeatureStore, flags: FlagService) -> Any:
    return lambda environment: Config(environment.sdk_key, feature_store=store, **flags.uris)


def test_a_configuration_that_cannot_be_right_is_refused(
    make_pool: MakePool, flags: FlagService, caplog: pytest.LogCaptureFixture
) -> None:
    used = Config(sdk_key("a"), **flags.uris)
    wrong = {
        "used": (lambda environment: used, "this one was used"),
        "other key": (lambda environment: Config(sdk_key("x")), "with params.sdk_key"),
        "store": (shared_store(InMemoryFeatureStore(), flags), "share a feature store"),
        "type": (lambda environment: "sdk-1", "must be Config, not str"),
    }
    for name, (make_config, text) in wrong.items():
        pool = make_pool(make_config, parallel=1, retry=RetryPolicy(max_delay=60))
        pool.add_environment(params("1", "a"))
        pool.add_environment(params("2", "a"))
        error = "TypeError" if name == "type" else "ValueError"
        wait_for_state(pool, "2", ClientState.REFUSED, error)
        assert text in caplog.text, name
        assert pool.close(), name
        caplog.clear()


def test_a_factory_that_raises_is_called_again_and_no_key_is_logged(
    make_pool: MakePool, flags: FlagService, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def make_config(environment: Any) -> Config:
        calls.append(environment)
        if len(calls) < 3:
            raise SystemExit(f"no secret {environment.sdk_key}")
        return Config(environment.sdk_key, **flags.uris)

    pool = make_pool(make_config, retry=RetryPolicy(max_delay=0.3))
    pool.add_environment(params("1", "a"))
    wait_for_state(pool, "1", ClientState.REFUSED, "SystemExit")
    wait_for_state(pool, "1", ClientState.WORKING)
    assert len(calls) == 3
    ours = [record.getMessage() for record in caplog.records if record.name == "autoconfig"]
    assert len(ours) == 2
    assert "no secret sdk-…000a" in ours[0]
    for text in (caplog.text, repr(pool), repr(pool.status())):
        assert sdk_key("a") not in text
    assert status(pool, "1").sdk_key == "sdk-…000a"


def test_a_key_that_does_not_look_like_one_is_not_logged_either(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    environment = params("1", "", whole_key="of-another-shape-0123456789")

    def make_config(environment: Any) -> Config:
        raise KeyError(environment.sdk_key)

    pool = make_pool(make_config)
    pool.add_environment(environment)
    wait_for_state(pool, "1", ClientState.REFUSED, "KeyError")
    assert "KeyError: '…6789'" in caplog.text
    assert environment.sdk_key not in caplog.text


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"make_config": None}, TypeError),
        ({"parallel": 0}, ValueError),
        ({"closers": 0}, ValueError),
        ({"max_retired": -1}, ValueError),
        ({"linger": -1}, ValueError),
        ({"start_wait": "1"}, TypeError),
        ({"retry": 1.0}, TypeError),
    ],
    ids=["make_config", "parallel", "closers", "max_retired", "linger", "start_wait", "retry"],
)
def test_arguments_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    name = next(iter(options))
    with pytest.raises(error, match=name):
        ClientPool(**({"make_config": Config} | options))


def test_the_sdk_s_own_client_stays_as_it_is(make_pool: MakePool, caplog: pytest.LogCaptureFixture) -> None:
    """The pool is beside ``ldclient.set_config()`` and ``ldclient.get()``, and warns of nothing when all is well."""
    import ldclient

    caplog.set_level(logging.WARNING)
    pool = make_pool(start_wait=5)
    pool.add_environment(params("1", "a"))
    working(pool, "1")
    with pytest.raises(Exception, match="set_config was not called"):
        ldclient.get()
    assert not caplog.records
