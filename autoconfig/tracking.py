"""Keeping track of how a stream is doing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import attrs

from .exceptions import (
    AutoConfigError,
    ConnectionFailedError,
    EventTooLargeError,
    KeyRejectedError,
    MalformedMessageError,
    StreamEndedError,
    UnexpectedStatusError,
)
from .safe_logger import Logger
from .status import ErrorInfo, ErrorKind, RefusedEnvironment, StatusListener, StreamState, StreamStatus
from .validation import check_callable


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _at(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, timezone.utc)


class StatusTracker:
    """
    Keeps the status of one stream: its threads say what happens, any thread may ask.

    Args:
        logger: For listeners that raise.
    """

    def __init__(self, logger: Logger) -> None:
        self._log = logger
        # Reentrant, because a signal handler may close the stream. Guards the state and what changes with it.
        self._changed = threading.Condition(threading.RLock())
        self._status = StreamStatus(StreamState.INITIALIZING, _now())
        self._listeners: tuple[StatusListener, ...] = ()
        self._to_tell: deque[StreamStatus] = deque()
        self._telling = threading.Lock()  # held by who calls the listeners; never waited for
        # Counters have one writer each, so they need no lock: the reader's thread or the dispatcher's.
        self._last_byte_at: float | None = None
        self._events_received = 0
        self._handed_over: deque[float] = deque()  # monotonic; one for each batch that is not handled yet
        self.failed_callbacks = 0
        self.pending_retries = 0
        self.refused: tuple[RefusedEnvironment, ...] = ()

    @property
    def status(self) -> StreamStatus:
        """A snapshot."""
        try:
            lag = time.monotonic() - self._handed_over[0]
        except IndexError:
            lag = 0.0
        return attrs.evolve(
            self._status,
            last_byte_at=_at(self._last_byte_at),
            events_received=self._events_received,
            queued_batches=len(self._handed_over),
            lag=lag,
            failed_callbacks=self.failed_callbacks,
            pending_retries=self.pending_retries,
            refused=self.refused,
        )

    def add_listener(self, listener: StatusListener) -> None:
        """Call it with each new status from now on; see :meth:`StreamManager.add_status_listener`."""
        check_callable("listener", listener)
        with self._changed:
            self._listeners += (listener,)

    def remove_listener(self, listener: StatusListener) -> None:
        """Remove a listener; nothing happens if it is not there."""
        with self._changed:
            kept = list(self._listeners)
            with suppress(ValueError):
                kept.remove(listener)
            self._listeners = tuple(kept)

    def wait_for(self, state: StreamState, timeout: float | None) -> bool:
        """Wait for a state; return whether it is there. A stream that is off never changes its state again."""
        over = (state, StreamState.OFF)
        with self._changed:
            self._changed.wait_for(lambda: self._status.state in over, timeout)
            return self._status.state is state

    def received_bytes(self) -> None:
        """Note that something came."""
        self._last_byte_at = time.time()

    def handed_over(self) -> None:
        """Note that a batch goes into the queue."""
        self._handed_over.append(time.monotonic())

    def handled(self) -> None:
        """Note that the oldest batch was handled."""
        with suppress(IndexError):
            self._handed_over.popleft()

    def handles_no_more(self) -> None:
        """Note that no batch will be handled any more; what is left of them was dropped."""
        self._handed_over.clear()

    def connecting(self) -> None:
        """Note that an attempt begins."""
        if self._status.next_retry_at is not None:
            self._change(next_retry_at=None)

    def connected(self) -> None:
        """Note that there is a connection, which does not prove yet that it delivers."""
        self._change(connected_since=_now(), next_retry_at=None)

    def delivered(self, names: Sequence[str]) -> None:
        """Note that events came and were right, which proves the link."""
        self._events_received += len(names)
        if self._status.state is not StreamState.VALID or self._status.failed_attempts:
            self._change(state=StreamState.VALID, failed_attempts=0)

    def invalid_data(self, error: BaseException) -> None:
        """Note that a part of what was delivered cannot be used; the connection stays."""
        self._change(last_error=_info(error))

    def refused_changed(self, refused: tuple[RefusedEnvironment, ...]) -> None:
        """Note which environments are refused now."""
        self.refused = refused

    def disconnected(self, error: BaseException | None, delay: float) -> None:
        """Note that the connection is gone, or that an attempt failed, and when the next one begins."""
        status = self._status
        interrupted = status.state is StreamState.VALID and error is not None
        self._change(
            state=StreamState.INTERRUPTED if interrupted else status.state,
            last_error=_info(error) if error else status.last_error,
            connected_since=None,
            failed_attempts=status.failed_attempts + (error is not None),
            next_retry_at=_at(time.time() + delay),
        )

    def off(self, error: BaseException | None = None) -> None:
        """Note that the stream has ended for good."""
        last_error = _info(error) if error else self._status.last_error
        self._change(state=StreamState.OFF, last_error=last_error, connected_since=None, next_retry_at=None)

    def abandon(self, error: BaseException) -> None:
        """In a forked child: be off, without the locks, which a thread of the parent may have held."""
        self._changed = threading.Condition(threading.RLock())
        self._telling = threading.Lock()
        self._listeners = ()
        self.off(error)

    def _change(self, **changes: Any) -> None:
        with self._changed:
            before = self._status
            if before.state is StreamState.OFF:
                return
            if changes.get("state", before.state) is not before.state:
                changes["since"] = _now()
            self._status = attrs.evolve(before, **changes)
            self._changed.notify_all()
            if (before.state, before.last_error) != (self._status.state, self._status.last_error):
                self._to_tell.append(self.status)
        self._tell()

    def _tell(self) -> None:
        """Call the listeners, one at a time and in order, in whichever thread comes first; no lock is waited for."""
        while self._to_tell and self._telling.acquire(blocking=False):
            try:
                status = self._to_tell.popleft()
                for listener in self._listeners:
                    try:
                        listener(status)
                    except BaseException:  # SystemExit, too: this may be the reader's thread
                        self._log.exception("A status listener failed")
            finally:
                self._telling.release()


def _info(error: BaseException) -> ErrorInfo:
    kind = next((kind for classes, kind in _KINDS.items() if isinstance(error, classes)), ErrorKind.UNKNOWN)
    text = str(error) if isinstance(error, AutoConfigError) else type(error).__name__
    return ErrorInfo(kind, text, _now(), getattr(error, "status", None))


# The first that fits counts.
_KINDS: dict[tuple[type[Exception], ...], ErrorKind] = {
    (KeyRejectedError, UnexpectedStatusError): ErrorKind.ERROR_RESPONSE,
    (MalformedMessageError, EventTooLargeError): ErrorKind.INVALID_DATA,
    (ConnectionFailedError, StreamEndedError): ErrorKind.NETWORK_ERROR,
}
