"""Nothing interrupts the look-up of a name: ``close()`` gives it up, and its thread ends by itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from closing.run import NEVER, MakeRun, Run, Serve, descriptors
from closing.states import REDIRECT, SOON, silent_after_the_request
from support.peer import HEAD, PUT, WAITING, Line, Peer
from support.recorder import Acting
from support.waiting import wait_until

from autoconfig import ClosedError, safe_logger, stream_threads

NAME = "autoconfig.test"

pytestmark = pytest.mark.usefixtures("real_limits")


class LookUp:
    """
    A look-up of names that takes until it is released, if the name is ours.

    Attributes:
        begun: Set when it is waiting.
        released: Set to let it return.
        address: What it returns.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()
        self.address = ("127.0.0.1", 9)
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *rest: Any, **options: Any) -> list[Any]:
        if host != NAME:
            return self._real(host, port, *rest, **options)
        self.begun.set()
        self.released.wait(NEVER)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", self.address)]


@pytest.fixture
def look_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[LookUp]:
    hanging = LookUp()
    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    yield hanging
    hanging.released.set()


@pytest.fixture
def unvisited(serve: Serve, look_up: LookUp) -> Peer:
    """A peer at the address that the look-up would return."""
    peer = serve(silent_after_the_request)
    look_up.address = ("127.0.0.1", int(peer.url.rpartition(":")[2]))
    return peer


def assert_given_up(run: Run, count: int = 1) -> None:
    """Check what is promised while the look-up hangs."""
    assert "autoconfig-reader" in run.log.wait_for_given_up(count)
    assert [name.rpartition("-")[0] for name in run.threads] == ["autoconfig-reader"]
    assert all(thread.daemon for thread in run.started)
    assert run.settled
    assert run.settled.done()
    assert run.manager.join(timeout=0) is True


def assert_ends(run: Run, look_up: LookUp, unvisited: Peer) -> None:
    """Check what is promised for the time after the look-up."""
    look_up.released.set()
    for thread in run.started:
        thread.join(WAITING)
    assert run.threads == []
    unvisited.close()  # which accepts all that has come before
    assert unvisited.connections == 0
    assert run.close() is True


@pytest.mark.parametrize(
    ("scheme", "proxy"),
    [("http", None), ("https", None), ("https", f"http://{NAME}:1")],
    ids=["http", "https", "proxy"],
)
def test_hanging_look_up(scheme: str, proxy: str | None, look_up: LookUp, unvisited: Peer, make_run: MakeRun) -> None:
    """Two calls of close() give up with a WARNING each, and no connection is opened later."""
    run = make_run(f"{scheme}://{'127.0.0.1:9' if proxy else NAME}", http={"proxy_url": proxy})
    before = descriptors()
    run.start()
    assert look_up.begun.wait(WAITING)
    for count in (1, 2):
        assert run.close() is False
        assert_given_up(run, count)
        assert descriptors() <= before
    assert run.settled
    assert isinstance(run.settled.exception(), ClosedError)
    assert_ends(run, look_up, unvisited)


def test_what_cannot_be_interrupted_takes_less_than_a_second_in_all() -> None:
    """Two lines of the log are waited for after a thread; a busy machine adds to that, so it is not measured."""
    assert stream_threads._GRACE + 2 * safe_logger._PATIENCE < 1


def test_after_a_redirect(look_up: LookUp, unvisited: Peer, serve: Serve, make_run: MakeRun) -> None:
    """The look-up for the next hop hangs; the connection to the first one is closed all the same."""

    def redirect(line: Line) -> None:
        line.request()
        line.send(REDIRECT.replace(b"/again", f"http://{NAME}/".encode()))
        line.stall()

    first = serve(redirect)
    run = make_run(first.url).start()
    assert look_up.begun.wait(WAITING)
    assert run.close() is False
    assert_given_up(run)
    first.wait_until_left()
    assert_ends(run, look_up, unvisited)


@pytest.mark.parametrize("close", ["short", "eight threads"])
def test_shorter_and_together(close: str, look_up: LookUp, unvisited: Peer, make_run: MakeRun) -> None:
    """A shorter timeout counts, and several threads do not wait one after the other."""
    run = make_run(f"https://{NAME}").start()
    assert look_up.begun.wait(WAITING)
    if close == "short":
        assert run.close(0.1) is False
    else:
        with ThreadPoolExecutor(8) as pool:
            assert [future.result() for future in [pool.submit(run.close) for _ in range(8)]] == [False] * 8
    assert_given_up(run, len(run.seconds))
    assert_ends(run, look_up, unvisited)


def test_inside_a_callback(look_up: LookUp, unvisited: Peer, serve: Serve, make_run: MakeRun) -> None:
    """The stream has ended and is looked up again while a callback still runs, and that one closes."""
    ended: list[bool] = []
    closed = threading.Event()

    def close(*_: object) -> None:
        look_up.begun.wait(WAITING)
        ended.append(run.close())
        closed.set()

    answers = iter([HEAD + PUT])

    def end_and_redirect(line: Line) -> None:
        line.request()
        line.send(next(answers, REDIRECT.replace(b"/again", f"http://{NAME}/".encode())))

    run = make_run(serve(end_and_redirect).url, Acting(close), initial_retry_delay=SOON)
    run.start()
    assert closed.wait(WAITING)
    assert ended == [False]
    wait_until(lambda: len(run.threads) == 1, "the dispatcher ends")
    assert_given_up(run)
    assert_ends(run, look_up, unvisited)
    assert len(run.recorder.calls) == 1
