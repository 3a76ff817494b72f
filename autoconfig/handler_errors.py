"""``HandlerErrors``: what happens after a call of the handler that raised."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from attrs.validators import optional

from .config import RetryPolicy
from .validation import check_callable, check_instance, check_seconds, field_check

_RETRY: RetryPolicy | None = RetryPolicy(max_delay=60.0)


@attrs.frozen
class HandlerFailure:
    """
    A call of the handler that raised.

    Attributes:
        callback: The name of the method.
        id: The id of the environment or filter; ``""`` for ``received_all_environments``.
        error: What it raised.
        attempts: How many attempts have failed so far; always 1 without ``retry``.
        next_attempt_in: After how many seconds the call is retried; ``None`` if it is not.
    """

    callback: str
    id: str
    error: BaseException
    attempts: int
    next_attempt_in: float | None


@attrs.frozen
class HandlerErrors:
    """
    What happens after a call of the handler that raised.

    The error is always logged with its traceback.

    Attributes:
        retry: How long to wait before an addition, update or deletion is retried. It is retried until it succeeds or a
            newer message for the item replaces it. With ``None``, the next message for the item is the next attempt.
            Pending retries are dropped when the stream is off.
        on_error: Called in the dispatcher's thread with each :class:`HandlerFailure`; what it raises is logged.
        initial_delay: Seconds before the second attempt.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: The delay is not more than zero, or not finite.
    """

    retry: RetryPolicy | None = attrs.field(
        default=_RETRY, validator=optional(field_check(check_instance, kind=RetryPolicy))
    )
    on_error: Callable[[HandlerFailure], object] | None = attrs.field(
        default=None, validator=optional(field_check(check_callable))
    )
    initial_delay: float = attrs.field(default=1.0, validator=field_check(check_seconds))
