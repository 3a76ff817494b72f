"""Redirects are followed by hand: no body is read, and the key stays with its origin."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests
from stream.connecting import KEY, LONG, promptly, read
from support import tls
from support.raw_server import RawServer, Step, answer, redirect

from autoconfig import KeyRejectedError
from autoconfig.exceptions import ConnectionFailedError, UnexpectedStatusError

LINE = b":\n"
STREAM: list[Step] = [answer(), LINE]
SECRETS = {"authorization", "x-tenant", "last-event-id"}


def sent_secrets(server: RawServer) -> list[set[str]]:
    """Return, for each request, which of the headers it had that are for the service alone."""
    return [SECRETS & set(request.headers) for request in server.requests]


def read_with_secrets(url: str, **config: object) -> bytes:
    return read(url, 1, "77", headers={"X-Tenant": "north"}, **config)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_takes_everything_along(status: int) -> None:
    with RawServer([redirect("/elsewhere?x=1", status)], STREAM) as server:
        assert read_with_secrets(server.url) == LINE
        assert server.targets == ["/relay_auto_config?rpacProtocolVersion=2", "/elsewhere?x=1"]
        assert sent_secrets(server) == [SECRETS, SECRETS]
        assert server.requests[1].method == "GET"
        assert server.requests[1].headers["authorization"] == KEY


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("elsewhere", "/base/elsewhere"),
        ("../elsewhere", "/elsewhere"),
        ("/elsewhere", "/elsewhere"),
        ("?x=1", "/base/relay_auto_config?x=1"),
        ("//127.0.0.1:{port}/elsewhere", "/elsewhere"),
        ("http://127.0.0.1:{port}/elsewhere#part", "/elsewhere"),
        ("http://127.0.0.1:{port}", "/"),
        ("HTTP://127.0.0.1:{port}/elsewhere", "/elsewhere"),
        ("http://user:word@127.0.0.1:{port}/elsewhere", "/elsewhere"),
    ],
)
def test_a_location_of_any_form(location: str, target: str) -> None:
    """Relative to the URL that it answers; user and password in it count for nothing."""
    with RawServer([], STREAM) as server:
        server._answers = ([redirect(location.format(port=server.port))], STREAM)
        assert read_with_secrets(f"{server.url}/base") == LINE
        assert server.targets[1] == target
        assert server.requests[1].headers["authorization"] == KEY


def test_ten_redirects_are_followed() -> None:
    with RawServer(*[[redirect(f"/{number}")] for number in range(10)], STREAM) as server:
        assert read(server.url, 1) == LINE
        assert len(server.requests) == 11


def test_an_eleventh_redirect_is_not_followed() -> None:
    with RawServer([redirect("/again")]) as server:
        with pytest.raises(ConnectionFailedError, match="more than 10 redirects"):
            read(server.url, 1)
        assert len(server.requests) == 11


def test_nothing_secret_goes_to_another_port() -> None:
    with RawServer(STREAM) as other, RawServer([redirect(f"{other.url}/there")]) as server:
        assert read_with_secrets(server.url, user_agent="my-relay/3.1") == LINE
        assert sent_secrets(other) == [set()]
        assert other.requests[0].headers == {
            "host": f"127.0.0.1:{other.port}",
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "cache-control": "no-cache",
            "connection": "keep-alive",
            "user-agent": "my-relay/3.1",
        }


def test_nothing_secret_goes_to_another_name_of_the_host() -> None:
    with RawServer([], STREAM) as server:
        server._answers = ([redirect(f"http://localhost:{server.port}/")], STREAM)
        assert read_with_secrets(server.url) == LINE
        assert sent_secrets(server) == [SECRETS, set()]


@pytest.mark.parametrize(
    ("location", "same"),
    [
        ("http://stream.example:80/", True),
        ("http://STREAM.example/", True),
        ("https://stream.example/", False),
        ("https://stream.example:80/", False),
        ("http://stream.example:443/", False),
        ("http://stream.example.:80/", False),
        ("http://stream.example.net/", False),
        ("http://other.stream.example/", False),
        ("http://stream.example@other.example/", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    location: str, same: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every name and every port lead to one server here, which speaks both http and https."""
    with RawServer([redirect(location)], STREAM, context=tls.server_context("stream.example")) as server:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [address])
        assert read_with_secrets("http://stream.example", ca_certs=tls.write_authority(tmp_path)) == LINE
        assert sent_secrets(server) == [SECRETS, SECRETS if same else set()]


@pytest.mark.parametrize("to_tls", [True, False], ids=["to-https", "to-http"])
def test_nothing_secret_goes_along_when_the_scheme_changes(to_tls: bool, tmp_path: Path) -> None:
    context = tls.server_context()
    with (
        RawServer(STREAM, context=context if to_tls else None) as other,
        RawServer([redirect(other.url)], context=None if to_tls else context) as server,
    ):
        assert read_with_secrets(server.url, ca_certs=tls.write_authority(tmp_path)) == LINE
        assert sent_secrets(server) == [SECRETS]
        assert sent_secrets(other) == [set()]


def test_what_has_left_the_origin_stays_without_secrets() -> None:
    """Even when the other server sends the client back: it could choose where in the origin."""
    with RawServer([]) as other, RawServer([redirect(other.url)], STREAM) as server:
        other._answers = ([redirect(f"{server.url}/chosen")],)
        assert read_with_secrets(server.url) == LINE
        assert sent_secrets(server) == [SECRETS, set()]
        assert sent_secrets(other) == [set()]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_nowhere_is_a_failure(status: int) -> None:
    with RawServer([answer(status, {"Content-Length": "0"})]) as server:
        with pytest.raises(UnexpectedStatusError) as caught:
            read(server.url, 1)
        assert caught.value.status == status


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_other_statuses_with_a_location_lead_nowhere(status: int) -> None:
    with RawServer([redirect("/elsewhere", status)]) as server:
        with pytest.raises(UnexpectedStatusError):
            read(server.url, 1)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/stream",
        "data:text/event-stream,x",
        "javascript:void(0)",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:port/",
        f"http://{'a' * 70}.example/",
        "http://.example/",
        "http://*.example/",
        "http://\x7f/",
    ],
)
def test_a_redirect_to_what_is_no_url_of_a_stream_is_a_failure(location: str) -> None:
    with RawServer([redirect(location)]) as server:
        with pytest.raises(ConnectionFailedError):
            read(server.url, 1)
        assert len(server.requests) == 1


def test_the_body_of_a_redirect_is_not_read() -> None:
    """It never comes, and the connection stays open; waiting for it would take the read timeout."""
    head = answer(302, {"Location": "/elsewhere", "Content-Length": "1000"})
    with RawServer([head], STREAM) as server, promptly():
        assert read(server.url, 1, read_timeout=LONG) == LINE
        assert server.connections == 2


def test_a_key_that_is_refused_behind_a_redirect_is_refused() -> None:
    with RawServer([redirect("/elsewhere")], [answer(401), None]) as server, pytest.raises(KeyRejectedError):
        read(server.url, 1)


def test_nothing_of_a_session_of_the_users_goes_to_another_origin() -> None:
    """Whatever it authenticates with was meant for the service."""

    def make() -> requests.Session:
        session = requests.Session()
        session.auth = ("user", "word")
        session.headers["X-Tenant"] = "north"
        session.params = {"tenant": "north"}
        session.cookies.set("tenant", "north")
        return session

    with RawServer(STREAM) as other, RawServer([redirect(f"{other.url}/there")]) as server:
        assert read(server.url, 1, session_factory=make) == LINE
        assert "tenant=north" in server.targets[0]
        assert server.requests[0].headers["x-tenant"] == "north"
        assert server.requests[0].headers["cookie"] == "tenant=north"
        assert other.targets == ["/there"]
        assert sent_secrets(other) == [set()]
        assert "cookie" not in other.requests[0].headers
