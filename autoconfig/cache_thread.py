"""The thread that loads the last known configuration from a store, and saves it there when it has changed."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from .config import RetryPolicy
from .daemon_threads import LEAST_GRACE, daemon_thread, join_thread
from .messages import Batch, CachedContent, EnvironmentRep, FilterRep, PutContent
from .safe_logger import Logger
from .status_tracker import StatusTracker
from .store import ConfigurationStore
from .stream.cancel import CancelToken
from .stream.retry import Backoff
from .waiting import SignalSafeCondition

_PAUSE = 0.2  # seconds; the shortest pause between two saves
_SHARE = 4  # a pause is this many times as long as the save before it, so saving takes a fifth of a core at most
_FIRST_DELAY = 1.0  # seconds before a call that failed is retried for the first time
_LONGEST_LOAD = 5.0  # seconds that the reader waits for the cache after the key was rejected
_POLL = 0.02  # seconds between two checks whether the cache was loaded


class AcceptedContent:
    """
    The newest content of the stream, which has to be saved. It does not matter whether the handler raised.

    It is the dispatcher's observer; see :class:`autoconfig.dispatch.dispatcher.Observer`. Another thread may call
    :meth:`snapshot`.

    Args:
        changed: Notified of each change.

    Attributes:
        changes: How many messages have changed the content; 0 before the first put.
        cached: The environments that the cache had; used for those that the stream sends in an unusable form.
    """

    def __init__(self, changed: SignalSafeCondition) -> None:
        self.changes = 0
        self.cached: Mapping[str, EnvironmentRep] = {}
        self._changed = changed
        # One attribute, so that another thread reads three dicts that belong together. Copying a dict is one step.
        self._items: tuple[dict[str, EnvironmentRep], dict[str, FilterRep], dict[str, None]] = {}, {}, {}

    def put(self, content: PutContent) -> None:
        """Take the content of a put. Environments that it lists in an unusable form stay as they are."""
        before = self._items[0]
        unusable = dict.fromkeys((*content.refused, *content.foreign))
        kept = {id: before[id] for id in unusable if id in before}
        self._items = {**kept, **content.environments}, dict(content.filters), unusable
        self.changes += 1
        self._changed.notify_all()

    def environment(self, id: str, rep: EnvironmentRep | None, version: int) -> None:
        """Take a patch of an environment, or delete it."""
        environments, _, unusable = self._items
        unusable.pop(id, None)
        self._note(environments, id, rep)

    def filter(self, id: str, rep: FilterRep | None, version: int) -> None:
        """Take a patch of a filter, or delete it."""
        self._note(self._items[1], id, rep)

    def snapshot(self) -> PutContent:
        """Return the content to be saved now."""
        environments, filters, unusable = self._items
        listed = dict(unusable)
        self.cached = {id: rep for id, rep in self.cached.items() if id in listed}  # the others are usable by now
        return PutContent({**self.cached, **environments}, dict(filters))

    def _note(self, items: dict[str, EnvironmentRep] | dict[str, FilterRep], id: str, rep: object) -> None:
        if rep is None:
            items.pop(id, None)
        else:
            items[id] = rep  # type: ignore[assignment]  # of the kind that the dict has
        if self.changes:
            self.changes += 1
            self._changed.notify_all()


class CacheThread:
    """
    Loads the content of a store for the dispatcher, and saves the stream's content. The stream waits for neither.

    Args:
        store: The store.
        batches: The dispatcher's queue.
        token: Cancelled when the stream is being closed.
        status: Records that the cache was handed over.
        logger: For one line when calls of the store begin to fail, and one when they succeed again.

    Attributes:
        content: What is saved; the dispatcher's observer.
    """

    def __init__(
        self,
        store: ConfigurationStore,
        batches: queue.Queue[Batch],
        token: CancelToken,
        status: StatusTracker,
        logger: Logger,
    ) -> None:
        self._changed = SignalSafeCondition()
        self.content = AcceptedContent(self._changed)
        self._store = store
        self._batches = batches
        self._token = token
        self._status = status
        self._log = logger
        self._thread: threading.Thread | None = None
        self._loaded = False
        self._finishing = False
        self._saved = 0  # the content's number of changes when it was last saved
        self._retry_delays: Backoff | None = None  # while calls of the store fail

    def start(self) -> None:
        """Start the thread."""
        self._thread = daemon_thread("autoconfig-cache", self._run)
        self._thread.start()

    def wait_until_loaded(self) -> None:
        """Wait until the cache was loaded, at most 5 s, so that it is served even if the key is rejected."""
        deadline = time.monotonic() + _LONGEST_LOAD
        while not self._loaded and time.monotonic() < deadline and not self._token.wait(_POLL):
            pass

    def finish(self) -> None:
        """Let the thread save what has changed, and end. Takes no lock."""
        self._finishing = True
        self._changed.notify_all()

    def wait_until_saved(self, deadline: float) -> bool:
        """
        Let the thread end, and wait until everything is saved.

        Args:
            deadline: Until when to wait if something is not saved yet, in monotonic time; otherwise 0.3 s.

        Returns:
            Whether everything is saved.
        """
        self.finish()
        if self._thread is threading.current_thread():  # the store has called this
            return True
        grace = time.monotonic() + LEAST_GRACE
        join_thread(self._thread, max(grace, deadline) if self._is_unsaved() else grace)
        return not self._is_unsaved()

    def _is_unsaved(self) -> bool:
        return self._saved != self.content.changes

    def _run(self) -> None:
        self._load()
        self._loaded = True
        self._retry_delays = None
        while True:
            self._changed.wait_for(lambda: self._finishing or self._is_unsaved())
            finishing = self._finishing  # read before what has changed, so that no change is lost
            if self._is_unsaved():
                pause = self._save()
                self._changed.wait_for(lambda: self._finishing, pause)
            if finishing:
                return

    def _load(self) -> None:
        """Hand over the store's content. If loading fails, retry until the service has sent a full configuration."""
        while not self._finishing and not self.content.changes:
            try:
                cached = self._store.load()
            except BaseException as error:  # SystemExit, too: this is a thread
                delay = self._failed("load from", error)
                self._changed.wait_for(lambda: self._finishing or self.content.changes > 0, delay)
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

    def _save(self) -> float:
        """Save the content; return how many seconds to pause."""
        begin = time.monotonic()
        changes = self.content.changes  # read before the content, so that a later change counts as unsaved
        try:
            self._store.save(self.content.snapshot())
        except BaseException as error:
            return self._failed("save to", error)
        self._saved = changes
        if self._retry_delays:
            self._log.info("The cache can be saved again")
            self._retry_delays = None
        return max(_PAUSE, _SHARE * (time.monotonic() - begin))

    def _failed(self, what: str, error: BaseException) -> float:
        """Log a failure, the first of a series at WARNING; return the seconds before the next attempt."""
        level = logging.DEBUG if self._retry_delays else logging.WARNING
        reason = type(error).__name__  # not the error's text, which may hold content
        if isinstance(error, OSError) and error.errno:
            reason = f"{reason}, {os.strerror(error.errno)}"
        self._log.log(level, "Cannot %s the cache: %s; retrying", what, reason)
        self._retry_delays = self._retry_delays or Backoff(_FIRST_DELAY, RetryPolicy())
        return self._retry_delays.next_delay()
