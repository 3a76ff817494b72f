"""Who gets which answer: the open streams, the requests so far, and the faults that were asked for."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from urllib.parse import parse_qs

import attrs

from .answer import Answer, End
from .exchange import Exchange, RecordedRequest, Refusal, head_bytes, refusal_bytes

logger = logging.getLogger("autoconfig.testing")

STREAM_PATH = "/relay_auto_config"
_KEPT = 10_000  # requests; an emulator may run for weeks
_WITH_FILTERS = re.compile(r"0*(?:[2-9]|[1-9][0-9]+)")  # values of rpacProtocolVersion


class Service:
    """
    Answers requests, and sends events to all that have a stream open.

    Args:
        key: The key that requests must have.
        chunked: Whether streams are sent in chunks, to clients that know them.
        heartbeat_interval: Seconds between two heartbeats of a stream.
        put_event: Returns the event that a stream begins with; its argument is whether the filters belong in it.
            Called with the lock held.

    Attributes:
        changed: Guards all state, and the configuration too, so that a stream's first event and its later ones fit
            together. Notified when requests or streams come or go.
        key: The key that requests must have.
        request_count: How many requests have come so far.
        streams: The open streams, and whether each is told of filters.
    """

    def __init__(
        self, key: str, *, chunked: bool, heartbeat_interval: float, put_event: Callable[[bool], bytes]
    ) -> None:
        self.changed = threading.Condition()
        self.key = key
        self.request_count = 0
        self.streams: dict[Answer, bool] = {}
        self._chunked = chunked
        self._heartbeat_interval = heartbeat_interval
        self._put_event = put_event
        self._exchanges: deque[Exchange] = deque(maxlen=_KEPT)
        self._failures: deque[Refusal] = deque()
        self._stalled = False
        self._held: set[Answer] = set()  # streams that were open when the stall began, dropped ones too
        self._waiting: dict[Answer, Exchange] = {}  # requests that came during a stall

    def handle(self, request: RecordedRequest, answer: Answer) -> None:
        """Take a request; its answer begins now, or at the end of the stall."""
        with self.changed:
            exchange = Exchange(request)
            self._exchanges.append(exchange)
            self.request_count += 1
            if self._stalled:
                self._waiting[answer] = exchange
            else:
                self._begin(answer, exchange)
            self.changed.notify_all()

    def requests_since(self, count: int) -> tuple[list[RecordedRequest], int]:
        """Return the requests after the first so many, as far as they are kept, and how many there were in all."""
        with self.changed:
            new = min(self.request_count - count, len(self._exchanges))
            newest = islice(reversed(self._exchanges), max(0, new))
            return [exchange.request for exchange in newest][::-1], self.request_count

    def leave(self, answer: Answer) -> None:
        """Forget an answer, because it has ended or its client has left."""
        with self.changed:
            self._waiting.pop(answer, None)
            self._held.discard(answer)
            self.streams.pop(answer, None)
            self.changed.notify_all()

    def broadcast(self, data: bytes, *, filters_only: bool = False) -> None:
        """Send to every open stream, or to those only that are told of filters."""
        with self.changed:
            for stream, with_filters in self.streams.items():
                if with_filters or not filters_only:
                    stream.send(data)

    def broadcast_put(self) -> None:
        """Send everything to every open stream."""
        with self.changed:
            for stream, with_filters in self.streams.items():
                stream.send(self._put_event(with_filters))

    def fail_next(self, refusal: Refusal, times: int) -> None:
        """Have the next requests to the stream refused."""
        with self.changed:
            self._failures.extend([refusal] * times)

    def drop(self, how: End) -> int:
        """End every open stream; return how many there were."""
        with self.changed:
            count = len(self.streams)
            for stream in self.streams:
                stream.end(how)
            self.streams.clear()
            self.changed.notify_all()
        return count

    def stall(self) -> None:
        """Send nothing more to anyone, until :meth:`resume`."""
        with self.changed:
            self._stalled = True
            for stream in self.streams:
                stream.pause()
            self._held.update(self.streams)

    def resume(self) -> None:
        """Go on after :meth:`stall`."""
        with self.changed:
            self._stalled = False
            for stream in self._held:
                stream.resume()
            self._held.clear()
            for answer in list(self._waiting):  # taken out first: no answer may begin twice, even if one fails
                self._begin(answer, self._waiting.pop(answer))
            self.changed.notify_all()

    def _begin(self, answer: Answer, exchange: Exchange) -> None:
        request = exchange.request
        refusal = self._judge(request)
        status = refusal.status if refusal else 200
        exchange.request = attrs.evolve(request, status=status)
        # Without the query, in which a user may have put anything.
        logger.debug("%s %s: %s", request.method, request.target.partition("?")[0], status)
        if refusal:
            answer.begin(refusal_bytes(refusal, answer.persistent, request.method == "HEAD"), reusable=True)
            answer.end("eof")
        else:
            self._open_stream(answer, request)

    def _judge(self, request: RecordedRequest) -> Refusal | None:
        if not request.target.partition("?")[0].endswith(STREAM_PATH):
            return Refusal(404, {})
        if request.method != "GET":
            return Refusal(405, {"Allow": "GET"})
        if self._failures:
            return self._failures.popleft()
        if request.headers.get("authorization") != self.key:
            return Refusal(401, {})
        return None

    def _open_stream(self, answer: Answer, request: RecordedRequest) -> None:
        chunked = self._chunked and answer.http11
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        if not (chunked and answer.persistent):
            headers["Connection"] = "close"
        answer.begin(
            head_bytes(200, headers), chunked=chunked, reusable=chunked, heartbeat_interval=self._heartbeat_interval
        )
        versions = parse_qs(request.target.partition("?")[2]).get("rpacProtocolVersion", [])
        with_filters = any(_WITH_FILTERS.fullmatch(version) for version in versions)
        answer.send(self._put_event(with_filters))
        self.streams[answer] = with_filters
