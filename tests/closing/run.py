"""One manager with its recorder and its log: started, closed with a stopwatch, and looked at afterwards."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from support.logs import LogKeeper
from support.peer import Peer
from support.recorder import Recorder

from autoconfig import ClosedError, KeyRejectedError, StreamManager

PROMPT = 4.0  # seconds that close() may take: it promises one, and a busy machine may need more
KEY = "rel-00000000-0000-4000-8000-000000000000"
NEVER = 60.0  # seconds of back-off that no test sees the end of


class Log(LogKeeper):
    """What a manager logs."""

    @property
    def given_up(self) -> list[str]:
        """The warnings that name one of the manager's threads."""
        return [text for text in self.texts(logging.WARNING) if "autoconfig-" in text]

    def wait_for_given_up(self, count: int) -> str:
        """Wait for so many of them, which ``close()`` writes aside, and return the last one."""
        self.wait_until(lambda: len(self.given_up) >= count)
        assert len(self.given_up) == count
        return self.given_up[-1]


class Run:
    """
    A manager under test.

    Args:
        url: Where to connect.
        handler: Default one that only records.
        options: More for the manager.

    Attributes:
        seconds: How long each ``close()`` took.
        started: The manager's threads.
        settled: What became of the ready future; ``None`` before the manager was started.
    """

    def __init__(self, url: str, handler: Recorder | None = None, **options: Any) -> None:
        self.recorder = handler or Recorder()
        self.log = Log()
        self.seconds: list[float] = []
        self.manager = StreamManager(KEY, url, self.recorder, logger=self.log.logger, **options)
        self.settled: Future[None] | None = None
        self.started: list[threading.Thread] = []

    @property
    def threads(self) -> list[str]:
        """The names of the manager's threads that are alive."""
        return [thread.name for thread in self.started if thread.is_alive()]

    def start(self) -> Run:
        before = set(threading.enumerate())
        self.settled = self.manager.start()
        self.started = [one for one in set(threading.enumerate()) - before if one.name.startswith("autoconfig-")]
        return self

    def close(self, timeout: float = 5.0) -> bool:
        """Close with a stopwatch; what takes longer than promised is an ``AssertionError``."""
        begun = time.monotonic()
        ended = self.manager.close(timeout)
        self.seconds.append(time.monotonic() - begun)
        assert self.seconds[-1] < PROMPT, f"close() took {self.seconds[-1]:.3f} s"
        return ended

    def check(self, *peers: Peer) -> None:
        """Check all that is promised for the time after ``close()`` returned ``True``."""
        calls = len(self.recorder.calls)
        assert self.threads == []
        assert self.log.given_up == []
        if self.settled is not None:
            assert self.settled.done()
            assert isinstance(self.settled.exception(), ClosedError | KeyRejectedError | None)
        if self.settled is not None and isinstance(self.settled.exception(), KeyRejectedError):
            with pytest.raises(KeyRejectedError):
                self.manager.join(timeout=0)
        else:
            assert self.manager.join(timeout=0) is True
        assert self.manager.close() is True
        with pytest.raises(ClosedError):
            self.manager.start()
        for peer in peers:
            peer.wait_until_left()
        assert len(self.recorder.calls) == calls, "a callback began after close() had returned"


def descriptors() -> int:
    """Return how many descriptors this process has open (Linux only)."""
    return len(os.listdir("/proc/self/fd")) - 1  # the one for the listing


Serve = Callable[..., Peer]
"""Starts a peer: ``serve(script, tls=False)``."""

MakeRun = Callable[..., Run]
"""Makes a run that trusts the peers: ``make_run(url, handler, **options)``; ``http`` is for the HTTPConfig."""
