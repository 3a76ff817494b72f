"""A proxy's user and password reach the proxy decoded, and nobody else; a proxy that fails is said to be one."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import quote

import pytest
from safety.certificates import Authority, Front
from safety.log import LogWatch
from safety.wire import EMPTY_PUT, KEY, Follow, assert_public, redirect
from support.addresses import free_port
from support.proxies import Proxy, basic
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

USER, PASSWORD = "us er", "p@ss:w/rd%?#-and-much-more"
USERINFO = f"{quote(USER, '')}:{quote(PASSWORD, '')}"
BASIC = basic(USER, PASSWORD)
SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])
CONFIGURED = pytest.mark.parametrize("configured", ["proxy_url", "environment"])


@pytest.fixture
def script() -> list[list[Item]]:
    """What the server plays."""
    return [[EMPTY_PUT]]


@pytest.fixture
def server(script: list[list[Item]], stack: ExitStack) -> ScriptedServer:
    """The service."""
    return stack.enter_context(ScriptedServer(script))


@pytest.fixture
def front(server: ScriptedServer, stack: ExitStack, authority: Authority) -> Front:
    """The service's https side."""
    return stack.enter_context(Front(server, authority.context()))


def options(configured: str, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name the proxy in the environment or in the options."""
    if configured == "proxy_url":
        return {"proxy_url": url}
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.setenv("HTTPS_PROXY", url)
    return {}


def assert_hidden(log: LogWatch, *others: str) -> None:
    """Check that nothing that was logged holds the password, in whatever form."""
    everything = log.everything() + "".join(others)
    for secret in (PASSWORD, quote(PASSWORD, ""), BASIC.removeprefix("Basic "), KEY):
        assert secret not in everything


@SCHEMES
@CONFIGURED
def test_user_and_password_arrive_decoded(
    scheme: str,
    configured: str,
    server: ScriptedServer,
    front: Front,
    monkeypatch: pytest.MonkeyPatch,
    authority: Authority,
    stack: ExitStack,
    follow: Follow,
    recorder: Recorder,
    log: LogWatch,
) -> None:
    proxy = stack.enter_context(Proxy((USER, PASSWORD)))
    url = proxy.url_for(USERINFO)
    manager = follow(front.url_by(scheme), ca_certs=authority.file, **options(configured, url, monkeypatch))
    recorder.wait_for_calls(1)
    assert [request.headers["proxy-authorization"] for request in proxy.requests] == [BASIC]
    assert "proxy-authorization" not in server.requests[0].headers
    assert server.requests[0].headers["authorization"] == KEY
    assert_hidden(log, repr(manager))


@SCHEMES
@CONFIGURED
@pytest.mark.parametrize("userinfo", ["", f"{quote(USER)}:wrong-{quote(PASSWORD, '')}"])
def test_a_proxy_that_refuses_is_named_without_the_password(
    scheme: str,
    configured: str,
    userinfo: str,
    server: ScriptedServer,
    front: Front,
    monkeypatch: pytest.MonkeyPatch,
    authority: Authority,
    stack: ExitStack,
    follow: Follow,
    log: LogWatch,
) -> None:
    proxy = stack.enter_context(Proxy((USER, PASSWORD)))
    url = proxy.url_for(userinfo)
    chosen = options(configured, url, monkeypatch)
    follow(front.url_by(scheme), ca_certs=authority.file, first_delay=0.001, **chosen)  # a 407 makes it 300 times that
    assert "407" in log.wait_for_failure()
    proxy.wait_for_requests(2)  # it is tried again
    assert server.requests == []
    assert_hidden(log, basic(USER, f"wrong-{PASSWORD}"))


@SCHEMES
@CONFIGURED
def test_a_proxy_that_is_down_is_named_without_the_password(
    scheme: str, configured: str, monkeypatch: pytest.MonkeyPatch, follow: Follow, log: LogWatch
) -> None:
    url = f"http://{USERINFO}@127.0.0.1:{free_port()}"
    follow(f"{scheme}://127.0.0.1:1", **options(configured, url, monkeypatch))
    line = log.wait_for_failure()
    assert "refused" in line
    assert "proxy" in line
    assert_hidden(log)


def test_the_password_does_not_follow_a_redirect_past_the_proxy(
    script: list[list[Item]],
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    follow: Follow,
    recorder: Recorder,
) -> None:
    proxy = stack.enter_context(Proxy((USER, PASSWORD)))
    monkeypatch.setenv("HTTP_PROXY", proxy.url_for(USERINFO))
    monkeypatch.setenv("NO_PROXY", "localhost")
    script.insert(0, redirect(server.url.replace("127.0.0.1", "localhost")))
    follow(server.url)
    recorder.wait_for_calls(1)
    assert len(proxy.requests) == 1
    assert_public(server.requests[1], BASIC)


@SCHEMES
def test_an_https_proxy_gets_the_password_over_tls(
    scheme: str,
    server: ScriptedServer,
    front: Front,
    authority: Authority,
    stranger: Authority,
    stack: ExitStack,
    follow: Follow,
    recorder: Recorder,
) -> None:
    proxy = stack.enter_context(Proxy((USER, PASSWORD), context=stranger.context()))
    follow(front.url_by(scheme), ca_certs=[authority.file, stranger.file], proxy_url=proxy.url_for(USERINFO))
    recorder.wait_for_calls(1)
    assert proxy.requests[0].headers["proxy-authorization"] == BASIC
    assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # as outside of tests: shown at most
@SCHEMES
@pytest.mark.parametrize("trusting", ["ca_certs", "nobody else"])
def test_an_https_proxy_that_is_not_trusted_gets_nothing(
    scheme: str,
    trusting: str,
    front: Front,
    authority: Authority,
    stranger: Authority,
    stack: ExitStack,
    follow: Follow,
    log: LogWatch,
) -> None:
    proxy = stack.enter_context(Proxy(context=stranger.context()))
    ca_certs = authority.file if trusting == "ca_certs" else None
    follow(front.url_by(scheme), ca_certs=ca_certs, proxy_url=proxy.url_for(USERINFO))
    assert "certificate" in log.wait_for_failure()
    assert proxy.requests == []
    assert_hidden(log)
