"""The test's side of a program that ends: wait until it is ready, let it go, and look at what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from processes.control import KEY, NEVER, WAITING, start_program
from processes.states import State
from support.running import end_process

PROMPT = 20.0  # seconds in which any program has to end; what could hold it up lasts longer


class Ended(NamedTuple):
    """
    What became of a program.

    Attributes:
        code: What it ended with.
        output: What it wrote to stdout.
        errors: What it wrote to stderr.
        seconds: How long it took from being let go to its end.
    """

    code: int
    output: str
    errors: str
    seconds: float


def run_to_end(folder: Path, state: State | None, *, ca: str = "", send: int = 0, **options: Any) -> Ended:
    """
    Run a program of ``ending.py``.

    Args:
        folder: For what it writes.
        state: What its manager is to do; ``None`` for a program without one.
        ca: The authority to trust.
        send: A signal to end it by.
        options: ``ending``, ``debug``, ``handler``.
    """
    with _started(folder, state, ca, options) as (process, ready):
        begin = _let_go(folder, process, ready, state, send)
        assert select.select([ready], [], [], WAITING)[0], "the program has not ended"  # which closes the pipe
        code = process.wait(WAITING)
        seconds = time.monotonic() - begin
    return Ended(code, (folder / "stdout").read_text(), (folder / "stderr").read_text(), seconds)


def run_forks_to_end(folder: Path, state: State, times: int, *, ca: str = "", **options: Any) -> Iterator[Ended]:
    """Run it in so many forks of a process without threads, one after the other: a fork need not import anything."""
    written = 0
    with _started(folder, state, ca, {**options, "times": times}) as (process, ready):
        for _ in range(times):
            begin = _let_go(folder, process, ready, state)
            assert select.select([ready], [], [], WAITING)[0], "the fork has not ended"
            code = os.read(ready, 1)[0]
            seconds = time.monotonic() - begin
            errors = (folder / "stderr").read_text()
            yield Ended(code, (folder / "stdout").read_text(), errors[written:], seconds)
            written = len(errors)


@contextlib.contextmanager
def _started(
    folder: Path, state: State | None, ca: str, options: dict[str, Any]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start the program; yield it, and the descriptor that it writes to."""
    wanted = {
        **{"key": KEY, "url": "", "ca": ca or None, "delay": NEVER, "calls": 0, "failures": 0},
        **{"ending": "", "debug": False, "handler": "", "times": 0, **options},
    }
    if state:
        wanted |= {"url": state.url, "calls": state.calls, "failures": state.failures}
    with contextlib.ExitStack() as stack:
        ready, tell = os.pipe()
        stack.callback(os.close, ready)
        output, errors = (stack.enter_context((folder / name).open("w+")) for name in ("stdout", "stderr"))
        streams = {"stdin": subprocess.PIPE, "stdout": output, "stderr": errors}
        try:
            process = start_program("ending", json.dumps(wanted), str(tell), pass_fds=[tell], **streams)
        finally:
            os.close(tell)
        stack.callback(end_process, process)
        assert process.stdin
        stack.enter_context(process.stdin)
        yield process, ready


def _let_go(folder: Path, process: subprocess.Popen[bytes], ready: int, state: State | None, send: int = 0) -> float:
    """Wait until the program is where it is wanted, and tell it to end; return the time of that."""
    assert select.select([ready], [], [], WAITING)[0]
    assert os.read(ready, 1) == b".", (folder / "stderr").read_text()
    if state:
        state.reached()
    begin = time.monotonic()
    if send:
        os.kill(process.pid, send)
    else:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
    return begin


TERMINATED = -signal.SIGTERM
