"""What a leader reports of itself, and what followers see of it."""

from __future__ import annotations

import attrs


@attrs.frozen
class LeaderStatus:
    """
    How a leader is doing.

    Attributes:
        leading: Whether it leads, as far as it knows. If another leader took over, Redis refuses its writes.
        term: The number of its term, the time in milliseconds when it began or a higher one; 0 if it does not lead.
        since: When it began to lead, in seconds since 1970; ``None`` if it does not lead.
        sequence: The position in the log of its last write.
        writes: How many writes it has made.
        takeovers: How often it began to lead.
        error: Why it does not reach Redis or does not lead; ``None`` if there is no error. Holds no secret.
    """

    leading: bool = False
    term: int = 0
    since: float | None = None
    sequence: int = 0
    writes: int = 0
    takeovers: int = 0
    error: str | None = None


@attrs.frozen
class LeaderSeen:
    """
    What followers of this process last saw of the leader.

    Attributes:
        owner: Who leads: host, process and a random number; ``""`` if nobody does.
        term: The number of its term: the time in milliseconds when it began, or a higher one.
        alive_at: When its last sign of life was seen, in seconds since 1970; ``None`` before the second one.
        sequence: The position in the log that was reached.
        lag: How many seconds the last change took from Redis to here, by the clocks of both; ``None`` before the first.
    """

    owner: str = ""
    term: int = 0
    alive_at: float | None = None
    sequence: int = 0
    lag: float | None = None
