"""What the target is compared with: a plain reader of event streams, and a handler that checks the order of calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from autoconfig import EnvironmentParams, FilterParams
from autoconfig.stream.events import ServerSentEvent

BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile("\r\n|\r|\n")
_RETRY = re.compile("[0-9]+")
_DIGITS = 32  # how many of a retry's digits the parser looks at
# By the last call for an item and whether it succeeded: which calls may be the next.
_ALLOWED = {
    ("delete", True): {"add"},
    ("add", False): {"add", "delete"},
    ("add", True): {"update", "delete"},
    ("update", True): {"update", "delete"},
    ("update", False): {"update", "delete"},
    ("delete", False): {"delete"},
}


class Stream(NamedTuple):
    """What a stream means."""

    events: list[ServerSentEvent]
    last_event_id: str
    retry: int | None


def read(stream: bytes) -> Stream:
    """
    Read a stream line by line, as WHATWG HTML 9.2.6 has it.

    One thing is the relay's: a block without data is an event if it has a name.
    """
    *lines, _ = _LINE_END.split(stream.removeprefix(BOM).decode("utf-8", "replace"))
    events: list[ServerSentEvent] = []
    name, data, id, last_event_id, retry = "", list[str](), "", "", None
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_event_id = id
            if data or name not in ("", "message"):
                events.append(((name or "message").encode(), "\n".join(data).encode() if data else None))
            name, data = "", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            id = value
        elif field == "retry" and _RETRY.fullmatch(value):
            retry = int(value.lstrip("0")[:_DIGITS] or "0")
    return Stream(events, last_event_id, retry)


class CheckingHandler:
    """
    Implements ``MessageHandler``: raises when it is told to, and notes when a call is not what the rule allows.

    The rule: after an addition that raised come additions, or a deletion; after an update that raised, updates or a
    deletion; after a deletion that raised, deletions until one succeeds.

    Args:
        fails: Asked before each call whether it is to raise.

    Attributes:
        broken: The calls that broke the rule: they cannot raise, because the dispatcher would take that for a failure.
    """

    def __init__(self, fails: Callable[[], bool]) -> None:
        self.broken: list[str] = []
        self._fails = fails
        self._last: dict[tuple[str, str], tuple[str, bool]] = {}

    def add_environment(self, params: EnvironmentParams) -> None:
        """Take up an environment."""
        self._call("add", "environment", params.env_id)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Expect to know it."""
        self._call("update", "environment", params.env_id)

    def received_all_environments(self) -> None:
        """Fail like the others."""
        if self._fails():
            raise ValueError("received_all_environments")

    def delete_environment(self, id: str) -> None:
        """Let it go."""
        self._call("delete", "environment", id)

    def add_filter(self, params: FilterParams) -> None:
        """Take up a filter."""
        self._call("add", "filter", params.id)

    def delete_filter(self, id: str) -> None:
        """Let it go."""
        self._call("delete", "filter", id)

    @property
    def left(self) -> list[tuple[str, str]]:
        """What may still be there: its last call is not a deletion that succeeded."""
        return [item for item, last in self._last.items() if last != ("delete", True)]

    def _call(self, what: str, kind: str, id: str) -> None:
        last = self._last.get((kind, id), ("delete", True))
        if what not in _ALLOWED[last]:
            self.broken.append(f"{what} of the {kind} {id!r} after {last}")
        failed = self._fails()
        self._last[kind, id] = what, not failed
        if failed:
            raise ValueError(what)
