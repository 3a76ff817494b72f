"""What the tests of safety send and expect: a key, a short stream, redirects, the headers that everyone may see."""

from __future__ import annotations

import json
from collections.abc import Callable

from support.loopback import Request
from support.scripted_server import Item

from autoconfig import StreamManager

Follow = Callable[..., StreamManager]
"""Follows a stream; the options are those of ``HTTPConfig``, and ``key``, ``handler`` and ``first_delay``."""

KEY = "rel-0a1b2c3d-4e5f-4061-8273-8495a6b7c8d9"
EVENT_ID = "event-1"
EMPTY_PUT: Item = {"event": "put", "id": EVENT_ID, "data": json.dumps({"path": "/", "data": {"environments": {}}})}
ENDED: Item = {"close": "eof"}
PATH = "/relay_auto_config?rpacProtocolVersion=2"
PUBLIC_HEADERS = {"host", "connection", "accept", "accept-encoding", "cache-control", "user-agent"}


def redirect(location: str, status: int = 302, **headers: str) -> list[Item]:
    """Return the answer that sends a client elsewhere."""
    return [{"status": status, "headers": {"Location": location, **headers}}]


def assert_public(request: Request, *secrets: str) -> None:
    """Check that a request holds nothing but what every server may know."""
    more = request.headers.keys() - PUBLIC_HEADERS
    assert not more, f"not everyone may see {more} of {request}"
    for secret in (KEY, EVENT_ID, *secrets):
        assert secret not in str(request), f"not everyone may see {secret!r} of {request}"
