"""
The exception tree: one base, so that one ``except AutoConfigError`` suffices.

::

    AutoConfigError
    ├── KeyRejectedError          the service refused the key (401, 403); ends the stream
    ├── ClosedError               the manager was closed
    ├── ForkedError               used in a forked child, but started in the parent process
    ├── NotReadyError             no full configuration came in time; a TimeoutError, too
    └── StreamError               errors that are logged and retried; never raised into the application
        ├── ConnectionFailedError     no usable answer: network, TLS, proxy, redirect, content type
        │   └── UnexpectedStatusError     an answer with another status than 200
        ├── StreamEndedError          the answer ended, broke off or fell silent
        ├── EventTooLargeError        an event above ``HTTPConfig.max_event_bytes``
        └── MalformedMessageError     an event whose data breaks the protocol

No exception's text holds a key, a header's value or an event's payload.
"""

from __future__ import annotations


class AutoConfigError(Exception):
    """Base of every exception that this library defines."""


class KeyRejectedError(AutoConfigError):
    """
    The service refused the auto-configuration key, so the stream has ended for good.

    Attributes:
        status: The HTTP status, 401 or 403.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the service rejected the auto-configuration key (HTTP status {status})")
        self.status = status

    def __reduce__(self) -> tuple[type[KeyRejectedError], tuple[int]]:
        return type(self), (self.status,)


class ClosedError(AutoConfigError):
    """The manager is closed; a closed manager cannot be started again."""


class ForkedError(AutoConfigError):
    """It was started before a fork, and its threads run in the parent process only; make a new one in the child."""

    def __init__(self) -> None:
        super().__init__("what was started before a fork runs in the parent process only; make and start a new one")

    def __reduce__(self) -> tuple[type[ForkedError], tuple[()]]:
        return type(self), ()


class NotReadyError(AutoConfigError, TimeoutError):
    """
    No full configuration has come within the timeout; the stream continues.

    It is a built-in ``TimeoutError``, too. The text has the state of the stream and its last error.
    """


class StreamError(AutoConfigError):
    """
    A connection failed or its stream broke.

    The reader logs it and connects again; it never reaches the application.
    """


class ConnectionFailedError(StreamError):
    """No event stream was obtained: a failure of network, TLS or proxy, a bad redirect, the wrong content type."""


class UnexpectedStatusError(ConnectionFailedError):
    """
    The service answered with an HTTP status other than 200.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"unexpected HTTP status {status}")
        self.status = status

    def __reduce__(self) -> tuple[type[UnexpectedStatusError], tuple[int]]:
        return type(self), (self.status,)


class StreamEndedError(StreamError):
    """The event stream ended, was broken off, or was silent for longer than the read timeout."""


class EventTooLargeError(StreamError):
    """
    One event is larger than ``HTTPConfig.max_event_bytes``.

    Attributes:
        limit: The limit, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event is larger than the limit of {limit} bytes (HTTPConfig.max_event_bytes)")
        self.limit = limit

    def __reduce__(self) -> tuple[type[EventTooLargeError], tuple[int]]:
        return type(self), (self.limit,)


class MalformedMessageError(StreamError):
    """
    An event's data breaks the protocol: not JSON, or a field of the wrong type.

    Attributes:
        event: The event's name, such as ``"put"``.
        reason: What is wrong and where. It names fields and types, never values.
    """

    def __init__(self, event: str, reason: str) -> None:
        super().__init__(f'malformed "{event}" event: {reason}')
        self.event = event
        self.reason = reason

    def __reduce__(self) -> tuple[type[MalformedMessageError], tuple[str, str]]:
        return type(self), (self.event, self.reason)
