"""Requests over HTTP, read with the standard library's server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from .answer import Answer
from .exchange import RecordedRequest, Refusal, refusal_bytes
from .service import Service

logger = logging.getLogger("autoconfig.testing")

_LONGEST_BODY = 5  # digits in the Content-Length of a body that is read and thrown away


class RequestHandler(BaseHTTPRequestHandler):
    """
    Reads the requests of one connection; what it is made with but the service comes from the standard library's server.

    Args:
        service: Answers the requests.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, service: Service, *connection: Any) -> None:
        self._service = service
        super().__init__(*connection)  # which does everything

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Have every method answered: the base class looks for ``do_GET`` and the like."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not HTTP, without the page of the base class, which repeats what the client sent."""
        logger.debug("Refused a request that cannot be read: %d", code)
        self.close_connection = True
        self.wfile.write(refusal_bytes(Refusal(int(code), {}), persistent=False))

    def log_message(self, format: str, *args: object) -> None:
        """Log without the arguments, which may hold what the client sent."""
        logger.debug("http.server: %s", format)

    def _answer(self) -> None:
        self._skip_body()
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            before = headers.get(name.lower())
            headers[name.lower()] = value if before is None else f"{before}, {value}"
        request = RecordedRequest(self.command, self.requestline.split()[1], headers)
        http11 = self.request_version == "HTTP/1.1"
        answer = Answer(self.connection, persistent=not self.close_connection, http11=http11)
        try:
            self._service.handle(request, answer)
            self.close_connection = not answer.run()
        finally:
            self._service.leave(answer)
            answer.close()

    def _skip_body(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if length.isdecimal() and len(length) <= _LONGEST_BODY and "Transfer-Encoding" not in self.headers:
            self.rfile.read(int(length))
        else:
            self.close_connection = True  # where the next request begins is not known
