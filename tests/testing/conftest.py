"""Certificates, and streams that are closed after the test."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from testing.plain_client import PlainClient

from autoconfig.testing import Emulator

Connect = Callable[..., PlainClient]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The emulator's certificate chain and private key."""
    folder = tmp_path_factory.mktemp("certificate")
    issued = authority.issue_cert("127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return chain, key


@pytest.fixture(scope="session")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the emulator's certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what it is given after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["http", "https"])
def served(
    request: pytest.FixtureRequest, certificate: tuple[Path, Path], trust: ssl.SSLContext, closing: ExitStack
) -> tuple[Emulator, Connect]:
    """A running emulator and a function that connects to it, over http and over https."""
    tls = request.param == "https"
    emulator = closing.enter_context(Emulator(certificate=certificate if tls else None))

    def connect(**options: object) -> PlainClient:
        client = PlainClient(emulator.uri, trust=trust if tls else None, **options)
        return closing.enter_context(client)

    return emulator, connect
