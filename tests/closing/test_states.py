"""``close()`` returns at once whatever the network does, and nothing is left."""

from __future__ import annotations

import itertools
import threading

import pytest
from closing.run import NEVER, MakeRun, Serve
from closing.states import WAITS, State, silent_after_the_request, states
from support.addresses import black_hole, connecting_to
from support.peer import HEAD, Line, Script, accepted_and_silent, event
from support.recorder import Acting
from support.waiting import wait_until

from autoconfig import ClosedError, KeyRejectedError

NOWHERE = "127.0.0.1:9"  # the port of "discard", where nobody listens


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("state", [pytest.param(state, id=name) for name, state in states()])
def test_close_returns_at_once(state: State, scheme: str, serve: Serve, make_run: MakeRun) -> None:
    """Whatever the server does, all ends, and nothing comes after it."""
    peer = serve(state.script, tls=scheme == "https")
    run = make_run(peer.url, **state.options).start()
    peer.wait_until_reached(state.times)
    run.recorder.wait_for_calls(state.calls)
    if state.log:
        run.log.wait_for(state.log)
    assert run.close() is True
    run.check(peer)
    assert run.settled
    assert isinstance(run.settled.exception(), type(None) if state.calls else ClosedError)


def test_before_start(make_run: MakeRun) -> None:
    """Nothing was started, so nothing has to end; the manager cannot be started any more."""
    run = make_run("https://127.0.0.1:9")
    assert run.close() is True
    run.check()


def test_right_after_start(serve: Serve, make_run: MakeRun) -> None:
    """The threads have hardly begun."""
    peer = serve(silent_after_the_request)
    run = make_run(peer.url).start()
    assert run.close() is True
    run.check(peer)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connecting_to_a_black_hole(scheme: str, make_run: MakeRun) -> None:
    """Nobody answers the client's SYN."""
    with black_hole() as url:
        run = make_run(url.replace("http", scheme)).start()
        wait_until(lambda: connecting_to(url), "the client connects")
        assert run.close() is True
        run.check()
        assert not connecting_to(url)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_back_off_after_a_refused_connection(scheme: str, make_run: MakeRun) -> None:
    """Nobody listens, and the next attempt is a minute away."""
    run = make_run(f"{scheme}://{NOWHERE}", initial_retry_delay=NEVER).start()
    run.log.wait_for(WAITS)
    assert run.close() is True
    run.check()


def answers_connect(line: Line) -> None:
    """The tunnel is there, but the handshake through it stalls."""
    assert line.request().startswith(b"CONNECT ")
    line.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    line.stall()


def trickles(line: Line) -> None:
    line.request()
    line.trickle(b"HTTP/1.1 200 Connection established\r\nX-Slow: " + b"a" * 60_000)


@pytest.mark.parametrize("proxy", ["http", "https"])
@pytest.mark.parametrize(
    ("script", "scheme"),
    [
        *itertools.product([accepted_and_silent, silent_after_the_request, trickles], ["http", "https"]),
        (answers_connect, "https"),
    ],
)
def test_stalled_proxy(script: Script, scheme: str, proxy: str, serve: Serve, make_run: MakeRun) -> None:
    """The proxy does not answer: at its own handshake, to CONNECT or GET, or at the handshake through it."""
    peer = serve(script, tls=proxy == "https")
    run = make_run(f"{scheme}://{NOWHERE}", http={"proxy_url": peer.url}).start()
    peer.wait_until_reached()
    assert run.close() is True
    run.check(peer)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_after_the_key_was_rejected(status: int, scheme: str, serve: Serve, make_run: MakeRun) -> None:
    """The stream has ended by itself; afterwards join() still says why."""

    def reject(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 %d No\r\n\r\n" % status)
        line.flood(b"x" * 1000)

    peer = serve(reject, tls=scheme == "https")
    run = make_run(peer.url).start()
    assert run.settled
    with pytest.raises(KeyRejectedError):
        run.settled.result(NEVER)
    assert run.close() is True
    run.check(peer)
    assert isinstance(run.settled.exception(), KeyRejectedError)


@pytest.mark.parametrize("calls", [0, 1], ids=["while it is decoded", "while it is applied"])
def test_a_large_put(calls: int, serve: Serve, make_run: MakeRun) -> None:
    """All of it would take several seconds, because each call takes a while."""
    environment = {"envKey": "production", "envName": "Production", "projKey": "project", "version": 1}
    environments = {f"{number:024}": {**environment, "envID": f"{number:024}"} for number in range(5_000)}
    put = event("put", "/", data={"environments": environments})

    def send_it(line: Line) -> None:
        line.request()
        line.send(HEAD + put)
        line.stall()

    peer = serve(send_it)
    run = make_run(peer.url, Acting(lambda *_: threading.Event().wait(0.001))).start()
    peer.wait_until_reached()
    run.recorder.wait_for_calls(calls)
    assert run.close() is True
    run.check(peer)
    assert len(run.recorder.calls) < len(environments)
