"""``session_factory``: what an application's own session may do, and what stays the library's."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from http.client import HTTPMessage
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from stream.connecting import KEY, WatchfulToken, connector, read, read_from
from support.raw_server import RawServer, Step, answer, redirect
from urllib3 import HTTPHeaderDict, HTTPResponse

from autoconfig.exceptions import ConnectionFailedError, StreamEndedError, UnexpectedStatusError

LINE = b":\n"
STREAM: list[Step] = [answer(), LINE]


class Session(requests.Session):
    """A session that knows whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


class Sessions:
    """A factory that keeps what it made."""

    def __init__(self, **attributes: Any) -> None:
        self.made: list[Session] = []
        self._attributes = attributes

    def __call__(self) -> Session:
        session = Session()
        for name, value in self._attributes.items():
            setattr(session, name, value)
        self.made.append(session)
        return session


class CountingAdapter(HTTPAdapter):
    """An adapter of an application's own."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        self.targets.append(request.path_url)
        return super().send(request, *arguments, **options)


class OfflineAdapter(HTTPAdapter):
    """An adapter that answers by itself, first with a redirect, which the headers of the body need not tell of."""

    def __init__(self, headers: Any) -> None:
        super().__init__()
        self._headers = headers

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        response = requests.Response()
        response.request = request
        response.raw = HTTPResponse(io.BytesIO(LINE), preload_content=False)
        response.raw.headers = self._headers
        response.status_code = 200 if request.path_url == "/elsewhere" else 302
        response.headers.update({"Location": "/elsewhere", "Content-Type": "text/event-stream"})
        return response


def with_adapter(adapter: HTTPAdapter) -> requests.Session:
    session = requests.Session()
    session.mount("http://", adapter)
    return session


def signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["X-Signature"] = "signed"
    return request


def test_each_attempt_asks_for_a_session_and_closes_it() -> None:
    sessions = Sessions()
    with RawServer([answer(503), None], STREAM) as server:
        one = connector(server.url, session_factory=sessions)
        with pytest.raises(UnexpectedStatusError), one.connect(""):
            pass
        assert [session.closed for session in sessions.made] == [True]
        with one.connect("") as pieces:
            assert read_from(pieces, len(LINE)) == LINE
            assert [session.closed for session in sessions.made] == [True, False]
    assert [session.closed for session in sessions.made] == [True, True]


def test_redirects_do_not_ask_for_another_session() -> None:
    sessions = Sessions()
    with RawServer([redirect("/elsewhere")], STREAM) as server:
        read(server.url, 1, session_factory=sessions)
    assert len(sessions.made) == 1


def test_an_auth_of_its_own_is_kept() -> None:
    """It may add what it likes to a request that has the key already."""
    with RawServer(STREAM) as server:
        read(server.url, 1, session_factory=Sessions(auth=signed))
        assert server.requests[0].headers["x-signature"] == "signed"
        assert server.requests[0].headers["authorization"] == KEY


def test_an_auth_of_its_own_goes_along_within_the_origin() -> None:
    with RawServer([redirect("/elsewhere")], STREAM) as server:
        read(server.url, 1, session_factory=Sessions(auth=signed))
        assert [request.headers["x-signature"] for request in server.requests] == ["signed", "signed"]


def test_an_auth_of_its_own_stays_within_the_origin() -> None:
    """As with requests' own redirects: another server must not get credentials that were meant for the service."""
    with RawServer(STREAM) as other, RawServer([redirect(other.url)]) as server:
        assert read(server.url, 1, session_factory=Sessions(auth=("someone", "w0rd"))) == LINE
        assert "authorization" in server.requests[0].headers
        assert "authorization" not in other.requests[0].headers


def test_a_trust_env_of_its_own_is_kept() -> None:
    sessions = Sessions(trust_env=False)
    with RawServer(STREAM) as server:
        read(server.url, 1, session_factory=sessions)
    assert sessions.made[0].trust_env is False


def test_an_adapter_of_its_own_is_used() -> None:
    adapter = CountingAdapter()
    with RawServer(STREAM) as server:
        assert read(server.url, 1, session_factory=lambda: with_adapter(adapter)) == LINE
        assert adapter.targets == server.targets


@pytest.mark.parametrize("headers", [HTTPHeaderDict(), HTTPMessage(), {}])
def test_an_own_adapter_may_tell_of_a_redirect_in_the_answer_alone(headers: Any) -> None:
    assert read("http://stream.example", 1, session_factory=lambda: with_adapter(OfflineAdapter(headers))) == LINE


def test_the_answer_that_came_through_an_own_adapter_can_be_interrupted() -> None:
    """Its socket is unknown while it connects, and known to the token from the answer on."""
    token = WatchfulToken()
    ended = threading.Event()
    with RawServer(STREAM) as server:
        one = connector(server.url, token, read_timeout=60.0, session_factory=lambda: with_adapter(CountingAdapter()))
        with one.connect("") as pieces:
            assert read_from(pieces, len(LINE)) == LINE
            assert token.connected == [True]
            reader = threading.Thread(target=drain, args=(pieces, ended), daemon=True)
            reader.start()
            assert not ended.wait(0.05)
            token.cancel()
            assert ended.wait(30)
            reader.join()


def drain(pieces: Iterator[bytes], ended: threading.Event) -> None:
    with contextlib.suppress(StreamEndedError):  # how the bytes end is not what matters here
        list(pieces)
    ended.set()


def no_session() -> requests.Session:
    raise LookupError(f"no session for {KEY}")


def something_else() -> Any:
    return None


def without_adapters() -> requests.Session:
    session = requests.Session()
    session.adapters.clear()
    return session


@pytest.mark.parametrize("factory", [no_session, something_else, without_adapters])
def test_a_factory_that_fails_is_a_failure_of_the_attempt(factory: Any) -> None:
    """The next one may succeed. The text says what kind of error it was, and nothing that the error's own text says."""
    with RawServer(STREAM) as server:
        with pytest.raises(ConnectionFailedError) as caught:
            read(server.url, 1, session_factory=factory)
        assert KEY not in str(caught.value)
        assert server.requests == []


def test_a_session_that_a_package_put_into_the_place_of_requests_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that caches would read the stream to its end before it handed anything over."""

    class CachedSession(requests.Session):
        def __init__(self) -> None:
            raise AssertionError("used")

    for module in requests, requests.sessions:
        monkeypatch.setattr(module, "Session", CachedSession)
    with RawServer(STREAM) as server:
        assert read(server.url, 1) == LINE
