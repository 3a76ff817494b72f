"""
A process that does what a test tells it to: make managers, use them, fork. A fork is an agent too.

Run as ``python -m processes.agent PORT LOG``; each agent connects to the test's port, says its process id, and
answers one command at a time, a line of JSON each way.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from processes.handlers import DEADLINE, Counter, Forking, LoudFilter, open_sockets
from processes.other_threads import fill_log, fork_in_threads, poll
from support import limits
from support.children import end_of

from autoconfig import ForkedError, HTTPConfig, StreamManager

PROMPT = 10.0  # seconds that a call may take in a fork; one that hangs does so for ever


class Unbuffered(logging.Handler):
    """Writes to a file, but not through a buffer, whose lock a fork would inherit: that is no matter of the library."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def emit(self, record: logging.LogRecord) -> None:
        os.write(self._file, f"{self.format(record)}\n".encode())


class Agent:
    """
    Obeys one test.

    Args:
        port: Where the test listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()
        self.managers: list[StreamManager] = []
        self.handlers: list[Counter] = []
        self._within = contextlib.ExitStack()

    def serve(self) -> None:
        """Obey until the test says ``end`` or leaves."""
        while line := self._commands.readline():
            command, arguments = json.loads(line)
            if command == "end":
                return
            try:
                answer = {"value": getattr(self, command)(*arguments)}
            except Exception as error:
                answer = {"error": type(error).__name__}
            self._socket.sendall(json.dumps(answer).encode() + b"\n")

    def make(self, url: str, key: str, ca: str | None, delay: float, kind: str) -> None:
        handler = Forking(self) if kind == "forking" else Counter()
        logger = logging.getLogger("autoconfig")
        if kind == "loud":
            logger.addFilter(LoudFilter())
        config = HTTPConfig(ca_certs=ca)
        self.managers.append(StreamManager(key, url, handler, config, delay))
        self.handlers.append(handler)

    def start(self) -> None:
        self.managers[-1].start()

    def enter(self) -> None:
        self._within.enter_context(self.managers[-1])

    def leave(self) -> None:
        self._within.close()

    def close(self) -> bool:
        """Close the newest manager, and fail if that takes long."""
        begin = time.monotonic()
        ended = self.managers[-1].close()
        assert time.monotonic() - begin < PROMPT
        return ended

    def join(self) -> bool:
        return self.managers[-1].join(DEADLINE)

    def result(self) -> None:
        return self.managers[-1].connected.result(DEADLINE)

    def shown(self) -> str:
        return repr(self.managers[-1])

    def state(self) -> str:
        return self.managers[-1].status.state.name

    def failed_attempts(self) -> int:
        return self.managers[-1].status.failed_attempts

    def count(self) -> int:
        return self.handlers[-1].count

    def wait_for_count(self, count: int) -> bool:
        return self.handlers[-1].wait_for_count(count, DEADLINE)

    def wait_for_name(self, name: str) -> bool:
        return self.handlers[-1].wait_for_name(name, DEADLINE)

    def forked_in_callback(self) -> int:
        handler = self.handlers[-1]
        assert isinstance(handler, Forking)
        return handler.codes.get(timeout=DEADLINE)

    def sockets(self) -> list[str]:
        """Return the sockets that this process has open, that to the test left out."""
        return open_sockets(besides=self._socket.fileno())

    def fork(self) -> int:
        """Return the id of a new process, which obeys the test by itself."""
        pid = os.fork()
        if not pid:
            self._socket.close()
            self._connect()
            self.serve()
            sys.exit(0)  # as every program ends, whatever frames of the parent are below
        return pid

    def fork_many(self, count: int, logged: bool = False) -> list[int]:
        """
        Fork at random moments until one fails; they leave by ``os._exit`` and like any program in turn.

        Args:
            count: How many.
            logged: Whether each has to wait for its line in the log, which a thread of its own writes.
        """
        codes = []
        for number in range(count):
            codes.append(self._fork_and_check(at_once=bool(number % 2), logged=logged))
            if codes[-1]:
                break
        return codes

    def fill_log(self) -> None:
        fill_log(DEADLINE)

    def fork_in_threads(self, threads: int, count: int) -> bool:
        return fork_in_threads(threads, count, DEADLINE)

    def poll_ready(self) -> None:
        poll(self.managers[-1].connected.done)

    def multiprocess(self) -> int | None:
        process = multiprocessing.get_context("fork").Process(target=self.check_fork)
        process.start()
        process.join(DEADLINE)
        process.kill()
        return process.exitcode

    def run_program(self) -> int:
        return subprocess.run([sys.executable, "-c", ""], check=False, timeout=DEADLINE).returncode

    def wait_for_end_of(self, pid: int) -> int:
        return end_of(pid, DEADLINE)

    def exit_at_once(self) -> None:
        os._exit(0)

    def check_fork(self) -> None:
        """In a fork: fail unless all of the parent's managers can be used without harm."""
        for manager in self.managers:
            begin = time.monotonic()
            assert manager.close() is True
            assert _raised(manager.start) is ForkedError
            assert _raised(manager.join) is ForkedError
            assert _raised(partial(manager.connected.result, DEADLINE)) in (ForkedError, type(None))
            assert repr(manager)
            assert time.monotonic() - begin < PROMPT

    def _fork_and_check(self, *, at_once: bool, logged: bool) -> int:
        threading.Event().wait(random.random() * 0.005)
        pid = os.fork()
        if pid:
            return end_of(pid, DEADLINE)
        self._socket.close()
        self.check_fork()
        deadline, pause = time.monotonic() + DEADLINE, threading.Event()
        while (
            logged
            and f"{os.getpid()} WARNING" not in Path(sys.argv[2]).read_text("utf-8")
            and time.monotonic() < deadline
        ):
            pause.wait(0.01)
        if at_once:
            os._exit(0)
        sys.exit(0)

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), DEADLINE)
        self._socket.settimeout(None)
        self._socket.sendall(b"%d\n" % os.getpid())
        self._commands = self._socket.makefile("r")


def _raised(call: Callable[[], object]) -> type[object]:
    try:
        call()
    except Exception as error:
        return type(error)
    return type(None)


if __name__ == "__main__":
    gc.freeze()  # what was imported is of no interest to the forks, whose last collections would look at all of it
    logging.basicConfig(
        handlers=[Unbuffered(sys.argv[2])], level=logging.INFO, format="%(process)d %(levelname)s %(message)s"
    )
    limits.unhurried(log=False)  # a line may hang here
    Agent(int(sys.argv[1])).serve()
