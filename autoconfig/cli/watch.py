"""``autoconfig watch``: follow a stream, as lines, as JSON, or as a live table."""

from __future__ import annotations

import argparse
import math
import time
from contextlib import AbstractContextManager, closing
from datetime import datetime
from typing import Protocol

from ..exceptions import KeyRejectedError
from ..identifiers import mask
from ..manager import StreamManager
from .calls import Call, CallQueue
from .connection import add_connection_options, connection
from .outcome import FAILURE, KEY_REJECTED, NOT_CONNECTED, OK
from .output import complain, has_colour, is_terminal, painted, put_line, reader_is_gone, shown_uri
from .wording import Narrator, Show, call_json

SUMMARY = "follow a stream: a live table on a terminal, else one line a change"
DESCRIPTION = """\
Follow an auto-configuration stream until Ctrl-C: first all environments and
payload filters, then every change. Trouble with the network is told on stderr
and tried again for ever; only a key that is rejected ends it."""

_GLANCE = 0.25  # seconds between two looks at the clock, the manager and stdout
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

    def refresh(self) -> None:
        """Bring what is seen up to date; called several times a second."""


class JsonLines(AbstractContextManager["JsonLines"]):
    """Each call as a JSON object."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def show(self, call: Call) -> None:
        """Print a call."""
        put_line(call_json(call, self._show))

    def refresh(self) -> None:
        """Do nothing: lines do not age."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class PlainLines(AbstractContextManager["PlainLines"]):
    """Each call in words, with the time."""

    def __init__(self, show: Show, uri: str) -> None:
        self._narrator = Narrator(show)
        self._colour = has_colour()
        self._line("following", "dim", shown_uri(uri))

    def show(self, call: Call) -> None:
        """Print a call."""
        verb, style = _VERBS[call.name]
        wording = self._narrator.put(call)
        facts = [f"id {call.id}", *wording.facts] if call.name.startswith("add_") else wording.facts
        self._line(verb, style, "  ".join(filter(None, [wording.title, ", ".join(facts)])))

    def refresh(self) -> None:
        """Do nothing: lines do not age."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def _line(self, verb: str, style: str, text: str) -> None:
        now = f"{datetime.now().astimezone():%H:%M:%S}"
        verb = f"{verb:9}"
        put_line(f"{now}  {painted(verb, style) if self._colour else verb}  {text}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_connection_options(parser)
    parser.add_argument("--json", action="store_true", help="print each change as a JSON object in a line of its own")
    parser.add_argument(
        "--plain", action="store_true", help="print lines on a terminal too, instead of the table (which needs rich)"
    )


def run(options: argparse.Namespace) -> int:
    """Follow the stream until it is over, or a signal comes."""
    way = connection(options)
    calls = CallQueue()
    manager = StreamManager(way.key, way.uri, calls, way.http_config)
    with _view(options, way.uri) as view, closing(manager):
        return _follow(manager, calls, view, options.timeout)


def _view(options: argparse.Namespace, uri: str) -> AbstractContextManager[View]:
    show = str if options.reveal else mask
    if options.json:
        return JsonLines(show)
    if is_terminal() and not options.plain:
        try:
            from .table import LiveTable  # rich is an extra
        except ImportError:
            complain("watch", "lines instead of a table, which needs rich: pip install 'ld-autoconfig[cli]'")
        else:
            return LiveTable(show, uri)
    return PlainLines(show, uri)


def _follow(manager: StreamManager, calls: CallQueue, view: View, timeout: float | None) -> int:
    ready = manager.start()
    deadline = time.monotonic() + timeout if timeout else math.inf
    while True:
        outcome = _outcome(manager)  # before the calls are taken, so that none of them is missed
        patience = 0.0 if outcome else min(_GLANCE, max(0.0, deadline - time.monotonic()))
        for call in calls.take(patience):
            view.show(call)
        view.refresh()
        if outcome:
            return outcome
        if reader_is_gone():
            return OK
        if time.monotonic() >= deadline and not ready.done():
            complain("watch", f"not connected within {timeout:g} s")
            return NOT_CONNECTED


def _outcome(manager: StreamManager) -> int | None:
    """Return the exit code if the stream is off; the reason was logged, and so is on stderr."""
    try:
        return FAILURE if manager.join(timeout=0) else None
    except KeyRejectedError:
        return KEY_REJECTED
