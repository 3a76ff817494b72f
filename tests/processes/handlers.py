"""Handlers of the programs that tests start: cheap enough for a flood, and of use to whoever waits for them."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from typing import Protocol

from support.children import end_of

from autoconfig import EnvironmentID, EnvironmentParams, FilterID, FilterParams

DEADLINE = 60.0  # seconds for anything that such a program waits for by itself


class Counter:
    """
    Counts its calls and keeps the names of the environments.

    Attributes:
        count: How many calls there were.
        names: The environments' names by their ids.
    """

    def __init__(self) -> None:
        self.count = 0
        self.names: dict[EnvironmentID, str] = {}
        self._changed = threading.Condition()  # guards both

    def add_environment(self, params: EnvironmentParams) -> None:
        self._note(params)

    def update_environment(self, params: EnvironmentParams) -> None:
        self._note(params)

    def received_all_environments(self) -> None:
        self._note()

    def delete_environment(self, id: EnvironmentID) -> None:
        self._note()

    def add_filter(self, params: FilterParams) -> None:
        self._note()

    def delete_filter(self, id: FilterID) -> None:
        self._note()

    def wait_for_count(self, count: int, timeout: float) -> bool:
        """Wait until there have been so many calls; return whether there have."""
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, timeout)

    def wait_for_name(self, name: str, timeout: float) -> bool:
        """Wait until an environment has a name; return whether one has."""
        with self._changed:
            return self._changed.wait_for(lambda: name in self.names.values(), timeout)

    def _note(self, params: EnvironmentParams | None = None) -> None:
        with self._changed:
            self.count += 1
            if params:
                self.names[params.env_id] = params.identifiers.env_name
            self._changed.notify_all()


class Checks(Protocol):
    """What can say, in a fork, whether all is well."""

    def check_fork(self) -> None: ...


class Forking(Counter):
    """
    Forks in the first ``received_all_environments``.

    Args:
        checks: What the fork does before it leaves.

    Attributes:
        codes: What the fork left with.
    """

    def __init__(self, checks: Checks) -> None:
        super().__init__()
        self.codes: queue.Queue[int] = queue.Queue()
        self._checks = checks

    def received_all_environments(self) -> None:
        super().received_all_environments()
        pid = os.fork()
        if not pid:
            try:
                self._checks.check_fork()
            except BaseException:
                os._exit(1)
            os._exit(0)
        self.codes.put(end_of(pid, DEADLINE))


class LoudFilter(logging.Filter):
    """A logger's filter that raises in a fork."""

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()

    def filter(self, record: logging.LogRecord) -> bool:
        if os.getpid() != self._pid:
            raise RuntimeError("the application's logging does not work in a fork")
        return True


def open_sockets(besides: int) -> list[str]:
    """Return the sockets that this process has open, one descriptor left out (Linux only)."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listdir itself had open
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return [link for descriptor, link in found.items() if link.startswith("socket:") and descriptor != besides]
