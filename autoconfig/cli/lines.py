"""Events as lines: JSON for programs, words for people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ..environments import EnvironmentParams, FilterParams
from ..status import StreamState, StreamStatus
from . import words
from .events import Call, Event, Picture, Remark
from .output import harmless, painted, printable, put_line, put_record
from .words import Show

_VERBS = {
    "add_environment": ("added", "green"),
    "update_environment": ("updated", "yellow"),
    "delete_environment": ("deleted", "red"),
    "add_filter": ("added", "green"),
    "delete_filter": ("deleted", "red"),
    "received_all_environments": ("complete", "dim"),
    "environment_refused": ("refused", "red"),
}
STATE_COLOURS = {
    StreamState.INITIALIZING: "yellow",
    StreamState.VALID: "green",
    StreamState.INTERRUPTED: "red",
    StreamState.OFF: "red",
}


def call_json(call: Call, show: Show) -> dict[str, object]:
    """Return a call as a JSON object."""
    fields: dict[str, object] = {"call": call.name, "id": call.id, "reason": call.reason}
    if isinstance(call.argument, EnvironmentParams):
        fields["params"] = words.environment_json(call.argument, show)
    elif isinstance(call.argument, FilterParams):
        fields["params"] = words.filter_json(call.argument)
    return {name: value for name, value in fields.items() if value != ""}


def put_event(event: Event, show: Show) -> None:
    """Print an event as a JSON object."""
    match event:
        case Call():
            put_record(**call_json(event, show))
        case Remark(text=text):
            put_record(warning=text)
        case _:
            put_record(status=words.status_json(event))


def clock() -> str:
    """Return the time of the day."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


class PlainLines:
    """Prints events in words, in lines that begin with what ``margin`` returns."""

    def __init__(self, show: Show, picture: Picture, margin: Callable[[], str] = clock) -> None:
        self._show = show
        self._picture = picture
        self._margin = margin
        self._interrupted_at: datetime | None = None
        self._was_valid = False

    def show(self, event: Event) -> None:
        """Print an event."""
        match event:
            case Call():
                what, facts = wording(event, self._picture, self._show)
                self.say(*_VERBS[event.name], "  ".join(filter(None, [what, ", ".join(facts)])))
            case Remark(text=text):
                self.say("warning", "yellow", harmless(text))
            case _:
                is_valid = event.state is StreamState.VALID
                # If it was before, environments are refused now or no more, which has lines of its own.
                if not (is_valid and self._was_valid):
                    self.say(event.state.value, STATE_COLOURS[event.state], self._state(event))
                self._was_valid = is_valid

    def say(self, verb: str, colour: str, text: str) -> None:
        """Print a line."""
        put_line(f"{self._margin()}  {painted(f'{verb:12}', colour)} {text}".rstrip())

    def _state(self, status: StreamStatus) -> str:
        now = datetime.now().astimezone()
        if status.state is StreamState.VALID:
            since, self._interrupted_at = self._interrupted_at, None
            return f"the stream is back after {words.age((now - since).total_seconds())}" if since else "connected"
        if status.last_error is None:
            return words.state_words(status, now)
        self._interrupted_at = self._interrupted_at or status.last_error.time
        return f"{printable(status.last_error.message)}; {words.state_words(status, now)}"


def wording(call: Call, picture: Picture, show: Show) -> tuple[str, list[str]]:
    """Return in words what a call is about and, for an update, what is different."""
    match call.argument, call.before:
        case None, _:
            return picture.totals(), []
        case EnvironmentParams() as now, EnvironmentParams() as before:
            return words.title(now), words.differences(before, now, show)
        case EnvironmentParams() as now, _:
            return words.title(now), [f"id {printable(now.env_id)}", *words.properties(now, show)]
        case FilterParams() as now, _:
            return words.title(now), []
    facts = [printable(call.reason)] if call.reason else []
    return words.title(call.before) if call.before else printable(call.id), facts
