"""The part of LaunchDarkly's service that clients of the SDK need: a stream of flags, and somewhere to send events."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FLAGS = {"data": {"flags": {}, "segments": {}}, "path": "/"}


class FlagService:
    """
    Serves the flags of all environments on a loopback port, and notes who comes and goes.

    Args:
        unknown: SDK keys that are refused the first time, as those that the service's hosts do not know yet.

    Attributes:
        log: What happened, in order: ``"opened"``, ``"closed"`` or ``"refused"``, and the SDK key.
    """

    def __init__(self, unknown: Iterable[str] = ()) -> None:
        self.log: list[tuple[str, str]] = []
        self._unknown = set(unknown)
        self._changed = threading.Condition()  # guards log, _unknown and _open
        self._open: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False  # so that server_close() waits for them
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def open(self) -> Counter[str]:
        """How many streams each SDK key has open."""
        with self._changed:
            return self._streams()

    def wait_for(self, what: str, key: str, timeout: float = 10.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: (what, key) in self.log, timeout), self.log

    def wait_for_open(self, *keys: str, timeout: float = 10.0) -> None:
        """Wait until there is one stream for each of these keys, and no other."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._streams() == Counter(keys), timeout), self.log

    def close(self) -> None:
        self._server.shutdown()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def note(self, what: str, key: str) -> None:
        with self._changed:
            self.log.append((what, key))
            self._changed.notify_all()

    def takes(self, key: str) -> bool:
        """Return whether the key is good; one that is unknown yet will be the next time."""
        with self._changed:
            if key not in self._unknown:
                return True
            self._unknown.discard(key)
            return False

    def hold(self, connection: socket.socket) -> None:
        """Return when the client has left, or the service is closed."""
        with self._changed:
            self._open.add(connection)
        with suppress(OSError):
            while connection.recv(1024):
                pass
        with self._changed:
            self._open.discard(connection)

    def _streams(self) -> Counter[str]:
        streams: Counter[str] = Counter()
        for what, key in self.log:
            streams[key] += {"opened": 1, "closed": -1}.get(what, 0)
        return +streams


def _handler(service: FlagService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # the SDK reads a stream as it comes only if it comes in chunks

        def do_GET(self) -> None:
            key = self.headers["Authorization"]
            if not service.takes(key):
                self.send_error(401)
                service.note("refused", key)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            service.note("opened", key)
            event = f"event: put\ndata: {json.dumps(FLAGS)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            service.hold(self.connection)
            service.note("closed", key)

        def do_POST(self) -> None:  # events and diagnostics
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
