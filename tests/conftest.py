"""Every test is also a test for what it leaves behind: threads, file descriptors, exceptions that nobody saw."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support import limits
from support.recorder import Recorder

GRACE = 30.0  # seconds that threads and descriptors are given to end after a test
POLL = 0.01  # seconds between two looks at the descriptors
DESCRIPTORS = Path("/proc/self/fd")
MAX_SKIPPED = os.environ.get("MAX_SKIPPED")  # .ci/run knows how many tests cannot run there

# Here, because the settings of a test are made from the profile that is loaded when its module is imported.
# Without a limit on how long an example takes: a busy machine needs any time for it.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "local"))


limits.unhurried()  # for all tests but those that use the fixture real_limits


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "leaks(*kinds): the test may leave these behind: 'threads', 'descriptors', 'thread_exceptions'.",
    )


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking at all that was imported and collected, which stays to the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say when more tests were skipped than expected, so that what is missing somewhere goes unnoticed nowhere."""
    if skipped_too_many(terminalreporter):
        skipped = len(terminalreporter.stats["skipped"])
        terminalreporter.write_line(f"{skipped} tests were skipped; MAX_SKIPPED is {MAX_SKIPPED}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail such a run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and skipped_too_many(reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True, scope="session")
def no_proxies() -> Iterator[None]:
    """Keep the environment's proxies, which know nothing of this machine's loopback, out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_counts() -> None:
    """Have SIGINT end programs that tests start; a shell's background job ignores it, and its children would too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_descriptor_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which more file descriptors are open than before it (Linux only)."""
    if not DESCRIPTORS.is_dir() or may_leak(request, "descriptors"):
        yield
        return
    before = open_descriptors()
    yield
    left = descriptors_left(before)
    assert not left, f"the test left file descriptors open: {left}"


@pytest.fixture(autouse=True)
def no_thread_leaks(request: pytest.FixtureRequest, no_descriptor_leaks: None) -> Iterator[None]:
    """Fail a test that leaves a thread behind; it goes first, because a thread that ends closes its descriptors."""
    if may_leak(request, "threads"):
        yield
        return
    before = set(threading.enumerate())
    yield
    left = threads_left(before)
    assert not left, f"the test left threads running: {left}"


@pytest.fixture(autouse=True)
def no_thread_exceptions(request: pytest.FixtureRequest, no_thread_leaks: None) -> Iterator[None]:
    """Fail a test in which a thread died of an exception, ``SystemExit`` included."""
    if may_leak(request, "thread_exceptions"):
        yield
        return
    died: list[str] = []

    def note(args: threading.ExceptHookArgs) -> None:
        # Text only: an exception would keep its frames, and with them sockets, alive.
        died.append(f"{args.thread.name if args.thread else 'a thread'}: {args.exc_value!r}")
        sys.__excepthook__(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", note)
        yield
    assert not died, f"threads died: {died}"


@pytest.fixture
def own_garbage() -> Iterator[None]:
    """Collect what a test has left as garbage while its own filters of warnings count, and not in another test."""
    yield
    gc.collect()


@pytest.fixture
def real_limits() -> Iterator[None]:
    """Have ``close()`` give up as soon as it does in an application: for tests of what hangs."""
    with limits.real_limits():
        yield


@pytest.fixture
def recorder() -> Recorder:
    """A ``MessageHandler`` that records its calls."""
    return Recorder()


def skipped_too_many(reporter: pytest.TerminalReporter) -> bool:
    """Return whether more tests were skipped than ``MAX_SKIPPED`` says; under pytest-xdist the controller knows."""
    return MAX_SKIPPED is not None and len(reporter.stats.get("skipped", [])) > int(MAX_SKIPPED)


def may_leak(request: pytest.FixtureRequest, kind: str) -> bool:
    """Return whether the test is marked as one that leaves this kind behind."""
    return any(kind in mark.args for mark in request.node.iter_markers("leaks"))


def open_descriptors() -> dict[str, str]:
    """Return every open file descriptor and what it leads to."""
    found = {}
    for entry in os.listdir(DESCRIPTORS):
        try:
            found[entry] = os.readlink(DESCRIPTORS / entry)
        except FileNotFoundError:  # the one that listdir itself had open
            continue
    return found


def descriptors_left(before: dict[str, str]) -> dict[str, str]:
    """Return the descriptors that are new, once waiting did not bring their number down to what it was."""

    def too_many() -> bool:
        # What they lead to is not asked for each test; one is that of the listing itself.
        return len(os.listdir(DESCRIPTORS)) - 1 > len(before)

    if not too_many():
        return {}
    gc.collect()  # only here: it takes longer than most tests
    deadline, pause = time.monotonic() + GRACE, threading.Event()
    while too_many() and time.monotonic() < deadline:
        pause.wait(POLL)
    now = open_descriptors()
    return dict(now.items() - before.items()) if len(now) > len(before) else {}


def threads_left(before: set[threading.Thread]) -> list[str]:
    """Return the names of the threads that were started since and do not end in time."""
    deadline = time.monotonic() + GRACE
    new = [thread for thread in threading.enumerate() if thread not in before]
    for thread in new:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in new if thread.is_alive()]
