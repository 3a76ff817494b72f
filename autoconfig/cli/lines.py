"""What calls are shown in, if that is no table: lines of JSON, and lines in words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from ..status import StreamStatus
from .calls import Call
from .json_form import call_json
from .narration import Narrator
from .output import has_colour, painted, put_line
from .wording import Show

_VERBS = {
    "add_environment": ("added", "green"),
    "update_environment": ("updated", "yellow"),
    "delete_environment": ("deleted", "red"),
    "add_filter": ("added", "green"),
    "delete_filter": ("deleted", "red"),
    "received_all_environments": ("complete", "dim"),
}


class View(Protocol):
    """What the calls are shown in."""

    def show(self, call: Call) -> None:
        """Take up a call."""

    def refresh(self, status: StreamStatus) -> None:
        """Bring what is seen up to date; called several times a second."""


class JsonLines(AbstractContextManager["JsonLines"]):
    """Each call as a JSON object."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def show(self, call: Call) -> None:
        """Print a call."""
        put_line(call_json(call, self._show))

    def refresh(self, status: StreamStatus) -> None:
        """Do nothing: lines do not age."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


def clock() -> str:
    """Return the time of the day."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


class PlainLines(AbstractContextManager["PlainLines"]):
    """
    Each call in words.

    Args:
        show: How secrets are shown.
        margin: Returns what a line begins with.
    """

    def __init__(self, show: Show, margin: Callable[[], str] = clock) -> None:
        self._narrator = Narrator(show)
        self._margin = margin
        self._colour = has_colour()

    def show(self, call: Call) -> None:
        """Print a call."""
        verb, style = _VERBS[call.name]
        wording = self._narrator.put(call)
        facts = [f"id {call.id}", *wording.facts] if call.name.startswith("add_") else wording.facts
        self.say(verb, style, "  ".join(filter(None, [wording.title, ", ".join(facts)])))

    def say(self, verb: str, style: str, text: str) -> None:
        """Print a line."""
        verb = f"{verb:9}"
        put_line(f"{self._margin()}  {painted(verb, style) if self._colour else verb}  {text}")

    def refresh(self, status: StreamStatus) -> None:
        """Do nothing: lines do not age."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""
