"""Threads that run the pool's jobs at once or later."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from ..daemon_threads import daemon_thread, join_thread
from ..safe_logger import SafeLogger

Job = Callable[[], None]


class Workers:
    """
    A fixed number of daemon threads that run jobs.

    Args:
        name: The beginning of the threads' names.
        count: How many threads there are, and so how many jobs run at the same time.
    """

    def __init__(self, name: str, count: int) -> None:
        self._log = SafeLogger(logging.getLogger("autoconfig"))
        self._name = name
        self._count = count
        self._changed = threading.Condition()  # guards the rest; notified of a new job and of the end
        self._jobs: list[tuple[float, int, Job]] = []  # a heap, by the time when each is due
        self._order = itertools.count()  # of jobs that are due at the same time
        self._ended = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """
        Start the threads.

        Raises:
            RuntimeError: The system has no thread left. Those that were started run.
        """
        while len(self._threads) < self._count:
            name = f"{self._name}-{len(self._threads) + 1}"
            thread = daemon_thread(name, self._run)
            thread.start()
            self._threads.append(thread)

    def submit(self, job: Job, delay: float = 0.0) -> None:
        """Run a job after ``delay`` seconds or later; not after :meth:`end`."""
        with self._changed:
            if not self._ended:
                heapq.heappush(self._jobs, (time.monotonic() + delay, next(self._order), job))
                self._changed.notify()

    def end(self) -> None:
        """Let the threads end after their current jobs; drop the others."""
        with self._changed:
            self._jobs.clear()
            self._ended = True
            self._changed.notify_all()

    def join(self, deadline: float) -> bool:
        """Wait until all threads have ended; return whether they have."""
        ended = [join_thread(thread, deadline) for thread in self._threads]
        return all(ended)

    def _run(self) -> None:
        while job := self._next():
            try:
                job()
            except BaseException:  # SystemExit too, because the other jobs need the thread
                self._log.exception("A job of the client pool failed")

    def _next(self) -> Job | None:
        with self._changed:
            while True:
                wait = self._jobs[0][0] - time.monotonic() if self._jobs else None
                if wait is not None and wait <= 0:
                    job = heapq.heappop(self._jobs)[2]
                    self._changed.notify()  # another thread has to watch the time of the next job
                    return job
                if self._ended:
                    return None
                self._changed.wait(wait)
