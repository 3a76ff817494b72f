"""The events of a stream: calls of the handler, changes of the state and remarks; in one queue, and as lines."""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partialmethod
from typing import Any

import attrs

from ..environments import EnvironmentParams, FilterParams
from ..exceptions import KeyRejectedError
from ..handler import MessageHandler
from ..identifiers import FilterID
from ..ready_made.in_a_row import HandlersInARow
from ..ready_made.registry import EnvironmentRegistry
from ..status import StreamState, StreamStatus
from . import FAILURE, KEY_REJECTED, NOT_READY, words
from .output import CommandError, harmless, printable, put_entry, put_record
from .sources import Source
from .words import Show

_GLANCE = 0.25  # seconds between two looks at the clock
_SETTLE = 2.0  # seconds for what takes milliseconds
_REMARKS = (
    "Ignored environment",
    "The service's configuration contains no environments",
)  # the beginnings of log lines that people should see

VERBS = {  # for each call a word and a colour
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

Item = EnvironmentParams | FilterParams


@attrs.frozen
class Call:
    """One call of the handler."""

    name: str
    argument: Item | str | None = None  # None for received_all_environments
    reason: str = ""  # for environment_refused
    before: Item | None = None  # what was known of the environment or filter before; set by Picture.apply()

    @property
    def id(self) -> str:
        """The id of the environment or filter; ``""`` if the call is about none."""
        match self.argument:
            case EnvironmentParams(env_id=id) | FilterParams(id=id):
                return id
            case _:
                return self.argument or ""


@attrs.frozen
class Remark:
    """A log line that people should see, for example about an entry that was ignored."""

    text: str


Event = Call | Remark | StreamStatus


class CallHandler:
    """A handler that hands each call on as a value."""

    def __init__(self, take: Callable[[Call], object]) -> None:
        self._take = take

    def _call(self, name: str, argument: Item | str | None = None, reason: str = "") -> None:
        self._take(Call(name, argument, reason))

    add_environment = partialmethod(_call, "add_environment")
    update_environment = partialmethod(_call, "update_environment")
    delete_environment = partialmethod(_call, "delete_environment")
    add_filter = partialmethod(_call, "add_filter")
    delete_filter = partialmethod(_call, "delete_filter")
    received_all_environments = partialmethod(_call, "received_all_environments")
    environment_refused = partialmethod(_call, "environment_refused")


class Picture:
    """
    What the calls so far add up to: a registry in the thread that shows the calls.

    If projects are given, by key or name, items of other projects are not shown.
    """

    def __init__(self, projects: Iterable[str] = ()) -> None:
        self.registry = EnvironmentRegistry()
        self._projects = {project.casefold() for project in projects}

    def apply(self, call: Call) -> Call:
        """Apply a call; return it with what was known before."""
        is_filter = call.name.endswith("filter")
        before = self.registry.filters.get(FilterID(call.id)) if is_filter else self.registry.get(call.id)
        if call.name != "environment_refused":
            getattr(self.registry, call.name)(*([] if call.argument is None else [call.argument]))
        return attrs.evolve(call, before=before)

    def shows(self, *items: object) -> bool:
        """Return whether to show a call about these: one is an item of a shown project, or none is an item."""
        projects = [_projects_of(item) for item in items if isinstance(item, Item)]
        return not self._projects or not projects or any(map(self._projects.intersection, projects))

    def environments(self) -> list[EnvironmentParams]:
        """Return the environments that are shown, sorted for people."""
        return sorted(filter(self.shows, self.registry.environments.values()), key=words.sort_key)

    def filters(self) -> list[str]:
        """Return in words the payload filters that are shown."""
        return sorted(map(words.filter_title, filter(self.shows, self.registry.filters.values())))

    def totals(self) -> str:
        """Return how many environments and filters are shown."""
        return words.totals(len(self.environments()), len(self.filters()))


def _projects_of(item: Item) -> set[str]:
    names = item if isinstance(item, FilterParams) else item.identifiers
    return {names.proj_key.casefold(), getattr(names, "proj_name", names.proj_key).casefold()}


class Stream:
    """
    A source that is followed while the ``with`` block runs.

    ``picture`` and ``ignored`` have what the events that were taken so far add up to.

    Args:
        source: The source.
        also: A handler that is called too, after each event is noted.
        projects: Keys or names of projects; calls about others are not yielded. If there are none, all are.
        settings: More for its manager.
    """

    def __init__(
        self, source: Source, also: MessageHandler | None = None, projects: Iterable[str] = (), **settings: Any
    ) -> None:
        self.picture = Picture(projects)
        self.ignored: list[str] = []  # the remarks
        self.advice = source.advice
        self._source = source
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._log = logging.getLogger("autoconfig.stream")
        handler: MessageHandler = CallHandler(self._events.put)
        if also is not None:
            handler = HandlersInARow(handler, also)
        self.manager = source.manager(handler, logger=self._log, **settings)
        self.manager.add_status_listener(self._events.put)

    def __enter__(self) -> Stream:
        self._log.addFilter(self._note_remark)
        self._connected = self.manager.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.close()
        self._log.removeFilter(self._note_remark)

    def _note_remark(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text.startswith(_REMARKS):
            self._events.put(Remark(text))
        return True

    def events(self, deadline: float = math.inf) -> Iterator[Event | None]:
        """
        Yield what happens, and ``None`` several times a second, until the stream is over or at the deadline.

        Raises:
            CommandError: The stream has ended, because the key was rejected or for another reason.
        """
        glance = time.monotonic() + _GLANCE
        while True:
            over = self._end()  # before an event is taken, so that none is missed
            try:
                event = self._events.get(timeout=0.0 if over else max(0.0, min(glance, deadline) - time.monotonic()))
            except queue.Empty:
                if over:
                    raise over from None
                yield None
                if time.monotonic() >= deadline:
                    return
                glance = time.monotonic() + _GLANCE
                continue
            if isinstance(event, Remark):
                self.ignored.append(event.text)
            elif isinstance(event, Call):
                event = self.picture.apply(event)
            if not isinstance(event, Call) or self.picture.shows(event.before, event.argument):
                yield event

    def settle(self) -> StreamStatus:
        """Take events until everything received was handled; return the status, which has all refusals only then."""
        for event in self.events(time.monotonic() + _SETTLE):
            if event is None and not self.manager.status.queued_batches:
                break
        return self.manager.status

    @property
    def is_connected(self) -> bool:
        """Whether the service has answered with a stream at least once."""
        return self._connected.done() and self._connected.exception() is None

    def late(self, problem: str) -> CommandError:
        """Return the error for what did not come in time, with the last error of the stream as the reason."""
        error = self.manager.status.last_error
        reason = f": {error.message}" if error else ""
        return CommandError("--timeout", f"{problem}{reason}", self.advice, NOT_READY)

    def _end(self) -> CommandError | None:
        try:
            if not self.manager.join(timeout=0):
                return None
        except KeyRejectedError as error:
            problem = f"the service rejected the key (HTTP status {error.status})"
            fix = "check that it is the key of an auto-configuration profile (rel-…) and was not reset since"
            return CommandError(self._source.key_name, problem, fix, KEY_REJECTED)
        except Exception as error:  # why a thread of the library ended
            return CommandError("the stream", f"ended unexpectedly: {error}", "run it again with -v", FAILURE)
        return CommandError("the stream", "has ended", "run it again with -v", FAILURE)


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


class PlainLines:
    """Prints events in words, in lines that begin with what ``margin`` returns, or with the time of the day."""

    def __init__(self, show: Show, picture: Picture, margin: Callable[[], str] = str) -> None:
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
                self.say(*VERBS[event.name], "  ".join(filter(None, [what, ", ".join(facts)])))
            case Remark(text=text):
                self.say("warning", "yellow", harmless(text))
            case _:
                is_valid = event.state is StreamState.VALID
                # If it was valid before, only the refused environments have changed, which have lines of their own.
                if not (is_valid and self._was_valid):
                    self.say(event.state.value, STATE_COLOURS[event.state], self._state(event))
                self._was_valid = is_valid

    def say(self, verb: str, colour: str, text: str) -> None:
        """Print a line."""
        put_entry(verb, colour, text, self._margin())

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
