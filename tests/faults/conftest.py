"""A certificate for the servers of these tests."""

from __future__ import annotations

import ssl

import pytest
import trustme
from faults.table import Tls


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def secure(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A server's certificate that a client trusts."""
    path = tmp_path_factory.mktemp("certificate") / "ca.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return Tls(server_context(authority), str(path))


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """Return a server's context with a certificate for the name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context
