"""The pool with the SDK's real clients, and flags from this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from autoconfig import EnvironmentParams, RetryPolicy
from autoconfig.testing.flags import FlagService

pytest.importorskip("ldclient")

from ldclient.config import Config

from autoconfig.clients import ClientPool

MakePool = Callable[..., ClientPool]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The SDK leaves the socket of an answer such as 401 to the garbage collector.
    for item in items:
        if item.path.parent.name == "clients":
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(autouse=True)
def own_garbage_always(own_garbage: None) -> None:
    """See there."""


@pytest.fixture
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the SDK little time to make a client: newer ones take all of it when the key is refused."""
    monkeypatch.setattr("autoconfig.clients.client._CONSTRUCTION", 0.1)


@pytest.fixture
def flags() -> Iterator[FlagService]:
    with FlagService({"color": "blue"}) as service:
        yield service


@pytest.fixture
def make_pool(flags: FlagService) -> Iterator[MakePool]:
    """Makes a pool whose clients come to ``flags``, with options of the pool; it is closed after the test."""
    with ExitStack() as closing:

        def make(make_config: Callable[[EnvironmentParams], Config] | None = None, **options: Any) -> ClientPool:
            def ordinary(params: EnvironmentParams) -> Config:
                key = params.identifiers.filter_key or None
                return Config(params.sdk_key, payload_filter_key=key, diagnostic_opt_out=True, **flags.uris)

            quick = {"linger": 0.0, "start_wait": 30.0, "retry": RetryPolicy(max_delay=0.05)}
            pool = ClientPool(make_config or ordinary, **(quick | options))
            closing.callback(pool.close)
            return pool

        yield make
