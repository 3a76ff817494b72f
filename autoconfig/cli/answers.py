"""The answers to a request of the client, redirects included: more than the client itself tells of them."""

from __future__ import annotations

from typing import Any

import attrs
import requests

from .arguments import without_keys
from .output import shown_uri


@attrs.frozen
class Answer:
    """
    One answer.

    Attributes:
        status: Its HTTP status.
        location: Where it redirects to, without what may be secret; ``""`` if nowhere.
        content_type: Its ``Content-Type``.
    """

    status: int
    location: str
    content_type: str


class Answers:
    """Makes sessions for the client that take down all answers; only the last one is no redirect."""

    def __init__(self) -> None:
        self._answers: list[Answer] = []

    def session(self) -> requests.Session:
        """Return a new session."""
        session = requests.Session()
        session.hooks["response"] = [self._note]
        return session

    @property
    def last(self) -> Answer:
        """The last answer; one with the status 0 if there was none."""
        return self._answers[-1] if self._answers else Answer(0, "", "")

    @property
    def detour(self) -> str:
        """The redirects in words; ``""`` without one."""
        redirects = [f"{one.status} to {one.location}" for one in self._answers[:-1]]
        return f"after {', then '.join(redirects)}" if redirects else ""

    def details(self) -> dict[str, object]:
        """Return the same for programs."""
        redirects = [{"status": one.status, "location": one.location} for one in self._answers[:-1]]
        return {"status": self.last.status or None, "redirects": redirects}

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        location = response.headers.get("Location", "")
        shown = without_keys(shown_uri(location) if "://" in location else location.partition("?")[0])
        self._answers.append(Answer(response.status_code, shown, response.headers.get("Content-Type", "")))
