"""The test's side of a program that ends: wait until it is ready, let it go, and look at what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from processes.control import KEY, NEVER, WAITING, end_process, start_program
from processes.states import State

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
    wanted = {
        **{"key": KEY, "url": "", "ca": ca or None, "delay": NEVER, "calls": 0, "failures": 0},
        **{"ending": "", "debug": False, "handler": "", **options},
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
        assert select.select([ready], [], [], WAITING)[0]
        assert os.read(ready, 1) == b".", (folder / "stderr").read_text()
        if state:
            state.reached()
        begin = time.monotonic()
        if send:
            os.kill(process.pid, send)
        else:
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert select.select([ready], [], [], WAITING)[0], "the program has not ended"  # which closes the pipe
        code = process.wait(WAITING)
        seconds = time.monotonic() - begin
    return Ended(code, (folder / "stdout").read_text(), (folder / "stderr").read_text(), seconds)


TERMINATED = -signal.SIGTERM
