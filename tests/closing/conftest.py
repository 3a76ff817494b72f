"""Peers and managers that are put away after the test, and the record of how long each ``close()`` took."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from closing.run import MakeRun, Run, Serve, descriptors
from support import tls
from support.peer import Peer, Script
from support.recorder import Recorder

from autoconfig import HTTPConfig


@pytest.fixture(scope="session")
def certificate() -> ssl.SSLContext:
    """A server's context with a certificate for 127.0.0.1."""
    return tls.server_context()


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the certificate to trust."""
    return tls.write_authority(tmp_path_factory.mktemp("trust"))


@pytest.fixture(autouse=True)
def descriptors_back_at_once() -> Iterator[None]:
    """Stricter than the fixture of all tests: no grace, and no garbage collection to find forgotten sockets."""
    before = descriptors()
    yield
    assert descriptors() <= before


@pytest.fixture
def closing(descriptors_back_at_once: None) -> Iterator[ExitStack]:
    """Closes what it is given after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(closing: ExitStack, certificate: ssl.SSLContext) -> Serve:
    """Starts peers, for https with ``tls=True``."""

    def start(script: Script, tls: bool = False) -> Peer:
        return closing.enter_context(Peer(script, certificate if tls else None))

    return start


@pytest.fixture
def make_run(closing: ExitStack, trust: str, request: pytest.FixtureRequest) -> MakeRun:
    """Makes runs that trust the peers; ``close()``'s times go into the report of ``--junitxml``."""

    def make(url: str, handler: Recorder | None = None, http: dict[str, Any] | None = None, **options: Any) -> Run:
        run = Run(url, handler, http_config=HTTPConfig(ca_certs=trust, **(http or {})), **options)
        closing.callback(lambda: request.node.user_properties.extend(("close", seconds) for seconds in run.seconds))
        closing.callback(run.manager.close)
        return run

    return make
