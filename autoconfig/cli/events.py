"""The events of a stream for people: handler calls, changes of the state and remarks, in one queue and as lines."""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partialmethod
from typing import Any

import attrs

from ..environments import EnvironmentParams, FilterParams
from ..exceptions import KeyRejectedError
from ..handler import MessageHandler
from ..handlers_in_a_row import HandlersInARow
from ..identifiers import FilterID
from ..registry import EnvironmentRegistry
from ..status import StreamState, StreamStatus
from . import FAILURE, KEY_REJECTED
from .options import Source
from .output import CommandError, harmless, painted, printable, put_json, put_line, timestamp
from .words import (
    Show,
    age,
    differences,
    environment_json,
    filter_json,
    filter_title,
    properties,
    sort_key,
    state_words,
    status_json,
    title,
    totals,
)

GLANCE = 0.25  # seconds between two looks at the clock
_SETTLE = 2.0  # seconds for what takes milliseconds
_REMARKS = (
    "Ignored environment",
    "The service's configuration contains no environments",
)  # how log lines begin that people should see
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


@attrs.frozen
class Call:
    """
    One call of the handler.

    Attributes:
        name: The method's name.
        argument: What it was called with; ``None`` for ``received_all_environments``.
        reason: Why the environment was refused, for ``environment_refused``.
    """

    name: str
    argument: EnvironmentParams | FilterParams | str | None = None
    reason: str = ""

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
    """
    A log line that people should see, for example about an entry that was ignored.

    Attributes:
        text: The log line.
    """

    text: str


Event = Call | Remark | StreamStatus


class CallHandler:
    """A handler that hands each call on as a value."""

    def __init__(self, take: Callable[[Call], object]) -> None:
        self._take = take

    def _call(
        self, name: str, argument: EnvironmentParams | FilterParams | str | None = None, reason: str = ""
    ) -> None:
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
    The environments and filters after the calls so far: a registry in the thread that shows the calls.

    Args:
        projects: Keys or names of projects; what belongs to others is not shown. If there are none, everything is.
    """

    def __init__(self, projects: tuple[str, ...] = ()) -> None:
        self.registry = EnvironmentRegistry()
        self._projects = {project.casefold() for project in projects}

    def apply(self, call: Call) -> EnvironmentParams | FilterParams | None:
        """Apply a call; return the environment or filter before it."""
        if call.name.endswith("filter"):
            before: EnvironmentParams | FilterParams | None = self.registry.filters.get(FilterID(call.id))
        else:
            before = self.registry.get(call.id)
        if call.name != "environment_refused":
            getattr(self.registry, call.name)(*([] if call.argument is None else [call.argument]))
        return before

    def shows(self, *items: object) -> bool:
        """Return whether a call is shown: it is about no item, or about one of the shown projects."""
        known = [item for item in items if isinstance(item, EnvironmentParams | FilterParams)]
        return not self._projects or not known or any(not self._projects.isdisjoint(_projects_of(one)) for one in known)

    def environments(self) -> list[EnvironmentParams]:
        """Return the environments that are shown, in the order in which people read them."""
        return sorted(filter(self.shows, self.registry.environments.values()), key=sort_key)

    def filters(self) -> list[str]:
        """Return in words the payload filters that are shown."""
        return sorted(map(filter_title, filter(self.shows, self.registry.filters.values())))

    def totals(self) -> str:
        """Return how many environments and filters are shown."""
        return totals(len(self.environments()), len(self.filters()))


def _projects_of(item: EnvironmentParams | FilterParams) -> set[str]:
    if isinstance(item, FilterParams):
        return {item.proj_key.casefold()}
    return {item.identifiers.proj_key.casefold(), item.identifiers.proj_name.casefold()}


class _Remarks(logging.Handler):
    def __init__(self, take: Callable[[Remark], object]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(_REMARKS):
            self._take(Remark(text))


class Stream:
    """
    A source that is followed while the ``with`` block runs.

    Args:
        source: The source.
        also: A handler that is called too, after each event is noted.
        settings: More for its manager.
    """

    def __init__(self, source: Source, also: MessageHandler | None = None, **settings: Any) -> None:
        self._source = source
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._log = logging.getLogger("autoconfig.stream")
        self._remarks = _Remarks(self._events.put)
        handler: MessageHandler = CallHandler(self._events.put)
        if also is not None:
            handler = HandlersInARow(handler, also)
        self.manager = source.manager(handler, logger=self._log, **settings)
        self.manager.add_status_listener(self._events.put)

    def __enter__(self) -> Stream:
        self._log.addHandler(self._remarks)
        self._connected = self.manager.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.close()
        self._log.removeHandler(self._remarks)

    def events(self, deadline: float = math.inf) -> Iterator[Event | None]:
        """
        Yield what happens, and ``None`` several times a second, until the stream is over or at the deadline.

        Raises:
            CommandError: The stream has ended, because the key was rejected or for another reason.
        """
        while True:
            over = self._end()  # before the events are taken, so that none of them is missed
            patience = 0.0 if over else min(GLANCE, deadline - time.monotonic())
            try:
                event = self._events.get(timeout=max(0.0, patience))
                while True:
                    yield event
                    event = self._events.get_nowait()
            except queue.Empty:
                pass
            if over:
                raise over
            yield None
            if time.monotonic() >= deadline and not self._events.qsize():
                return

    def settled_status(self) -> StreamStatus:
        """Return the status when everything received was handled, because only then it has the refused environments."""
        deadline = time.monotonic() + _SETTLE
        while (status := self.manager.status).queued_batches and time.monotonic() < deadline:
            time.sleep(0.01)
        return status

    @property
    def is_connected(self) -> bool:
        """Whether the service has answered with a stream at least once."""
        return self._connected.done() and self._connected.exception() is None

    def _end(self) -> CommandError | None:
        name = self._source.key_name
        try:
            if not self.manager.join(timeout=0):
                return None
        except KeyRejectedError as error:
            problem = f"the service rejected the key (HTTP status {error.status})"
            fix = "check that it is the key of an auto-configuration profile (rel-…) and was not reset since"
            return CommandError(name, problem, fix, KEY_REJECTED)
        except Exception as error:  # why a thread of the library ended
            return CommandError("the stream", f"ended unexpectedly: {error}", "run it again with -v", FAILURE)
        return CommandError("the stream", "has ended", "run it again with -v", FAILURE)


class View:
    """What shows events."""

    def show(self, event: Event) -> None:
        """Show an event."""
        raise NotImplementedError

    def refresh(self, status: StreamStatus) -> None:
        """Refresh what is seen; called several times a second. Lines do not change."""


def call_json(call: Call, show: Show) -> dict[str, object]:
    """Return a call as a JSON object."""
    fields: dict[str, object] = {"call": call.name}
    if call.id:
        fields["id"] = call.id
    if isinstance(call.argument, EnvironmentParams):
        fields["params"] = environment_json(call.argument, show)
    elif isinstance(call.argument, FilterParams):
        fields["params"] = filter_json(call.argument)
    if call.reason:
        fields["reason"] = call.reason
    return fields


class JsonLines(View):
    """Each event as a JSON object."""

    def __init__(self, show: Show, picture: Picture) -> None:
        self._show = show
        self._picture = picture

    def show(self, event: Event) -> None:
        """Print an event."""
        if isinstance(event, Call):
            before = self._picture.apply(event)
            if not self._picture.shows(before, event.argument):
                return
            fields = call_json(event, self._show)
        else:
            fields = {"warning": event.text} if isinstance(event, Remark) else {"status": status_json(event)}
        put_json({"time": timestamp(), **fields})


def clock() -> str:
    """Return the time of the day."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


class PlainLines(View):
    """Each event in words."""

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
                before = self._picture.apply(event)
                if self._picture.shows(before, event.argument):
                    words, facts = wording(event, before, self._picture, self._show)
                    self.say(*_VERBS[event.name], "  ".join(filter(None, [words, ", ".join(facts)])))
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
            return f"the stream is back after {age((now - since).total_seconds())}" if since else "connected"
        if status.last_error is None:
            return state_words(status, now)
        self._interrupted_at = self._interrupted_at or status.last_error.time
        return f"{printable(status.last_error.message)}; {state_words(status, now)}"


def wording(
    call: Call, before: EnvironmentParams | FilterParams | None, picture: Picture, show: Show
) -> tuple[str, list[str]]:
    """Return in words what a call is about and, for an update, what is different."""
    now = call.argument
    if now is None:
        return picture.totals(), []
    if isinstance(now, EnvironmentParams):
        if isinstance(before, EnvironmentParams):
            return title(now), differences(before, now, show)
        return title(now), [f"id {printable(now.env_id)}", *properties(now, show)]
    if isinstance(now, FilterParams):
        return title(now), []
    return title(before) if before else printable(now), [printable(call.reason)] if call.reason else []
