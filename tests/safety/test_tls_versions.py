"""Nothing older than TLS 1.2 is spoken, on whichever way to the service."""

from __future__ import annotations

import socket
import ssl
import warnings
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from safety.certificates import Authority, Front, proxied
from safety.log import LogWatch
from safety.wire import EMPTY_PUT, Follow
from support.recorder import Recorder
from support.scripted_server import ScriptedServer

ROUTES = pytest.mark.parametrize("route", ["direct", "tunnel", "secure-tunnel"])
TRUST = pytest.mark.parametrize("trust", ["ca_certs", "environment", "default"])
OLD, NEW = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2


def limited(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Let a context speak this version only, at the lowest level of security that there is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = version
        context.maximum_version = version
    return context


def speaks(front: Front, version: ssl.TLSVersion, authority: Authority) -> bool:
    """Return whether a client that takes this version only gets on with the server."""
    context = limited(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), version)
    context.load_verify_locations(authority.file)
    try:
        with (
            socket.create_connection(("127.0.0.1", front.port), 5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except OSError:
        return False


@pytest.fixture
def server(stack: ExitStack) -> ScriptedServer:
    """The service."""
    return stack.enter_context(ScriptedServer([[EMPTY_PUT]]))


def trusting(trust: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have the authority trusted by an option, by the environment, or as if it were one of the default ones."""
    if trust == "ca_certs":
        return {"ca_certs": authority.file}
    if trust == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    else:
        monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(authority.file))
    return {}


@ROUTES
@TRUST
def test_a_server_of_tls_1_1_is_refused(
    route: str,
    trust: str,
    server: ScriptedServer,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    follow: Follow,
    log: LogWatch,
) -> None:
    front = stack.enter_context(Front(server, limited(authority.context(), OLD)))
    if not speaks(front, OLD, authority):
        pytest.skip("the local OpenSSL does not speak TLS 1.1 at all")
    options = trusting(trust, authority, monkeypatch) | proxied(route, authority, stack)
    follow(front.url, **options)
    assert "TLS failed" in log.wait_for_failure()
    assert server.requests == []
    front.wait_for_failed_handshake()


@ROUTES
@TRUST
def test_the_context_in_use_begins_with_tls_1_2_and_checks(
    route: str,
    trust: str,
    server: ScriptedServer,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    follow: Follow,
    recorder: Recorder,
) -> None:
    """Also where OpenSSL's own configuration would refuse TLS 1.1 already."""
    used: list[ssl.SSLContext] = []

    def noting(original: Any) -> Any:
        def note(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> Any:
            if not kwargs.get("server_side"):
                used.append(self)
            return original(self, *args, **kwargs)

        return note

    front = stack.enter_context(Front(server, authority.context()))
    options = trusting(trust, authority, monkeypatch) | proxied(route, authority, stack)
    for method in ("wrap_socket", "wrap_bio"):  # the latter for TLS within TLS
        monkeypatch.setattr(ssl.SSLContext, method, noting(getattr(ssl.SSLContext, method)))
    follow(front.url, **options)
    recorder.wait_for_calls(1)
    assert len(used) == (2 if route == "secure-tunnel" else 1)
    for context in used:
        assert context.minimum_version == NEW
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


def test_tls_1_2_is_spoken(
    server: ScriptedServer, authority: Authority, stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    context = authority.context()
    context.maximum_version = NEW
    follow(stack.enter_context(Front(server, context)).url, ca_certs=authority.file)
    recorder.wait_for_calls(1)
