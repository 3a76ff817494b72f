"""``autoconfig replay``: what the client makes of a recorded stream, and why."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from ..config import HTTPConfig
from ..exceptions import MalformedMessageError
from ..messages import DELETE_EVENT, PATCH_EVENT, PUT_EVENT, PUT_PATH, RECONNECT_EVENT, PutMessageData
from ..stream.decoding import decode
from ..stream.events import EventParser, ServerSentEvent
from .arguments import FILE, UsageError, add_reveal_option
from .calls import Call
from .explain import Decision, Player
from .logs import LOGGER
from .outcome import FAILURE, OK
from .output import reader_is_gone
from .report import UNKNOWN_EVENT, Head, Report

SUMMARY = "feed a recorded stream to the client, and explain what it does"
DESCRIPTION = """\
Read the bytes of an event stream, as `curl -N` saves them, and print the calls
that a handler would get: by the real parser, decoder and version logic, without
a network. With --explain each event is shown too, with what was done and why:

  #4  patch /environments/64c1f0…: noop, version 3 <= 5

Where the client would drop the connection and make a new one, that is said,
and the rest of FILE is taken for what comes on the next one.

Exit code 0 if all went well, 1 if an event was malformed."""

_PIECE = 65536  # bytes in one read
_LIMIT = HTTPConfig().max_event_bytes
_MESSAGES = {PUT_EVENT, PATCH_EVENT, DELETE_EVENT}
_AGAIN = "the client drops the connection and makes a new one"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_reveal_option(parser)
    file = parser.add_argument("file", metavar="FILE", help="the recorded stream; - for stdin")
    file.complete = FILE  # type: ignore[attr-defined]  # what shtab looks for
    parser.add_argument("--explain", action="store_true", help="say of each event what was done, and why")
    parser.add_argument("--json", action="store_true", help="print each call (and event) as a JSON object in a line")


def run(options: argparse.Namespace) -> int:
    """Replay the file."""
    log = LOGGER.getChild("replay")
    # With --explain its warnings are among the explanations.
    log.setLevel(logging.ERROR if options.explain and not options.verbose else logging.NOTSET)
    report = Report(explain=options.explain, as_json=options.json, reveal=options.reveal)
    with ExitStack() as stack:
        stream = _stdin() if options.file == "-" else stack.enter_context(_opened(options.file))
        _replay(stream, Player(log), report)
    report.end()
    return FAILURE if report.malformed else OK


def _stdin() -> BinaryIO:
    if sys.stdin is None:  # closed by the caller: `<&-`
        raise UsageError("there is no stdin to read")
    return sys.stdin.buffer


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"{path}: {os.strerror(error.errno or 0)}") from None
    except ValueError:  # a null character
        raise UsageError("FILE is not the name of a file") from None


def _replay(stream: BinaryIO, player: Player, report: Report) -> None:
    parser = EventParser(max_event_bytes=_LIMIT)
    for piece in _pieces(stream):
        for event in parser.feed(piece):
            report.events += 1
            _handle(event, player, report)
        if parser.oversized:
            report.events += 1
            reason = f"it is larger than {_LIMIT} bytes; the rest of the file is not replayed"
            report.decided(Head("event"), Decision("malformed", reason=reason))
            return
        if reader_is_gone():
            return
    for event in parser.feed(b"\n\n"):  # what has no end is never delivered
        report.events += 1
        reason = "cut off by the end of the file: no empty line follows"
        report.decided(Head(event.event), Decision("ignored", reason=reason))


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := stream.read1(_PIECE):  # type: ignore[attr-defined]  # which a buffered stream has
            yield piece
    except OSError as error:
        raise UsageError(f"FILE cannot be read: {os.strerror(error.errno or 0)}") from None


def _handle(event: ServerSentEvent, player: Player, report: Report) -> None:
    name, data = event
    if name == RECONNECT_EVENT:
        report.decided(Head(name), Decision(name, reason=_AGAIN))
        return
    if name not in _MESSAGES:
        report.decided(Head(name), Decision("ignored", reason=UNKNOWN_EVENT))
        return
    try:
        message = decode(name, data or "")
    except MalformedMessageError as error:
        report.decided(Head(name), Decision("malformed", reason=f"{error.reason}; {_AGAIN}"))
        return
    head = Head(name, "" if message.path == PUT_PATH else message.path)
    steps = player.play(message)
    flawed = message.data.flawed if isinstance(message, PutMessageData) else {}
    if not flawed and not any(isinstance(step, Decision) for step in steps):
        steps.insert(0, Decision("noop", reason="there is nothing in it, and nothing to be deleted"))
    for step in steps:
        if isinstance(step, Call):
            report.called(step)
        else:
            report.decided(head, step)
    for id, reason in flawed.items():
        report.decided(head, Decision("malformed", "environment", id, f"{reason}; {_AGAIN}"))
