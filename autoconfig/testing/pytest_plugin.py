"""
Fixtures for tests of programs that follow a stream. pytest finds them by itself wherever the library is installed.

Every run of pytest loads this module, so it imports only pytest; the rest is imported when a fixture is used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..handler import MessageHandler
    from ..manager import StreamManager
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

    A test's own marker comes before this.
    """
    return {}


@pytest.fixture
def make_autoconfig_emulator() -> Iterator[Callable[..., Emulator]]:
    """
    A function that starts an :class:`~autoconfig.testing.Emulator`, for tests of several profiles.

    Its arguments are those of the class. All emulators are closed after the test.
    """
    from .emulator import Emulator

    with contextlib.ExitStack() as emulators:
        yield lambda *args, **options: emulators.enter_context(Emulator(*args, **options))


@pytest.fixture
def autoconfig_emulator(
    request: pytest.FixtureRequest,
    autoconfig_emulator_options: Mapping[str, Any],
    make_autoconfig_emulator: Callable[..., Emulator],
) -> Emulator:
    """
    An :class:`~autoconfig.testing.Emulator` that was started, and is closed after the test.

    Its options are those of ``autoconfig_emulator_options``, overridden by those of the markers, the nearest first::

        @pytest.mark.autoconfig_emulator(environments=[EnvironmentRep("env-1")])
        def test_it(autoconfig_emulator): ...

    Clients reach it by its ``uri`` with its ``key``. It listens on 127.0.0.1. If the environment names a proxy for
    http, ``NO_PROXY`` must have that address; the fixtures ``autoconfig_env`` and ``follow`` add it.
    """
    options = dict(autoconfig_emulator_options)
    for marker in reversed(list(request.node.iter_markers(_MARKER))):
        if marker.args:
            raise pytest.UsageError(f"the marker {_MARKER} takes keywords only: the options of the class Emulator")
        options |= marker.kwargs
    return make_autoconfig_emulator(**options)


@pytest.fixture
def autoconfig_env(autoconfig_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The environment variables ``AUTO_CONFIG_KEY`` and ``STREAM_URI`` name the emulator of the test.

    For programs that read them. ``NO_PROXY`` has the emulator's address, too.
    """
    monkeypatch.setenv("AUTO_CONFIG_KEY", autoconfig_emulator.key)
    monkeypatch.setenv("STREAM_URI", autoconfig_emulator.uri)
    _use_no_proxy(monkeypatch)


@pytest.fixture
def recording_handler() -> RecordingHandler:
    """A new :class:`~autoconfig.testing.RecordingHandler`."""
    from .recording import RecordingHandler

    return RecordingHandler()


@pytest.fixture
def follow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StreamManager]]:
    """
    A function that lets a handler follow the emulator of the test: ``follow(handler)``.

    It starts and returns a :class:`~autoconfig.StreamManager` that retries within 0.05 s. It takes the options of that
    class, and two more: ``emulator``, to follow another one, and ``may_fail``. All managers are closed after the test.
    If a call of a handler raised, pytest then reports an error for the test, unless ``may_fail`` is true.
    """
    from ..config import RetryPolicy
    from ..manager import StreamManager

    _use_no_proxy(monkeypatch)
    started: list[tuple[StreamManager, bool]] = []

    def start(
        handler: MessageHandler, *, emulator: Emulator | None = None, may_fail: bool = False, **options: Any
    ) -> StreamManager:
        service = emulator or request.getfixturevalue("autoconfig_emulator")
        options.setdefault("retry_policy", RetryPolicy(max_delay=0.05))
        manager = StreamManager(service.key, service.uri, handler, **options)
        started.append((manager, may_fail))
        manager.start()
        return manager

    yield start
    _close(started)


def _close(started: list[tuple[StreamManager, bool]]) -> None:
    """Close managers; fail the test if a call of the handler failed that may not."""
    closed = [manager.close() for manager, _ in started]
    failed = sum(manager.status.failed_callbacks for manager, may_fail in started if not may_fail)
    if failed:
        pytest.fail(f"{failed} call(s) of the handler failed; the log has the tracebacks", pytrace=False)
    if not all(closed):
        pytest.fail("a manager could not be closed: its handler has not returned from a call", pytrace=False)


def _use_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exempt this machine from the proxies in the environment. If both names are set, the one in lower case counts."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost,::1"])))
