"""
LaunchDarkly's flag and event services on a loopback port, for tests of programs that use the SDK's clients.

:class:`FlagService` serves the flags of every SDK key, refuses keys, hangs and goes down on request, and keeps the
events that clients send. The clients are the real ones.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict, TypeVar

import attrs

from ..identifiers import mask
from ..messages import PUT_EVENT
from .exchange import Exchange, event_bytes
from .server import StreamServer, check_answer

__all__ = ["FlagService", "ReceivedEvent", "URIs"]

_HOST = "127.0.0.1"
_STREAM_PATH = "/all"
_POLL_PATH = "/sdk/latest-all"
_EVENTS_PATH = "/bulk"
_FOR_EVER = -1

T = TypeVar("T")

_compact = json.JSONEncoder(separators=(",", ":")).encode


@attrs.frozen
class ReceivedEvent:
    """
    An event that a client has sent.

    Attributes:
        sdk_key: The client's key.
        kind: ``"custom"``, ``"index"``, ``"summary"`` and so on.
        data: The event, as JSON has it; that of a custom event has a ``"key"``.
    """

    sdk_key: str
    kind: str
    data: Mapping[str, Any]


class URIs(TypedDict):
    """Options of the SDK's ``Config``."""

    base_uri: str
    stream_uri: str
    events_uri: str


class FlagService:
    """
    Serves flags to the SDK's clients, by stream and by polling, and takes their events.

    It listens from its construction on, in daemon threads, until :meth:`close` or the end of a ``with`` block. It
    accepts every SDK key, except those given to :meth:`refuse`. Its methods may be called from any thread.

    Args:
        flags: The value of each flag, for everybody.

    Raises:
        TypeError: JSON cannot hold a value.

    Attributes:
        uri: The address to give to ``Config`` as ``base_uri``, ``stream_uri`` and ``events_uri``.
    """

    def __init__(self, flags: Mapping[str, Any] | None = None) -> None:
        _compact(flags)
        self._changed = threading.Condition()  # guards the rest; notified of every change
        self._flags: dict[tuple[str, str], dict[str, Any]] = {("", ""): dict(flags or {})}
        self._version = 1
        self._refused: dict[str, tuple[int, int]] = {}  # how often yet, and with what status
        self._refusals: Counter[str] = Counter()
        self._delay = 0.0
        self._down = self._events_hang = self._closed = False
        self._streams: dict[Exchange, tuple[str, str]] = {}
        self._events: list[ReceivedEvent] = []
        self._server = StreamServer(self._handle, self._leave, _HOST, 0, name="autoconfig-flags")
        self.uri = f"http://{_HOST}:{self._server.port}"

    def __repr__(self) -> str:
        with self._changed:
            return f"<{type(self).__name__} on {self.uri}: {len(self._streams)} streams, {len(self._events)} events>"

    @property
    def uris(self) -> URIs:
        """The addresses by the names that ``Config`` has for them: ``Config(key, **service.uris)``."""
        return {"base_uri": self.uri, "stream_uri": self.uri, "events_uri": self.uri}

    @property
    def streams(self) -> Counter[tuple[str, str]]:
        """How many streams are open, by SDK key and payload filter (``""`` for none)."""
        with self._changed:
            return Counter(self._streams.values())

    @property
    def refusals(self) -> Counter[str]:
        """How often each SDK key was refused a stream."""
        with self._changed:
            return self._refusals.copy()

    @property
    def events(self) -> list[ReceivedEvent]:
        """The events received so far, oldest first, without the SDK's diagnostics."""
        with self._changed:
            return list(self._events)

    def set_flag(self, key: str, value: Any, *, sdk_key: str = "", filter_key: str = "") -> None:
        """
        Set the value of a flag, and tell the open streams.

        Args:
            key: The flag's key.
            value: Anything that JSON has.
            sdk_key: For the clients with this key only; it wins over the value for all.
            filter_key: For the clients with ``sdk_key`` and this payload filter only; it wins over both.

        Raises:
            ValueError: There is a filter without an SDK key.
            TypeError: JSON cannot hold the value.
        """
        if filter_key and not sdk_key:
            raise ValueError("filter_key needs an sdk_key")
        _compact(value)  # so that this call fails, and not the answers to clients
        with self._changed:
            self._flags.setdefault((sdk_key, filter_key), {})[key] = value
            self._version += 1
            for stream, whose in self._streams.items():
                stream.send(self._put_event(*whose))

    def refuse(self, sdk_key: str, times: int | None = None, *, status: int = 401) -> None:
        """
        Refuse a key's streams and polls.

        Streams that are open stay open; see :meth:`disconnect`.

        Args:
            sdk_key: The key.
            times: How many requests to refuse before the key is accepted; ``None`` for all, 0 to accept it again.
            status: The HTTP status of the answers.

        Raises:
            ValueError: The status is not from 200 to 599.
        """
        check_answer(status, {})
        with self._changed:
            self._refused[sdk_key] = (_FOR_EVER if times is None else times, status)

    def set_delay(self, seconds: float) -> None:
        """Delay the answer to each stream and poll, so that clients take that long to start."""
        with self._changed:
            self._delay = seconds

    def disconnect(self, sdk_key: str = "") -> None:
        """Cut the open streams of a key, or all of them."""
        with self._changed:
            for stream, whose in self._streams.items():
                if sdk_key in ("", whose[0]):
                    stream.drop("abrupt")

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Cut all connections, and every new one before it is answered, until the end of the ``with`` block."""
        with self._changed:
            self._down = True
            self._changed.notify_all()
        self._server.drop_all()
        try:
            yield
        finally:
            with self._changed:
                self._down = False

    @contextmanager
    def hanging_events(self) -> Iterator[None]:
        """Leave requests with events, and their clients' ``close()``, without an answer until the end of the block."""
        with self._changed:
            self._events_hang = True
        try:
            yield
        finally:
            with self._changed:
                self._events_hang = False
                self._changed.notify_all()

    def wait_for_streams(self, *sdk_keys: str, timeout: float = 5.0) -> None:
        """
        Wait until there is one stream for each of these keys, and no other.

        Raises:
            TimeoutError: There are others; the text says which ones, with their keys masked.
        """
        wanted = Counter(sdk_keys)
        self._wait(lambda: Counter(key for key, _ in self._streams.values()) == wanted, timeout, "these streams")

    def wait_for_event(self, kind: str, key: str | None = None, *, timeout: float = 5.0) -> ReceivedEvent:
        """
        Wait until an event was received, and return the first one.

        Args:
            kind: The event's kind.
            key: The key that a custom event was tracked with.
            timeout: How many seconds to wait.

        Raises:
            TimeoutError: It was not received; the text says which ones were.
        """

        def received() -> ReceivedEvent | None:
            return next((e for e in self._events if e.kind == kind and key in (None, e.data.get("key"))), None)

        return self._wait(received, timeout, f"an event {kind!r}")

    def close(self) -> None:
        """End every connection and thread; returns when they have ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.close()

    def __enter__(self) -> FlagService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, condition: Callable[[], T | None], timeout: float, what: str) -> T:
        with self._changed:
            if found := self._changed.wait_for(condition, timeout):
                return found
            kinds = Counter(event.kind for event in self._events)
            streams = Counter(" ".join([mask(key), *filter_key.split()]) for key, filter_key in self._streams.values())
            text = f"there are the streams {dict(streams)} and the events {dict(kinds)}"
            raise TimeoutError(f"waited {timeout:g} s for {what}; {text}")

    def _handle(self, exchange: Exchange) -> None:
        """Answer a request, in the thread of its connection."""
        sdk_key = exchange.request.headers.get("authorization", "")
        if exchange.request.method == "POST":
            self._take_events(exchange, sdk_key)
        elif exchange.path in (_STREAM_PATH, _POLL_PATH):
            self._send_flags(exchange, sdk_key, exchange.query.get("filter", [""])[0])
        else:
            exchange.respond(404)

    def _send_flags(self, exchange: Exchange, sdk_key: str, filter_key: str) -> None:
        with self._changed:
            self._changed.wait_for(self._is_unreachable, self._delay)
            if self._is_unreachable():
                exchange.drop("abrupt")
            elif status := self._refusal(sdk_key):
                exchange.respond(status)
            elif exchange.path == _POLL_PATH:
                body = _compact(self._configuration(sdk_key, filter_key)).encode()
                exchange.respond(200, {"Content-Type": "application/json"}, body)
            else:
                exchange.begin_stream()
                exchange.send(self._put_event(sdk_key, filter_key))
                self._streams[exchange] = (sdk_key, filter_key)
            self._changed.notify_all()

    def _refusal(self, sdk_key: str) -> int | None:
        """Return the status with which a key is refused this time."""
        times, status = self._refused.get(sdk_key, (0, 0))
        if not times:
            return None
        self._refusals[sdk_key] += 1
        self._refused[sdk_key] = (max(times - 1, _FOR_EVER), status)
        return status

    def _take_events(self, exchange: Exchange, sdk_key: str) -> None:
        body = exchange.request_body
        if exchange.request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        events = json.loads(body) if exchange.path == _EVENTS_PATH else []  # no diagnostics
        with self._changed:
            self._changed.wait_for(lambda: self._is_unreachable() or not self._events_hang)
            if self._is_unreachable():
                exchange.drop("abrupt")
                return
            self._events += [ReceivedEvent(sdk_key, event["kind"], event) for event in events]
            exchange.respond(202)
            self._changed.notify_all()

    def _leave(self, exchange: Exchange) -> None:
        """Forget a stream that has ended, or whose client has left."""
        with self._changed:
            self._streams.pop(exchange, None)
            self._changed.notify_all()

    def _is_unreachable(self) -> bool:
        """Return whether requests get no answer at all."""
        return self._closed or self._down

    def _configuration(self, sdk_key: str, filter_key: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for whose in dict.fromkeys([("", ""), (sdk_key, ""), (sdk_key, filter_key)]):
            values |= self._flags.get(whose, {})
        return {"flags": {key: _flag(key, value, self._version) for key, value in values.items()}, "segments": {}}

    def _put_event(self, sdk_key: str, filter_key: str) -> bytes:
        return event_bytes(PUT_EVENT, _compact({"path": "/", "data": self._configuration(sdk_key, filter_key)}))


def _flag(key: str, value: Any, version: int) -> dict[str, Any]:
    """Return a flag, as the service writes it, that has one value for everybody."""
    return {
        "key": key,
        "version": version,
        "on": True,
        "variations": [value],
        "offVariation": 0,
        "fallthrough": {"variation": 0},
        "targets": [],
        "rules": [],
        "prerequisites": [],
        "salt": key,
    }
