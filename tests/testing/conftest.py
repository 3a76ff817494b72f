"""Certificates, and streams that are closed after the test."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.tls import authority, write_server
from testing.plain_client import PlainClient

from autoconfig.testing import Emulator

Connect = Callable[..., PlainClient]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The emulator's certificate chain and private key."""
    return write_server(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def trust() -> ssl.SSLContext:
    """A client's context that trusts the emulator's certificate."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what it is given after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["http", "https"])
def served(
    request: pytest.FixtureRequest, certificate: tuple[str, str], trust: ssl.SSLContext, closing: ExitStack
) -> tuple[Emulator, Connect]:
    """A running emulator and a function that connects to it, over http and over https."""
    tls = request.param == "https"
    emulator = closing.enter_context(Emulator(certificate=certificate if tls else None))

    def connect(**options: object) -> PlainClient:
        client = PlainClient(emulator.uri, trust=trust if tls else None, **options)
        return closing.enter_context(client)

    return emulator, connect
