"""
What is fuzzed: the way of any bytes from the connection to the handler, without network and threads.

The last bytes of an input are no part of the stream. They say how it is cut into pieces, what the largest event is, and
which of the handler's calls raise; so everything is decided by the input.
"""

from __future__ import annotations

import itertools
import logging
import queue
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from reference import CheckingHandler, Stream, read

from autoconfig import HandlerErrors, RetryPolicy
from autoconfig.dispatch.calls import HandlerCalls
from autoconfig.dispatch.dispatcher import Dispatcher
from autoconfig.exceptions import MalformedMessageError
from autoconfig.frozen import FrozenDict, FrozenList
from autoconfig.messages import (
    Batch,
    DeleteMessageData,
    EnvironmentRep,
    ItemKind,
    Message,
    PatchMessageData,
    PutContent,
    RepeatedPut,
)
from autoconfig.safe_logger import Adapter
from autoconfig.status_tracker import StatusTracker
from autoconfig.stream import decoding
from autoconfig.stream.cancel import CancelToken
from autoconfig.stream.decoding import Decoder, UnknownPath
from autoconfig.stream.events import EventParser, ServerSentEvent

CONTROL_BYTES = 8  # the largest event, three lengths of pieces, four bytes of calls that raise
_UNLIMITED = 64 * 2**20
_MESSAGES = {b"put": "put", b"patch": "patch", b"delete": "delete"}
_DEEP = 200
_NUDGE = DeleteMessageData(ItemKind.FILTER, "nudge", 1)  # leads to no call; the dispatcher looks for what is due
_AT_ONCE = HandlerErrors(RetryPolicy(max_delay=1e-6), initial_delay=1e-6)
_ROUNDS = 100_000  # of looking for what is due, which takes a microsecond each
_JSON_TYPES = (FrozenDict, FrozenList, str, bool, int, float, type(None))


class _Loud(Adapter):
    """Raises what the dispatcher would only log: a fault of the library."""

    def log(self, level: int, msg: object, *args: object, **_: object) -> None:
        """Raise if the line is about a message that could not be handled."""
        assert msg != "Failed to handle a message"


_LOG = _Loud(logging.getLogger("autoconfig.fuzz"))


def check(data: bytes) -> None:
    """Send an input all the way; raises whatever is wrong, an ``AssertionError`` mostly."""
    stream, control = data[:-CONTROL_BYTES], data[-CONTROL_BYTES:]
    if len(control) < CONTROL_BYTES:
        stream, control = data, bytes(CONTROL_BYTES)
    pieces = cut(stream, control[1:4])
    events = check_events(stream, pieces)
    check_connections(pieces, events)
    if control[0]:
        check_limit(pieces, 8 * control[0], events)
    check_calls([message for event in events if (message := check_message(event))], control[4:])


def cut(stream: bytes, lengths: bytes) -> list[bytes]:
    """Return the stream in pieces, whose lengths come round again."""
    places = itertools.accumulate(length + 1 for length in itertools.cycle(lengths))
    ends = [*itertools.takewhile(lambda place: place < len(stream), places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise([0, *ends])]


def check_events(stream: bytes, pieces: Sequence[bytes]) -> list[ServerSentEvent]:
    """Return the stream's events, after checking that they are what the standard says, whatever the pieces."""
    expected = read(stream)
    for way in ([stream], pieces):
        found = _parse(way)
        readable = found._replace(events=[(_clean(name), data and _clean(data)) for name, data in found.events])
        assert readable == expected, f"in {len(way)} pieces: {found} is not {expected}"
    return found.events


def _clean(text: bytes | memoryview) -> bytes:
    """Return what the bytes mean: the parser leaves broken UTF-8 to the decoder."""
    return str(text, "utf-8", "replace").encode()


def _parse(pieces: Iterable[bytes]) -> Stream:
    parser = EventParser(max_event_bytes=_UNLIMITED)
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert not parser.oversized
    return Stream(events, parser.last_event_id, parser.retry)


def check_limit(pieces: Sequence[bytes], limit: int, expected: Sequence[ServerSentEvent]) -> None:
    """Check that a limit bounds what is kept, and takes nothing away but a tail that begins with a large event."""
    parser = EventParser(max_event_bytes=limit)
    longest = max(map(len, pieces))
    events: list[ServerSentEvent] = []
    for piece in pieces:
        before = parser.oversized
        found = parser.feed(piece)
        events += found
        assert not (before and found), "events after the end"
        kept = len(parser._pending)
        assert kept <= limit or (parser.oversized and kept <= limit + longest), f"{kept} bytes kept, not {limit}"
    assert events == expected[: len(events)]
    assert parser.oversized or len(events) == len(expected), "events lost without a word"


def check_connections(pieces: Sequence[bytes], events: Sequence[ServerSentEvent]) -> None:
    """Check that a decoder brings the events' messages, and on a second connection the same, or that nothing is new."""
    expected = list(_messages(events))
    decoder = Decoder(_UNLIMITED, _LOG)
    for _ in range(2):
        decoder.begin()
        messages: Batch = []
        for piece in pieces:
            received = decoder.feed(piece)
            messages += received.messages
            if received.ending:
                break
        assert len(messages) == len(expected)
        for found, message in zip(messages, expected, strict=True):
            assert found == message or found == _repeated(message), f"{found} is not {message}"


def _messages(events: Sequence[ServerSentEvent]) -> Iterable[Message]:
    """Yield the events' messages up to what ends the connection."""
    for name, data in events:
        if name == b"reconnect":
            return
        if name not in _MESSAGES:
            continue
        try:
            message = decoding.decode(_MESSAGES[name], data or b"")
        except MalformedMessageError:
            return
        if isinstance(message, UnknownPath):
            continue
        yield message
        refused = isinstance(message, PutContent | PatchMessageData) and message.refused
        if refused and not (isinstance(message, PutContent) and message.environments):
            return


def _repeated(message: Message) -> RepeatedPut | None:
    return RepeatedPut(len(message.environments), len(message.filters)) if isinstance(message, PutContent) else None


def check_message(event: ServerSentEvent) -> Message | None:
    """Return the event's message, if it is one, after checking that the exact way and the loose one agree."""
    name, data = _MESSAGES.get(event[0]), bytes(event[1] or b"")
    if name is None:
        return None
    try:
        message: Message | UnknownPath | None = decoding.decode(name, data)
    except MalformedMessageError:
        message = None
    if data.count(b"[") + data.count(b"{") < _DEEP:  # how deep a document may be is not the same in both
        loose = _decode_loosely(name, data)
        assert message == loose, f"the exact way: {message}, the loose one: {loose}"
    if message is None or isinstance(message, UnknownPath):
        return None
    for rep in _environments(message):
        assert all(map(is_plain, rep.extra.values())), f"extra holds more than JSON has: {dict(rep.extra)}"
        assert EnvironmentRep.from_json(rep.to_json()) == rep
        rep.to_params()
    return message


def _decode_loosely(name: str, data: bytes) -> Message | UnknownPath | None:
    """Decode the message as if the exact way did not take it."""
    exact = {key: value for key, value in vars(decoding).items() if key.startswith("_exact")}
    try:
        for key in exact:
            setattr(decoding, key, _refuse)
        return decoding.decode(name, data)
    except MalformedMessageError:
        return None
    finally:
        for key, value in exact.items():
            setattr(decoding, key, value)


def _refuse(_: object) -> NoReturn:
    raise ValueError("not in the exact way")


def _environments(message: Message) -> Iterable[EnvironmentRep]:
    if isinstance(message, PutContent):
        return message.environments.values()
    if isinstance(message, PatchMessageData) and isinstance(message.data, EnvironmentRep):
        return [message.data]
    return []


def is_plain(value: Any) -> bool:
    """Return whether the value is what JSON has, and cannot be changed."""
    if type(value) is FrozenDict:
        return all(map(is_plain, [*value, *value.values()]))
    return all(map(is_plain, value)) if type(value) is FrozenList else type(value) in _JSON_TYPES


def check_calls(messages: Sequence[Message], failures: bytes) -> None:
    """Check the handler's calls; each bit of the failures that is set is a call that raises."""
    plan = iter([bool(byte >> bit & 1) for byte in failures for bit in range(8)])
    handler = CheckingHandler(lambda: next(plan, False))
    status = StatusTracker(_LOG)
    calls = HandlerCalls(handler, CancelToken(), errors=_AT_ONCE, slow_after=60.0, status=status, logger=_LOG)
    batches: queue.Queue[Batch] = queue.Queue()
    dispatcher = Dispatcher(calls, _AT_ONCE, batches, status, _LOG)
    rounds = 0
    for message in [*messages, PutContent()]:  # at the end everything goes
        _deliver(dispatcher, batches, message)
        while dispatcher._retries.next_due() is not None:
            _deliver(dispatcher, batches, _NUDGE)
            rounds += 1
            assert rounds < _ROUNDS, "something is pending for ever"
    assert handler.broken == [], f"calls that the rule does not allow: {handler.broken}"
    assert handler.left == [], f"items that were not deleted at the end: {handler.left}"
    assert status.pending_retries == 0
    assert status.failed_callbacks <= 8 * len(failures)


def _deliver(dispatcher: Dispatcher, batches: queue.Queue[Batch], message: Message) -> None:
    batches.put([message])
    batches.put([])
    dispatcher.run()
