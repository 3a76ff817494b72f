"""Connections and their threads, TLS included, with the standard library's server."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import socket
import ssl
import sys
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from .http_requests import RequestHandler
from .service import Service

logger = logging.getLogger("autoconfig.testing")

_SHORTAGE = (errno.EMFILE, errno.ENFILE)
_CLOSING = 5.0  # seconds that close() gives the threads, which need milliseconds
_PAUSE = 0.1  # seconds after a connection that could not be accepted, while others end


class StreamServer(ThreadingHTTPServer):
    """
    Listens from its construction until :meth:`close`, in a thread of its own and one for each connection.

    A connection with a stream takes four file descriptors. When there are no more, a WARNING says so once; connections
    then wait until others have ended, and one that has been accepted already may be closed without an answer.

    Args:
        service: Answers the requests.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        context: For https; ``None`` for http.

    Raises:
        OSError: The address cannot be listened on.
    """

    request_queue_size = 128

    def __init__(self, service: Service, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._context = context
        self._lock = threading.Lock()  # guards the next three
        self._connections: set[socket.socket] = set()
        self._workers: set[threading.Thread] = set()
        self._stopping = False
        self._starved = False  # the last connection could not be accepted
        self._warned = False
        super().__init__((host, port), partial(RequestHandler, service))
        self.socket.setblocking(False)  # a client may have gone again between select() and accept()
        self._woken, self._waker = socket.socketpair()  # a byte in it ends the wait for connections
        self._woken.settimeout(_PAUSE)
        self._listening = threading.Thread(target=self._listen, name="autoconfig-emulator", daemon=True)
        self._listening.start()

    def close(self) -> None:
        """End every connection and thread."""
        deadline = time.monotonic() + _CLOSING
        with self._lock:
            self._stopping = True
            for connection in self._connections:
                # Not SSLSocket.shutdown(), which takes the TLS object away from the thread that is using it.
                with contextlib.suppress(OSError):  # the client went first
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
            threads = [self._listening, *self._workers]
        self._waker.send(b"\0")
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("Thread %s did not end within %s s", thread.name, _CLOSING)
        self.server_close()
        self._woken.close()
        self._waker.close()

    def server_bind(self) -> None:
        """Bind without the look-up of the host's full name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; the TLS handshake is left to the connection's thread."""
        try:
            connection, address = self.socket.accept()
        except (BlockingIOError, ConnectionError):  # the client went first
            raise
        except OSError as error:
            self._starved = True
            self._warn(error)
            raise
        connection.setblocking(True)  # whatever the listener or socket.setdefaulttimeout() says
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a connection."""
        arguments = (request, client_address)
        name = f"autoconfig-emulator-{client_address[1]}"
        worker = threading.Thread(target=self.process_request_thread, args=arguments, name=name, daemon=True)
        with self._lock:
            # Under the lock, so that close() either sees the connection or is seen here.
            if self._stopping:
                request.close()
                return
            self._connections.add(request)
            self._workers = {other for other in self._workers if other.is_alive()}
            worker.start()
            self._workers.add(worker)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, in its thread."""
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; how it ends was settled before."""
        with self._lock:
            self._connections.discard(request)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what ended a connection's thread: a client that went away is no news, anything else is a bug."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in _SHORTAGE:
            self._warn(error)
        elif isinstance(error, OSError):
            logger.debug("A connection ended: %s", type(error).__name__)
        else:
            logger.error("A connection's thread failed", exc_info=error)

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                selector.select()
                if self._stopping:
                    return
                self.handle_request()
                if self._starved:
                    self._starved = False
                    # The connection still waits to be accepted, so select() would return at once. What is waited for
                    # is close(), whose byte has to stay for select().
                    with contextlib.suppress(TimeoutError):
                        self._woken.recv(1, socket.MSG_PEEK)

    def _warn(self, error: OSError) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            words = os.strerror(error.errno or 0)
            logger.warning("The emulator cannot serve all connections: %s; this is not said again", words)
