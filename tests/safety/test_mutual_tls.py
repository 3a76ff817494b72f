"""The client's own certificate: in one file or two, directly and through a tunnel, and what is said without it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from safety.certificates import Authority, Front, proxied
from safety.log import LogWatch
from safety.wire import EMPTY_PUT, ENDED, KEY, Follow
from support.recorder import Recorder
from support.scripted_server import ScriptedServer

ROUTES = pytest.mark.parametrize("route", ["direct", "tunnel", "secure-tunnel"])


@pytest.fixture
def server(stack: ExitStack) -> ScriptedServer:
    """The service."""
    return stack.enter_context(ScriptedServer([[EMPTY_PUT, ENDED], [EMPTY_PUT]]))


@pytest.fixture
def front(server: ScriptedServer, authority: Authority, stranger: Authority, stack: ExitStack) -> Front:
    """The service's https side, which demands a certificate of another authority than its own."""
    return stack.enter_context(Front(server, authority.context(clients=stranger)))


@ROUTES
@pytest.mark.parametrize("form", ["pair", "one file"])
@pytest.mark.parametrize("trust", ["ca_certs", "environment"])
def test_the_clients_certificate_is_shown(
    route: str,
    form: str,
    trust: str,
    server: ScriptedServer,
    front: Front,
    authority: Authority,
    stranger: Authority,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    follow: Follow,
    recorder: Recorder,
) -> None:
    chain, key, both = stranger.client_certificate()
    options = proxied(route, authority, stack)
    if trust == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    else:
        options["ca_certs"] = authority.file
    follow(front.url, client_cert=(chain, key) if form == "pair" else both, **options)
    recorder.wait_for_calls(2)
    assert [request.headers["authorization"] for request in server.requests] == [KEY, KEY]


@ROUTES
@pytest.mark.parametrize("shown", ["none", "of an unknown authority"])
def test_without_a_certificate_that_counts_nothing_is_sent_and_the_log_says_why(
    route: str,
    shown: str,
    server: ScriptedServer,
    front: Front,
    authority: Authority,
    stack: ExitStack,
    follow: Follow,
    log: LogWatch,
) -> None:
    cert: Path | None = authority.client_certificate()[2] if shown != "none" else None
    follow(front.url, ca_certs=authority.file, client_cert=cert, **proxied(route, authority, stack))
    line = log.wait_for_failure()
    assert "ALERT" in line
    assert server.requests == []


def test_a_key_that_does_not_fit_is_named(
    front: Front, authority: Authority, stranger: Authority, follow: Follow, log: LogWatch
) -> None:
    chain, key = stranger.client_certificate()[0], stranger.client_certificate()[1]
    follow(front.url, ca_certs=authority.file, client_cert=(chain, key))
    assert "KEY_VALUES_MISMATCH" in log.wait_for_failure()
