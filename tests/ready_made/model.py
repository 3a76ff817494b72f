"""What a registry should say, worked out by looking at everything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from hypothesis import strategies as st
from ready_made.samples import after, params

from autoconfig import EnvironmentParams
from autoconfig.environments import AcceptedKey

IDS = ["e1", "e2", "e3"]
PROJECTS = ["shop", "blog"]
NAMES = ["test", "production", ""]
KEYS = ["k1", "k2", "k3", "k4", ""]
SECONDS = st.integers(0, 4)

accepted_keys = st.builds(AcceptedKey, st.sampled_from(KEYS), expiration=st.none() | SECONDS.map(after))
key_lists = st.none() | st.lists(accepted_keys, max_size=3)

environments = st.builds(
    params,
    st.sampled_from(IDS),
    proj=st.sampled_from(PROJECTS),
    env=st.sampled_from(NAMES),
    sdk=st.sampled_from(KEYS),
    mobile=st.sampled_from(KEYS),
    expiring=st.none() | st.tuples(st.sampled_from(KEYS), SECONDS.map(after)),
    sdk_keys=key_lists,
    mobile_keys=key_lists,
)


class RegistryModel:
    """
    Environments in the order in which they were added or changed.

    Attributes:
        environments: Those that exist; the one that was changed last is at the end.
    """

    def __init__(self) -> None:
        self.environments: dict[str, EnvironmentParams] = {}

    def set(self, environment: EnvironmentParams) -> EnvironmentParams | None:
        """Add or replace an environment, and return the one before it."""
        before = self.environments.get(environment.env_id)
        if before != environment:
            self.environments.pop(environment.env_id, None)
            self.environments[environment.env_id] = environment
        return before

    def find(self, proj_key: str, env_key: str) -> EnvironmentParams | None:
        for one in self._newest_first():
            if (one.identifiers.proj_key, one.identifiers.env_key) == (proj_key, env_key):
                return one
        return None

    def find_by_sdk_key(self, key: str, at: datetime) -> EnvironmentParams | None:
        return next((one for one in self._newest_first() if accepts(one.accepted_sdk_keys, key, at)), None)

    def find_by_mobile_key(self, key: str, at: datetime) -> EnvironmentParams | None:
        return next((one for one in self._newest_first() if accepts(one.accepted_mobile_keys, key, at)), None)

    def _newest_first(self) -> Iterable[EnvironmentParams]:
        return reversed(self.environments.values())


def accepts(keys: Iterable[AcceptedKey], value: str, at: datetime) -> bool:
    """Return whether a key is one of these, and accepted at that time."""
    return value != "" and any(key.value == value and key.is_valid(at) for key in keys)
