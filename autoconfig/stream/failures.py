"""What went wrong, in words that can be logged."""

from __future__ import annotations

import os
import re
import ssl

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


def describe(error: BaseException) -> str:
    """
    Return what a foreign exception says, without anything that the network or the caller put into its text.

    Texts of requests and urllib3 hold URLs with their queries, headers' values and what a server sent. So only three
    things are taken from the innermost error: its type, the operating system's words for its number, and OpenSSL's
    words.
    """
    cause = _innermost(error)
    name = type(cause).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{name}: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"{name}: {cause.reason}"
    if isinstance(cause, OSError):
        if tunnel := _TUNNEL.search(str(cause)):
            return f"the proxy refused the connection with status {tunnel[1]}"
        if cause.errno is not None and cause.strerror:
            return f"{name}: {cause.strerror if cause.errno < 0 else os.strerror(cause.errno)}"
    return name


def _innermost(error: BaseException) -> BaseException:
    """Follow causes, contexts and urllib3's ``reason`` as far as they go."""
    seen = {id(error)}
    while True:
        candidates = [getattr(error, "reason", None), error.__cause__, error.__context__, *error.args]
        inner = next((one for one in candidates if isinstance(one, BaseException) and id(one) not in seen), None)
        if inner is None:
            return error
        seen.add(id(inner))
        error = inner
