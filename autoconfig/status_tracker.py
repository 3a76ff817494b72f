"""Keeps the status of a stream up to date, and wakes those who wait for a state."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
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
from .status import (
    EVENTS,
    ContentSource,
    ErrorInfo,
    ErrorKind,
    RefusedEnvironment,
    StreamState,
    StreamStatus,
)
from .status_listeners import StatusListeners
from .waiting import SignalSafeCondition


class StatusTracker:
    """
    Keeps the status of one stream. The stream's threads report to it; any thread may read it.

    It has no lock, because a signal handler may close the stream, and Ctrl-C may come at any moment. Instead, each
    attribute is changed by one thread only: by the reader's, or by the dispatcher's. Any thread may report the end.

    Args:
        logger: For listeners that raise.

    Attributes:
        listeners: The functions to call with each new status.
        failed_callbacks: How many calls of the handler have raised; the dispatcher counts them.
        pending_retries: How many items wait for a failed call to be retried; the dispatcher sets it.
    """

    def __init__(self, logger: Logger) -> None:
        self.listeners = StatusListeners(logger)
        self._changed = SignalSafeCondition()
        # The reader's thread changes these:
        self._running = StreamStatus(StreamState.INITIALIZING, _now())
        self._last_byte_at: float | None = None
        self._connections = 0
        self._events = dict.fromkeys(EVENTS, 0)
        self._errors = dict.fromkeys(ErrorKind, 0)
        self._handed_over: deque[float] = deque()  # monotonic; one for each batch that is not handled yet
        # The dispatcher's thread changes these:
        self._content: tuple[ContentSource, datetime | None] = ContentSource.NOTHING, None
        self._refused: tuple[RefusedEnvironment, ...] = ()
        self.failed_callbacks = 0
        self.pending_retries = 0
        # Any thread may add to this. The first status counts; several threads may end the stream at the same time.
        self._off: list[StreamStatus] = []

    @property
    def _status(self) -> StreamStatus:
        return self._off[0] if self._off else self._running

    @property
    def status(self) -> StreamStatus:
        """A snapshot."""
        try:
            lag = time.monotonic() - self._handed_over[0]
        except IndexError:
            lag = 0.0
        content, content_at = self._content
        return attrs.evolve(
            self._status,
            last_byte_at=_at(self._last_byte_at),
            connections=self._connections,
            events=dict(self._events),
            errors=dict(self._errors),
            content=content,
            content_at=content_at,
            refused=self._refused,
            queued_batches=len(self._handed_over),
            lag=lag,
            failed_callbacks=self.failed_callbacks,
            pending_retries=self.pending_retries,
        )

    @property
    def failed_attempts(self) -> int:
        """How many attempts have failed since the last event."""
        return self._status.failed_attempts

    def wait_for(self, state: StreamState, timeout: float | None) -> bool:
        """Wait for a state; return whether it is reached. A stream that is off never changes its state again."""
        self._changed.wait_for(lambda: self._status.state in (state, StreamState.OFF), timeout)
        return self._status.state is state

    def wait_until_ready(self, timeout: float | None) -> bool:
        """Wait for the first full configuration or the end of the stream; return whether there is a configuration."""
        self._changed.wait_for(lambda: self._is_ready or self._status.state is StreamState.OFF, timeout)
        return self._is_ready

    @property
    def _is_ready(self) -> bool:
        return self._content[0] is not ContentSource.NOTHING

    def connecting(self) -> None:
        """Report that an attempt to connect begins."""
        if self._running.next_retry_at is not None:
            self._change(next_retry_at=None)

    def connected(self) -> None:
        """Report a connection. It does not prove yet that the stream delivers."""
        if not self._off:
            self._connections += 1
        self._change(connected_since=_now(), next_retry_at=None)

    def received(self, events: Iterable[str], handed_over: bool) -> None:
        """
        Report that bytes came.

        Args:
            events: The names of the valid events among them; a heartbeat has none.
            handed_over: Whether a batch goes into the queue.
        """
        self._last_byte_at = time.time()
        if handed_over:
            self._handed_over.append(time.monotonic())
        if not events:
            return
        for name in events:
            self._events[name if name in self._events else "other"] += 1
        if self._running.state is not StreamState.VALID or self._running.failed_attempts:
            self._change(state=StreamState.VALID, failed_attempts=0)

    def loaded_from_cache(self) -> None:
        """Report that the content of a cache goes into the queue; called in the cache's thread."""
        self._handed_over.append(time.monotonic())

    def handled(self) -> None:
        """Report that the oldest batch was handled."""
        with suppress(IndexError):
            self._handed_over.popleft()

    def handles_no_more(self) -> None:
        """Report that the dispatcher has ended; the batches and retries that are left were dropped."""
        self._handed_over.clear()
        self.pending_retries = 0

    def configuration_received(
        self, source: ContentSource = ContentSource.STREAM, saved_at: datetime | None = None
    ) -> None:
        """
        Report that a full configuration was handed over: ``received_all_environments`` was called.

        Args:
            source: Where it came from.
            saved_at: When a cache saved it; ``None`` if it came from the stream.
        """
        self._content = source, saved_at or _now()
        self._changed.notify_all()

    def refused_changed(self, refused: tuple[RefusedEnvironment, ...]) -> None:
        """Report which environments are refused now; the listeners are called if these have changed."""
        if refused != self._refused:
            self._refused = refused
            self.listeners.call(self.status)

    def invalid_data(self, error: BaseException) -> None:
        """Report that a part of what was delivered is invalid; the connection stays."""
        self._change(last_error=self._count(error))

    def disconnected(self, error: BaseException | None, delay: float) -> None:
        """Report that the connection ended or that an attempt failed, and after how many seconds the next begins."""
        if self._off:
            return
        status = self._running
        info = self._count(error) if error else status.last_error
        interrupted = status.state is StreamState.VALID and error is not None
        self._change(
            state=StreamState.INTERRUPTED if interrupted else status.state,
            last_error=info,
            connected_since=None,
            failed_attempts=status.failed_attempts + (error is not None),
            next_retry_at=_at(time.time() + delay),
        )

    def off(self, error: BaseException | None = None) -> None:
        """Report that the stream has ended for good; only the first report counts."""
        if not self._off:
            last_error = self._count(error) if error else self._running.last_error
            off = attrs.evolve(self._running, state=StreamState.OFF, since=_now(), last_error=last_error)
            self._off.append(attrs.evolve(off, connected_since=None, next_retry_at=None))
        self._announce()  # in a second call too, because Ctrl-C may have ended the first one before this line

    def abandon(self, error: BaseException) -> None:
        """Be off in a forked child, without calling the listeners, which are the parent's."""
        self.listeners = StatusListeners(self.listeners.logger)
        self.off(error)

    def _count(self, error: BaseException) -> ErrorInfo:
        info = _info(error)
        self._errors[info.kind] += 1
        return info

    def _change(self, **changes: Any) -> None:
        if self._off:
            return
        before = self._running
        if changes.get("state", before.state) is not before.state:
            changes["since"] = _now()
        self._running = attrs.evolve(before, **changes)
        if (before.state, before.last_error) != (self._running.state, self._running.last_error):
            self._announce()

    def _announce(self) -> None:
        self._changed.notify_all()
        self.listeners.call(self.status)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _at(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, timezone.utc)


def _info(error: BaseException) -> ErrorInfo:
    kind = next((kind for classes, kind in _KINDS.items() if isinstance(error, classes)), ErrorKind.UNKNOWN)
    text = str(error) if isinstance(error, AutoConfigError) else f"unexpected error ({type(error).__name__})"
    return ErrorInfo(kind, text, _now(), getattr(error, "status", None))


# The first entry that fits counts.
_KINDS: dict[tuple[type[Exception], ...], ErrorKind] = {
    (KeyRejectedError, UnexpectedStatusError): ErrorKind.ERROR_RESPONSE,
    (MalformedMessageError, EventTooLargeError): ErrorKind.INVALID_DATA,
    (ConnectionFailedError, StreamEndedError): ErrorKind.NETWORK_ERROR,
}
