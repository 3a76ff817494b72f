"""What ``autoconfig replay`` prints."""

from __future__ import annotations

import json
from collections import Counter

import attrs

from ..identifiers import mask, mask_keys
from .calls import Call
from .explain import Decision
from .lines import JsonLines, PlainLines
from .output import complain, harmless, put_line
from .wording import counted

UNKNOWN_EVENT = "unknown event"
"""Why an event of another name than the protocol's is ignored."""


@attrs.frozen
class Head:
    """
    What an event is known by.

    Attributes:
        name: Its name.
        path: The path in it; ``""`` if it has none, or is not looked at.
    """

    name: str
    path: str = ""


class Report:
    """
    Tells what happens, in the form that was asked for.

    Args:
        explain: Whether to tell what was done with each event, and not only of calls.
        as_json: Whether to print JSON.
        reveal: Whether to show keys in full.

    Attributes:
        events: How many events there were so far.
    """

    def __init__(self, *, explain: bool, as_json: bool, reveal: bool) -> None:
        self.events = 0
        self._malformed: set[int] = set()  # the numbers of events; one may be malformed in several places
        self._explain, self._json = explain, as_json
        show = str if reveal else mask
        self._lines = JsonLines(show) if as_json else PlainLines(show, self._margin)
        self._calls: Counter[str] = Counter()

    @property
    def malformed(self) -> int:
        """How many of the events were malformed."""
        return len(self._malformed)

    def decided(self, head: Head, decision: Decision) -> None:
        """Tell what was done with an event, or with an item in it."""
        if decision.action == "malformed":
            self._malformed.add(self.events)
            if not self._explain:
                which = f"{decision.kind} {decision.id}: " if decision.id else ""
                complain("replay", f"event {self.events} is malformed: {which}{decision.reason}")
        if not self._explain:
            return
        if self._json:
            put_line(json.dumps({"event": self.events, **_fields(head, decision)}))
        else:
            put_line(f"#{self.events:<4} {harmless(_words(head, decision))}")

    def called(self, call: Call) -> None:
        """Tell of a call of the handler."""
        self._calls[call.name] += 1
        self._lines.show(call)

    def end(self) -> None:
        """Tell people how much there was."""
        if self._explain and not self._json:
            malformed = f" ({self.malformed} malformed)" if self.malformed else ""
            calls = counted(self._calls.total(), "call")
            put_line(f"{counted(self.events, 'event')}{malformed}, {calls} of the handler")

    def _margin(self) -> str:
        return "     " if self._explain else f"#{self.events:<4}"


def _fields(head: Head, decision: Decision) -> dict[str, str | None]:
    """Return what was done for programs; what does not apply is ``null``."""
    fields = {"name": head.name, "path": head.path, **attrs.asdict(decision)}
    shown = {name: mask_keys(value) or None for name, value in fields.items()}
    return {**shown, "id": decision.id or None}  # as it is in the calls, whatever it looks like


def _words(head: Head, decision: Decision) -> str:
    """Return what was done for people."""
    if decision.reason == UNKNOWN_EVENT:
        return f'{UNKNOWN_EVENT} "{head.name}": {decision.action}'
    if head.path and decision.id:  # the path has the id of a patch or a deletion already
        what = f"{head.name} {head.path}: {decision.action}"
    elif decision.action == head.name:
        return f"{head.name}: {decision.reason}"
    else:
        what = f"{f'{head.name} {head.path}'.rstrip()}: {f'{decision.action} {decision.kind} {decision.id}'.rstrip()}"
    separator = ": " if decision.action == "malformed" else ", "
    return f"{what}{separator}{decision.reason}" if decision.reason else what
