"""Says in words why an attempt failed, and logs where a series of failures begins and where it ends."""

from __future__ import annotations

import http.client
import logging
import os
import re
import socket
import ssl
import time

import requests.exceptions
import urllib3.exceptions

from ..exceptions import EventTooLargeError, KeyRejectedError, MalformedMessageError, StreamError
from ..keys import BadKeyError
from ..safe_logger import Logger
from .retry import is_unlikely_to_mend

_NO_FILE = "there is no file of CA certificates, or of the client's certificate, under the name that was given"
_NEEDS_PYSOCKS = "a SOCKS proxy needs PySocks: pip install 'ld-autoconfig[socks]'"
# The beginnings of texts, for errors that only the text tells from others of their class.
_TEXTS: list[tuple[type[BaseException], str, str]] = [
    (OSError, r"Tunnel connection failed: (\d{3})", r"it refused the connection with status \1"),
    (OSError, "Could not find (a suitable TLS CA certificate bundle|the TLS)", _NO_FILE),  # requests' words
    (http.client.HTTPException, r"got more than \d+ headers", "the answer has too many headers"),
    (requests.exceptions.InvalidSchema, "Missing dependencies for SOCKS", _NEEDS_PYSOCKS),
]
_BAD_URL = "the URL, or that of a proxy in the environment, is malformed"
# Of PySocks: errors whose text is one of its own, with the number that the proxy sent. The module is optional.
_SOCKS_ERRORS = frozenset({"GeneralProxyError", "SOCKS4Error", "SOCKS5Error", "SOCKS5AuthError"})
# The words for errors whose innermost cause tells a reader nothing, or changes with the version of a package.
_WORDS: dict[type[BaseException], str] = {
    urllib3.exceptions.NewConnectionError: "there is no connection",
    urllib3.exceptions.ConnectTimeoutError: "no connection in time",
    urllib3.exceptions.DecodeError: "the answer's compression is broken",
    urllib3.exceptions.ProxySchemeUnknown: "the proxy's URL has a scheme that is not known",
    urllib3.exceptions.InvalidHeader: "a header of the answer is malformed",
    http.client.RemoteDisconnected: "the connection was closed without an answer",
    http.client.IncompleteRead: "the connection broke off in the middle of the answer",
    http.client.LineTooLong: "a line of the answer's headers is too long",
    http.client.HTTPException: "the answer is not HTTP",
    urllib3.exceptions.ProtocolError: "the answer is not HTTP, or broke off",
    requests.exceptions.InvalidProxyURL: "the proxy's URL is malformed",
    requests.exceptions.InvalidURL: _BAD_URL,
    urllib3.exceptions.LocationValueError: _BAD_URL,
    requests.exceptions.MissingSchema: _BAD_URL,
    requests.exceptions.InvalidSchema: "the session has no adapter for the URL",
    requests.exceptions.InvalidHeader: "a header of the request has a value that cannot be sent",
    TimeoutError: "nothing was received in time",
}


# The key is the end of OpenSSL's name for the error. The text keeps that name, because readers may search for it.
_TLS_WORDS = {
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
    "PROTOCOL_VERSION": "the other side speaks other versions of TLS only",
    "UNSUPPORTED_PROTOCOL": "the other side speaks other versions of TLS only",
    "HANDSHAKE_FAILURE": "the other side refused the handshake",
    "CERTIFICATE_REQUIRED": "the other side demands a client certificate",
    "UNKNOWN_CA": "the other side does not know the authority of the client's certificate",
}
_TLS_ENDS = ssl.SSLEOFError, ssl.SSLZeroReturnError


class ExplainedError(http.client.HTTPException):
    """
    A failure that this library explains itself. The text holds nothing from the network or the caller.

    It is an ``HTTPException`` so that urllib3 closes the connection that raised it.
    """


class ReconnectRequestedError(StreamError):
    """The service sent a ``reconnect`` event."""


def describe(error: BaseException) -> str:
    """
    Return the reason of another package's exception, without any text from the network or the caller.

    Texts of requests and urllib3 may hold URLs with their queries, values of headers, and data of the server. So the
    reason consists only of our words for the exceptions' types, and of the words of the operating system, OpenSSL and
    PySocks.
    """
    chain = _chain(error)
    proxy = any(isinstance(one, requests.exceptions.ProxyError) or type(one).__module__ == "socks" for one in chain)
    known = [str(one) for one in chain if isinstance(one, ExplainedError | BadKeyError)]
    return "cannot use the proxy: " * proxy + (known or [_describe_chain(chain)])[0]


def _describe_chain(chain: list[BaseException]) -> str:
    cause = chain[-1]
    if isinstance(cause, ssl.SSLError):
        return _describe_tls(cause)
    if isinstance(cause, socket.gaierror):  # its numbers are not those of errno
        return _joined("cannot look up the name", cause.strerror)
    for kind, beginning, words in _TEXTS:
        if isinstance(cause, kind) and (found := re.match(beginning, str(cause))):
            return found.expand(words)
    # The text of what a user's function raised may hold a secret.
    if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.strerror:
        return os.strerror(cause.errno)
    if type(cause).__module__ == "socks" and type(cause).__name__ in _SOCKS_ERRORS:
        return str(cause)
    for kind, words in _WORDS.items():
        if any(isinstance(one, kind) for one in chain):
            return words
    return f"unexpected error ({type(cause).__name__})"


def _describe_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _joined("the certificate is not accepted", getattr(error, "verify_message", None))
    reason = str(getattr(error, "reason", None) or "")  # OpenSSL names none for some errors
    words = next((words for end, words in _TLS_WORDS.items() if reason.endswith(end)), "")
    if isinstance(error, _TLS_ENDS):
        words = "the connection was closed"
    return _joined("TLS failed", words) + (f" (OpenSSL: {reason})" if reason else "")


def _joined(subject: str, words: str | None) -> str:
    return f"{subject}: {words}" if words else subject


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and the errors that led to it: its cause, context or urllib3's ``reason``, and theirs."""
    chain = [error]
    for outer in chain:  # the loop makes it longer
        candidates = [getattr(outer, "reason", None), outer.__cause__, outer.__context__, *outer.args]
        chain += [one for one in candidates if isinstance(one, BaseException) and one not in chain][:1]
    return chain


class RefusedMessageError(MalformedMessageError):
    """The environments of a message have keys that contradict each other; the dispatcher logs which, at ERROR."""


class FailureLog:
    """
    Logs failures of one stream.

    Args:
        logger: Where to.
    """

    def __init__(self, logger: Logger) -> None:
        self._log = logger
        self._since = 0.0  # monotonic; when the present series began
        self._said: set[object] = set()  # types or statuses that were logged above DEBUG in this series

    def failed(self, error: BaseException, delay: float, before: int) -> None:
        """
        Log why a connection ended.

        A series begins with the first failure after an event. In each series, malformed data and a refused key are an
        ERROR once, and a failure that a retry will hardly cure is a WARNING once. Of all other failures, the first of
        a series is a WARNING. The rest are DEBUG lines, because there is one for each attempt.

        Args:
            error: Why it ended.
            delay: How many seconds there are until the next attempt.
            before: How many attempts have failed before this one, since the last event.
        """
        if isinstance(error, ReconnectRequestedError):
            self._log.info("The service asked for a new connection")
            return
        text = str(error) if isinstance(error, StreamError | KeyRejectedError) else describe(error)
        self._log.log(self._level(error, before), "The stream failed: %s; next attempt in %.1f s", text, delay)
        if not before:
            self._since = time.monotonic()

    def recovered(self, failed_attempts: int) -> None:
        """Log that the stream delivers again, if attempts had failed."""
        if failed_attempts:
            lasted = time.monotonic() - self._since
            self._log.info("The stream is back after %.1f s and %d failed attempts", lasted, failed_attempts)
            self._said.clear()

    def _level(self, error: BaseException, before: int) -> int:
        kind = getattr(error, "status", type(error))
        loud = isinstance(error, MalformedMessageError | EventTooLargeError | KeyRejectedError)
        loud = loud and not isinstance(error, RefusedMessageError)
        if kind not in self._said and (loud or is_unlikely_to_mend(error)):
            self._said.add(kind)
            return logging.ERROR if loud else logging.WARNING
        return logging.DEBUG if before else logging.WARNING
