"""The pool's report on the client of an environment."""

from __future__ import annotations

from enum import Enum

import attrs


class ClientState(Enum):
    """How an environment is served."""

    IDLE = "idle"
    """Nobody has asked for the client of a lazy pool yet."""
    STARTING = "starting"
    """No client has received flags yet."""
    REFUSED = "refused"
    """No client works, because LaunchDarkly refuses the key or ``make_config`` fails; it is retried."""
    WORKING = "working"
    """The client has the current key and an open stream."""
    ROTATING = "rotating"
    """The client has an earlier key; one with the current key is starting."""
    INTERRUPTED = "interrupted"
    """The client has the current key and the last known flags, but no stream at the moment."""


@attrs.frozen(weakref_slot=False)
class ClientStatus:
    """
    How one environment is served, at one moment.

    Attributes:
        state: See :class:`ClientState`.
        sdk_key: The key of the client that :meth:`ClientPool.get` returns, masked; ``""`` if there is none.
        retired: How many earlier clients of the environment are not closed yet.
        error: Why the newest client does not work: ``"HTTP 401"``, the SDK's name for a kind of error such as
            ``"NETWORK_ERROR"``, or the class of an exception of ``make_config``; ``None`` if nothing does.
    """

    state: ClientState
    sdk_key: str
    retired: int
    error: str | None
