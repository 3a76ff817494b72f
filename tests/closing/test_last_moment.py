"""``close()`` right before a connection is made and right before its TLS handshake: moments that are easily missed."""

from __future__ import annotations

import gc
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3.util
from closing.run import NEVER, MakeRun, Serve, descriptors
from support.addresses import black_hole
from support.peer import WAITING, Line

from autoconfig.stream.cancel import CancelToken


def reset_when_left(line: Line) -> None:
    """Wait for the client's FIN and answer it with RST, as a balancer may do."""
    line.reached()
    line.connection.recv(1)
    line.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def no_collection() -> Iterator[None]:
    """The garbage collector does not run, so that it closes nothing by chance."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
def test_reset_before_the_handshake(serve: Serve, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is closed when close() has returned, and not when the garbage collector comes by."""
    connected, go_on = threading.Event(), threading.Event()
    wrap = urllib3.util.ssl_wrap_socket

    def wait_and_wrap(*args: Any, **options: Any) -> Any:
        connected.set()
        go_on.wait(WAITING)
        return wrap(*args, **options)

    monkeypatch.setattr("urllib3.connection.ssl_wrap_socket", wait_and_wrap)
    peer = serve(reset_when_left, tls=True)
    before = descriptors()
    run = make_run(peer.url, initial_retry_delay=NEVER).start()
    peer.wait_until_reached()
    assert connected.wait(WAITING)
    closer = threading.Thread(target=run.close)
    closer.start()
    peer.wait_until_left()
    go_on.set()
    closer.join(WAITING)
    run.check()
    assert descriptors() <= before


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_black_hole_in_the_last_moment(scheme: str, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is cancelled when the socket is known to the token already, but does not connect yet."""
    known, cancelled = threading.Event(), threading.Event()
    watch = CancelToken.watch

    def watch_and_wait(token: CancelToken, descriptor: int) -> None:
        watch(token, descriptor)
        known.set()
        cancelled.wait(NEVER)

    def cancel_and_tell(token: CancelToken) -> None:
        cancel(token)
        cancelled.set()

    cancel = CancelToken.cancel
    monkeypatch.setattr(CancelToken, "watch", watch_and_wait)
    monkeypatch.setattr(CancelToken, "cancel", cancel_and_tell)
    with black_hole() as url:
        run = make_run(url.replace("http", scheme)).start()
        assert known.wait(NEVER)
        assert run.close() is True
        run.check()
