"""Connections to the emulator: HTTP and TLS, with a thread for each connection."""

from __future__ import annotations

import contextlib
import http
import logging
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import attrs

from ..identifiers import mask
from .answer import Answer

logger = logging.getLogger("autoconfig.testing")

_SECRET_HEADERS = {"authorization", "proxy-authorization"}
_BODILESS = {204, 304}  # statuses whose answers have no body
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
_LONGEST_BODY = 5  # digits in the Content-Length of a body that is read and thrown away
_BACKLOG = 1024  # connections that the system accepts for us; beyond that a client loses a second
_CLOSING = 5.0  # seconds that close() gives the threads, which need milliseconds
_PAUSE = 0.1  # seconds between attempts to accept a connection when the process is out of descriptors or threads


def _masked(headers: Mapping[str, str]) -> str:
    return repr({name: mask(value) if name in _SECRET_HEADERS else value for name, value in headers.items()})


@attrs.define(eq=False)
class RecordedRequest:
    """
    A request that the emulator received.

    Attributes:
        method: The method.
        target: The path and query, as in the request line.
        headers: The headers by lower-case name. The repr masks the key.
        status: The status of the answer; ``None`` until the answer begins, which is after a stall.
    """

    method: str
    target: str
    headers: dict[str, str] = attrs.field(repr=_masked)
    status: int | None = None


Begin = Callable[[RecordedRequest, Answer], None]
Leave = Callable[[Answer], None]


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """Return a status line and headers."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refusal_bytes(status: int, headers: Mapping[str, str], *, persistent: bool, head_only: bool = False) -> bytes:
    """Return a whole answer that is no event stream."""
    body = b"" if status in _BODILESS else b"status %d\n" % status
    own = {"Content-Type": "text/plain", "Content-Length": str(len(body))} if body else {}
    if not persistent:
        own["Connection"] = "close"
    return head_bytes(status, own | dict(headers)) + (b"" if head_only else body)


class RequestHandler(BaseHTTPRequestHandler):
    """
    Reads the requests of one connection; the constructor returns when the connection has ended.

    Args:
        begin: Begins the answer to a request, now or later.
        leave: Called when an answer has ended or its client has left.
        connection: What the standard library's class takes.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, begin: Begin, leave: Leave, *connection: Any) -> None:
        self._begin = begin
        self._leave = leave
        super().__init__(*connection)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Answer every method: the base class looks for ``do_GET`` and so on."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not HTTP. The base class would repeat in its answer what the client sent."""
        logger.debug("Refused a request that cannot be read: %d", code)
        self.close_connection = True
        self.wfile.write(refusal_bytes(int(code), {}, persistent=False))

    def log_message(self, format: str, *args: object) -> None:
        """Log without the arguments, which may hold what the client sent."""
        logger.debug("http.server: %s", format)

    def _answer(self) -> None:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else f"{before}, {value}"
        request = RecordedRequest(self.command, self.requestline.split()[1], headers)
        persistent = self._skip_body() and not self.close_connection and not self._has_sent_more()
        answer = Answer(self.connection, persistent=persistent, http11=self.request_version == "HTTP/1.1")
        try:
            self._begin(request, answer)
            self.close_connection = not answer.run()
        finally:
            self._leave(answer)

    def _skip_body(self) -> bool:
        """Read the request's body; return whether the next request begins where this one ends."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or len(length) > _LONGEST_BODY or "Transfer-Encoding" in self.headers:
            return False
        self.rfile.read(int(length))
        return True

    def _has_sent_more(self) -> bool:
        """
        Return whether the client did not wait for the answer.

        What it sent may be in the buffer of this object, where the answer cannot see it.
        """
        self.connection.settimeout(0)
        try:
            return bool(self.rfile.peek(1))  # type: ignore[attr-defined]  # a BufferedReader
        except OSError:  # TLS has nothing to read
            return False
        finally:
            self.connection.settimeout(None)


class StreamServer:
    """
    Listens from its construction until :meth:`close`, in a thread of its own.

    A connection takes one file descriptor. When the process has no more, a WARNING says so once, and new connections
    wait until others have ended.

    Args:
        begin: See :class:`RequestHandler`. Called in the thread of the connection.
        leave: The same.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        context: For https; ``None`` for http.

    Attributes:
        port: The port that it listens on.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(self, begin: Begin, leave: Leave, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._begin = begin
        self._leave = leave
        self._context = context
        self._lock = threading.Lock()  # guards the next two
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._stopping = threading.Event()
        self._warned = False
        with contextlib.ExitStack() as resources:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = resources.enter_context(
                socket.create_server((host, port), family=family, backlog=_BACKLOG)
            )
            self._listener.setblocking(False)  # a client may leave between select() and accept()
            self.port: int = self._listener.getsockname()[1]
            woken, self._waker = map(resources.enter_context, socket.socketpair())
            # All descriptors that listening needs are opened here: later there may be none left.
            self._selector = resources.enter_context(selectors.DefaultSelector())
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._selector.register(woken, selectors.EVENT_READ)
            self._listening = threading.Thread(target=self._listen, name="autoconfig-emulator", daemon=True)
            self._listening.start()
            self._resources = resources.pop_all()

    def close(self) -> None:
        """End every connection and thread."""
        deadline = time.monotonic() + _CLOSING
        with self._lock:
            self._stopping.set()
            for connection in self._connections.values():
                # Not SSLSocket.shutdown(), which takes the TLS object away from the thread that is using it.
                with contextlib.suppress(OSError):  # the client left first
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            threads = [self._listening, *self._connections]
        self._waker.send(b"\0")
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("Thread %s did not end within %s s", thread.name, _CLOSING)
        self._resources.close()

    def _listen(self) -> None:
        while True:
            self._selector.select()
            if self._stopping.is_set():
                return
            try:
                self._accept()
            except (BlockingIOError, ConnectionError, ssl.SSLError):  # the client left first
                pass
            except (OSError, RuntimeError) as error:  # no descriptor or no thread is left
                self._warn(error)
                self._stopping.wait(_PAUSE)  # the connection still waits, so select() would return at once

    def _accept(self) -> None:
        connection, address = self._listener.accept()
        with contextlib.ExitStack() as unless_started:
            unless_started.callback(connection.close)
            connection.setblocking(True)  # whatever socket.setdefaulttimeout() says
            if self._context is not None:
                # The first read does the handshake, in the thread of the connection.
                connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                unless_started.callback(connection.close)
            name = f"autoconfig-emulator-{address[1]}"
            thread = threading.Thread(target=self._serve, args=(connection, address), name=name, daemon=True)
            with self._lock:  # so that close() sees the connection, or is seen here
                if self._stopping.is_set():
                    return
                self._connections = {other: its for other, its in self._connections.items() if other.is_alive()}
                thread.start()
                self._connections[thread] = connection
            unless_started.pop_all()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        """Serve a connection, in its thread."""
        try:
            RequestHandler(self._begin, self._leave, connection, address, self)
        except OSError as error:
            logger.debug("A connection ended: %s", type(error).__name__)
        except Exception:
            logger.exception("A connection's thread failed")
        finally:
            with self._lock:  # close() must not shut down another file that got this one's descriptor
                connection.close()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            logger.warning("The emulator cannot serve all connections: %s; this is not said again", reason)
