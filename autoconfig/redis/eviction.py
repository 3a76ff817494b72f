"""Whether Redis may drop the configuration to make room."""

from __future__ import annotations

import re

from ..exceptions import AutoConfigError, StreamError
from .link import Link

_POLICY = re.compile(rb"maxmemory_policy:(\S+)")


class EvictionError(AutoConfigError):
    """Redis may drop the configuration when its memory is full, so nobody may begin to lead there."""

    def __init__(self, policy: str) -> None:
        super().__init__(f"Redis may evict the fleet's configuration: its maxmemory-policy is {policy}; set noeviction")
        self.policy = policy

    def __reduce__(self) -> tuple[type[EvictionError], tuple[str]]:
        return type(self), (self.policy,)


def check_eviction(link: Link) -> None:
    """Raise :class:`EvictionError` if Redis may drop keys that do not expire; pass if this user may not ask."""
    try:
        found = _POLICY.search(link.call("INFO", "memory"))
    except StreamError:
        return
    if found and found[1].startswith(b"allkeys"):
        raise EvictionError(found[1].decode())
