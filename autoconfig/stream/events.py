"""
From bytes to whole server-sent events.

The grammar is that of the event-stream format (WHATWG HTML, 9.2.6). The framing is done here: whole events, one kind of
line end, no comments, a limit on the size. An event in the one form that LaunchDarkly sends is read by one regular
expression; ``sseclient-py`` reads all others, and a property test holds the two readings equal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sseclient import SSEClient

_BOM = b"\xef\xbb\xbf"
# What LaunchDarkly sends, nearly always. Anchored to the start of a line, so that events which follow one another
# without a gap are told from others by the number of line ends alone: three each.
_BEGINNING = re.compile(rb"^event:(?! ?\n) ?(.+)\ndata: ?", re.MULTILINE)
_USUAL = re.compile(_BEGINNING.pattern + rb"(.*)\n\n", re.MULTILINE)
_LINES_EACH = 3
_NOTHING = re.compile(rb"(?:(?::[^\n]*)?\n)+")  # comments and empty lines between events
_RETRY = re.compile(rb"^retry: ?([0-9]+)$", re.MULTILINE)
_RETRY_DIGITS = 32  # more than any delay needs, and far from the number of digits that int() refuses
_UNNAMED = "message"  # what the standard calls an event without a name
# Data lines that sseclient-py is given at a time: it takes a time that grows with the square of their number.
_LINES_AT_ONCE = 64

ServerSentEvent = tuple[bytes, bytes | memoryview | None]
"""
Name and data of one event. The name is ``b"message"`` if it has none. The data is its data lines, joined; ``None`` if
there is none: the standard does not dispatch such an event, the relay does. A large put is not copied, so it is a view.
"""


class EventParser:
    """
    Takes the bytes of one connection in pieces of any size and returns the events that each piece completes.

    An event is returned as soon as its last byte is there. What the stream's end leaves incomplete is never returned.

    Args:
        max_event_bytes: The size above which an event is refused, complete or not.
        last_event_id: The id from an earlier connection.

    Attributes:
        last_event_id: The last ``id:`` of a complete event, on this connection or before it; ``""`` if there is none.
        oversized: Whether an event was larger than ``max_event_bytes``. The parser must not be used after that; the
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

    def feed(self, piece: bytes) -> Sequence[ServerSentEvent]:
        """Take the next bytes and return the events that are complete with them, in order."""
        if self._at_start or self._after_cr or b"\r" in piece:
            piece = self._normalise(piece)
        if self.oversized or not piece:
            return ()
        pending = self._pending
        if not pending and piece.endswith(b"\n\n"):
            return self._parse(piece)
        scanned = max(0, len(pending) - 1)
        pending += piece
        events: Sequence[ServerSentEvent] = ()
        if b"\n" in piece:
            end = pending.rfind(b"\n\n", scanned) + 2
            if end >= 2:
                events = self._parse(self._take(end))
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

    def _parse(self, complete: bytes | bytearray) -> list[ServerSentEvent]:
        if len(complete) > self._limit and (place := self._first_oversized(complete)) is not None:
            self.oversized = True
            complete = complete[:place]
        # Of a single event only the beginning is matched: the expression would look at each byte of its data.
        if (start := _BEGINNING.match(complete)) and complete.find(b"\n", start.end()) == len(complete) - 2:
            return [(start[1], memoryview(complete)[start.end() : -2])]
        found: list[ServerSentEvent] = _USUAL.findall(complete)
        if len(found) * _LINES_EACH == complete.count(b"\n"):
            return found
        blocks = bytes(complete).split(b"\n\n")
        return [event for block in blocks if block.strip(b"\n") and (event := self._interpret(block))]

    def _first_oversized(self, complete: bytes | bytearray) -> int | None:
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

    def _interpret(self, block: bytes) -> ServerSentEvent | None:
        """Return what a block of any form means; ``None`` if it has neither a name nor data."""
        if usual := _USUAL.fullmatch(block + b"\n\n"):
            return usual[1], usual[2]
        name = _UNNAMED
        data: list[str] = []
        for line in block.decode("utf-8", "replace").split("\n"):  # whole lines, so no character is torn apart
            field, _, value = line.partition(":")
            if field == "data":
                data.append(line)
            elif field == "event":
                name = value.removeprefix(" ") or _UNNAMED
            elif field == "id" and "\0" not in value:
                self.last_event_id = value.removeprefix(" ")
            elif field == "retry":
                self._retry = self._last_retry(line.encode())
        return _read(name, data)

    def _last_retry(self, lines: bytes) -> int | None:
        found = _RETRY.findall(lines)
        return int(found[-1].lstrip(b"0")[:_RETRY_DIGITS] or b"0") if found else self._retry


def _read(name: str, data: list[str]) -> ServerSentEvent | None:
    """Let sseclient-py read the data of an event: it logs the names of events, and a name may hold a key."""
    if not data:
        return (name.encode(), None) if name != _UNNAMED else None
    groups = [data[start : start + _LINES_AT_ONCE] for start in range(0, len(data), _LINES_AT_ONCE)]
    blocks = ("\n".join([*group, "", ""]).encode() for group in groups)
    return name.encode(), "\n".join(event.data for event in SSEClient(blocks).events()).encode()
