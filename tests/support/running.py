"""Programs that run in processes of their own: what they have said so far, and their end."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

DEADLINE = 60.0  # seconds for anything; what is waited for takes less than one


class Running:
    """
    A running program, which leads a process group of its own.

    Attributes:
        process: The process.
        output: What it and its children have written so far, to stdout and stderr; complete after :meth:`ended`.
    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self.output = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def line(self, containing: str) -> str:
        """Return the next line that contains the text."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {containing!r}; it said:\n{self.output}") from None
            if containing in line:
                return line

    def address(self) -> str:
        """Wait until a server says where it listens; return its host and port."""
        found = re.search(r"http://([\w.:]+)", self.line("http://127.0.0.1:"))
        assert found
        return found.group(1)

    def interrupt(self) -> None:
        """Do what Ctrl-C on a terminal does, which reaches the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """Ask for the end as an operating system or a container does, which reaches one process."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Wait for the end of the process; return its exit code."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)  # its stdout is open as long as one of its children lives
        return code

    def close(self) -> None:
        """Make sure that nothing is left of it; gently at first, because what is killed reports no coverage."""
        self.terminate()
        try:
            self.ended()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
                raise AssertionError(f"the program left processes behind; it said:\n{self.output}")
            self._reader.join()
            assert self.process.stdout
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line
            self._lines.put(line.rstrip("\n"))


def get(address: str, path: str = "/") -> tuple[int, Any]:
    """Request JSON; return the status and what it says."""
    with closing(http.client.HTTPConnection(address, timeout=DEADLINE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.load(answer)


def state_of(id: int) -> str:
    """Return the state of a process, or of a thread, as the letter that /proc has for it; empty if it is gone."""
    try:
        return Path(f"/proc/{id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Kill the group of a process that was started as a group of its own, and collect the process."""
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(DEADLINE)
