"""A put that is the same again is not decoded again, and nobody but the clock can tell."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dispatching import QUIET, Inline
from support.recorder import Failing
from support.samples import event_item, put_of, service_environment
from support.scripted_server import payload
from support.stubs import PatientToken, Run, StubConnector, make_reader

from autoconfig import HandlerErrors
from autoconfig.messages import DeleteMessageData, Message, PatchMessageData, PutContent, RepeatedPut
from autoconfig.stream.decoding import Decoder

LOG = logging.getLogger("autoconfig")
IDS = "a", "b"


def event(item: dict[str, Any]) -> bytes:
    return payload(item, "")


def put(versions: dict[str, int], filters: dict[str, int] | None = None) -> bytes:
    environments = {id: service_environment(id, version) for id, version in versions.items()}
    listed = {
        id: {"projKey": "shop", "key": f"key-{id}", "version": version} for id, version in (filters or {}).items()
    }
    return event(event_item("put", {"path": "/", "data": {"environments": environments, "filters": listed}}))


def patch(id: str, version: int) -> bytes:
    data = service_environment(id, version)
    return event(event_item("patch", {"path": f"/environments/{id}", "data": data}))


def delete(id: str, version: int) -> bytes:
    return event(event_item("delete", {"path": f"/environments/{id}", "version": version}))


FIRST = put({"a": 1, "b": 2}, {"f": 1})
AGAIN = RepeatedPut(2, 1)


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(2**20, LOG)


def messages(decoder: Decoder, *events: bytes) -> Iterator[type[Message]]:
    """Give the events one by one; yield the classes of what they bring."""
    for one in events:
        yield from map(type, decoder.feed(one).messages)


def test_the_same_bytes_are_decoded_once(decoder: Decoder) -> None:
    """In one read or in several, on one connection or on the next."""
    (first,) = decoder.feed(FIRST).messages
    assert isinstance(first, PutContent)
    assert decoder.feed(FIRST) == (["put"], [AGAIN], None, None)
    assert decoder.feed(FIRST * 2).messages == [AGAIN, AGAIN]
    assert not decoder.feed(FIRST[:50]).events
    decoder.begin()
    assert decoder.feed(FIRST).messages == [AGAIN]
    assert decoder.feed(FIRST[:-1]).messages == []
    assert decoder.feed(FIRST[-1:]).messages == [AGAIN]


def test_other_bytes_are_decoded(decoder: Decoder) -> None:
    """Also if they mean the same."""
    spaced = FIRST.replace(b'"version":2', b'"version": 2')
    assert set(messages(decoder, FIRST, spaced, FIRST, put({}), FIRST)) == {PutContent}


@pytest.mark.parametrize(
    ("between", "kind"),
    [(patch("a", 1), PatchMessageData), (delete("z", 1), DeleteMessageData), (put({"a": 1}), PutContent)],
    ids=["patch", "delete", "put"],
)
def test_a_message_in_between_makes_it_count_anew(decoder: Decoder, between: bytes, kind: type[Message]) -> None:
    assert list(messages(decoder, FIRST, between, FIRST)) == [PutContent, kind, PutContent]
    assert decoder.feed(FIRST).messages == [AGAIN]


def test_what_is_no_message_does_not(decoder: Decoder) -> None:
    others = b": heartbeat\n\n", b"event: news\ndata: x\n\n", b"event: reconnect\ndata\n\n"
    assert list(messages(decoder, FIRST, *others, FIRST)) == [PutContent, RepeatedPut]


@pytest.mark.parametrize(
    "odd",
    [
        event(put_of(service_environment("a"), service_environment("b", sdkKeys=[{"key": "default", "value": ""}]))),
        event(put_of(service_environment("a"), b=service_environment("c"))),
        event(put_of(service_environment("a", sdkKeys=[{"key": "default", "value": ""}]))),
    ],
    ids=["refused", "foreign", "nothing usable"],
)
def test_a_put_that_is_not_used_as_a_whole_is_decoded_each_time(decoder: Decoder, odd: bytes) -> None:
    """What is wrong with it is told each time."""
    assert repr(decoder.feed(odd)) == repr(decoder.feed(odd))
    assert list(messages(decoder, FIRST, odd, FIRST)) == [PutContent, PutContent, PutContent]


def test_a_malformed_put_stays_malformed(decoder: Decoder) -> None:
    malformed = FIRST.replace(b'"version":2', b'"version":"2"')
    first, second = (str(decoder.feed(malformed).ending) for _ in range(2))
    assert first == second
    assert "version must be a 64-bit integer" in first


def test_a_put_that_may_not_have_been_handed_over_is_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong between the decoder and the queue."""
    token = PatientToken()
    reader = make_reader(StubConnector(token, [[FIRST], [FIRST], [FIRST]]), handed_over := BrokenQueue(), token)
    reader.run()
    assert [list(map(type, batch)) for batch in handed_over.batches] == [[PutContent], [RepeatedPut]]


class BrokenQueue:
    """Takes the first batch for nothing, and keeps the others."""

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self._broken = True

    def put(self, batch: list[Message]) -> None:
        if self._broken:
            self._broken = False
            raise MemoryError
        self.batches.append(batch)


EVENTS = st.one_of(
    st.builds(put, st.dictionaries(st.sampled_from(IDS), st.integers(1, 2)), st.dictionaries(st.just("f"), st.just(1))),
    st.builds(patch, st.sampled_from(IDS), st.integers(1, 3)),
    st.builds(delete, st.sampled_from(IDS), st.integers(1, 3)),
)
REPEATED = st.lists(st.tuples(EVENTS, st.integers(1, 3)), max_size=8)
FAILURES = st.lists(st.booleans(), max_size=12)


@given(REPEATED, FAILURES, st.sampled_from([HandlerErrors(), HandlerErrors(retry=None)]))
def test_the_handler_cannot_tell(events: list[tuple[bytes, int]], failures: list[bool], errors: HandlerErrors) -> None:
    """Whatever comes between, and whatever the handler makes of it."""
    assert calls(events, failures, errors, always_decode=False) == calls(events, failures, errors, always_decode=True)


def calls(
    events: list[tuple[bytes, int]], failures: list[bool], errors: HandlerErrors, *, always_decode: bool
) -> list[tuple[str, Any]]:
    """Return the calls that a handler gets which fails so; each event comes as often as its number says."""
    left = iter(failures)
    handler = Failing(lambda name, argument: ValueError() if next(left, False) else None)
    line, decoder = Inline(handler, log=QUIET, errors=errors), Decoder(2**20, QUIET)
    for one in (one for one, times in events for _ in range(times)):
        if always_decode:
            decoder.forget_put()
        line.deliver(*decoder.feed(one).messages)
    return handler.calls


def test_it_is_received_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    """The handler is told that all was received, the status counts it, and the log has its line."""
    caplog.set_level(logging.INFO, "autoconfig")
    handler = Failing(lambda name, argument: None)
    line, decoder = Inline(handler), Decoder(2**20, LOG)
    line.deliver(*decoder.feed(FIRST).messages)
    first, before = line.status.status.content_at, len(handler.calls)
    line.deliver(*decoder.feed(FIRST).messages)
    assert handler.calls[before:] == [("received_all_environments", None)]
    again = line.status.status.content_at
    assert first
    assert again
    assert again > first
    assert caplog.messages[-1] == "Received all: 2 environments and 1 filters, 0 changes"


def test_across_connections_the_reader_hands_over_that_it_came() -> None:
    ((first,), (second,)) = Run([FIRST], [FIRST]).handed_over
    assert isinstance(first, PutContent)
    assert second == AGAIN


def test_the_bytes_are_not_kept(decoder: Decoder) -> None:
    decoder.feed(put({f"e{number}": 1 for number in range(1000)}))
    assert len(json.dumps(repr(vars(decoder)))) < 1000
