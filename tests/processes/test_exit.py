"""A program that ends without ``close()`` ends at once, with its own exit code, and writes nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes.programs import PROMPT, TERMINATED, run_forks_to_end, run_to_end
from processes.states import STATES, State
from support.random_data import repetitions

BROKEN = ("Logging error", "closed file", "Fatal Python error", "Traceback", "Exception ignored")


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> Iterator[list[float]]:
    """What it is given goes into the report of ``--junitxml``."""
    measured: list[float] = []
    yield measured
    request.node.user_properties.extend(("seconds", one) for one in measured)


@pytest.mark.parametrize("state", STATES, indirect=True)
def test_the_end_of_the_program(
    state: State, certificates: dict[str, str], tmp_path: Path, seconds: list[float]
) -> None:
    """Whatever its manager is doing."""
    ended = run_to_end(tmp_path, state, ca=certificates["ca"])
    seconds.append(ended.seconds)
    assert ended[:3] == (0, "", "")
    assert ended.seconds < PROMPT


def test_a_program_without_a_manager(tmp_path: Path, seconds: list[float]) -> None:
    """What the others are compared with."""
    ended = run_to_end(tmp_path, None)
    seconds.append(ended.seconds)
    assert ended[:3] == (0, "", "")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("state", ["flood"], indirect=True)
def test_the_end_in_a_flood_many_times(
    state: State, debug: bool, certificates: dict[str, str], tmp_path: Path, seconds: list[float]
) -> None:
    """The threads can be anywhere at that moment, in the middle of writing a log line to stderr too."""
    for ended in run_forks_to_end(tmp_path, state, repetitions(21), ca=certificates["ca"], debug=debug):
        seconds.append(ended.seconds)
        assert ended[:2] == (0, "")
        assert ended.seconds < PROMPT
        assert bool(ended.errors) is debug
        assert [word for word in BROKEN if word in ended.errors] == []


@pytest.mark.parametrize("state", STATES, indirect=True)
def test_the_end_with_a_log_at_debug(state: State, certificates: dict[str, str], tmp_path: Path) -> None:
    """On stderr there is nothing but the log."""
    ended = run_to_end(tmp_path, state, ca=certificates["ca"], debug=True)
    assert ended[:2] == (0, "")
    assert ended.seconds < PROMPT
    assert [word for word in BROKEN if word in ended.errors] == []


@pytest.mark.parametrize("handler", ["sleep", "event"])
@pytest.mark.parametrize("state", ["idle"], indirect=True)
def test_the_end_while_a_callback_never_returns(state: State, handler: str, tmp_path: Path) -> None:
    """A callback holds nobody up who does not call ``close()``."""
    ended = run_to_end(tmp_path, state, handler=handler)
    assert ended[:3] == (0, "", "")
    assert ended.seconds < PROMPT


@pytest.mark.parametrize("state", ["idle", "flood", "back-off"], indirect=True)
def test_sys_exit_keeps_its_code(state: State, tmp_path: Path) -> None:
    """The library has no say in it."""
    ended = run_to_end(tmp_path, state, ending="exit")
    assert ended[:3] == (3, "", "")
    assert ended.seconds < PROMPT


@pytest.mark.parametrize("state", ["idle", "flood", "back-off"], indirect=True)
def test_an_exception_that_nobody_caught(state: State, tmp_path: Path) -> None:
    """Its traceback is all that there is."""
    ended = run_to_end(tmp_path, state, ending="raise")
    assert ended[:2] == (1, "")
    assert ended.errors.startswith("Traceback (most recent call last):\n")
    assert ended.errors.endswith("ZeroDivisionError: on purpose, with StreamManager\n")
    assert ended.errors.count("Traceback") == 1
    assert ended.seconds < PROMPT


@pytest.mark.parametrize("state", ["idle", "flood", "stalled"], indirect=True)
def test_sigterm_ends_the_program(state: State, tmp_path: Path) -> None:
    """Nothing of the library stands in the way of a signal's default."""
    ended = run_to_end(tmp_path, state, send=signal.SIGTERM)
    assert ended[:3] == (TERMINATED, "", "")
    assert ended.seconds < PROMPT
