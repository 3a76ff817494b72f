"""A certificate for the servers of these tests."""

from __future__ import annotations

import pytest
from faults.table import Tls
from support import tls


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A server's certificate that a client trusts."""
    return Tls(tls.server_context(), tls.write_authority(tmp_path_factory.mktemp("certificate")))
