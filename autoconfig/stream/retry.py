"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import attrs

from ..config import RetryPolicy
from ..exceptions import EventTooLargeError, KeyRejectedError, MalformedMessageError
from ..validation import LONGEST

_MOST_DOUBLINGS = 64  # beyond any maximum delay, and far from where a float overflows
# The slow profile: 5 minutes for 1 s, 1 hour for 30 s.
_SLOWER_START, _SLOWER_MAXIMUM = 300, 120
_TOLERATED = 2  # malformed events in a row after which the slow profile begins


class Backoff:
    """
    Delays that double up to a maximum, each shortened at random.

    Args:
        initial_delay: The first delay, in seconds.
        policy: Maximum, jitter, and when to start anew.
        random: Returns a number from 0 to 1; for tests.
    """

    def __init__(self, initial_delay: float, policy: RetryPolicy, random: Callable[[], float] = random.random) -> None:
        self._base = initial_delay
        self._policy = policy
        self._random = random
        self._doublings = 0

    def next_delay(self, good_for: float, retry: int | None) -> float:
        """
        Return how many seconds to wait after a connection ended or could not be made.

        Args:
            good_for: How many seconds the connection was good; 0 if there was none.
            retry: What the last ``retry:`` line of that connection said, in milliseconds. A positive number becomes the
                new base and starts the doubling anew (the relay's behaviour); anything else is ignored.
        """
        if 0 < good_for >= self._policy.reset_after:
            self._doublings = 0
        if retry is not None and retry > 0:
            # Capped here, because a number of any size may come and a float has an end.
            self._base = min(retry, self._policy.max_delay * 1000) / 1000
            self._doublings = 0
        delay = min(self._base * 2.0**self._doublings, self._policy.max_delay)
        self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)
        return float(delay * (1 - self._policy.jitter * self._random()))


class RetryPlan:
    """
    Chooses the delay after each attempt to connect, by what ended it.

    Errors that repeating does not fix have a slower profile: a refused key, and data that is malformed twice in a row.
    It begins at 5 minutes and grows to 1 hour with the default policy, and in proportion with others (the relay's
    behaviour since 2026), so that a bad payload does not become a storm of reconnections.

    Args:
        initial_delay: The first delay, in seconds.
        policy: Maximum, jitter, and when to start anew.
        random: Returns a number from 0 to 1; for tests.
    """

    def __init__(self, initial_delay: float, policy: RetryPolicy, random: Callable[[], float] = random.random) -> None:
        slow = attrs.evolve(policy, max_delay=min(policy.max_delay * _SLOWER_MAXIMUM, LONGEST))
        self._normal = Backoff(initial_delay, policy, random)
        self._make_slow = partial(Backoff, initial_delay * _SLOWER_START, slow, random)
        self._slow: Backoff | None = None
        self._malformed = 0  # in a row

    def delivered(self) -> None:
        """Note that the stream delivered something that was right."""
        self._malformed = 0
        self._slow = None

    def next_delay(self, failure: BaseException | None, good_for: float, retry: int | None) -> float:
        """Return how many seconds to wait; see :meth:`Backoff.next_delay`."""
        delay = self._normal.next_delay(good_for, retry)
        if isinstance(failure, MalformedMessageError | EventTooLargeError):
            self._malformed += 1
        if isinstance(failure, KeyRejectedError) or self._malformed >= _TOLERATED:
            self._slow = self._slow or self._make_slow()
            return self._slow.next_delay(0.0, None)
        return delay
