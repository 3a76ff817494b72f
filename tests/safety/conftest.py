"""Certificates, a log that sees everything, and managers that are closed after the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from safety.certificates import Authority
from safety.log import LogWatch
from safety.wire import KEY, Follow
from support.recorder import Recorder

from autoconfig import HTTPConfig, RetryPolicy, StreamManager


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that a test's client trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts unless told to."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's certificates and passwords out of the tests; its proxies are out already."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what it is given after the test, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def log() -> Iterator[LogWatch]:
    """All that is logged, by all loggers and at all levels."""
    watch, root = LogWatch(), logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    yield watch
    root.setLevel(level)
    root.removeHandler(watch)


@pytest.fixture
def follow(stack: ExitStack, recorder: Recorder) -> Follow:
    """A function that follows a stream with short delays; its other options are those of ``HTTPConfig``."""

    def follow(
        uri: str, *, key: str = KEY, handler: Any = recorder, first_delay: float = 0.01, **options: Any
    ) -> StreamManager:
        manager = StreamManager(
            key,
            uri,
            handler,
            HTTPConfig(**options),
            initial_retry_delay=first_delay,
            retry_policy=RetryPolicy(max_delay=0.05, jitter=0.0),
        )
        stack.enter_context(manager)
        return manager

    return follow
