"""The answers to a request of the client, redirects included: more than the client itself says of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

import attrs
import requests

from .output import harmless, shown_uri


@attrs.frozen
class Reply:
    """
    One answer to a request.

    Attributes:
        status: Its HTTP status.
        location: Where it redirects to, without what may be secret; ``""`` if nowhere.
        content_type: Its ``Content-Type``.
    """

    status: int
    location: str
    content_type: str


class Replies:
    """Makes sessions for the client that take down all answers; only the last one is no redirect."""

    def __init__(self) -> None:
        self._replies: list[Reply] = []

    def session(self) -> requests.Session:
        """Return a new session."""
        session = requests.Session()
        session.hooks["response"] = [self._note]
        return session

    @property
    def last(self) -> Reply:
        """The last answer; one with the status 0 if there was none."""
        return self._replies[-1] if self._replies else Reply(0, "", "")

    @property
    def detour(self) -> str:
        """The redirects in words; ``""`` without one."""
        redirects = [f"{one.status} to {one.location}" for one in self._replies[:-1]]
        return f"after {', then '.join(redirects)}" if redirects else ""

    def details(self) -> dict[str, object]:
        """Return the same for programs."""
        redirects = [{"status": one.status, "location": one.location} for one in self._replies[:-1]]
        return {"status": self.last.status or None, "redirects": redirects}

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        location = _shown_location(response.url, response.headers.get("Location", ""))
        self._replies.append(Reply(response.status_code, location, response.headers.get("Content-Type", "")))


def _shown_location(url: str, location: str) -> str:
    """Return where a redirect leads to: whole, because a relative one may name another host, and without secrets."""
    if not location:
        return ""
    try:
        target = urljoin(url, location)
    except ValueError:  # brackets that do not match, and the like
        return "something that is not a URL"
    return harmless(shown_uri(target))
