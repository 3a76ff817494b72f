"""The test's side of the programs that it starts: orders and answers, deadlines, and no process left at the end."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from support.running import end_process

KEY = "rel-5f3a1c9e-7d42-4b8e-9c61-2f0d8a4b7e13"
NEVER = 60.0  # seconds of back-off that no test sees the end of
WAITING = 90.0  # seconds for anything that a test waits for
TESTS = Path(__file__).parents[1]


class Agent:
    """
    A process of ``agent.py``, or a fork of one.

    Args:
        connection: Where it takes its orders.
        log: The file that it and its relatives log to.
    """

    def __init__(self, connection: socket.socket, log: Path) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._log = log
        self.pid = int(self._lines.readline())

    def ask(self, command: str, *arguments: Any) -> Any:
        """Give an order and return the answer; an exception of the agent's is a :class:`FailedError`."""
        self.send(command, *arguments)
        line = self._lines.readline()
        assert line, f"the process {self.pid} ended in {command}"
        answer = json.loads(line)
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer["value"]

    def send(self, command: str, *arguments: Any) -> None:
        """Give an order that has no answer."""
        self._connection.sendall(json.dumps([command, arguments]).encode() + b"\n")

    def make(self, url: str, *, ca: str | None = None, delay: float = NEVER, kind: str = "") -> None:
        """Have it make a manager."""
        self.ask("make", url, KEY, ca, delay, kind)

    @property
    def warnings(self) -> list[str]:
        """What it has logged as a WARNING or worse."""
        lines = [line.split(" ", 2) for line in self._log.read_text("utf-8").splitlines()]
        return [text for pid, level, text in lines if pid == str(self.pid) and level in ("WARNING", "ERROR")]

    def wait_for_warning(self) -> list[str]:
        """Wait until there is one, which a thread of its own writes, and return all."""
        deadline, pause = time.monotonic() + WAITING, threading.Event()
        while not self.warnings and time.monotonic() < deadline:
            pause.wait(0.01)
        return self.warnings

    def close(self) -> None:
        """Take no more answers; an agent that has nothing to do leaves."""
        self._lines.close()
        self._connection.close()


class FailedError(Exception):
    """An agent's order failed; the text is the class of the exception."""


class Agents:
    """
    Starts agents, and ends them all.

    Args:
        folder: For their log and what they write to stderr.

    Attributes:
        log: The file that they log to.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self._errors = folder / "stderr"
        self._closing = contextlib.ExitStack()
        self._listener = self._closing.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(WAITING)

    def start(self) -> Agent:
        """Return a new process."""
        arguments = [str(self._listener.getsockname()[1]), str(self.log)]
        with self._errors.open("ab") as errors:
            process = start_program("agent", *arguments, stderr=errors)
        self._closing.callback(end_process, process)
        return self._accept()

    def fork(self, agent: Agent) -> Agent:
        """Return a fork of an agent; that it can be talked to proves that ``os.fork()`` has returned in it."""
        pid = agent.ask("fork")
        fork = self._accept()
        assert fork.pid == pid
        return fork

    @property
    def errors(self) -> str:
        """What all of them wrote to stderr."""
        return self._errors.read_text("utf-8")

    def close(self) -> None:
        """Leave no process."""
        self._closing.close()

    def _accept(self) -> Agent:
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            raise AssertionError("the process hangs before it can say its first word") from None
        connection.settimeout(WAITING)
        agent = Agent(connection, self.log)
        self._closing.callback(agent.close)
        return agent


def start_program(module: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a module of this directory as a program, in a group of its own."""
    # Python 3.12 warns of every fork of a process with threads, which is what is tried here.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-m", f"processes.{module}", *arguments]
    return subprocess.Popen(command, cwd=TESTS, start_new_session=True, **options)
