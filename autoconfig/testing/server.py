"""Connections to the emulator and to the flag service: HTTP and TLS, with a thread for each connection."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from ..validation import is_header_name
from .exchange import Exchange, RecordedRequest, head_bytes, shut_down

logger = logging.getLogger("autoconfig.testing")

_LONGEST_BODY = 8  # digits in the Content-Length of a body that is read
_BACKLOG = 1024  # connections that the system accepts for us; beyond that a client loses a second
_A_DAY = 86_400.0  # seconds
_CLOSING = 5.0  # seconds that close() gives the threads, which need milliseconds
_PAUSE = 0.1  # seconds between attempts to accept a connection when the process is out of descriptors or threads

Handle = Callable[[Exchange], None]


def check_host(host: str) -> None:
    """Raise a ``ValueError`` that says what is wrong; the error of bind() for an impossible host explains nothing."""
    try:
        host.encode("idna")
        possible = "\0" not in host
    except UnicodeError:
        possible = False
    if not possible:
        raise ValueError("host: must be a host's name or address")


def check_answer(status: int, headers: Mapping[Any, Any]) -> None:
    """Raise a ``ValueError`` if the status or the headers cannot be an answer's."""
    if not 200 <= status <= 599:
        raise ValueError("status: must be from 200 to 599")
    for name, value in headers.items():
        if not isinstance(name, str) or not is_header_name(name):
            raise ValueError("headers: a name must be of ASCII letters, digits and hyphens")
        if not isinstance(value, str) or any(character > "\xff" or character in "\r\n\0" for character in value):
            raise ValueError(f"headers.{name}: must be a string of Latin-1 characters, with no line break")


def tls_context(chain: str | os.PathLike[str], key: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return a server's context with the certificate chain and the private key of two files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


class StreamServer:
    """
    Listens from its construction until :meth:`close`, in a thread of its own.

    A connection takes one file descriptor. When the process has no more, a WARNING says so once, and new connections
    wait until others have ended.

    Args:
        handle: Answers a request, now or later. Called in the thread of the connection.
        leave: Called when an answer has ended or its client has left.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        context: For https; ``None`` for http.
        name: What the names of its threads begin with.

    Attributes:
        port: The port that it listens on.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(
        self, handle: Handle, leave: Handle, host: str, port: int, context: ssl.SSLContext | None = None, *, name: str
    ) -> None:
        self._handle = handle
        self._leave = leave
        self._context = context
        self._name = name
        self._lock = threading.Lock()  # guards the next two
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._stopping = threading.Event()
        self._warned = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with ExitStack() as sockets:
            self._listener = sockets.enter_context(socket.create_server((host, port), family=family, backlog=_BACKLOG))
            # With a timeout, accept() takes a descriptor only when there is a connection.
            self._listener.settimeout(_A_DAY)
            self.port: int = self._listener.getsockname()[1]
            # Wakes accept() at the end. It is opened here, because later there may be no descriptor left.
            self._waker = sockets.enter_context(socket.socket(family))
            self._waker.setblocking(False)
            self._listening = threading.Thread(target=self._listen, name=name, daemon=True)
            self._listening.start()
            self._sockets = sockets.pop_all()

    def close(self) -> None:
        """End every connection and thread."""
        deadline = time.monotonic() + _CLOSING
        with self._lock:
            self._stopping.set()
            threads = [self._listening, *self._connections]
        self.drop_all()
        with suppress(OSError):  # it goes on by itself, or this is a second call
            self._waker.connect(self._listener.getsockname())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("Thread %s did not end within %s s", thread.name, _CLOSING)
        self._sockets.close()

    def drop_all(self) -> None:
        """End every connection at once, in the middle of its answer."""
        with self._lock:
            for connection in self._connections.values():
                shut_down(connection)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                self._accept()
            except (TimeoutError, ConnectionError, ssl.SSLError):  # no client for a day, or it left first
                pass
            except (OSError, RuntimeError) as error:  # no descriptor or no thread is left
                self._warn(error)
                self._stopping.wait(_PAUSE)  # the connection still waits, so accept() would return at once

    def _accept(self) -> None:
        connection, address = self._listener.accept()
        with ExitStack() as unless_started:
            unless_started.callback(connection.close)
            connection.setblocking(True)  # whatever socket.setdefaulttimeout() says
            if self._context is not None:
                # The first read does the handshake, in the thread of the connection.
                connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                unless_started.callback(connection.close)
            name = f"{self._name}-{address[1]}"
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
            _Requests(self._handle, self._leave, connection, address, self)
        except OSError as error:
            logger.debug("A connection ended: %s", type(error).__name__)
        except Exception:
            logger.exception("A connection's thread failed")
        finally:
            with self._lock:  # drop_all() must not shut down another file that got this one's descriptor
                connection.close()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            logger.warning("Cannot serve all connections: %s; this is logged once", reason)


class _Requests(BaseHTTPRequestHandler):
    """Reads the requests of one connection; the constructor returns when the connection has ended."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, handle: Handle, leave: Handle, *connection: Any) -> None:
        self._handle = handle
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
        self.wfile.write(head_bytes(int(code), {"Connection": "close"}))

    def log_message(self, format: str, *args: object) -> None:
        """Log without the arguments, which may hold what the client sent."""
        logger.debug("http.server: %s", format)

    def _answer(self) -> None:
        body = self._read_body()
        persistent = body is not None and not self.close_connection and not self._has_sent_more()
        http11 = self.request_version == "HTTP/1.1"
        exchange = Exchange(self.connection, self._recorded(), body or b"", persistent=persistent, http11=http11)
        try:
            self._handle(exchange)
            self.close_connection = not exchange.run()
        finally:
            self._leave(exchange)

    def _recorded(self) -> RecordedRequest:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else f"{before}, {value}"
        return RecordedRequest(self.command, self.requestline.split()[1], headers)

    def _read_body(self) -> bytes | None:
        """Return the request's body; ``None`` if it is not known where it ends."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or len(length) > _LONGEST_BODY or "Transfer-Encoding" in self.headers:
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionResetError("the client left before the end of its request")
        return body

    def _has_sent_more(self) -> bool:
        """
        Return whether the client did not wait for the answer.

        What it sent may be in the buffer of this object, where the exchange cannot see it.
        """
        self.connection.settimeout(0)
        try:
            return bool(self.rfile.peek(1))  # type: ignore[attr-defined]  # a BufferedReader
        except OSError:  # TLS has nothing to read
            return False
        finally:
            self.connection.settimeout(None)
