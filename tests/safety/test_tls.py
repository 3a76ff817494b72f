"""Certificates are checked, whatever the environment says, and nothing older than TLS 1.2 is spoken."""

from __future__ import annotations

import datetime
import ssl
from contextlib import ExitStack

import pytest
from safety.certificates import Authority, Front
from safety.log import LogWatch
from safety.wire import EMPTY_PUT, Follow
from support.proxies import Proxy
from support.scripted_server import ScriptedServer

YESTERDAY = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
OFF = {
    "CURL_CA_BUNDLE": "",
    "REQUESTS_CA_BUNDLE": "",
    "SSL_CERT_FILE": "",
    "SSL_CERT_DIR": "",
    "PYTHONHTTPSVERIFY": "0",
    "GIT_SSL_NO_VERIFY": "1",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
}
WRONG = ["self-signed", "unknown", "host", "expired"]
ROUTES = pytest.mark.parametrize("route", ["direct", "tunnel"])


@pytest.fixture
def server(stack: ExitStack) -> ScriptedServer:
    """The service."""
    return stack.enter_context(ScriptedServer([[EMPTY_PUT]]))


def wrong(kind: str, authority: Authority, stranger: Authority) -> tuple[ssl.SSLContext, str]:
    """Return a context that has to be refused, and what has to be said of it."""
    match kind:
        case "self-signed":
            return stranger.self_signed_context(), "self-signed certificate"
        case "unknown":
            return stranger.context(), "unable to get local issuer certificate"
        case "host":
            return authority.context("localhost", "10.0.0.1", "example.com"), "IP address mismatch"
        case _:
            return authority.context(expires=YESTERDAY), "certificate has expired"


@ROUTES
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_certificate_is_refused_and_the_log_says_why(
    route: str,
    kind: str,
    server: ScriptedServer,
    authority: Authority,
    stranger: Authority,
    stack: ExitStack,
    follow: Follow,
    log: LogWatch,
) -> None:
    context, reason = wrong(kind, authority, stranger)
    front = stack.enter_context(Front(server, context))
    proxy = stack.enter_context(Proxy())
    follow(front.url, ca_certs=authority.file, proxy_url=proxy.url if route == "tunnel" else None)
    assert reason in log.wait_for_failure().replace("self signed", "self-signed")  # OpenSSL 1.1
    assert server.requests == []
    front.wait_for_failed_handshake()
    assert [request.method for request in proxy.requests] == ["CONNECT"] * len(proxy.requests)


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("bundle", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_wrong_certificate_is_refused_with_a_bundle_from_the_environment_too(
    bundle: str,
    kind: str,
    server: ScriptedServer,
    authority: Authority,
    stranger: Authority,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    follow: Follow,
    log: LogWatch,
) -> None:
    context, reason = wrong(kind, authority, stranger)
    monkeypatch.setenv(bundle, str(authority.file))
    follow(stack.enter_context(Front(server, context)).url)
    assert reason in log.wait_for_failure().replace("self signed", "self-signed")
    assert server.requests == []


@ROUTES
@pytest.mark.parametrize("variables", [*([name] for name in OFF), list(OFF)], ids="+".join)
def test_the_environment_cannot_switch_the_check_off(
    route: str,
    variables: list[str],
    server: ScriptedServer,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    follow: Follow,
    log: LogWatch,
) -> None:
    for name in variables:
        monkeypatch.setenv(name, OFF[name])
    front = stack.enter_context(Front(server, authority.context()))
    proxy = stack.enter_context(Proxy())
    follow(front.url, proxy_url=proxy.url if route == "tunnel" else None)
    assert "certificate" in log.wait_for_failure()
    assert server.requests == []
