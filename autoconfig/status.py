"""What a stream's status consists of, in the words of LaunchDarkly's SDKs and Relay Proxy."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs

from .identifiers import EnvironmentID

EVENTS = ("put", "patch", "delete", "reconnect", "other")
"""The names by which events are counted."""


class StreamState(enum.Enum):
    """The state of a stream; the words and their rules are those of LaunchDarkly's SDKs and relay."""

    INITIALIZING = "INITIALIZING"
    """Nothing was received yet; failures before the first event do not change that."""
    VALID = "VALID"
    """The last connection delivered an event and has not failed."""
    INTERRUPTED = "INTERRUPTED"
    """The stream was valid and then failed; the connection is retried."""
    OFF = "OFF"
    """The stream was closed, or its key was refused. Messages that came before may still be handled."""


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
    """A cache that an earlier run saved; the service has not sent its own configuration yet."""
    STREAM = "STREAM"
    """The service."""


@attrs.frozen
class ErrorInfo:
    """
    The last error of a stream.

    Attributes:
        kind: What kind of error.
        message: What happened; holds no secret.
        time: When it happened; timezone-aware, UTC.
        status_code: The HTTP status, if there was an answer.
    """

    kind: ErrorKind
    message: str
    time: datetime
    status_code: int | None = None


@attrs.frozen
class RefusedEnvironment:
    """
    An environment whose newest version is not applied, because its keys contradict each other.

    Attributes:
        id: Its id.
        reason: What the contradiction is; holds no key.
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
        next_retry_at: When the next attempt begins; ``None`` unless the stream is waiting for it.
        last_byte_at: When the last byte was received, which may be that of a heartbeat.
        connections: How many connections have been made.
        events: How many events were received, by name: ``put``, ``patch``, ``delete``, ``reconnect``, and ``other`` for
            those whose name is unknown.
        errors: How many errors there were, by kind.
        content: Where the configuration that the handler has comes from.
        content_at: When the last full configuration was handed over; for one from a cache, when it was saved.
        refused: The environments that the service sends in a form that cannot be used.
        queued_batches: How many batches of messages are waiting for the handler, or being handled.
        lag: How many seconds ago the oldest of them was received.
        failed_callbacks: How many calls of the handler have raised.
        pending_retries: How many items wait for the retry of a failed call.
    """

    state: StreamState
    since: datetime
    last_error: ErrorInfo | None = None
    connected_since: datetime | None = None
    failed_attempts: int = 0
    next_retry_at: datetime | None = None
    last_byte_at: datetime | None = None
    connections: int = 0
    events: Mapping[str, int] = attrs.field(factory=lambda: dict.fromkeys(EVENTS, 0), hash=False)
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
"""A function that is called with each new status."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, enum.Enum) else value
