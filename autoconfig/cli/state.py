"""How the stream is doing, in words: the state, what there is of a connection, and the last trouble."""

from __future__ import annotations

from datetime import datetime

from ..status import StreamState, StreamStatus
from .output import printable
from .wording import age, counted

STYLES = {
    StreamState.INITIALIZING: "yellow",
    StreamState.VALID: "green",
    StreamState.INTERRUPTED: "red",
    StreamState.OFF: "red",
}


def connection_words(status: StreamStatus, now: datetime) -> str:
    """Return since when there is a connection, or when the next attempt to make one begins."""
    if status.state is StreamState.OFF:
        return "ended"
    if status.connected_since:
        return f"connected for {age((now - status.connected_since).total_seconds())}"
    if status.next_retry_at and status.next_retry_at > now:
        # Rounded up, so that it does not say "in 0 s" for a second.
        left = (status.next_retry_at - now).total_seconds()
        return f"next attempt in {age(int(left) + 1)}"
    return "connecting"


def trouble_words(status: StreamStatus, now: datetime) -> str:
    """Return the last trouble, and how long ago it was; ``""`` if there was none."""
    error = status.last_error
    if error is None:
        return ""
    words = f"{printable(error.message)}, {age((now - error.time).total_seconds())} ago"
    if status.failed_attempts > 1:
        words += f" ({counted(status.failed_attempts, 'failed attempt')} so far)"
    return words if is_troubled(status) else f"last trouble: {words}"


def is_troubled(status: StreamStatus) -> bool:
    """Return whether the last trouble is the present one."""
    return status.last_error is not None and (status.connected_since is None or status.failed_attempts > 0)
