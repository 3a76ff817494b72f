"""The reader called inline: when it connects again, after how long, and with which last event id."""

from __future__ import annotations

import queue
import threading

import pytest
from support.samples import MALFORMED, PUT, RECONNECT, put
from support.stubs import Clock, Run, Step, StubConnector, make_reader, steady_plan

from autoconfig import KeyRejectedError, RetryPolicy
from autoconfig.exceptions import ConnectionFailedError, StreamEndedError
from autoconfig.stream.cancel import CancelToken

REFUSED = ConnectionFailedError("refused")


def test_delays_double_up_to_the_maximum() -> None:
    assert Run(*[REFUSED] * 7).delays == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("ending", [[], [StreamEndedError("reset")], [RECONNECT], [MALFORMED], [RuntimeError("bug")]])
def test_every_end_of_a_connection_counts_alike(ending: list[Step]) -> None:
    """A clean end, a reset, a reconnect event, malformed data, a bug: all of them back off."""
    assert Run(*[[PUT, *ending]] * 3).delays == [1, 2, 4]


def test_delays_start_anew_after_a_minute_of_good_service(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    run = Run(REFUSED, REFUSED, [PUT, clock.goes_on(60.0)], REFUSED)
    assert run.delays == [1, 2, 1, 2]


def test_delays_go_on_after_less_than_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert Run(REFUSED, REFUSED, [PUT, clock.goes_on(59.9)], REFUSED).delays == [1, 2, 4, 8]


def test_the_time_that_connecting_takes_is_not_good_service(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def slow() -> Exception:
        clock.now += 1000.0
        return REFUSED

    assert Run(REFUSED, slow, REFUSED).delays == [1, 2, 4]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param([b"retry: 500\n\n"], id="alone"),
        pytest.param([b"retry: 500\n" + PUT], id="with-an-event"),
        pytest.param([b"retry: 500\n"], id="in-an-incomplete-event"),
        pytest.param([b"retry: 9000\n\n", b"retry: 500\n\n"], id="last-of-several"),
        pytest.param([b"retry: 500\n\n" + MALFORMED], id="before-a-malformed-event"),
    ],
)
def test_a_retry_line_sets_the_delay_and_starts_the_doubling_anew(stream: list[Step]) -> None:
    """For the wait after its own connection already, and for all later ones."""
    assert Run(REFUSED, REFUSED, stream, REFUSED, REFUSED).delays == [1, 2, 0.5, 1, 2]


@pytest.mark.parametrize("line", [b"retry: 0\n\n", b"retry: -5\n\n", b"retry: 1s\n\n", b"retry\n\n", b"retry: 500"])
def test_a_retry_line_that_says_nothing_is_ignored(line: bytes) -> None:
    assert Run(REFUSED, [line], REFUSED).delays == [1, 2, 4]


def test_a_huge_retry_is_capped() -> None:
    assert Run([b"retry: " + b"9" * 5000 + b"\n\n"], REFUSED).delays == [30, 30]


def test_an_error_that_nobody_foresaw_does_not_end_the_loop() -> None:
    """``on_connected`` belongs to the application's future; here it fails once."""
    calls: list[int] = []

    def on_connected() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise LookupError("not foreseen")

    run = Run([PUT], [PUT], on_connected=on_connected)
    assert calls == [0, 1]
    assert run.handed_over == [[put()]]


def test_it_is_connected_once_for_each_stream() -> None:
    calls: list[None] = []
    Run(REFUSED, [PUT, PUT], REFUSED, [], on_connected=lambda: calls.append(None))
    assert len(calls) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_loop(status: int) -> None:
    """Also later than on the first attempt."""
    run = Run([PUT], KeyRejectedError(status), [PUT])
    assert run.error
    assert run.error.status == status
    assert len(run.ids) == 2


def test_cancelling_ends_the_wait_between_attempts() -> None:
    """The delay is an hour; the reader is in it, or about to be, when the token is cancelled."""
    waiting = threading.Event()

    class TellingToken(CancelToken):
        def wait(self, timeout: float) -> bool:
            waiting.set()
            return super().wait(timeout)

    token, plan = TellingToken(), steady_plan(3600.0, RetryPolicy(max_delay=3600.0))
    reader = make_reader(StubConnector(token, [REFUSED]), queue.Queue(), token, plan)
    thread = threading.Thread(target=reader.run, daemon=True)
    thread.start()
    assert waiting.wait(30)
    token.cancel()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("streams", "ids"),
    [
        pytest.param([[PUT]], ["", ""], id="none"),
        pytest.param([[b"id: 7\n" + PUT]], ["", "7"], id="one"),
        pytest.param([[b"id: 7\n" + PUT, b"id: 8\n" + PUT, PUT]], ["", "8"], id="last-of-several"),
        pytest.param([[b"id: 7\n" + PUT], [PUT]], ["", "7", "7"], id="kept"),
        pytest.param([[b"id: 7\n" + PUT], [b"id: 8\n" + PUT]], ["", "7", "8"], id="replaced"),
        pytest.param([[b"id: 7\n" + PUT], [b"id:\n" + PUT], []], ["", "7", "", ""], id="cleared"),
        pytest.param([[b"id: 7\n" + PUT], [b"id\n\n"], []], ["", "7", "", ""], id="cleared-without-an-event"),
        pytest.param([[b"id: 7\n\n"]], ["", "7"], id="without-an-event"),
        pytest.param([[b"id: 7\n" + PUT[:-1]]], ["", ""], id="incomplete"),
        pytest.param([[b"id: 7\n" + PUT], [b"id: a\0b\n" + PUT]], ["", "7", "7"], id="nul"),
        pytest.param([["id: é…\n".encode() + PUT]], ["", "é…"], id="utf-8"),
        pytest.param([[b"id: 7\n" + PUT + b"id: 8\n" + MALFORMED]], ["", "8"], id="of-a-malformed-event"),
    ],
)
def test_the_last_event_id_over_reconnects(streams: list[list[Step]], ids: list[str]) -> None:
    assert Run(*streams, REFUSED).ids == ids


def test_the_last_event_id_outlives_failed_attempts() -> None:
    assert Run([b"id: 7\n" + PUT], REFUSED, REFUSED).ids == ["", "7", "7"]
