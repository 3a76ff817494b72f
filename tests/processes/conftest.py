"""Services, certificates and agents that are put away after the test."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from processes.control import Agents
from processes.states import State, service
from support.tls import write_authority, write_server


@pytest.fixture(autouse=True, scope="session")
def linux() -> None:
    """Skip where a test could not see what it has to: the descriptors and the children of another process."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files: ``ca``, which clients have to trust, and ``chain`` and ``key`` of a server."""
    folder = tmp_path_factory.mktemp("certificates")
    chain, key = write_server(folder)
    return {"ca": write_authority(folder), "chain": chain, "key": key}


@pytest.fixture
def server_context(certificates: dict[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates["chain"], certificates["key"])
    return context


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what it is given after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def agents(tmp_path: Path, closing: ExitStack) -> Iterator[Agents]:
    """Processes to fork; none of them may write to stderr."""
    agents = Agents(tmp_path)
    closing.callback(agents.close)
    yield agents
    assert agents.errors == ""


@pytest.fixture
def state(
    request: pytest.FixtureRequest, closing: ExitStack, certificates: dict[str, str], server_context: ssl.SSLContext
) -> State:
    """The service that a test is parametrized with."""
    return closing.enter_context(service(request.param, certificates, server_context))
