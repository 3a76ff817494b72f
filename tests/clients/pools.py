"""Environments for the client pool, and what tests ask of it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

from ldclient import Context, LDClient
from support.waiting import wait_until

from autoconfig import EnvIdentifiers, EnvironmentID, EnvironmentParams, FilterKey, MobileKey, SDKKey
from autoconfig.clients import ClientPool, ClientState, ClientStatus

USER = Context.create("user")


def sdk_key(name: str) -> SDKKey:
    """Return a key of the length that real ones have, so that its end is shown."""
    return SDKKey(f"sdk-00000000-0000-4000-8000-{name:0>12}")


def params(
    id: str, key: str, *, whole_key: str = "", filter_key: str = "", name: str = "Production"
) -> EnvironmentParams:
    """Return an environment with the key of this name, or with this very key."""
    return EnvironmentParams(
        env_id=EnvironmentID(id),
        identifiers=EnvIdentifiers("production", name, "shop", "Shop", FilterKey(filter_key)),
        sdk_key=SDKKey(whole_key) if whole_key else sdk_key(key),
        mobile_key=MobileKey("mob-1"),
        expiring_sdk_key=None,
        ttl=timedelta(),
        secure_mode=False,
    )


def status(pool: ClientPool, id: str, filter_key: str = "") -> ClientStatus:
    return pool.status()[EnvironmentID(id), FilterKey(filter_key)]


def wait_for_state(pool: ClientPool, id: str, state: ClientState, error: str | None = None) -> None:
    """Wait until an environment has this state and, if one is given, this error."""

    def there() -> bool:
        found = status(pool, id)
        return found.state is state and error in (None, found.error)

    wait_until(there)


def working(pool: ClientPool, id: str) -> LDClient:
    """Wait until an environment has a client with flags, and return it."""
    wait_for_state(pool, id, ClientState.WORKING)
    client = pool.get(EnvironmentID(id))
    assert client
    return client


def served_key(pool: ClientPool, id: str) -> str | None:
    client = pool.get(EnvironmentID(id))
    return client and client.get_sdk_key()


def value(client: LDClient | None, flag: str = "color") -> Any:
    """Evaluate a flag; ``"default"`` if the client has no flags, ``None`` without a client."""
    return client and client.variation(flag, USER, "default")


def clients_threads() -> list[str]:
    """Return the names of the pool's threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("autoconfig-clients")]
