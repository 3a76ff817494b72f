"""The environment's proxies are used, unless ``proxy_url`` names one; none of them sees more than it must."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from safety.certificates import Authority, Front
from safety.wire import EMPTY_PUT, ENDED, EVENT_ID, KEY, PATH, Follow, assert_public, redirect
from support.loopback import Request
from support.proxies import Proxy
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

SECRET = "a-secret-of-the-caller"
HEADERS = {"X-Api-Key": SECRET}
DEAD = "http://127.0.0.1:1"  # nobody listens there
VARIABLES = [
    ("http", "HTTP_PROXY"),
    ("http", "http_proxy"),
    ("http", "ALL_PROXY"),
    ("http", "all_proxy"),
    ("https", "HTTPS_PROXY"),
    ("https", "https_proxy"),
    ("https", "ALL_PROXY"),
    ("https", "all_proxy"),
]
DIRECT = ["127.0.0.1", "127.0.0.0/8", "*", "example.com, 127.0.0.1", "localhost,127.0.0.1/32"]
SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])

CONNECT_HEADERS = {"host", "proxy-connection", "user-agent"}


class Loop:
    """A server that is reached by both schemes, a proxy, and what follows the stream."""

    def __init__(self, stack: ExitStack, authority: Authority, follow: Follow, recorder: Recorder) -> None:
        self.script: list[list[Item]] = [[EMPTY_PUT, ENDED], [EMPTY_PUT]]
        self.server = stack.enter_context(ScriptedServer(self.script))
        self.front = stack.enter_context(Front(self.server, authority.context()))
        self.proxy = stack.enter_context(Proxy())
        self._authority, self._follow, self._recorder = authority, follow, recorder

    def follow(self, scheme: str, **options: Any) -> None:
        """Follow the stream over both of its connections."""
        self._follow(self.front.url_by(scheme), headers=HEADERS, ca_certs=self._authority.file, **options)
        self._recorder.wait_for_calls(2)

    def check_proxied(self, scheme: str) -> None:
        """Check that both attempts went through the proxy, and what it saw of them."""
        assert len(self.proxy.requests) == 2
        for request in self.proxy.requests:
            if scheme == "https":
                self.check_tunnel(request)
            else:
                assert request.target == f"{self.front.url_by('http')}{PATH}"
                assert request.headers["authorization"] == KEY  # there is no other way; hence https
        self.check_origin()

    def check_tunnel(self, request: Request) -> None:
        """Check that a request for a tunnel holds nothing but where it leads."""
        assert (request.method, request.target) == ("CONNECT", f"127.0.0.1:{self.front.port}")
        assert request.headers.keys() <= CONNECT_HEADERS
        for secret in (KEY, SECRET, EVENT_ID, "relay_auto_config"):
            assert secret not in str(request)

    def check_origin(self) -> None:
        """Check that both attempts brought the service what it has to know."""
        for request in self.server.requests:
            assert request.target == PATH
            assert (request.headers["authorization"], request.headers["x-api-key"]) == (KEY, SECRET)
            assert "proxy-authorization" not in request.headers
        assert self.server.requests[1].headers["last-event-id"] == EVENT_ID


@pytest.fixture
def loop(stack: ExitStack, authority: Authority, follow: Follow, recorder: Recorder) -> Loop:
    """A server that is reached by both schemes, a proxy, and what follows the stream."""
    return Loop(stack, authority, follow, recorder)


@pytest.mark.parametrize(("scheme", "variable"), VARIABLES)
def test_the_environments_proxy_is_used(
    scheme: str, variable: str, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, loop.proxy.url)
    loop.follow(scheme)
    loop.check_proxied(scheme)


@SCHEMES
def test_the_lower_case_name_wins(scheme: str, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{scheme}_proxy".upper(), DEAD)
    monkeypatch.setenv(f"{scheme}_proxy", loop.proxy.url)
    loop.follow(scheme)
    loop.check_proxied(scheme)


@SCHEMES
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("hosts", DIRECT)
def test_no_proxy_is_honoured(
    scheme: str, variable: str, hosts: str, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", loop.proxy.url)
    monkeypatch.setenv("ALL_PROXY", loop.proxy.url)
    monkeypatch.setenv(variable, hosts)
    loop.follow(scheme)
    assert loop.proxy.requests == []
    loop.check_origin()


@SCHEMES
@pytest.mark.parametrize("hosts", ["", *DIRECT])
def test_proxy_url_wins_over_the_environment(
    scheme: str, hosts: str, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, DEAD)
        monkeypatch.setenv(variable.upper(), DEAD)
    monkeypatch.setenv("NO_PROXY", hosts)
    loop.follow(scheme, proxy_url=loop.proxy.url)
    loop.check_proxied(scheme)


def test_a_redirect_through_a_proxy_takes_no_key_elsewhere(loop: Loop, follow: Follow, recorder: Recorder) -> None:
    loop.script[:] = [redirect(f"{loop.front.url_by('http', 'localhost')}/there"), [EMPTY_PUT]]
    follow(loop.front.url_by("http"), headers=HEADERS, proxy_url=loop.proxy.url)
    recorder.wait_for_calls(1)
    assert len(loop.proxy.requests) == 2
    assert loop.proxy.requests[1].target == f"{loop.front.url_by('http', 'localhost')}/there"
    assert "authorization" not in loop.proxy.requests[1].headers
    assert_public(loop.server.requests[1], SECRET)
