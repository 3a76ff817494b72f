"""``autoconfig replay``: what the client makes of a recorded stream, and why."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
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
from .events import Call, JsonLines, Picture, PlainLines
from .output import CommandError, complain, harmless, put_json, put_line, reader_is_gone, timestamp
from .words import counted

_PIECE = 65536  # bytes in one read
_LIMIT = HTTPConfig().max_event_bytes
_MESSAGES = {PUT_EVENT, PATCH_EVENT, DELETE_EVENT}
_AGAIN = "the client drops the connection and makes a new one"
_CURL = "record one with curl -N, as docs/how-to/use-the-command-line.md shows"


def run(*, file: str, explain: bool, as_json: bool, reveal: bool) -> int:
    """Replay the file."""
    report = Report(explain=explain, as_json=as_json, reveal=reveal)
    with ExitStack() as stack:
        stream = _stdin() if file == "-" else stack.enter_context(_opened(file))
        _replay(stream, Player(), report)
    if not report.events and not reader_is_gone():
        raise CommandError("FILE", "there is no event in it", _CURL)
    report.end()
    return FAILURE if report.malformed else OK


def _stdin() -> BinaryIO:
    if sys.stdin is None:  # closed by the caller: `<&-`
        raise CommandError("FILE", "there is no stdin to read", "give the path of a file", USAGE)
    return sys.stdin.buffer


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CommandError("FILE", f"{path}: {os.strerror(error.errno or 0)}", _CURL, USAGE) from None
    except ValueError:  # a null character
        raise CommandError("FILE", "is not the name of a file", _CURL, USAGE) from None


def _replay(stream: BinaryIO, player: Player, report: Report) -> None:
    parser = EventParser(max_event_bytes=_LIMIT)
    for piece in _pieces(stream):
        for event in parser.feed(piece):
            report.events += 1
            _handle(event, player, report)
        if parser.oversized:
            report.events += 1
            reason = f"it is larger than {_LIMIT} bytes; the rest of the file is not replayed"
            report.decided(Decision("malformed", reason, "event"))
            return
        if reader_is_gone():
            return
    for event in parser.feed(b"\n\n"):  # what has no end is never delivered
        report.events += 1
        report.decided(Decision("ignored", "cut off by the end of the file: no empty line follows", event[0].decode()))


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := stream.read1(_PIECE):  # type: ignore[attr-defined]  # which a buffered stream has
            yield piece
    except OSError as error:
        problem = f"cannot be read: {os.strerror(error.errno or 0)}"
        raise CommandError("FILE", problem, "give the path of a file", USAGE) from None


def _handle(event: ServerSentEvent, player: Player, report: Report) -> None:
    name, data = event[0].decode("utf-8", "replace"), event[1]
    if name == RECONNECT_EVENT:
        report.decided(Decision(name, _AGAIN, name))
        return
    if name not in _MESSAGES:
        report.decided(Decision("ignored", "unknown event", name))
        return
    try:
        message = decode(name, data or b"")
    except MalformedMessageError as error:
        report.decided(Decision("malformed", f"{error.reason}; {_AGAIN}", name))
        return
    for step in player.play(name, message):
        report.called(step) if isinstance(step, Call) else report.decided(step)


@attrs.frozen
class Decision:
    """
    What was done with an event, or with an item in it.

    Attributes:
        action: ``insert``, ``update``, ``delete``, ``noop``, ``tombstone``, ``ignored``, ``refused``, ``malformed`` …
        reason: Why.
        name: The event's name.
        path: The path in it; ``""`` if it has none, or is not looked at.
        kind: ``environment`` or ``filter``; ``""`` if the whole event is meant.
        id: The item's id.
    """

    action: str
    reason: str
    name: str
    path: str = ""
    kind: str = ""
    id: str = ""


class _LastLine(logging.Handler):
    """Keeps the last line that was logged: the receiver's own reason for ignoring a message."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage().rpartition(": ")[2]


class Player:
    """Applies messages to the real version logic, and yields what that decides and the calls that follow."""

    def __init__(self) -> None:
        log = logging.Logger("replay", logging.DEBUG)  # noqa: LOG001  # not part of the tree: nothing of it is shown
        self._last = _LastLine()
        log.addHandler(self._last)
        self._environments: MessageReceiver[EnvironmentRep] = MessageReceiver(log)
        self._filters: MessageReceiver[FilterRep] = MessageReceiver(log)

    def play(self, name: str, message: Message | UnknownPath) -> Iterator[Decision | Call]:
        """Apply a message."""
        match message:
            case UnknownPath(path=path):
                yield Decision("ignored", "unknown path", name, path)
            case PutContent():
                yield from self._put(message)
            case PatchMessageData(id=id, data=EnvironmentRep() as rep, refused=refused):
                item = Decision("", "", name, f"/environments/{id}", "environment", id)
                yield from self._environment(item, rep) if refused is None else [_refused(item, refused)]
            case PatchMessageData(id=id, data=FilterRep() as rep):
                yield from self._filter(Decision("", "", name, f"/filters/{id}", "filter", id), rep)
            case DeleteMessageData(kind=kind, id=id, version=version):
                yield from self._delete(Decision("", "", name, f"/{kind.value}s/{id}", kind.value, id), version)

    def _put(self, content: PutContent) -> Iterator[Decision | Call]:
        count = 0
        for step in self._steps(content):
            count += 1
            yield step
        if not count:
            yield Decision("noop", "there is nothing in it, and nothing to be deleted", PUT_EVENT)
        if content.environments or not content.refused:
            yield Call("received_all_environments")

    def _steps(self, content: PutContent) -> Iterator[Decision | Call]:
        for id, rep in content.environments.items():
            yield from self._environment(_of_put("environment", id), rep)
        for id, other in content.foreign.items():
            yield _foreign(_of_put("environment", id), other)
        for id, reason in content.refused.items():
            yield _refused(_of_put("environment", id), reason)
        listed = {*content.environments, *content.foreign, *content.refused}
        yield from self._forget_others("environment", self._environments, listed)
        for id, filter in content.filters.items():
            yield from self._filter(_of_put("filter", id), filter)
        yield from self._forget_others("filter", self._filters, set(content.filters))

    def _environment(self, item: Decision, rep: EnvironmentRep) -> Iterator[Decision | Call]:
        if rep.env_id != item.id:
            yield _foreign(item, rep.env_id)
            return
        action = self._environments.upsert(item.id, rep, rep.version)
        yield attrs.evolve(item, action=action.value, reason=self._reason(action, rep.version))
        if action is not Action.NOOP:
            yield Call("add_environment" if action is Action.INSERT else "update_environment", rep.to_params())

    def _filter(self, item: Decision, rep: FilterRep) -> Iterator[Decision | Call]:
        action = self._filters.upsert(item.id, rep, rep.version)
        unheard = "; there is no callback for that" if action is Action.UPDATE else ""
        yield attrs.evolve(item, action=action.value, reason=self._reason(action, rep.version) + unheard)
        if action is Action.INSERT:
            yield Call("add_filter", rep.to_params(FilterID(item.id)))

    def _delete(self, item: Decision, version: int) -> Iterator[Decision | Call]:
        self._last.text = ""
        receiver = self._environments if item.kind == "environment" else self._filters
        if receiver.delete(item.id, version) is Action.DELETE:
            yield attrs.evolve(item, action="delete", reason=f"version {version}")
            yield Call(f"delete_{item.kind}", item.id)
        elif self._last.text:
            yield attrs.evolve(item, action="noop", reason=self._last.text)
        else:
            yield attrs.evolve(item, action="tombstone", reason=f"version {version}; there is no such {item.kind}")

    def _forget_others(self, kind: str, receiver: MessageReceiver[Any], listed: set[str]) -> Iterator[Decision | Call]:
        for id in receiver.retain(listed.__contains__):
            yield attrs.evolve(_of_put(kind, id), action="delete", reason="the put does not list it")
            yield Call(f"delete_{kind}", id)

    def _reason(self, action: Action, version: int) -> str:
        return self._last.text if action is Action.NOOP else f"version {version}"


def _of_put(kind: str, id: str) -> Decision:
    return Decision("", "", PUT_EVENT, "", kind, id)


def _foreign(item: Decision, other: str) -> Decision:
    return attrs.evolve(item, action="ignored", reason=f"its envId is another one: {other}")


def _refused(item: Decision, reason: str) -> Decision:
    return attrs.evolve(item, action="refused", reason=reason)


class Report:
    """
    Tells what happens, in the form that was asked for.

    Attributes:
        events: How many events there were so far.
    """

    def __init__(self, *, explain: bool, as_json: bool, reveal: bool) -> None:
        self.events = 0
        self._malformed: set[int] = set()  # the numbers of events; one may be malformed in several places
        self._explain, self._json = explain, as_json
        show = str if reveal else mask
        self._lines = JsonLines(show, Picture()) if as_json else PlainLines(show, Picture(), self._margin)
        self._calls: Counter[str] = Counter()

    @property
    def malformed(self) -> int:
        """How many of the events were malformed, or held something that was refused."""
        return len(self._malformed)

    def decided(self, decision: Decision) -> None:
        """Tell what was done with an event, or with an item in it."""
        if decision.action in ("malformed", "refused"):
            self._malformed.add(self.events)
            if not self._explain:
                which = f"{decision.kind} {decision.id} is refused" if decision.id else "is malformed"
                complain(CommandError(f"event {self.events}", f"{which}: {decision.reason}", "--explain"))
        if not self._explain:
            return
        if self._json:
            put_json({"time": timestamp(), "event": self.events, **_fields(decision)})
        else:
            put_line(f"#{self.events:<4} {harmless(_words(decision))}")

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


def _fields(decision: Decision) -> dict[str, str | None]:
    """Return what was done for programs; what does not apply is ``null``."""
    shown = {name: mask_keys(value) or None for name, value in attrs.asdict(decision).items()}
    return {**shown, "id": decision.id or None}  # as it is in the calls, whatever it looks like


def _words(decision: Decision) -> str:
    """Return what was done for people."""
    name, path, action, reason = decision.name, decision.path, decision.action, decision.reason
    if name == RECONNECT_EVENT:
        return f"{name}: {reason}"
    head = f"{name} {path}".rstrip()
    if decision.id and not path:  # the path has the id of a patch or a deletion already
        action = f"{action} {decision.kind} {decision.id}"
    return f"{head}: {action}{': ' if decision.action == 'malformed' else ', '}{reason}"
