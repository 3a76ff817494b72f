"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

from ..config import RetryPolicy
from ..exceptions import KeyRejectedError, UnexpectedStatusError
from ..validation import LONGEST

_MOST_DOUBLINGS = 64  # beyond any maximum delay, and far from where a float overflows
# The slow profile: 5 minutes for 1 s, 1 hour for 30 s.
_SLOWER_START, _SLOWER_MAXIMUM = 300, 120
# Seconds. Otherwise a service that sends `retry: 1` on each connection would get hundreds of requests a second.
_LEAST_BASE = 0.5
# Client errors after which a retry may help. A 401 or 403 that does not refuse the key comes from another host, such
# as a portal to which a redirect led.
_PASSING = frozenset({400, 401, 403, 408, 429})

# Reads the operating system's random numbers each time. A generator with a state of its own would be copied by a fork,
# and all workers would then return at the same moments.
_chance = random.SystemRandom().random


def is_unlikely_to_mend(failure: BaseException | None) -> bool:
    """Return whether another attempt will probably fail the same way: a refused key, and most other 4xx answers."""
    if isinstance(failure, UnexpectedStatusError):
        return 400 <= failure.status < 500 and failure.status not in _PASSING
    return isinstance(failure, KeyRejectedError)


class Backoff:
    """
    Delays that double up to a maximum, each shortened at random.

    Args:
        initial_delay: The first delay, in seconds.
        policy: The maximum and the jitter.
        random: Returns a number from 0 to 1; for tests.
    """

    def __init__(self, initial_delay: float, policy: RetryPolicy, random: Callable[[], float] = _chance) -> None:
        self._base = initial_delay
        self._policy = policy
        self._random = random
        self._doublings = 0

    def restart(self, base: float | None = None) -> None:
        """Start again at the first delay, or at the given one, in seconds."""
        self._doublings = 0
        if base is not None:
            self._base = base

    def next_delay(self) -> float:
        """Return how many seconds to wait before the next attempt."""
        delay = self.delay_after(self._doublings)
        self._doublings += 1
        return delay

    def delay_after(self, doublings: int) -> float:
        """Return the delay after this number of doublings, without a change of :meth:`next_delay`."""
        delay = min(self._base * 2.0 ** min(doublings, _MOST_DOUBLINGS), self._policy.max_delay)
        return float(delay * (1 - self._policy.jitter * self._random()))


class RetryPlan:
    """
    Chooses the delay after each attempt to connect, by what the connection delivered and how it ended.

    After an answer that a retry is unlikely to change, the delays are slow: from 5 minutes to 1 hour with the default
    policy, and in proportion with others. After malformed data they are short: only a new connection can show that
    the data was corrected.

    Args:
        initial_delay: The first delay, in seconds.
        policy: The maximum, the jitter, and when the delays start again.
        random: Returns a number from 0 to 1; for tests.
    """

    def __init__(self, initial_delay: float, policy: RetryPolicy, random: Callable[[], float] = _chance) -> None:
        slow = attrs.evolve(policy, max_delay=min(policy.max_delay * _SLOWER_MAXIMUM, LONGEST))
        self._policy = policy
        self._least_base = min(initial_delay, _LEAST_BASE)
        self._normal = Backoff(initial_delay, policy, random)
        self._slow = Backoff(initial_delay * _SLOWER_START, slow, random)
        self._retry: int | None = None  # what the last `retry:` line said
        self._delivered = False  # on the present connection
        self._good_for = 0.0  # seconds, of all connections since the delays last started again

    def delivered(self) -> None:
        """Note that the present connection delivered a message that could be used."""
        self._delivered = True
        self._slow.restart()

    def next_delay(self, failure: BaseException | None, lasted: float, retry: int | None) -> float:
        """
        Return how many seconds to wait after a connection ended or could not be made.

        Args:
            failure: Why it ended.
            lasted: How many seconds it was there; 0 if it could not be made. It counts if it delivered a message; see
                ``RetryPolicy.reset_after``.
            retry: What its last ``retry:`` line said, in milliseconds. A positive number that is not that of the line
                before becomes the new first delay and starts the doubling again; anything else is ignored.
        """
        if self._delivered:
            self._delivered = False
            self._good_for += lasted
            if self._good_for >= self._policy.reset_after:
                self._good_for = 0.0
                self._normal.restart()
        if retry is not None and retry > 0 and retry != self._retry:
            self._retry = retry
            # Compared before the division: the number may be too large for a float.
            seconds = min(retry, self._policy.max_delay * 1000) / 1000
            self._normal.restart(max(seconds, self._least_base))
        delay = self._normal.next_delay()
        return self._slow.next_delay() if is_unlikely_to_mend(failure) else delay
