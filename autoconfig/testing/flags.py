"""
LaunchDarkly's flag and event services on a loopback port, for tests of programs that use the SDK's clients.

:class:`FlagService` serves the flags of every SDK key, refuses keys, hangs and goes down as it is told, and keeps the
events that clients send. It needs nothing but the standard library; the clients are the real ones.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

__all__ = ["FlagService", "ReceivedEvent"]

_FOR_EVER = -1


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


class FlagService:
    """
    Serves flags to the SDK's clients, by stream and by polling, and takes their events.

    It listens from its construction on, in daemon threads, until :meth:`close` or the end of a ``with`` block. Every
    SDK key is good until :meth:`refuse` says otherwise. Its methods may be called from any thread.

    Args:
        flags: The value of each flag, for everybody.

    Attributes:
        uri: The address to give to ``Config`` as ``base_uri``, ``stream_uri`` and ``events_uri``.
    """

    def __init__(self, flags: Mapping[str, Any] | None = None) -> None:
        self._changed = threading.Condition()  # guards the rest; notified of every change
        self._flags: dict[tuple[str, str], dict[str, Any]] = {("", ""): dict(flags or {})}
        self._version = 1
        self._refused: dict[str, tuple[int, int]] = {}  # how often yet, and with what status
        self._refusals: Counter[str] = Counter()
        self._delay = 0.0
        self._down = self._events_hang = self._closed = False
        self._streams: dict[socket.socket, tuple[str, str]] = {}
        self._events: list[ReceivedEvent] = []
        self._server = _Server(self)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def uris(self) -> dict[str, str]:
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
        """
        if filter_key and not sdk_key:
            raise ValueError("filter_key needs an sdk_key")
        with self._changed:
            self._flags.setdefault((sdk_key, filter_key), {})[key] = value
            self._version += 1
            for stream, whose in self._streams.items():
                with suppress(OSError):  # the client is gone
                    stream.sendall(self._put(*whose))

    def refuse(self, sdk_key: str, times: int | None = None, *, status: int = 401) -> None:
        """
        Refuse a key's streams and polls.

        Streams that are open stay open; see :meth:`disconnect`.

        Args:
            sdk_key: The key.
            times: How often, before it is good; ``None`` for ever, 0 to accept it again.
            status: The HTTP status of the answers.
        """
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
                    _cut(stream)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Cut all connections, and every new one before it is answered, until the end of the ``with`` block."""
        with self._changed:
            self._down = True
        self._server.cut_all()
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
            TimeoutError: There are others; the text says how many of how many different keys.
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

        def found() -> ReceivedEvent | None:
            return next((e for e in self._events if e.kind == kind and key in (None, e.data.get("key"))), None)

        self._wait(lambda: found() is not None, timeout, f"an event {kind!r}")
        event = found()
        assert event is not None
        return event

    def close(self) -> None:
        """End every connection and thread; returns when they have ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.close()

    def __enter__(self) -> FlagService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                kinds = Counter(event.kind for event in self._events)
                open_ = f"{len(self._streams)} streams of {len(set(self._streams.values()))} keys and filters"
                raise TimeoutError(f"waited {timeout} s for {what}; there are {open_} and the events {dict(kinds)}")

    def _admit(self, sdk_key: str) -> int:
        """Return the status of the answer to a request for flags; 0 for no answer at all."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._down, self._delay)
            if self._down or self._closed:
                return 0
            times, status = self._refused.get(sdk_key, (0, 200))
            if not times:
                return 200
            self._refusals[sdk_key] += 1
            self._refused[sdk_key] = (max(times - 1, _FOR_EVER), status)
            self._changed.notify_all()
            return status

    def _serve_stream(self, stream: socket.socket, sdk_key: str, filter_key: str) -> None:
        """Send the flags, and return when the client has left or was cut off."""
        with self._changed, suppress(OSError):
            self._streams[stream] = (sdk_key, filter_key)
            stream.sendall(self._put(sdk_key, filter_key))
            self._changed.notify_all()
        with suppress(OSError):
            while stream.recv(1024):
                pass
        with self._changed:
            del self._streams[stream]
            self._changed.notify_all()

    def _take_events(self, sdk_key: str, events: list[dict[str, Any]]) -> bool:
        """Keep events; return whether to answer."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._down or not self._events_hang)
            if self._closed or self._down:
                return False
            self._events += [ReceivedEvent(sdk_key, event["kind"], event) for event in events]
            self._changed.notify_all()
            return True

    def _configuration(self, sdk_key: str, filter_key: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for whose in dict.fromkeys([("", ""), (sdk_key, ""), (sdk_key, filter_key)]):
            values |= self._flags.get(whose, {})
        return {"flags": {key: _flag(key, value, self._version) for key, value in values.items()}, "segments": {}}

    def _put(self, sdk_key: str, filter_key: str) -> bytes:
        data = json.dumps({"path": "/", "data": self._configuration(sdk_key, filter_key)}, separators=(",", ":"))
        event = f"event: put\ndata: {data}\n\n".encode()
        return b"%x\r\n%b\r\n" % (len(event), event)


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


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # the client went first
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    """A thread for each connection, all of which :meth:`close` ends."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, service: FlagService) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, service))
        self._lock = threading.Lock()  # guards the next three
        self._connections: set[socket.socket] = set()
        self._workers: set[threading.Thread] = set()
        self._closed = False
        name = f"autoconfig-flags-{self.server_port}"
        self._listener = threading.Thread(target=self.serve_forever, args=(0.05,), name=name, daemon=True)
        self._listener.start()

    def server_bind(self) -> None:
        """Bind without the look-up of the host's full name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a connection."""
        worker = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._lock:
            if self._closed:
                request.close()
                return
            self._connections.add(request)
            self._workers = {other for other in self._workers if other.is_alive()} | {worker}
            worker.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.discard(request)
        _cut(request)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out clients that went away, which is what tests do to them."""

    def cut_all(self) -> None:
        """Cut every connection."""
        with self._lock:
            for connection in self._connections:
                _cut(connection)

    def close(self) -> None:
        """End everything."""
        self.shutdown()
        with self._lock:
            self._closed = True
            workers = list(self._workers)
        self.cut_all()
        for thread in (self._listener, *workers):
            thread.join(5.0)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the SDK reads a stream as it comes only if it comes in chunks

    def __init__(self, service: FlagService, *args: Any) -> None:
        self._service = service
        super().__init__(*args)

    def do_GET(self) -> None:
        """Serve flags."""
        url = urlsplit(self.path)
        sdk_key = self.headers.get("Authorization", "")
        filter_key = parse_qs(url.query).get("filter", [""])[0]
        if url.path not in ("/all", "/sdk/latest-all"):
            self._answer(404)
        elif (status := self._service._admit(sdk_key)) != 200:
            self._answer(status)
        elif url.path == "/all":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            self._service._serve_stream(self.connection, sdk_key, filter_key)
        else:
            with self._service._changed:
                configuration = self._service._configuration(sdk_key, filter_key)
            self._answer(200, json.dumps(configuration).encode())

    def do_POST(self) -> None:
        """Take events and diagnostics."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        events = json.loads(body) if self.path == "/bulk" else []
        answers = self._service._take_events(self.headers.get("Authorization", ""), events)
        self._answer(202 if answers else 0)

    def log_message(self, format: str, *args: object) -> None:
        """Keep stderr clean."""

    def _answer(self, status: int, body: bytes = b"") -> None:
        """Answer and end the connection; without a status, end it at once."""
        self.close_connection = True
        if not status:
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
