"""``autoconfig watch``: follow a stream, as lines, as JSON, or as a live table."""

from __future__ import annotations

import argparse
import math
import time
from contextlib import AbstractContextManager, closing

from ..identifiers import mask
from ..manager import StreamManager
from .arguments import add_reveal_option
from .calls import CallQueue
from .connection import add_connection_options, connection_from, glance
from .lines import JsonLines, PlainLines, View
from .outcome import NOT_READY, OK
from .output import complain, is_terminal, reader_is_gone, shown_uri

SUMMARY = "follow a stream: a live table, or one line a change"
DESCRIPTION = """\
Follow an auto-configuration stream until Ctrl-C: first all environments and
payload filters, then every change. Network errors are reported on stderr and
retried for ever; only a key that is rejected ends it.

On a terminal it is a live table. Its first line has the state of the stream:
INITIALIZING (nothing received yet), VALID, INTERRUPTED (it is tried again) or
OFF. "Expiring" counts down the time for which a replaced key is still valid."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_connection_options(
        parser, timeout="give up, with exit code 4, if not connected by then (default: go on trying for ever)"
    )
    add_reveal_option(parser)
    parser.add_argument("--json", action="store_true", help="print each change as a JSON object in a line of its own")
    parser.add_argument(
        "--plain", action="store_true", help="print lines on a terminal too, instead of the table (which needs rich)"
    )


def run(options: argparse.Namespace) -> int:
    """Follow the stream until it is over, or a signal comes."""
    way = connection_from(options)
    calls = CallQueue()
    manager = way.manager(calls)
    manager.add_status_listener(calls.wake)
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
    lines = PlainLines(show)
    lines.say("following", "dim", shown_uri(uri))
    return lines


def _follow(manager: StreamManager, calls: CallQueue, view: View, timeout: float | None) -> int:
    ready = manager.start()
    deadline = time.monotonic() + timeout if timeout else math.inf
    while True:
        outcome, news = glance(manager, calls, deadline)
        for call in news:
            view.show(call)
        view.refresh(manager.status)
        if outcome:
            return outcome
        if reader_is_gone():
            return OK
        if ready.done():
            deadline = math.inf
        if time.monotonic() >= deadline:
            complain("watch", f"not connected within {timeout:g} s")
            return NOT_READY
