"""How the stream is doing, in LaunchDarkly's words."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import datetime

import attrs

from .identifiers import EnvironmentID


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
    """What kind of error there was."""

    NETWORK_ERROR = "NETWORK_ERROR"
    """No connection, or one that broke off or fell silent."""
    ERROR_RESPONSE = "ERROR_RESPONSE"
    """An HTTP status that is not 200."""
    INVALID_DATA = "INVALID_DATA"
    """An event that breaks the protocol or is too large."""
    UNKNOWN = "UNKNOWN"
    """Anything else."""


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
        events_received: How many events were received in all.
        queued_batches: How many batches of messages are waiting for the handler, or being handled.
        lag: How many seconds ago the oldest of them was received.
        failed_callbacks: How many calls of the handler have raised.
        pending_retries: How many items wait for a failed call to be made again.
        refused: The environments that are refused at the moment, because their keys contradict each other.
    """

    state: StreamState
    since: datetime
    last_error: ErrorInfo | None = None
    connected_since: datetime | None = None
    failed_attempts: int = 0
    next_retry_at: datetime | None = None
    last_byte_at: datetime | None = None
    events_received: int = 0
    queued_batches: int = 0
    lag: float = 0.0
    failed_callbacks: int = 0
    pending_retries: int = 0
    refused: tuple[RefusedEnvironment, ...] = ()


StatusListener = Callable[[StreamStatus], object]
"""What is called with each new status."""
