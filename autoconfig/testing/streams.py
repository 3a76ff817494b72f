"""The streams that an emulator has open, the requests so far, and the faults that a test asks for."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Literal
from urllib.parse import parse_qs

from ..validation import is_header_name
from .answer import HEARTBEAT, Answer, End
from .server import RecordedRequest, head_bytes, refusal_bytes

logger = logging.getLogger("autoconfig.testing")

STREAM_PATH = "/relay_auto_config"
_KEPT = 10_000  # requests; an emulator may run for weeks
_WITH_FILTERS = re.compile(r"0*(?:[2-9]|[1-9][0-9]+)")  # values of rpacProtocolVersion
_LINE_END = re.compile(r"\r\n|\r|\n")

Refusal = tuple[int, Mapping[str, str]]


def event_bytes(name: str, data: str) -> bytes:
    """
    Return an event as it is sent, with a ``data:`` line for each line of the data.

    Raises:
        ValueError: The name has a line break in it.
    """
    if _LINE_END.search(name):
        raise ValueError("an event's name must be one line")
    lines = [f"event: {name}", *(f"data: {line}" for line in _LINE_END.split(data)), "", ""]
    return "\n".join(lines).encode("utf-8", "replace")


class Streams:
    """
    Answers the requests, and sends to the open streams; the configuration is left to :class:`Emulator`.

    Args:
        key: The key that requests must have.
        heartbeat_interval: Seconds between two heartbeats of a stream.
        framing: ``"chunked"`` or ``"close"``.
        put_event: Returns the event that a stream begins with. Its argument is whether the client is told of filters.
    """

    def __init__(
        self,
        key: str,
        heartbeat_interval: float,
        framing: Literal["chunked", "close"],
        put_event: Callable[[bool], bytes],
    ) -> None:
        if not heartbeat_interval > 0:
            raise ValueError("heartbeat_interval: must be above zero")
        # Guards all state, the configuration included, so that no change falls between a stream's put and its patches.
        # Notified when requests or streams come or go.
        self._changed = threading.Condition()
        self._key = key
        self._heartbeat_interval = heartbeat_interval
        self._chunked = framing == "chunked"
        self._put_event = put_event
        self._requests: deque[RecordedRequest] = deque(maxlen=_KEPT)
        self._request_count = 0
        self._streams: dict[Answer, bool] = {}  # and whether the client is told of filters
        self._failures: deque[Refusal] = deque()
        self._stalled = False
        self._held: set[Answer] = set()  # streams that were open when the stall began, ended ones too
        self._waiting: dict[Answer, RecordedRequest] = {}  # requests that came during a stall

    @property
    def key(self) -> str:
        """The auto-configuration key that the next request must have. Open streams stay open when it is set."""
        return self._key

    @key.setter
    def key(self, key: str) -> None:
        with self._changed:
            self._key = key

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far, whatever their answer, as a copy of the list. Only the 10,000 newest are kept."""
        return self.requests_since(0)[0]

    @property
    def request_count(self) -> int:
        """How many requests have come so far, also those that :attr:`requests` has dropped."""
        with self._changed:
            return self._request_count

    def requests_since(self, count: int) -> tuple[list[RecordedRequest], int]:
        """
        Return the requests after the first ``count``, and :attr:`request_count`, the argument of the next call.

        Only the 10,000 newest requests are kept.
        """
        with self._changed:
            new = min(self._request_count - count, len(self._requests))
            return [*islice(reversed(self._requests), max(0, new))][::-1], self._request_count

    @property
    def connections(self) -> int:
        """How many streams are open. One that was dropped, or whose client has left, is not."""
        with self._changed:
            return len(self._streams)

    def send_put(self) -> None:
        """Send the full configuration again."""
        with self._changed:
            for stream, with_filters in self._streams.items():
                stream.send(self._put_event(with_filters))

    def send_reconnect(self) -> None:
        """Ask the clients to connect again. Their streams stay open until they do."""
        self.send_event("reconnect", "{}")

    def send_heartbeat(self) -> None:
        """Send a heartbeat now, besides the regular ones."""
        self.send_raw(HEARTBEAT)

    def send_malformed(self) -> None:
        """Send a ``patch`` whose data is not JSON."""
        self.send_event("patch", '{"path": "/environments/')

    def send_event(self, name: str, data: str) -> None:
        """Send any event. A name of more than one line is a ``ValueError``."""
        self.send_raw(event_bytes(name, data))

    def send_raw(self, data: bytes) -> None:
        """Send bytes, which need not be an event, or not a whole one."""
        self._broadcast(data)

    def fail_next(self, status: int, times: int = 1, headers: Mapping[str, str] | None = None) -> None:
        """
        Answer the next requests to the stream with a status instead, whatever their key.

        Further calls add to what is still to come.

        Args:
            status: The status. Even 200 is a failure: the body is a line of plain text.
            times: How many requests are answered so.
            headers: Headers of the answers, such as ``Location`` for a redirect.

        Raises:
            ValueError: The status is not from 200 to 599, or HTTP cannot carry a header.
        """
        headers = dict(headers or {})
        _check_refusal(status, headers)
        with self._changed:
            self._failures.extend([(status, headers)] * times)

    def drop_connections(self, how: End = "abrupt") -> int:
        """
        End every open stream; return how many there were.

        Args:
            how: ``"eof"`` ends it as HTTP says, after what was sent before; during a stall that is after
                :meth:`resume`. ``"abrupt"`` closes the connection in the middle of the answer, and ``"reset"`` does so
                with a TCP RST; both may lose what was sent just before.
        """
        with self._changed:
            streams, self._streams = self._streams, {}
            for stream in streams:
                if how == "eof":
                    stream.end()
                else:
                    stream.drop(how)
            self._changed.notify_all()
        return len(streams)

    def stall(self) -> None:
        """
        Send nothing, as a service that hangs: new requests get no answer, open streams get no events and no heartbeats.

        Connections are still accepted.
        """
        with self._changed:
            self._stalled = True
            for stream in self._streams:
                stream.pause()
            self._held.update(self._streams)

    def resume(self) -> None:
        """Go on after :meth:`stall`: open streams get what was held back, in order; waiting requests are answered."""
        with self._changed:
            self._stalled = False
            for stream in self._held:
                stream.resume()
            self._held.clear()
            waiting, self._waiting = self._waiting, {}
            for answer, request in waiting.items():
                self._begin(answer, request)
            self._changed.notify_all()

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> None:
        """
        Wait until exactly this many streams are open.

        Raises:
            TimeoutError: It took longer than the timeout, in seconds.
        """
        self._wait(lambda: len(self._streams), lambda now: now == count, count, "open streams", timeout)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> None:
        """
        Wait until at least this many requests have come since the emulator was made, answered or not.

        Raises:
            TimeoutError: It took longer than the timeout, in seconds.
        """
        self._wait(lambda: self._request_count, lambda now: now >= count, count, "requests", timeout)

    def _wait(
        self, number: Callable[[], int], enough: Callable[[int], bool], count: int, what: str, timeout: float
    ) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: enough(number()), timeout):
                raise TimeoutError(f"the emulator had {number()} {what} after {timeout:g} s, not {count}")

    def _broadcast(self, data: bytes, *, filters_only: bool = False) -> None:
        """Send to every open stream, or only to those whose clients are told of filters."""
        with self._changed:
            for stream, with_filters in self._streams.items():
                if with_filters or not filters_only:
                    stream.send(data)

    def _handle(self, request: RecordedRequest, answer: Answer) -> None:
        """Begin the answer to a request, now or at the end of the stall."""
        with self._changed:
            self._requests.append(request)
            self._request_count += 1
            if self._stalled:
                self._waiting[answer] = request
            else:
                self._begin(answer, request)
            self._changed.notify_all()

    def _leave(self, answer: Answer) -> None:
        """Forget an answer: it has ended, or its client has left."""
        with self._changed:
            self._waiting.pop(answer, None)
            self._held.discard(answer)
            self._streams.pop(answer, None)
            self._changed.notify_all()

    def _begin(self, answer: Answer, request: RecordedRequest) -> None:
        refusal = self._judge(request)
        request.status = refusal[0] if refusal else 200
        # Without the query, in which a user may have put anything.
        logger.debug("%s %s: %s", request.method, request.target.partition("?")[0], request.status)
        if refusal:
            head_only = request.method == "HEAD"
            answer.answer(refusal_bytes(*refusal, persistent=answer.persistent, head_only=head_only))
        else:
            self._open_stream(answer, request)

    def _judge(self, request: RecordedRequest) -> Refusal | None:
        if not request.target.partition("?")[0].endswith(STREAM_PATH):
            return 404, {}
        if request.method != "GET":
            return 405, {"Allow": "GET"}
        if self._failures:
            return self._failures.popleft()
        if request.headers.get("authorization") != self._key:
            return 401, {}
        return None

    def _open_stream(self, answer: Answer, request: RecordedRequest) -> None:
        chunked = self._chunked and answer.http11
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        if not (chunked and answer.persistent):
            headers["Connection"] = "close"
        versions = parse_qs(request.target.partition("?")[2]).get("rpacProtocolVersion", [])
        with_filters = any(_WITH_FILTERS.fullmatch(version) for version in versions)
        answer.begin(head_bytes(200, headers), chunked=chunked, heartbeat_interval=self._heartbeat_interval)
        answer.send(self._put_event(with_filters))
        self._streams[answer] = with_filters


def _check_refusal(status: int, headers: Mapping[Any, Any]) -> None:
    if not 200 <= status <= 599:
        raise ValueError("status: must be from 200 to 599")
    for name, value in headers.items():
        if not isinstance(name, str) or not is_header_name(name):
            raise ValueError("headers: a name must be of ASCII letters, digits and hyphens")
        if not isinstance(value, str) or any(character > "\xff" or character in "\r\n\0" for character in value):
            raise ValueError(f"headers.{name}: must be a string of Latin-1 characters, with no line break")
