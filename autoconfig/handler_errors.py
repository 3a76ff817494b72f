"""Options for calls of the handler that raise: when they are retried, and which function is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from .config import RetryPolicy
from .validation import check_callable, check_instance, check_seconds


@attrs.frozen
class HandlerFailure:
    """
    A call of the handler that raised.

    Attributes:
        callback: The name of the method.
        id: The id of the environment or filter; ``""`` for ``received_all_environments``.
        error: What it raised.
        attempts: How often this change has been tried by now; always 1 without ``retry``.
        next_attempt_in: After how many seconds it is tried again; ``None`` if it is not.
    """

    callback: str
    id: str
    error: BaseException
    attempts: int
    next_attempt_in: float | None


def _policy_or_none(_: Any, attribute: attrs.Attribute[Any], value: RetryPolicy | None) -> None:
    if value is not None:
        check_instance(attribute.name, value, RetryPolicy)


def _callable_or_none(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        check_callable(attribute.name, value)


def _positive(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
    check_seconds(attribute.name, value)


@attrs.frozen
class HandlerErrors:
    """
    What happens after a call of the handler that raised.

    The error is always logged with its traceback.

    Attributes:
        retry: How long to wait before an addition, update or deletion is retried. It is retried until it succeeds or a
            newer message for that item replaces it. ``None`` turns retries off: then the next message for the item is
            the next attempt. When the stream is off, pending retries are dropped.
        on_error: Called in the dispatcher's thread with each :class:`HandlerFailure`; what it raises is logged.
        initial_delay: Seconds before the second attempt.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: The delay is not more than zero, or not finite.
    """

    retry: RetryPolicy | None = attrs.field(default=RetryPolicy(max_delay=60.0), validator=_policy_or_none)
    on_error: Callable[[HandlerFailure], object] | None = attrs.field(default=None, validator=_callable_or_none)
    initial_delay: float = attrs.field(default=1.0, validator=_positive)
