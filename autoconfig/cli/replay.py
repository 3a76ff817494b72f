"""``autoconfig replay``: what the client does with a recorded stream, and why."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, BinaryIO

import attrs

from ..config import HTTPConfig
from ..exceptions import MalformedMessageError
from ..identifiers import FilterID, mask, mask_keys
from ..messages import (
    DELETE_EVENT,
    PATCH_EVENT,
    PUT_EVENT,
    RECONNECT_EVENT,
    DeleteMessageData,
    EnvironmentRep,
    FilterRep,
    Message,
    PatchMessageData,
    PutContent,
)
from ..receiver import Action, MessageReceiver
from ..stream.decoding import UnknownPath, decode
from ..stream.events import EventParser, ServerSentEvent
from . import FAILURE, OK, USAGE
from .events import Call, Picture, PlainLines, put_event
from .output import CommandError, complain, harmless, put_line, put_record, reader_is_gone
from .words import counted

_PIECE = 65536  # bytes in one read
_LIMIT = HTTPConfig().max_event_bytes
_MESSAGES = {PUT_EVENT, PATCH_EVENT, DELETE_EVENT}
_AGAIN = "the client drops the connection and makes a new one"
_RECORD = "record one with curl -N, as docs/how-to/use-the-command-line.md shows"


def run(*, file: str, explain: bool, as_json: bool, reveal: bool) -> int:
    """Replay the file."""
    report = Report(explain=explain, as_json=as_json, reveal=reveal)
    with _opened(file) as stream:
        _replay(_pieces(stream), Player(), report)
    if not report.events and not reader_is_gone():
        raise CommandError("FILE", "there is no event in it", _RECORD)
    report.end()
    return FAILURE if report.malformed else OK


def _opened(path: str) -> AbstractContextManager[BinaryIO]:
    fix = _RECORD
    try:
        return nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb")
    except AttributeError:  # the caller has closed stdin: `<&-`
        problem, fix = "there is no stdin to read", "give the path of a file"
    except OSError as error:
        problem = f"{path}: {os.strerror(error.errno or 0)}"
    raise CommandError("FILE", problem, fix, USAGE)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := stream.read1(_PIECE):  # type: ignore[attr-defined]  # which a buffered stream has
            yield piece
    except OSError as error:
        problem = f"cannot be read: {os.strerror(error.errno or 0)}"
        raise CommandError("FILE", problem, "give the path of a file", USAGE) from None


def _replay(pieces: Iterable[bytes], player: Player, report: Report) -> None:
    parser = EventParser(max_event_bytes=_LIMIT)
    for piece in pieces:
        for event in parser.feed(piece):
            report.events += 1
            for step in _steps(event, player):
                report.called(step) if isinstance(step, Call) else report.decided(step)
        if parser.oversized:
            report.events += 1
            reason = f"it is larger than {_LIMIT} bytes; the rest of the file is not replayed"
            report.decided(Decision("malformed", reason, "event"))
            return
        if reader_is_gone():
            return
    for event in parser.feed(b"\n\n"):  # an event without an end is never delivered
        report.events += 1
        report.decided(Decision("ignored", "cut off by the end of the file: no empty line follows", event[0].decode()))


def _steps(event: ServerSentEvent, player: Player) -> Iterator[Decision | Call]:
    name, data = event[0].decode("utf-8", "replace"), event[1]
    if name == RECONNECT_EVENT:
        yield Decision(name, _AGAIN, name)
    elif name not in _MESSAGES:
        yield Decision("ignored", "unknown event", name)
    else:
        try:
            message = decode(name, data or b"")
        except MalformedMessageError as error:
            yield Decision("malformed", f"{error.reason}; {_AGAIN}", name)
        else:
            yield from player.play(message)


@attrs.frozen
class Decision:
    """What was done with an event, or with an item in it."""

    action: str  # insert, update, delete, noop, tombstone, ignored, refused, malformed, reconnect
    reason: str
    name: str  # the event's
    path: str = ""  # the one in a patch or a deletion, or an unknown one
    kind: str = ""  # "environment" or "filter"; "" if the whole event is meant
    id: str = ""

    def fields(self) -> dict[str, str | None]:
        """Return it for programs; what does not apply is ``null``."""
        shown = {name: mask_keys(value) or None for name, value in attrs.asdict(self).items()}
        return {**shown, "id": self.id or None}  # as it is in the calls, whatever it looks like

    def words(self) -> str:
        """Return it for people."""
        if self.name == RECONNECT_EVENT:
            return f"{self.name}: {self.reason}"
        # The path of a patch or a deletion has the id already.
        item = f" {self.kind} {self.id}" if self.id and not self.path else ""
        end = ":" if self.action == "malformed" else ","
        return f"{f'{self.name} {self.path}'.rstrip()}: {self.action}{item}{end} {self.reason}"


Decide = Callable[[str, str], Decision]
"""Makes a decision about an item of its action and its reason."""


class _LastLine(logging.Handler):
    """Keeps the last line that was logged: the receiver's own reason for ignoring a message."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage().rpartition(": ")[2]


class Player:
    """Applies messages to the real version logic; yields its decisions and the calls that follow."""

    def __init__(self) -> None:
        log = logging.Logger("replay", logging.DEBUG)  # noqa: LOG001  # not part of the tree: nothing of it is shown
        self._last = _LastLine()
        log.addHandler(self._last)
        self._receivers: dict[str, MessageReceiver[Any]] = {
            kind: MessageReceiver(log) for kind in ("environment", "filter")
        }

    def play(self, message: Message | UnknownPath) -> Iterator[Decision | Call]:
        """Apply a message."""
        match message:
            case UnknownPath(event=name, path=path):
                yield Decision("ignored", "unknown path", name, path)
            case PutContent():
                yield from self._put(message)
            case PatchMessageData(id=id, data=rep, refused=refused):
                decide = _about(PATCH_EVENT, "filter" if isinstance(rep, FilterRep) else "environment", id)
                yield from self._upsert(decide, id, rep) if refused is None else [decide("refused", refused)]
            case DeleteMessageData(kind=kind, id=id, version=version):
                yield from self._delete(kind.value, id, version)

    def _put(self, content: PutContent) -> Iterator[Decision | Call]:
        empty = True
        for step in self._items(content):
            empty = False
            yield step
        if empty:
            yield Decision("noop", "there is nothing in it, and nothing to be deleted", PUT_EVENT)
        if content.environments or not content.refused:
            yield Call("received_all_environments")

    def _items(self, content: PutContent) -> Iterator[Decision | Call]:
        environment, filter = partial(_about, PUT_EVENT, "environment"), partial(_about, PUT_EVENT, "filter")
        for id, rep in content.environments.items():
            yield from self._upsert(environment(id), id, rep)
        for id, other in content.foreign.items():
            yield _foreign(environment(id), other)
        for id, reason in content.refused.items():
            yield environment(id)("refused", reason)
        yield from self._forget_others("environment", {*content.environments, *content.foreign, *content.refused})
        for id, filter_rep in content.filters.items():
            yield from self._upsert(filter(id), id, filter_rep)
        yield from self._forget_others("filter", {*content.filters})

    def _upsert(self, decide: Decide, id: str, rep: EnvironmentRep | FilterRep) -> Iterator[Decision | Call]:
        is_filter = isinstance(rep, FilterRep)
        if isinstance(rep, EnvironmentRep) and rep.env_id != id:
            yield _foreign(decide, rep.env_id)
            return
        action = self._receivers["filter" if is_filter else "environment"].upsert(id, rep, rep.version)
        reason = self._last.text if action is Action.NOOP else f"version {rep.version}"
        uncalled = is_filter and action is Action.UPDATE
        yield decide(action.value, f"{reason}; there is no callback for that" if uncalled else reason)
        if action is not Action.NOOP and not uncalled:
            params = rep.to_params(FilterID(id)) if isinstance(rep, FilterRep) else rep.to_params()
            verb = "add" if action is Action.INSERT else "update"
            yield Call(f"{verb}_{'filter' if is_filter else 'environment'}", params)

    def _delete(self, kind: str, id: str, version: int) -> Iterator[Decision | Call]:
        decide = _about(DELETE_EVENT, kind, id)
        self._last.text = ""
        if self._receivers[kind].delete(id, version) is Action.DELETE:
            yield decide("delete", f"version {version}")
            yield Call(f"delete_{kind}", id)
        elif self._last.text:
            yield decide("noop", self._last.text)
        else:
            yield decide("tombstone", f"version {version}; there is no such {kind}")

    def _forget_others(self, kind: str, listed: set[str]) -> Iterator[Decision | Call]:
        for id in self._receivers[kind].retain(listed.__contains__):
            yield _about(PUT_EVENT, kind, id)("delete", "the put does not list it")
            yield Call(f"delete_{kind}", id)


def _about(event: str, kind: str, id: str) -> Decide:
    path = "" if event == PUT_EVENT else f"/{kind}s/{id}"
    return partial(Decision, name=event, path=path, kind=kind, id=id)


def _foreign(decide: Decide, other: str) -> Decision:
    return decide("ignored", f"its envId is another one: {other}")


class Report:
    """Prints decisions and calls, as JSON or in words."""

    def __init__(self, *, explain: bool, as_json: bool, reveal: bool) -> None:
        self.events = 0  # so far
        self.malformed: set[int] = set()  # the numbers of those that were malformed, or held something that was refused
        self._explain, self._json = explain, as_json
        self._calls = 0
        self._picture = Picture()
        show = str if reveal else mask
        lines = PlainLines(show, self._picture, lambda: "     " if explain else f"#{self.events:<4}")
        self._show_call = partial(put_event, show=show) if as_json else lines.show

    def decided(self, decision: Decision) -> None:
        """Print what was done with an event, or with an item in it."""
        wrong = decision.action in ("malformed", "refused")
        if wrong:
            self.malformed.add(self.events)
        if self._explain and self._json:
            put_record(event=self.events, **decision.fields())
        elif self._explain:
            put_line(f"#{self.events:<4} {harmless(decision.words())}")
        elif wrong:
            which = f"{decision.kind} {decision.id} is refused" if decision.id else "is malformed"
            complain(CommandError(f"event {self.events}", f"{which}: {decision.reason}", "--explain"))

    def called(self, call: Call) -> None:
        """Print a call of the handler."""
        self._calls += 1
        self._show_call(self._picture.apply(call))

    def end(self) -> None:
        """Print the totals, for people."""
        if self._explain and not self._json:
            malformed = f" ({len(self.malformed)} malformed)" if self.malformed else ""
            put_line(f"{counted(self.events, 'event')}{malformed}, {counted(self._calls, 'call')} of the handler")
