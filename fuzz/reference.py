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
                events.append(ServerSentEvent(name or "message", "\n".join(data) if data else None))
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
    Implements ``MessageHandler``: raises when it is told to, and notes when the other calls break a promise.

    Args:
        fails: Asked before each call whether it is to raise.

    Attributes:
        broken: The calls that broke a promise: they cannot raise, because the dispatcher would take that for a failure.
    """

    def __init__(self, fails: Callable[[], bool]) -> None:
        self.broken: list[str] = []
        self._fails = fails
        self._environments: set[str] = set()
        self._filters: set[str] = set()

    def add_environment(self, params: EnvironmentParams) -> None:
        """Take up an environment."""
        self._call("add_environment", params.env_id not in self._environments)
        self._environments.add(params.env_id)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Expect to know it."""
        self._call("update_environment", params.env_id in self._environments)

    def received_all_environments(self) -> None:
        """Fail like the others."""
        self._call("received_all_environments", True)

    def delete_environment(self, id: str) -> None:
        """Expect to know it."""
        self._call("delete_environment", id in self._environments)
        self._environments.discard(id)

    def add_filter(self, params: FilterParams) -> None:
        """Take up a filter."""
        self._call("add_filter", params.id not in self._filters)
        self._filters.add(params.id)

    def delete_filter(self, id: str) -> None:
        """Expect to know it."""
        self._call("delete_filter", id in self._filters)
        self._filters.discard(id)

    def _call(self, name: str, kept: bool) -> None:
        if self._fails():
            raise ValueError(name)
        if not kept:
            self.broken.append(name)
