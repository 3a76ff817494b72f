"""Services, certificates and agents that are put away after the test."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from processes.control import Agents


@pytest.fixture(autouse=True, scope="session")
def linux() -> None:
    """Skip where a test could not see what it has to: the descriptors and the children of another process."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files: ``ca``, which clients have to trust, and ``chain`` and ``key`` of a server."""
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    blobs = {"ca": authority.cert_pem, "chain": issued.cert_chain_pems[0], "key": issued.private_key_pem}
    for name, blob in blobs.items():
        blob.write_to_path(str(folder / name))
    return {name: str(folder / name) for name in blobs}


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
