"""Stores in memory that do what a test wants."""

from __future__ import annotations

import threading
import time

from autoconfig.messages import CachedContent, PutContent

DEADLINE = 30.0  # seconds for anything


class Memory:
    """
    A store that keeps what is saved, and notes when.

    Attributes:
        cached: What :meth:`load` returns, or raises if it is an exception.
        saved: All that was saved.
        error: What :meth:`save` raises, if anything.
        times: When each save began, in monotonic time.
        threads: The names of the threads that called.
    """

    def __init__(self, cached: CachedContent | BaseException | None = None) -> None:
        self.cached = cached
        self.saved: list[PutContent] = []
        self.error: BaseException | None = None
        self.times: list[float] = []
        self.loads = 0
        self.threads: set[str] = set()
        self._busy = threading.Lock()

    def load(self) -> CachedContent | None:
        assert self._busy.acquire(blocking=False), "two calls at a time"
        try:
            self.loads += 1
            self.threads.add(threading.current_thread().name)
            if isinstance(self.cached, BaseException):
                raise self.cached
            return self.cached
        finally:
            self._busy.release()

    def save(self, content: PutContent) -> None:
        assert self._busy.acquire(blocking=False), "two calls at a time"
        try:
            self.threads.add(threading.current_thread().name)
            self.times.append(time.monotonic())
            if self.error:
                raise self.error
            self.saved.append(content)
        finally:
            self._busy.release()


class Hanging(Memory):
    """
    A store whose calls hang until they are released.

    Args:
        loading: Whether loading hangs, or only saving.
    """

    def __init__(self, cached: CachedContent | None = None, *, loading: bool = True) -> None:
        super().__init__(cached)
        self.entered, self.released = threading.Event(), threading.Event()
        self._loading = loading

    def load(self) -> CachedContent | None:
        if self._loading:
            self._hang()
        return super().load()

    def save(self, content: PutContent) -> None:
        self._hang()
        super().save(content)

    def _hang(self) -> None:
        self.entered.set()
        assert self.released.wait(DEADLINE)
