"""
From bytes to whole server-sent events.

The grammar is that of the event-stream format (WHATWG HTML, 9.2.6). ``sseclient-py`` interprets the events; what comes
before it here gives it only what it reads rightly: whole events, one kind of line end, valid UTF-8, no comments, no
fields but ``event`` and ``data``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sseclient import SSEClient

_BOM = b"\xef\xbb\xbf"
# What LaunchDarkly sends, nearly always. Anchored to the start of a line, so that events which follow one another
# without a gap are told from others by the number of line ends alone: three each.
_CANONICAL = re.compile(r"^event:(?! ?\n) ?([^\n]+)\ndata: ?([^\n]*)\n\n", re.MULTILINE)
_LINES_EACH = 3
_CANONICAL_BYTES = re.compile(_CANONICAL.pattern.encode())
_LARGE = 1 << 18  # bytes from which on it matters how often an event is copied
_NOTHING = re.compile(rb"(?:(?::[^\n]*)?\n)+")  # comments and empty lines between events
_RETRY = re.compile(rb"^retry: ?([0-9]+)$", re.MULTILINE)
_RETRY_DIGITS = 32  # more than any delay needs, and far from the number of digits that int() refuses
_UNNAMED = "message"  # what the standard calls an event without a name
_MANY_LINES = 64  # data lines; sseclient-py takes a time that grows with the square of their number


class ServerSentEvent(NamedTuple):
    """
    One event of the stream.

    Attributes:
        event: Its name; ``"message"`` if it has none.
        data: Its data lines, joined; ``None`` if there is none. The standard does not dispatch such an event, the relay
            does.
    """

    event: str
    data: str | None


class EventParser:
    """
    Takes the bytes of one connection in pieces of any size and returns the events that each piece completes.

    An event is returned as soon as its last byte is there. What the stream's end leaves incomplete is never returned.

    Args:
        max_event_bytes: The most that is kept of an event that is not complete yet, and the size above which an event
            is refused.
        last_event_id: What an earlier connection left.

    Attributes:
        last_event_id: The last ``id:`` of a complete event, on this connection or before it; ``""`` if there is none.
        oversized: Whether an event was larger than ``max_event_bytes``. The parser is of no use any more then; the
            events before it were returned.
    """

    def __init__(self, *, max_event_bytes: int, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.oversized = False
        self._limit = max_event_bytes
        self._pending = bytearray()  # from the end of the last event on, line ends normalised
        self._retry: int | None = None
        self._at_start = True  # nothing but a part of a byte order mark has come
        self._after_cr = False  # the last piece ended with CR, so an LF at the start of the next one belongs to it

    @property
    def retry(self) -> int | None:
        """The last valid ``retry:`` line in milliseconds, of an incomplete event too; ``None`` without one."""
        lines = bytes(self._pending[: self._pending.rfind(b"\n") + 1])
        return self._last_retry(lines) if b"retry" in lines else self._retry

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events that are complete with them, in order."""
        piece = self._normalise(piece)
        if self.oversized or not piece:
            return []
        scanned = max(0, len(self._pending) - 1)
        self._pending += piece
        end = self._pending.rfind(b"\n\n", scanned) + 2
        events = self._parse(self._take(end)) if end >= 2 else []
        if b"\n" in piece:
            self._drop_comments()
        self.oversized |= len(self._pending) > self._limit
        return events

    def _take(self, end: int) -> bytearray:
        """Return the pending bytes up to the end of the last complete event, and keep the rest."""
        complete = self._pending
        self._pending = complete[end:]
        del complete[end:]
        return complete

    def _normalise(self, piece: bytes) -> bytes:
        """Return the piece without a byte order mark at the start of the stream and with every line end as LF."""
        if self._at_start:
            piece = bytes(self._pending) + piece
            self._pending.clear()
            if len(piece) < len(_BOM) and _BOM.startswith(piece):
                self._pending += piece
                return b""
            self._at_start = False
            piece = piece.removeprefix(_BOM)
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if b"\r" in piece:
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece

    def _drop_comments(self) -> None:
        """Forget complete comments before the next event, so that heartbeats do not pile up."""
        if nothing := _NOTHING.match(self._pending):
            end = nothing.end()
            del nothing  # it locks the buffer's size
            del self._pending[:end]

    def _parse(self, complete: bytearray) -> list[ServerSentEvent]:
        if len(complete) > self._limit and (place := self._first_oversized(complete)) is not None:
            self.oversized = True
            del complete[place:]
        if len(complete) > _LARGE and (whole := _CANONICAL_BYTES.fullmatch(complete)):
            start, end = whole.span(2)
            data = str(memoryview(complete)[start:end], "utf-8", "replace")
            return [ServerSentEvent(whole[1].decode("utf-8", "replace"), data)]
        # Whole lines only, so no character is torn apart here.
        text = complete.decode("utf-8", "replace")
        found = _CANONICAL.findall(text)
        if len(found) * _LINES_EACH == text.count("\n"):
            return list(map(ServerSentEvent._make, found))
        return [event for block in text.split("\n\n") if block and (event := self._interpret(block))]

    def _first_oversized(self, complete: bytearray) -> int | None:
        place = 0
        while True:
            if nothing := _NOTHING.match(complete, place):
                place = nothing.end()
            if place == len(complete):
                return None
            end = complete.index(b"\n\n", place) + 2
            if end - place > self._limit:
                return place
            place = end

    def _interpret(self, block: str) -> ServerSentEvent | None:
        """Return what a block of any form means; ``None`` if it has neither a name nor data."""
        if found := _CANONICAL.fullmatch(block + "\n\n"):
            return ServerSentEvent(found[1], found[2])
        names: list[str] = []  # none or one: the last one counts
        data: list[str] = []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            if field == "data":
                data.append(line)
            elif field == "event":
                names = [line]
            elif field == "id" and "\0" not in value:
                self.last_event_id = _value(line)
            elif field == "retry":
                self._retry = self._last_retry(line.encode())
        name = (_value(names[0]) if names else "") or _UNNAMED
        if not data:
            return ServerSentEvent(name, None) if name != _UNNAMED else None
        if len(data) > _MANY_LINES:
            return ServerSentEvent(name, "\n".join(map(_value, data)))
        return _interpret_clean([*names, *data])

    def _last_retry(self, lines: bytes) -> int | None:
        found = _RETRY.findall(lines)
        return int(found[-1].lstrip(b"0")[:_RETRY_DIGITS] or b"0") if found else self._retry


def _value(line: str) -> str:
    return line.partition(":")[2].removeprefix(" ")


def _interpret_clean(lines: list[str]) -> ServerSentEvent:
    """Let sseclient-py read one event of ``event`` and ``data`` lines; there is at least one of the latter."""
    block = "\n".join([*lines, "", ""]).encode()
    event = next(SSEClient(iter([block])).events())
    return ServerSentEvent(event.event, event.data)
