"""
Fixtures for tests of programs that follow a stream. pytest finds them by itself wherever the library is installed.

Only pytest is imported here; the rest is when a fixture is used, because every run of pytest loads this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .emulator import Emulator
    from .recording import RecordingHandler

_MARKER = "autoconfig_emulator"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, for ``--strict-markers`` and ``--markers``."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(**options): make the fixture of that name with these options of the class Emulator."
    )


@pytest.fixture
def autoconfig_emulator_options() -> Mapping[str, Any]:
    """
    Options of :class:`~autoconfig.testing.Emulator` for the tests of a module or directory: override it there.

    What a test's own marker says comes before this.
    """
    return {}


@pytest.fixture
def autoconfig_emulator(
    request: pytest.FixtureRequest, autoconfig_emulator_options: Mapping[str, Any]
) -> Iterator[Emulator]:
    """
    An :class:`~autoconfig.testing.Emulator` that was started, and is closed after the test.

    Its options are those of ``autoconfig_emulator_options``, and before them those of the markers, the nearest first::

        @pytest.mark.autoconfig_emulator(environments=[EnvironmentRep("env-1")])
        def test_it(autoconfig_emulator): ...

    Clients reach it by its ``uri`` with its ``key``. It listens on 127.0.0.1; where the environment names a proxy for
    http, ``NO_PROXY`` has to except that address, as for any other server of a test.
    """
    from .emulator import Emulator

    options = dict(autoconfig_emulator_options)
    for marker in reversed(list(request.node.iter_markers(_MARKER))):
        if marker.args:
            raise pytest.UsageError(f"the marker {_MARKER} takes keywords only: the options of the class Emulator")
        options |= marker.kwargs
    with Emulator(**options) as emulator:
        yield emulator


@pytest.fixture
def recording_handler() -> RecordingHandler:
    """A new :class:`~autoconfig.testing.RecordingHandler`."""
    from .recording import RecordingHandler

    return RecordingHandler()
