"""The reader called inline: what it hands over, and how it waits for room in the queue."""

from __future__ import annotations

import threading

import pytest
from support.samples import MALFORMED, PUT, RECONNECT, environment, patch, patch_bytes, put
from support.stubs import PatientToken, Run, SignallingQueue, StubConnector, make_reader

from autoconfig import KeyRejectedError

THREE = [patch_bytes("e1"), patch_bytes("e2"), patch_bytes("e3")]


def test_what_one_read_brings_is_one_item_of_the_queue() -> None:
    run = Run([PUT + patch_bytes("e1"), patch_bytes("e2")[:20], patch_bytes("e2")[20:], patch_bytes("e3")])
    assert run.handed_over == [[put(), patch("e1", 1)], [patch("e2", 1)], [patch("e3", 1)]]


def test_what_brings_no_message_is_no_item_of_the_queue() -> None:
    """An empty batch would be the end for the dispatcher."""
    assert Run([b":heartbeat\n", b"event: news\ndata: x\n\n", b"\n", b"retry: 5\n\n"]).handed_over == []


def test_a_message_has_the_items_of_the_wire() -> None:
    ((message,),) = Run([patch_bytes("e1")]).handed_over
    assert message == patch("e1", 1)
    assert message.data == environment("e1", 1)


@pytest.mark.parametrize("split", [True, False], ids=["split", "burst"])
def test_nothing_after_a_malformed_message_is_handed_over(split: bool) -> None:
    """What came before it counts, and the next connection brings the rest."""
    pieces = [patch_bytes("e1"), MALFORMED, patch_bytes("e3"), PUT]
    run = Run(pieces if split else [b"".join(pieces)], [PUT])
    assert run.handed_over == [[patch("e1", 1)], [put()]]


@pytest.mark.parametrize("event", [RECONNECT, b"event: reconnect\n\n", b"event: reconnect\ndata: {not json\n\n"])
def test_a_reconnect_event_ends_the_connection_at_once(event: bytes) -> None:
    run = Run([patch_bytes("e1") + event + patch_bytes("e2"), patch_bytes("e3")], [PUT])
    assert run.handed_over == [[patch("e1", 1)], [put()]]
    assert len(run.ids) == 2


def test_an_incomplete_event_is_not_handed_over() -> None:
    assert Run([PUT + patch_bytes("e1")[:-1]], [patch_bytes("e2")]).handed_over == [[put()], [patch("e2", 1)]]


def test_an_event_above_the_limit_ends_the_connection() -> None:
    run = Run([patch_bytes("e1"), patch_bytes("e2" * 500), patch_bytes("e3")], [PUT], max_event_bytes=500)
    assert run.handed_over == [[patch("e1", 1)], [put()]]


@pytest.mark.parametrize("status", [401, 403])
def test_what_came_before_a_refused_key_is_handed_over(status: int) -> None:
    assert Run([PUT], KeyRejectedError(status)).handed_over == [[put()]]


def test_a_full_queue_makes_the_reader_wait() -> None:
    """It goes on when there is room, and loses nothing."""
    token, batches = PatientToken(), SignallingQueue(1)
    thread = threading.Thread(target=make_reader(StubConnector(token, [THREE]), batches, token).run, daemon=True)
    thread.start()
    assert batches.waited_for.wait(30)
    assert thread.is_alive()
    assert [batches.get(timeout=30) for _ in range(3)] == [[patch(id, 1)] for id in ("e1", "e2", "e3")]
    thread.join(30)
    assert not thread.is_alive()


def test_cancelling_and_making_room_frees_a_reader_that_waits() -> None:
    """It puts what it holds at that moment, and nothing more."""
    token, batches = PatientToken(), SignallingQueue(1)
    thread = threading.Thread(target=make_reader(StubConnector(token, [THREE] * 3), batches, token).run, daemon=True)
    thread.start()
    assert batches.waited_for.wait(30)
    token.cancel()
    assert batches.get_nowait() == [patch("e1", 1)]
    thread.join(30)
    assert not thread.is_alive()
    assert batches.get_nowait() == [patch("e2", 1)]
    assert batches.empty()


def test_nothing_is_handed_over_after_cancel() -> None:
    """The bytes were read before, so the reader looks once more."""
    token, batches = PatientToken(), SignallingQueue(9)
    make_reader(StubConnector(token, [[PUT, token.cancel, PUT, PUT]]), batches, token).run()
    assert batches.get_nowait() == [put()]
    assert batches.empty()
