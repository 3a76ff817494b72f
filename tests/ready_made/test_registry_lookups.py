"""Finding an environment by its name or by a key: as every history has it, at every time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ready_made.model import IDS, KEYS, NAMES, PROJECTS, SECONDS, RegistryModel, environments
from ready_made.samples import NOON, after, params
from support.random_data import examples

from autoconfig import Action, EnvironmentID, EnvironmentParams
from autoconfig.environments import AcceptedKey
from autoconfig.ready_made.registry import EnvironmentRegistry, RegistryChange

LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)
FAR_AWAY = datetime.max.replace(tzinfo=timezone.utc)


def registry_of(*environments: EnvironmentParams) -> EnvironmentRegistry:
    registry = EnvironmentRegistry()
    for environment in environments:
        registry.add_environment(environment)
    return registry


class Histories(RuleBasedStateMachine):
    """A registry and the model of it; ``changes`` is what its listener was told since the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = EnvironmentRegistry()
        self.model = RegistryModel()
        self.changes: list[RegistryChange] = []
        self.registry.add_listener(self.changes.append)

    def expect_change(self, before: EnvironmentParams | None, after: EnvironmentParams | None) -> None:
        """The listener has been told of just this change, if it is one."""
        action = Action.INSERT if before is None else Action.DELETE if after is None else Action.UPDATE
        assert self.changes == ([] if before == after else [RegistryChange(action, before, after)])
        self.changes.clear()

    @rule(environment=environments, update=st.booleans())
    def set(self, environment: EnvironmentParams, update: bool) -> None:
        (self.registry.update_environment if update else self.registry.add_environment)(environment)
        self.expect_change(self.model.set(environment), environment)

    @rule(id=st.sampled_from(IDS))
    def delete(self, id: str) -> None:
        self.registry.delete_environment(EnvironmentID(id))
        self.expect_change(self.model.environments.pop(id, None), None)

    @rule(key=st.sampled_from(KEYS), seconds=SECONDS)
    def look_up(self, key: str, seconds: int) -> None:
        at = after(seconds)
        assert self.registry.find_by_sdk_key(key, at) == self.model.find_by_sdk_key(key, at)
        assert self.registry.find_by_mobile_key(key, at) == self.model.find_by_mobile_key(key, at)

    @invariant()
    def everything_is_found(self) -> None:
        assert self.registry.environments == self.model.environments
        for id in IDS:
            assert self.registry.get(id) == self.model.environments.get(id)
        for proj in PROJECTS:
            for name in NAMES:
                assert self.registry.find(proj, name) == (self.model.find(proj, name) if name else None)
        for key in KEYS:
            for at in after(-1), after(2), FAR_AWAY:
                assert self.registry.find_by_sdk_key(key, at) == self.model.find_by_sdk_key(key, at)
                assert self.registry.find_by_mobile_key(key, at) == self.model.find_by_mobile_key(key, at)

    def teardown(self) -> None:
        """Nothing of what is deleted is kept."""
        for id in IDS:
            self.registry.delete_environment(EnvironmentID(id))
        for index in (self.registry._names, self.registry._sdk_keys, self.registry._mobile_keys):
            assert index._entries == {}


TestHistories = Histories.TestCase
TestHistories.settings = examples(150, stateful_step_count=30)

Find = Callable[[EnvironmentRegistry, str, datetime | None], EnvironmentParams | None]
FINDERS = [EnvironmentRegistry.find_by_sdk_key, EnvironmentRegistry.find_by_mobile_key]


def test_an_environment_is_found_by_all_that_it_goes_by() -> None:
    one, other = params("e1", proj="shop", env="test"), params("e2", proj="blog", env="test")
    registry = registry_of(one, other)
    assert registry.find("shop", "test") == one
    assert registry.find("blog", "test") == other
    assert registry.find("shop", "production") is None
    assert registry.find_by_sdk_key("sdk-e1") == registry.find_by_mobile_key("mob-e1") == one
    assert registry.find_by_sdk_key("mob-e1") is registry.find_by_mobile_key("sdk-e1") is None
    assert registry.get("e2") == other


def test_nothing_is_found_by_what_is_empty() -> None:
    registry = registry_of(params("e1", proj="", env="", sdk="", mobile="", sdk_keys=[AcceptedKey("")]))
    assert (registry.find("", ""), registry.find_by_sdk_key(""), registry.find_by_mobile_key("")) == (None,) * 3


@pytest.mark.parametrize("find", FINDERS)
@given(seconds=st.floats(-2, 2))
def test_an_expiring_key_counts_until_its_time(find: Find, seconds: float) -> None:
    keys = [AcceptedKey("current"), AcceptedKey("old", "name", NOON)]
    registry = registry_of(params("e1", sdk_keys=keys, mobile_keys=keys))
    assert find(registry, "current", after(seconds)) is not None
    assert (find(registry, "old", after(seconds)) is not None) is (after(seconds) < NOON)


@pytest.mark.parametrize("find", FINDERS)
def test_without_a_time_it_is_now(find: Find) -> None:
    keys = [AcceptedKey("past", expiration=LONG_AGO), AcceptedKey("future", expiration=FAR_AWAY)]
    registry = registry_of(params("e1", sdk_keys=keys, mobile_keys=keys))
    assert find(registry, "past", None) is None
    assert find(registry, "future", None) is not None


@pytest.mark.parametrize("find", FINDERS)
def test_a_time_is_aware(find: Find) -> None:
    """Also for a key that is not known, or that does not expire: an error must not depend on that."""
    registry = registry_of(params("e1"))
    for key in "unknown", "sdk-e1", "mob-e1":
        with pytest.raises(ValueError, match="aware"):
            find(registry, key, datetime(2030, 1, 1))  # noqa: DTZ001
        with pytest.raises(TypeError, match="at must be datetime"):
            find(registry, key, 1893456000)  # type: ignore[arg-type]


def test_any_time_zone_will_do() -> None:
    registry = registry_of(params("e1", expiring=("old", NOON)))
    zone = timezone(timedelta(hours=9))
    assert registry.find_by_sdk_key("old", after(-1).astimezone(zone)) is not None
    assert registry.find_by_sdk_key("old", NOON.astimezone(zone)) is None


def test_the_current_key_that_is_also_the_expiring_one_does_not_expire() -> None:
    registry = registry_of(params("e1", sdk="same", expiring=("same", LONG_AGO)))
    assert registry.find_by_sdk_key("same") is not None


def test_an_environment_takes_the_place_of_another_one() -> None:
    """As in a ``put``, in which additions come before deletions."""
    old, new = params("e1", env="test", sdk="same"), params("e2", env="test", sdk="same")
    registry = registry_of(old, new)
    assert registry.find("shop", "test") == registry.find_by_sdk_key("same") == new
    registry.delete_environment(EnvironmentID("e1"))
    assert registry.find("shop", "test") == registry.find_by_sdk_key("same") == new


def test_who_shares_a_key_is_found_again_when_the_other_one_goes() -> None:
    old, new = params("e1", env="test", sdk="same"), params("e2", env="test", sdk="same")
    registry = registry_of(old, new)
    registry.delete_environment(EnvironmentID("e2"))
    assert registry.find("shop", "test") == registry.find_by_sdk_key("same") == old


def test_a_shared_key_that_has_expired_for_one_counts_for_the_other() -> None:
    old, new = params("e1", sdk="same"), params("e2", expiring=("same", NOON))
    registry = registry_of(old, new)
    assert registry.find_by_sdk_key("same", after(-1)) == new
    assert registry.find_by_sdk_key("same", NOON) == old


def test_the_same_name_for_many_takes_no_longer_than_different_ones() -> None:
    """Not measured, but so many of them would take minutes if each were to look at all before it."""
    registry = EnvironmentRegistry()
    environment = params("e", env="same", sdk="same", mobile="same")
    for number in range(20_000):
        registry.add_environment(_with_id(environment, str(number)))
    last = registry.find("shop", "same")
    assert last is not None
    assert last.env_id == "19999"


def _with_id(environment: EnvironmentParams, id: str) -> EnvironmentParams:
    return msgspec.structs.replace(environment, env_id=EnvironmentID(id))
