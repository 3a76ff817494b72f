"""Every socket is known to the token before it connects, whatever it connects to and through."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3.connection
from stream.connecting import WatchfulToken, connector, read, read_from
from support import tls
from support.proxies import Proxy
from support.raw_server import RawServer, Step, answer, redirect

from autoconfig import HTTPConfig
from autoconfig.exceptions import ConnectionFailedError
from autoconfig.stream.body import Deadline
from autoconfig.stream.cancel import CancelToken
from autoconfig.stream.transport import InterruptibleAdapter, TLSContexts

LINE = b":\n"
STREAM: list[Step] = [answer(), LINE]
IPV4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "")


class Attempt:
    """An attempt to connect in a thread of its own."""

    def __init__(self, url: str, token: WatchfulToken, **config: Any) -> None:
        self.error: str = ""
        self._connector = connector(url, token, connect_timeout=60.0, read_timeout=60.0, **config)
        self._token = token
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ended(self) -> bool:
        self._thread.join(30)
        self._token.close()  # as who has cancelled does
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self._connector.connect(""):
                pass
        except ConnectionFailedError as error:
            self.error = str(error)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A listener that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    port = listener.getsockname()[1]
    assert isinstance(port, int)
    return port


@pytest.mark.parametrize("through", [None, "http", "https"], ids=["direct", "http-proxy", "https-proxy"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_socket_is_watched_before_it_connects(scheme: str, through: str | None, tmp_path: Path) -> None:
    """Fails when urllib3 no longer makes its sockets in ``_new_conn``; then only the answer's would be known."""
    token = WatchfulToken()
    context = tls.server_context()
    with ExitStack() as stack:
        server = stack.enter_context(RawServer(STREAM, context=context if scheme == "https" else None))
        config: dict[str, Any] = {"ca_certs": tls.write_authority(tmp_path)}
        if through:
            config["proxy_url"] = stack.enter_context(Proxy(context=context if through == "https" else None)).url
        with connector(server.url, token, **config).connect("") as pieces:
            assert read_from(pieces, len(LINE)) == LINE
            assert token.connected[0] is False


def test_every_hop_of_a_redirect_is_watched_before_it_connects() -> None:
    token = WatchfulToken()
    with RawServer(STREAM) as other, RawServer([redirect(other.url)]) as server:
        with connector(server.url, token).connect(""):
            pass
        assert token.connected.count(False) == 2


def test_urllib3_has_the_hook() -> None:
    """Its name is an underscore one. If it goes, connecting can no longer be interrupted on any network."""
    for kind in urllib3.connection.HTTPConnection, urllib3.connection.HTTPSConnection:
        assert callable(kind._new_conn)


def test_a_handshake_that_stalls_is_interrupted(silent: socket.socket) -> None:
    token = WatchfulToken()
    attempt = Attempt(f"https://127.0.0.1:{port_of(silent)}", token)
    assert token.asked.wait(30)
    token.cancel()
    assert attempt.ended()
    assert attempt.error


def test_an_answer_that_does_not_come_is_interrupted(silent: socket.socket) -> None:
    token = WatchfulToken()
    attempt = Attempt(f"http://127.0.0.1:{port_of(silent)}", token)
    assert token.asked.wait(30)
    token.cancel()
    assert attempt.ended()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_answer_is_interrupted(scheme: str, silent: socket.socket) -> None:
    token = WatchfulToken()
    proxy_url = f"http://127.0.0.1:{port_of(silent)}"
    attempt = Attempt(f"{scheme}://stream.example", token, proxy_url=proxy_url)
    assert token.asked.wait(30)
    token.cancel()
    assert attempt.ended()


def test_the_first_address_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    with RawServer(STREAM) as server:
        addresses = [(*IPV4, dead), (*IPV4, ("127.0.0.1", server.port)), (*IPV4, dead)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: addresses)
        assert read("http://stream.example", 1) == LINE


def test_no_address_that_answers_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(*IPV4, dead)] * 3)
    with pytest.raises(ConnectionFailedError, match="Connection refused"):
        read("http://stream.example", 1)


def test_a_name_that_is_not_known_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectionFailedError, match="Name or service not known"):
        read("http://stream.example", 1)


def test_a_name_without_addresses_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    with pytest.raises(ConnectionFailedError):
        read("http://stream.example", 1)


def test_no_further_address_is_tried_after_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one fails, and in the meantime the token is cancelled."""
    token = WatchfulToken()
    watch = token.watch

    def watch_and_cancel(original: socket.socket | int) -> None:
        watch(original)
        token.cancel()

    monkeypatch.setattr(token, "watch", watch_and_cancel)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [(*IPV4, dead)] * 3)
    with pytest.raises(ConnectionFailedError), connector("http://stream.example", token).connect(""):
        pass
    assert token.connected == [False]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closing_a_pool_waits_for_no_lock(scheme: str) -> None:
    """urllib3 closes it at the exit of a forked child, too, where a lock that was held at the fork stays so."""
    token = CancelToken()
    adapter = InterruptibleAdapter(token, Deadline(5), TLSContexts(HTTPConfig(), token))
    pool = adapter.poolmanager.connection_from_url(f"{scheme}://127.0.0.1:9")
    connections = pool.pool
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            connections.put(connections.get(block=False), block=False)

    user = threading.Thread(target=use)
    user.start()
    try:
        assert [exit_code_of(pool.close) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        user.join()


def exit_code_of(call: Callable[[], object]) -> int:
    """Return the exit code of a forked child that makes a call; one that hangs is ended by a signal."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        call()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_options_of_the_socket_are_urllib3s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small requests go out at once: no delay."""
    with RawServer(STREAM) as server, requests.Session() as session:
        token = WatchfulToken()
        session.mount("http://", InterruptibleAdapter(token, Deadline(5), TLSContexts(HTTPConfig(), token)))
        try:
            with session.get(server.url, stream=True) as response:
                sock = socket.socket(fileno=socket.dup(response.raw.fileno()))
                with sock:
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            token.release()


def test_options_of_four_items_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """urllib3-future says of each option what kind of socket it is for."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1, "tcp")]
    monkeypatch.setattr(urllib3.connection.HTTPConnection, "default_socket_options", options)
    with RawServer(STREAM) as server:
        assert read(server.url, 1) == LINE


def test_a_connection_that_somebody_forbids_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages such as pytest-socket put a ``connect()`` of their own into the class."""

    def forbidden(*_: object) -> None:
        raise RuntimeError("no connections here")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    with RawServer(STREAM) as server:
        try:
            with pytest.raises(ConnectionFailedError, match="RuntimeError"):
                read(server.url, 1)
            assert server.connections == 0
        finally:
            monkeypatch.undo()
