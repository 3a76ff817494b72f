"""
A program that calls ``close()`` from a signal handler, once at each line that another call executes.

Run as ``python -m closing.steps CALL SERVER``: the call (``start``, ``result``, ``join`` or ``close``) and what the
server does. It prints, as JSON, how many lines there were, how long the calls of ``close()`` took, and at which lines
something was wrong, and what.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any

from closing.run import PROMPT, Run
from closing.states import idle, silent_after_the_request
from support import limits
from support.peer import Peer, flood

BLOCKED = 0.2  # seconds after which the signal comes from outside, because the call waits
ENOUGH = 4  # lines at which something is wrong; more would only take time
EXPECTED = {"result": {"ClosedError"}, "join": {"True"}, "start": {"None", "ClosedError"}, "close": {"True"}}
IDLE = 3  # times of that without a further line after which the call counts as waiting
LONG = 20.0  # seconds that are given to every call; none of them should need them


SCRIPTS = {"idle": idle, "flood": flood, "silent": silent_after_the_request}


class Steps:
    """
    A trace function that raises a signal at one line of this thread.

    Args:
        line: Which line, from 1.

    Attributes:
        place: Where that was; empty before.
    """

    def __init__(self, line: int) -> None:
        self.place = ""
        self._left = line
        self._left_then = line
        self._idle = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Steps | None:
        if frame.f_code.co_filename == __file__:
            return None
        if event == "line" and self._left:
            self._left -= 1
            if self._left == 0:
                self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} ({frame.f_code.co_name})"
                signal.raise_signal(signal.SIGALRM)
        return self

    def waits(self) -> bool:
        """Return whether the call has come to no further line for long enough; asked at each signal of the timer."""
        self._idle = self._idle + 1 if self._left == self._left_then else 0
        self._left_then = self._left
        return self._left == 0 or self._idle == IDLE

    def stop(self) -> None:
        """Raise nothing any more, and let the signal of the timer not come either."""
        self._left = 0
        signal.setitimer(signal.ITIMER_REAL, 0)


def outcome(call: Callable[[], object]) -> str:
    """Return what a call returns or raises, in words."""
    try:
        return repr(call())
    except Exception as error:
        return type(error).__name__


def step(call: str, peer: Peer, line: int) -> tuple[str, list[float], str]:
    """
    Close from a signal handler at one line of a call, or while it waits.

    Args:
        call: The name of the manager's method, or ``result`` for that of the ready future.
        peer: What the manager connects to.
        line: Which line of all that the call executes; 0 for none, so that the signal comes when it waits.

    Returns:
        The place, empty if the call has fewer lines; how long each close() took; what was wrong, if anything.
    """
    run = Run(peer.url)
    futures: list[Future[None]] = []
    calls: dict[str, Callable[[], object]] = {
        "start": lambda: futures.append(run.manager.start()),
        "result": lambda: run.settled and run.settled.result(LONG),
        "join": lambda: run.manager.join(LONG),
        "close": lambda: run.manager.close(LONG),
    }
    if call != "start":
        run.start()
        run.recorder.wait_for_calls(0 if call == "result" else 1)
    steps = Steps(line)
    said: list[str] = []

    def close(*_: object) -> None:
        steps.stop()
        begun = time.monotonic()
        said.append(outcome(lambda: run.manager.close(LONG)))
        run.seconds.append(time.monotonic() - begun)

    def handle(*_: object) -> None:
        if steps.waits():
            close()

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, BLOCKED, BLOCKED)
    begun = time.monotonic()
    sys.settrace(steps if line else None)
    said_by_call = outcome(calls[call])
    sys.settrace(None)
    lasted = time.monotonic() - begun
    inner = list(said)
    if call == "start":
        run.started = [thread for thread in threading.enumerate() if thread.name.startswith("autoconfig-")]
        run.settled = futures[0] if futures else None
    close()
    found = [] if said_by_call in EXPECTED[call] else [f"{call}(): {said_by_call}"]
    # What the interrupted call holds, it lets go only when the handler has returned: not all can have ended in that.
    if not set(inner) <= ({"True", "False"} if call in ("start", "close") else {"True"}) or said[-1] != "True":
        found.append(f"close(): {said}")
    if max(lasted - BLOCKED * (IDLE + 1), *run.seconds) > PROMPT:
        found.append(f"{call}() took {lasted:.2f} s, close() {', '.join(f'{took:.2f}' for took in run.seconds)} s")
    if run.threads or run.log.given_up:
        found.append(f"threads {run.threads}, warnings {run.log.given_up}")
    if run.settled and not run.settled.done():
        found.append("the future is not done")
    return steps.place, run.seconds, "; ".join(found)


def main(call: str, script: str) -> None:
    limits.unhurried()
    seconds, wrong = [], {}
    with Peer(SCRIPTS[script]) as peer:
        # Not at the lines of result(): Python's own futures miss what comes between their look and their wait.
        for line in itertools.count() if call != "result" else [0]:
            place, took, problem = step(call, peer, line)
            seconds += took
            if problem:
                wrong[f"{line}: {place}"] = problem
            if (line and not place) or len(wrong) == ENOUGH:
                break
    json.dump({"lines": line, "seconds": seconds, "wrong": wrong}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
