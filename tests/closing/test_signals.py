"""``close()`` may be called by a signal handler, whatever the main thread is doing at the moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from closing.run import MakeRun, Serve
from support.peer import WAITING, flood
from support.recorder import Holding

TESTS = Path(__file__).parents[1]
SOON = 0.3  # seconds
LIMIT = 240  # seconds for the program, which needs two or three


@pytest.mark.parametrize(
    ("call", "server", "lines"),
    [
        ("close", "idle", 100),
        ("close", "flood", 100),
        ("join", "idle", 10),
        ("start", "silent", 30),
        ("result", "silent", -1),
    ],
)
def test_at_every_line_of_a_call(call: str, server: str, lines: int, request: pytest.FixtureRequest) -> None:
    """The signal comes at the first line that the call executes, at the second one, and so on, and when it waits."""
    command = [sys.executable, "-W", "error", "-m", "closing.steps", call, server]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    request.node.user_properties.extend(("close", seconds) for seconds in found["seconds"])
    assert found["wrong"] == {}
    assert found["lines"] > lines
    assert done.stderr == ""


def test_while_close_waits_for_a_callback(serve: Serve, make_run: MakeRun) -> None:
    """The handler's close() does not wait longer than it may, and the main thread's goes on afterwards."""
    handler = Holding()

    said: list[bool] = []

    def close(*_: object) -> None:
        said.append(run.close(SOON))
        handler.released.set()

    run = make_run(serve(flood).url, handler).start()
    assert handler.inside.wait(WAITING)
    before = signal.signal(signal.SIGALRM, close)
    signal.setitimer(signal.ITIMER_REAL, SOON)
    try:
        assert run.close(WAITING) is True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert said == [False]
    assert len(run.log.given_up) <= 1
    assert len(run.recorder.calls) == 1
