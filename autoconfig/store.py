"""Keeping the last known configuration in a store: what a store has to have, and the thread that loads and saves."""

from __future__ import annotations

import contextvars
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from .config import RetryPolicy
from .messages import Batch, CachedContent, EnvironmentRep, FilterRep, PutContent
from .safe_logger import Logger
from .status_tracker import StatusTracker
from .stream.cancel import CancelToken
from .stream.retry import Backoff
from .validation import check_callable
from .waiting import WaitingRoom

_PAUSE = 0.2  # seconds between two saves, at least
_SHARE = 4  # times as long as a save took is the pause after it, so that saving takes a fifth of a core at most
_FIRST_DELAY = 1.0  # seconds after a load or save that failed
_LOAD_PATIENCE = 5.0  # seconds that a rejected key waits for the cache, which is still served
_GLANCE = 0.02  # seconds between two looks at whether it was loaded
_LEAST_GRACE = 0.3  # seconds that a thread with nothing to do is given to end


class ConfigurationStore(Protocol):
    """
    Where the last known configuration outlives the process.

    Both methods are called in a thread of their own, one call at a time. They may block, and they may raise: that is
    logged without the exception's text, and tried again.
    """

    def load(self) -> CachedContent | None:
        """Return what was last saved; ``None`` if there is nothing."""

    def save(self, content: PutContent) -> None:
        """Replace what was saved by this, all of it."""


def check_store(store: ConfigurationStore) -> ConfigurationStore:
    """
    Return an object if it has a store's methods.

    Raises:
        TypeError: It lacks one.
    """
    for name in ("load", "save"):
        check_callable(f"cache.{name}", getattr(store, name, None))
    return store


class AcceptedContent:
    """
    What the dispatcher has accepted of the stream, with its versions, whatever the handler made of it.

    It is the dispatcher's observer, in whose thread the three methods of that are called; :meth:`snapshot` may be
    called from another.

    Attributes:
        changes: How many messages have counted; 0 before the first put.
        cached: The environments that the cache had, for those that the stream lists in a form that cannot be used.
    """

    def __init__(self, room: WaitingRoom) -> None:
        self.changes = 0
        self.cached: Mapping[str, EnvironmentRep] = {}
        self._room = room
        # One attribute, so that another thread finds dicts that belong together. Copying a dict is one step.
        self._items: tuple[dict[str, EnvironmentRep], dict[str, FilterRep], dict[str, None]] = {}, {}, {}

    def put(self, content: PutContent) -> None:
        """Note a put. What it lists in a form that cannot be used stays as it is."""
        before = self._items[0]
        unusable = dict.fromkeys((*content.refused, *content.foreign))
        kept = {id: before[id] for id in unusable if id in before}
        self._items = {**kept, **content.environments}, dict(content.filters), unusable
        self.changes += 1
        self._room.wake()

    def environment(self, id: str, rep: EnvironmentRep | None, version: int) -> None:
        """Note a patch of an environment, or its deletion."""
        environments, _, unusable = self._items
        unusable.pop(id, None)
        self._note(environments, id, rep)

    def filter(self, id: str, rep: FilterRep | None, version: int) -> None:
        """Note a patch of a filter, or its deletion."""
        self._note(self._items[1], id, rep)

    def snapshot(self) -> PutContent:
        """Return what is to be saved now."""
        environments, filters, unusable = self._items
        listed = dict(unusable)
        self.cached = {id: rep for id, rep in self.cached.items() if id in listed}  # the rest is needed no more
        return PutContent({**self.cached, **environments}, dict(filters))

    def _note(self, items: dict[str, EnvironmentRep] | dict[str, FilterRep], id: str, rep: object) -> None:
        if rep is None:
            items.pop(id, None)
        else:
            items[id] = rep  # type: ignore[assignment]  # of the kind that the dict has
        if self.changes:
            self.changes += 1
            self._room.wake()


class CacheThread:
    """
    Loads what a store has and hands it to the dispatcher, and saves what that accepts; the stream waits for neither.

    Args:
        store: The store.
        batches: The dispatcher's queue.
        token: Says that the stream is being closed.
        status: Is told of what is handed over.
        logger: For one line when trouble begins, one when it ends.

    Attributes:
        content: The dispatcher's observer.
    """

    def __init__(
        self,
        store: ConfigurationStore,
        batches: queue.Queue[Batch],
        token: CancelToken,
        status: StatusTracker,
        logger: Logger,
    ) -> None:
        self._room = WaitingRoom()
        self.content = AcceptedContent(self._room)
        self._store = store
        self._batches = batches
        self._token = token
        self._status = status
        self._log = logger
        self._thread: threading.Thread | None = None
        self._loaded = False
        self._finishing = False
        self._saved = 0  # of content.changes

    def start(self) -> None:
        """Start the thread."""
        context = contextvars.Context()  # not the caller's, which may be that of one web request
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="autoconfig-cache", daemon=True)
        self._thread.start()

    def wait_until_loaded(self) -> None:
        """Wait until the content was loaded, at most 5 s: a cache is served even if the key is rejected."""
        deadline = time.monotonic() + _LOAD_PATIENCE
        while not self._loaded and time.monotonic() < deadline and not self._token.wait(_GLANCE):
            pass

    def finish(self) -> None:
        """Let the thread save what has changed, and end; takes no lock."""
        self._finishing = True
        self._room.wake()

    def wait_until_saved(self, deadline: float) -> bool:
        """
        Let the thread end, and wait until everything is saved.

        Args:
            deadline: Until when to wait for saving, in monotonic time; for all else it is 0.3 s.

        Returns:
            Whether everything is saved.
        """
        self.finish()
        thread = self._thread
        if thread is None or thread is threading.current_thread() or thread.ident is None:
            return True
        grace = time.monotonic() + _LEAST_GRACE
        if self._is_unsaved():
            grace = max(grace, deadline)
        with suppress(RuntimeError):
            thread.join(max(0.0, grace - time.monotonic()))
        return not self._is_unsaved()

    def _is_unsaved(self) -> bool:
        return self._saved != self.content.changes

    def _run(self) -> None:
        self._load()
        self._loaded = True
        self._room.wake()
        trouble: Backoff | None = None
        while True:
            self._room.wait(lambda: self._finishing or self._is_unsaved())
            finishing = self._finishing  # before the look at what has changed
            if self._is_unsaved():
                trouble, pause = self._save(trouble)
                self._room.wait(lambda: self._finishing, pause)
            if finishing:
                return

    def _load(self) -> None:
        """Hand over what the store has. If it cannot be asked, go on trying until the service has sent everything."""
        trouble: Backoff | None = None
        while not self._finishing and not self.content.changes:
            try:
                cached = self._store.load()
            except BaseException as error:  # SystemExit, too: this is a thread
                trouble, delay = self._failed("load from", error, trouble)
                self._room.wait(lambda: self._finishing or self.content.changes > 0, delay)
            else:
                if cached is not None:
                    self.content.cached = cached.content.environments
                    self._hand_over(cached)
                return

    def _hand_over(self, cached: CachedContent) -> None:
        self._status.loaded_from_cache()
        while not self._token.cancelled:
            with suppress(queue.Full):
                self._batches.put([cached], timeout=0.5)
                return

    def _save(self, trouble: Backoff | None) -> tuple[Backoff | None, float]:
        """Save what has changed; return the trouble that there is now, and how long to wait."""
        begin = time.monotonic()
        changes = self.content.changes  # before the content is read, so that no later change is taken for saved
        try:
            self._store.save(self.content.snapshot())
        except BaseException as error:
            return self._failed("save to", error, trouble)
        self._saved = changes
        if trouble:
            self._log.info("The cache can be saved again")
        return None, max(_PAUSE, _SHARE * (time.monotonic() - begin))

    def _failed(self, what: str, error: BaseException, trouble: Backoff | None) -> tuple[Backoff, float]:
        """Log the first failure of a row; return when to try again."""
        level = logging.DEBUG if trouble else logging.WARNING
        # Without the text, which may hold what is to be saved.
        reason = type(error).__name__
        if isinstance(error, OSError) and error.errno:
            reason = f"{reason}, {os.strerror(error.errno)}"
        self._log.log(level, "Cannot %s the cache: %s; it is tried again", what, reason)
        trouble = trouble or Backoff(_FIRST_DELAY, RetryPolicy())
        return trouble, trouble.next_delay()
