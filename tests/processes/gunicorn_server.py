"""A real gunicorn with two workers, on a port of its own, that is stopped by its process id."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from gunicorn import version_info  # type: ignore[import-untyped]
from processes.control import KEY, TESTS, WAITING
from support.running import end_process
from support.waiting import wait_until
from support.workers import ask_each

WORKERS = 2
STOPPING = 20.0  # seconds that it may take to stop; after 30 it kills its workers


class Gunicorn:
    """
    Serves one of the applications of ``app.py``.

    Args:
        folder: For its log.
        uri: Where the stream is.
        application: Its name.
        options: More for the command line.
    """

    def __init__(self, folder: Path, uri: str, application: str, *options: str) -> None:
        self._log = folder / "gunicorn"
        self._closing = contextlib.ExitStack()
        listener = self._closing.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._host, self._port = listener.getsockname()
        descriptor = listener.fileno()
        command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-m", "gunicorn", "--preload"]
        command += ["-w", str(WORKERS), "-b", f"fd://{descriptor}", *options]
        if version_info >= (25, 1):
            command.append("--no-control-socket")  # it would be in the home directory
        environment = {**os.environ, "STREAM_URI": uri, "STREAM_KEY": KEY, "PYTHONPATH": _path()}
        # The buffer of stderr has a lock. A worker that is forked while a thread of the master writes a log line would
        # hang at its own first line, which is no matter of the library.
        environment["PYTHONUNBUFFERED"] = "1"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"processes.app:{application}"],
                cwd=folder,
                env=environment,
                pass_fds=[descriptor],
                start_new_session=True,
                stdout=log,
                stderr=log,
            )
        self._closing.callback(end_process, self.process)
        self._seen: set[int] = set()

    @property
    def workers(self) -> set[int]:
        """The process ids of the workers."""
        pid = self.process.pid
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
        return set()

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    def warnings(self, pid: int) -> list[str]:
        """Return what a process has logged as a WARNING or worse to the library's logger."""
        starts = tuple(f"{pid} {level} autoconfig " for level in ("WARNING", "ERROR"))
        return [line for line in self.log.splitlines() if line.startswith(starts)]

    def wait_for_warning(self, pid: int) -> None:
        """Wait until a process has logged one, which a thread of its own writes."""
        wait_until(lambda: self.warnings(pid), "a warning")

    def wait_for_workers(self, besides: frozenset[int] | set[int] = frozenset()) -> set[int]:
        """Wait until all workers are there and none of the given ones; return them."""
        wait_until(lambda: len(self.workers) == WORKERS and not self.workers & besides, "workers")
        self._seen |= self.workers
        return self.workers

    def get(self) -> dict[str, Any]:
        """Request the application and return what it says."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=WAITING)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            answer: dict[str, Any] = json.load(connection.getresponse())
        return answer

    def wait_for_answers(self, **values: Any) -> None:
        """Request until every worker has said this."""
        try:
            right = ask_each(WORKERS, self.get, lambda answer: answer.items() >= values.items())
            assert right.keys() >= self.workers, f"{right} of {self.workers}"
        except AssertionError as error:
            raise AssertionError(f"{error}; wanted {values}; its log:\n{self.log}") from None

    def reload(self) -> None:
        """Have new workers, gracefully."""
        before = self.workers
        os.kill(self.process.pid, signal.SIGHUP)
        self.wait_for_workers(before)

    def stop(self) -> int:
        """Stop it gracefully; return its exit code once all of its processes are gone."""
        os.kill(self.process.pid, signal.SIGTERM)
        try:
            code = self.process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"gunicorn has not stopped within {STOPPING} s:\n{self.log}") from None
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in self._seen), "the end of all workers")
        return code

    def close(self) -> None:
        """Leave no process, whatever has happened."""
        self._closing.close()


def _path() -> str:
    return os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
