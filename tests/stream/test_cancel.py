"""Stop: it ends every wait and every system call, from any thread and from a signal handler."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from support.threads import LONG, at_once, background, handled

from autoconfig.stream import cancel
from autoconfig.stream.cancel import CancelToken

SHORT = 0.02
Pair = tuple[socket.socket, socket.socket]


@contextmanager
def accepted() -> Iterator[Pair]:
    """Yield the two ends of a TCP connection on loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
        closing(listener.accept()[0]) as theirs,
    ):
        yield ours, theirs


@pytest.fixture(params=["socketpair", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A connection: our end and the peer's, neither of which waits for ever."""
    if request.param == "tcp":
        with accepted() as ends:
            yield with_timeouts(ends)
    else:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield with_timeouts((ours, theirs))


def with_timeouts(ends: Pair) -> Pair:
    for end in ends:
        end.settimeout(LONG)
    return ends


def test_a_token_is_not_cancelled_at_first() -> None:
    """A wait takes its time."""
    token = CancelToken()
    assert not token.cancelled
    assert not token.wait(SHORT)


def test_cancelling_may_be_repeated() -> None:
    """There is no way back, and every wait is over at once."""
    token = CancelToken()
    token.cancel()
    token.cancel()
    with at_once():
        assert token.cancelled
        assert token.wait(LONG)


def test_cancelling_ends_a_wait() -> None:
    """Of any number of threads."""
    token = CancelToken()
    with at_once(), background(*[lambda: token.wait(LONG)] * 3) as results:
        token.cancel()
    assert results == [True] * 3


@pytest.mark.parametrize("timeout", [None, LONG], ids=["blocking", "timeout"])
def test_cancelling_interrupts_a_read(pair: Pair, timeout: float | None) -> None:
    """In another thread; the read sees an end, although the peer has not left."""
    ours, _ = pair
    ours.settimeout(timeout)
    token = CancelToken()
    token.watch(ours.fileno())
    with at_once(), background(lambda: ours.recv(1)) as results:
        token.cancel()
    token.release()
    assert results == [b""]


def test_cancelling_interrupts_a_write(pair: Pair) -> None:
    """To a peer that does not read."""
    ours, _ = pair
    token = CancelToken()
    token.watch(ours.fileno())

    def write() -> bool:
        try:
            while True:
                ours.send(b"x" * 65536)
        except BrokenPipeError:
            return True

    with at_once(), background(write) as results:
        token.cancel()
    token.release()
    assert results == [True]


def test_cancelling_interrupts_every_socket_that_is_watched() -> None:
    """An attempt to connect may have opened several."""
    token = CancelToken()
    with accepted() as (first, _), accepted() as (second, _):
        token.watch(first.fileno())
        token.watch(second.fileno())
        token.cancel()
        assert first.recv(1) == second.recv(1) == b""
        token.release()


def test_a_socket_watched_after_cancelling_is_shut_down_at_once(pair: Pair) -> None:
    """No connection slips through between the two."""
    ours, theirs = pair
    token = CancelToken()
    token.cancel()
    token.watch(ours.fileno())
    with at_once():
        assert ours.recv(1) == theirs.recv(1) == b""
    token.release()


def test_a_socket_that_is_not_connected_may_be_watched() -> None:
    """It is watched before it connects; cancelling then does no harm."""
    token = CancelToken()
    with socket.socket() as unconnected:
        token.watch(unconnected.fileno())
        token.cancel()
        token.release()


def test_a_socket_may_be_older_than_the_class_that_a_package_put_in_place(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gevent puts one there, and PySocks may have been imported before."""
    ours, theirs = pair
    token = CancelToken()
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", type("Green", (socket.socket,), {}))
        token.watch(ours)
    token.cancel()
    assert theirs.recv(1) == b""
    token.close()
    assert ours.fileno() == -1


def test_a_released_socket_is_not_interrupted(pair: Pair) -> None:
    """The attempt was over before, and its owner may do with it what it likes."""
    ours, theirs = pair
    token = CancelToken()
    token.watch(ours.fileno())
    token.release()
    token.cancel()
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_releasing_closes_the_duplicates(pair: Pair) -> None:
    """Until then the peer does not see that the owner has left; it may be repeated."""
    ours, theirs = pair
    token = CancelToken()
    token.watch(ours.fileno())
    token.watch(ours.fileno())
    ours.close()
    theirs.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        theirs.recv(1)
    token.release()
    token.release()
    theirs.settimeout(LONG)
    with at_once():
        assert theirs.recv(1) == b""


def test_the_original_stays_its_owners(pair: Pair) -> None:
    """Neither watching nor releasing nor cancelling closes it, or changes whether it blocks."""
    ours, theirs = pair
    ours.settimeout(None)
    token = CancelToken()
    token.watch(ours.fileno())
    ours.send(b"a")
    theirs.send(b"b")
    assert (theirs.recv(1), ours.recv(1)) == (b"a", b"b")
    assert os.get_blocking(ours.fileno())
    token.cancel()
    token.release()
    assert ours.getsockname() is not None
    assert os.fstat(ours.fileno())


def test_what_is_no_socket_is_not_kept() -> None:
    """An adapter of the user's own may have a file there; its descriptor must not leak."""
    token = CancelToken()
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "wb"), pytest.raises(OSError, match="socket"):
        token.watch(reader.fileno())
    token.cancel()
    token.release()


def test_a_signal_handler_may_cancel_inside_of_cancel(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second ``Ctrl-C`` comes while the first one is at work, in the same thread."""
    ours, _ = pair
    token = CancelToken()
    token.watch(ours.fileno())
    calls: list[cancel._Watched] = []
    shut_down = cancel._Watched.shut_down

    def interrupted(watched: cancel._Watched) -> None:
        calls.append(watched)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGUSR1)
        shut_down(watched)

    monkeypatch.setattr(cancel._Watched, "shut_down", interrupted)
    with handled(signal.SIGUSR1, token.cancel):
        token.cancel()
    assert len(calls) == 2
    assert ours.recv(1) == b""
    token.release()


def test_an_abandoned_connection_goes_on_elsewhere(pair: Pair) -> None:
    """In a forked child: it lets go of the connection, and the parent's (here: a duplicate) is not shut down."""
    ours, theirs = pair
    token = CancelToken()
    with ours.dup() as parents:
        token.watch(ours.fileno())
        descriptor = ours.fileno()
        token.abandon()
        assert os.read(descriptor, 1) == b""  # an event loop may watch the number, so it stays in use
        token.cancel()
        theirs.send(b"x")
        assert parents.recv(1) == b"x"
    with at_once():
        assert theirs.recv(1) == b""


def test_abandoning_leaves_a_reused_number_alone(pair: Pair) -> None:
    """The original was closed, and something else has its number now."""
    ours, _ = pair
    token = CancelToken()
    token.watch(ours.fileno())
    descriptor = ours.fileno()
    with open(os.devnull, "rb") as other:
        ours.close()
        os.dup2(other.fileno(), descriptor)
    token.abandon()
    os.close(descriptor)


def test_what_a_reader_left_behind_is_closed_by_whoever_cancelled(pair: Pair) -> None:
    """The reader may be stuck where nothing can interrupt it; its sockets must not stay open until it returns."""
    ours, _ = pair
    token = CancelToken()
    first, owned = ours.dup(), ours.dup()
    gc.collect()  # which closes what other tests have left
    before = descriptors()
    token.watch(first)
    token.watch(ours.fileno())
    token.own(owned)
    token.cancel()
    token.close()
    assert first.fileno() == owned.fileno() == -1
    assert descriptors() == before - 2


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
