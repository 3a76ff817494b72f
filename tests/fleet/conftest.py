"""What the tests of a fleet share; they need Debian's redis-server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet.fleets import Fleet, fleet


@pytest.fixture(autouse=True)
def needs_redis() -> None:
    """Skip the test where there is no server."""
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server")


@pytest.fixture(name="fleet")
def a_fleet(tmp_path: Path, needs_redis: None) -> Iterator[Fleet]:
    """A service and Redis, without leader and followers."""
    with fleet(tmp_path) as made:
        yield made
