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
from typing import Any

from reference import CheckingHandler, Stream, read

from autoconfig import (
    EnvironmentRep,
    HandlerErrors,
    MalformedMessageError,
    PatchMessageData,
    PutMessageData,
    RetryPolicy,
)
from autoconfig.calls import HandlerCalls
from autoconfig.delivery import Delivery
from autoconfig.dispatcher import Dispatcher
from autoconfig.messages import Batch, Message
from autoconfig.status import StatusTracker
from autoconfig.stream import decoding
from autoconfig.stream import events as parsing
from autoconfig.stream.cancel import CancelToken
from autoconfig.stream.events import EventParser, ServerSentEvent
from autoconfig.stream.fields import WrongError

CONTROL_BYTES = 8  # the largest event, three lengths of pieces, four bytes of calls that raise
_UNLIMITED = 64 * 2**20
_MESSAGES = frozenset(decoding._BUILDERS)
_AT_ONCE = HandlerErrors(RetryPolicy(max_delay=1e-6))
_ROUNDS = 100_000  # of looking for what is due, which takes a microsecond each
_JSON_TYPES = (dict, list, str, bool, int, float, type(None))
parsing._LARGE = 256  # bytes; small, so that inputs go the way of large events too
_QUIET = logging.getLogger("autoconfig.fuzz")
_QUIET.disabled = True


def check(data: bytes) -> None:
    """Send an input all the way; raises whatever is wrong, an ``AssertionError`` mostly."""
    stream, control = data[:-CONTROL_BYTES], data[-CONTROL_BYTES:]
    if len(control) < CONTROL_BYTES:
        stream, control = data, bytes(CONTROL_BYTES)
    pieces = cut(stream, control[1:4])
    events = check_events(stream, pieces)
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
        assert found == expected, f"in {len(way)} pieces: {found} is not {expected}"
    return expected.events


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


def check_message(event: ServerSentEvent) -> Message | None:
    """Return the event's message, if it is one, after checking that both decoders agree."""
    name, data = event.event, event.data or ""
    if name not in _MESSAGES:
        return None
    try:
        careful = decoding._BUILDERS[name](decoding._load(data, decoding._CAREFUL))
    except WrongError:
        careful = None
    try:
        message = decoding.decode(name, data)
    except MalformedMessageError:
        message = None
    assert message == careful, f"the quick decoder: {message}, the careful one: {careful}"
    for rep in _environments(message):
        assert all(map(is_plain, rep.extra.values())), f"extra holds more than JSON has: {dict(rep.extra)}"
        rep.to_params()
    return message


def _environments(message: Message | None) -> Iterable[EnvironmentRep]:
    if isinstance(message, PutMessageData):
        return message.data.environments.values()
    if isinstance(message, PatchMessageData) and isinstance(message.data, EnvironmentRep):
        return [message.data]
    return []


def is_plain(value: Any) -> bool:
    """Return whether the value is what ``json`` makes of a text, and no subclass of that."""
    if type(value) is dict:
        return all(map(is_plain, [*value, *value.values()]))
    return all(map(is_plain, value)) if type(value) is list else type(value) in _JSON_TYPES


def check_calls(messages: Sequence[Message], failures: bytes) -> None:
    """Check the handler's calls; each bit of the failures that is set is a call that raises."""
    plan = iter([bool(byte >> bit & 1) for byte in failures for bit in range(8)])
    handler = CheckingHandler(lambda: next(plan, False))
    status = StatusTracker(_QUIET)
    calls = HandlerCalls(handler, CancelToken(), errors=_AT_ONCE, slow_after=60.0, status=status, logger=_QUIET)
    delivery = Delivery(calls, _AT_ONCE, status, _QUIET)
    batches: queue.Queue[Batch] = queue.Queue()
    dispatcher = Dispatcher(delivery, batches, status, _QUIET)
    for message in messages:
        dispatcher._dispatch(message)  # and not run(), which would log what is raised
        delivery.retry()
    rounds = 0
    while delivery.next_retry() is not None:
        delivery.retry()
        rounds += 1
        assert rounds < _ROUNDS, "something is pending for ever"
    assert handler.broken == [], f"calls out of order: {handler.broken}"
    assert status.pending_retries == 0
    assert status.failed_callbacks <= 8 * len(failures)
