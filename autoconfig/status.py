"""The status of a stream, in LaunchDarkly's words, and the tracker that keeps it up to date."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
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
from .identifiers import EnvironmentID
from .safe_logger import Logger, is_ctrl_c, log_aside
from .validation import check_callable
from .waiting import WaitingRoom

_EVENTS = ("put", "patch", "delete", "reconnect", "other")


class StreamState(enum.Enum):
    """The state of a stream; the words and their rules are those of LaunchDarkly's SDKs and relay."""

    INITIALIZING = "INITIALIZING"
    """Nothing was received yet; failures before the first event do not change that."""
    VALID = "VALID"
    """The last connection delivered something, and it is still there."""
    INTERRUPTED = "INTERRUPTED"
    """The stream was valid and then failed; it is tried again."""
    OFF = "OFF"
    """The stream has ended for good, closed or with its key refused. What came before may still be handled."""


class ErrorKind(enum.Enum):
    """The kinds of errors."""

    NETWORK_ERROR = "NETWORK_ERROR"
    """No connection, or one that broke off or fell silent."""
    ERROR_RESPONSE = "ERROR_RESPONSE"
    """An HTTP status that is not 200."""
    INVALID_DATA = "INVALID_DATA"
    """An event that breaks the protocol or is too large."""
    UNKNOWN = "UNKNOWN"
    """Anything else."""


class ContentSource(enum.Enum):
    """Where the configuration that the handler has comes from."""

    NOTHING = "NOTHING"
    """The handler has none yet."""
    CACHE = "CACHE"
    """A store of an earlier run; the service has not sent its own yet."""
    STREAM = "STREAM"
    """The service."""


@attrs.frozen
class ErrorInfo:
    """
    The last error of a stream.

    Attributes:
        kind: What kind of error.
        message: What happened; holds no secret.
        time: When: aware, UTC.
        status_code: The HTTP status, if there was an answer.
    """

    kind: ErrorKind
    message: str
    time: datetime
    status_code: int | None = None


@attrs.frozen
class RefusedEnvironment:
    """
    An environment whose keys contradict each other, so that its newest version is not applied.

    Attributes:
        id: Its id.
        reason: What is contradictory; holds no key.
        served: Whether an earlier version is still known and served.
    """

    id: EnvironmentID
    reason: str
    served: bool


@attrs.frozen
class StreamStatus:
    """
    A snapshot of how a stream is doing. All times are timezone-aware and in UTC.

    Attributes:
        state: The state.
        since: When it began.
        last_error: The last error, also after recovery; ``None`` if there was none.
        connected_since: When the present connection was made; ``None`` without one.
        failed_attempts: How many attempts have failed since the last event.
        next_retry_at: When the next attempt begins; ``None`` unless one is being waited for.
        last_byte_at: When something was last received, heartbeats included.
        connections: How many connections have been made.
        events: How many events were received, by name: ``put``, ``patch``, ``delete``, ``reconnect``, and ``other`` for
            those whose name is unknown.
        errors: How many errors there were, by kind.
        content: Where the configuration that the handler has comes from.
        content_at: When the last full configuration was handed over; one from a cache is as old as it was saved.
        refused: The environments that the service sends in a form that cannot be used.
        queued_batches: How many batches of messages are waiting for the handler, or being handled.
        lag: How many seconds ago the oldest of them was received.
        failed_callbacks: How many calls of the handler have raised.
        pending_retries: How many items wait for a failed call to be made again.
    """

    state: StreamState
    since: datetime
    last_error: ErrorInfo | None = None
    connected_since: datetime | None = None
    failed_attempts: int = 0
    next_retry_at: datetime | None = None
    last_byte_at: datetime | None = None
    connections: int = 0
    events: Mapping[str, int] = attrs.field(factory=lambda: dict.fromkeys(_EVENTS, 0), hash=False)
    errors: Mapping[ErrorKind, int] = attrs.field(factory=lambda: dict.fromkeys(ErrorKind, 0), hash=False)
    content: ContentSource = ContentSource.NOTHING
    content_at: datetime | None = None
    refused: tuple[RefusedEnvironment, ...] = ()
    queued_batches: int = 0
    lag: float = 0.0
    failed_callbacks: int = 0
    pending_retries: int = 0

    @property
    def events_received(self) -> int:
        """How many events were received in all."""
        return sum(self.events.values())

    def as_dict(self) -> dict[str, Any]:
        """Return it as values that ``json.dumps`` takes, for a health check; times are ISO 8601 in UTC."""
        return attrs.asdict(self, value_serializer=lambda _, __, value: _plain(value))


StatusListener = Callable[[StreamStatus], object]
"""What is called with each new status."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _at(timestamp: float | None) -> datetime | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, timezone.utc)


class StatusTracker:
    """
    Keeps the status of one stream. The stream's threads report to it; any thread may read it.

    Args:
        logger: For listeners that raise.
    """

    def __init__(self, logger: Logger) -> None:
        self._log = logger
        # There is no lock, because a signal handler may close the stream, and Ctrl-C may come anywhere. The reader's
        # thread alone changes the status; any thread may end it, and the first end counts.
        self._running = StreamStatus(StreamState.INITIALIZING, _now())
        self._ends: list[StreamStatus] = []
        self._waiting = WaitingRoom()
        self._listeners: list[StatusListener] = []
        self._to_tell: deque[StreamStatus] = deque()
        self._told_off = False
        self._telling = threading.Lock()  # held by who calls the listeners; never waited for
        # What follows has one writer, too. First the reader's thread:
        self._last_byte_at: float | None = None
        self._connections = 0
        self._events = dict.fromkeys(_EVENTS, 0)
        self._errors = dict.fromkeys(ErrorKind, 0)
        self._handed_over: deque[float] = deque()  # monotonic; one for each batch that is not handled yet
        # And the dispatcher's:
        self._content: tuple[ContentSource, datetime | None] = ContentSource.NOTHING, None
        self._refused: tuple[RefusedEnvironment, ...] = ()
        self.failed_callbacks = 0
        self.pending_retries = 0

    @property
    def _status(self) -> StreamStatus:
        return self._ends[0] if self._ends else self._running

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

    def add_listener(self, listener: StatusListener) -> None:
        """Call it with each new status from now on; see :meth:`StreamManager.add_status_listener`."""
        check_callable("listener", listener)
        self._listeners.append(listener)

    def remove_listener(self, listener: StatusListener) -> None:
        """Remove a listener; nothing happens if it is not there."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    @property
    def failed_attempts(self) -> int:
        """How many attempts have failed since the last event."""
        return self._status.failed_attempts

    def wait_for(self, state: StreamState, timeout: float | None) -> bool:
        """Wait for a state; return whether it is there. A stream that is off never changes its state again."""
        over = (state, StreamState.OFF)
        self._waiting.wait(lambda: self._status.state in over, timeout)
        return self._status.state is state

    def wait_until_ready(self, timeout: float | None) -> bool:
        """Wait for the first full configuration; return whether it is there. It will not come if the stream is off."""
        self._waiting.wait(lambda: self._is_ready or self._status.state is StreamState.OFF, timeout)
        return self._is_ready

    @property
    def _is_ready(self) -> bool:
        return self._content[0] is not ContentSource.NOTHING

    def handled(self) -> None:
        """Note that the oldest batch was handled."""
        with suppress(IndexError):
            self._handed_over.popleft()

    def handles_no_more(self) -> None:
        """Note that no batch will be handled any more; what is left of them was dropped."""
        self._handed_over.clear()

    def connecting(self) -> None:
        """Note that an attempt begins."""
        if self._running.next_retry_at is not None:
            self._change(next_retry_at=None)

    def connected(self) -> None:
        """Note that there is a connection, which does not prove yet that it delivers."""
        if not self._ends:
            self._connections += 1
        self._change(connected_since=_now(), next_retry_at=None)

    def received(self, events: Iterable[str], handed_over: bool) -> None:
        """
        Note that something came.

        Args:
            events: The names of the events that came and were right; there are none in a heartbeat.
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
        """Note that what a cache had goes into the queue; called in the cache's thread."""
        self._handed_over.append(time.monotonic())

    def configuration_received(
        self, source: ContentSource = ContentSource.STREAM, saved_at: datetime | None = None
    ) -> None:
        """
        Note that a full configuration was handed over: ``received_all_environments`` was called.

        Args:
            source: Where it came from.
            saved_at: When it was saved, if it is one of a cache.
        """
        self._content = source, saved_at or _now()
        self._waiting.wake()

    def refused_changed(self, refused: tuple[RefusedEnvironment, ...]) -> None:
        """Note which environments cannot be used now; the listeners are told if these are others than before."""
        if refused != self._refused:
            self._refused = refused
            self._to_tell.append(self.status)
            self._tell()

    def invalid_data(self, error: BaseException) -> None:
        """Note that a part of what was delivered cannot be used; the connection stays."""
        self._change(last_error=self._count(error))

    def disconnected(self, error: BaseException | None, delay: float) -> None:
        """Note that the connection is gone, or that an attempt failed, and when the next one begins."""
        if self._ends:
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
        """Note that the stream has ended for good; only the first time counts."""
        if not self._ends:
            last_error = self._count(error) if error else self._running.last_error
            off = attrs.evolve(self._running, state=StreamState.OFF, since=_now(), last_error=last_error)
            self._ends.append(attrs.evolve(off, connected_since=None, next_retry_at=None))
        self._announce()  # also the second time, in case that Ctrl-C came before it the first time

    def abandon(self, error: BaseException) -> None:
        """In a forked child: be off, without the lock, which a thread of the parent may have held."""
        self._telling = threading.Lock()
        self._listeners = []
        self.off(error)

    def _count(self, error: BaseException) -> ErrorInfo:
        info = _info(error)
        self._errors[info.kind] += 1
        return info

    def _change(self, **changes: Any) -> None:
        if self._ends:
            return
        before = self._running
        if changes.get("state", before.state) is not before.state:
            changes["since"] = _now()
        self._running = attrs.evolve(before, **changes)
        if (before.state, before.last_error) != (self._running.state, self._running.last_error):
            self._announce()

    def _announce(self) -> None:
        """Wake those who wait for a state, and tell the listeners of it."""
        self._to_tell.append(self.status)
        self._waiting.wake()
        self._tell()

    def _tell(self) -> None:
        """
        Call the listeners, one at a time and in order, in whichever thread comes first; no lock is waited for.

        What they raise is logged; this may be the reader's thread. Only Ctrl-C in the main thread is raised at the end.
        """
        leaving: BaseException | None = None
        while self._to_tell and self._telling.acquire(blocking=False):
            try:
                status = self._to_tell.popleft()
                if self._told_off:  # what the reader did at the same time
                    continue
                self._told_off = status.state is StreamState.OFF
                for listener in tuple(self._listeners):
                    leaving = self._call(listener, status) or leaving
            finally:
                self._telling.release()
        if leaving:
            raise leaving

    def _call(self, listener: StatusListener, status: StreamStatus) -> BaseException | None:
        try:
            listener(status)
        except BaseException as error:
            if is_ctrl_c(error):
                return error
            log_aside(self._log, logging.ERROR, "A status listener failed", exc_info=error)
        return None


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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, enum.Enum) else value
