"""``autoconfig replay``: what the client does with a recorded stream, and why."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial

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
_FOREIGN = "its envId is another one: "
_RECORD = "record one with curl -N, as docs/how-to/use-the-command-line.md shows"

Rep = EnvironmentRep | FilterRep


def run(*, file: str, explain: bool, as_json: bool, reveal: bool) -> int:
    """Replay the file."""
    report = Report(explain=explain, as_json=as_json, reveal=reveal)
    _replay(_pieces(file), Player(), report)
    if not report.events and not reader_is_gone():
        raise CommandError("FILE", "there is no event in it", _RECORD)
    report.end()
    return FAILURE if report.malformed else OK


def _pieces(path: str) -> Iterator[bytes]:
    if path == "-" and sys.stdin is None:  # the caller has closed it: `<&-`
        raise CommandError("FILE", "there is no stdin to read", "give the path of a file", USAGE)
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as stream:
            while piece := stream.read1(_PIECE):  # type: ignore[union-attr]  # which a buffered stream has
                yield piece
    except OSError as error:
        raise CommandError("FILE", f"{path}: {os.strerror(error.errno or 0)}", _RECORD, USAGE) from None


def _replay(pieces: Iterable[bytes], player: Player, report: Report) -> None:
    parser = EventParser(max_event_bytes=_LIMIT)
    for piece in pieces:
        for event in parser.feed(piece):
            report.show(_steps(event, player))
        if parser.oversized:
            reason = f"it is larger than {_LIMIT} bytes; the rest of the file is not replayed"
            report.show([Decision("malformed", reason, "event")])
            return
        if reader_is_gone():
            return
    for event in parser.feed(b"\n\n"):  # an event without an end is never delivered
        report.show([Decision("ignored", "cut off by the end of the file: no empty line follows", _name(event))])


def _steps(event: ServerSentEvent, player: Player) -> Iterator[Step]:
    name, data = _name(event), event[1]
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


def _name(event: ServerSentEvent) -> str:
    return event[0].decode("utf-8", "replace")


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


Step = Decision | Call


class _Receiver(MessageReceiver[Rep]):
    """The version logic, with its own reason for ignoring the last message that it has ignored."""

    reason = ""

    def _note_ignored(self, what: str, id: str, version: int, known: int) -> None:
        self.reason = f"version {version} <= {known}"


class Player:
    """Applies messages to the real version logic; yields its decisions and the calls that follow."""

    def __init__(self) -> None:
        self._receivers = {"environment": _Receiver(), "filter": _Receiver()}

    def play(self, message: Message | UnknownPath) -> Iterator[Step]:
        """Apply a message."""
        match message:
            case UnknownPath(event=name, path=path):
                yield Decision("ignored", "unknown path", name, path)
            case PutContent():
                steps = [*self._put("environment", message.environments, message.foreign, message.refused)]
                steps += self._put("filter", message.filters)
                yield from steps or [Decision("noop", "there is nothing in it, and nothing to be deleted", PUT_EVENT)]
                if message.environments or not message.refused:
                    yield Call("received_all_environments")
            case PatchMessageData(id=id, data=rep, refused=refused):
                kind = "filter" if isinstance(rep, FilterRep) else "environment"
                decide = partial(Decision, name=PATCH_EVENT, path=f"/{kind}s/{id}", kind=kind, id=id)
                if refused is not None:
                    yield decide("refused", refused)
                elif isinstance(rep, EnvironmentRep) and rep.env_id != id:
                    yield decide("ignored", f"{_FOREIGN}{rep.env_id}")
                else:
                    yield from self._upsert(decide, kind, id, rep)
            case DeleteMessageData(kind=item, id=id, version=version):
                yield from self._delete(item.value, id, version)

    def _put(
        self, kind: str, usable: Mapping[str, Rep], foreign: Mapping[str, str] = {}, refused: Mapping[str, str] = {}
    ) -> Iterator[Step]:
        decide = partial(Decision, name=PUT_EVENT, kind=kind)
        for id, rep in usable.items():
            yield from self._upsert(partial(decide, id=id), kind, id, rep)
        for id, other in foreign.items():
            yield decide("ignored", f"{_FOREIGN}{other}", id=id)
        for id, reason in refused.items():
            yield decide("refused", reason, id=id)
        for id in self._receivers[kind].retain({*usable, *foreign, *refused}.__contains__):
            yield decide("delete", "the put does not list it", id=id)
            yield Call(f"delete_{kind}", id)

    def _upsert(self, decide: partial[Decision], kind: str, id: str, rep: Rep) -> Iterator[Step]:
        receiver = self._receivers[kind]
        match receiver.upsert(id, rep, rep.version):
            case Action.NOOP:
                yield decide("noop", receiver.reason)
            case Action.UPDATE if kind == "filter":
                yield decide("update", f"version {rep.version}; there is no callback for that")
            case action:
                yield decide(action.value, f"version {rep.version}")
                yield Call(f"{'add' if action is Action.INSERT else 'update'}_{kind}", rep.to_params(FilterID(id)))

    def _delete(self, kind: str, id: str, version: int) -> Iterator[Step]:
        decide = partial(Decision, name=DELETE_EVENT, path=f"/{kind}s/{id}", kind=kind, id=id)
        receiver = self._receivers[kind]
        receiver.reason = ""
        if receiver.delete(id, version) is Action.DELETE:
            yield decide("delete", f"version {version}")
            yield Call(f"delete_{kind}", id)
        elif receiver.reason:
            yield decide("noop", receiver.reason)
        else:
            yield decide("tombstone", f"version {version}; there is no such {kind}")


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

    def show(self, steps: Iterable[Step]) -> None:
        """Print what was done with the next event, or with the items in it."""
        self.events += 1
        for step in steps:
            if isinstance(step, Decision):
                self._decided(step)
            else:
                self._calls += 1
                self._show_call(self._picture.apply(step))

    def _decided(self, decision: Decision) -> None:
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

    def end(self) -> None:
        """Print the totals, for people."""
        if self._explain and not self._json:
            malformed = f" ({len(self.malformed)} malformed)" if self.malformed else ""
            put_line(f"{counted(self.events, 'event')}{malformed}, {counted(self._calls, 'call')} of the handler")
