"""``autoconfig mirror``: a process that may lead a fleet on Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import OK
from .output import put_entry, reader_is_gone
from .sources import Connection, Fleet, needs_redis
from .words import counted

if TYPE_CHECKING:
    from ..redis import LeaderStatus

_GLANCE = 0.2  # seconds between two looks at the leader


def run(*, source: Callable[[], Connection], fleet: Callable[[], Fleet], lease: float) -> int:
    """Lead, or stand by, until a signal comes; then hand over."""
    with needs_redis():
        from ..redis import Leader
    service, followed = source(), fleet()
    leader = Leader(followed.url, followed.fleet, service.manager, secret=followed.secret, lease=lease)
    put_entry("ready", "dim", f"to mirror {service.name} into {followed.name}, as {leader.owner}")
    pause = threading.Event()
    seen = leader.status
    with leader:
        while not reader_is_gone():
            status = leader.status
            _tell(seen, status)
            seen = status
            pause.wait(_GLANCE)
    return OK


def _tell(before: LeaderStatus, now: LeaderStatus) -> None:
    if now.error and now.error != before.error:
        put_entry("error", "red", now.error)
    if before.error and not now.error and now.term == before.term:  # else it leads again, which says more
        put_entry("back", "green", "Redis can be used again")
    if now.leading and now.term != before.term:
        put_entry("leads", "green", f"in term {now.term}")
    if before.leading and not now.leading:
        put_entry("stands by", "yellow", f"after {counted(now.writes, 'write')}")
