"""What went wrong, in words that can be logged."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl

import requests.exceptions
import urllib3.exceptions

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
_NO_FILE = ("Could not find a suitable TLS CA certificate bundle", "Could not find the TLS")  # requests' words
# For errors whose innermost cause says nothing to anyone, or changes with the version of a package.
_WORDS: dict[type[BaseException], str] = {
    urllib3.exceptions.ReadTimeoutError: "nothing was received in time",
    urllib3.exceptions.ConnectTimeoutError: "no connection in time",
    urllib3.exceptions.DecodeError: "the answer's compression is broken",
    http.client.RemoteDisconnected: "the connection was closed without an answer",
    http.client.IncompleteRead: "the connection broke off in the middle of the answer",
    urllib3.exceptions.InvalidChunkLength: "the connection broke off in the middle of the answer",
    http.client.HTTPException: "the answer is not HTTP",
    urllib3.exceptions.ProtocolError: "the answer is not HTTP, or broke off",
    requests.exceptions.InvalidURL: "the URL is malformed",
}


def describe(error: BaseException) -> str:
    """
    Return what a foreign exception says, without anything that the network or the caller put into its text.

    Texts of requests and urllib3 hold URLs with their queries, headers' values and what a server sent. So only these
    are taken from the chain of errors: types, the operating system's words for a number, and OpenSSL's words.
    """
    chain = _chain(error)
    through = "cannot use the proxy: " if any(isinstance(one, requests.exceptions.ProxyError) for one in chain) else ""
    return through + _describe_chain(chain)


def _describe_chain(chain: list[BaseException]) -> str:
    cause = chain[-1]
    name = type(cause).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _joined(name, getattr(cause, "verify_message", None))
    if isinstance(cause, ssl.SSLError):
        return _joined(name, getattr(cause, "reason", None))
    if isinstance(cause, socket.gaierror):
        return _joined(name, cause.strerror)  # its numbers are not those of errno
    if isinstance(cause, OSError):
        if tunnel := _TUNNEL.search(str(cause)):
            return f"it refused the connection with status {tunnel[1]}"
        if str(cause).startswith(_NO_FILE):
            return "there is no file of CA certificates, or of the client's certificate, under the name that was given"
        if isinstance(cause.errno, int) and cause.strerror:  # what a user's function raises may hold anything
            return _joined(name, os.strerror(cause.errno))
    for kind, words in _WORDS.items():
        if any(isinstance(one, kind) for one in chain):
            return words
    return name


def _joined(name: str, words: str | None) -> str:
    return f"{name}: {words}" if words else name


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and what led to it: causes, contexts, and urllib3's ``reason``, as far as they go."""
    chain = [error]
    while True:
        candidates = [getattr(error, "reason", None), error.__cause__, error.__context__, *error.args]
        inner = next((one for one in candidates if isinstance(one, BaseException) and one not in chain), None)
        if inner is None:
            return chain
        chain.append(inner)
        error = inner
