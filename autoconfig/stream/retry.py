"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..config import RetryPolicy

_MOST_DOUBLINGS = 64  # beyond any maximum delay, and far from where a float overflows


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
        if good_for >= self._policy.reset_after:
            self._doublings = 0
        if retry is not None and retry > 0:
            # Capped here, because a number of any size may come and a float has an end.
            self._base = min(retry, self._policy.max_delay * 1000) / 1000
            self._doublings = 0
        delay = min(self._base * 2.0**self._doublings, self._policy.max_delay)
        self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)
        return float(delay * (1 - self._policy.jitter * self._random()))
