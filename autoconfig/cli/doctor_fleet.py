"""``autoconfig doctor --redis``: each step from the options to the picture in Redis and its leader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from ..exceptions import StreamError
from ..redis.eviction import EvictionError, check_eviction
from ..redis.form import META_FIELDS, Form, Picture, summary
from ..redis.link import Link
from ..stream.cancel import CancelToken
from .doctor_network import Check, CheckFailedError, Finding
from .events import Stream
from .sources import SECRET, Fleet
from .words import brief_time

_GLANCE = 0.2  # seconds between two looks at the leader's sign of life
_EVICTION = "CONFIG SET maxmemory-policy noeviction, or as your provider does it"
_NO_REDIS = "Is the URL right? Does a firewall let this host through? Does the user's ACL allow it?"
_LEADERS_LINE = "Is `autoconfig mirror` running, with this Redis and this name? Run two or more."


class FleetExamination:
    """All checks of a fleet, in their order."""

    def __init__(self, source: Callable[[], Any], timeout: float, stack: ExitStack) -> None:
        self._source = source
        self._timeout = timeout
        self._stack = stack

    def checks(self) -> Iterator[Check]:
        """Yield the name of each check and the function that makes it."""
        yield "configuration", self._options
        yield "redis", partial(_explained, self._redis)
        yield "eviction", partial(_explained, self._eviction)
        yield "picture", partial(_explained, self._picture)
        yield "leader", partial(_explained, self._leader)
        yield "first put", self._first_put

    def _options(self) -> Finding:
        found: Fleet = self._source()
        self._fleet, self._form = found, Form(found.fleet, found.secret)
        details = {"fleet": found.fleet, "encrypted": found.secret is not None}
        if found.secret is None:
            return Finding(f"{found.name}, not encrypted", f"Set {SECRET}, here and for the leaders.", details)
        return Finding(f"{found.name}, encrypted", details=details)

    def _redis(self) -> Finding:
        self._token = CancelToken()
        self._stack.callback(self._token.close)
        self._link = Link(self._fleet.url, self._token, self._timeout)
        self._stack.callback(self._link.close)
        began = time.monotonic()
        self._summary()
        return Finding(f"answers in {brief_time(time.monotonic() - began)}")

    def _eviction(self) -> Finding:
        check_eviction(self._link)
        return Finding("Redis does not evict keys without an expiration, or does not tell this user")

    def _picture(self) -> Finding:
        found = self._summary()
        if not found.sequence:
            raise CheckFailedError("there is no configuration under this name", _LEADERS_LINE)
        return Finding(f"at position {found.sequence}", details={"sequence": found.sequence})

    def _leader(self) -> Finding:
        before = self._summary()
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            now = self._summary()
            if now.owner and now.beat != before.beat:
                return Finding(f"{now.owner} leads, in term {now.term}", details={"owner": now.owner, "term": now.term})
            self._token.wait(_GLANCE)
        if before.owner:
            raise CheckFailedError(f"{before.owner} gave no sign of life within {self._timeout:g} s", _LEADERS_LINE)
        raise CheckFailedError("nobody leads", _LEADERS_LINE)

    def _first_put(self) -> Finding:
        began = time.monotonic()
        stream = self._stack.enter_context(Stream(self._fleet, initial_retry_delay=30.0))
        for _ in stream.events(began + self._timeout):
            if stream.picture.registry.is_ready:
                return Finding(f"{stream.picture.totals()} after {brief_time(time.monotonic() - began)}")
            error = stream.manager.status.last_error
            if error:
                raise CheckFailedError(error.message, f"Do the leaders have the same {SECRET}?")
        raise CheckFailedError(f"no put within {self._timeout:g} s", _LEADERS_LINE)

    def _summary(self) -> Picture:
        return summary(self._link.call("HMGET", self._form.state, *META_FIELDS))


def _explained(check: Callable[[], Finding]) -> Finding:
    """Make a check. If Redis refuses a command or does not answer, say what to do."""
    try:
        return check()
    except EvictionError as error:
        raise CheckFailedError(str(error), _EVICTION) from None
    except StreamError as error:
        raise CheckFailedError(str(error), _NO_REDIS) from None
