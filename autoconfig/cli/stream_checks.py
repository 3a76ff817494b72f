"""The checks of the service's answer: HTTP status, content type, the first put, a heartbeat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import attrs
import requests

from ..exceptions import (
    ConnectionFailedError,
    KeyRejectedError,
    MalformedMessageError,
    StreamEndedError,
    UnexpectedStatusError,
)
from ..identifiers import mask, show
from ..messages import PUT_EVENT, PutMessageData
from ..stream.cancel import CancelToken
from ..stream.connection import EVENT_STREAM, Connector, endpoint
from ..stream.decoding import decode
from ..stream.events import EventParser
from .connection import Connection
from .findings import PROXY_LOGIN, Finding, TroubleError, limited
from .outcome import KEY_REJECTED
from .replies import Replies
from .wording import brief_time, totals

_HEARTBEAT = 180  # seconds between two heartbeats of the real service
_LONGEST = 30_000_000.0  # seconds; just below what HTTPConfig takes
_SLOW = "Try again with a longer --timeout. The service, or something on the way, is slow."
_HELD_BACK = "Does something on the way hold the stream back? A proxy must not buffer or inspect text/event-stream."
_STRANGER = "That host is not the URI's, so it is not sent the key. If it is the service, change the URI."
_STATUS_FIXES = {
    401: _STRANGER,  # from the URI's own host, these two reject the key
    403: _STRANGER,
    404: "Is the URI the service's base? /relay_auto_config is added to its path.",
    407: PROXY_LOGIN,
    429: "Too many requests: are there many clients, or is one started again and again?",
}
_OTHER_STATUS = "The service, or a proxy before it, has a problem: see https://status.launchdarkly.com, or try later."


class StreamChecks:
    """
    Makes the request as the client does, with its own code, and reads on with each check.

    Args:
        way: What was asked for.
        timeout: Seconds that each check may take.
        heartbeat: Seconds to wait for a heartbeat; ``None`` not to.
        stack: Closes the connection at the end.
    """

    def __init__(self, way: Connection, timeout: float, heartbeat: float | None, stack: ExitStack) -> None:
        self._way = way
        self._timeout = timeout
        self._heartbeat = heartbeat
        self._stack = stack
        self._replies = Replies()
        self._token = CancelToken()
        self._pieces: Iterator[bytes] = iter(())
        self._parser = EventParser(max_event_bytes=way.http_config.max_event_bytes)
        self._began = self._last_byte = 0.0  # monotonic

    def http(self) -> Finding:
        """Make the request."""
        config = attrs.evolve(
            self._way.http_config,
            connect_timeout=self._timeout,
            read_timeout=min(max(self._timeout, self._heartbeat or 0.0) + 60, _LONGEST),  # limited() comes first
            session_factory=self._replies.session,
        )
        connector = Connector(lambda: self._way.key, endpoint(self._way.uri, 2), config, self._token)
        self._began = time.monotonic()
        try:
            with limited(self._token, self._timeout, _SLOW):
                self._pieces = self._stack.enter_context(connector.connect(""))
        except KeyRejectedError as error:
            raise self._rejected(error.status) from None
        except UnexpectedStatusError as error:
            text = f"{error.status} {self._replies.detour}".rstrip()
            raise TroubleError(text, _STATUS_FIXES.get(error.status, _OTHER_STATUS), self._replies.details()) from None
        except ConnectionFailedError as error:
            if self._replies.last.status != requests.codes.ok:  # else it is the content type, the next check's
                fix = "The host could be reached a moment ago. Try again."
                raise TroubleError(str(error), fix, self._replies.details()) from None
        if self._replies.detour:
            fix = f"If the redirect is meant to last, change the URI ({self._way.uri_from})."
            return Finding(f"200 {self._replies.detour}", fix, "warn", self._replies.details())
        return Finding("200", details=self._replies.details())

    def content_type(self) -> Finding:
        """Look at what the answer says it is."""
        found = self._replies.last.content_type
        details = {"content_type": found}
        if found.partition(";")[0].strip().lower() == EVENT_STREAM:
            return Finding(EVENT_STREAM, details=details)
        fix = "Something other than the service answered, such as a proxy's login page. Open the URI in a browser."
        raise TroubleError(f"{show(found)} instead of {EVENT_STREAM}", fix, details)

    def first_put(self) -> Finding:
        """Wait for the full configuration."""
        size = 0
        with limited(self._token, self._timeout, _HELD_BACK):
            try:
                for piece in self._pieces:
                    size += len(piece)
                    self._last_byte = time.monotonic()
                    for name, data in self._parser.feed(piece):
                        if name == PUT_EVENT and isinstance(put := decode(name, data or ""), PutMessageData):
                            return self._counted(put, size)
                    if self._parser.oversized:
                        raise TroubleError("it is larger than the client takes", "See HTTPConfig.max_event_bytes.")
            except StreamEndedError as error:
                raise TroubleError(f"{error}, after {size} bytes and before a put", _HELD_BACK) from None
            except MalformedMessageError as error:
                raise TroubleError(str(error), "The client drops such a put. Is this the right service?") from None
        raise AssertionError  # the loop ends without a put only when the time is over

    def heartbeat(self) -> Finding:
        """Wait for the next sign of life."""
        if self._heartbeat is None:
            return Finding(f"not checked; use --heartbeat {_HEARTBEAT + 20} to wait for one", state="skip")
        try:
            with limited(self._token, self._heartbeat, ""):
                for piece in self._pieces:
                    events = self._parser.feed(piece)
                    if events or b"\n" in piece or b"\r" in piece:
                        gap = time.monotonic() - self._last_byte
                        what = f"{show(events[0].event)} event" if events else "heartbeat"
                        return Finding(f"{what} after {brief_time(gap)}", details={"gap": round(gap, 3), "what": what})
        except StreamEndedError as error:
            fix = f"Something closes quiet connections; the service sends a heartbeat every {_HEARTBEAT} s."
            raise TroubleError(str(error), fix) from None
        except TroubleError:  # the time is over
            text = f"nothing within {self._heartbeat:g} s"
            if self._heartbeat >= _HEARTBEAT:
                raise TroubleError(text, _HELD_BACK) from None
            return Finding(text, f"The service sends one every {_HEARTBEAT} s only; wait longer.", "warn")
        raise AssertionError  # the loop ends without one only when the time is over

    def _rejected(self, status: int) -> TroubleError:
        detour = f" {self._replies.detour}" if self._replies.detour else ""
        fix = "Is it the key of an auto-configuration profile (rel-…), and was it reset since?"
        if status == requests.codes.forbidden:
            fix += " Or does something on the way forbid it?"
        text = f"{status}{detour}: the service rejected the key {mask(self._way.key)} ({self._way.key_from})"
        return TroubleError(text, fix, self._replies.details(), KEY_REJECTED)

    def _counted(self, put: PutMessageData, size: int) -> Finding:
        took = time.monotonic() - self._began
        environments, filters = len(put.data.environments), len(put.data.filters)
        flawed = list(put.data.flawed)
        details: dict[str, object] = {"environments": environments, "filters": filters, "flawed": flawed, "bytes": size}
        details["after"] = round(took, 3)
        text = f"{totals(environments, filters)} after {brief_time(took)} ({size} bytes)"
        if flawed:
            fix = "The keys of these contradict themselves, so the client will connect again and again."
            return Finding(f"{text}; flawed: {', '.join(map(show, flawed))}", fix, "warn", details)
        if not environments:
            return Finding(text, "Does the profile's policy cover the environments that you expect?", "warn", details)
        return Finding(text, details=details)
