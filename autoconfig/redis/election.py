"""Decides which of several candidates leads a fleet. It leads as long as its beats come in time."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any

from . import scripts
from .form import META_FIELDS, Form, Picture, summary
from .link import Link

_BEATS = 3  # beats in a lease; candidates check for a beat as often


class Candidate:
    """
    A process that may lead a fleet. Only the thread of its :class:`~autoconfig.redis.leader.Leader` uses it.

    The scripts in Redis decide: each checks first that its caller leads. Clocks of different machines are not compared.
    A candidate takes over when it has seen no beat of the leader for the time of a lease, by its own clock.

    Args:
        form: Names the keys in Redis.
        lease: How many seconds without a beat a leader stays the leader.

    Attributes:
        term: The last term in which it led; 0 before the first one.
        pause: Seconds between two beats, and between two checks for a beat.
    """

    def __init__(self, form: Form, lease: float) -> None:
        self.term = 0
        self.pause = lease / _BEATS
        self._form = form
        self._lease = lease
        self._number = secrets.token_hex(4)
        # All times are monotonic.
        self._beat_seen: tuple[int, bytes] = (-1, b"")  # the last beat of another leader: its term, and a number
        self._beat_seen_at = 0.0
        self._looked_at = 0.0
        self._next_beat = 0.0
        self._waits_until = 0.0  # while others may lead

    @property
    def owner(self) -> str:
        """The name of this candidate in Redis, made of host, process and a random number."""
        return f"{socket.gethostname()}:{os.getpid()}:{self._number}"

    def reconnected(self) -> None:
        """Forget when the last check and beat were, because there was no connection."""
        self._looked_at = self._next_beat = 0.0

    def look(self, link: Link) -> tuple[Picture, bool]:
        """Read who leads; return the picture without its items, and whether there is a new beat of another leader."""
        begin = time.monotonic()
        found = self._ask(link)
        # If this process or Redis was paused, the leader may have had no chance to make a beat.
        was_stopped = begin - self._looked_at > self._lease or time.monotonic() - begin > self.pause
        self._looked_at = time.monotonic()
        beat = (found.term, found.beat)
        is_new = beat != self._beat_seen
        is_first = self._beat_seen[0] < 0  # the first beat that is seen may be years old
        if is_new or was_stopped:
            self._beat_seen, self._beat_seen_at = beat, self._looked_at
        return found, is_new and not is_first and bool(found.owner)

    def may_take_over(self, found: Picture) -> bool:
        """Return whether nobody seemed to lead at the last check, and this candidate need not wait."""
        now = self._looked_at
        return (self._is_free(found) or now - self._beat_seen_at >= self._lease) and now >= self._waits_until

    def take_over(self, link: Link, found: Picture) -> bool:
        """Begin a term, unless another candidate was quicker; return whether this one leads now."""
        term = max(found.term + 1, self.term + 1, time.time_ns() // 1_000_000)
        before = str(found.term) if found.term else ""
        if not self.run(link, scripts.TAKE, 1, self.owner, term, before, found.beat):
            return False
        self.term = term
        self._next_beat = 0.0
        return True

    def is_beat_due(self) -> bool:
        """Return whether it is time for a beat."""
        return time.monotonic() >= self._next_beat

    def until_beat(self) -> float:
        """Return in how many seconds the next beat is due."""
        return max(0.0, self._next_beat - time.monotonic())

    def beat(self, link: Link) -> tuple[int, bytes] | None:
        """Make a beat; return sequence and birth of the picture, or ``None`` if this candidate no longer leads."""
        self._next_beat = time.monotonic() + self.pause
        answer = self.run(link, scripts.BEAT, 1, self.owner, self.term)
        return None if answer is None else (int(answer[0]), answer[1])

    def look_after_loss(self, link: Link) -> Picture | None:
        """Read who leads now; return the picture if nobody does, because Redis was emptied or has an older copy."""
        found = self._ask(link)
        self._looked_at = self._beat_seen_at = time.monotonic()
        self._beat_seen = found.term, found.beat
        return found if self._is_free(found) else None

    def release(self, link: Link, wait: float = 0.0) -> None:
        """Let another candidate lead, and do not lead again for this many seconds."""
        self.run(link, scripts.RELEASE, 1, self.owner, self.term)
        self._waits_until = time.monotonic() + wait

    def run(self, link: Link, script: bytes, keys: int, *arguments: Any) -> Any:
        """Run a script in Redis that takes the first or both keys of the fleet."""
        return link.call("EVAL", script, keys, *(self._form.state, self._form.log)[:keys], *arguments)

    def _is_free(self, found: Picture) -> bool:
        return not found.owner or found.term < self.term

    def _ask(self, link: Link) -> Picture:
        return summary(link.call("HMGET", self._form.state, *META_FIELDS))
